//! Lists: `fields`, `filters`, `or_filters`, `order_by`, `group_by` and the page, over the rows of one doctype.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use crate::pocket::doctype::{CHILD_COLUMNS, DOCTYPES, DocType, FieldKind, STANDARD_COLUMNS, Shape};
use crate::pocket::document::{Document, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::filter::{compare, conditions, plain};
use crate::pocket::form::Form;
use crate::pocket::site::{Right, Site};

/// Rows of a page where the client says nothing.
const PAGE_ROWS: i64 = 20;

/// One column of the answer.
struct Column {
    label: String,
    source: Source,
}

enum Source {
    Own(String),
    /// A column of the document that a link field points to. Frappe checks no permission of that other doctype here.
    Linked {
        link: &'static str,
        target: &'static str,
        column: String,
    },
    /// A column of the first child row of a table.
    Child {
        table: &'static str,
        column: String,
    },
    /// `count(...)` of a group.
    Count,
}

/// `frappe.get_list`: the rows as dictionaries, or as lists with `as_dict=0`.
pub(super) fn list(site: &Site, user: &str, doctype: &str, form: &Form) -> Result<Value, Fault> {
    let doctype = visible(site, user, doctype, form)?;
    let columns = columns(doctype, form.json("fields"))?;
    let mut rows = matching(site, doctype, form)?;
    sort(doctype, &mut rows, form.text("order_by").unwrap_or(""))?;
    let counts = match form.text("group_by").filter(|column| !column.is_empty()) {
        Some(column) => group(doctype, &mut rows, column)?,
        None if columns.iter().any(|column| matches!(column.source, Source::Count)) => {
            let count = rows.len();
            rows.truncate(1);
            vec![count]
        }
        None => Vec::new(),
    };
    let start = usize::try_from(form.number("limit_start").or_else(|| form.number("start")).unwrap_or(0)).unwrap_or(0);
    let wanted = form.number("limit_page_length").or_else(|| form.number("limit")).unwrap_or(PAGE_ROWS);
    // Zero means all.
    let length = usize::try_from(wanted).ok().filter(|&length| length > 0).unwrap_or(usize::MAX);
    let as_dict = form.flag("as_dict").unwrap_or(true);
    let page = rows.iter().enumerate().skip(start).take(length).map(|(at, row)| {
        let cells = columns.iter().map(|column| (column.label.clone(), column.cell(site, row, counts.get(at))));
        if as_dict { Value::Object(cells.collect()) } else { Value::Array(cells.map(|(_, cell)| cell).collect()) }
    });
    Ok(Value::Array(page.collect()))
}

/// `frappe.db.count` under the user's permissions.
pub(super) fn count(site: &Site, user: &str, doctype: &str, form: &Form) -> Result<Value, Fault> {
    let doctype = visible(site, user, doctype, form)?;
    Ok(matching(site, doctype, form)?.len().into())
}

/// The doctype, where the user may read it.
pub(super) fn visible(site: &Site, user: &str, doctype: &str, form: &Form) -> Result<&'static DocType, Fault> {
    let doctype = listed(doctype)?;
    allow(site, user, doctype, form)?;
    Ok(doctype)
}

/// The first row that the filters leave, the newest first.
pub(super) fn first(site: &Site, user: &str, doctype: &str, form: &Form) -> Result<Option<Arc<Document>>, Fault> {
    let doctype = visible(site, user, doctype, form)?;
    let mut rows = matching(site, doctype, form)?;
    sort(doctype, &mut rows, "")?;
    Ok(rows.into_iter().next())
}

impl Column {
    fn cell(&self, site: &Site, row: &Document, count: Option<&usize>) -> Value {
        let cell = match &self.source {
            Source::Own(column) => row.get(column).cloned(),
            Source::Linked { link, target, column } => {
                text(row, link).and_then(|name| site.find(target, name)).and_then(|linked| linked.get(column).cloned())
            }
            Source::Child { table, column } => row.get(*table).and_then(|rows| rows.get(0)?.get(column).cloned()),
            Source::Count => Some((*count.unwrap_or(&0)).into()),
        };
        cell.unwrap_or(Value::Null)
    }
}

/// A list of an unknown doctype is a 404; of one that differs in case or spaces only, an error of the database (T280a, T280b, T280i).
fn listed(name: &str) -> Result<&'static DocType, Fault> {
    DocType::find(name).ok_or_else(|| {
        let close = name.trim().to_lowercase();
        if DOCTYPES.iter().any(|doctype| doctype.name.to_lowercase() == close) {
            Fault::bare(Kind::Programming, format!("('DocType', '{name}')"))
        } else {
            Fault::not_found("DocType", name)
        }
    })
}

/// A child doctype is read through a parent that the request names.
fn allow(site: &Site, user: &str, doctype: &'static DocType, form: &Form) -> Result<(), Fault> {
    let asked = if doctype.shape == Shape::Child {
        let parent = form.text("parent").or_else(|| form.text("parent_doctype")).and_then(DocType::find);
        parent.filter(|parent| parent.tables().any(|(_, child)| child.name == doctype.name))
    } else {
        Some(doctype)
    };
    if asked.is_some_and(|asked| site.may(user, asked, Right::Read)) { Ok(()) } else { Err(Fault::list_forbidden(user, doctype.name)) }
}

fn matching(site: &Site, doctype: &'static DocType, form: &Form) -> Result<Vec<Arc<Document>>, Fault> {
    let all = conditions(doctype, &form.json("filters").unwrap_or_default())?;
    let any = conditions(doctype, &form.json("or_filters").unwrap_or_default())?;
    let mut rows = site.rows(doctype);
    rows.retain(|row| {
        all.iter().all(|condition| condition.holds(doctype, row))
            && (any.is_empty() || any.iter().any(|condition| condition.holds(doctype, row)))
    });
    Ok(rows)
}

/// `order_by`: columns with `asc` or `desc`, with commas between; `modified desc` where none is given.
fn sort(doctype: &DocType, rows: &mut [Arc<Document>], order_by: &str) -> Result<(), Fault> {
    let order_by = if order_by.trim().is_empty() { "modified desc" } else { order_by };
    let mut keys = Vec::new();
    for part in order_by.split(',') {
        let (expression, descending) = direction(part.trim());
        let column = own_column(expression);
        if !doctype.has_column(&column) {
            return Err(not_permitted(&column));
        }
        keys.push((column, descending));
    }
    rows.sort_by(|left, right| {
        keys.iter().fold(Ordering::Equal, |order, (column, descending)| {
            let cell = |row: &Document| row.get(column).cloned().unwrap_or_default();
            let next = compare(&cell(left), &cell(right));
            order.then(if *descending { next.reverse() } else { next })
        })
    });
    Ok(())
}

/// Splits off `asc` or `desc`; the name of a table in front may hold spaces.
fn direction(part: &str) -> (&str, bool) {
    match part.rsplit_once(' ') {
        Some((expression, word)) if word.eq_ignore_ascii_case("desc") => (expression, true),
        Some((expression, word)) if word.eq_ignore_ascii_case("asc") => (expression, false),
        _ => (part, false),
    }
}

/// Keeps the first row of each value of a column, and says how many rows it stands for.
fn group(doctype: &DocType, rows: &mut Vec<Arc<Document>>, column: &str) -> Result<Vec<usize>, Fault> {
    let column = own_column(column);
    if !doctype.has_column(&column) {
        return Err(not_permitted(&column));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    rows.retain(|row| {
        let key = plain(row.get(&column).unwrap_or(&Value::Null)).to_lowercase();
        match seen.iter().position(|known| *known == key) {
            Some(at) => {
                counts[at] += 1;
                false
            }
            None => {
                seen.push(key);
                counts.push(1);
                true
            }
        }
    });
    Ok(counts)
}

/// `fields`: a list, or one text with commas; the name alone where none is given.
fn columns(doctype: &'static DocType, fields: Option<Value>) -> Result<Vec<Column>, Fault> {
    let names: Vec<String> = match fields {
        None => vec!["name".to_owned()],
        Some(Value::String(text)) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        Some(Value::Array(list)) => list.iter().map(plain).collect(),
        Some(other) => return Err(not_permitted(&other.to_string())),
    };
    let mut out = Vec::new();
    for name in &names {
        if own_column(name) == "*" {
            out.extend(every_column(doctype).map(|column| Column { label: column.to_owned(), source: Source::Own(column.to_owned()) }));
        } else {
            out.push(column(doctype, name)?);
        }
    }
    Ok(out)
}

fn every_column(doctype: &'static DocType) -> impl Iterator<Item = &'static str> {
    let own = doctype.fields.iter().filter(|field| !matches!(field.kind, FieldKind::Table(_))).map(|field| field.name);
    let parent = CHILD_COLUMNS.into_iter().filter(|_| doctype.shape == Shape::Child);
    STANDARD_COLUMNS.into_iter().chain(own).chain(parent)
}

fn column(doctype: &'static DocType, asked: &str) -> Result<Column, Fault> {
    let lower = asked.to_ascii_lowercase();
    let (expression, alias) = match lower.rfind(" as ") {
        Some(at) => (asked[..at].trim(), Some(asked[at + 4..].trim().replace('`', ""))),
        None => (asked.trim(), None),
    };
    let labelled = |label: &str, source| Ok(Column { label: alias.clone().unwrap_or_else(|| label.to_owned()), source });
    if lower.starts_with("count(") {
        return labelled(expression, Source::Count);
    }
    let own = own_column(expression);
    if doctype.has_column(&own) && (!expression.contains('.') || expression.replace('`', "").starts_with(&format!("tab{}.", doctype.name)))
    {
        return labelled(&own, Source::Own(own.clone()));
    }
    let plain_expression = expression.replace('`', "");
    let Some((table, column)) = plain_expression.split_once('.') else { return Err(not_permitted(asked)) };
    let table = table.strip_prefix("tab").unwrap_or(table);
    for field in doctype.fields {
        match field.kind {
            FieldKind::Link(target) if field.name == table && DocType::find(target).is_some_and(|target| target.has_column(column)) => {
                return labelled(column, Source::Linked { link: field.name, target, column: column.to_owned() });
            }
            FieldKind::Table(child)
                if (field.name == table || child == table) && DocType::find(child).is_some_and(|child| child.has_column(column)) =>
            {
                return labelled(column, Source::Child { table: field.name, column: column.to_owned() });
            }
            _ => {}
        }
    }
    Err(not_permitted(asked))
}

/// The bare column of `` `tabItem`.`name` ``, `tabItem.name` or `name`.
fn own_column(expression: &str) -> String {
    let plain = expression.trim().replace('`', "");
    plain.rsplit_once('.').map_or(plain.clone(), |(_, column)| column.to_owned())
}

/// T413.
fn not_permitted(field: &str) -> Fault {
    Fault::thrown(Kind::Data, format!("Field not permitted in query: {field}"))
}
