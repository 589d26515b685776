//! What is explained, word for word, and what is not understood.

use serde_json::Value;

use super::*;
use crate::admin::terminal::Style;

fn told(method: &str, target: &str, body: Option<&str>, scope: Option<&str>) -> Explanation {
    of(&World::builtin(), method, target, body, scope)
}

fn of(world: &World, method: &str, target: &str, body: Option<&str>, scope: Option<&str>) -> Explanation {
    let (_, target) = split_url(target);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let (path, query) = (as_sent(path), query.map(as_sent));
    let content_type = body.map(|body| guessed_type(body.as_bytes()));
    let scopes = scope.map(|scope| Scopes::parse(scope).expect("a test's scopes"));
    let body = body.map(str::as_bytes);
    world.explain(&Request { method, path: &path, query: query.as_deref(), content_type, body }, scopes.as_ref())
}

#[test]
fn a_list_is_explained() {
    assert_eq!(
        told("GET", "/api/resource/Sales Order?limit_page_length=5", None, None).to_text(Style::PLAIN),
        "\
request     GET /api/resource/Sales%20Order?limit_page_length=5
would       read Sales Order
upstream    GET /api/resource/Sales%20Order?limit_page_length=5
allowed by  read:sales-order, read or all
decision    depends on the token; --scope \"read\" decides on one
"
    );
}

#[test]
fn an_allowed_and_a_denied_request_are_explained() {
    assert_eq!(
        told("PUT", "/api/resource/Lead/L-1", Some(r#"{"status":"Open"}"#), Some("read write:lead crm")).to_text(Style::PLAIN),
        "\
request     PUT /api/resource/Lead/L-1
body        application/json
would       write Lead `L-1`
upstream    PUT /api/resource/Lead/L-1
allowed by  write:lead, write or all
token       read write:lead crm
note        no config explains the scope `crm`, so it allows nothing
decision    allowed by write:lead
"
    );
    assert_eq!(
        told("DELETE", "/api/resource/Lead/L-1", None, Some("read")).to_text(Style::PLAIN),
        "\
request     DELETE /api/resource/Lead/L-1
would       delete Lead `L-1`
upstream    DELETE /api/resource/Lead/L-1
allowed by  delete:lead, delete or all
token       read
decision    denied: 403 insufficient_scope, this needs one of the scopes delete:lead, delete, all
"
    );
}

#[test]
fn a_function_is_explained_by_its_true_effect() {
    assert_eq!(
        told("POST", "/api/method/frappe.client.delete", Some("doctype=Lead&name=L-1"), Some("write")).to_text(Style::PLAIN),
        "\
request     POST /api/method/frappe.client.delete
body        application/x-www-form-urlencoded
function    frappe.client.delete: delete, by POST or DELETE
would       delete Lead by frappe.client.delete
upstream    POST /api/method/frappe.client.delete
allowed by  delete:lead, call:frappe.client.delete, delete or all
token       write
decision    denied: 403 insufficient_scope, this needs one of the scopes delete:lead, call:frappe.client.delete, delete, all
"
    );
}

#[test]
fn what_nobody_may_is_refused() {
    for (method, target, reason, status) in [
        ("GET", "/api/resource/Item?cmd=frappe.client.delete", "parameter_forbidden", 400),
        ("GET", "/api/resource/OAuth Bearer Token", "doctype_forbidden", 403),
        ("POST", "/api/resource/Lead/L-1", "document_method", 405),
        ("GET", "/api/resource/Lead/../User", "path_invalid", 400),
        ("GET", "/app/lead", "route_unknown", 404),
        ("BREW", "/api/resource/Lead", "method_not_allowed", 405),
        ("GET", "/api/method/run_doc_method", "rpc_forbidden", 403),
        ("POST", "/api/method/frappe.client.delete", "parameter_missing", 400),
        ("GET", "nonsense", "path_invalid", 400),
        ("GET", "", "path_invalid", 400),
        ("GET", "/api/resource/Lead#x", "path_invalid", 400),
    ] {
        let told = told(method, target, None, Some("all"));
        let refusal = told.refusal.as_ref().unwrap_or_else(|| panic!("{method} {target} is not refused"));
        assert_eq!((told.decision, refusal.reason, refusal.status), (Some(Decision::Refuse), reason, status), "{method} {target}");
        assert!(told.to_text(Style::PLAIN).contains("refused to every token: "), "{method} {target}");
    }
    let body = told("GET", "/api/resource/Lead", Some("{}"), None);
    assert_eq!(body.refusal.map(|refusal| refusal.reason), Some("body_not_allowed"));
}

#[test]
fn a_multipart_body_is_read_and_one_that_is_too_long_is_not() {
    let world = World::builtin();
    let body = "--b\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nfrappe.client.delete\r\n--b--\r\n";
    let request = |content_type, body| Request { method: "POST", path: "/api/resource/Lead", query: None, content_type, body };
    let told = world.explain(&request(Some("multipart/form-data; boundary=b"), Some(body.as_bytes())), None);
    assert_eq!(told.refusal.map(|refusal| refusal.reason), Some("parameter_forbidden"));
    let cut = world.explain(&request(Some("multipart/form-data; boundary=b"), Some(&body.as_bytes()[..20])), None);
    assert_eq!(cut.refusal.map(|refusal| refusal.reason), Some("body_invalid"));
    let long = vec![b' '; PARSED_BYTES_MAX + 1];
    let long = world.explain(&request(Some("application/json"), Some(&long)), None);
    assert_eq!(long.refusal.map(|refusal| refusal.reason), Some("body_too_large"));
    let strange = world.explain(&request(Some("text/plain"), Some(b"x")), None);
    assert_eq!(strange.refusal.map(|refusal| refusal.reason), Some("body_type_unsupported"));
}

#[test]
fn the_old_client_of_frappe_is_explained() {
    let told = told("POST", "/", Some("cmd=frappe.client.get_value&doctype=Lead&fieldname=status"), Some("read"));
    let sent = told.upstream.expect("it is understood");
    assert_eq!((sent.target.as_str(), sent.body_rewritten), ("/api/method/frappe.client.get_value", true));
    assert_eq!(told.decision, Some(Decision::Allow));
}

#[test]
fn the_json_has_what_scripts_ask_for() {
    let json = |told: &Explanation| serde_json::to_value(told).expect("JSON");
    let allowed = json(&told("GET", "/api/resource/Lead", None, Some("read write")));
    assert_eq!((&allowed["decision"], &allowed["by"]), (&Value::from("allow"), &serde_json::json!(["read"])));
    assert_eq!(allowed["scopes"], serde_json::json!(["read:lead", "read", "all"]));
    assert_eq!(allowed["operation"]["effect"], "read");
    let denied = json(&told("DELETE", "/api/resource/Lead/x", None, Some("read")));
    assert_eq!((&denied["decision"], &denied["reason"], &denied["status"]), (&"deny".into(), &"insufficient_scope".into(), &403.into()));
    let refused = json(&told("POST", "/api/method/frappe.client.delete", None, None));
    assert_eq!((&refused["decision"], &refused["function"]["effect"]), (&"refuse".into(), &"delete".into()));
    assert_eq!(refused["operation"], Value::Null);
}

#[test]
fn what_a_person_types_is_sent_as_a_client_would() {
    for (typed, sent) in [
        ("/api/resource/Sales Order", "/api/resource/Sales%20Order"),
        ("/api/resource/Kunde/Müller", "/api/resource/Kunde/M%C3%BCller"),
        ("/a%20b", "/a%20b"),
        ("/a\"b<c>", "/a%22b%3Cc%3E"),
        ("/a\nb\0", "/a%0Ab%00"),
        ("/x[]=1&y", "/x[]=1&y"),
    ] {
        assert_eq!(as_sent(typed), sent);
    }
    for (typed, host, target) in [
        ("/api", None, "/api"),
        ("https://erp.example.com:8443/api?x=1", Some("erp.example.com:8443"), "/api?x=1"),
        ("http://erp.example.com", Some("erp.example.com"), "/"),
        ("ftp://x/y", None, "ftp://x/y"),
    ] {
        assert_eq!(split_url(typed), (host, target));
    }
}
