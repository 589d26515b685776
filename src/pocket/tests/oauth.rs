//! The provider beyond what was recorded: refusals, bounds, and the hooks by which a test of a gate moves the site's clock and revokes.

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::send;
use crate::pocket::Pocket;
use crate::pocket::reply::Reply;

const ENDPOINT: &str = "/api/method/frappe.integrations.oauth2.";
const CALLBACK: &str = "https://gate.example/oauth/callback";

fn site() -> Pocket {
    Pocket::sample()
        .with_oauth_client("gate", "gate-secret", &[CALLBACK, "https://gate.example/other?x=1"], "all openid", true)
        .with_oauth_client("asks", "asks-secret", &[CALLBACK], "all", false)
        .with_oauth_client("<no name>", "x", &[CALLBACK], "all", true)
        .with_key("key", "secret", "sales@example.com")
}

fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a header of the test"))).collect()
}

/// As `sales@example.com`, who came with an API key and a browser's cookie.
fn visit(pocket: &Pocket, target: &str) -> Reply {
    let headers = headers(&[(AUTHORIZATION, "token key:secret"), (COOKIE, "user_id=sales%40example.com"), (HOST, "erp.example")]);
    send(pocket, "GET", &format!("{ENDPOINT}{target}"), headers, "")
}

fn post(pocket: &Pocket, endpoint: &str, body: &str) -> Reply {
    let headers = headers(&[(CONTENT_TYPE, "application/x-www-form-urlencoded"), (HOST, "erp.example")]);
    send(pocket, "POST", &format!("{ENDPOINT}{endpoint}"), headers, body)
}

fn who(pocket: &Pocket, token: &str) -> (u16, String) {
    let headers = headers(&[(AUTHORIZATION, &format!("Bearer {token}"))]);
    let reply = send(pocket, "GET", "/api/method/frappe.auth.get_logged_user", headers, "");
    (reply.status.as_u16(), reply.body)
}

fn query(client: &str, more: &str) -> String {
    format!("client_id={client}&response_type=code&redirect_uri=https%3A%2F%2Fgate.example%2Foauth%2Fcallback{more}")
}

fn code(pocket: &Pocket, more: &str) -> String {
    let location = visit(pocket, &format!("approve?{}", query("gate", more))).location.expect("a redirect");
    let (_, code) = location.split_once("?code=").expect("a code");
    code.split('&').next().expect("a first piece").to_owned()
}

fn redeem(pocket: &Pocket, code: &str, more: &str) -> Reply {
    let body = format!("grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}&client_id=gate{more}");
    post(pocket, "get_token", &body)
}

fn pair(pocket: &Pocket) -> (String, String) {
    let answer: Value = serde_json::from_str(&redeem(pocket, &code(pocket, ""), "").body).expect("JSON");
    let text = |key: &str| answer[key].as_str().expect("a token").to_owned();
    (text("access_token"), text("refresh_token"))
}

fn refresh(pocket: &Pocket, token: &str) -> u16 {
    post(pocket, "get_token", &format!("grant_type=refresh_token&refresh_token={token}&client_id=gate")).status.as_u16()
}

#[test]
fn authorize_refuses_in_json_and_never_redirects() {
    let invalid = |description: &str| json!({"description": description, "status_code": 400, "error": "invalid_request"});
    let bare = |error: &str| json!({"description": "", "status_code": 400, "error": error});
    let uri = "redirect_uri=https%3A%2F%2Fgate.example%2Foauth%2Fcallback";
    for (why, query, expected) in [
        ("no client", format!("response_type=code&{uri}"), invalid("Missing client_id parameter.")),
        ("an empty client", format!("client_id=&response_type=code&{uri}"), invalid("Missing client_id parameter.")),
        ("an unknown client", query("nosuch", ""), invalid("Invalid client_id parameter value.")),
        ("two clients", query("gate", "&client_id=asks"), invalid("Duplicate client_id parameter.")),
        ("two states", query("gate", "&state=a&state=b"), invalid("Duplicate state parameter.")),
        ("an address that is none", "client_id=gate&response_type=code&redirect_uri=callback".to_owned(), invalid("Invalid redirect URI.")),
        ("a longer address", query("gate", "%2Fx"), invalid("Mismatching redirect URI.")),
        (
            "upper case",
            "client_id=gate&response_type=code&redirect_uri=https://GATE.example/oauth/callback".to_owned(),
            invalid("Mismatching redirect URI."),
        ),
        ("two addresses in one", query("gate", "%20https%3A%2F%2Fgate.example%2Fother"), invalid("Mismatching redirect URI.")),
        ("no response type", format!("client_id=gate&{uri}"), invalid("Missing response_type parameter.")),
        ("implicit", format!("client_id=gate&response_type=token&{uri}"), bare("unauthorized_client")),
        ("nonsense", format!("client_id=gate&response_type=none&{uri}"), bare("unsupported_response_type")),
        ("a scope too many", query("gate", "&scope=all%20write"), bare("invalid_scope")),
        ("an empty scope", query("gate", "&scope="), bare("invalid_scope")),
        (
            "an unknown transformation",
            query("gate", "&code_challenge=x&code_challenge_method=s256"),
            invalid("Transform algorithm not supported."),
        ),
    ] {
        for endpoint in ["authorize", "approve"] {
            let reply = visit(&site(), &format!("{endpoint}?{query}"));
            assert_eq!((reply.status.as_u16(), reply.location), (400, None), "{why}: {}", reply.body);
            assert_eq!(serde_json::from_str::<Value>(&reply.body).expect("JSON"), expected, "{why}");
        }
    }
}

#[test]
fn approve_needs_somebody() {
    for (why, list, status) in [
        ("nobody", vec![], 403),
        ("a cookie alone is not a session", vec![(COOKIE, "user_id=Administrator")], 403),
        ("a session without the cookie", vec![(AUTHORIZATION, "token key:secret")], 500),
        ("a cookie that names nobody", vec![(AUTHORIZATION, "token key:secret"), (COOKIE, "user_id=nosuch")], 417),
    ] {
        let pocket = site();
        let reply = send(&pocket, "GET", &format!("{ENDPOINT}approve?{}", query("gate", "")), headers(&list), "");
        assert_eq!((reply.status.as_u16(), reply.location), (status, None), "{why}: {}", reply.body);
    }
    let long = visit(&site(), &format!("approve?{}", query("gate", &format!("&nonce={}", "x".repeat(141)))));
    assert_eq!(long.status.as_u16(), 417, "a nonce wider than its column: {}", long.body);
}

#[test]
fn consent_shows_who_asks_for_what_and_escapes_it() {
    let pocket = site();
    let page = visit(&pocket, &format!("authorize?{}", query("asks", "&state=%22%3E%3Cscript%3E")));
    assert_eq!((page.status.as_u16(), page.content_type), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains("asks wants to access") && page.body.contains("<li>all</li>"), "{}", page.body);
    assert!(page.body.contains(&format!("id=deny href=\"{CALLBACK}?error=access_denied\"")), "T13: {}", page.body);
    let allow = format!("{ENDPOINT}approve?{}&state=%22%3E%3Cscript%3E", query("asks", "")).replace('&', "&amp;");
    assert!(page.body.contains(&format!("id=allow href=\"{allow}\"")), "{}", page.body);
    pocket.lock().site.set("OAuth Client", "asks", "app_name", "<script>");
    let page = visit(&pocket, &format!("authorize?{}", query("asks", "")));
    assert!(page.body.contains("&lt;script&gt; wants") && !page.body.contains("<script"), "{}", page.body);
    pocket.lock().site.set("OAuth Client", "gate", "skip_authorization", 0);
    let page = visit(&pocket, &format!("authorize?{}", query("gate", "")));
    assert!(page.body.contains("<li>Full Name</li>") && !page.body.contains("<li>openid</li>"), "{}", page.body);
}

#[test]
fn the_answer_goes_to_the_registered_address_with_the_state() {
    let pocket = site();
    let location = visit(&pocket, &format!("approve?{}", query("gate", "&state=a%20b%26c%3D%C3%A9"))).location.expect("a redirect");
    assert!(location.starts_with(&format!("{CALLBACK}?code=")) && location.ends_with("&state=a+b%26c%3D%C3%A9"), "{location}");
    let other = "client_id=gate&response_type=code&redirect_uri=https%3A%2F%2Fgate.example%2Fother%3Fx%3D1";
    let location = visit(&pocket, &format!("approve?{other}")).location.expect("a redirect");
    assert!(location.starts_with("https://gate.example/other?x=1&code="), "{location}");

    let late = "client_id=gate&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcb";
    assert_eq!(visit(&pocket, &format!("approve?{late}")).status.as_u16(), 400);
    assert!(pocket.add_redirect_uri("gate", "http://127.0.0.1:4711/cb"));
    assert!(
        visit(&pocket, &format!("approve?{late}")).location.is_some_and(|location| location.starts_with("http://127.0.0.1:4711/cb?code="))
    );
    assert!(!pocket.add_redirect_uri("nosuch", CALLBACK));
    assert!(pocket.lock().site.find("OAuth Client", "<no name>").is_none());
}

#[test]
fn the_token_endpoint_refuses() {
    let pocket = site();
    let used = code(&pocket, "");
    assert_eq!(redeem(&pocket, &used, "").status.as_u16(), 200);
    let fresh = code(&pocket, "");
    let swapped: String =
        fresh.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    let by_code = |code: &str, rest: &str| format!("grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}{rest}");
    let grant = json!({"error": "invalid_grant"});
    let invalid = |description: &str| json!({"error": "invalid_request", "error_description": description});
    for (why, body, expected) in [
        ("a used code", by_code(&used, "&client_id=gate"), grant.clone()),
        ("another client's code", by_code(&fresh, "&client_id=asks"), grant.clone()),
        ("a code in another case", by_code(&swapped, "&client_id=gate"), grant.clone()),
        ("no code", "grant_type=authorization_code&client_id=gate".to_owned(), invalid("Missing code parameter.")),
        (
            "an address that is not the client's",
            format!("grant_type=authorization_code&code={fresh}&client_id=gate&redirect_uri=https://evil.example"),
            invalid("Mismatching redirect URI."),
        ),
        (
            "an empty address",
            format!("grant_type=authorization_code&code={fresh}&client_id=gate&redirect_uri="),
            invalid("Missing redirect URI."),
        ),
        ("no refresh token", "grant_type=refresh_token&client_id=gate".to_owned(), invalid("Missing refresh token parameter.")),
        (
            "no password",
            "grant_type=password&client_id=gate&username=demo@example.com".to_owned(),
            invalid("Request is missing password parameter."),
        ),
        (
            "a scope beyond the client's",
            "grant_type=password&client_id=gate&username=demo@example.com&password=demo&scope=write".to_owned(),
            json!({"error": "invalid_scope"}),
        ),
        ("an unknown grant", "grant_type=device&client_id=gate".to_owned(), json!({"error": "unsupported_grant_type"})),
        ("nothing", String::new(), json!({"error": "unsupported_grant_type"})),
    ] {
        let reply = post(&pocket, "get_token", &body);
        assert_eq!(reply.status.as_u16(), 400, "{why}: {}", reply.body);
        assert_eq!(serde_json::from_str::<Value>(&reply.body).expect("JSON"), expected, "{why}");
    }
    for (why, body, status, exc_type) in [
        ("no client, no token", by_code(&fresh, ""), 500, "AttributeError"),
        ("an unknown client", by_code(&fresh, "&client_id=nosuch"), 404, "DoesNotExistError"),
        ("an unknown refresh token, no client", "grant_type=refresh_token&refresh_token=nosuch".to_owned(), 404, "DoesNotExistError"),
        (
            "the sample's token, which is revoked",
            "grant_type=refresh_token&refresh_token=not-a-real-refresh-token".to_owned(),
            404,
            "DoesNotExistError",
        ),
        (
            "T31: a wrong password",
            "grant_type=password&client_id=gate&username=demo@example.com&password=x".to_owned(),
            401,
            "AuthenticationError",
        ),
    ] {
        let reply = post(&pocket, "get_token", &body);
        assert_eq!(reply.status.as_u16(), status, "{why}: {}", reply.body);
        assert_eq!(serde_json::from_str::<Value>(&reply.body).expect("JSON")["exc_type"], exc_type, "{why}");
    }
    assert_eq!(redeem(&pocket, &fresh, "").status.as_u16(), 200, "none of that used the code up");
    assert_eq!(pocket.refreshes(), 3);
    assert_eq!(pocket.token_requests(), 18);
}

#[test]
fn the_code_is_not_bound_to_the_address_that_it_was_sent_to() {
    let pocket = site();
    let code = code(&pocket, "");
    let body = format!("grant_type=authorization_code&code={code}&redirect_uri=https://gate.example/other?x=1&client_id=gate");
    assert_eq!(post(&pocket, "get_token", &body).status.as_u16(), 200);
}

#[test]
fn an_id_token_carries_the_nonce() {
    let pocket = site();
    let reply = redeem(&pocket, &code(&pocket, "&nonce=n-0S6"), "");
    let answer: Value = serde_json::from_str(&reply.body).expect("JSON");
    let keys: Vec<&str> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["access_token", "expires_in", "token_type", "scope", "refresh_token", "id_token"], "T21");
    let claims = answer["id_token"].as_str().expect("a token").split('.').nth(1).expect("claims").to_owned();
    let claims: Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).expect("base64url")).expect("JSON");
    assert_eq!(
        (&claims["nonce"], &claims["email"], &claims["iss"]),
        (&json!("n-0S6"), &json!("sales@example.com"), &json!("http://erp.example"))
    );
    let narrow = redeem(&pocket, &code(&pocket, "&scope=all"), "");
    assert!(!narrow.body.contains("id_token"), "without openid there is none: {}", narrow.body);
}

#[test]
fn issued_tokens_expire_and_are_revoked() {
    let pocket = site();
    let (access, refresh_token) = pair(&pocket);
    let sales = (200, r#"{"message":"sales@example.com"}"#.to_owned());
    assert_eq!(who(&pocket, &access), sales);
    pocket.advance(3_590);
    assert_eq!(who(&pocket, &access), sales, "ten seconds left");
    pocket.advance(10);
    let (status, body) = who(&pocket, &access);
    assert!(status == 401 && body.contains(r#""exc_type":"AuthenticationError""#), "{body}");
    assert_eq!(refresh(&pocket, &refresh_token), 200, "T172: a refresh token does not expire");

    let (access, refresh_token) = pair(&pocket);
    assert_eq!(pocket.revoke_all("nobody@example.com"), 0);
    assert_eq!(who(&pocket, &access), sales, "others are left alone");
    assert_eq!(pocket.revoke_all("SALES@example.com"), 3, "the expired pair, its successor, this one");
    assert_eq!((who(&pocket, &access).0, refresh(&pocket, &refresh_token)), (401, 404));
    assert_eq!(pocket.revoke_all("sales@example.com"), 0, "nothing is left to revoke");
    for token in ["nosuch", "not-a-real-access-token", &refresh_token, ""] {
        assert_eq!(who(&pocket, token).0, 401, "{token}");
    }

    pocket.advance(u64::MAX);
    assert_eq!(refresh(&pocket, &pair(&pocket).1), 200, "the end of time is no panic");
}

#[test]
fn tokens_are_rows_that_a_manager_reads_and_uses() {
    let pocket = site().with_key("manager", "secret", "demo@example.com");
    let (access, _) = pair(&pocket);
    let code = code(&pocket, "");
    let read = |target: &str| send(&pocket, "GET", target, headers(&[(AUTHORIZATION, "token manager:secret")]), "").body;
    assert!(read("/api/resource/OAuth%20Bearer%20Token?limit_page_length=0").contains(&access), "T500");
    assert!(read("/api/resource/OAuth%20Authorization%20Code").contains(&code), "T505");
    assert!(read("/api/resource/OAuth%20Client/gate").contains("gate-secret"), "T504");
    let reply = send(&pocket, "DELETE", "/api/resource/OAuth%20Client/gate", headers(&[(AUTHORIZATION, "token manager:secret")]), "");
    assert!(reply.status == 417 && reply.body.contains("is linked with OAuth Bearer Token"), "T178: {}", reply.body);
    for doctype in ["OAuth%20Bearer%20Token", "OAuth%20Authorization%20Code", "OAuth%20Client"] {
        let reply = send(&pocket, "GET", &format!("/api/resource/{doctype}"), headers(&[(AUTHORIZATION, "token key:secret")]), "");
        assert_eq!(reply.status.as_u16(), 403, "{doctype} is for managers: {}", reply.body);
    }
}

#[test]
fn codes_and_tokens_are_bounded() {
    let pocket = site();
    let first = code(&pocket, "");
    let used = code(&pocket, "");
    assert_eq!(redeem(&pocket, &used, "").status.as_u16(), 200);
    for _ in 0..499 {
        code(&pocket, "");
    }
    assert!(pocket.lock().site.find("OAuth Authorization Code", &used).is_none(), "what is spent goes first");
    assert_eq!(redeem(&pocket, &first, "").status.as_u16(), 200, "and the oldest after it");
    for _ in 0..2 {
        code(&pocket, "");
    }
    assert!(pocket.lock().site.find("OAuth Authorization Code", &first).is_none());
    let doctype = crate::pocket::doctype::DocType::find("OAuth Authorization Code").expect("a doctype");
    assert_eq!(pocket.lock().site.rows(doctype).len(), 500);
}

#[test]
fn every_alias_of_the_token_endpoint_counts() {
    let pocket = site();
    let body = "grant_type=refresh_token&refresh_token=nosuch&client_id=gate";
    let form = || headers(&[(CONTENT_TYPE, "application/x-www-form-urlencoded")]);
    for (target, status) in [
        ("/api/v1/method/frappe.integrations.oauth2.get_token", 404),
        ("/api/v2/method/frappe.integrations.oauth2.get_token", 404),
        ("/api/method/frappe.integrations.oauth2.get_token/junk", 404),
        ("/?cmd=frappe.integrations.oauth2.get_token", 400),
    ] {
        assert_eq!(send(&pocket, "POST", target, form(), body).status.as_u16(), status, "{target}");
    }
    assert_eq!((pocket.refreshes(), pocket.token_requests()), (3, 4));
    let head = send(&pocket, "HEAD", "/api/method/frappe.integrations.oauth2.get_token", form(), body);
    assert_eq!((head.status.as_u16(), pocket.token_requests()), (403, 4), "HEAD does not get there");
}
