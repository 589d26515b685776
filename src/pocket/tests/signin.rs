//! A browser at pocket ERP: sign-in, the redirects of the code flow, sign-out.

use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderValue};

use super::send;
use crate::pocket::Pocket;
use crate::pocket::reply::{Cookies, Reply};

/// Cookies between requests, as a browser keeps them.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn go(&mut self, pocket: &Pocket, method: &str, target: &str, body: &str) -> (u16, Option<String>, String) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("erp.example"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        headers.insert(COOKIE, HeaderValue::from_str(&cookies.join("; ")).expect("cookies"));
        let reply = send(pocket, method, target, headers, body);
        let (location, body) = (reply.location.clone(), reply.body.clone());
        let response = reply.into_http();
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().expect("text");
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.cookies.retain(|(known, _)| known != name);
            if !line.contains("Max-Age=0") && !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        (response.status().as_u16(), location, body)
    }

    fn who(&mut self, pocket: &Pocket) -> u16 {
        self.go(pocket, "GET", "/api/method/frappe.auth.get_logged_user", "").0
    }
}

fn site() -> Pocket {
    Pocket::sample().with_password("ann@example.com", "correct horse & staple").with_oauth_client(
        "gate",
        "secret",
        &["https://gate.example/cb"],
        "all openid",
        false,
    )
}

const AUTHORIZE: &str = "/api/method/frappe.integrations.oauth2.authorize?client_id=gate&response_type=code&redirect_uri=https%3A%2F%2Fgate.example%2Fcb&scope=all%20openid&state=s%2B1";

#[test]
fn a_browser_signs_in_consents_and_signs_out() {
    let pocket = site();
    let mut browser = Browser::default();
    let (status, login, _) = browser.go(&pocket, "GET", AUTHORIZE, "");
    let login = login.expect("a redirect");
    let expected = "/login?redirect-to=http%3A%2F%2Ferp.example%2Fapi%2Fmethod%2Ffrappe.integrations.oauth2.authorize%3Fclient_id%3Dgate%26response_type%3Dcode%26redirect_uri%3Dhttps%3A%2F%2Fgate.example%2Fcb%26scope%3Dall%2520openid%26state%3Ds%252B1";
    assert_eq!((status, login.as_str()), (302, expected), "T10");
    let (status, _, page) = browser.go(&pocket, "GET", &login, "");
    let target = "http://erp.example/api/method/frappe.integrations.oauth2.authorize?client_id=gate&amp;response_type=code&amp;redirect_uri=https://gate.example/cb&amp;scope=all%20openid&amp;state=s%2B1";
    assert!(status == 200 && page.contains(&format!("<input type=hidden name=redirect-to value=\"{target}\">")), "{page}");
    for field in ["<form method=post action=\"/login\">", "name=usr", "name=pwd type=password", "<button"] {
        assert!(page.contains(field), "{field}: {page}");
    }
    assert!(!page.contains("script"), "it works without");

    let redirect_to = login.strip_prefix("/login?").expect("the query");
    let (status, back, _) =
        browser.go(&pocket, "POST", "/login", &format!("usr=ann%40example.com&pwd=correct+horse+%26+staple&{redirect_to}"));
    let back = back.expect("a redirect");
    assert_eq!((status, back.as_str()), (302, target.replace("&amp;", "&").as_str()));
    let (status, _, consent) = browser.go(&pocket, "GET", back.strip_prefix("http://erp.example").expect("the same host"), "");
    let (_, rest) = consent.split_once("id=allow href=\"").expect("an Allow link");
    let allow = rest.split('"').next().expect("its address").replace("&amp;", "&");
    assert!(status == 200 && consent.contains("id=deny href=\"https://gate.example/cb?error=access_denied\""), "{consent}");
    let (status, callback, _) = browser.go(&pocket, "GET", &allow, "");
    let callback = callback.expect("a redirect");
    assert!(status == 302 && callback.starts_with("https://gate.example/cb?code=") && callback.ends_with("&state=s%2B1"), "{callback}");

    let (status, again, _) = browser.go(&pocket, "GET", "/login?redirect-to=%2Fapp", "");
    assert_eq!((status, again.as_deref()), (302, Some("/app")), "whoever is signed in is sent on");
    assert_eq!(browser.who(&pocket), 200);
    assert_eq!(browser.go(&pocket, "GET", "/api/method/logout", "").0, 200);
    assert_eq!(browser.who(&pocket), 403);
}

#[test]
fn web_logout_is_a_page_and_ends_the_session() {
    for target in ["/?cmd=web_logout", "/api/method/web_logout"] {
        let pocket = site();
        let mut browser = Browser::default();
        assert_eq!(browser.go(&pocket, "POST", "/login", "usr=demo@example.com&pwd=demo").1.as_deref(), Some("/"));
        let stolen = Browser { cookies: browser.cookies.clone() };
        assert_eq!(browser.who(&pocket), 200);
        let (status, _, page) = browser.go(&pocket, "GET", target, "");
        assert!(status == 200 && page.contains("Logged Out"), "{target}: {page}");
        assert_eq!(browser.who(&pocket), 403, "{target}");
        let mut stolen = stolen;
        assert_eq!(stolen.who(&pocket), 403, "{target}: the session itself is gone");
    }
}

fn sign_in(body: &str) -> Reply {
    let headers = HeaderMap::from_iter([
        (HOST, HeaderValue::from_static("erp.example")),
        (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
    ]);
    let pocket = site();
    pocket.lock().site.set("User", "sales@example.com", "enabled", 0);
    send(&pocket, "POST", "/login", headers, body)
}

#[test]
fn a_bad_sign_in_is_the_page_again() {
    for (why, body) in [
        ("a wrong password", "usr=ann@example.com&pwd=wrong"),
        ("an unknown user", "usr=nosuch&pwd=x"),
        ("no password", "usr=ann@example.com"),
        ("an empty password", "usr=ann@example.com&pwd="),
        ("Guest", "usr=Guest&pwd="),
        ("a disabled user", "usr=sales@example.com&pwd=sales"),
        ("nothing", ""),
    ] {
        let reply = sign_in(&format!("{body}&redirect-to=%2Fback%22%3E%3Cscript%3E"));
        assert_eq!((reply.status.as_u16(), &reply.cookies, &reply.location), (401, &Cookies::None, &None), "{why}");
        assert!(reply.body.contains("Invalid login credentials"), "{why}: {}", reply.body);
        assert!(reply.body.contains("value=\"/back&#34;&gt;&lt;script&gt;\"") && !reply.body.contains("<script"), "{why}: {}", reply.body);
    }
    let reply = sign_in("usr=%22%3E%3Cscript%3E&pwd=x");
    assert!(reply.body.contains("value=\"&#34;&gt;&lt;script&gt;\""), "{}", reply.body);
}

#[test]
fn nobody_is_sent_elsewhere_after_signing_in() {
    for (redirect_to, expected) in [
        ("%2Fapp%3Fa%3D1", "/app?a=1"),
        ("http%3A%2F%2Ferp.example%2Fapp", "http://erp.example/app"),
        ("", "/"),
        ("http%3A%2F%2Fevil.example%2F", "/"),
        ("%2F%2Fevil.example%2F", "/"),
        ("%2F%5Cevil.example%2F", "/%5Cevil.example/"),
        ("javascript%3Aalert(1)", "/"),
        ("%2Fa%0D%0ASet-Cookie%3A%20sid%3Dx", "/a%0D%0ASet-Cookie:%20sid=x"),
    ] {
        let reply = sign_in(&format!("usr=demo@example.com&pwd=demo&redirect-to={redirect_to}"));
        assert!(matches!(reply.cookies, Cookies::Session { .. }), "{redirect_to}");
        assert_eq!((reply.status.as_u16(), reply.location.as_deref()), (302, Some(expected)), "{redirect_to}");
    }
}

#[test]
fn the_page_does_not_hide_cmd() {
    let reply = sign_in("cmd=login&usr=demo@example.com&pwd=demo");
    assert_eq!(reply.content_type, "application/json", "cmd beats the path: {}", reply.body);
}

#[test]
fn the_old_place_of_the_discovery_document_points_to_it() {
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("erp.example"))]);
    let reply = send(&site(), "GET", "/.well-known/openid-configuration", headers, "");
    let target = "/api/method/frappe.integrations.oauth2.openid_configuration";
    assert_eq!((reply.status.as_u16(), reply.location.as_deref(), reply.body.as_str()), (301, Some(target), ""), "T05");
}
