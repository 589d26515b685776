//! Metadata, keys, and what pages of other origins may read.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use serde_json::json;

use crate::oauth::signing::KeysRecord;
use crate::store::origins;

use super::*;

#[tokio::test]
async fn the_documents_are_for_everyone_and_from_the_configuration() {
    let mut bench = Bench::embedded();
    let asked = |endpoint| Asked::get(endpoint).with(http::header::HOST, "evil.example");
    let server = bench.ask(asked(Endpoint::Metadata)).await;
    assert_eq!((server.status, server.header("cache-control")), (200, "public, max-age=300"));
    assert!(!server.text.contains("evil") && !server.text.contains(CANARY));
    let server = server.json();
    assert_eq!((&server["issuer"], &server["jwks_uri"]), (&json!(URL), &json!("https://erp.example.com/oauth/jwks")));
    assert_eq!((server.get("registration_endpoint"), server.get("client_id_metadata_document_supported")), (None, None));
    let resource = bench.ask(asked(Endpoint::ProtectedResource)).await.json();
    assert_eq!((&resource["resource"], &resource["authorization_servers"]), (&json!(URL), &json!([URL])));
    assert_eq!(bench.ask(Asked::post(Endpoint::Metadata, &[])).await.status, 405);

    bench.issuer.registration = Registration::Open;
    assert_eq!(bench.ask(asked(Endpoint::Metadata)).await.json()["registration_endpoint"], "https://erp.example.com/oauth/register");
    bench.shared.seal = None;
    let server = bench.ask(asked(Endpoint::Metadata)).await.json();
    assert_eq!((server.get("jwks_uri"), server.get("authorization_endpoint")), (None, None));
    assert_eq!(bench.ask(Asked::get(Endpoint::Jwks)).await.error(), "invalid_scope");
}

#[tokio::test]
async fn keys_that_do_not_open_get_a_successor_that_signs_at_once() {
    let mut bench = Bench::embedded();
    bench.ready("openid").await;
    let before = bench.ask(Asked::get(Endpoint::Jwks)).await.json();
    bench.shared.seal = Some(Arc::new(SealKey::from_hex(&"77".repeat(32)).expect("a key")));
    bench.shared.memory = Arc::default();
    let answer = bench.redeemed().await;
    assert!(answer["id_token"].is_string());
    let after = bench.ask(Asked::get(Endpoint::Jwks)).await.json();
    assert_eq!(after["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(after["keys"][0], before["keys"][0], "what it signed can still be checked");
}

#[tokio::test]
async fn private_keys_are_sealed_and_old_ones_get_a_successor() {
    let bench = Bench::embedded();
    bench.ask(Asked::get(Endpoint::Jwks)).await;
    let read = async || kept::load::<KeysRecord>(bench.store(), ERP, Kind::Keys, "signing").await.expect("the store").expect("keys").value;
    let keys = read().await.keys;
    let sealed = data_encoding::BASE64URL_NOPAD.decode(keys[0].sealed.as_bytes()).expect("base64url");
    assert!(keys.len() == 1 && aws_lc_rs::rsa::KeyPair::from_pkcs8(&sealed).is_err());

    let bench = Bench { shared: Shared { memory: Arc::default(), ..bench.shared }, ..bench };
    let later = Asked::get(Endpoint::Jwks).later(30 * 86_400);
    assert_eq!(bench.ask(later).await.json()["keys"].as_array().map(Vec::len), Some(2));
}

fn from(origin: &str, endpoint: Endpoint) -> Asked {
    Asked::new(endpoint, Method::OPTIONS).with(ORIGIN, origin).with(ACCESS_CONTROL_REQUEST_METHOD, "POST")
}

#[tokio::test]
async fn pages_of_a_client_may_read_and_no_others() {
    let bench = Bench::embedded();
    let app = Client { origins: vec!["https://app.example.com".to_owned()], ..Client::new("app", "App", scopes("read"), bench.now) };
    origins::enter(bench.store(), ERP, &app).await.expect("the store");
    let before = from("https://app.example.com", Endpoint::Token);
    let pages = async |asked: &Asked| {
        let known = Pages::known(&bench.issuer, asked.endpoint, &asked.headers);
        known.asked(&bench.shared, &bench.issuer, asked.endpoint, &asked.headers).await.expect("the store")
    };
    assert_eq!(pages(&before).await, Pages::None, "entered, but not written");
    let app = bench.add(app).await;
    let of = |origin: &'static str| Pages::Of(HeaderValue::from_static(origin));
    let rows = [
        (from("https://app.example.com", Endpoint::Token), of("https://app.example.com")),
        (from("https://app.example.com", Endpoint::Revoke), of("https://app.example.com")),
        (from("https://app.example.com", Endpoint::Userinfo), of("https://app.example.com")),
        (from("https://app.example.com", Endpoint::Register), of("https://app.example.com")),
        (from("https://desk.example.com", Endpoint::Token), of("https://desk.example.com")),
        (from("https://evil.example", Endpoint::Jwks), Pages::Any),
        (from("https://evil.example", Endpoint::Metadata), Pages::Any),
        (from("https://evil.example", Endpoint::ProtectedResource), Pages::Any),
        (from("https://evil.example", Endpoint::Token), Pages::None),
        (from("http://app.example.com", Endpoint::Token), Pages::None),
        (from("https://app.example.com:8443", Endpoint::Token), Pages::None),
        (from("https://APP.example.com", Endpoint::Token), Pages::None),
        (from("https://app.example.com.evil.example", Endpoint::Token), Pages::None),
        (from("null", Endpoint::Token), Pages::None),
        (from("", Endpoint::Token), Pages::None),
        (from("https://app.example.com", Endpoint::Token).with(ORIGIN, "https://evil.example"), Pages::None),
        (from("https://app.example.com", Endpoint::Introspect), Pages::None),
        (from("https://app.example.com", Endpoint::Authorize), Pages::None),
    ];
    for (asked, expected) in rows {
        assert_eq!(pages(&asked).await, expected, "{:?} {:?}", asked.headers, asked.endpoint);
    }
    assert!(bench.store().update_client(ERP, &Client { enabled: false, ..app.clone() }).await.expect("the store"));
    assert_eq!(pages(&before).await, Pages::None, "disabled");
    let moved = Client { origins: Vec::new(), ..app.clone() };
    assert!(bench.store().update_client(ERP, &moved).await.expect("the store"));
    assert_eq!(pages(&before).await, Pages::None, "still entered, but no longer named");
    origins::leave(bench.store(), ERP, &app, Some(&moved)).await.expect("the store");
    let of = kept::digest_id("https://app.example.com");
    assert_eq!(bench.store().members(ERP, kept::Set::ClientsOfOrigin, &of).await.expect("the store"), Vec::<String>::new());
}

#[tokio::test]
async fn strangers_pages_do_not_ask_the_store_each_time() {
    let mut bench = Bench::embedded();
    bench.shared.origins = Arc::new(Origins::new(bench.shared.store.clone(), Duration::from_secs(3600)));
    let asked = from("https://app.example.com", Endpoint::Token);
    let known = || Pages::known(&bench.issuer, asked.endpoint, &asked.headers);
    let pages = async || known().asked(&bench.shared, &bench.issuer, asked.endpoint, &asked.headers).await.expect("the store");
    assert_eq!(pages().await, Pages::None);
    let app = Client { origins: vec!["https://app.example.com".to_owned()], ..Client::new("app", "App", scopes("read"), bench.now) };
    origins::enter(bench.store(), ERP, &app).await.expect("the store");
    bench.add(app).await;
    assert_eq!(pages().await, Pages::None, "as a moment ago");
}

#[test]
fn a_preflight_is_answered_and_every_answer_says_who_may_read_it() {
    let asked = from("https://app.example.com", Endpoint::Token);
    let let_in = Pages::Of(HeaderValue::from_static("https://app.example.com"));
    let header = |headers: &HeaderMap, name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let preflight = let_in.options(Endpoint::Token, &asked.headers);
    assert_eq!(preflight.status, 204);
    assert_eq!(header(&preflight.headers, "access-control-allow-methods").as_deref(), Some("POST"));
    assert!(header(&preflight.headers, "access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
    let refused = Pages::None.options(Endpoint::Token, &asked.headers);
    assert_eq!((refused.status.as_u16(), header(&refused.headers, "access-control-allow-methods")), (204, None));
    assert_eq!(header(&refused.headers, "allow").as_deref(), Some("POST"));

    let rows = [
        (Pages::None, Endpoint::Token, None, Some("Origin")),
        (let_in.clone(), Endpoint::Token, Some("https://app.example.com"), Some("Origin")),
        (Pages::Any, Endpoint::Jwks, Some("*"), None),
        (Pages::None, Endpoint::Introspect, None, None),
        (Pages::None, Endpoint::Authorize, None, None),
    ];
    for (pages, endpoint, origin, vary) in rows {
        let mut headers = HeaderMap::new();
        pages.tell(endpoint, &mut headers);
        assert_eq!(header(&headers, "access-control-allow-origin").as_deref(), origin, "{endpoint:?}");
        assert_eq!(header(&headers, "vary").as_deref(), vary, "{endpoint:?}");
        assert_eq!(header(&headers, "access-control-allow-credentials"), None);
    }
}

#[test]
fn a_browser_at_another_host_of_the_site_is_sent_to_the_issuers() {
    let bench = Bench::embedded();
    let moved = |method: Method, host: &str, target: &str| {
        let request = Request::builder().method(method).uri(target).header(http::header::HOST, host).body(()).expect("a request");
        let (parts, ()) = request.into_parts();
        let endpoint = Endpoint::of(parts.uri.path()).expect("an endpoint");
        hosts::moved(&bench.issuer, endpoint, &parts).map(|answer| answer.headers["location"].to_str().expect("text").to_owned())
    };
    let begin = "/oauth/authorize?client_id=a&state=%0d%0a";
    let to = format!("{URL}{begin}&sg_moved=1");
    assert_eq!(moved(Method::GET, "www.example.com", begin), Some(to.clone()));
    assert_eq!(moved(Method::GET, "www.example.com:8443", "/oauth/grants"), Some(format!("{URL}/oauth/grants?sg_moved=1")));
    let frappes = "/api/method/frappe.integrations.oauth2.authorize?x";
    assert_eq!(moved(Method::GET, "www.example.com", frappes), Some(format!("{URL}{frappes}&sg_moved=1")));
    for (method, host, target) in [
        (Method::GET, "erp.example.com", begin),
        (Method::GET, "ERP.example.com:8443", begin),
        (Method::GET, "www.example.com", &to[URL.len()..]),
        (Method::POST, "www.example.com", "/oauth/authorize"),
        (Method::POST, "www.example.com", "/oauth/token"),
        (Method::GET, "www.example.com", "/oauth/callback?code=1&state=2"),
        (Method::GET, "www.example.com", "/.well-known/openid-configuration"),
    ] {
        assert_eq!(moved(method.clone(), host, target), None, "{method} {host} {target}");
    }
    // HTTP/2 has no Host.
    let (parts, ()) = Request::get("https://www.example.com/oauth/grants").body(()).expect("a request").into_parts();
    assert!(hosts::moved(&bench.issuer, Endpoint::Grants, &parts).is_some());
}
