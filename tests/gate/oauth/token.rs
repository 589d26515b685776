//! The token endpoint (RFC 6749 sections 4 and 5): what it takes, what it gives, and its noes.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::oauth::endpoints::{self, TOKEN, given, introspect, refreshed, refused, secret, server, shown, text};
use crate::support::now;
use crate::support::provider::{App, CALLBACK, FRAPPE, ISSUER, Person, Provider, USER, authorize, encoded};
use crate::support::setup::SITE;

const OWN: [(&str, &str); 1] = [("grant_type", "client_credentials")];

#[test]
fn the_token_endpoint_takes_a_form_by_post_and_nothing_else() {
    let provider = Provider::on_redis();
    let app = server(&provider, "etl");
    let form = encoded(&shown(&app, &OWN));
    let json = json!({"grant_type": "client_credentials", "client_id": "etl", "client_secret": app.secret}).to_string();
    let part = |name: &str, value: &str| format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let multipart =
        [part("grant_type", "client_credentials"), part("client_id", "etl"), part("client_secret", secret(&app)), "--x--\r\n".to_owned()]
            .concat();
    for target in [TOKEN.to_owned(), format!("{FRAPPE}get_token")] {
        let ask = |method: &str, target: &str, kind: &str, body: &str| {
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            provider.exchange(&format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\n{kind}{length}Connection: close\r\n\r\n{body}"))
        };
        let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
            let body = if matches!(method, "GET" | "HEAD") { "" } else { form.as_str() };
            let reply = ask(method, &target, if body.is_empty() { "" } else { urlencoded }, body);
            assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}: {}", reply.text());
        }
        let reply = ask("GET", &format!("{target}?{form}"), "", "");
        assert_eq!((reply.status, reply.text().contains("access_token")), (405, false), "{}", reply.text());
        for (kind, body) in [
            ("Content-Type: application/json\r\n", json.as_str()),
            ("Content-Type: multipart/form-data; boundary=x\r\n", multipart.as_str()),
            ("Content-Type: text/plain\r\n", form.as_str()),
            ("", form.as_str()),
            ("Content-Type: application/x-www-form-urlencoded\r\nContent-Type: application/json\r\n", form.as_str()),
        ] {
            let reply = ask("POST", &target, kind, body);
            assert_eq!((reply.status, reply.text().contains("access_token")), (400, false), "{kind}: {}", reply.text());
        }
        refused(&ask("POST", &format!("{target}?{form}"), urlencoded, "a=b"), 400, "invalid_request");
        refused(&ask("POST", &format!("{target}?grant_type=client_credentials"), urlencoded, &form), 400, "invalid_request");
        for kind in [urlencoded, "Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8\r\n"] {
            given(&provider, &ask("POST", &target, kind, &form));
        }
    }
}

#[test]
fn a_token_request_that_lacks_a_parameter_is_invalid_request() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let rows: [&[(&str, &str)]; 7] = [
        &[],
        &[("grant_type", "")],
        &[("code", "x"), ("redirect_uri", CALLBACK)],
        &[("grant_type", "authorization_code"), ("redirect_uri", CALLBACK)],
        &[("grant_type", "authorization_code"), ("code", ""), ("redirect_uri", CALLBACK)],
        &[("grant_type", "refresh_token")],
        &[("grant_type", "refresh_token"), ("refresh_token", "")],
    ];
    for form in rows {
        refused(&provider.token(&app, form), 400, "invalid_request");
    }
}

#[test]
fn an_unknown_grant_type_is_told_as_unsupported() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    for grant in [
        "password",
        "implicit",
        "token",
        "magic",
        "AUTHORIZATION_CODE",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "authorization_code ",
    ] {
        refused(&provider.token(&app, &[("grant_type", grant), ("code", "x")]), 400, "unsupported_grant_type");
    }
}

#[test]
fn a_token_answer_has_the_fields_that_frappe_clients_read() {
    Provider::on_each(|provider| {
        let app = provider.confidential("crm", "read openid");
        for (scope, more) in [("read", None), ("read openid", Some("id_token"))] {
            let code = Person::new(&provider).allow(&app, scope);
            let reply = provider.redeem(&app, &code);
            assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
            let answer = given(&provider, &reply);
            // T21: these, in this order.
            let names: Vec<_> = answer.as_object().expect("one object").keys().map(String::as_str).collect();
            let expected = ["access_token", "expires_in", "token_type", "scope", "refresh_token"];
            assert_eq!(names, expected.into_iter().chain(more).collect::<Vec<_>>());
            assert_eq!((&answer["expires_in"], &answer["token_type"], &answer["scope"]), (&json!(3600), &json!("Bearer"), &json!(scope)));
            let told = introspect(&provider, &app, text(&answer, "access_token"));
            assert_eq!(told["exp"].as_u64().zip(told["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(3600), "{told}");
        }
    });
}

#[test]
fn a_token_answer_says_the_scope_that_was_granted() {
    let provider = Provider::on_redis();
    let app = provider.app("crm", "read write delete", &["--redirect-uri", CALLBACK, "--default-scopes", "read write"]);
    let redeemed = |target: &str| {
        let code = Person::new(&provider).allow_with(target);
        given(&provider, &provider.redeem(&app, &code))
    };
    let asked = redeemed(&authorize(&app, "read", &[]));
    assert_eq!(text(&asked, "scope"), "read");
    let omitted = redeemed(&authorize(&app, "", &[("scope", "")]));
    assert_eq!(text(&omitted, "scope"), "read write");
    let all = redeemed(&authorize(&app, "read write delete", &[]));
    assert_eq!(text(&all, "scope"), "read write delete");
    let narrower =
        provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", text(&all, "refresh_token")), ("scope", "write")]);
    let narrower = given(&provider, &narrower);
    assert_eq!(text(&narrower, "scope"), "write");

    // The operator takes a scope back between the user's yes and the token.
    let code = Person::new(&provider).allow(&app, "read delete");
    endpoints::operate(&provider, &["client", "update", "crm", "--scopes", "read write", "--no-default-scopes"]);
    let less = given(&provider, &provider.redeem(&app, &code));
    assert_eq!(text(&less, "scope"), "read");
    let less = refreshed(&provider, &app, text(&narrower, "refresh_token"));
    assert_eq!(text(&less, "scope"), "read write");

    let own = server(&provider, "etl");
    assert_eq!(text(&given(&provider, &provider.token(&own, &OWN)), "scope"), "read");
}

/// Fields of a form.
type Form<'a> = &'a [(&'a str, &'a str)];

#[test]
fn token_errors_are_json_with_the_codes_of_rfc_6749() {
    let provider = Provider::on_redis();
    let (app, own, public) = (provider.confidential("crm", "read"), server(&provider, "etl"), provider.public("mobile", "read"));
    let off = provider.confidential("off", "read");
    endpoints::operate(&provider, &["client", "disable", "off"]);
    let odd = "canary\"\\<b>\u{e9}\r\n";
    let rows: [(&App, Form, u16, &str); 12] = [
        (&app, &[], 400, "invalid_request"),
        (&app, &[("grant_type", "refresh_token"), ("grant_type", "refresh_token")], 400, "invalid_request"),
        (&off, &OWN, 401, "invalid_client"),
        (&app, &[("grant_type", "authorization_code"), ("code", "x")], 400, "invalid_grant"),
        (&app, &[("grant_type", "authorization_code"), ("code", odd)], 400, "invalid_grant"),
        (&app, &[("grant_type", "refresh_token"), ("refresh_token", odd)], 400, "invalid_grant"),
        (&app, &OWN, 400, "unauthorized_client"),
        (&own, &[("grant_type", "refresh_token"), ("refresh_token", "x")], 400, "unauthorized_client"),
        (&public, &OWN, 400, "unauthorized_client"),
        (&app, &[("grant_type", odd)], 400, "unsupported_grant_type"),
        (&own, &[OWN[0], ("scope", "delete")], 400, "invalid_scope"),
        (&own, &[OWN[0], ("scope", odd)], 400, "invalid_scope"),
    ];
    for target in [TOKEN.to_owned(), format!("{FRAPPE}get_token")] {
        for (app, form, status, code) in rows {
            let reply = provider.post(&target, &shown(app, form));
            refused(&reply, status, code);
            assert!(!reply.text().contains("canary"), "what was sent is not repeated: {}", reply.text());
        }
    }
    let names = [("client_id", odd), ("client_secret", odd), OWN[0]];
    refused(&provider.post(TOKEN, &names), 401, "invalid_client");
    refused(&provider.post_with(endpoints::REVOKE, "", &names), 401, "invalid_client");
}

#[test]
fn client_credentials_are_for_confidential_clients_that_may() {
    Provider::on_each(|provider| {
        let (may, app, public) = (server(&provider, "etl"), provider.confidential("crm", "read"), provider.public("mobile", "read"));
        refused(&provider.token(&app, &OWN), 400, "unauthorized_client");
        refused(&provider.token(&public, &OWN), 400, "unauthorized_client");
        refused(&provider.token(&App { secret: None, ..may.clone() }, &OWN), 401, "invalid_client");
        refused(&provider.token(&App { secret: Some("wrong".to_owned()), ..may.clone() }, &OWN), 401, "invalid_client");
        for scope in ["write", "read write", "all", "openid"] {
            refused(&provider.token(&may, &[OWN[0], ("scope", scope)]), 400, "invalid_scope");
        }
        let both =
            ["client", "create", "--site", SITE, "--name", "X", "--scopes", "read", "--public", "--grant-type", "client_credentials"];
        let created = crate::support::gate::cli(&provider.gate.config, &both);
        assert!(!created.status.success(), "nobody can be registered so");

        let tokens = given(&provider, &provider.token(&may, &OWN));
        let told = introspect(&provider, &may, text(&tokens, "access_token"));
        // It speaks for itself.
        assert_eq!((&told["active"], &told["client_id"], &told["sub"]), (&json!(true), &json!("etl"), &json!("etl")));

        let named = provider.app("sync", "read", &["--grant-type", "client_credentials", "--user", USER]);
        let tokens = given(&provider, &provider.token(&named, &OWN));
        assert_eq!(introspect(&provider, &may, text(&tokens, "access_token"))["sub"], USER);
    });
}

#[test]
fn client_credentials_yield_no_refresh_token() {
    let provider = Provider::on_redis();
    let own = server(&provider, "etl");
    let types = ["--grant-type", "client_credentials", "--grant-type", "authorization_code", "--grant-type", "refresh_token"];
    let all = provider.app("all", "read openid", &[&["--redirect-uri", CALLBACK], &types[..]].concat());
    for (app, scope) in [(&own, "read"), (&all, "read")] {
        let tokens = given(&provider, &provider.token(app, &[OWN[0], ("scope", scope)]));
        assert_eq!((tokens.get("refresh_token"), tokens.get("id_token")), (None, None), "{}", app.id);
        let token = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "access_token"))];
        let code = if app.id == "etl" { "unauthorized_client" } else { "invalid_grant" };
        refused(&provider.token(app, &token), 400, code);
    }
    assert!(!provider.gate.redis().keys().iter().any(|key| key.contains(":refresh:")));
}

/// The claims of an id token whose signature is that of a key published at `jwks_uri`.
fn verified(provider: &Provider, id_token: &str) -> Option<Value> {
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
    let [header, claims, signature] = id_token.split('.').collect::<Vec<_>>().try_into().expect("three parts");
    let metadata = provider.get("/.well-known/openid-configuration").json();
    let uri = text(&metadata, "jwks_uri");
    let target = uri.strip_prefix(ISSUER).unwrap_or_else(|| panic!("{uri} is not below the issuer"));
    let jwks = provider.get(target).json();
    let header: Value = serde_json::from_slice(&decoded(header)).expect("JSON");
    assert_eq!((&header["alg"], &metadata["id_token_signing_alg_values_supported"]), (&json!("RS256"), &json!(["RS256"])));
    let keys = jwks["keys"].as_array().expect("keys");
    for key in keys {
        let names: Vec<_> = key.as_object().expect("a key").keys().map(String::as_str).collect();
        assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|private| !names.contains(private)), "{names:?}");
        assert_eq!((&key["kty"], &key["use"], &key["alg"]), (&json!("RSA"), &json!("sig"), &json!("RS256")));
    }
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap_or_else(|| panic!("no key {header} in {jwks}"));
    let signed = id_token.rsplit_once('.').expect("two dots").0;
    PublicKeyComponents { n: decoded(text(key, "n")), e: decoded(text(key, "e")) }
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decoded(signature))
        .ok()?;
    Some(serde_json::from_slice(&decoded(claims)).expect("JSON"))
}

#[test]
fn an_id_token_is_verified_by_a_published_key() {
    Provider::on_each(|provider| {
        let app = provider.confidential("crm", "read openid");
        let tokens = provider.tokens(&app, "openid read");
        let id_token = text(&tokens, "id_token");
        let claims = verified(&provider, id_token).expect("the signature is good");
        assert_eq!((&claims["iss"], &claims["aud"], &claims["sub"]), (&json!(ISSUER), &json!("crm"), &json!(USER)));
        let (iat, exp) = (claims["iat"].as_u64().expect("iat"), claims["exp"].as_u64().expect("exp"));
        assert!(exp - iat == 3600 && now().abs_diff(iat) < 60 && claims["auth_time"].as_u64().is_some_and(|at| at <= iat), "{claims}");
        assert_eq!(claims["at_hash"], scopegate::oauth::claims::at_hash(text(&tokens, "access_token")));

        let (head, rest) = id_token.split_once('.').expect("two dots");
        let (_, signature) = rest.split_once('.').expect("two dots");
        let forged = BASE64URL_NOPAD.encode(claims.to_string().replace(USER, "Administrator").as_bytes());
        assert!(verified(&provider, &format!("{head}.{forged}.{signature}")).is_none());
        // The same key as before for the next one, and at Frappe's name of the document.
        let again = provider.tokens(&app, "openid read");
        assert!(verified(&provider, text(&again, "id_token")).is_some());
        let metadata = provider.get("/.well-known/openid-configuration");
        assert_eq!(metadata.body, provider.get(&format!("{FRAPPE}openid_configuration")).body);
        assert!(!provider.tokens(&app, "read").as_object().expect("an object").contains_key("id_token"), "none without openid");
    });
}

#[test]
fn the_nonce_of_a_request_is_in_its_id_token() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read openid");
    for nonce in ["n-0S6_WzA2Mj", "a b&c=\u{e9}\"", "0"] {
        let code = Person::new(&provider).allow_with(&authorize(&app, "openid", &[("nonce", nonce)]));
        let tokens = given(&provider, &provider.redeem(&app, &code));
        assert_eq!(verified(&provider, text(&tokens, "id_token")).expect("signed")["nonce"], nonce);
        assert!(!refreshed(&provider, &app, text(&tokens, "refresh_token")).as_object().expect("an object").contains_key("id_token"));
    }
    let without = provider.tokens(&app, "openid");
    assert_eq!(verified(&provider, text(&without, "id_token")).expect("signed").get("nonce"), None);
}
