//! Clients and their redirect URIs: what can be registered, what of it a request may name, and which grants a client may use.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::gate::cli;
use crate::support::provider::{App, CALLBACK, ISSUER, Person, Provider, authorize, error, reason, told, told_at};
use crate::support::setup::SITE;
use crate::support::wire::Reply;

/// What lets clients register themselves.
const INITIAL: &str = "initial-access-token-0123456789abcdef";

const REGISTRATION: &str = "registration = \"token\"\nregistration_token = \"initial-access-token-0123456789abcdef\"";

/// Registers a client by the command line, if that lets it.
fn create(provider: &Provider, more: &[&str]) -> Output {
    let common = ["client", "create", "--site", SITE, "--name", "App", "--scopes", "read", "--json"];
    cli(&provider.gate.config, &[&common[..], more].concat())
}

/// The same by the client itself.
fn register(provider: &Provider, metadata: &Value) -> Reply {
    provider.api("POST", "/oauth/register", INITIAL, Some(&metadata.to_string()))
}

/// Neither way takes any of them.
fn none_is_taken(uris: &[&str]) {
    let provider = Provider::with(REGISTRATION);
    for uri in uris {
        let output = create(&provider, &[&format!("--redirect-uri={uri}")]);
        assert!(!output.status.success(), "{uri}");
        let reply = register(&provider, &json!({"redirect_uris": [CALLBACK, uri]}));
        assert_eq!(error(&reply), (400, "invalid_redirect_uri".to_owned()), "{uri}: {}", reply.text());
    }
    let clients = provider.gate.cli_json(&["client", "list", "--site", SITE, "--json"]);
    assert_eq!(clients["clients"].as_array().map(Vec::len), Some(1), "only the one that every gate has: {clients}");
}

#[test]
fn a_client_is_registered_with_its_type_and_redirect_uris() {
    let provider = Provider::with(REGISTRATION);
    let second = "http://127.0.0.1/callback";
    let uris = ["--redirect-uri", CALLBACK, "--redirect-uri", second];
    for (id, more, confidential) in [("web", &[][..], true), ("native", &["--public"][..], false)] {
        let created = provider.app(id, "read", &[&uris[..], more].concat());
        assert_eq!(created.secret.is_some(), confidential, "{id}");
        let shown = provider.gate.cli_json(&["client", "show", id, "--site", SITE, "--json"]);
        assert_eq!((&shown["confidential"], &shown["redirect_uris"]), (&json!(confidential), &json!([CALLBACK, second])), "{id}");
        assert_eq!((&shown["self_registered"], shown.get("client_secret")), (&json!(false), None), "{id}");
    }
    for (method, confidential) in [("client_secret_basic", true), ("client_secret_post", true), ("none", false)] {
        let reply = register(&provider, &json!({"redirect_uris": [CALLBACK, second], "token_endpoint_auth_method": method}));
        assert_eq!(reply.status, 201, "{method}: {}", reply.text());
        let told = reply.json();
        assert_eq!((&told["token_endpoint_auth_method"], &told["redirect_uris"]), (&json!(method), &json!([CALLBACK, second])));
        assert_eq!(told["client_secret"].as_str().is_some(), confidential, "{method}");
        let id = told["client_id"].as_str().expect("an id");
        let shown = provider.gate.cli_json(&["client", "show", id, "--site", SITE, "--json"]);
        assert_eq!((&shown["confidential"], &shown["self_registered"]), (&json!(confidential), &json!(true)), "{method}");
    }
}

#[test]
fn no_client_gets_a_code_without_a_registered_redirect_uri() {
    let provider = Provider::with(REGISTRATION);
    let nothing = provider.app("nothing", "read", &[]);
    let public = provider.app("public", "read", &["--public"]);
    let robot = provider.app("robot", "read", &["--grant-type", "client_credentials"]);
    for app in [&nothing, &public, &robot] {
        for uri in [CALLBACK, "http://127.0.0.1/", ""] {
            let reply = provider.get(&authorize(app, "read", &[("redirect_uri", uri)]));
            assert_eq!((reply.status, reason(&reply).as_str()), (400, "client_without_redirect"), "{} {uri}", app.id);
        }
    }
    for more in [&["--grant-type", "authorization_code"][..], &["--grant-type", "authorization_code", "--public"]] {
        assert!(!create(&provider, more).status.success(), "{more:?}");
    }
    for metadata in [json!({}), json!({"redirect_uris": []}), json!({"redirect_uris": [], "token_endpoint_auth_method": "none"})] {
        assert_eq!(error(&register(&provider, &metadata)), (400, "invalid_redirect_uri".to_owned()), "{metadata}");
    }
}

#[test]
fn a_redirect_uri_is_absolute_and_has_no_fragment() {
    none_is_taken(&[
        "",
        "/callback",
        "callback",
        "?code",
        "app.example/callback",
        "//app.example/callback",
        "https:callback",
        "https:///callback",
        "https://",
        "https://app.example/callback#",
        "https://app.example/callback#part",
        "com.example.app:/callback#part",
    ]);
}

#[test]
fn a_redirect_uri_is_https_or_loopback_or_an_apps_own_scheme() {
    none_is_taken(&[
        "http://app.example/callback",
        "http://10.0.0.1/callback",
        "http://localhost.app.example/callback",
        "http://127.0.0.1.app.example/callback",
        "http://127.0.0.1@app.example/callback",
        "https://user@app.example/callback",
        "https://*.app.example/callback",
        "https://app.example/\r\nSet-Cookie: x",
        "HTTPS://app.example/callback",
        "ftp://app.example/callback",
        "ws://app.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "myapp:/callback",
        "urn:ietf:wg:oauth:2.0:oob",
    ]);
    let provider = Provider::with(REGISTRATION);
    for uri in [
        "https://app.example",
        "https://app.example:8443/callback?tenant=1",
        "http://127.0.0.1/callback",
        "http://[::1]:7000/callback",
        "http://localhost:3000/callback",
        "com.example.app:/callback",
    ] {
        let output = create(&provider, &["--public", "--redirect-uri", uri]);
        assert!(output.status.success(), "{uri}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(register(&provider, &json!({"redirect_uris": [uri]})).status, 201, "{uri}");
    }
}

#[test]
fn a_redirect_uri_is_compared_as_a_string_save_the_port_of_a_loopback() {
    let provider = Provider::on_redis();
    let native = ["http://127.0.0.1/callback", "http://[::1]:7000/callback", "http://localhost/callback", "com.example.app:/callback"];
    let uris: Vec<&str> =
        [CALLBACK, "https://app.example/caf%C3%A9"].iter().chain(&native).flat_map(|uri| ["--redirect-uri", uri]).collect();
    let app = provider.app("app-1", "read", &uris);
    for (uri, taken) in [
        (CALLBACK, true),
        ("https://app.example/caf%C3%A9", true),
        ("http://127.0.0.1/callback", true),
        ("http://127.0.0.1:51004/callback", true),
        ("http://[::1]/callback", true),
        ("http://[::1]:51004/callback", true),
        ("http://localhost:51004/callback", true),
        ("com.example.app:/callback", true),
        ("https://app.example/callback/", false),
        ("https://app.example/callback?", false),
        ("https://app.example/callback?x=1", false),
        ("https://app.example/callback/../callback", false),
        ("https://app.example/%63allback", false),
        ("https://app.example/Callback", false),
        ("https://app.example/caf%c3%a9", false),
        ("https://app.example/cafe%CC%81", false),
        ("https://app.example/caf\u{e9}", false),
        ("https://app.example:443/callback", false),
        ("https://APP.example/callback", false),
        ("HTTPS://app.example/callback", false),
        ("http://app.example/callback", false),
        ("https://app.example.evil.example/callback", false),
        ("https://app.example@evil.example/callback", false),
        ("https://evil.example/https://app.example/callback", false),
        ("https://app.example", false),
        (" https://app.example/callback", false),
        ("https://app.example/callback#", false),
        ("http://127.0.0.1:51004/callback/", false),
        ("http://127.0.0.1:51004/other", false),
        ("http://127.0.0.1:51004.evil.example/callback", false),
        ("http://127.0.0.1:51004@evil.example/callback", false),
        ("http://127.0.0.1:99999/callback", false),
        ("http://127.0.0.2:51004/callback", false),
        ("http://127.1/callback", false),
        ("http://[0:0:0:0:0:0:0:1]/callback", false),
        ("https://127.0.0.1:51004/callback", false),
        ("com.example.app:51004/callback", false),
        ("COM.example.app:/callback", false),
    ] {
        let reply = provider.get(&authorize(&app, "read", &[("redirect_uri", uri)]));
        if taken {
            assert_eq!(reply.status, 303, "{uri}: {}", reply.text());
            continue;
        }
        assert_eq!((reply.status, reason(&reply).as_str()), (400, "redirect_mismatch"), "{uri}");
    }
    // Ids are compared so as well.
    for id in ["APP-1", "app-1 ", "app%2D1", "app\u{2010}1"] {
        let reply = provider.get(&authorize(&App { id: id.to_owned(), secret: app.secret.clone() }, "read", &[]));
        assert_eq!(reason(&reply), "client_unknown", "{id}");
    }
    let back = told_at(
        "http://127.0.0.1:51004/callback",
        &provider.get(&authorize(&app, "delete", &[("redirect_uri", "http://127.0.0.1:51004/callback")])),
    );
    assert_eq!(back["error"], "invalid_scope", "to the port that was asked for");
}

#[test]
fn a_missing_redirect_uri_is_allowed_only_where_one_is_registered() {
    let provider = Provider::on_redis();
    let one = provider.confidential("one", "read");
    let two = provider.app("two", "read", &["--redirect-uri", CALLBACK, "--redirect-uri", "https://app.example/other"]);
    let native = provider.app("native", "read", &["--public", "--redirect-uri", "http://127.0.0.1/callback"]);
    for (app, left_out) in [(&one, Ok(CALLBACK)), (&native, Ok("http://127.0.0.1/callback")), (&two, Err("redirect_missing"))] {
        let reply = provider.get(&authorize(app, "delete", &[("redirect_uri", "")]));
        match left_out {
            Ok(uri) => assert_eq!(told_at(uri, &reply)["error"], "invalid_scope", "{}", app.id),
            Err(problem) => assert_eq!(reason(&reply), problem, "{}", app.id),
        }
    }
    let code = Person::new(&provider).allow_with(&authorize(&one, "read", &[("redirect_uri", "")]));
    let reply = provider.token(&one, &[("grant_type", "authorization_code"), ("code", &code)]);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_query_of_a_redirect_uri_is_kept() {
    let provider = Provider::on_redis();
    for (id, uri) in [("first", "https://app.example/callback?tenant=1&name=a%20b"), ("bare", "https://app.example/callback?")] {
        let app = provider.app(id, "read", &["--redirect-uri", uri]);
        let target = authorize(&app, "read", &[("redirect_uri", uri)]);
        let mut person = Person::new(&provider);
        let consent = person.begin(&target);
        let denied = person.answer(&consent, "deny");
        let joint = if uri.ends_with('?') { "" } else { "&" };
        let start = format!("{uri}{joint}");
        assert!(denied.location().starts_with(&format!("{start}error=access_denied&")), "{}", denied.location());
        let consent = person.begin(&target);
        let allowed = person.answer(&consent, "allow");
        assert!(allowed.location().starts_with(&format!("{start}code=")), "{}", allowed.location());
        assert!(!allowed.location().contains("&&") && allowed.location().matches('?').count() == 1, "{}", allowed.location());
    }
}

#[test]
fn a_client_uses_only_the_grants_it_is_allowed() {
    let provider = Provider::on_redis();
    let unauthorized = (400, "unauthorized_client".to_owned());
    let code = [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK)];
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let own = [("grant_type", "client_credentials")];

    let robot = provider.app("robot", "read", &["--redirect-uri", CALLBACK, "--grant-type", "client_credentials"]);
    assert_eq!(told(&provider.get(&authorize(&robot, "read", &[])))["error"], "unauthorized_client");
    assert_eq!(error(&provider.token(&robot, &code)), unauthorized);
    assert_eq!(error(&provider.token(&robot, &refresh)), unauthorized);
    assert_eq!(provider.token(&robot, &own).status, 200);

    let codes = provider.app("codes", "read", &["--redirect-uri", CALLBACK, "--grant-type", "authorization_code"]);
    let tokens = provider.tokens(&codes, "read");
    assert_eq!(tokens.get("refresh_token"), None, "the operator gave it none");
    assert_eq!(error(&provider.token(&codes, &refresh)), unauthorized);
    assert_eq!(error(&provider.token(&codes, &own)), unauthorized);

    let issued_only = provider.app("issued-only", "read", &[]);
    for form in [&code[..], &refresh, &own] {
        assert_eq!(error(&provider.token(&issued_only, form)), unauthorized, "{form:?}");
    }
    let public = provider.public("public", "read");
    assert_eq!(error(&provider.token(&public, &own)), unauthorized);

    // What the operator takes away counts for what was issued before.
    let app = provider.confidential("app-1", "read");
    let tokens = provider.tokens(&app, "read");
    provider.gate.cli_json(&["client", "update", &app.id, "--grant-type", "authorization_code", "--site", SITE, "--json"]);
    let before = tokens["refresh_token"].as_str().expect("a refresh token");
    assert_eq!(error(&provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", before)])), unauthorized);
}

#[test]
fn a_client_cannot_pass_for_a_user() {
    let provider = Provider::with(REGISTRATION);
    for id in ["demo@example.com", "Administrator", "administrator", "Guest", "a b", "-x", "", "d\u{e9}mo"] {
        assert!(!create(&provider, &[&format!("--id={id}")]).status.success(), "{id}");
    }
    let reply =
        register(&provider, &json!({"redirect_uris": [CALLBACK], "client_id": "Administrator", "user": "Administrator", "sub": "x"}));
    assert_eq!(reply.status, 201);
    let id = reply.json()["client_id"].as_str().expect("an id").to_owned();
    assert!(id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{id}");

    let robot = provider.app("robot", "read", &["--grant-type", "client_credentials"]);
    // Whatever it says of itself or of a user.
    let own = [("grant_type", "client_credentials"), ("user", "Administrator"), ("username", "Administrator"), ("sub", "Administrator")];
    let reply = provider.token(&robot, &own);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    provider.gate.keep_secret(&token);
    let secret = robot.secret.as_deref().expect("a secret");
    let looked_up = provider.post("/oauth/introspect", &[("client_id", "robot"), ("client_secret", secret), ("token", &token)]).json();
    assert_eq!((&looked_up["active"], &looked_up["sub"], &looked_up["username"]), (&json!(true), &json!("robot"), &json!("robot")));
    // There is nobody at the site for whom it speaks.
    let reply = provider.api("GET", "/api/resource/Item", &token, None);
    assert!(matches!(reply.status, 401 | 403), "{} {}", reply.status, reply.text());
    let openid = provider.token(&robot, &[("grant_type", "client_credentials"), ("scope", "openid")]);
    assert_eq!(error(&openid), (400, "invalid_scope".to_owned()));
    let userinfo = provider.api("GET", "/oauth/userinfo", &token, None);
    assert_eq!(userinfo.json(), json!({"sub": "robot", "iss": ISSUER}), "an id that no user has, and nothing of a person");
}
