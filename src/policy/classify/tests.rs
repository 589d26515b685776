//! What requests are taken for: the decision table of FACTS section 2, and ordinary calls.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Body, Classified, Head, OpenPath, Rules};
use crate::policy::catalogue::{Catalogue, Methods, Rpc};
use crate::policy::content_type::BodyKind;
use crate::policy::multipart::Scanner;
use crate::policy::operation::Verb;
use crate::policy::path::tests::nasty_path;
use crate::policy::query::tests::nasty_form;
use crate::policy::refusal::Refusal;
use crate::policy::scope::Effect;

pub(in crate::policy) const JSON: &str = "application/json";
pub(in crate::policy) const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b0";
/// No body at all.
pub(in crate::policy) const NONE: &str = "";

pub(in crate::policy) fn rules() -> Rules {
    let own = vec![Rpc::new("my_app.api.quote", Effect::Read, Methods::GET | Methods::POST).on("doctype").fields("columns")];
    Rules {
        catalogue: Catalogue::builtin().with(own).expect("an entry"),
        opened: Vec::new(),
        paths: vec![
            OpenPath { path: "/files/".into(), verbs: vec![Verb::Get, Verb::Head], scope: "read".into() },
            OpenPath { path: "/".into(), verbs: vec![Verb::Get], scope: "pages".into() },
        ],
    }
}

/// Classifies a request as the gateway does: head, body, both. An empty content type means that there is none, and no body.
pub(in crate::policy) fn classify<'a>(
    rules: &'a Rules,
    method: &'a str,
    target: &'a str,
    content_type: &'a str,
    body: &'a [u8],
) -> Result<Classified<'a>, Refusal> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let has_body = !(content_type.is_empty() && body.is_empty());
    let content_type = (!content_type.is_empty()).then_some(content_type.as_bytes());
    let draft = rules.head(Head { method, path, query, content_type, has_body })?;
    let body = match &draft.body {
        None => Body::None,
        Some(BodyKind::Multipart(boundary)) => {
            let mut scanner = Scanner::new(boundary);
            scanner.push(body)?;
            Body::Fields(scanner.finish()?)
        }
        Some(BodyKind::Json | BodyKind::Form) => Body::Bytes(body),
    };
    rules.finish(draft, body)
}

/// The operation with what it reaches, or the refusal's code.
fn outcome(method: &str, target: &str, content_type: &str, body: &str) -> String {
    match classify(&rules(), method, target, content_type, body.as_bytes()) {
        Err(refusal) => refusal.reason.code().to_owned(),
        Ok(Classified { operation, .. }) => {
            let mut text = operation.to_string();
            operation.reach.doctypes.iter().for_each(|doctype| text.push_str(&format!(" +{doctype}")));
            if operation.reach.open {
                text.push_str(" +any");
            }
            text
        }
    }
}

/// Why, method, target, content type, body, outcome.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

fn hold(rows: &[Row]) {
    for (why, method, target, content_type, body, expected) in rows {
        assert_eq!(outcome(method, target, content_type, body), *expected, "{why}: {method} {target} {body}");
    }
}

#[test]
#[rustfmt::skip]
fn no_bypass_of_a_read_token_is_a_read() {
    hold(&[
        ("R1, T200", "GET", "/api/method/frappe.desk.reportview.delete_items?doctype=ToDo&items=[\"x\"]", NONE, "", "method_not_allowed"),
        ("R2, T201: on `/` it is what it calls", "GET", "/?cmd=frappe.desk.reportview.delete_items&doctype=ToDo&items=[]", NONE, "", "method_not_allowed"),
        ("R2, T202", "GET", "/api/resource/ToDo?cmd=frappe.desk.reportview.delete_items&doctype=ToDo", NONE, "", "parameter_forbidden"),
        ("R2, T203", "GET", "/api/resource/ToDo/x?cmd=frappe.desk.reportview.delete_items", NONE, "", "parameter_forbidden"),
        ("R2, T204", "GET", "/api/v2/document/ToDo?cmd=frappe.desk.reportview.delete_items", NONE, "", "parameter_forbidden"),
        ("R2 on a count", "GET", "/api/v2/doctype/ToDo/count?cmd=x", NONE, "", "parameter_forbidden"),
        ("R2 on a function", "GET", "/api/method/ping?cmd=frappe.client.delete", NONE, "", "parameter_forbidden"),
        ("R2 on an opened path", "GET", "/files/a.png?cmd=frappe.client.delete", NONE, "", "parameter_forbidden"),
        ("R3, T205", "GET", "/api/resource/ToDo", JSON, r#"{"cmd":"frappe.desk.reportview.delete_items"}"#, "body_not_allowed"),
        ("R3, T206", "GET", "/api/resource/ToDo", FORM, "cmd=frappe.desk.reportview.delete_items", "body_not_allowed"),
        ("R3, T207", "GET", "/api/resource/ToDo", MULTIPART, "--b0--\r\n", "body_not_allowed"),
        ("R3: any body, of HEAD too", "HEAD", "/api/resource/ToDo", JSON, "{}", "body_not_allowed"),
        ("R3, T281", "GET", "/api/resource/ToDo", JSON, r#"[{"cmd":"x"}]"#, "body_not_allowed"),
        ("R4, T218", "GET", "/api/resource/ToDo?%63m%64=frappe.desk.reportview.delete_items", NONE, "", "parameter_forbidden"),
        ("R4, all letters", "GET", "/api/resource/ToDo?%63%6D%64=x", NONE, "", "parameter_forbidden"),
        ("R5, T219", "GET", "/api/resource/ToDo?cmd=&cmd=frappe.desk.reportview.delete_items", NONE, "", "parameter_forbidden"),
        ("R5, T219b", "GET", "/api/resource/ToDo?cmd=x&cmd=", NONE, "", "parameter_forbidden"),
        ("R5: even empty", "GET", "/api/resource/ToDo?cmd", NONE, "", "parameter_forbidden"),
        ("R5, T219c", "POST", "/api/resource/ToDo?cmd=frappe.ping", FORM, "cmd=frappe.client.delete", "parameter_forbidden"),
        ("R6, T208", "GET", "/api/%6dethod/frappe%2Edesk%2Ereportview%2Edelete_items", NONE, "", "route_unknown"),
        ("R6, T208 under an opened `/`", "GET", "/%61pi/method/frappe.client.get_list?doctype=ToDo", NONE, "", "route_unknown"),
        ("R6, T209", "GET", "//api/method/frappe.desk.reportview.delete_items", NONE, "", "path_invalid"),
        ("R6, T211: an alias is the same function", "GET", "/api/v1/method/frappe.desk.reportview.delete_items?doctype=ToDo", NONE, "", "method_not_allowed"),
        ("R6, T212", "GET", "/api/v2/method/frappe.desk.reportview.delete_items?doctype=ToDo", NONE, "", "method_not_allowed"),
        ("R6, T213", "GET", "/api/method/frappe.desk.reportview.delete_items/anything/resource/ToDo", NONE, "", "route_unknown"),
        ("R6, T214", "GET", "/api%2Fmethod%2Ffrappe.desk.reportview.delete_items", NONE, "", "path_invalid"),
        ("R6, T216", "GET", "http://fake.test/api/method/ping", NONE, "", "path_invalid"),
        ("R6, T217", "GET", "/api/method/ping#/api/resource/ToDo", NONE, "", "path_invalid"),
        ("R6n, T210", "GET", "/api//method/ping", NONE, "", "path_invalid"),
        ("R6n, T215", "GET", "/api/resource/../method/ping", NONE, "", "path_invalid"),
        ("R6n, T220: `;` is a value here and there", "GET", "/api/resource/ToDo?x=1;cmd=frappe.client.delete", NONE, "", "read ToDo"),
        ("R7, T221", "GET", "/api/method/frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs?doctype=ToDo&docnames=[]&action=update&data={}", NONE, "", "method_not_allowed"),
        ("R8, T224", "GET", "/api/resource/ToDo/x?run_method=rename", NONE, "", "parameter_forbidden"),
        ("R8, T224d", "HEAD", "/api/resource/ToDo/x?run_method=rename", NONE, "", "parameter_forbidden"),
        ("R8, T224e", "GET", "/api/resource/ToDo/x", JSON, r#"{"run_method":"rename"}"#, "body_not_allowed"),
        ("R9, T224b", "GET", "/api/v2/document/ToDo/x/method/rename", NONE, "", "document_method"),
        ("R9, T224c", "HEAD", "/api/v2/document/ToDo/x/method/rename", NONE, "", "document_method"),
        ("R10, T222", "GET", "/api/method/run_doc_method?dt=ToDo&method=rename", NONE, "", "rpc_forbidden"),
        ("R10, T223", "GET", "/api/v2/method/run_doc_method?document={}", NONE, "", "rpc_forbidden"),
        ("R10, T223c", "GET", "/api/method/runserverobj?dt=ToDo&dn=x&method=add_comment", NONE, "", "rpc_forbidden"),
        ("R11, T229", "GET", "/api/method/frappe.desk.doctype.system_console.system_console.execute_code?doc={}", NONE, "", "rpc_forbidden"),
        ("R12, T234", "GET", "/api/method/frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event?doc={}", NONE, "", "rpc_forbidden"),
        ("R13, T530: a script of the site is a call", "GET", "/api/method/fake_api", NONE, "", "call by fake_api"),
        ("R13, T531", "HEAD", "/api/method/fake_api", NONE, "", "method_not_allowed"),
        ("R13, T532", "FOO", "/api/method/fake_api", NONE, "", "method_not_allowed"),
        ("R14, T237", "GET", "/api/method/upload_file?method=frappe.desk.form.utils.remove_attach&fid=x", NONE, "", "method_not_allowed"),
        ("R15, T231: an access log is written", "GET", "/api/method/frappe.core.doctype.access_log.access_log.make_access_log?document=x", NONE, "", "call by frappe.core.doctype.access_log.access_log.make_access_log"),
        ("R15, T232", "GET", "/api/method/frappe.desk.form.load.getdoc?doctype=ToDo&name=x", NONE, "", "read by frappe.desk.form.load.getdoc ToDo +any"),
        ("R16, T230", "GET", "/api/method/frappe.desk.doctype.dashboard_settings.dashboard_settings.create_dashboard_settings?user=x", NONE, "", "call by frappe.desk.doctype.dashboard_settings.dashboard_settings.create_dashboard_settings"),
        ("R17, T308", "GET", "/api/method/login?usr=a&pwd=b", NONE, "", "parameter_forbidden"),
        ("R17: without the keys", "POST", "/api/method/login", NONE, "", "rpc_forbidden"),
        ("R17: by `cmd`", "POST", "/", FORM, "cmd=login", "rpc_forbidden"),
        ("R17, T309", "POST", "/api/resource/ToDo?cmd=login&usr=a&pwd=b", FORM, "", "parameter_forbidden"),
        ("R17: a session by parameter", "GET", "/api/resource/ToDo?sid=x", NONE, "", "parameter_forbidden"),
        ("R18, T310", "GET", "/api/method/logout", NONE, "", "rpc_forbidden"),
        ("R18, T540", "HEAD", "/api/v2/method/logout", NONE, "", "method_not_allowed"),
        ("R18 by `cmd`", "GET", "/?cmd=logout", NONE, "", "rpc_forbidden"),
        ("R19, T500", "GET", "/api/resource/OAuth%20Bearer%20Token?fields=[\"name\"]", NONE, "", "doctype_forbidden"),
        ("R19, T500 on v2", "GET", "/api/v2/document/OAuth%20Bearer%20Token", NONE, "", "doctype_forbidden"),
        ("R19, T500 as a count", "GET", "/api/v2/doctype/OAuth%20Bearer%20Token/count?filters={\"name\":\"x\"}", NONE, "", "doctype_forbidden"),
        ("R19, T500 by a function", "GET", "/api/method/frappe.client.get_list?doctype=OAuth+Bearer+Token", NONE, "", "doctype_forbidden"),
        ("R19, T500 by another doctype's join", "GET", "/api/resource/ToDo?fields=[\"`tabOAuth Bearer Token`.`name`\"]", NONE, "", "doctype_forbidden"),
        ("R19, T500 by another doctype's filter", "GET", "/api/resource/ToDo?filters=[[\"OAuth Bearer Token\",\"name\",\"like\",\"a%25\"]]", NONE, "", "doctype_forbidden"),
        ("R19, T503", "GET", "/api/method/frappe.client.get_password?doctype=User&name=x&fieldname=api_secret", NONE, "", "rpc_forbidden"),
        ("R19, T504", "GET", "/api/resource/OAuth%20Client?fields=[\"client_secret\"]", NONE, "", "doctype_forbidden"),
        ("R19, T505", "GET", "/api/resource/OAuth%20Authorization%20Code", NONE, "", "doctype_forbidden"),
        ("R19: the hashes of passwords have no doctype", "GET", "/api/method/frappe.client.get_count?doctype=__Auth", NONE, "", "doctype_forbidden"),
        ("R20, T307", "GET", "/backups/..%2f..%2fsite_config.json", NONE, "", "path_invalid"),
        ("R21: a method by parameter does nothing", "GET", "/api/resource/ToDo/x?_method=DELETE", NONE, "", "read ToDo x"),
        ("R22, T541", "HEAD", "/api/resource/ToDo", NONE, "", "read ToDo"),
        ("R22, T240", "HEAD", "/api/method/frappe.desk.reportview.delete_items?doctype=ToDo", NONE, "", "method_not_allowed"),
        ("R23, T273", "GET", "/api/method/frappe.desk.form.save.savedocs?doc={}&action=Save", NONE, "", "method_not_allowed"),
        ("R24, T290w", "POST", "/api/method/frappe.website.doctype.web_form.web_form.accept", JSON, r#"{"web_form":"f","data":"{}"}"#, "rpc_forbidden"),
        ("R25: the path that SCRIPT_NAME would cut is a document", "GET", "/api/resource/ToDo/api/method/frappe.desk.reportview.delete_items", NONE, "", "read ToDo api/method/frappe.desk.reportview.delete_items"),
        ("T542", "TRACE", "/api/resource/ToDo", NONE, "", "method_not_allowed"),
        ("T546", "get", "/api/resource/ToDo", NONE, "", "method_not_allowed"),
        ("T543", "PROPFIND", "/api/resource/ToDo", NONE, "", "method_not_allowed"),
        ("a token in the query, RFC 6750 section 5.3", "GET", "/api/resource/ToDo?access_token=x", NONE, "", "token_misplaced"),
        ("links expanded into other documents", "GET", "/api/resource/ToDo?expand=[\"owner\"]", NONE, "", "parameter_forbidden"),
        ("links expanded, of one document", "GET", "/api/resource/ToDo/x?expand_links=1", NONE, "", "parameter_forbidden"),
    ]);
}

#[test]
#[rustfmt::skip]
fn no_bypass_of_a_write_or_delete_token_is_a_write_or_delete() {
    hold(&[
        ("W1, T250", "POST", "/api/method/frappe.client.delete", JSON, r#"{"doctype":"ToDo","name":"x"}"#, "delete by frappe.client.delete ToDo"),
        ("W2, T251", "POST", "/api/resource/ToDo", JSON, r#"{"cmd":"frappe.client.delete","doctype":"ToDo","name":"x"}"#, "parameter_forbidden"),
        ("W2, T252", "POST", "/api/resource/ToDo?cmd=frappe.client.delete&doctype=ToDo&name=x", FORM, "description=x", "parameter_forbidden"),
        ("W2 in a form", "POST", "/api/resource/ToDo", FORM, "c%6Dd=frappe.client.delete", "parameter_forbidden"),
        ("W2, T255", "POST", "/api/resource/ToDo", "application/vnd.fake+json", r#"{"cmd":"frappe.client.delete"}"#, "parameter_forbidden"),
        ("W2, T256", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nfrappe.client.delete\r\n--b0--\r\n", "parameter_forbidden"),
        ("W2: the same as a file", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"cmd\"; filename=\"f\"\r\n\r\nx\r\n--b0--\r\n", "parameter_forbidden"),
        ("W2: unquoted", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=cmd\r\n\r\nx\r\n--b0--\r\n", "parameter_forbidden"),
        ("W2: unquoted, with a tab that werkzeug drops", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=cmd\t\r\n\r\nx\r\n--b0--\r\n", "parameter_forbidden"),
        ("W2: unquoted, with a tab within", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=cmd\tx\r\n\r\nx\r\n--b0--\r\n", "body_invalid"),
        ("W2, T258", "POST", "/api/resource/ToDo", JSON, r#"{"cmd":"","cmd":"frappe.client.delete"}"#, "body_invalid"),
        ("W2, T259", "POST", "/api/resource/ToDo", JSON, r#"{"c\u006dd":"frappe.client.delete"}"#, "parameter_forbidden"),
        ("W2, T286", "POST", "/api/resource/ToDo", "Application/JSON ; charset=utf-8", r#"{"cmd":"frappe.client.delete"}"#, "parameter_forbidden"),
        ("W3, T253", "PUT", "/api/resource/ToDo/x", JSON, r#"{"cmd":"frappe.desk.reportview.delete_items"}"#, "parameter_forbidden"),
        ("W4, T262", "POST", "/api/method/frappe.desk.reportview.delete_items", JSON, r#"{"doctype":"ToDo","items":"[]"}"#, "delete by frappe.desk.reportview.delete_items ToDo"),
        ("W5, T238", "PUT", "/api/method/upload_file?method=frappe.desk.form.utils.remove_attach&fid=x", NONE, "", "parameter_forbidden"),
        ("W6, T292w", "POST", "/api/method/frappe.website.doctype.web_form.web_form.delete", JSON, r#"{"web_form_name":"f","docname":"x"}"#, "rpc_forbidden"),
        ("W7, T261", "POST", "/api/method/frappe.client.rename_doc", JSON, r#"{"doctype":"Tag","old_name":"a","new_name":"b","merge":true}"#, "parameter_forbidden"),
        ("W7: whatever the value", "POST", "/api/method/frappe.client.rename_doc", FORM, "doctype=Tag&old_name=a&new_name=b&merge=0", "parameter_forbidden"),
        ("W7: without merging", "POST", "/api/method/frappe.client.rename_doc", FORM, "doctype=Tag&old_name=a&new_name=b", "write by frappe.client.rename_doc Tag"),
        ("W8, T264", "PUT", "/api/resource/User/lou.fake%40example.test", JSON, r#"{"roles":[]}"#, "doctype_read_only"),
        ("W9, T226b", "POST", "/api/resource/ToDo/x", JSON, r#"{"run_method":"rename"}"#, "document_method"),
        ("W9, T226", "POST", "/api/resource/ToDo/x?run_method=rename", NONE, "", "document_method"),
        ("W9, T242", "POST", "/api/resource/ToDo/x?_method=DELETE", FORM, "_method=DELETE", "document_method"),
        ("W9 on v2", "POST", "/api/v2/document/ToDo/x", JSON, "{}", "document_method"),
        ("W10: it voids, and is a write", "POST", "/api/method/frappe.client.cancel", JSON, r#"{"doctype":"ToDo","name":"x"}"#, "write by frappe.client.cancel ToDo"),
        ("W11, T236", "POST", "/api/method/frappe.core.doctype.user.user.generate_keys", JSON, r#"{"user":"x"}"#, "rpc_forbidden"),
        ("W11, T506", "PUT", "/api/resource/User/x", JSON, r#"{"new_password":"y"}"#, "doctype_read_only"),
        ("W11 by a function", "POST", "/api/method/frappe.client.set_value", FORM, "doctype=User&name=x&fieldname=new_password&value=y", "doctype_read_only"),
        ("W11: a script", "POST", "/api/resource/Server%20Script", JSON, r#"{"script":"x"}"#, "doctype_forbidden"),
        ("W11: a script by a function", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":{"doctype":"Server Script"}}"#, "doctype_forbidden"),
        ("W11: a script among many", "POST", "/api/method/frappe.client.insert_many", FORM, r#"docs=[{"doctype":"ToDo"},{"doctype":"Server Script"}]"#, "doctype_forbidden"),
        ("W12, T254", "PUT", "/api/method/frappe.client.delete", JSON, r#"{"doctype":"ToDo","name":"x"}"#, "method_not_allowed"),
        ("W12, T257", "POST", "/api/resource/ToDo", NONE, r#"{"cmd":"frappe.client.delete"}"#, "body_type_unsupported"),
        ("W12, T283", "POST", "/api/resource/ToDo", "text/plain", r#"{"cmd":"frappe.client.delete"}"#, "body_type_unsupported"),
        ("W12, T260", "POST", "/api/resource/ToDo", "application/json; charset=utf-16", "{}", "body_type_unsupported"),
        ("W12, T265", "PATCH", "/api/resource/ToDo", JSON, r#"{"cmd":"frappe.desk.reportview.delete_items"}"#, "method_not_allowed"),
        ("W12, T105", "PATCH", "/api/resource/ToDo/x", JSON, "{}", "method_not_allowed"),
        ("W12, T266", "FOO", "/api/resource/ToDo?cmd=x", NONE, "", "method_not_allowed"),
        ("2.3, T270", "DELETE", "/api/method/frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs?doctype=ToDo&docnames=[]&action=update&data={}", NONE, "", "method_not_allowed"),
        ("2.3, T271", "DELETE", "/api/resource/ToDo/x", JSON, r#"{"cmd":"frappe.desk.form.save.savedocs","doc":"{}"}"#, "body_not_allowed"),
        ("T272: saving is a write by PUT too", "PUT", "/api/method/frappe.desk.form.save.savedocs", JSON, r#"{"doc":"{\"doctype\":\"ToDo\",\"__islocal\":1}","action":"Save"}"#, "write by frappe.desk.form.save.savedocs ToDo"),
        ("T282: a JSON text", "POST", "/api/resource/ToDo", JSON, "\"abc\"", "body_invalid"),
        ("a JSON list becomes `data`", "POST", "/api/resource/ToDo", JSON, "[]", "body_invalid"),
        ("T117", "POST", "/api/resource/ToDo", JSON, "{bad json", "body_invalid"),
        ("an empty JSON body, which Frappe takes for none", "POST", "/api/resource/ToDo?description=x", JSON, "", "body_invalid"),
        ("plain `curl -d`", "POST", "/api/resource/ToDo", FORM, " {\"description\":\"x\"}", "body_type_unsupported"),
        ("a token in a form, RFC 6750 section 5.3", "POST", "/api/resource/ToDo", FORM, "access_token=x", "token_misplaced"),
        ("a session in JSON", "POST", "/api/resource/ToDo", JSON, r#"{"sid":"x"}"#, "parameter_forbidden"),
        ("delete a collection", "DELETE", "/api/resource/ToDo", NONE, "", "method_not_allowed"),
        ("delete what is read only", "DELETE", "/api/resource/Role/Manager", NONE, "", "doctype_read_only"),
        ("delete by a function", "DELETE", "/api/method/frappe.client.delete?doctype=Role&name=x", NONE, "", "doctype_read_only"),
        ("an unknown function on what is read only", "POST", "/api/method/my_app.api.x", JSON, r#"{"doctype":"User"}"#, "doctype_read_only"),
        ("the same with a blank, that a database does not see", "POST", "/api/method/my_app.api.x", JSON, r#"{"doctype":"OAuth Bearer Token "}"#, "doctype_forbidden"),
        ("the same with a mark of no width", "POST", "/api/method/my_app.api.x", JSON, "{\"doctype\":\"User\u{200b}\"}", "doctype_read_only"),
        ("an unknown function with a protected document", "POST", "/api/method/my_app.api.x", FORM, r#"doc={"doctype":"Server Script"}"#, "doctype_forbidden"),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_body_speaks_of_the_document_in_the_path() {
    hold(&[
        ("v1 PUT updates with all of it: another doctype", "PUT", "/api/resource/Lead/x", JSON, r#"{"doctype":"User","status":"Open"}"#, "document_mismatch"),
        ("another name, which Frappe would save under", "PUT", "/api/resource/Lead/x", JSON, r#"{"name":"y"}"#, "document_mismatch"),
        ("an empty name", "PUT", "/api/resource/Lead/x", JSON, r#"{"name":""}"#, "document_mismatch"),
        ("a name in other letters", "PUT", "/api/resource/Lead/x", JSON, r#"{"name":"X"}"#, "document_mismatch"),
        ("a name that is no text", "PUT", "/api/resource/Lead/x", JSON, r#"{"name":["x"]}"#, "parameter_invalid"),
        ("a doctype that is no text", "PUT", "/api/resource/Lead/x", JSON, r#"{"doctype":{"a":1}}"#, "parameter_invalid"),
        ("the same by a form", "PUT", "/api/resource/Lead/x", FORM, "doctype=User", "document_mismatch"),
        ("by a multipart form", "PUT", "/api/resource/Lead/x", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\ny\r\n--b0--\r\n", "document_mismatch"),
        ("by a file of that name", "PUT", "/api/resource/Lead/x", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"name\"; filename=\"f\"\r\n\r\ny\r\n--b0--\r\n", "parameter_invalid"),
        ("T285: `data` is the document", "PUT", "/api/resource/Lead/x", FORM, r#"data={"name":"y"}"#, "document_mismatch"),
        ("`data` as an object", "PUT", "/api/resource/Lead/x", JSON, r#"{"data":{"doctype":"User"}}"#, "document_mismatch"),
        ("`data` as the text of one", "PUT", "/api/resource/Lead/x", JSON, r#"{"data":"{\"doctype\":\"User\"}"}"#, "document_mismatch"),
        ("`data` with white space in front, which Python skips", "PUT", "/api/resource/Lead/x", JSON, r#"{"data":" \n{\"doctype\":\"User\"}"}"#, "document_mismatch"),
        ("`data` with an escaped key", "PUT", "/api/resource/Lead/x", FORM, r#"data={"doc\u0074ype":"User"}"#, "document_mismatch"),
        ("`data` with a key twice", "PUT", "/api/resource/Lead/x", FORM, r#"data={"name":"x","name":"y"}"#, "parameter_invalid"),
        ("`data` that only Python can read", "PUT", "/api/resource/Lead/x", FORM, r#"data={"name":"y","a":NaN}"#, "parameter_invalid"),
        ("`data` twice", "PUT", "/api/resource/Lead/x", FORM, r#"data={}&data={"name":"y"}"#, "parameter_repeated"),
        ("`data` in query and body", "PUT", "/api/resource/Lead/x?data={}", FORM, r#"data={"name":"y"}"#, "parameter_repeated"),
        ("a name in the query, which a form overrides", "PUT", "/api/resource/Lead/x?name=y", FORM, "status=Open", "document_mismatch"),
        ("a name in query and body", "PUT", "/api/resource/Lead/x?name=x", FORM, "name=x", "parameter_repeated"),
        ("a query beside JSON, which Frappe drops", "PUT", "/api/resource/Lead/x?name=x", JSON, "{}", "parameter_invalid"),
        ("a create of another doctype", "POST", "/api/resource/Lead", JSON, r#"{"doctype":"User"}"#, "document_mismatch"),
        ("a create of another doctype on v2", "POST", "/api/v2/document/Lead", JSON, r#"{"doctype":"User"}"#, "document_mismatch"),
        ("a delete that names another", "DELETE", "/api/resource/Lead/x?name=y", NONE, "", "document_mismatch"),
        ("a parent that Frappe would save as well", "PUT", "/api/resource/Lead/x", JSON, r#"{"parenttype":"Sales Order","parent":"SO-1"}"#, "write Lead x +any"),
        ("a protected parent", "PUT", "/api/resource/Lead/x", JSON, r#"{"parenttype":"User","parent":"x"}"#, "doctype_read_only"),
        ("a protected parent in `data`", "POST", "/api/resource/Lead", FORM, r#"data={"parenttype":"Server Script"}"#, "doctype_forbidden"),
        ("a parent that is no text", "PUT", "/api/resource/Lead/x", JSON, r#"{"parenttype":["User"]}"#, "parameter_invalid"),
        ("a parent that is no doctype", "PUT", "/api/resource/Lead/x", JSON, r#"{"parenttype":"User`"}"#, "parameter_invalid"),

        ("a document as it was read", "PUT", "/api/resource/Sales%20Order/SO-1", JSON,
            r#"{"name":"SO-1","doctype":"Sales Order","owner":"a@b.example","docstatus":0,"idx":0,"items":[{"name":"r1","doctype":"Sales Order Item","parent":"SO-1","parenttype":"Sales Order","parentfield":"items","idx":1,"qty":2.5}]}"#,
            "write Sales Order SO-1"),
        ("a create with rows", "POST", "/api/resource/Sales%20Order", JSON, r#"{"customer":"C","items":[{"item_code":"A","qty":1},{"doctype":"Sales Order Item","item_code":"B"}]}"#, "write Sales Order"),
        ("a create with a name", "POST", "/api/resource/Item", JSON, r#"{"doctype":"Item","name":"A","item_code":"A"}"#, "write Item"),
        ("a name that is a number", "PUT", "/api/resource/ToDo/17", JSON, r#"{"name":17}"#, "write ToDo 17"),
        ("a row of a table, as it was read", "PUT", "/api/resource/Sales%20Order%20Item/r1", JSON, r#"{"name":"r1","parent":"SO-1","parenttype":"Sales Order"}"#, "write Sales Order Item r1 +any"),
        ("no parent at all", "PUT", "/api/resource/Lead/x", JSON, r#"{"parent":null,"parenttype":null}"#, "write Lead x"),
        ("a field of text called data", "POST", "/api/resource/Measurement", JSON, r#"{"data":"17 of 18"}"#, "write Measurement"),
        ("a field called data with a list", "POST", "/api/resource/Measurement", JSON, r#"{"data":[1,2]}"#, "write Measurement"),
        ("free text that looks like a field", "PUT", "/api/resource/ToDo/x", JSON, r#"{"description":"reset my password; see `x`, a.b from here"}"#, "write ToDo x"),
        ("what Python's client sends, T285", "PUT", "/api/resource/ToDo/x", FORM, "data=%7B%22doctype%22%3A+%22ToDo%22%2C+%22name%22%3A+%22x%22%2C+%22description%22%3A+%22y%22%7D", "write ToDo x"),
        ("T104", "PUT", "/api/resource/ToDo/x", FORM, "description=fake+updated+form", "write ToDo x"),
        ("a multipart create", "POST", "/api/resource/ToDo", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\nx\r\n--b0--\r\n", "write ToDo"),
        ("T123", "PATCH", "/api/v2/document/ToDo/x", JSON, r#"{"description":"p"}"#, "write ToDo x"),
    ]);
}

#[test]
#[rustfmt::skip]
fn ordinary_requests_are_what_they_seem() {
    hold(&[
        ("T100", "GET", "/api/resource/ToDo?fields=%5B%22name%22%2C%22description%22%5D&limit_page_length=2", NONE, "", "read ToDo"),
        ("T101", "GET", "/api/resource/ToDo/pak2hpj3uf", NONE, "", "read ToDo pak2hpj3uf"),
        ("T106", "HEAD", "/api/resource/ToDo/x", NONE, "", "read ToDo x"),
        ("T108", "DELETE", "/api/resource/ToDo/x", NONE, "", "delete ToDo x"),
        ("T113: a user's own page is read", "GET", "/api/resource/User/sam.fake%40example.test", NONE, "", "read User sam.fake@example.test"),
        ("T120", "GET", "/api/v2/document/ToDo?limit=2", NONE, "", "read ToDo"),
        ("T124", "DELETE", "/api/v2/document/ToDo/x", NONE, "", "delete ToDo x"),
        ("T128", "GET", "/api/v2/doctype/ToDo/count", NONE, "", "read ToDo"),
        ("a count with filters", "GET", "/api/v2/doctype/ToDo/count?filters={\"status\":\"Open\"}", NONE, "", "read ToDo"),
        ("meta data", "GET", "/api/v2/doctype/ToDo/meta", NONE, "", "read ToDo"),
        ("T129", "GET", "/api/v1/resource/ToDo/x", NONE, "", "read ToDo x"),
        ("T280t: the first of two limits wins, and nothing is decided on it", "GET", "/api/resource/ToDo?limit_page_length=1&limit_page_length=3", NONE, "", "read ToDo"),
        ("everything that a list takes", "GET", "/api/resource/Sales%20Order?fields=[\"name\",\"customer_name\"]&filters=[[\"Sales%20Order\",\"status\",\"=\",\"Open\"]]&or_filters=[[\"grand_total\",\">\",100]]&order_by=modified+desc&group_by=status&limit_start=20&limit_page_length=20&as_dict=1&debug=0", NONE, "", "read Sales Order"),
        ("what js clients send", "GET", "/api/resource/ToDo?fields=%5B%22*%22%5D&filters=%5B%5D&limit=10&order_by=creation+asc", NONE, "", "read ToDo"),
        ("what Python's client sends", "GET", "/api/resource/ToDo?fields=%22%2A%22", NONE, "", "read ToDo"),
        ("unicode, dates, `%`", "GET", "/api/resource/Customer?filters=[[\"customer_name\",\"like\",\"%25Größe%25\"],[\"creation\",\"between\",[\"2024-01-01\",\"2024-12-31\"]]]", NONE, "", "read Customer"),
        ("a browser's marker", "GET", "/api/resource/ToDo?_=1700000000", NONE, "", "read ToDo"),
        ("a name without a value", "GET", "/api/resource/ToDo?=&=x&a", NONE, "", "read ToDo"),

        ("frappe-client: insert_many", "POST", "/", FORM, "cmd=frappe.client.insert_many&docs=%5B%7B%22doctype%22%3A%22Lead%22%7D%2C%7B%22doctype%22%3A%22Note%22%7D%5D", "write by frappe.client.insert_many Lead Note"),
        ("frappe-client: delete", "POST", "/", FORM, "cmd=frappe.client.delete&doctype=Lead&name=x", "delete by frappe.client.delete Lead"),
        ("frappe-client: get_value", "GET", "/?cmd=frappe.client.get_value&doctype=Lead&fieldname=name&filters=null", NONE, "", "read by frappe.client.get_value Lead"),
        ("frappe-client: get_value with filters", "GET", "/?cmd=frappe.client.get_value&doctype=Lead&fieldname=%5B%22name%22%5D&filters=%7B%22status%22%3A+%22Open%22%7D", NONE, "", "read by frappe.client.get_value Lead"),
        ("frappe-client: set_value", "POST", "/", FORM, "cmd=frappe.client.set_value&doctype=Lead&name=x&fieldname=status&value=Open", "write by frappe.client.set_value Lead"),
        ("frappe-client: bulk_update", "POST", "/", FORM, r#"cmd=frappe.client.bulk_update&docs=[{"doctype":"Lead","docname":"x"}]"#, "write by frappe.client.bulk_update Lead"),
        ("JSON with `cmd`", "POST", "/", JSON, r#"{"cmd":"frappe.client.get_list","doctype":"Lead"}"#, "read by frappe.client.get_list Lead"),
        ("set_value with free text", "POST", "/api/method/frappe.client.set_value", JSON, r#"{"doctype":"ToDo","name":"x","fieldname":{"description":"a `secret; from a.b token"}}"#, "write by frappe.client.set_value ToDo"),
        ("set_value of a field with a secret's name", "POST", "/api/method/frappe.client.set_value", FORM, "doctype=Device&name=x&fieldname=token&value=1", "write by frappe.client.set_value Device"),

        ("js call.get", "GET", "/api/method/frappe.client.get_count?doctype=ToDo&filters=[[\"status\",\"=\",\"Open\"]]&cache=false&debug=false", NONE, "", "read by frappe.client.get_count ToDo"),
        ("js call.post", "POST", "/api/method/frappe.client.get_list", JSON, r#"{"doctype":"ToDo","fields":["name"],"filters":[["status","=","Open"]]}"#, "read by frappe.client.get_list ToDo"),
        ("js call.put", "PUT", "/api/method/frappe.client.set_value", JSON, r#"{"doctype":"ToDo","name":"x","fieldname":"status","value":"Open"}"#, "write by frappe.client.set_value ToDo"),
        ("js call.delete", "DELETE", "/api/method/frappe.client.delete?doctype=ToDo&name=x", NONE, "", "delete by frappe.client.delete ToDo"),
        ("no doctype", "GET", "/api/method/frappe.auth.get_logged_user", NONE, "", "read by frappe.auth.get_logged_user"),
        ("a trailing slash", "GET", "/api/method/ping/", NONE, "", "read by ping"),
        ("an operator's own function", "GET", "/api/method/my_app.api.quote?doctype=Lead&columns=[\"name\"]", NONE, "", "read by my_app.api.quote Lead"),
        ("a function without an entry", "POST", "/api/method/my_app.api.other", JSON, r#"{"items":[{"item_code":"A"}],"data":"x","doctype":"Item/Group"}"#, "call by my_app.api.other"),
        ("insert with a parent", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":{"doctype":"Sales Order Item","parenttype":"Sales Order","parent":"SO-1","parentfield":"items"}}"#, "write by frappe.client.insert Sales Order Item Sales Order"),
        ("an upload", "POST", "/api/method/upload_file", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b0\r\nContent-Disposition: form-data; name=\"doctype\"\r\n\r\nLead\r\n--b0\r\nContent-Disposition: form-data; name=\"fieldname\"\r\n\r\nimage\r\n--b0--\r\n", "write by upload_file File Lead"),
        ("an opened path", "GET", "/files/a%20b.png", NONE, "", "read path /files/a b.png"),
        ("an opened path with a method of it", "HEAD", "/files/", NONE, "", "read path /files/"),

        ("`/` without `cmd` is no route", "GET", "/", NONE, "", "route_unknown"),
        ("`cmd` that is no function", "GET", "/?cmd=a/b", NONE, "", "parameter_invalid"),
        ("an empty `cmd`", "GET", "/?cmd=", NONE, "", "parameter_invalid"),
        ("two of them", "GET", "/?cmd=ping&cmd=frappe.client.delete", NONE, "", "parameter_repeated"),
        ("one in the query, one in the form", "POST", "/?cmd=ping", FORM, "cmd=frappe.client.delete", "parameter_repeated"),
        ("one in the query beside JSON", "POST", "/?cmd=ping", JSON, r#"{"doctype":"ToDo"}"#, "parameter_invalid"),
        ("`cmd` that is no text", "POST", "/", JSON, r#"{"cmd":["ping"]}"#, "parameter_invalid"),
        ("`cmd` in multipart, which streams on as it is", "POST", "/", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nping\r\n--b0--\r\n", "body_type_unsupported"),
        ("other methods on `/`", "PUT", "/?cmd=ping", NONE, "", "method_not_allowed"),
        ("the doctype is missing", "GET", "/api/method/frappe.client.get_list", NONE, "", "parameter_missing"),
        ("the doctype is empty", "GET", "/api/method/frappe.client.get_list?doctype=", NONE, "", "parameter_missing"),
        ("the doctype stands twice, T280t", "GET", "/api/method/frappe.client.get_list?doctype=Lead&doctype=User", NONE, "", "parameter_repeated"),
        ("in query and form", "POST", "/api/method/frappe.client.get_list?doctype=Lead", FORM, "doctype=User", "parameter_repeated"),
        ("in the query beside JSON", "POST", "/api/method/frappe.client.get_list?doctype=Lead", JSON, r#"{"doctype":"User"}"#, "parameter_repeated"),
        ("only in the query, beside JSON", "POST", "/api/method/frappe.client.get_list?doctype=Lead", JSON, "{}", "parameter_invalid"),
        ("an object for a doctype", "POST", "/api/method/frappe.client.get_list", JSON, r#"{"doctype":{"name":"Lead"}}"#, "parameter_invalid"),
        ("a blank behind it", "GET", "/api/method/frappe.client.get_list?doctype=Lead+", NONE, "", "parameter_invalid"),
        ("SQL for a doctype", "GET", "/api/method/frappe.client.get_count?doctype=User%60+--", NONE, "", "parameter_invalid"),
        ("a document without its doctype", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":{"name":"x"}}"#, "parameter_invalid"),
        ("no document", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":null}"#, "parameter_invalid"),
        ("one of many without its doctype", "POST", "/api/method/frappe.client.insert_many", JSON, r#"{"docs":[{"doctype":"Lead"},{}]}"#, "parameter_invalid"),
        ("an object for a list", "POST", "/api/method/frappe.client.insert_many", JSON, r#"{"docs":{"doctype":"Lead"}}"#, "parameter_invalid"),
        ("a protected parent of a row", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":{"doctype":"Lead","parenttype":"User"}}"#, "doctype_read_only"),
        ("JSON text within JSON text", "POST", "/api/method/frappe.client.insert", JSON, r#"{"doc":"\"{\\\"doctype\\\":\\\"Lead\\\"}\""}"#, "parameter_invalid"),
        ("a doctype in the values", "POST", "/api/method/frappe.client.set_value", JSON, r#"{"doctype":"Lead","name":"x","fieldname":{"doctype":"Server Script"}}"#, "doctype_forbidden"),
        ("an argument that an entry lists as a file", "POST", "/api/method/upload_file", MULTIPART, "--b0\r\nContent-Disposition: form-data; name=\"doctype\"; filename=\"f\"\r\n\r\nUser\r\n--b0--\r\n", "parameter_invalid"),
        ("an opened path with another method", "DELETE", "/files/a.png", NONE, "", "method_not_allowed"),
        ("T306: no route", "POST", "/backups/x.sql.gz", NONE, "", "method_not_allowed"),
        ("a neighbour of an opened path is not that path", "HEAD", "/files-of-others/a.png", NONE, "", "method_not_allowed"),
    ]);
}

#[test]
fn a_refused_method_names_those_that_are_taken() {
    let allow = |method, target| classify(&rules(), method, target, NONE, b"").expect_err(target).allow.into_owned();
    assert_eq!(allow("DELETE", "/api/resource/ToDo"), "GET, HEAD, POST");
    assert_eq!(allow("POST", "/api/v2/document/ToDo/x"), "GET, HEAD, PUT, PATCH, DELETE");
    assert_eq!(allow("PUT", "/api/method/frappe.client.delete"), "POST, DELETE");
    assert_eq!(allow("POST", "/files/a.png"), "GET, HEAD");
}

#[test]
fn what_was_opened_is_open_and_nothing_else() {
    let rules =
        Rules { opened: vec!["oauth client".into(), "frappe.client.get_password".into(), "login".into()], paths: Vec::new(), ..rules() };
    let code = |target| classify(&rules, "GET", target, NONE, b"").map_or_else(|refusal| refusal.reason.code(), |_| "classified");
    assert_eq!(code("/api/resource/OAuth%20Client"), "classified", "in whatever spelling");
    assert_eq!(code("/api/method/frappe.client.get_password?doctype=Lead&name=x"), "classified");
    assert_eq!(code("/api/method/frappe.client.get_password?doctype=User&name=x"), "doctype_read_only", "the doctype is another question");
    assert_eq!(code("/api/resource/OAuth%20Bearer%20Token"), "doctype_forbidden");
    assert_eq!(code("/api/method/login"), "rpc_forbidden", "impossible to open");
    assert_eq!(code("/files/a.png"), "route_unknown");
}

/// Why, method, target, content type, body; then path, query and body for the upstream, `None` where nothing is written anew.
type Sent = (&'static str, &'static str, &'static str, &'static str, &'static str, [Option<&'static str>; 3]);

#[test]
fn what_goes_upstream_is_written_anew() {
    #[rustfmt::skip]
    let cases: &[Sent] = &[
        ("nothing to say anew", "GET", "/api/resource/ToDo", NONE, "", [None, None, None]),
        ("one spelling of path and query", "GET", "/api/resource/To%44o/?fields=%5b%22name%22]&&a+b=%7e", NONE, "", [Some("/api/resource/ToDo"), Some("fields=%5B%22name%22%5D&a+b=~"), None]),
        ("a form in one spelling", "POST", "/api/resource/ToDo", FORM, "descri%70tion=a%20b;c", [None, None, Some("description=a+b%3Bc")]),
        ("JSON stays as it came", "POST", "/api/resource/ToDo", JSON, "{ \"a\" : 1.50 }", [None, None, None]),
        ("`cmd` becomes the path: query", "GET", "/?cmd=frappe.client.get_list&doctype=ToDo&x=1", NONE, "", [Some("/api/method/frappe.client.get_list"), Some("doctype=ToDo&x=1"), None]),
        ("`cmd` alone", "GET", "/?cmd=ping", NONE, "", [Some("/api/method/ping"), None, None]),
        ("`cmd` becomes the path: form", "POST", "/", FORM, "cmd=frappe.client.delete&doctype=ToDo&name=x", [Some("/api/method/frappe.client.delete"), None, Some("doctype=ToDo&name=x")]),
        ("`cmd` becomes the path: JSON", "POST", "/", JSON, r#"{"doctype":"ToDo", "c\u006dd":"frappe.client.delete","name":"x"}"#, [Some("/api/method/frappe.client.delete"), None, Some(r#"{"doctype":"ToDo","name":"x"}"#)]),
    ];
    for (why, method, target, content_type, body, sent) in cases {
        let rules = rules();
        let read = classify(&rules, method, target, content_type, body.as_bytes()).expect(why);
        let sent_body = read.body.as_deref().map(String::from_utf8_lossy);
        assert_eq!([read.path.as_deref(), read.query.as_deref(), sent_body.as_deref()], *sent, "{why}");
    }
}

#[test]
fn a_hostile_size_takes_linear_time() {
    let conditions: String = (0..40_000).map(|at| format!(r#"["D{at}","f","=",1],"#)).collect();
    let documents: String = (0..40_000).map(|at| format!(r#"{{"doctype":"D{at}"}},"#)).collect();
    let cases = [
        ("/api/method/frappe.client.get_list", format!(r#"{{"doctype":"ToDo","filters":[{conditions}1]}}"#), "parameter_invalid"),
        ("/api/method/frappe.client.insert_many", format!(r#"{{"docs":[{documents}{{"doctype":"D"}}]}}"#), "parameter_invalid"),
        ("/api/method/frappe.client.get_list", format!(r#"{{"doctype":"ToDo","order_by":"{}"}}"#, "a ".repeat(400_000)), ""),
        ("/api/method/frappe.client.get_list", format!(r#"{{"doctype":"ToDo","order_by":"a{}"}}"#, " ".repeat(800_000)), ""),
        ("/api/method/frappe.client.get_list", format!(r#"{{"doctype":"ToDo","order_by":"{}"}}"#, "`a`.".repeat(200_000)), ""),
        ("/api/resource/ToDo", format!("{{{}\"z\":0}}", (0..100_000).map(|at| format!("\"k{at}\":0,")).collect::<String>()), ""),
    ];
    for (target, body, refusal) in cases {
        let started = Instant::now();
        let rules = rules();
        let code = classify(&rules, "POST", target, JSON, body.as_bytes()).map_or_else(|refusal| refusal.reason.code(), |_| "");
        assert_eq!(code, refusal, "{target}");
        assert!(started.elapsed() < Duration::from_secs(4), "{target}: {:?} for {} bytes", started.elapsed(), body.len());
    }
}

/// A key with any of its letters spelled otherwise.
fn spelled(key: &str, which: u8, lower: bool) -> String {
    key.bytes()
        .enumerate()
        .map(|(at, byte)| match (which >> (at % 8) & 1, lower) {
            (0, _) => char::from(byte).to_string(),
            (_, true) => format!("%{byte:02x}"),
            (_, false) => format!("%{byte:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn no_request_panics(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        path in nasty_path(),
        query in nasty_form(),
        content_type in prop::sample::select(vec![NONE, JSON, FORM, MULTIPART]),
        body in prop_oneof![nasty_form(), any::<String>(), "\\{\"(doctype|data|fields|filters|doc)\":[\\[\\]{}\",:a-z`. ]{0,30}\\}"],
    ) {
        let _ = outcome(method, &format!("{path}?{query}"), content_type, &body);
    }

    #[test]
    fn what_is_sent_means_what_was_decided(path in nasty_path(), query in nasty_form(), body in nasty_form()) {
        let rules = rules();
        let target = format!("{path}?{query}");
        for (method, content_type, body) in [("GET", NONE, ""), ("POST", FORM, body.as_str()), ("PUT", FORM, body.as_str())] {
            // A `?` within `path` moves to the query, as it would for anybody.
            let Ok(read) = classify(&rules, method, &target, content_type, body.as_bytes()) else { continue };
            let sent_path = read.path.clone().unwrap_or_else(|| target.split('?').next().unwrap_or_default().to_owned());
            let sent = match &read.query {
                Some(query) => format!("{sent_path}?{query}"),
                None => sent_path,
            };
            let sent_body = read.body.clone().unwrap_or_else(|| body.as_bytes().to_vec());
            let again = classify(&rules, method, &sent, content_type, &sent_body).expect("what was allowed is allowed again");
            prop_assert_eq!(&again.operation, &read.operation);
            prop_assert_eq!((again.path, again.query), (None, read.query), "one spelling only: {}", sent);
        }
    }

    #[test]
    fn a_forbidden_key_is_found_in_every_spelling(
        key in prop::sample::select(vec!["cmd", "run_method", "sid", "usr", "pwd", "access_token", "expand"]),
        which in any::<u8>(),
        lower in any::<bool>(),
        before in "[a-z]{1,4}=[a-z]{0,4}&",
    ) {
        let escaped: String =
            key.bytes().enumerate().map(|(at, byte)| if which >> (at % 8) & 1 == 1 { format!("\\u{byte:04x}") } else { char::from(byte).to_string() }).collect();
        let key = spelled(key, which, lower);
        for (method, target, content_type, body) in [
            ("GET", format!("/api/resource/ToDo?{before}{key}=x"), NONE, String::new()),
            ("DELETE", format!("/api/resource/ToDo/x?{before}{key}=x"), NONE, String::new()),
            ("POST", "/api/resource/ToDo".to_owned(), FORM, format!("{before}{key}=x")),
            ("PUT", "/api/method/frappe.client.set_value".to_owned(), FORM, format!("{before}{key}")),
            ("POST", "/api/resource/ToDo".to_owned(), JSON, format!(r#"{{"a":1,"{escaped}":"x"}}"#)),
        ] {
            let code = outcome(method, &target, content_type, &body);
            prop_assert!(["parameter_forbidden", "token_misplaced"].contains(&code.as_str()), "{} {} {}: {}", method, target, body, code);
        }
    }

    #[test]
    fn two_spellings_of_one_request_are_one(which in any::<u8>(), lower in any::<bool>()) {
        let pairs = [("doctype", "ToDo"), ("fields", "[\"name\"]"), ("filters", "[[\"Lead\",\"status\",\"=\",\"a.b\"]]"), ("order_by", "owner.full_name")];
        let form: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", spelled(key, which, lower), spelled(value, which.rotate_left(3), !lower))).collect();
        let target = format!("/api/method/frappe.client.get_list?{}", form.join("&"));
        prop_assert_eq!(outcome("GET", &target, NONE, ""), "read by frappe.client.get_list ToDo +Lead +any");
        prop_assert_eq!(outcome("POST", "/api/method/frappe.client.get_list", FORM, &form.join("&")), "read by frappe.client.get_list ToDo +Lead +any");
    }
}
