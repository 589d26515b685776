//! Which pages of other origins may read what the endpoints answer, errors included.

use crate::support::provider::{App, CALLBACK, Frappe, ISSUER, Person, Provider, authorize};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::wire::Reply;

/// An app in a browser, at its own origin.
const PAGE: &str = "https://spa.example";
const STRANGERS: [&str; 6] = ["https://evil.example", "http://spa.example", "https://spa.example:8443", "https://SPA.example", "null", "*"];

fn single_page_app(provider: &Provider) -> App {
    provider.app("spa", "read write openid", &["--redirect-uri", CALLBACK, "--public", "--origin", PAGE])
}

fn from(provider: &Provider, origin: &str, method: &str, path: &str, lines: &str, body: &str) -> Reply {
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    provider.exchange(&format!(
        "{method} {path} HTTP/1.1\r\nHost: {SITE}\r\nOrigin: {origin}\r\n{lines}{length}Connection: close\r\n\r\n{body}"
    ))
}

fn preflight(provider: &Provider, origin: &str, path: &str, method: &str) -> Reply {
    let lines = format!("Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: authorization, content-type\r\n");
    from(provider, origin, "OPTIONS", path, &lines, "")
}

fn readable(reply: &Reply, what: &str) {
    assert_eq!(reply.all("access-control-allow-origin"), [PAGE], "{what}: {}", reply.status);
    assert!(reply.all("access-control-allow-credentials").is_empty(), "no cookie is read there: {what}");
    assert!(reply.all("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin")), "{what}");
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A request, and the status of its answer.
type Row<'a> = (&'a str, &'a str, String, String, u16);

/// What a page asks, rightly and wrongly.
fn requests<'a>(token: &str, refresh: &str) -> Vec<Row<'a>> {
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let form = || FORM.to_owned();
    vec![
        ("POST", "/oauth/token", form(), format!("grant_type=refresh_token&client_id=spa&refresh_token={refresh}"), 200),
        ("POST", "/oauth/token", form(), "grant_type=refresh_token&client_id=spa&refresh_token=unknown".to_owned(), 400),
        ("POST", "/oauth/token", form(), "grant_type=refresh_token&client_id=nobody&refresh_token=unknown".to_owned(), 401),
        ("POST", "/oauth/token", form(), "grant_type=password&client_id=spa".to_owned(), 400),
        ("GET", "/oauth/token", String::new(), String::new(), 405),
        ("GET", "/oauth/userinfo", bearer(token), String::new(), 200),
        ("GET", "/oauth/userinfo", bearer("unknown"), String::new(), 401),
        ("GET", "/oauth/userinfo", String::new(), String::new(), 401),
        ("POST", "/oauth/register", "Content-Type: application/json\r\n".to_owned(), "{}".to_owned(), 400),
        ("POST", "/oauth/revoke", form(), format!("client_id=spa&token={token}"), 200),
        ("POST", "/oauth/revoke", form(), "client_id=nobody&token=x".to_owned(), 401),
        ("POST", "/oauth/revoke", form(), "client_id=spa".to_owned(), 400),
    ]
}

#[test]
fn cors_is_answered_for_the_clients_origins_and_on_errors() {
    let provider = Provider::with("registration = \"open\"");
    let app = single_page_app(&provider);
    let tokens = provider.tokens(&app, "read openid");
    let secret = |name: &str| tokens[name].as_str().unwrap_or_else(|| panic!("`{name}`")).to_owned();
    let (token, refresh) = (secret("access_token"), secret("refresh_token"));
    // Strangers first: what they are told uses nothing up.
    for origin in STRANGERS {
        for path in ["/oauth/token", "/oauth/revoke", "/oauth/userinfo", "/oauth/register"] {
            let reply = preflight(&provider, origin, path, "POST");
            assert!(reply.all("access-control-allow-origin").is_empty(), "{path} from {origin}");
            assert!(reply.all("access-control-allow-methods").is_empty(), "{path} from {origin}");
        }
        let reply = from(&provider, origin, "GET", "/oauth/userinfo", &format!("Authorization: Bearer {token}\r\n"), "");
        assert_eq!((reply.status, reply.all("access-control-allow-origin").len()), (200, 0), "{origin}");
        assert!(reply.all("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin")), "{origin}");
    }
    for (path, method) in [("/oauth/token", "POST"), ("/oauth/revoke", "POST"), ("/oauth/userinfo", "GET"), ("/oauth/register", "POST")] {
        let reply = preflight(&provider, PAGE, path, method);
        assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{path}");
        readable(&reply, path);
        assert!(reply.header("access-control-allow-methods").is_some_and(|methods| methods.contains(method)), "{path}");
        let headers = reply.header("access-control-allow-headers").unwrap_or_default();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{path}: {headers}");
        assert!(reply.header("access-control-max-age").is_some(), "{path}");
    }
    for (method, path, lines, body, status) in requests(&token, &refresh) {
        let reply = from(&provider, PAGE, method, path, &lines, &body);
        let what = format!("{method} {path} {body}");
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        readable(&reply, &what);
        let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("www-authenticate") && exposed.contains("x-request-id"), "{what}: a page can read why");
        let answer = reply.json();
        for name in ["access_token", "refresh_token"] {
            if let Some(secret) = answer[name].as_str() {
                provider.gate.keep_secret(secret);
            }
        }
    }
}

#[test]
fn documents_and_keys_are_for_every_page() {
    let provider = Provider::on_redis();
    single_page_app(&provider);
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/oauth/jwks",
    ] {
        for origin in ["https://evil.example", "null", PAGE] {
            let reply = from(&provider, origin, "GET", path, "", "");
            assert_eq!((reply.status, reply.all("access-control-allow-origin")), (200, vec!["*"]), "{path} from {origin}");
            let reply = preflight(&provider, origin, path, "GET");
            assert_eq!((reply.status, reply.all("access-control-allow-origin")), (204, vec!["*"]), "{path} from {origin}");
        }
    }
}

#[test]
fn the_sites_own_origins_are_let_in_as_well() {
    let frappe = Frappe::start();
    let setup = Setup::on(Redis::start(), &frappe.url()).site(&format!("cors_origins = [\"{PAGE}\"]"));
    let provider = Provider::begin(setup, frappe, "");
    readable(&preflight(&provider, PAGE, "/oauth/token", "POST"), "a preflight");
    let reply = from(&provider, PAGE, "POST", "/oauth/token", FORM, "grant_type=refresh_token&client_id=nobody&refresh_token=x");
    assert_eq!(reply.status, 401);
    readable(&reply, "an error");
}

#[test]
fn pages_and_introspection_are_for_no_other_origin() {
    let provider = Provider::on_redis();
    let app = single_page_app(&provider);
    let mut person = Person::new(&provider);
    let consent = person.begin(&authorize(&app, "read", &[]));
    assert_eq!(consent.reply.status, 200);
    let origin = format!("Origin: {PAGE}\r\n");
    let targets = [authorize(&app, "read", &[]), "/oauth/grants".to_owned(), "/oauth/callback?code=c&state=s".to_owned()];
    let mut replies: Vec<Reply> = Vec::new();
    for target in &targets {
        replies.push(person.ask("GET", &format!("{ISSUER}{target}"), &origin, None).reply);
        replies.push(preflight(&provider, PAGE, target, "GET"));
    }
    for path in ["/oauth/consent", "/oauth/signout", "/oauth/introspect"] {
        replies.push(from(&provider, PAGE, "POST", path, FORM, "token=x"));
        replies.push(preflight(&provider, PAGE, path, "POST"));
    }
    for reply in replies {
        let fields: Vec<_> = reply.headers.iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-")).collect();
        assert!(fields.is_empty(), "{}: {fields:?}", reply.status);
    }
}
