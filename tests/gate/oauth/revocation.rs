//! Revocation (RFC 7009): who may give back what, and what it ends.

use crate::oauth::endpoints::{
    INTROSPECT, REVOKE, forms, given, introspect, lives, refresh, refreshed, refused, revoke, secret, shown, text,
};
use crate::support::provider::{App, Person, Provider, VERIFIER};
use crate::support::setup::SITE;
use crate::support::wire::{Wire, request};

#[test]
fn access_and_refresh_tokens_can_be_revoked() {
    Provider::on_each(|provider| {
        for (number, (endpoint, _)) in forms().iter().filter(|(_, kind)| *kind == REVOKE).enumerate() {
            for app in [provider.confidential(&format!("crm-{number}"), "read"), provider.public(&format!("mobile-{number}"), "read")] {
                let tokens = provider.tokens(&app, "read");
                let (access, token) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
                let reply = provider.post(endpoint, &shown(&app, &[("token", access)]));
                assert_eq!((reply.status, reply.text().as_str()), (200, "{}"), "T40");
                assert!(!lives(&provider, access));
                // The refresh token outlives its access token.
                let next = refreshed(&provider, &app, token);
                let reply = provider.post(endpoint, &shown(&app, &[("token", text(&next, "refresh_token"))]));
                assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
                refused(&refresh(&provider, &app, text(&next, "refresh_token")), 400, "invalid_grant");
                assert!(!lives(&provider, text(&next, "access_token")));
            }
        }
    });
}

#[test]
fn revocation_and_introspection_take_a_form_by_post_and_nothing_else() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let tokens = provider.tokens(&app, "read");
    let access = text(&tokens, "access_token");
    let form = crate::support::provider::encoded(&shown(&app, &[("token", access)]));
    let json = serde_json::json!({"token": access, "client_id": "crm", "client_secret": secret(&app)}).to_string();
    for (endpoint, _) in forms().iter().filter(|(_, kind)| [REVOKE, INTROSPECT].contains(kind)) {
        let ask = |method: &str, target: &str, kind: &str, body: &str| {
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            provider.exchange(&format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\n{kind}{length}Connection: close\r\n\r\n{body}"))
        };
        for (method, target, body) in [
            ("GET", format!("{endpoint}?{form}"), ""),
            ("GET", endpoint.clone(), ""),
            ("HEAD", format!("{endpoint}?{form}"), ""),
            ("PUT", endpoint.clone(), form.as_str()),
            ("DELETE", endpoint.clone(), form.as_str()),
        ] {
            let kind = if body.is_empty() { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
            let reply = ask(method, &target, kind, body);
            assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method} {target}");
        }
        for (target, kind, body) in [
            (endpoint.clone(), "Content-Type: application/json\r\n", &json),
            (endpoint.clone(), "Content-Type: text/plain\r\n", &form),
            (endpoint.clone(), "", &form),
            (format!("{endpoint}?token={access}"), "Content-Type: application/x-www-form-urlencoded\r\n", &form),
        ] {
            refused(&ask("POST", &target, kind, body), 400, "invalid_request");
        }
        assert!(lives(&provider, access), "nothing of that revoked it");
    }
}

#[test]
fn a_revocation_without_a_token_is_invalid_request() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    for form in [&[][..], &[("token", "")], &[("token_type_hint", "access_token")], &[("token", "a"), ("token", "b")]] {
        refused(&provider.post(REVOKE, &shown(&app, form)), 400, "invalid_request");
    }
}

#[test]
fn a_wrong_token_type_hint_changes_nothing() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    for hint in ["access_token", "refresh_token", "id_token", "magic", "", "\u{e9}"] {
        let tokens = provider.tokens(&app, "read");
        for name in ["access_token", "refresh_token"] {
            let form = shown(&app, &[("token", text(&tokens, name)), ("token_type_hint", hint)]);
            assert_eq!(provider.post(INTROSPECT, &form).json()["active"], true, "{name} as {hint}");
            assert_eq!(provider.post(REVOKE, &form).status, 200);
            assert_eq!(provider.post(INTROSPECT, &form).json()["active"], false, "{name} as {hint}");
        }
        assert!(!lives(&provider, text(&tokens, "access_token")));
        refused(&refresh(&provider, &app, text(&tokens, "refresh_token")), 400, "invalid_grant");
    }
}

#[test]
fn a_client_revokes_its_own_tokens_only() {
    Provider::on_each(|provider| {
        let (crm, shop) = (provider.confidential("crm", "read"), provider.confidential("shop", "read"));
        let (mobile, desktop) = (provider.public("mobile", "read"), provider.public("desktop", "read"));
        for (owner, others) in [(&crm, [&shop, &mobile]), (&mobile, [&crm, &desktop])] {
            let tokens = provider.tokens(owner, "read");
            for other in others {
                for name in ["access_token", "refresh_token"] {
                    refused(&revoke(&provider, other, text(&tokens, name)), 400, "invalid_grant");
                }
            }
            assert!(lives(&provider, text(&tokens, "access_token")));
            // Its own, for that matter, only once it has proved who it is.
            let unproved = App { secret: Some("wrong".to_owned()), ..owner.clone() };
            refused(&revoke(&provider, &unproved, text(&tokens, "refresh_token")), 401, "invalid_client");
            refreshed(&provider, owner, text(&tokens, "refresh_token"));
        }
    });
}

#[test]
fn a_revoked_token_is_refused_at_once() {
    Provider::on_each(|provider| {
        let app = provider.confidential("crm", "read");
        let tokens = provider.tokens(&app, "read");
        let access = text(&tokens, "access_token");
        // A connection that the token has been used on, by a gate that remembers it.
        let mut wire = Wire::tls(&provider.gate);
        for _ in 0..2 {
            assert_eq!(wire.exchange(request("GET", "/api/resource/Item", access)).status, 200);
        }
        assert_eq!(provider.api("GET", "/oauth/userinfo", access, None).status, 200);
        assert_eq!(revoke(&provider, &app, access).status, 200);
        assert_eq!(wire.exchange(request("GET", "/api/resource/Item", access)).status, 401);
        assert_eq!(provider.api("GET", "/oauth/userinfo", access, None).status, 401);
        assert_eq!(introspect(&provider, &app, access)["active"], false);
    });
}

#[test]
fn revoking_a_refresh_token_ends_the_access_tokens_of_its_grant() {
    Provider::on_each(|provider| {
        for app in [provider.confidential("crm", "read"), provider.public("mobile", "read")] {
            let first = provider.tokens(&app, "read");
            let second = refreshed(&provider, &app, text(&first, "refresh_token"));
            // Another code of the same user and app belongs to the same grant.
            let code = Person::new(&provider).allow(&app, "read");
            let third = given(&provider, &provider.redeem(&app, &code));
            let waiting = Person::new(&provider).allow(&app, "read");
            assert_eq!(revoke(&provider, &app, text(&second, "refresh_token")).status, 200);
            for tokens in [&first, &second, &third] {
                assert!(!lives(&provider, text(tokens, "access_token")));
                refused(&refresh(&provider, &app, text(tokens, "refresh_token")), 400, "invalid_grant");
            }
            refused(&provider.redeem(&app, &waiting), 400, "invalid_grant");
            let again = provider.tokens(&app, "read");
            assert!(lives(&provider, text(&again, "access_token")), "the user may say yes again");
            // One that is spent ends them just as well: whoever signs out may hold either.
            let spent = text(&again, "refresh_token");
            let next = refreshed(&provider, &app, spent);
            assert_eq!(revoke(&provider, &app, spent).status, 200);
            assert!(!lives(&provider, text(&next, "access_token")));
        }
    });
}

#[test]
fn a_revocation_of_nothing_is_200() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let tokens = provider.tokens(&app, "read");
    let revoked = text(&tokens, "access_token");
    assert_eq!(revoke(&provider, &app, revoked).status, 200);
    for token in [revoked, &provider.gate.unknown_token(), "x", VERIFIER, secret(&app), "a b\u{e9}"] {
        let reply = revoke(&provider, &app, token);
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
    }
}

#[test]
fn revocation_is_503_while_the_store_is_down() {
    let mut provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let tokens = provider.tokens(&app, "read");
    provider.gate.redis().stop();
    for name in ["access_token", "refresh_token"] {
        let reply = revoke(&provider, &app, text(&tokens, name));
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        refused(&reply, 503, "temporarily_unavailable");
        refused(&provider.post(INTROSPECT, &shown(&app, &[("token", text(&tokens, name))])), 503, "temporarily_unavailable");
    }
    provider.gate.redis().cont();
    // It was no to revoking, and no more than that: now it is asked again.
    crate::support::eventually("the store is back", || revoke(&provider, &app, text(&tokens, "refresh_token")).status == 200);
    assert!(!lives(&provider, text(&tokens, "access_token")));

    provider.gate.redis_mut().kill();
    refused(&revoke(&provider, &app, text(&tokens, "access_token")), 503, "temporarily_unavailable");
}
