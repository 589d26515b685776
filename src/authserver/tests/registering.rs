//! Registration of clients by themselves.

use http::header::AUTHORIZATION;
use serde_json::json;

use super::*;

const INITIAL: &str = "initial-canary";

fn registering(body: &Value) -> Asked {
    Asked { body: body.to_string(), ..Asked::new(Endpoint::Register, Method::POST).with(CONTENT_TYPE, "application/json; charset=utf-8") }
}

fn bench(registration: Registration) -> Bench {
    let mut bench = Bench::embedded();
    bench.issuer.registration = registration;
    bench
}

fn by_token() -> Registration {
    Registration::Token(TokenHash::of(INITIAL.as_bytes()))
}

#[tokio::test]
async fn it_is_not_there_unless_the_operator_wants_it() {
    let told = bench(Registration::Off).ask(registering(&json!({"redirect_uris": [CALLBACK]}))).await;
    assert_eq!((told.status, told.reason), (404, "registration_off"));
}

#[tokio::test]
async fn a_confidential_client_registers_and_proves_itself() {
    let bench = bench(by_token());
    let told = bench.ask(registering(&json!({"redirect_uris": [CALLBACK], "client_name": "CRM"})).bearer(INITIAL)).await;
    assert_eq!((told.status, told.header("cache-control")), (201, "no-store"), "{}", told.text);
    let answer = told.json();
    let (id, secret) = (text(&answer, "client_id"), text(&answer, "client_secret"));
    let expected = json!({
        "client_id": id, "client_id_issued_at": bench.now.unix(), "client_secret": secret, "client_secret_expires_at": 0,
        "client_name": "CRM", "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic", "scope": "read write openid",
    });
    assert_eq!(answer, expected);
    let client = bench.store().client(ERP, id).await.expect("the store").expect("the client");
    assert!(!client.skip_consent && client.authenticates(secret, bench.now) && client.grant_types == [GrantType::AuthorizationCode]);
    let own = Asked::post(Endpoint::Token, &[("grant_type", "client_credentials")]).basic(id, secret);
    assert_eq!(bench.ask(own).await.error(), "unauthorized_client");
}

#[tokio::test]
async fn a_page_registers_and_may_call_from_then_on() {
    let bench = bench(Registration::Open);
    let origin = Asked::new(Endpoint::Token, Method::OPTIONS).with(http::header::ORIGIN, "https://app.example.com");
    let pages = async || Pages::None.asked(&bench.shared, &bench.issuer, Endpoint::Token, &origin.headers).await.expect("the store");
    assert_eq!(pages().await, Pages::None);
    let told = bench.ask(registering(&json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}))).await;
    assert_eq!((told.status, told.json().get("client_secret")), (201, None));
    assert_eq!(pages().await, Pages::Of(HeaderValue::from_static("https://app.example.com")));
}

#[tokio::test]
async fn only_with_the_initial_token() {
    let bench = bench(by_token());
    let asked = || registering(&json!({"redirect_uris": [CALLBACK]}));
    let rows = [
        ("none", asked(), 401, "token_missing"),
        ("another", asked().bearer("wrong-canary"), 401, "token_unknown"),
        ("Basic", asked().with(AUTHORIZATION, "Basic Y2FuYXJ5"), 401, "authorization_invalid"),
        ("twice", asked().bearer(INITIAL).bearer(INITIAL), 400, "authorization_invalid"),
    ];
    for (why, asked, status, reason) in rows {
        let told = bench.ask(asked).await;
        assert_eq!((told.status, told.reason), (status, reason), "{why}");
        assert!(told.header("www-authenticate").starts_with("Bearer"), "{why}");
        told.error();
    }
    for _ in 0..39 {
        assert_eq!(bench.ask(asked().bearer("guess")).await.status, 401);
    }
    assert_eq!(bench.ask(asked().bearer(INITIAL)).await.status, 429);
    assert_eq!(bench.store().clients(ERP).await.expect("the store"), []);
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_kept() {
    let bench = bench(by_token());
    let plain = |text: &str| Asked { body: text.to_owned(), ..registering(&json!({})) };
    let rows = [
        ("no URI", registering(&json!({})), "invalid_redirect_uri"),
        ("a script", registering(&json!({"redirect_uris": ["javascript:canary"]})), "invalid_redirect_uri"),
        ("too much", registering(&json!({"redirect_uris": [CALLBACK], "scope": "all"})), "invalid_client_metadata"),
        ("no JSON", plain("{canary"), "invalid_client_metadata"),
        ("a form", Asked::post(Endpoint::Register, &[("redirect_uris", CALLBACK)]), "invalid_request"),
        ("a query", Asked { query: "x=1".to_owned(), ..registering(&json!({"redirect_uris": [CALLBACK]})) }, "invalid_request"),
    ];
    for (why, asked, error) in rows {
        let told = bench.ask(asked.bearer(INITIAL)).await;
        assert_eq!((told.status, told.error().as_str()), (400, error), "{why}: {}", told.text);
    }
    assert_eq!(bench.store().clients(ERP).await.expect("the store"), []);
}

#[tokio::test]
async fn whoever_comes_registers_ten_an_hour() {
    let bench = bench(Registration::Open);
    let asked = |last| registering(&json!({"redirect_uris": [CALLBACK]})).from(last);
    for _ in 0..10 {
        assert_eq!(bench.ask(asked(1)).await.status, 201);
    }
    let told = bench.ask(asked(1)).await;
    assert_eq!((told.status, told.reason, told.header("retry-after")), (429, "rate_registrations", "360"));
    assert_eq!(bench.ask(asked(2)).await.status, 201);
}
