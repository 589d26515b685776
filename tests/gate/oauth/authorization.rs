//! The authorization endpoint: what it answers to a request that is wrong, and what goes back to the app, and where.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::provider::{
    App, CALLBACK, FRAPPE, ISSUER, PASSWORD, Page, Person, Provider, USER, authorize, encoded, error, parameter, reason, told,
};
use crate::support::setup::SITE;
use crate::support::wire::Reply;

/// An app whose users are not asked, so that a code comes back at once.
fn own_app(provider: &Provider, more: &[&str]) -> App {
    provider.app("own", "read write", &[&["--redirect-uri", CALLBACK, "--skip-consent"], more].concat())
}

/// What goes back with an error: just these, each once.
fn told_error(reply: &Reply) -> BTreeMap<String, String> {
    let told = told(reply);
    assert_eq!(reply.status, 303);
    let known = ["error", "error_description", "iss", "state"];
    assert!(told.keys().all(|name| known.contains(&name.as_str())), "{told:?}");
    assert_eq!(told["iss"], ISSUER);
    told
}

fn leads_to_sign_in(reply: &Reply) -> bool {
    reply.status == 303 && reply.header("location").is_some_and(|to| to.contains("/api/method/frappe.integrations.oauth2.authorize?"))
}

#[test]
fn the_authorization_endpoint_answers_get() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let target = authorize(&app, "read", &[]);
    let query = target.split_once('?').expect("a query").1;
    for path in ["/oauth/authorize", &format!("{FRAPPE}authorize"), &format!("{FRAPPE}approve")] {
        assert!(leads_to_sign_in(&provider.get(&format!("{path}?{query}"))), "{path}");
        let form: Vec<(&str, &str)> =
            vec![("response_type", "code"), ("client_id", "app-1"), ("redirect_uri", CALLBACK), ("scope", "read"), ("state", "xyz")];
        assert!(leads_to_sign_in(&provider.post(path, &form)), "{path}, by a form");
        let head = provider.exchange(&format!("HEAD {path}?{query} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
        assert!(leads_to_sign_in(&head), "{path}, the head alone");
        for method in ["PUT", "DELETE", "PATCH"] {
            let reply = provider
                .exchange(&format!("{method} {path}?{query} HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            assert_eq!((reply.status, reply.header("allow"), reply.header("location")), (405, Some("GET, POST"), None), "{method}");
        }
    }
    // A form whose parameters are in the URL, or partly.
    assert_eq!(reason(&provider.post(&target, &[])), "invalid_request");
}

#[test]
fn the_authorization_endpoint_has_no_cors() {
    let provider = Provider::on_redis();
    let app = provider.app("page", "read", &["--redirect-uri", CALLBACK, "--public", "--origin", "https://app.example"]);
    let target = authorize(&app, "read", &[]);
    let ask = |method: &str, target: &str| {
        let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
        let headers = format!("Host: {SITE}\r\nOrigin: https://app.example\r\n{preflight}Content-Length: 0\r\nConnection: close\r\n");
        provider.exchange(&format!("{method} {target} HTTP/1.1\r\n{headers}\r\n"))
    };
    for target in [&*target, "/oauth/authorize", "/oauth/consent", "/oauth/callback?state=x", "/oauth/grants", "/oauth/signout"] {
        for method in ["GET", "POST", "OPTIONS", "HEAD"] {
            let reply = ask(method, target);
            let allowed = reply.headers.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
            assert!(allowed.is_none(), "{method} {target}: {allowed:?}");
        }
    }
    // The same page may read what the token endpoint says.
    assert_eq!(ask("OPTIONS", "/oauth/token").header("access-control-allow-origin"), Some("https://app.example"));
}

#[test]
fn a_missing_or_unknown_response_type_is_an_error() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    for (kind, expected) in [
        ("", "invalid_request"),
        ("token", "unsupported_response_type"),
        ("id_token", "unsupported_response_type"),
        ("code token", "unsupported_response_type"),
        ("code id_token", "unsupported_response_type"),
        ("none", "unsupported_response_type"),
        ("CODE", "unsupported_response_type"),
        ("code ", "unsupported_response_type"),
        ("xyz", "unsupported_response_type"),
    ] {
        let told = told_error(&provider.get(&authorize(&app, "read", &[("response_type", kind)])));
        assert_eq!((told["error"].as_str(), told["state"].as_str()), (expected, "xyz"), "{kind}");
    }
    assert_eq!(reason(&provider.get(&authorize(&app, "read", &[("client_id", "")]))), "client_missing");
    assert!(leads_to_sign_in(&provider.get(&authorize(&app, "read", &[]))));
}

#[test]
fn a_bad_client_or_redirect_uri_is_shown_on_a_page_and_never_redirected_to() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let off = provider.confidential("off", "read");
    provider.gate.cli_json(&["client", "disable", "off", "--site", SITE, "--json"]);
    let mut person = Person::new(&provider);
    person.begin(&authorize(&app, "read", &[]));
    let evil = "https://evil.example/";
    let rows = [
        (&app, &[("client_id", "")][..], "client_missing"),
        (&app, &[("client_id", "nobody")], "client_unknown"),
        (&app, &[("client_id", "nobody"), ("redirect_uri", evil)], "client_unknown"),
        (&app, &[("client_id", "app-1/../app-1")], "client_unknown"),
        (&app, &[("client_id", "sg:fake.test:client:app-1")], "client_unknown"),
        (&off, &[], "client_unknown"),
        (&app, &[("redirect_uri", evil)], "redirect_mismatch"),
        (&app, &[("redirect_uri", evil), ("response_type", "token")], "redirect_mismatch"),
        (&app, &[("redirect_uri", evil), ("scope", "nonsense")], "redirect_mismatch"),
        (&app, &[("redirect_uri", evil), ("prompt", "none")], "redirect_mismatch"),
        (&app, &[("redirect_uri", "//evil.example/")], "redirect_mismatch"),
        (&app, &[("redirect_uri", "/oauth/grants")], "redirect_mismatch"),
        (&app, &[("redirect_uri", "javascript:alert(1)")], "redirect_mismatch"),
    ];
    for (app, more, problem) in rows {
        let target = authorize(app, "read", more);
        // Whether somebody is signed in makes no difference.
        for reply in [provider.get(&target), person.open(&target).reply] {
            assert_eq!((reply.status, reason(&reply).as_str()), (400, problem), "{more:?}");
            assert!(!reply.text().contains("evil.example") && reply.header("refresh").is_none(), "{}", reply.text());
        }
    }
    // Nor does anything else lead where a parameter says.
    let names =
        ["redirect_uri", "redirect-to", "redirect", "next", "url", "return_to", "continue", "iss", "target", "post_logout_redirect_uri"];
    let everywhere = encoded(&names.map(|name| (name, evil)));
    for path in [
        "/",
        "/oauth/authorize",
        "/oauth/consent",
        "/oauth/callback",
        "/oauth/callback?error=access_denied",
        "/oauth/callback?state=x&code=y",
        "/oauth/grants",
        "/oauth/signout",
        "/oauth/userinfo",
        "/oauth/jwks",
        "/oauth/style.css",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource",
        "/login",
    ] {
        let target = format!("{path}{}{everywhere}", if path.contains('?') { "&" } else { "?" });
        let form = names.map(|name| (name, evil));
        for page in [person.open(&target), person.post(&format!("{ISSUER}{path}"), &form)] {
            let to = page.reply.header("location").unwrap_or(ISSUER);
            assert!([ISSUER, &provider.frappe.url()].iter().any(|known| to.starts_with(known)), "{path} leads to {to}");
            assert!(!page.reply.headers.iter().any(|(_, value)| value.contains("evil.example")), "{path}: {:?}", page.reply.headers);
        }
    }
}

#[test]
fn errors_go_back_by_redirect_with_state_and_issuer() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let public = provider.public("public", "read");
    let long = "x".repeat(2049);
    for (app, more, expected) in [
        (&app, ("response_type", "token"), "unsupported_response_type"),
        (&app, ("response_mode", "fragment"), "invalid_request"),
        (&app, ("scope", "write"), "invalid_scope"),
        (&app, ("scope", "nonsense"), "invalid_scope"),
        (&app, ("scope", "read:"), "invalid_scope"),
        (&app, ("prompt", "none"), "login_required"),
        (&app, ("prompt", "none login"), "invalid_request"),
        (&app, ("prompt", "nonsense"), "invalid_request"),
        (&app, ("max_age", "-1"), "invalid_request"),
        (&app, ("max_age", "soon"), "invalid_request"),
        (&app, ("nonce", &long), "invalid_request"),
        (&app, ("resource", "https://elsewhere.example"), "invalid_target"),
        (&app, ("request", "eyJ"), "request_not_supported"),
        (&app, ("request_uri", "https://app.example/request"), "request_uri_not_supported"),
        (&app, ("code_challenge", "short"), "invalid_request"),
        (&public, ("code_challenge", ""), "invalid_request"),
        (&public, ("code_challenge_method", "plain"), "invalid_request"),
    ] {
        let reply = provider.get(&authorize(app, "read", &[more]));
        let told = told_error(&reply);
        assert_eq!((told["error"].as_str(), told["state"].as_str()), (expected, "xyz"), "{more:?}");
        assert!(!told["error_description"].is_empty() && reply.text().is_empty(), "{more:?}");
        assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), (Some("no-store"), Some("no-referrer")));
        let stateless = told_error(&provider.get(&authorize(app, "read", &[more, ("state", "")])));
        assert_eq!((stateless["error"].as_str(), stateless.get("state")), (expected, None), "{more:?}");
    }
    let too_long = told_error(&provider.get(&authorize(&app, "read", &[("state", &long)])));
    assert_eq!((too_long["error"].as_str(), too_long.get("state")), ("invalid_request", None));
}

#[test]
fn a_code_goes_back_with_state_and_issuer() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read");
        let mut person = Person::new(&provider);
        let consent = person.begin(&authorize(&app, "read", &[]));
        let back = person.answer(&consent, "allow").reply;
        let told = told(&back);
        assert_eq!((back.status, told.keys().map(String::as_str).collect::<Vec<_>>()), (303, vec!["code", "iss", "state"]));
        assert_eq!(told["state"], "xyz");
        provider.gate.keep_secret(&told["code"]);
        for document in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
            let document = provider.get(document).json();
            assert_eq!(document["issuer"], told["iss"]);
            assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        }
        assert_eq!((back.header("cache-control"), back.header("referrer-policy")), (Some("no-store"), Some("no-referrer")));
    });
}

#[test]
fn state_comes_back_as_it_was_sent() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, &[]);
    let mut person = Person::new(&provider);
    let longest = "x".repeat(2048);
    let first = person.begin(&authorize(&app, "read", &[("state", "over the sign-in: \u{e9}+&=%20\"")]));
    assert_eq!(told(&first.reply)["state"], "over the sign-in: \u{e9}+&=%20\"");
    for state in [
        "xyz",
        " ",
        " a b ",
        "+",
        "a+b",
        "a=b&c=d",
        "a;b,c",
        "%20%2B%25",
        "#?/:@",
        "<\"'\\>",
        "{\"a\":[1,2]}",
        "\u{e9}\u{4e2d}\u{1f600}",
        "cafe\u{301}",
        "line\nbreak\ttab\r\n",
        "eyJhbGciOiJub25lIn0..-_~",
        "null",
        &longest,
    ] {
        let back = person.open(&authorize(&app, "read", &[("state", state)]));
        assert_eq!(told(&back.reply)["state"], state, "{state:?}");
    }
    let without = told(&person.open(&authorize(&app, "read", &[("state", "")])).reply);
    assert_eq!(without.keys().collect::<Vec<_>>(), ["code", "iss"]);
}

#[test]
fn an_omitted_scope_is_the_clients_default() {
    let provider = Provider::on_redis();
    let own = own_app(&provider, &[]);
    let more = ["--redirect-uri", CALLBACK, "--default-scopes", "read:lead", "--grant-type", "authorization_code"];
    let narrow = provider.app("narrow", "read write", &[&more[..], &["--grant-type", "client_credentials"]].concat());
    for (app, expected) in [(&own, "read write"), (&narrow, "read:lead")] {
        let mut person = Person::new(&provider);
        let page = person.begin(&authorize(app, "", &[("scope", "")]));
        let page = if page.reply.status == 200 { person.answer(&page, "allow") } else { page };
        let code = parameter(page.location(), "code").expect("a code");
        assert_eq!(provider.redeem(app, &code).json()["scope"], expected, "{}", app.id);
    }
    let token = provider.token(&narrow, &[("grant_type", "client_credentials")]).json();
    assert_eq!(token["scope"], "read:lead");
}

#[test]
fn a_redirect_is_302_or_303_and_never_repeats_a_body() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let mut person = Person::new(&provider);
    // Every redirect of the gate's, with what was sent to where it stood.
    let mut seen = 0;
    let mut check = |page: &Page| {
        assert!(matches!(page.reply.status, 302 | 303), "{}: {}", page.url, page.reply.status);
        assert!(page.reply.body.is_empty() && page.reply.header("location").is_some(), "{}", page.url);
        assert!(!page.location().contains("ticket") && !page.location().contains(PASSWORD), "{}", page.location());
        seen += 1;
    };
    let target = authorize(&app, "read", &[]);
    let form = [("response_type", "code"), ("client_id", "app-1"), ("redirect_uri", CALLBACK), ("scope", "read"), ("state", "xyz")];
    check(&person.post(&format!("{ISSUER}/oauth/authorize"), &form));
    let wrong = [&form[..4], &[("state", "xyz"), ("response_mode", "x")]].concat();
    check(&person.post(&format!("{ISSUER}/oauth/authorize"), &wrong));
    let page = person.open(&target);
    check(&page);
    // Frappe's callback leads back to the request.
    let consent = person.sign_in(page);
    let stale = person.jars.clone();
    check(&person.answer(&consent, "deny"));
    let consent = person.begin(&target);
    check(&person.answer(&consent, "allow"));
    let grants = person.begin("/oauth/grants");
    let ticket = grants.field_of("/oauth/grants", "ticket");
    check(&person.post(&format!("{ISSUER}/oauth/grants"), &[("ticket", &ticket)]));
    // An answer of a session that is gone is asked again.
    person.jars = stale;
    person.jars.remove(SITE);
    check(&person.answer(&consent, "allow"));
    check(&person.post(&format!("{ISSUER}/oauth/grants"), &[("ticket", &ticket)]));
    assert_eq!(seen, 8);
}

#[test]
fn nobody_is_redirected_to_a_client_before_signing_in() {
    let provider = Provider::with("registration = \"open\"\nclient_documents = true");
    let metadata = json!({"redirect_uris": [CALLBACK], "client_name": "Your Bank", "token_endpoint_auth_method": "client_secret_post"});
    let body = metadata.to_string();
    let head = format!("Host: {SITE}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    let registered = provider.exchange(&format!("POST /oauth/register HTTP/1.1\r\n{head}\r\n{body}"));
    assert_eq!(registered.status, 201, "{}", registered.text());
    let text = |name: &str| registered.json()[name].as_str().map(str::to_owned);
    let itself = App { id: text("client_id").expect("an id"), secret: text("client_secret") };
    // One that a document describes has been looked at by nobody either.
    let url = "https://app.example/client.json";
    let kept = format!("doc-{}", &scopegate::store::kept::digest_id(url)[..40]);
    provider.gate.put_client(&json!({
        "v": 1, "id": kept, "name": "Described", "scopes": "read", "enabled": true, "created": 1, "secret": "00".repeat(32),
        "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"],
        "document": {"url": url, "fresh_until": 4_102_444_800_u64},
    }));
    let described = App { id: url.to_owned(), secret: Some(String::new()) };
    let long = "x".repeat(2049);
    let wrong = [
        ("response_type", "token"),
        ("response_type", ""),
        ("response_mode", "fragment"),
        ("scope", "delete"),
        ("scope", "nonsense"),
        ("prompt", "nonsense"),
        ("max_age", "soon"),
        ("resource", "https://elsewhere.example"),
        ("code_challenge", "short"),
        ("request", "x"),
        ("state", &long),
    ];
    for app in [&itself, &described] {
        for more in wrong {
            let reply = provider.get(&authorize(app, "read", &[more]));
            let known =
                ["invalid_", "unsupported_response_type", "request_not_supported"].iter().any(|code| reason(&reply).starts_with(code));
            assert!(reply.status == 400 && known, "{} {more:?}: {}", app.id, reason(&reply));
            assert!(!reply.text().contains("app.example"), "{more:?}: {}", reply.text());
        }
        assert!(leads_to_sign_in(&provider.get(&authorize(app, "read", &[]))), "{}", app.id);
        // An app that wants nothing shown is told so, and nothing is shown.
        assert_eq!(told_error(&provider.get(&authorize(app, "read", &[("prompt", "none")])))["error"], "login_required");
        // The callback of a sign-in that somebody has stopped is no way round it.
        let mut person = Person::new(&provider);
        person.open(&authorize(app, "read", &[]));
        assert_eq!(reason(&person.open("/oauth/callback?error=access_denied").reply), "access_denied");
        // Who has signed in reads where it leads, and that nobody has checked the app; then a no goes back.
        let consent = person.begin(&authorize(app, "read", &[]));
        assert!(consent.reply.text().contains("has checked this app") && consent.reply.text().contains("app.example"));
        assert_eq!(told_error(&person.answer(&consent, "deny").reply)["error"], "access_denied");
    }
    // What an operator registered is trusted with its own errors.
    let trusted = provider.confidential("trusted", "read");
    assert_eq!(told_error(&provider.get(&authorize(&trusted, "nonsense", &[])))["error"], "invalid_scope");
    let consent = Person::new(&provider).begin(&authorize(&trusted, "read", &[]));
    assert!(!consent.reply.text().contains("has checked this app"));
}

#[test]
fn prompt_none_shows_nothing_and_says_what_is_missing() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read write");
    let silent = authorize(&app, "read", &[("prompt", "none")]);
    assert_eq!(told_error(&provider.get(&silent))["error"], "login_required");
    let mut person = Person::new(&provider);
    let consent = person.begin(&authorize(&app, "read", &[]));
    assert_eq!(told_error(&person.open(&silent).reply)["error"], "consent_required");
    person.answer(&consent, "allow");
    assert!(told(&person.open(&silent).reply).contains_key("code"), "signed in and let in: a code at once");
    let wider = authorize(&app, "read write", &[("prompt", "none")]);
    assert_eq!(told_error(&person.open(&wider).reply)["error"], "consent_required");
    // Somebody whose session at Frappe lives on is not taken for signed in here.
    person.jars.remove(SITE);
    assert_eq!(told_error(&person.open(&silent).reply)["error"], "login_required");
    for mixed in ["none login", "none consent", "login none"] {
        assert_eq!(told_error(&provider.get(&authorize(&app, "read", &[("prompt", mixed)])))["error"], "invalid_request", "{mixed}");
    }
}

#[test]
fn the_implicit_and_the_password_grant_are_not_supported() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, &[]);
    let mut person = Person::new(&provider);
    let location = person.begin(&authorize(&app, "read", &[])).location().to_owned();
    assert!(!location.contains("token") && !location.contains('#'), "{location}");
    for kind in ["token", "id_token", "id_token token", "code token", "code id_token token"] {
        let reply = person.open(&authorize(&app, "read", &[("response_type", kind)])).reply;
        assert_eq!(told_error(&reply)["error"], "unsupported_response_type", "{kind}");
    }
    let before = provider.frappe.pocket.token_requests();
    for password in [PASSWORD, "wrong", ""] {
        let form = [("grant_type", "password"), ("username", USER), ("password", password), ("scope", "read")];
        assert_eq!(error(&provider.token(&app, &form)), (400, "unsupported_grant_type".to_owned()), "{password}");
    }
    for kind in ["implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code", "PASSWORD"] {
        assert_eq!(error(&provider.token(&app, &[("grant_type", kind)])), (400, "unsupported_grant_type".to_owned()), "{kind}");
    }
    assert_eq!(provider.frappe.pocket.token_requests(), before, "no password reaches the site");
    let metadata = provider.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    let grants = metadata["grant_types_supported"].as_array().expect("a list");
    assert!(!grants.iter().any(|grant| matches!(grant.as_str(), Some("password" | "implicit"))), "{grants:?}");
}
