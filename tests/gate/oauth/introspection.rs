//! Introspection (RFC 7662): who may ask, and what is told.

use serde_json::json;

use crate::oauth::endpoints::{
    ENDS, INTROSPECT, change, forms, given, header, introspect, lives, operate, refused, revoke, secret, server, shown, text,
};
use crate::support::eventually;
use crate::support::now;
use crate::support::provider::{App, ISSUER, Person, Provider, USER, basic};

#[test]
fn introspection_needs_client_authentication() {
    let provider = Provider::on_redis();
    let (app, public) = (provider.confidential("crm", "read"), provider.public("mobile", "read"));
    let tokens = provider.tokens(&app, "read");
    let access = text(&tokens, "access_token");
    for (endpoint, _) in forms().iter().filter(|(_, kind)| *kind == INTROSPECT) {
        for headers in
            ["", &basic("crm", "wrong"), &basic("nobody", "x"), &basic("mobile", ""), &format!("Authorization: Bearer {access}\r\n")]
        {
            refused(&provider.post_with(endpoint, headers, &[("token", access)]), 401, "invalid_client");
        }
        for app in [&public, &App { secret: None, ..app.clone() }, &App { secret: Some("wrong".to_owned()), ..app.clone() }] {
            // Of a token that is there and of one that is not, the same.
            for token in [access, "x"] {
                refused(&provider.post(endpoint, &shown(app, &[("token", token)])), 401, "invalid_client");
            }
        }
        assert_eq!(provider.post_with(endpoint, &header(&app), &[("token", access)]).json()["active"], true);
    }
}

#[test]
fn an_introspection_without_a_token_is_invalid_request() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    for form in [&[][..], &[("token", "")], &[("token_type_hint", "access_token")], &[("token", "a"), ("token", "b")]] {
        refused(&provider.post(INTROSPECT, &shown(&app, form)), 400, "invalid_request");
    }
}

#[test]
fn introspection_tells_a_live_token() {
    Provider::on_each(|provider| {
        let (app, public, resource) =
            (provider.confidential("crm", "read write openid"), provider.public("mobile", "read"), server(&provider, "resource"));
        let tokens = provider.tokens(&app, "read write");
        for (endpoint, _) in forms().iter().filter(|(_, kind)| *kind == INTROSPECT) {
            let reply = provider.post_with(endpoint, &header(&resource), &[("token", text(&tokens, "access_token"))]);
            assert_eq!(
                (reply.status, reply.header("content-type"), reply.header("cache-control")),
                (200, Some("application/json"), Some("no-store"))
            );
            let mut told = reply.json();
            let (iat, exp) = (told["iat"].take().as_u64().expect("iat"), told["exp"].take().as_u64().expect("exp"));
            assert!(exp - iat == 3600 && now().abs_diff(iat) < 60);
            // Nothing but this: who asks may know whom the token is for, and not his name or address, which its scopes do not give.
            let expected = json!({
                "active": true, "client_id": "crm", "exp": null, "iat": null, "scope": "read write", "token_type": "Bearer",
                "username": USER, "sub": USER, "aud": ISSUER, "iss": ISSUER,
            });
            assert_eq!(told, expected);
        }
        // A refresh token is told apart by having no type that an API would take, and told to its own client only.
        let told = introspect(&provider, &app, text(&tokens, "refresh_token"));
        assert_eq!((&told["active"], told.get("token_type"), &told["client_id"]), (&json!(true), None, &json!("crm")));
        assert_eq!(introspect(&provider, &resource, text(&tokens, "refresh_token")), json!({"active": false}));
        let tokens = provider.tokens(&public, "read");
        assert_eq!(introspect(&provider, &resource, text(&tokens, "access_token"))["client_id"], "mobile");
        // By the scope that shares it, the address is told.
        let tokens = provider.tokens(&app, "openid");
        assert_eq!(introspect(&provider, &resource, text(&tokens, "access_token"))["email"], USER);
    });
}

#[test]
fn introspection_says_false_and_no_more_of_any_other_token() {
    let provider = Provider::on_redis();
    let (app, resource) = (provider.confidential("crm", "read openid"), server(&provider, "resource"));
    let tokens = provider.tokens(&app, "read openid");
    let (expired, revoked) = (provider.tokens(&app, "read"), provider.tokens(&app, "read"));
    for (kind, name) in [("token", "access_token"), ("refresh", "refresh_token")] {
        change(&provider, kind, text(&expired, name), |record| record["exp"] = json!(now()));
    }
    assert_eq!(revoke(&provider, &app, text(&revoked, "access_token")).status, 200);
    let code = Person::new(&provider).allow(&app, "read");
    let access = text(&tokens, "access_token");
    let (longer, shorter, swapped) = (format!("{access}A"), &access[1..], access.chars().rev().collect::<String>());
    let rows = [
        ("unknown", provider.gate.unknown_token()),
        ("no token", "x".to_owned()),
        ("letters that no token has", "a b\"\u{e9}".to_owned()),
        ("one letter more", longer),
        ("one less", shorter.to_owned()),
        ("backwards", swapped),
        ("a code", code),
        ("an id token", text(&tokens, "id_token").to_owned()),
        ("a secret", secret(&app).to_owned()),
        ("another client's refresh token", text(&tokens, "refresh_token").to_owned()),
        ("an expired one", text(&expired, "access_token").to_owned()),
        ("an expired refresh token", text(&expired, "refresh_token").to_owned()),
        ("a revoked one", text(&revoked, "access_token").to_owned()),
    ];
    let mut askers = vec![&resource];
    for (why, token) in &rows {
        for asker in &askers {
            assert_eq!(introspect(&provider, asker, token), json!({"active": false}), "{why}");
        }
        if *why == "another client's refresh token" {
            // The rest is false to whoever asks.
            askers.push(&app);
        }
    }
    assert!(lives(&provider, access));
}

#[test]
fn introspection_sees_every_way_a_token_ends() {
    let provider = Provider::on_redis();
    let resource = server(&provider, "resource");
    let ended = |why: &str, token: &str| {
        eventually(why, || introspect(&provider, &resource, token) == json!({"active": false}));
        assert!(!lives(&provider, token), "{why}: the gateway and introspection are of one mind");
    };
    for (number, end) in ENDS.iter().enumerate() {
        let app = provider.confidential(&format!("app-{number}"), "read");
        let tokens = provider.tokens(&app, "read");
        let access = text(&tokens, "access_token");
        assert!(lives(&provider, access));
        assert_eq!(introspect(&provider, &resource, access)["active"], true);
        (end.by)(&provider, &app, &tokens);
        ended(end.why, access);
    }
    let app = provider.confidential("crm", "read");
    let tokens = provider.tokens(&app, "read");
    let access = text(&tokens, "access_token");
    operate(&provider, &["token", "revoke", access]);
    ended("an operator revokes the token", access);
    let tokens = provider.tokens(&app, "read");
    let access = text(&tokens, "access_token");
    change(&provider, "token", access, |record| record["exp"] = json!(now()));
    ended("its hour is over", access);
    let tokens = given(&provider, &provider.token(&resource, &[("grant_type", "client_credentials")]));
    let access = text(&tokens, "access_token");
    assert_eq!(revoke(&provider, &resource, access).status, 200);
    assert_eq!(introspect(&provider, &resource, access), json!({"active": false}));
}
