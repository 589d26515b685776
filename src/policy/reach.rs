//! What a list request would see through `fields`, `filters`, `order_by` and the like.
//!
//! Frappe joins other tables for `link.field`, `` `tabOther`.field `` and `["Other", "field", "=", value]`; a filter tells a value as well
//! as a field does, one comparison at a time. So every name in these arguments is looked at: secret fields are refused for
//! everyone, and other doctypes are reported, for the decision to hold against the scopes.

use crate::policy::arguments::{Arguments, Source};
use crate::policy::catalogue::QueryAt;
use crate::policy::json::Json;
use crate::policy::operation::Reach;
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::sensitive::secret_field;

/// Arguments that name fields, and those that hold filters, by whatever function they are taken.
const FIELDS: [&str; 10] =
    ["fields", "fieldname", "field", "order_by", "group_by", "sort_by", "searchfield", "filter_fields", "pluck", "aggregate_on"];
const FILTERS: [&str; 2] = ["filters", "or_filters"];

/// Looks at every such argument of a request on `own`, the doctype that it works on, and at those that its catalogue entry lists.
///
/// Frappe swaps `fields` and `filters` when they look swapped, so each is read in both ways where its form allows both.
pub fn reach(arguments: &Arguments<'_>, own: Option<&str>, places: &[QueryAt]) -> Result<Reach, Refusal> {
    let mut reader = Reader { own, reach: Reach::default() };
    if arguments.query.is_empty() && matches!(arguments.body, Source::None) {
        return Ok(reader.reach);
    }
    let listed = |wanted: fn(&QueryAt) -> bool| places.iter().filter(move |place| wanted(place)).map(QueryAt::argument);
    let fields = FIELDS.into_iter().chain(listed(|place| matches!(place, QueryAt::Fields(_))));
    let filters = FILTERS.into_iter().chain(listed(|place| matches!(place, QueryAt::Filters(_))));
    for name in fields {
        if let Some(value) = arguments.value(name)? {
            value.tree(name, |tree| {
                reader.every_text(tree)?;
                if has_conditions(tree) { reader.filters(tree) } else { Ok(()) }
            })?;
        }
    }
    for name in filters {
        if let Some(value) = arguments.value(name)? {
            value.tree(name, |tree| {
                reader.filters(tree)?;
                if has_conditions(tree) { Ok(()) } else { reader.every_field(tree) }
            })?;
        }
    }
    Ok(reader.reach)
}

/// Whether this could be filters rather than a list of fields.
fn has_conditions(tree: &Json<'_>) -> bool {
    match tree {
        Json::Array(items) => items.iter().any(|item| matches!(item, Json::Array(_) | Json::Object(_))),
        Json::Object(_) => true,
        _ => false,
    }
}

struct Reader<'o> {
    own: Option<&'o str>,
    reach: Reach,
}

impl Reader<'_> {
    /// Fields stand in texts, in lists of texts, and in objects (`{"SUM": "amount", "as": "total"}`).
    fn every_text(&mut self, tree: &Json<'_>) -> Result<(), Refusal> {
        match tree {
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Number => Ok(()),
            Json::Text(text) => self.expression(text),
            Json::Array(items) => items.iter().try_for_each(|item| self.every_text(item)),
            Json::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.expression(key)?;
                self.every_text(value)
            }),
        }
    }

    /// A flat list of texts in the place of filters, which Frappe may take for fields.
    fn every_field(&mut self, tree: &Json<'_>) -> Result<(), Refusal> {
        match tree {
            Json::Array(items) => items.iter().filter_map(Json::as_text).try_for_each(|text| self.expression(text)),
            _ => Ok(()),
        }
    }

    fn filters(&mut self, tree: &Json<'_>) -> Result<(), Refusal> {
        match tree {
            Json::Object(members) => members.iter().try_for_each(|(field, value)| {
                self.expression(field)?;
                self.value(value)
            }),
            Json::Array(items) => match items.as_slice() {
                // `["field", "=", value]`, `["Doctype", "field", "=", value]`, and "and"/"or" between groups of them.
                [Json::Text(first), rest @ ..] => self.condition(first, rest),
                items => items.iter().try_for_each(|item| self.filters(item)),
            },
            // The name of one document, or a word between two groups.
            other => self.value(other),
        }
    }

    fn condition(&mut self, first: &str, rest: &[Json<'_>]) -> Result<(), Refusal> {
        match rest {
            [Json::Text(field), _, _, ..] => {
                self.doctype(first);
                self.expression(field)?;
            }
            _ => self.expression(first)?,
        }
        // A flat list may go on with groups; a group is looked at as such, a value for what it could name.
        rest.iter().try_for_each(|item| match item {
            Json::Array(_) | Json::Object(_) => self.filters(item),
            other => self.value(other),
        })
    }

    /// A value is compared, not named, unless it is written like a column.
    fn value(&mut self, value: &Json<'_>) -> Result<(), Refusal> {
        match value {
            Json::Text(text) if text.contains('`') => self.expression(text),
            Json::Array(items) => items.iter().try_for_each(|item| self.value(item)),
            Json::Object(members) => members.iter().try_for_each(|(_, value)| self.value(value)),
            _ => Ok(()),
        }
    }

    fn doctype(&mut self, doctype: &str) {
        if self.own != Some(doctype) && !self.reach.doctypes.iter().any(|other| other == doctype) {
            self.reach.doctypes.push(doctype.to_owned());
        }
    }

    /// Finds the names in an SQL-like expression. Quotes are not honoured: what stands in them is looked at as well.
    fn expression(&mut self, text: &str) -> Result<(), Refusal> {
        let mut rest = text;
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
                rest = &rest[first.len_utf8()..];
                continue;
            };
            let dotted = after.trim_start().starts_with('.');
            match name.get(..3).filter(|head| head.eq_ignore_ascii_case("tab")).map(|_| name[3..].trim()) {
                Some(doctype) if !doctype.is_empty() && (quoted || dotted) => self.doctype(doctype),
                _ if secret_field(name) => {
                    return Err(Refusal::new(Reason::FieldForbidden, "a field that holds a secret cannot be read or filtered by"));
                }
                _ => self.reach.open |= dotted && !name.bytes().all(|byte| byte.is_ascii_digit()),
            }
            rest = after;
        }
        Ok(())
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
