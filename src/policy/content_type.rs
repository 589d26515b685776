//! What kind of body a request announces, in the one spelling that Frappe and we read alike.
//!
//! Frappe takes any `application/json` or `application/*+json` for JSON, whatever its case and parameters (T255, T286), the last of two
//! `Content-Type` headers (T287), and parses a body of unknown type all the same (T257, T284). Here a type is one of three, its
//! parameters are those it needs, and the upstream is told ours.

use crate::policy::refusal::{Reason, Refusal};

/// How a body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    Form,
    /// With its boundary.
    Multipart(Box<str>),
}

impl BodyKind {
    /// Reads the value of the only `Content-Type` header; `None` where there was none.
    pub fn parse(value: Option<&[u8]>) -> Result<Self, Refusal> {
        let Some(value) = value else {
            return Err(unsupported(
                "a body needs a Content-Type: application/json, application/x-www-form-urlencoded or multipart/form-data",
            ));
        };
        let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b','));
        let Some(text) = text else { return Err(unsupported("the Content-Type is not a media type")) };
        let mut parts = text.split(';').map(|part| part.trim_matches(' '));
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut boundary = None;
        // RFC 9110 section 5.6.6 lets a parameter be empty: `application/json;`.
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| unsupported("the Content-Type has a parameter without a value"))?;
            let value = unquote(value).ok_or_else(|| unsupported("the Content-Type has a parameter that cannot be read"))?;
            match name.to_ascii_lowercase().as_str() {
                // Frappe reads every body as UTF-8 whatever the header says; a body that means something else must not pass.
                "charset" if value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8") => {}
                "charset" => return Err(unsupported("only UTF-8 bodies are let through")),
                "boundary" if boundary.is_none() && media == "multipart/form-data" => boundary = Some(value),
                _ => return Err(unsupported("the Content-Type has a parameter that does not belong there")),
            }
        }
        match media.as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::Form),
            "multipart/form-data" => match boundary {
                Some(boundary) if is_boundary(boundary) => Ok(Self::Multipart(boundary.into())),
                _ => Err(unsupported("multipart/form-data needs a boundary of 1 to 70 characters")),
            },
            media if is_json(media) => Ok(Self::Json),
            _ => Err(unsupported("only application/json, application/x-www-form-urlencoded and multipart/form-data are let through")),
        }
    }

    /// What the upstream is told.
    pub fn to_content_type(&self) -> String {
        match self {
            Self::Json => "application/json".into(),
            Self::Form => "application/x-www-form-urlencoded".into(),
            Self::Multipart(boundary) => format!("multipart/form-data; boundary=\"{boundary}\""),
        }
    }
}

fn is_json(media: &str) -> bool {
    let Some(subtype) = media.strip_prefix("application/") else { return false };
    subtype == "json"
        || subtype.strip_suffix("+json").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+'))
        })
}

/// RFC 2046 section 5.1.1, without the space, which werkzeug and others trim differently.
fn is_boundary(text: &str) -> bool {
    (1..=70).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte))
}

fn unquote(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.is_empty() && !inner.contains(['"', '\\', ' '])).then_some(inner)
}

fn unsupported(message: &'static str) -> Refusal {
    Refusal::new(Reason::BodyTypeUnsupported, message)
}

#[cfg(test)]
mod tests;
