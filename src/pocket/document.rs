//! One document: how a client's values become a row, and what a row must satisfy. Pure; whatever it needs to know of other rows it asks
//! through a `Lookup`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::pocket::doctype::{CHILD_COLUMNS, DocType, Field, FieldKind, STANDARD_COLUMNS, Shape};
use crate::pocket::fault::{Fault, Kind, random_name};
use crate::pocket::reply::today_text;

/// A document as the API shows it, child rows inside; a column without a value is absent.
pub(super) type Document = Map<String, Value>;

/// Finds the document of a doctype and name.
pub(super) type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<Document>>;

pub(super) const DRAFT: u64 = 0;
pub(super) const SUBMITTED: u64 = 1;
pub(super) const CANCELLED: u64 = 2;

/// Rows of one child table in one document.
const CHILD_ROWS_MAX: usize = 1_000;

/// A new document of defaults and the client's values, not yet named.
pub(super) fn fresh(doctype: &DocType, values: &Document) -> Result<Document, Fault> {
    let mut document = Document::new();
    for field in doctype.fields {
        let default = match field.default {
            Some("Today") => Value::String(today_text()),
            Some(text) => Value::String(text.to_owned()),
            None => continue,
        };
        put(&mut document, field.name, cast(field, default)?);
    }
    apply(doctype, &mut document, values)?;
    Ok(document)
}

/// Writes the client's values over a document. Unknown keys are passed over, as Frappe drops what is no column.
pub(super) fn apply(doctype: &DocType, document: &mut Document, values: &Document) -> Result<(), Fault> {
    for field in doctype.fields {
        let Some(value) = values.get(field.name) else { continue };
        let value = match field.kind {
            FieldKind::Table(child) => child_rows(child, field, value)?,
            _ => cast(field, value.clone())?,
        };
        put(document, field.name, value);
    }
    Ok(())
}

/// Fills what the controllers of ERPNext compute from the other fields.
pub(super) fn settle(doctype: &DocType, document: &mut Document, lookup: Lookup<'_>) {
    match doctype.name {
        "Item" => fill(document, "item_name", |item| item.get("item_code").cloned()),
        "Lead" => fill(document, "lead_name", |lead| full_name(lead).or_else(|| lead.get("company_name").cloned())),
        "User" => {
            if let Some(name) = full_name(document) {
                document.insert("full_name".to_owned(), name);
            }
        }
        "Sales Order" => settle_order(document, lookup),
        _ => {}
    }
}

/// The columns in Frappe's order: standard ones, the doctype's own, `doctype`, then the child tables, which are never absent.
pub(super) fn ordered(doctype: &DocType, mut document: Document) -> Document {
    let mut out = Document::new();
    let own = doctype.fields.iter().filter(|field| !matches!(field.kind, FieldKind::Table(_))).map(|field| field.name);
    let parent = CHILD_COLUMNS.into_iter().filter(|_| doctype.shape == Shape::Child);
    for column in STANDARD_COLUMNS.into_iter().chain(own).chain(parent) {
        if let Some(value) = document.shift_remove(column) {
            out.insert(column.to_owned(), value);
        }
    }
    out.insert("doctype".to_owned(), doctype.name.into());
    for (field, child) in doctype.tables() {
        let rows = document.shift_remove(field.name).unwrap_or_else(|| json!([]));
        let rows = objects(rows).map(|row| Value::Object(ordered(child, row))).collect();
        out.insert(field.name.to_owned(), Value::Array(rows));
    }
    out
}

/// Gives the child rows what they take from their parent.
pub(super) fn adopt_children(doctype: &DocType, document: &mut Document) {
    let inherited: Vec<(String, Value)> = ["owner", "creation", "modified", "modified_by", "docstatus"]
        .into_iter()
        .filter_map(|column| Some((column.to_owned(), document.get(column)?.clone())))
        .collect();
    let name = document.get("name").cloned().unwrap_or_default();
    for (field, _) in doctype.tables() {
        let Some(Value::Array(rows)) = document.get_mut(field.name) else { continue };
        for (idx, row) in rows.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            row.entry("name").or_insert_with(|| random_name().into());
            row.extend(inherited.iter().cloned());
            row.insert("idx".to_owned(), (idx + 1).into());
            row.insert("parent".to_owned(), name.clone());
            row.insert("parentfield".to_owned(), field.name.into());
            row.insert("parenttype".to_owned(), doctype.name.into());
        }
    }
}

/// What Frappe checks before it writes a row: links, mandatory fields, choices, in this order.
pub(super) fn check(doctype: &DocType, document: &Document, lookup: Lookup<'_>) -> Result<(), Fault> {
    check_links(doctype, document, lookup)?;
    check_mandatory(doctype, document)?;
    check_choices(doctype, document, "")?;
    for (_, child, idx, row) in children(doctype, document) {
        check_choices(child, row, &format!("Row #{idx}:"))?;
    }
    Ok(())
}

/// Whether the document, or a row in it, links to `name` of `target`.
pub(super) fn links_to(doctype: &DocType, document: &Document, target: &str, name: &str) -> bool {
    let linked = |doctype: &DocType, row: &Document| {
        doctype.fields.iter().any(|field| {
            matches!(field.kind, FieldKind::Link(to) if to == target) && text(row, field.name).is_some_and(|value| same_name(value, name))
        })
    };
    linked(doctype, document) || children(doctype, document).any(|(_, child, _, row)| linked(child, row))
}

/// Points every link from `old` of `target` to `new`.
pub(super) fn relink(doctype: &DocType, document: &mut Document, target: &str, old: &str, new: &str) {
    for field in doctype.fields {
        match field.kind {
            FieldKind::Link(to) if to == target && text(document, field.name).is_some_and(|value| same_name(value, old)) => {
                document.insert(field.name.to_owned(), new.into());
            }
            FieldKind::Table(child) => {
                let Some(child) = DocType::find(child) else { continue };
                let Some(Value::Array(rows)) = document.get_mut(field.name) else { continue };
                rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| relink(child, row, target, old, new));
            }
            _ => {}
        }
    }
}

pub(super) fn text<'a>(document: &'a Document, column: &str) -> Option<&'a str> {
    document.get(column).and_then(Value::as_str)
}

pub(super) fn docstatus(document: &Document) -> u64 {
    document.get("docstatus").and_then(Value::as_u64).unwrap_or(DRAFT)
}

/// The form in which two names are equal to MariaDB: case and a trailing NUL or space do not count (T280g, T280p).
pub(super) fn folded(name: &str) -> String {
    name.trim_end_matches(['\0', ' ']).to_lowercase()
}

/// Every child row with its field, its doctype and its number from 1.
pub(super) fn children<'a>(
    doctype: &'a DocType,
    document: &'a Document,
) -> impl Iterator<Item = (&'static Field, &'static DocType, usize, &'a Document)> {
    doctype.tables().flat_map(move |(field, child)| {
        let rows = document.get(field.name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter_map(Value::as_object).enumerate().map(move |(at, row)| (field, child, at + 1, row))
    })
}

fn same_name(left: &str, right: &str) -> bool {
    folded(left) == folded(right)
}

fn objects(value: Value) -> impl Iterator<Item = Document> {
    let rows = if let Value::Array(rows) = value { rows } else { Vec::new() };
    rows.into_iter().filter_map(|row| if let Value::Object(row) = row { Some(row) } else { None })
}

/// A child table as sent: a list of objects, each read like a document of its own. A row keeps the name it was sent with.
fn child_rows(child: &str, field: &Field, value: &Value) -> Result<Value, Fault> {
    let Some(child) = DocType::find(child) else { return Ok(json!([])) };
    let rows = match value {
        Value::Array(rows) if rows.len() <= CHILD_ROWS_MAX => rows.as_slice(),
        Value::Null => &[],
        _ => return Err(Fault::thrown(Kind::Validation, format!("{} must be a list of at most {CHILD_ROWS_MAX} rows", field.label))),
    };
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let Value::Object(values) = row else {
            return Err(Fault::thrown(Kind::Validation, format!("{} must be a list of objects", field.label)));
        };
        let mut row = fresh(child, values)?;
        if let Some(name) = text(values, "name").filter(|name| !name.is_empty()) {
            row.insert("name".to_owned(), name.into());
        }
        out.push(Value::Object(row));
    }
    Ok(Value::Array(out))
}

/// The value as the column's type holds it; a number that cannot be read is zero, as in Frappe's `cint` and `flt`.
fn cast(field: &Field, value: Value) -> Result<Value, Fault> {
    if matches!(value, Value::Array(_) | Value::Object(_)) {
        return Err(Fault::thrown(Kind::Validation, format!("Value for {} cannot be a list", field.label)));
    }
    if value.is_null() {
        return Ok(value);
    }
    Ok(match field.kind {
        FieldKind::Int | FieldKind::Check => (number(&value) as i64).into(),
        FieldKind::Currency => number(&value).into(),
        FieldKind::Data | FieldKind::Text | FieldKind::Date | FieldKind::Select(_) | FieldKind::Link(_) | FieldKind::Table(_) => {
            match value {
                Value::String(_) => value,
                other => Value::String(other.to_string()),
            }
        }
    })
}

pub(super) fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(0.0),
        Value::String(text) => text.trim().parse().unwrap_or(0.0),
        Value::Bool(true) => 1.0,
        _ => 0.0,
    }
}

fn put(document: &mut Document, column: &str, value: Value) {
    if value.is_null() {
        document.shift_remove(column);
    } else {
        document.insert(column.to_owned(), value);
    }
}

fn fill(document: &mut Document, column: &str, value: impl FnOnce(&Document) -> Option<Value>) {
    if is_empty(document.get(column))
        && let Some(value) = value(document)
    {
        document.insert(column.to_owned(), value);
    }
}

fn full_name(document: &Document) -> Option<Value> {
    let first = text(document, "first_name").filter(|name| !name.is_empty())?;
    let last = text(document, "last_name").unwrap_or("");
    Some(format!("{first} {last}").trim_end().into())
}

fn settle_order(order: &mut Document, lookup: Lookup<'_>) {
    let customer = text(order, "customer").and_then(|name| lookup("Customer", name));
    if let Some(name) = customer.and_then(|customer| customer.get("customer_name").cloned()) {
        order.insert("customer_name".to_owned(), name);
    }
    let (mut total_qty, mut grand_total) = (0.0, 0.0);
    if let Some(Value::Array(rows)) = order.get_mut("items") {
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            let item = text(row, "item_code").and_then(|name| lookup("Item", name));
            fill(row, "item_name", |_| item.as_ref()?.get("item_name").cloned());
            let (qty, mut rate) = (row.get("qty").map_or(0.0, number), row.get("rate").map_or(0.0, number));
            if rate == 0.0 {
                rate = item.as_ref().and_then(|item| item.get("standard_rate")).map_or(0.0, number);
            }
            row.insert("rate".to_owned(), rate.into());
            row.insert("amount".to_owned(), (qty * rate).into());
            total_qty += qty;
            grand_total += qty * rate;
        }
    }
    order.insert("total_qty".to_owned(), total_qty.into());
    order.insert("grand_total".to_owned(), grand_total.into());
    let status = match docstatus(order) {
        SUBMITTED => "To Deliver and Bill",
        CANCELLED => "Cancelled",
        _ => "Draft",
    };
    order.insert("status".to_owned(), status.into());
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(rows)) => rows.is_empty(),
        Some(_) => false,
    }
}

fn check_links(doctype: &DocType, document: &Document, lookup: Lookup<'_>) -> Result<(), Fault> {
    let mut broken = Vec::new();
    let mut look = |doctype: &DocType, row: &Document, prefix: &str| {
        for field in doctype.fields {
            let FieldKind::Link(target) = field.kind else { continue };
            if let Some(name) = text(row, field.name).filter(|name| !name.is_empty() && lookup(target, name).is_none()) {
                broken.push(format!("{prefix}{}: {name}", field.label));
            }
        }
    };
    look(doctype, document, "");
    for (_, child, idx, row) in children(doctype, document) {
        look(child, row, &format!("Row #{idx}: "));
    }
    if broken.is_empty() { Ok(()) } else { Err(Fault::thrown(Kind::LinkValidation, format!("Could not find {}", broken.join(", ")))) }
}

/// T115: one message for each missing field, and an exception that names them all.
fn check_mandatory(doctype: &DocType, document: &Document) -> Result<(), Fault> {
    let mut missing = Vec::new();
    let empty = |row: &Document, field: &Field| field.required && is_empty(row.get(field.name));
    for field in doctype.fields.iter().filter(|field| empty(document, field)) {
        let what = if matches!(field.kind, FieldKind::Table(_)) { "Data missing in table" } else { "Value missing for" };
        missing.push((field.name, format!("Error: {what} {}: {}", doctype.name, field.label)));
    }
    for (table, child, idx, row) in children(doctype, document) {
        for field in child.fields.iter().filter(|field| empty(row, field)) {
            missing.push((field.name, format!("Error: {} Row #{idx}: Value missing for: {}", table.label, field.label)));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let fields: Vec<&str> = missing.iter().map(|(field, _)| *field).collect();
    let name = text(document, "name").unwrap_or("None");
    let fault = Fault::bare(Kind::Mandatory, format!("[{}, {name}]: {}", doctype.name, fields.join(", ")));
    Err(missing.into_iter().fold(fault, |fault, (_, text)| fault.with_message(json!({"message": text, "title": "Message"}))))
}

/// T114; the space in front of the label is Frappe's.
fn check_choices(doctype: &DocType, document: &Document, prefix: &str) -> Result<(), Fault> {
    for field in doctype.fields {
        let FieldKind::Select(choices) = field.kind else { continue };
        let Some(value) = text(document, field.name).filter(|value| !value.is_empty()) else { continue };
        if !choices.contains(&value) {
            let listed: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            let text = format!("{prefix} {} cannot be \"{value}\". It should be one of {}", field.label, listed.join(", "));
            return Err(Fault::thrown(Kind::Validation, text));
        }
    }
    Ok(())
}
