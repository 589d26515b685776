//! The functions behind `/api/method/<name>` and `cmd`, each with the HTTP methods that Frappe lets it be called with.
//!
//! Those methods say nothing about what a function does: `delete_items` takes GET, deletes and commits by itself (T200).

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::pocket::client;
use crate::pocket::desk;
use crate::pocket::document::{CANCELLED, Document, SUBMITTED, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::filter::plain;
use crate::pocket::form::Form;
use crate::pocket::oauth::{Provider, endpoint, grant, openid};
use crate::pocket::query;
use crate::pocket::request::Request;
use crate::pocket::site::Site;

/// Documents of one `insert_many` (Frappe's own bound) and of the other lists.
const DOCUMENTS_MAX: usize = 200;

/// What a function works with.
pub(super) struct Call<'a> {
    pub site: &'a mut Site,
    pub user: &'a str,
    pub form: &'a Form,
    pub request: &'a Request,
    pub oauth: &'a mut Provider,
}

/// What a function leaves: its value, and what it wrote into the response beside it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub value: Option<Value>,
    pub extra: Map<String, Value>,
    pub messages: Vec<Value>,
    /// The function committed by itself, so that a GET keeps its changes.
    pub committed: bool,
    pub status: StatusCode,
    pub rendering: Rendering,
}

/// What a function's answer is shown as.
#[derive(Debug, Default)]
pub(super) enum Rendering {
    #[default]
    Json,
    /// To this address, instead.
    Redirect(String),
    /// This page, instead.
    Page(String),
}

/// The HTTP methods that a function takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbs {
    /// Frappe's default: GET, POST, PUT and DELETE.
    Any,
    PostPut,
    DeletePost,
}

/// One whitelisted function.
struct Function {
    name: &'static str,
    verbs: Verbs,
    guest: bool,
    run: fn(&mut Call<'_>) -> Result<Answer, Fault>,
}

/// How strictly a call is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Verb,
    /// Through `upload_file?method=`, which forgets to ask for the HTTP method (T237, T238).
    NameOnly,
}

/// `frappe.handler.execute_cmd`.
pub(super) fn execute(name: &str, method: &Method, check: Check, call: &mut Call<'_>) -> Result<Answer, Fault> {
    let function = FUNCTIONS.iter().find(|function| function.name == name).ok_or_else(|| unknown(name))?;
    if !function.guest && call.user == "Guest" {
        return Err(Fault::not_whitelisted(name));
    }
    if check == Check::Verb && !function.verbs.take(method) {
        return Err(Fault::not_permitted());
    }
    if function.name == "upload_file"
        && let Some(inner) = call.form.text("method").filter(|inner| *inner != "upload_file")
    {
        return execute(inner, method, Check::NameOnly, call);
    }
    (function.run)(call)
}

impl Verbs {
    fn take(self, method: &Method) -> bool {
        let verbs: &[Method] = match self {
            Verbs::Any => &[Method::GET, Method::POST, Method::PUT, Method::DELETE],
            Verbs::PostPut => &[Method::POST, Method::PUT],
            Verbs::DeletePost => &[Method::DELETE, Method::POST],
        };
        verbs.contains(method)
    }
}

const fn any(name: &'static str, run: fn(&mut Call<'_>) -> Result<Answer, Fault>) -> Function {
    Function { name, verbs: Verbs::Any, guest: false, run }
}

const fn guest(name: &'static str, run: fn(&mut Call<'_>) -> Result<Answer, Fault>) -> Function {
    Function { name, verbs: Verbs::Any, guest: true, run }
}

const fn post_put(name: &'static str, run: fn(&mut Call<'_>) -> Result<Answer, Fault>) -> Function {
    Function { name, verbs: Verbs::PostPut, guest: false, run }
}

const fn delete_post(name: &'static str, run: fn(&mut Call<'_>) -> Result<Answer, Fault>) -> Function {
    Function { name, verbs: Verbs::DeletePost, guest: false, run }
}

static FUNCTIONS: &[Function] = &[
    guest("ping", |_| Ok(Answer::of("pong"))),
    guest("frappe.ping", |_| Ok(Answer::of("pong"))),
    any("upload_file", desk::upload_file),
    any("frappe.auth.get_logged_user", |call| Ok(Answer::of(call.user))),
    any("frappe.client.get_list", |call| call.list()),
    any("frappe.client.get_count", |call| Ok(Answer::of(query::count(call.site, call.user, &call.required("doctype")?, call.form)?))),
    any("frappe.client.get", client::get),
    any("frappe.client.get_value", client::get_value),
    any("frappe.client.get_single_value", client::get_single_value),
    any("frappe.client.get_password", client::get_password),
    any("frappe.client.has_permission", client::has_permission),
    guest("frappe.client.get_time_zone", |_| Ok(Answer::of(json!({"time_zone": "Etc/UTC"})))),
    post_put("frappe.client.set_value", client::set_value),
    post_put("frappe.client.insert", client::insert),
    post_put("frappe.client.insert_many", client::insert_many),
    post_put("frappe.client.save", client::save),
    post_put("frappe.client.submit", client::submit),
    post_put("frappe.client.cancel", client::cancel),
    post_put("frappe.client.rename_doc", client::rename_doc),
    post_put("frappe.client.bulk_update", client::bulk_update),
    delete_post("frappe.client.delete", client::delete),
    any("frappe.desk.reportview.get_list", |call| call.list()),
    any("frappe.desk.reportview.get_count", |call| {
        Ok(Answer::of(query::count(call.site, call.user, &call.required("doctype")?, call.form)?))
    }),
    any("frappe.desk.reportview.delete_items", desk::delete_items),
    any("frappe.desk.search.search_link", desk::search_link),
    any("frappe.desk.form.load.getdoc", desk::getdoc),
    any("frappe.desk.form.save.savedocs", desk::savedocs),
    any("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs", desk::submit_cancel_or_update_docs),
    guest("frappe.integrations.oauth2.authorize", endpoint::authorize),
    any("frappe.integrations.oauth2.approve", endpoint::approve),
    guest("frappe.integrations.oauth2.get_token", grant::get_token),
    guest("frappe.integrations.oauth2.revoke_token", endpoint::revoke_token),
    guest("frappe.integrations.oauth2.introspect_token", endpoint::introspect_token),
    any("frappe.integrations.oauth2.openid_profile", openid::openid_profile),
    guest("frappe.integrations.oauth2.openid_configuration", openid::openid_configuration),
    any("run_doc_method", desk::run_doc_method),
    any("runserverobj", desk::run_doc_method),
];

impl Answer {
    pub fn of(value: impl Into<Value>) -> Answer {
        Answer { value: Some(value.into()), ..Answer::default() }
    }

    pub fn document(document: &Document) -> Answer {
        Answer::of(Value::Object(document.clone()))
    }

    /// The whole response: these keys, with nothing around them.
    pub fn body(status: StatusCode, body: Value) -> Answer {
        let extra = if let Value::Object(extra) = body { extra } else { Map::new() };
        Answer { extra, status, ..Answer::default() }
    }

    pub fn redirect(target: String) -> Answer {
        Answer { rendering: Rendering::Redirect(target), ..Answer::default() }
    }

    pub fn committed(self) -> Answer {
        Answer { committed: true, ..self }
    }
}

impl Call<'_> {
    pub fn argument(&self, key: &str) -> Option<String> {
        self.form.args.get(key).filter(|value| !value.is_null()).map(plain)
    }

    /// An argument without a default; Python raises a TypeError where it is missing.
    pub fn required(&self, key: &str) -> Result<String, Fault> {
        self.argument(key).ok_or_else(|| Fault::bare(Kind::Type, format!("missing 1 required positional argument: '{key}'")))
    }

    /// A document sent as an argument, as an object or as JSON in a text.
    pub fn sent_document(&self, key: &str) -> Result<Document, Fault> {
        match self.form.json(key) {
            Some(Value::Object(document)) => Ok(document),
            Some(_) => Err(Fault::thrown(Kind::Validation, format!("{key} must be a document"))),
            None => Err(Fault::bare(Kind::Type, format!("missing 1 required positional argument: '{key}'"))),
        }
    }

    pub fn sent_list(&self, key: &str) -> Result<Vec<Value>, Fault> {
        match self.form.json(key) {
            Some(Value::Array(list)) if list.len() <= DOCUMENTS_MAX => Ok(list),
            Some(Value::Array(_)) => Err(Fault::thrown(Kind::Validation, format!("Only {DOCUMENTS_MAX} inserts allowed in one request"))),
            _ => Err(Fault::thrown(Kind::Validation, format!("{key} must be a list"))),
        }
    }

    fn list(&self) -> Result<Answer, Fault> {
        Ok(Answer::of(query::list(self.site, self.user, &self.required("doctype")?, self.form)?))
    }

    /// Updates the row that a sent document names.
    pub fn save(&mut self, document: &Document) -> Result<Arc<Document>, Fault> {
        let (doctype, name) = identity(document)?;
        self.site.update(self.user, doctype, name, document)
    }
}

/// Runs a method of a document, as `run_method` asks for: the ones that Frappe whitelists on every document. None of them checks the HTTP
/// method (R8).
pub(super) fn document_method(call: &mut Call<'_>, doctype: &str, name: &str, method: &str) -> Result<Answer, Fault> {
    let document = call.site.read(call.user, doctype, name)?;
    match method {
        "submit" => Ok(Answer::document(&*call.site.change_docstatus(call.user, doctype, name, SUBMITTED)?)),
        "cancel" => Ok(Answer::document(&*call.site.change_docstatus(call.user, doctype, name, CANCELLED)?)),
        "rename" => {
            let new = call.required("name")?;
            Ok(Answer::of(call.site.rename(call.user, doctype, name, &new, call.form.flag("merge") == Some(true))?))
        }
        "add_comment" => {
            let comment = json!({
                "comment_type": call.argument("comment_type").unwrap_or_else(|| "Comment".to_owned()),
                "comment_email": call.user,
                "reference_doctype": doctype,
                "reference_name": text(&document, "name"),
                "content": call.argument("text"),
            });
            let Value::Object(comment) = comment else { return Ok(Answer::default()) };
            Ok(Answer::document(&*call.site.insert(call.user, "Comment", &comment)?))
        }
        _ => Err(Fault::not_whitelisted(method)),
    }
}

/// T414.
fn unknown(name: &str) -> Fault {
    let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
    let reason = if module.is_empty() {
        "Empty module name".to_owned()
    } else if FUNCTIONS.iter().any(|known| known.name.rsplit_once('.').is_some_and(|(known, _)| known == module)) {
        format!("module '{module}' has no attribute '{function}'")
    } else {
        format!("No module named '{module}'")
    };
    Fault::thrown(Kind::Validation, format!("Failed to get method for command {name} with {reason}"))
}

/// The doctype and name that a sent document claims.
pub(super) fn identity(document: &Document) -> Result<(&str, &str), Fault> {
    let doctype = text(document, "doctype").ok_or_else(|| Fault::bare(Kind::Key, "'doctype'"))?;
    Ok((doctype, text(document, "name").unwrap_or("")))
}
