//! The arguments of a request as Frappe would see them, from query and body; and the keys that must not be among them.
//!
//! Frappe makes one dictionary of both: a JSON body replaces the query, a form overrides it, the first of two equal names wins
//! (FACTS section 5; T205, T219). Here nothing is decided on an argument that stands twice, or where Frappe would not look.

use std::borrow::Cow;

use crate::policy::json::Json;
use crate::policy::multipart::Field;
use crate::policy::query::Pairs;
use crate::policy::refusal::{Reason, Refusal};

/// Keys that make Frappe do something else than the path says, or act as somebody else (FACTS R2, R8, R17, W2).
const FORBIDDEN: [&str; 5] = ["cmd", "run_method", "sid", "usr", "pwd"];
/// Keys with which a document answers with the documents it links to, of whatever doctype.
const EXPANDING: [&str; 2] = ["expand", "expand_links"];

/// What came in the body.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    None,
    Json(Json<'a>),
    Form(Pairs),
    /// A multipart body, read to its end: the values of its fields, and the names of its files.
    Multipart {
        fields: Pairs,
        files: Vec<String>,
    },
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'v, 'a> {
    Text(&'v str),
    Json(&'v Json<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Arguments<'a> {
    pub query: Pairs,
    pub body: Source<'a>,
}

impl<'a> Source<'a> {
    pub fn json(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let tree = Json::parse(bytes).map_err(|error| Refusal::new(Reason::BodyInvalid, format!("the body cannot be read: {error}")))?;
        match tree {
            Json::Object(_) => Ok(Self::Json(tree)),
            _ => Err(Refusal::new(Reason::BodyInvalid, "a JSON body must be an object")),
        }
    }

    pub fn form(bytes: &[u8]) -> Result<Self, Refusal> {
        // What `curl -d '{...}'` sends. Frappe would read it as JSON again; written anew as a form, it would be one senseless name.
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::new(
                Reason::BodyTypeUnsupported,
                "the body is JSON, and its Content-Type says it is a form; send Content-Type: application/json",
            ));
        }
        Ok(Self::Form(Pairs::parse(bytes, Reason::BodyInvalid)?))
    }

    pub fn multipart(fields: Vec<Field>) -> Self {
        let mut files = Vec::new();
        let mut values = Vec::new();
        for field in fields {
            match field.value {
                Some(value) => values.push((field.name, value)),
                None => files.push(field.name),
            }
        }
        Self::Multipart { fields: Pairs::from_fields(values), files }
    }
}

/// Refuses the keys that no request may bear, wherever they stand; `cmd` only where it is not the RPC's name itself.
pub fn check_key(key: &str, cmd_is_the_rpc: bool) -> Result<(), Refusal> {
    if let Some(name) = FORBIDDEN.into_iter().find(|name| *name == key)
        && !(cmd_is_the_rpc && name == "cmd")
    {
        return Err(Refusal::new(
            Reason::ParameterForbidden,
            format!("the parameter `{name}` is not let through: Frappe would do something else than the path says"),
        ));
    }
    if let Some(name) = EXPANDING.into_iter().find(|name| *name == key) {
        return Err(Refusal::new(
            Reason::ParameterForbidden,
            format!("the parameter `{name}` is not let through: it would answer with linked documents of any doctype"),
        ));
    }
    if key == "access_token" {
        return Err(Refusal::new(Reason::TokenMisplaced, "a token goes into the Authorization header, and nowhere else"));
    }
    Ok(())
}

impl<'a> Arguments<'a> {
    /// Applies [`check_key`] to every key of query and body.
    pub fn check_keys(&self, cmd_is_the_rpc: bool) -> Result<(), Refusal> {
        let check = |key: &str| check_key(key, cmd_is_the_rpc);
        self.query.iter().try_for_each(|(key, _)| check(key))?;
        match &self.body {
            Source::None => Ok(()),
            Source::Json(json) => json.as_object().unwrap_or_default().iter().try_for_each(|(key, _)| check(key)),
            Source::Form(pairs) => pairs.iter().try_for_each(|(key, _)| check(key)),
            Source::Multipart { fields, files } => {
                fields.iter().try_for_each(|(key, _)| check(key))?;
                files.iter().try_for_each(|key| check(key))
            }
        }
    }

    /// The argument of that name, on which something is about to be decided: it stands once, and where Frappe looks for it.
    pub fn value(&self, name: &str) -> Result<Option<Value<'_, 'a>>, Refusal> {
        let mut values = self.query.iter().filter(|(key, _)| *key == name).map(|(_, value)| Value::Text(value));
        let in_query = values.next();
        let mut repeated = values.next().is_some();
        let mut in_body = None;
        match &self.body {
            Source::None => {}
            Source::Json(json) => in_body = json.member(name).map(Value::Json),
            Source::Form(pairs) | Source::Multipart { fields: pairs, .. } => {
                let mut values = pairs.iter().filter(|(key, _)| *key == name).map(|(_, value)| Value::Text(value));
                in_body = values.next();
                repeated |= values.next().is_some();
            }
        }
        if let Source::Multipart { files, .. } = &self.body
            && files.iter().any(|file| file == name)
        {
            return Err(Refusal::new(Reason::ParameterInvalid, format!("the parameter `{name}` must not be a file")));
        }
        if repeated || (in_query.is_some() && in_body.is_some()) {
            return Err(Refusal::new(Reason::ParameterRepeated, format!("the parameter `{name}` stands more than once")));
        }
        if in_query.is_some() && matches!(self.body, Source::Json(_)) {
            return Err(Refusal::new(
                Reason::ParameterInvalid,
                format!("the parameter `{name}` belongs into the JSON body: Frappe drops the query beside one"),
            ));
        }
        Ok(in_body.or(in_query))
    }

    /// The argument of that name as text; a number or an object is refused.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Refusal> {
        match self.value(name)? {
            None | Some(Value::Json(Json::Null)) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Json(Json::Text(text))) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Json(_)) => Err(Refusal::new(Reason::ParameterInvalid, format!("the parameter `{name}` must be text"))),
        }
    }
}

impl<'v, 'a: 'v> Value<'v, 'a> {
    /// The argument as a JSON tree, as `frappe.parse_json` makes one: text that holds JSON is read, other text stays text.
    /// Text that looks like JSON and cannot be read in the strict way is refused, since Python might still read it. So is JSON in JSON:
    /// Frappe reads some arguments once, and some twice.
    pub fn tree<R>(self, name: &str, read: impl FnOnce(&Json<'_>) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let text = match self {
            Self::Json(Json::Text(text)) => text.as_ref(),
            Self::Json(json) => return read(json),
            Self::Text(text) => text,
        };
        if !looks_like_json(text) {
            return read(&Json::Text(Cow::Borrowed(text)));
        }
        let tree = Json::parse(text.as_bytes())
            .map_err(|error| Refusal::new(Reason::ParameterInvalid, format!("the parameter `{name}` cannot be read: {error}")))?;
        if tree.as_text().is_some_and(looks_like_json) {
            return Err(Refusal::new(Reason::ParameterInvalid, format!("the parameter `{name}` is JSON within JSON")));
        }
        read(&tree)
    }
}

/// Whether Python's `json.loads` could make anything but a number of it. Its white space is JSON's own; a text behind any other stays text.
fn looks_like_json(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(['[', '{', '"'])
}

#[cfg(test)]
mod tests;
