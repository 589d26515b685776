//! Functions that Frappe's own desk calls. Most of them write on any HTTP method, which is why a gate cannot go by the method.

use serde_json::{Value, json};

use crate::pocket::doctype::DocType;
use crate::pocket::document::{CANCELLED, SUBMITTED, folded, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::filter::plain;
use crate::pocket::methods::{Answer, Call, document_method, identity};
use crate::pocket::site::Right;

/// Deletes whatever it may, says nothing of the rest but messages, and commits, on a GET too (T200, T274).
pub(super) fn delete_items(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let mut messages = Vec::new();
    for name in call.sent_list("items")? {
        if let Err(fault) = call.site.delete(call.user, &doctype, &plain(&name)) {
            messages.extend_from_slice(fault.messages());
        }
    }
    Ok(Answer { messages, ..Answer::default() }.committed())
}

pub(super) fn search_link(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let found = DocType::find(&doctype).ok_or_else(|| Fault::not_found("DocType", &doctype))?;
    if !call.site.may(call.user, found, Right::Read) {
        return Err(Fault::list_forbidden(call.user, &doctype));
    }
    let wanted = folded(&call.argument("txt").unwrap_or_default());
    let length = usize::try_from(call.form.number("page_length").unwrap_or(10)).unwrap_or(10);
    let mut results = Vec::new();
    for row in call.site.rows(found) {
        let name = text(&row, "name").unwrap_or_default();
        let titles = ["item_name", "lead_name", "customer_name", "full_name"];
        let description = titles.into_iter().find_map(|column| text(&row, column)).unwrap_or_default();
        if folded(name).contains(&wanted) || folded(description).contains(&wanted) {
            results.push(json!({"value": name, "description": description}));
        }
    }
    results.truncate(length);
    Ok(Answer::of(results))
}

pub(super) fn getdoc(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let document = call.site.read(call.user, &call.required("doctype")?, &call.required("name")?)?;
    let mut answer = Answer::default();
    answer.extra.insert("docs".to_owned(), json!([*document]));
    Ok(answer)
}

/// Creates or updates on any HTTP method, DELETE included (T271).
pub(super) fn savedocs(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let document = call.sent_document("doc")?;
    let (doctype, name) = identity(&document)?;
    let mut saved = match call.site.find(doctype, name) {
        Some(_) => call.site.update(call.user, doctype, name, &document)?,
        None => call.site.insert(call.user, doctype, &document)?,
    };
    if call.argument("action").as_deref() == Some("Submit") {
        let name = text(&saved, "name").unwrap_or_default().to_owned();
        saved = call.site.change_docstatus(call.user, doctype, &name, SUBMITTED)?;
    }
    let mut answer = Answer::default();
    answer.extra.insert("docs".to_owned(), json!([*saved]));
    Ok(answer)
}

/// Needs no more than the right to write, takes every HTTP method, and commits after each document (T221, T270, T275).
pub(super) fn submit_cancel_or_update_docs(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let doctype = call.required("doctype")?;
    let mut failed = Vec::new();
    for name in call.sent_list("docnames")?.iter().map(plain) {
        let done = match call.argument("action").as_deref() {
            Some("update") => call.sent_document("data").and_then(|values| call.site.update(call.user, &doctype, &name, &values)),
            Some("cancel") => call.site.change_docstatus(call.user, &doctype, &name, CANCELLED),
            _ => call.site.change_docstatus(call.user, &doctype, &name, SUBMITTED),
        };
        if done.is_err() {
            failed.push(Value::String(name));
        }
    }
    Ok(Answer::of(failed).committed())
}

pub(super) fn run_doc_method(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let (doctype, method) = (call.required("dt")?, call.required("method")?);
    let name = call.argument("dn").unwrap_or_else(|| doctype.clone());
    let mut answer = document_method(call, &doctype, &name, &method)?;
    if let Some(document) = call.site.find(&doctype, &name) {
        answer.extra.insert("docs".to_owned(), json!([*document]));
    }
    Ok(answer)
}

/// Makes a File of what was uploaded; the bytes are not kept.
pub(super) fn upload_file(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let upload = call.form.files.iter().find(|upload| upload.field == "file").or(call.form.files.first());
    let sent_name = call.argument("file_name").or_else(|| call.argument("filename")).filter(|name| !name.is_empty());
    let file_name = upload.map(|upload| upload.file_name.clone()).filter(|name| !name.is_empty()).or(sent_name);
    let file_name = file_name.ok_or_else(|| Fault::thrown(Kind::Validation, "Please attach a file or set a URL"))?;
    let is_private = call.form.flag("is_private") == Some(true);
    let folder = if is_private { "/private/files" } else { "/files" };
    let file = json!({
        "file_name": file_name,
        "is_private": u8::from(is_private),
        "file_url": call.argument("file_url").unwrap_or_else(|| format!("{folder}/{file_name}")),
        "file_size": upload.map_or(0, |upload| upload.bytes),
        "folder": call.argument("folder"),
        "attached_to_doctype": call.argument("doctype"),
        "attached_to_name": call.argument("docname"),
    });
    let Value::Object(file) = file else { return Ok(Answer::default()) };
    Ok(Answer::document(&*call.site.insert(call.user, "File", &file)?))
}
