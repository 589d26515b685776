//! Clients that register themselves (RFC 7591), where the operator lets them.

use serde_json::{Value, json};

use crate::support::gate::CLIENT;
use crate::support::provider::{App, CALLBACK, ISSUER, Person, Provider, authorize};
use crate::support::setup::SITE;
use crate::support::wire::Reply;

const INITIAL: &str = "initial-access-token-0123456789abcdef";

fn by_token() -> Provider {
    let provider = Provider::with(&format!("registration = \"token\"\nregistration_token = \"{INITIAL}\""));
    provider.gate.keep_secret(INITIAL);
    provider
}

fn register(provider: &Provider, lines: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("POST /oauth/register HTTP/1.1\r\nHost: {SITE}\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n");
    let kind = if lines.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
    provider.exchange(&format!("{head}{kind}\r\n{body}"))
}

fn initial() -> String {
    format!("Authorization: Bearer {INITIAL}\r\n")
}

fn plain() -> Value {
    json!({"redirect_uris": [CALLBACK], "client_name": "Explorer"})
}

fn error(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// How many clients there are, beside the one that each gate under test has.
fn clients(provider: &Provider) -> usize {
    let list = provider.gate.cli_json(&["client", "list", "--site", SITE, "--json"]);
    list["clients"].as_array().expect("a list").iter().filter(|client| client["client_id"] != CLIENT).count()
}

#[test]
fn registration_is_not_there_unless_the_operator_wants_it() {
    for provider in [Provider::on_redis(), Provider::with("registration = \"off\"")] {
        for lines in [String::new(), initial()] {
            assert_eq!(register(&provider, &lines, &plain().to_string()).status, 404);
        }
        assert_eq!(provider.get("/.well-known/oauth-authorization-server").json().get("registration_endpoint"), None);
        assert_eq!(clients(&provider), 0);
    }
}

#[test]
fn a_client_registers_with_the_initial_token_and_signs_users_in() {
    let provider = by_token();
    assert_eq!(provider.get("/.well-known/oauth-authorization-server").json()["registration_endpoint"], format!("{ISSUER}/oauth/register"));
    let wanted = json!({"redirect_uris": [CALLBACK], "client_name": "Explorer", "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_post", "scope": "read", "contacts": ["ida@app.example"], "x-unknown": {"a": 1}});
    let reply = register(&provider, &initial(), &wanted.to_string());
    assert_eq!((reply.status, reply.header("cache-control")), (201, Some("no-store")), "{}", reply.text());
    let told = reply.json();
    let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("`{name}` in {told}")).to_owned();
    let app = App { id: text("client_id"), secret: Some(text("client_secret")) };
    provider.gate.keep_secret(&text("client_secret"));
    assert_eq!(
        (&told["client_secret_expires_at"], &told["scope"], &told["redirect_uris"]),
        (&json!(0), &json!("read"), &json!([CALLBACK]))
    );
    assert!(told["client_id_issued_at"].is_u64() && told.get("x-unknown").is_none(), "{told}");

    // Whoever registered itself asks its users, and has no more than it was given.
    let consent = Person::new(&provider).begin(&authorize(&app, "read", &[]));
    assert!(consent.reply.text().contains("Explorer"), "{}", consent.reply.text());
    let tokens = provider.tokens(&app, "read");
    let token = tokens["access_token"].as_str().expect("an access token");
    assert_eq!(provider.api("GET", "/api/resource/Item", token, None).status, 200);
    assert_eq!(provider.api("POST", "/api/resource/Lead", token, Some("{\"lead_name\":\"x\"}")).status, 403);
    // Nobody has vouched for it, so nobody is sent there with an error by a mere link (RFC 9700 section 4.11.2).
    let wider = Person::new(&provider).begin(&authorize(&app, "read write", &[]));
    assert_eq!((wider.reply.status, wider.reply.header("location")), (400, None));
    assert!(wider.reply.text().contains("invalid_scope"), "{}", wider.reply.text());
    assert_eq!(error(&provider.token(&app, &[("grant_type", "client_credentials")])), (400, "unauthorized_client".to_owned()));
}

#[test]
fn nobody_registers_without_the_initial_token() {
    let provider = by_token();
    let body = plain().to_string();
    let another = format!("Authorization: Bearer {}x\r\n", &INITIAL[1..]);
    let twice = initial().repeat(2);
    let basic = "Authorization: Basic aW5pdGlhbDp0b2tlbg==\r\n".to_owned();
    for (why, lines, status) in
        [("none", String::new(), 401), ("another", another, 401), ("as a password", basic, 401), ("twice", twice, 400)]
    {
        let reply = register(&provider, &lines, &body);
        assert_eq!(reply.status, status, "{why}: {}", reply.text());
        assert!(reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer ")), "{why}");
    }
    let inside = json!({"redirect_uris": [CALLBACK], "access_token": INITIAL}).to_string();
    assert_eq!(register(&provider, "", &inside).status, 401);
    assert_eq!(clients(&provider), 0);
}

#[test]
fn a_registration_that_does_not_fit_is_refused_and_leaves_nothing() {
    let provider = by_token();
    let with = |name: &str, value: Value| {
        let mut body = plain();
        body[name] = value;
        body.to_string()
    };
    let uri = |uri: &str| with("redirect_uris", json!([uri]));
    let rows = [
        ("no redirect URI", "{}".to_owned(), "invalid_redirect_uri"),
        ("an empty list", with("redirect_uris", json!([])), "invalid_redirect_uri"),
        ("seventeen", with("redirect_uris", json!(vec![CALLBACK; 17])), "invalid_redirect_uri"),
        ("plain http", uri("http://app.example/callback"), "invalid_redirect_uri"),
        ("a fragment", uri("https://app.example/callback#x"), "invalid_redirect_uri"),
        ("a pattern", uri("https://*.app.example/callback"), "invalid_redirect_uri"),
        ("a script", uri("javascript:alert(1)"), "invalid_redirect_uri"),
        ("a user name", uri("https://bank.example@app.example/"), "invalid_redirect_uri"),
        ("a quote", uri("https://app.example/\"><script>"), "invalid_redirect_uri"),
        ("relative", uri("/callback"), "invalid_redirect_uri"),
        ("an unknown method", with("token_endpoint_auth_method", json!("private_key_jwt")), "invalid_client_metadata"),
        ("the password grant", with("grant_types", json!(["password"])), "invalid_client_metadata"),
        ("without a user", with("grant_types", json!(["client_credentials"])), "invalid_client_metadata"),
        ("the implicit grant", with("response_types", json!(["token"])), "invalid_client_metadata"),
        ("more than anybody gets", with("scope", json!("all")), "invalid_client_metadata"),
        ("no scope at all", with("scope", json!("re\"ad")), "invalid_client_metadata"),
        ("a name of two lines", with("client_name", json!("Explorer\nby the administrator")), "invalid_client_metadata"),
        ("a name that turns round", with("client_name", json!("\u{202e}rerolpxE")), "invalid_client_metadata"),
        ("a name of a novel", with("client_name", json!("x".repeat(141))), "invalid_client_metadata"),
        ("no name", with("client_name", json!("")), "invalid_client_metadata"),
        ("a number", with("client_name", json!(7)), "invalid_client_metadata"),
        ("a list", "[]".to_owned(), "invalid_client_metadata"),
        ("no JSON", "{".to_owned(), "invalid_client_metadata"),
        ("nothing", String::new(), "invalid_client_metadata"),
    ];
    for (why, body, expected) in rows {
        let reply = register(&provider, &initial(), &body);
        assert_eq!(error(&reply), (400, expected.to_owned()), "{why}: {}", reply.text());
        let description = reply.json()["error_description"].as_str().unwrap_or_default().to_owned();
        assert!(
            !description.is_empty() && description.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'),
            "{why}"
        );
    }
    let form = format!("{}Content-Type: application/x-www-form-urlencoded\r\n", initial());
    assert_eq!(error(&register(&provider, &form, "redirect_uris=x")), (400, "invalid_request".to_owned()));
    let twice = format!("{{\"redirect_uris\":[\"{CALLBACK}\"],\"scope\":\"read\",\"scope\":\"all\"}}");
    assert_eq!(error(&register(&provider, &initial(), &twice)), (400, "invalid_client_metadata".to_owned()), "a member twice");
    assert_eq!(clients(&provider), 0);
}

#[test]
fn open_registration_gives_out_little_and_not_often() {
    let provider = Provider::with("registration = \"open\"");
    for number in 0..10 {
        let reply = register(&provider, "", &plain().to_string());
        assert_eq!((reply.status, &reply.json()["scope"]), (201, &json!("read")), "{number}: {}", reply.text());
        provider.gate.keep_secret(reply.json()["client_secret"].as_str().expect("a secret"));
    }
    let reply = register(&provider, "", &plain().to_string());
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok()).is_some_and(|seconds| seconds > 0));
    assert_eq!(clients(&provider), 10);
}

#[test]
fn clients_register_with_as_much_as_the_operator_says() {
    let provider = Provider::with("registration = \"open\"\nregistration_scopes = \"read write openid\"");
    let told = register(&provider, "", &plain().to_string()).json();
    assert_eq!(told["scope"], "read write openid");
    provider.gate.keep_secret(told["client_secret"].as_str().expect("a secret"));
    let narrow = json!({"redirect_uris": [CALLBACK], "scope": "read:item", "token_endpoint_auth_method": "none"});
    let told = register(&provider, "", &narrow.to_string()).json();
    assert_eq!((&told["scope"], told.get("client_secret")), (&json!("read:item"), None), "within `read`: {told}");
}
