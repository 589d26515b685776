//! `frappe.client.*`: the functions that API clients call the most.

use serde_json::{Map, Value, json};

use crate::pocket::doctype::{DocType, Shape};
use crate::pocket::document::{CANCELLED, SUBMITTED, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::form::Form;
use crate::pocket::methods::{Answer, Call, identity};
use crate::pocket::query;
use crate::pocket::site::Right;

pub(super) fn get(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let name = match call.argument("name") {
        Some(name) => name,
        None if DocType::find(&doctype).is_some_and(|doctype| doctype.shape == Shape::Single) => doctype.clone(),
        None => {
            let found = query::first(call.site, call.user, &doctype, call.form)?;
            let found = found.ok_or_else(|| Fault::thrown(Kind::Validation, "No document found for given filters"))?;
            text(&found, "name").unwrap_or_default().to_owned()
        }
    };
    Ok(Answer::document(&*call.site.read(call.user, &doctype, &name)?))
}

pub(super) fn get_value(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let mut form = Form::default();
    for key in ["filters", "parent", "as_dict"] {
        form.args.extend(call.form.args.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    form.args.insert("fields".to_owned(), call.form.json("fieldname").unwrap_or_else(|| "name".into()));
    form.args.insert("limit_page_length".to_owned(), 1.into());
    let rows = query::list(call.site, call.user, &doctype, &form)?;
    Ok(Answer::of(rows.get(0).cloned().unwrap_or_else(|| json!({}))))
}

pub(super) fn get_single_value(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let document = call.site.read(call.user, &doctype, &doctype)?;
    Ok(Answer { value: document.get(&call.required("field")?).cloned(), ..Answer::default() })
}

/// Only a System Manager gets a stored secret, and a token of theirs with any scope does (T503). The secret here is invented.
pub(super) fn get_password(call: &mut Call<'_>) -> Result<Answer, Fault> {
    if !call.site.is_manager(call.user) {
        return Err(Fault::not_permitted());
    }
    call.site.read(call.user, &call.required("doctype")?, &call.required("name")?)?;
    Ok(Answer::of("not-a-real-secret"))
}

pub(super) fn has_permission(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let found = DocType::find(&doctype).ok_or_else(|| Fault::not_found("DocType", &doctype))?;
    let right = match call.argument("perm_type").as_deref() {
        None | Some("read") => Some(Right::Read),
        Some("write") => Some(Right::Write),
        Some("create") => Some(Right::Create),
        Some("submit" | "cancel") => Some(Right::Submit),
        Some("delete") => Some(Right::Delete),
        Some(_) => None,
    };
    let allowed = right.is_some_and(|right| call.site.may(call.user, found, right));
    Ok(Answer::of(json!({"has_permission": allowed})))
}

pub(super) fn set_value(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let (doctype, name) = (call.required("doctype")?, call.required("name")?);
    let values = match call.form.json("fieldname") {
        Some(Value::Object(values)) => values,
        Some(Value::String(column)) => Map::from_iter([(column, call.form.args.get("value").cloned().unwrap_or_default())]),
        _ => return Err(Fault::bare(Kind::Type, "missing 1 required positional argument: 'fieldname'")),
    };
    if values
        .keys()
        .any(|column| matches!(column.as_str(), "name" | "owner" | "creation" | "modified" | "modified_by" | "docstatus" | "idx"))
    {
        return Err(Fault::thrown(Kind::Validation, "Cannot edit standard fields"));
    }
    Ok(Answer::document(&*call.site.update(call.user, &doctype, &name, &values)?))
}

pub(super) fn insert(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let document = call.sent_document("doc")?;
    let (doctype, _) = identity(&document)?;
    Ok(Answer::document(&*call.site.insert(call.user, doctype, &document)?))
}

pub(super) fn insert_many(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let mut names = Vec::new();
    for document in call.sent_list("docs")? {
        let Value::Object(document) = document else { return Err(Fault::thrown(Kind::Validation, "docs must be a list of documents")) };
        let (doctype, _) = identity(&document)?;
        let inserted = call.site.insert(call.user, doctype, &document)?;
        names.extend(inserted.get("name").cloned());
    }
    Ok(Answer::of(names))
}

pub(super) fn save(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let document = call.sent_document("doc")?;
    Ok(Answer::document(&*call.save(&document)?))
}

/// Clients written for an older Frappe send the document as `doclist`.
pub(super) fn submit(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let key = if call.form.args.contains_key("doc") { "doc" } else { "doclist" };
    let document = call.sent_document(key)?;
    let (doctype, name) = identity(&document)?;
    Ok(Answer::document(&*call.site.change_docstatus(call.user, doctype, name, SUBMITTED)?))
}

pub(super) fn cancel(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let (doctype, name) = (call.required("doctype")?, call.required("name")?);
    Ok(Answer::document(&*call.site.change_docstatus(call.user, &doctype, &name, CANCELLED)?))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Answer, Fault> {
    call.site.delete(call.user, &call.required("doctype")?, &call.required("name")?)?;
    Ok(Answer::default())
}

pub(super) fn rename_doc(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let (doctype, old, new) = (call.required("doctype")?, call.required("old_name")?, call.required("new_name")?);
    let name = call.site.rename(call.user, &doctype, &old, &new, call.form.flag("merge") == Some(true))?;
    let text = format!("Document renamed from <strong>{old}</strong> to <strong>{new}</strong>");
    let message = json!({"message": text, "title": "Message", "indicator": "green", "alert": 1});
    Ok(Answer { messages: vec![message], ..Answer::of(name) })
}

pub(super) fn bulk_update(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let mut failed = Vec::new();
    for document in call.sent_list("docs")? {
        let Value::Object(mut document) = document else { continue };
        if let Some(name) = document.shift_remove("docname") {
            document.insert("name".to_owned(), name);
        }
        if let Err(fault) = call.save(&document) {
            failed.push(json!({"doc": document, "exc": fault.exception_line()}));
        }
    }
    Ok(Answer::of(json!({"failed_docs": failed})))
}
