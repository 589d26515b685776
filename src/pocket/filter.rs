//! The filters of a list: Frappe's dictionaries and tuples in, one test of a row out.
//!
//! Comparison is MariaDB's as Frappe sets it up: texts without case, numbers as numbers, an absent value as `''` or `0`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::pocket::doctype::{DocType, FieldKind};
use crate::pocket::document::{Document, children, number};
use crate::pocket::fault::{Fault, Kind};

/// Conditions of one list.
const CONDITIONS_MAX: usize = 100;

/// One comparison of a column, of the document or of any of its child rows.
#[derive(Debug)]
pub(super) struct Condition {
    child: Option<&'static DocType>,
    column: String,
    operator: Operator,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Like,
    NotLike,
    In,
    NotIn,
    Between,
    Is,
}

impl Operator {
    fn parse(text: &str) -> Option<Operator> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "=" => Operator::Equal,
            "!=" | "<>" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            ">=" => Operator::GreaterOrEqual,
            "<=" => Operator::LessOrEqual,
            "like" => Operator::Like,
            "not like" => Operator::NotLike,
            "in" => Operator::In,
            "not in" => Operator::NotIn,
            "between" => Operator::Between,
            "is" => Operator::Is,
            _ => return None,
        })
    }
}

/// Reads `filters` or `or_filters`: a dictionary (`{"a": 1}`, `{"a": ["like", "x%"]}`), a list of 2-, 3- or 4-tuples or of dictionaries, or
/// the text of one name.
pub(super) fn conditions(doctype: &'static DocType, filters: &Value) -> Result<Vec<Condition>, Fault> {
    let mut out = Vec::new();
    match filters {
        Value::Null => {}
        Value::Object(columns) => from_dictionary(doctype, columns, &mut out)?,
        Value::Array(list) if list.len() <= CONDITIONS_MAX => {
            for entry in list {
                match entry {
                    Value::Object(columns) => from_dictionary(doctype, columns, &mut out)?,
                    Value::Array(tuple) => out.push(from_tuple(doctype, tuple)?),
                    _ => return Err(invalid("a filter is neither a list nor a dictionary")),
                }
            }
        }
        Value::String(_) | Value::Number(_) => out.push(condition(doctype, doctype.name, "name", Operator::Equal, filters.clone())?),
        _ => return Err(invalid("the filters are neither a list nor a dictionary")),
    }
    Ok(out)
}

impl Condition {
    pub fn holds(&self, doctype: &DocType, row: &Document) -> bool {
        match self.child {
            None => self.test(row.get(&self.column)),
            Some(wanted) => children(doctype, row).any(|(_, child, _, row)| child.name == wanted.name && self.test(row.get(&self.column))),
        }
    }

    fn test(&self, cell: Option<&Value>) -> bool {
        let cell = cell.unwrap_or(&Value::Null);
        match self.operator {
            Operator::Equal => compare(cell, &self.value).is_eq(),
            Operator::NotEqual => compare(cell, &self.value).is_ne(),
            Operator::Greater => compare(cell, &self.value).is_gt(),
            Operator::Less => compare(cell, &self.value).is_lt(),
            Operator::GreaterOrEqual => compare(cell, &self.value).is_ge(),
            Operator::LessOrEqual => compare(cell, &self.value).is_le(),
            Operator::Like => like(&plain(cell), &plain(&self.value)),
            Operator::NotLike => !like(&plain(cell), &plain(&self.value)),
            Operator::In => self.choices().iter().any(|choice| compare(cell, choice).is_eq()),
            Operator::NotIn => !self.choices().iter().any(|choice| compare(cell, choice).is_eq()),
            Operator::Between => match self.choices().as_slice() {
                [low, high] => compare(cell, low).is_ge() && compare(cell, &end_of_day(cell, high)).is_le(),
                _ => false,
            },
            Operator::Is => plain(cell).is_empty() == (plain(&self.value).eq_ignore_ascii_case("not set")),
        }
    }

    /// The list of an `in` or a `between`, which may be sent as one text with commas.
    fn choices(&self) -> Vec<Value> {
        match &self.value {
            Value::Array(choices) => choices.clone(),
            other => plain(other).split(',').map(|choice| Value::String(choice.trim().to_owned())).collect(),
        }
    }
}

/// Orders two cells: as numbers where either is one, else as texts without case.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    let numeric = |value: &Value| matches!(value, Value::Number(_) | Value::Bool(_));
    if numeric(left) || numeric(right) {
        number(left).total_cmp(&number(right))
    } else {
        plain(left).to_lowercase().cmp(&plain(right).to_lowercase())
    }
}

/// A cell as text; an absent one is empty.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// SQL's LIKE without case: `%` for any text, `_` for one character. Greedy with one point to return to, so that no pattern is slow.
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let (mut at, mut p) = (0, 0);
    let mut restart = None;
    while at < text.len() {
        if pattern.get(p) == Some(&'%') {
            restart = Some((p + 1, at));
            p += 1;
        } else if pattern.get(p).is_some_and(|&wanted| wanted == '_' || wanted == text[at]) {
            (at, p) = (at + 1, p + 1);
        } else if let Some((after, from)) = restart {
            restart = Some((after, from + 1));
            (at, p) = (from + 1, after);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == '%')
}

fn from_dictionary(doctype: &'static DocType, columns: &Map<String, Value>, out: &mut Vec<Condition>) -> Result<(), Fault> {
    for (column, value) in columns {
        let (operator, value) = match value {
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(operator), value] => (parse_operator(operator)?, value.clone()),
                _ => return Err(invalid("a filter in a dictionary is a value or an operator with a value")),
            },
            value => (Operator::Equal, value.clone()),
        };
        out.push(condition(doctype, doctype.name, column, operator, value)?);
    }
    Ok(())
}

fn from_tuple(doctype: &'static DocType, tuple: &[Value]) -> Result<Condition, Fault> {
    match tuple {
        [Value::String(column), value] => condition(doctype, doctype.name, column, Operator::Equal, value.clone()),
        [Value::String(column), Value::String(operator), value] => {
            condition(doctype, doctype.name, column, parse_operator(operator)?, value.clone())
        }
        // A fifth element says whether the filter is hidden on the desk.
        [Value::String(of), Value::String(column), Value::String(operator), value]
        | [Value::String(of), Value::String(column), Value::String(operator), value, _] => {
            condition(doctype, of, column, parse_operator(operator)?, value.clone())
        }
        _ => Err(invalid("Filter must have 4 values (doctype, fieldname, operator, value)")),
    }
}

fn condition(doctype: &'static DocType, of: &str, column: &str, operator: Operator, value: Value) -> Result<Condition, Fault> {
    let column = column.replace('`', "");
    let (of, column) = match column.split_once('.') {
        Some((table, column)) => (table.strip_prefix("tab").unwrap_or(table).to_owned(), column.to_owned()),
        None => (of.to_owned(), column),
    };
    let child = (of != doctype.name).then(|| doctype.tables().find(|(field, child)| child.name == of || field.name == of));
    let child = match child {
        None => None,
        Some(Some((_, child))) => Some(child),
        Some(None) => return Err(unknown_column(&of, &column)),
    };
    let searched = child.unwrap_or(doctype);
    if !searched.has_column(&column) {
        return Err(unknown_column(searched.name, &column));
    }
    let value = match searched.field(&column).map(|field| field.kind) {
        Some(FieldKind::Int | FieldKind::Check | FieldKind::Currency)
            if value.is_string()
                && !matches!(
                    operator,
                    Operator::In | Operator::NotIn | Operator::Between | Operator::Is | Operator::Like | Operator::NotLike
                ) =>
        {
            number(&value).into()
        }
        _ => value,
    };
    Ok(Condition { child, column, operator, value })
}

fn parse_operator(text: &str) -> Result<Operator, Fault> {
    Operator::parse(text).ok_or_else(|| invalid("Operator must be one of =, !=, >, <, >=, <=, like, not like, in, not in, between, is"))
}

/// A date as the upper end of `between` takes in the whole day, where the column holds a time.
fn end_of_day(cell: &Value, high: &Value) -> Value {
    match (cell, high) {
        (Value::String(cell), Value::String(high)) if high.len() == 10 && cell.len() > 10 => format!("{high} 23:59:59.999999").into(),
        _ => high.clone(),
    }
}

fn invalid(text: &str) -> Fault {
    Fault::thrown(Kind::Validation, text)
}

/// What MariaDB says, as Frappe passes it on.
fn unknown_column(doctype: &str, column: &str) -> Fault {
    Fault::bare(Kind::Operational, format!("(1054, \"Unknown column 'tab{doctype}.{column}' in 'where clause'\")"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{conditions, like};
    use crate::pocket::doctype::DocType;

    fn matches(filters: Value) -> Result<bool, String> {
        let doctype = DocType::find("Sales Order").expect("a built-in doctype");
        let row = json!({
            "name": "SAL-ORD-1", "customer": "Blue Ltd", "grand_total": 120.0, "docstatus": 0, "creation": "2026-01-31 10:00:00.000000",
            "items": [{"item_code": "ITEM-1", "qty": 2.0}, {"item_code": "ITEM-2", "qty": 9.0}],
        });
        let conditions = conditions(doctype, &filters).map_err(|fault| format!("{fault:?}"))?;
        Ok(conditions.iter().all(|condition| condition.holds(doctype, row.as_object().expect("an object"))))
    }

    #[test]
    fn every_operator_and_every_form_of_filter() {
        for (filters, expected) in [
            (json!(null), true),
            (json!({"customer": "blue ltd"}), true),
            (json!({"customer": ["like", "bl%"], "docstatus": "0"}), true),
            (json!({"customer": "Green Ltd"}), false),
            (json!([["customer", "=", "Blue Ltd"]]), true),
            (json!([["Sales Order", "customer", "!=", "Blue Ltd"]]), false),
            (json!([["Sales Order Item", "item_code", "=", "ITEM-2"]]), true),
            (json!([["Sales Order Item", "qty", ">", 9]]), false),
            (json!([["`tabSales Order`.`grand_total`", ">=", "120"]]), true),
            (json!([["grand_total", "<", 120]]), false),
            (json!([["grand_total", "<=", 120], ["grand_total", ">", "99"]]), true),
            (json!([["customer", "not like", "%ue%"]]), false),
            (json!([["customer", "in", ["x", "Blue Ltd"]]]), true),
            (json!([["customer", "in", "x, Blue Ltd"]]), true),
            (json!([["customer", "not in", ["Blue Ltd"]]]), false),
            (json!([["creation", "between", ["2026-01-01", "2026-01-31"]]]), true),
            (json!([["creation", "between", ["2026-02-01", "2026-02-28"]]]), false),
            (json!([["delivery_date", "is", "not set"], ["customer", "is", "set"]]), true),
            (json!([["delivery_date", "=", ""]]), true),
            (json!("SAL-ORD-1"), true),
        ] {
            assert_eq!(matches(filters.clone()), Ok(expected), "{filters}");
        }
    }

    #[test]
    fn what_is_no_filter_is_a_fault() {
        for (filters, error) in [
            (json!([["customer"]]), "Filter must have 4 values"),
            (json!([["customer", "regexp", "x"]]), "Operator must be one of"),
            (json!([7]), "neither a list nor a dictionary"),
            (json!(true), "neither a list nor a dictionary"),
            (json!([["nosuch", "=", 1]]), "Unknown column 'tabSales Order.nosuch'"),
            (json!([["User", "name", "=", 1]]), "Unknown column 'tabUser.name'"),
        ] {
            let fault = matches(filters.clone()).expect_err("no filter");
            assert!(fault.contains(error), "{filters}: {fault}");
        }
    }

    #[test]
    fn like_matches_as_sql_does() {
        for (text, pattern, expected) in [
            ("ITEM-0001", "item%", true),
            ("ITEM-0001", "%00_1", true),
            ("ITEM-0001", "%01%x", false),
            ("", "%", true),
            ("a", "", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "%a%a%a%a%a%a%a%a%a%b", false),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} like {pattern}");
        }
    }
}
