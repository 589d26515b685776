//! What `explain` tells: its JSON, and its text.

use std::fmt::Write as _;

use serde::Serialize;

use crate::admin::terminal::Style;
use crate::admin::terminal::table::{Cell, Paint, fields};
use crate::policy::operation::{Operation, Target};

#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    pub method: String,
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// `None` for a request that is refused whoever asks.
    pub operation: Option<Does>,
    pub upstream: Option<Sent>,
    /// Each alone would do.
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unexplained: Vec<String>,
    /// `None` where no scopes were given to decide on.
    pub decision: Option<Decision>,
    /// Which of the scopes given would have done alone; empty where it took several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    #[serde(flatten)]
    pub refusal: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    /// To this token.
    Deny,
    /// To every token.
    Refuse,
}

#[derive(Debug, Serialize)]
pub struct Told {
    pub reason: &'static str,
    pub status: u16,
    pub message: String,
}

#[derive(Debug, Serialize)]
pub struct Function {
    pub name: String,
    pub effect: &'static str,
    pub methods: Vec<String>,
    /// The arguments that name doctypes.
    pub doctype_in: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Does {
    pub effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub doctypes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Doctypes that it sees through fields and filters.
    pub also_reads: Vec<String>,
    /// Whether it sees more than its arguments name, so that no narrow scope is enough.
    pub follows_links: bool,
}

impl Does {
    pub fn of(operation: &Operation<'_>) -> Self {
        let mut does = Self {
            effect: operation.effect.as_str(),
            function: None,
            path: None,
            doctypes: operation.doctypes().map(str::to_owned).collect(),
            document: None,
            also_reads: operation.reach.doctypes.clone(),
            follows_links: operation.reach.open,
        };
        match &operation.target {
            Target::Doctype { .. } => {}
            Target::Document { name, .. } => does.document = Some(name.to_string()),
            Target::Rpc { name, .. } => does.function = Some(name.to_string()),
            Target::Path { path, .. } => does.path = Some(path.to_string()),
        }
        does
    }

    fn to_text(&self) -> String {
        let mut text = self.effect.to_owned();
        if !self.doctypes.is_empty() {
            let _ = write!(text, " {}", self.doctypes.join(", "));
        }
        if let Some(document) = &self.document {
            let _ = write!(text, " `{document}`");
        }
        if let Some(function) = &self.function {
            let _ = write!(text, " by {function}");
        }
        if let Some(path) = &self.path {
            let _ = write!(text, " path {path}");
        }
        text
    }
}

#[derive(Debug, Serialize)]
pub struct Sent {
    pub method: &'static str,
    pub target: String,
    pub body_rewritten: bool,
}

impl Explanation {
    pub fn to_text(&self, style: Style) -> String {
        let mut rows = vec![("request", Cell::plain(&format!("{} {}", self.method, self.target)))];
        if let Some(content_type) = &self.content_type {
            rows.push(("body", Cell::plain(content_type)));
        }
        if let Some(site) = &self.site {
            rows.push(("site", Cell::plain(site)));
        }
        if let Some(Function { name, effect, methods, .. }) = &self.function {
            rows.push(("function", Cell::plain(&format!("{name}: {effect}, by {}", methods.join(" or ")))));
        }
        if let Some(does) = &self.operation {
            rows.push(("would", Cell::plain(&does.to_text())));
            if !does.also_reads.is_empty() {
                rows.push(("reads too", Cell::plain(&does.also_reads.join(", "))));
            }
            if does.follows_links {
                rows.push(("and", Cell::plain("more than its arguments name: no scope on single doctypes is enough")));
            }
        }
        if let Some(sent) = &self.upstream {
            let body = if sent.body_rewritten { ", body written anew" } else { "" };
            rows.push(("upstream", Cell::plain(&format!("{} {}{body}", sent.method, sent.target))));
        }
        if !self.scopes.is_empty() {
            rows.push(("allowed by", Cell::plain(&one_of(&self.scopes))));
        }
        if let Some(scope) = &self.scope {
            rows.push(("token", Cell::plain(scope)));
        }
        for name in &self.unexplained {
            rows.push(("note", Cell::plain(&format!("no config explains the scope `{name}`, so it allows nothing"))));
        }
        rows.push(("decision", self.decision_cell()));
        fields(&rows, style)
    }

    fn decision_cell(&self) -> Cell {
        let refused = |kind: &str| match &self.refusal {
            Some(Told { reason, status, message }) => format!("{kind}: {status} {reason}, {message}"),
            None => kind.to_owned(),
        };
        match self.decision {
            None => Cell::plain("depends on the token; --scope \"read\" decides on one"),
            Some(Decision::Allow) if self.by.is_empty() => Cell::painted("allowed", Paint::Good),
            Some(Decision::Allow) => Cell::painted(&format!("allowed by {}", one_of(&self.by)), Paint::Good),
            Some(Decision::Deny) => Cell::painted(&refused("denied"), Paint::Bad),
            Some(Decision::Refuse) => Cell::painted(&refused("refused to every token"), Paint::Bad),
        }
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}
