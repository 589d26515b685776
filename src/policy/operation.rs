//! What a request would do, once it is understood: an effect on something, and what else it would see on the way.

use std::borrow::Cow;
use std::fmt;

use crate::policy::scope::Effect;

/// The methods that may reach an upstream. They are case-sensitive (RFC 9110 section 9.1); no other text is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub fn parse(method: &str) -> Option<Self> {
        match method {
            "GET" => Some(Self::Get),
            "HEAD" => Some(Self::Head),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Frappe reads a body of any method (FACTS R3); only these may have one here.
    pub const fn takes_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    /// What it means on a resource (DESIGN section 4).
    pub const fn effect(self) -> Effect {
        match self {
            Self::Get | Self::Head => Effect::Read,
            Self::Post | Self::Put | Self::Patch => Effect::Write,
            Self::Delete => Effect::Delete,
        }
    }
}

/// What an operation works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The documents of a doctype: a list, a count, its meta data, or a new document.
    Doctype {
        doctype: Cow<'a, str>,
    },
    Document {
        doctype: Cow<'a, str>,
        name: Cow<'a, str>,
    },
    /// A function, and every doctype that its arguments say it works on; none where it works on no doctype in particular.
    Rpc {
        name: Cow<'a, str>,
        doctypes: Vec<String>,
    },
    /// A path that the operator opened, with the scope that he asks for it.
    Path {
        path: Cow<'a, str>,
        scope: &'a str,
    },
}

/// What a request would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    pub effect: Effect,
    pub target: Target<'a>,
    pub reach: Reach,
}

/// What an operation would see beside its target, through fields, filters and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Other doctypes that it names.
    pub doctypes: Vec<String>,
    /// Whether it follows a link to a doctype that only Frappe's schema knows: more than any narrow scope covers.
    pub open: bool,
}

impl Operation<'_> {
    /// The doctypes that it works on.
    pub fn doctypes(&self) -> impl Iterator<Item = &str> {
        let (one, many): (Option<&str>, &[String]) = match &self.target {
            Target::Doctype { doctype } | Target::Document { doctype, .. } => (Some(doctype), &[]),
            Target::Rpc { doctypes, .. } => (None, doctypes),
            Target::Path { .. } => (None, &[]),
        };
        one.into_iter().chain(many.iter().map(String::as_str))
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Doctype { doctype } => write!(f, "{} {doctype}", self.effect.as_str()),
            Target::Document { doctype, name } => write!(f, "{} {doctype} {name}", self.effect.as_str()),
            Target::Rpc { name, doctypes } => {
                write!(f, "{} by {name}", self.effect.as_str())?;
                doctypes.iter().try_for_each(|doctype| write!(f, " {doctype}"))
            }
            Target::Path { path, .. } => write!(f, "{} path {path}", self.effect.as_str()),
        }
    }
}
