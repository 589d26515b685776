//! What a list request would see through `fields`, `filters`, `order_by` and the like.
//!
//! Frappe joins other tables for `link.field`, `` `tabOther`.field `` and `["Other", "field", "=", value]`; a filter tells a value as well
//! as a field does, one comparison at a time. So every name in these arguments is looked at: secret fields are refused for
//! everyone, and other doctypes are reported, for the decision to hold against the scopes.

use crate::policy::arguments::{Arguments, Source, Value};
use crate::policy::catalogue::QueryAt;
use crate::policy::json::Json;
use crate::policy::operation::Reach;
use crate::policy::path::is_doctype;
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::scope::Effect;
use crate::policy::sensitive::secret_field;

/// Arguments that name fields, and those that hold filters, by whatever function they are taken. Only where the function reads, or
/// nobody knows what it does: a write has values in `fieldname`, and those are free text.
const FIELDS: [&str; 10] =
    ["fields", "fieldname", "field", "order_by", "group_by", "sort_by", "searchfield", "filter_fields", "pluck", "aggregate_on"];
const FILTERS: [&str; 2] = ["filters", "or_filters"];
/// Arguments that name one document, and are filters where they are no text: `get_doc(doctype, {"field": "value"})`.
const NAMES: [&str; 3] = ["name", "docname", "dn"];

/// Doctypes that one request may name; a hundred thousand of them would cost seconds to compare.
pub const DOCTYPES_MAX: usize = 64;

/// What a condition may compare with (`frappe.utils.get_filter`).
const OPERATORS: [&str; 21] = [
    "=",
    "!=",
    ">",
    "<",
    ">=",
    "<=",
    "like",
    "not like",
    "in",
    "not in",
    "is",
    "between",
    "timespan",
    "previous",
    "next",
    "ancestors of",
    "descendants of",
    "descendants of (inclusive)",
    "not ancestors of",
    "not descendants of",
    "ilike",
];

/// Words that make a field a statement. Frappe looks for them in a few spellings only, and `` count(*) from `tabUser` `` is none of those.
const STATEMENT: [&str; 5] = ["select", "union", "from", "join", "into"];

/// Looks at every such argument of a request on `own`, the doctype that it works on, and at those that its catalogue entry lists.
///
/// Frappe swaps `fields` and `filters` when they look swapped, so each is read in both ways where its form allows both.
pub fn reach(arguments: &Arguments<'_>, effect: Effect, own: Option<&str>, places: &[QueryAt]) -> Result<Reach, Refusal> {
    let mut reader = Reader { own, reach: Reach::default() };
    if arguments.query.is_empty() && matches!(arguments.body, Source::None) {
        return Ok(reader.reach);
    }
    let usual = matches!(effect, Effect::Read | Effect::Call);
    let listed = |wanted: fn(&QueryAt) -> bool| places.iter().filter(move |place| wanted(place)).map(QueryAt::argument);
    let fields = FIELDS.into_iter().filter(|_| usual).chain(listed(|place| matches!(place, QueryAt::Fields(_))));
    let filters = FILTERS.into_iter().filter(|_| usual).chain(listed(|place| matches!(place, QueryAt::Filters(_))));
    let mut swapped = false;
    for name in fields {
        if let Some(value) = arguments.value(name)? {
            value.tree(name, |tree| {
                reader.every_text(tree)?;
                if !could_be_filters(tree) {
                    return Ok(());
                }
                swapped = true;
                reader.filters(tree)
            })?;
        }
    }
    for name in filters {
        if let Some(value) = arguments.value(name)? {
            value.tree(name, |tree| {
                if swapped {
                    reader.every_text(tree)?;
                }
                reader.filters(tree)
            })?;
        }
    }
    for name in NAMES.into_iter().filter(|_| usual) {
        // Only JSON can hold anything but a text here, and Frappe does not read a text again.
        if let Some(Value::Json(tree @ (Json::Object(_) | Json::Array(_)))) = arguments.value(name)? {
            reader.filters(tree)?;
        }
    }
    Ok(reader.reach)
}

/// Whether Frappe would take this for filters although it stands where fields belong: an object, or a list of lists.
fn could_be_filters(tree: &Json<'_>) -> bool {
    match tree {
        Json::Array(items) => matches!(items.first(), Some(Json::Array(_))),
        Json::Object(_) => true,
        _ => false,
    }
}

struct Reader<'o> {
    own: Option<&'o str>,
    reach: Reach,
}

impl Reader<'_> {
    /// Fields stand in texts, in lists of texts, and in objects: `{"SUM": "amount", "as": "total"}`, or `{"items": ["item_code"]}`, which
    /// reads the rows of a table.
    fn every_text(&mut self, tree: &Json<'_>) -> Result<(), Refusal> {
        match tree {
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Number => Ok(()),
            Json::Text(text) => self.expression(text),
            Json::Array(items) => items.iter().try_for_each(|item| self.every_text(item)),
            Json::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.expression(key)?;
                self.reach.open |= matches!(value, Json::Array(_));
                self.every_text(value)
            }),
        }
    }

    fn filters(&mut self, tree: &Json<'_>) -> Result<(), Refusal> {
        match tree {
            Json::Object(members) => members.iter().try_for_each(|(field, value)| {
                self.expression(field)?;
                self.value(value)
            }),
            Json::Array(items) => match items.first() {
                Some(Json::Text(first)) => self.condition(first, items),
                _ => items.iter().try_for_each(|item| match item {
                    Json::Text(word) if ["and", "or", "not"].iter().any(|known| known.eq_ignore_ascii_case(word)) => Ok(()),
                    // Frappe puts a text among the conditions into the query as it is.
                    Json::Text(text) => self.expression(text),
                    other => self.filters(other),
                }),
            },
            // The name of one document.
            other => self.value(other),
        }
    }

    /// `["field", "=", value]` or `["Doctype", "field", "=", value]`. Another flat list may be one of fields that stands in the place of
    /// filters, or one of conditions written as SQL, so every text in it is looked at.
    fn condition(&mut self, first: &str, items: &[Json<'_>]) -> Result<(), Refusal> {
        match items {
            [_, Json::Text(field), operator, value, ..] if is_operator(operator) => {
                self.doctype(first)?;
                self.expression(field)?;
                self.value(value)
            }
            [_, operator, value] if is_operator(operator) => {
                self.expression(first)?;
                self.value(value)
            }
            items => {
                if items.len() >= 4 && is_doctype(first) {
                    self.doctype(first)?;
                }
                items.iter().try_for_each(|item| match item {
                    Json::Text(text) => self.expression(text),
                    Json::Array(_) | Json::Object(_) => self.filters(item),
                    other => self.value(other),
                })
            }
        }
    }

    /// A value is compared, not named, unless it is written like a column.
    fn value(&mut self, value: &Json<'_>) -> Result<(), Refusal> {
        match value {
            Json::Text(text) if text.strip_prefix('`').is_some_and(|rest| rest.contains('`')) => self.expression(text),
            Json::Array(items) => items.iter().try_for_each(|item| self.value(item)),
            Json::Object(members) => members.iter().try_for_each(|(_, value)| self.value(value)),
            _ => Ok(()),
        }
    }

    fn doctype(&mut self, doctype: &str) -> Result<(), Refusal> {
        if self.own == Some(doctype) || self.reach.doctypes.iter().any(|other| other == doctype) {
            return Ok(());
        }
        if self.reach.doctypes.len() == DOCTYPES_MAX {
            return Err(too_many_doctypes());
        }
        self.reach.doctypes.push(doctype.to_owned());
        Ok(())
    }

    /// Finds the names in an SQL-like expression. Quotes are not honoured: what stands in them is looked at as well.
    fn expression(&mut self, text: &str) -> Result<(), Refusal> {
        if text.contains("/*") || text.contains(';') {
            return Err(statement());
        }
        let mut rest = text;
        let mut behind_dot = false;
        while let Some(first) = rest.chars().next() {
            let (name, quoted, after) = if first == '`' {
                let Some((name, after)) = rest[1..].split_once('`') else {
                    return Err(Refusal::new(Reason::ParameterInvalid, "a field has a backtick without its second"));
                };
                (name, true, after)
            } else if is_word(first) {
                let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
                (&rest[..end], false, &rest[end..])
            } else {
                behind_dot = first == '.' || (behind_dot && (first.is_whitespace() || first == '"'));
                rest = &rest[first.len_utf8()..];
                continue;
            };
            if !quoted && STATEMENT.iter().any(|word| word.eq_ignore_ascii_case(name)) {
                return Err(statement());
            }
            // PostgreSQL quotes names with `"`.
            let dotted = after.trim_start_matches(|next: char| next.is_whitespace() || next == '"').starts_with('.');
            match table(name) {
                Some(doctype) if dotted || (!behind_dot && !doctype.starts_with(|first: char| first.is_lowercase() || first == '_')) => {
                    self.doctype(doctype)?;
                }
                _ if secret_field(name) => {
                    return Err(Refusal::new(Reason::FieldForbidden, "a field that holds a secret cannot be read or filtered by"));
                }
                _ => self.reach.open |= dotted && !name.bytes().all(|byte| byte.is_ascii_digit()),
            }
            behind_dot = false;
            rest = after;
        }
        Ok(())
    }
}

/// The doctype of a table's name.
fn table(name: &str) -> Option<&str> {
    let head = name.get(..3).filter(|head| head.eq_ignore_ascii_case("tab"))?;
    Some(name[head.len()..].trim()).filter(|doctype| !doctype.is_empty())
}

/// An empty operator is one to Frappe, too (`=`), and is what it drops from a list of fields: such a list can be either.
fn is_operator(operator: &Json<'_>) -> bool {
    operator.as_text().is_some_and(|text| OPERATORS.iter().any(|known| known.eq_ignore_ascii_case(text)))
}

pub fn too_many_doctypes() -> Refusal {
    Refusal::new(Reason::ParameterInvalid, "the request names too many doctypes")
}

fn statement() -> Refusal {
    Refusal::new(Reason::ParameterInvalid, "a field must be a field, or a function over fields; SQL statements are not let through")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests;
