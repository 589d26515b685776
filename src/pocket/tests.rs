//! pocket ERP against what a real Frappe answered: bodies are copied from the recorded exchanges, with the users and names of the sample.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::pocket::Pocket;
use crate::pocket::reply::{Cookies, Reply};
use crate::pocket::request::Request;
use crate::pocket::route::answer;

mod documents;
mod lists;
mod oauth;
mod recorded;
mod refusals;
mod signin;
mod traps;
mod wire;

const MANAGER: (HeaderName, &str) = (AUTHORIZATION, "token key:secret");
const SELLER: (HeaderName, &str) = (AUTHORIZATION, "Bearer sales-token");
const JSON: (HeaderName, &str) = (CONTENT_TYPE, "application/json");
const FORM: (HeaderName, &str) = (CONTENT_TYPE, "application/x-www-form-urlencoded");

fn pocket() -> Pocket {
    Pocket::sample().with_key("key", "secret", "demo@example.com").with_bearer("sales-token", "sales@example.com")
}

fn ask(pocket: &Pocket, method: &str, target: &str, headers: &[(HeaderName, &'static str)], body: &str) -> Reply {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, HeaderValue::from_static(value));
    }
    send(pocket, method, target, map, body)
}

fn send(pocket: &Pocket, method: &str, target: &str, headers: HeaderMap, body: &str) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: Method::from_bytes(method.as_bytes()).expect("a method of the test"),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    answer(&mut pocket.lock(), &request)
}

/// The body as JSON of an answer that must have this status.
fn json_of(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.body);
    serde_json::from_str(&reply.body).expect("a JSON body")
}

/// The name of a new ToDo.
fn todo(pocket: &Pocket) -> String {
    let reply = ask(pocket, "POST", "/api/resource/ToDo", &[MANAGER, JSON], r#"{"description":"fake victim"}"#);
    json_of(&reply, 200)["data"]["name"].as_str().expect("a name").to_owned()
}

fn exists(pocket: &Pocket, doctype: &str, name: &str) -> bool {
    pocket.lock().site.find(doctype, name).is_some()
}

#[test]
fn who_asks_is_read_as_leniently_as_frappe_does() {
    let pocket = pocket();
    let login = ask(&pocket, "POST", "/api/method/login", &[FORM], "usr=Administrator&pwd=admin");
    assert_eq!(login.body, r#"{"message":"Logged In","home_page":"/app","full_name":"Administrator"}"#);
    let Cookies::Session { sid, .. } = login.cookies else { panic!("a login opens a session") };
    let cookie: &'static str = Box::leak(format!("a=b; sid={sid}").into_boxed_str());
    let demo = r#"{"message":"demo@example.com"}"#;
    let sales = r#"{"message":"sales@example.com"}"#;
    let admin = r#"{"message":"Administrator"}"#;
    let auth = |value| (AUTHORIZATION, value);
    let session = (COOKIE, cookie);
    for (why, headers, status, body) in [
        ("T149: API key", vec![MANAGER], 200, demo),
        ("T150: Basic", vec![auth("Basic a2V5OnNlY3JldA==")], 200, demo),
        ("T133: scheme in lower case", vec![auth("bearer sales-token")], 200, sales),
        ("T134: scheme in upper case", vec![auth("BEARER sales-token")], 200, sales),
        ("T140: the token in upper case", vec![auth("Bearer SALES-TOKEN")], 200, sales),
        ("T160: a session survives a bad token", vec![session.clone(), auth("Bearer nosuch")], 200, admin),
        ("T161: a token overrides a session", vec![session.clone(), SELLER], 200, sales),
        ("T165: a key does not", vec![session.clone(), MANAGER], 200, admin),
        ("T119: nothing", vec![], 403, "is not whitelisted"),
        ("T135: two spaces", vec![auth("Bearer  sales-token")], 403, "is not whitelisted"),
        ("T136: three parts", vec![auth("Bearer sales-token x")], 403, "is not whitelisted"),
        ("T138: scheme only", vec![auth("Bearer")], 403, "is not whitelisted"),
        ("T144: token only", vec![auth("sales-token")], 403, "is not whitelisted"),
        ("T146: two headers", vec![auth("Bearer nosuch"), SELLER], 403, "is not whitelisted"),
        ("T130: unknown token", vec![auth("Bearer nosuch")], 401, "AuthenticationError"),
        ("T142: unknown scheme", vec![auth("Foo sales-token")], 401, "AuthenticationError"),
        ("T151: wrong secret", vec![auth("token key:wrong")], 401, "AuthenticationError"),
        ("T152: no base64", vec![auth("Basic !!!")], 401, "AuthenticationError"),
        ("a key without a secret", vec![auth("token key")], 401, "AuthenticationError"),
    ] {
        let reply = ask(&pocket, "GET", "/api/method/frappe.auth.get_logged_user", &headers, "");
        assert_eq!(reply.status.as_u16(), status, "{why}: {}", reply.body);
        assert!(reply.body.contains(body), "{why}: {}", reply.body);
    }
    let by_query = ask(&pocket, "GET", &format!("/api/method/frappe.auth.get_logged_user?sid={sid}"), &[], "");
    assert_eq!(by_query.body, admin, "T162: ?sid= is believed");
    let by_body = ask(&pocket, "POST", "/api/method/frappe.auth.get_logged_user", &[JSON], &json!({"sid": sid}).to_string());
    assert_eq!(by_body.body, admin, "T164: and so is sid in a body");

    assert_eq!(ask(&pocket, "GET", "/api/method/logout", std::slice::from_ref(&session), "").cookies, Cookies::Cleared);
    assert_eq!(ask(&pocket, "GET", "/api/method/frappe.auth.get_logged_user", &[session], "").status, 403, "the session is over");
}

#[test]
fn a_login_works_from_any_part_of_any_request() {
    for (why, method, target, headers, body, status) in [
        ("T308: GET", "GET", "/api/method/login?usr=demo%40example.com&pwd=demo", &[][..], "", 200),
        ("T309: cmd anywhere", "POST", "/api/resource/ToDo?cmd=login&usr=demo@example.com&pwd=demo", &[FORM], "", 200),
        ("names are case-insensitive", "POST", "/", &[FORM], "cmd=login&usr=DEMO@example.com&pwd=demo", 200),
        ("T02: wrong password", "POST", "/api/method/login", &[FORM], "usr=demo%40example.com&pwd=wrong", 401),
        ("no password", "POST", "/api/method/login", &[FORM], "usr=demo%40example.com", 401),
        ("Guest has none", "POST", "/api/method/login", &[FORM], "usr=Guest&pwd=", 401),
    ] {
        let reply = ask(&pocket(), method, target, headers, body);
        assert_eq!(reply.status.as_u16(), status, "{why}: {}", reply.body);
        let cookies_fit = if status == 200 { matches!(reply.cookies, Cookies::Session { .. }) } else { reply.cookies == Cookies::None };
        assert!(cookies_fit, "{why}: {:?}", reply.cookies);
    }
    let refused = ask(&pocket(), "POST", "/api/method/login", &[FORM], "usr=demo%40example.com&pwd=wrong");
    let start = r#"{"message":"Invalid login credentials","exception":"frappe.exceptions.AuthenticationError","exc_type":"AuthenticationError","exc":"[\"Traceback "#;
    assert!(refused.body.starts_with(start), "{}", refused.body);
}

#[test]
fn a_browser_gets_pages() {
    let html = (ACCEPT, "text/html");
    for (why, target, headers, status, body) in [
        ("T131: an API error for a browser", "/api/resource/ToDo", vec![(AUTHORIZATION, "Bearer nosuch"), html], 401, "Session Expired"),
        ("T132: outside the API", "/about", vec![(AUTHORIZATION, "Bearer nosuch")], 401, "Session Expired"),
        ("T418: unless JSON is asked for", "/about", vec![(AUTHORIZATION, "Bearer nosuch"), (ACCEPT, "application/json")], 401, "exc_type"),
        ("the home page", "/", vec![], 200, "pocket ERP"),
        ("any other", "/about", vec![], 404, "404 Not Found"),
    ] {
        let reply = ask(&pocket(), "GET", target, &headers, "");
        assert_eq!(reply.status.as_u16(), status, "{why}: {}", reply.body);
        assert!(reply.body.contains(body), "{why}: {}", reply.body);
    }
}
