//! Refresh tokens (RFC 6749 section 6, RFC 9700 section 4.14): they rotate, and what was spent ends what it began.

use serde_json::json;

use crate::oauth::endpoints::{ENDS, change, given, introspect, lives, refresh, refreshed, refused, secret, spent_long_ago, text};
use crate::support::gate::key_of;
use crate::support::now;
use crate::support::provider::{App, Person, Provider};

#[test]
fn a_refresh_token_rotates() {
    Provider::on_each(|provider| {
        for app in [provider.confidential("crm", "read write"), provider.public("mobile", "read write")] {
            let mut tokens = provider.tokens(&app, "read write");
            let mut seen = vec![text(&tokens, "refresh_token").to_owned()];
            for _ in 0..3 {
                let next = refreshed(&provider, &app, text(&tokens, "refresh_token"));
                assert!(!seen.contains(&text(&next, "refresh_token").to_owned()));
                assert_ne!(next["access_token"], tokens["access_token"]);
                assert_eq!((&next["scope"], &next["expires_in"]), (&json!("read write"), &json!(3600)));
                for tokens in [&tokens, &next] {
                    assert!(lives(&provider, text(tokens, "access_token")), "an access token lives out its hour");
                }
                seen.push(text(&next, "refresh_token").to_owned());
                tokens = next;
            }
        }
    });
}

#[test]
fn a_refresh_token_is_bound_to_its_client() {
    Provider::on_each(|provider| {
        let (crm, shop) = (provider.confidential("crm", "read"), provider.confidential("shop", "read"));
        let (mobile, desktop) = (provider.public("mobile", "read"), provider.public("desktop", "read"));
        for (owner, others) in [(&crm, [&shop, &mobile]), (&mobile, [&desktop, &crm])] {
            let first = provider.tokens(owner, "read");
            let second = refreshed(&provider, owner, text(&first, "refresh_token"));
            // Also the one that was just spent, and is answered again to its own client: every rotation keeps the binding.
            for other in others {
                for tokens in [&first, &second] {
                    refused(&refresh(&provider, other, text(tokens, "refresh_token")), 400, "invalid_grant");
                }
            }
            // Nobody but its owner can end anything with it either.
            let third = refreshed(&provider, owner, text(&second, "refresh_token"));
            assert!(lives(&provider, text(&third, "access_token")));
        }
    });
}

#[test]
fn a_refresh_may_narrow_and_never_widen() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read write delete");
    let mut tokens = provider.tokens(&app, "read write");
    let ask =
        |token: &str, scope: &str| provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)]);
    // The client may have it, the user did not say yes to it.
    for scope in ["delete", "read delete", "read write delete", "all", "read write openid", "", "read  write\u{e9}"] {
        let reply = ask(text(&tokens, "refresh_token"), scope);
        if scope.is_empty() {
            // As good as none.
            tokens = given(&provider, &reply);
            assert_eq!(text(&tokens, "scope"), "read write");
        } else {
            refused(&reply, 400, "invalid_scope");
        }
    }
    let narrow = given(&provider, &ask(text(&tokens, "refresh_token"), "read"));
    let access = text(&narrow, "access_token");
    assert_eq!(text(&narrow, "scope"), "read");
    assert!(lives(&provider, access));
    assert_eq!(provider.api("POST", "/api/resource/Lead", access, Some(r#"{"lead_name":"x"}"#)).status, 403);
    // The next one has all of it again, and no more.
    refused(&ask(text(&narrow, "refresh_token"), "read delete"), 400, "invalid_scope");
    let whole = refreshed(&provider, &app, text(&narrow, "refresh_token"));
    assert_eq!(text(&whole, "scope"), "read write");
    let reply = provider.token(
        &app,
        &[("grant_type", "refresh_token"), ("refresh_token", text(&whole, "refresh_token")), ("resource", "https://other.example")],
    );
    refused(&reply, 400, "invalid_target");
}

#[test]
fn a_refresh_token_that_is_unknown_expired_or_revoked_is_invalid_grant() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let code = Person::new(&provider).allow(&app, "read");
    let first = provider.tokens(&app, "read");
    let unknown = provider.gate.unknown_token();
    for token in [unknown.as_str(), "x", &code, text(&first, "access_token"), secret(&app), "canary\"\u{e9}"] {
        refused(&refresh(&provider, &app, token), 400, "invalid_grant");
    }

    // However a grant ends, its refresh token ends with it.
    for (number, end) in ENDS.iter().enumerate() {
        let app = provider.confidential(&format!("app-{number}"), "read");
        let tokens = provider.tokens(&app, "read");
        (end.by)(&provider, &app, &tokens);
        refused(&refresh(&provider, &app, text(&tokens, "refresh_token")), end.status, end.code);
    }
    // Not used for thirty days.
    let tokens = provider.tokens(&app, "read");
    change(&provider, "refresh", text(&tokens, "refresh_token"), |record| {
        assert_eq!(record["exp"].as_u64().zip(record["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(30 * 86_400));
        record["exp"] = json!(now());
    });
    refused(&refresh(&provider, &app, text(&tokens, "refresh_token")), 400, "invalid_grant");
    // Used within them: its successor has thirty of its own.
    let tokens = provider.tokens(&app, "read");
    change(&provider, "refresh", text(&tokens, "refresh_token"), |record| record["exp"] = json!(now() + 60));
    let next = refreshed(&provider, &app, text(&tokens, "refresh_token"));
    let record = provider.gate.redis().get(&key_of("refresh", text(&next, "refresh_token")));
    assert!(record["exp"].as_u64().is_some_and(|exp| exp >= now() + 30 * 86_400 - 60), "{record}");
}

#[test]
fn a_spent_refresh_token_ends_its_grant() {
    let provider = Provider::on_redis();
    for app in [provider.confidential("crm", "read"), provider.public("mobile", "read")] {
        let first = provider.tokens(&app, "read");
        let second = refreshed(&provider, &app, text(&first, "refresh_token"));
        let third = refreshed(&provider, &app, text(&second, "refresh_token"));
        spent_long_ago(&provider, text(&first, "refresh_token"));
        // A stranger who has it ends nothing: that would be too easy.
        let stranger = provider.confidential(&format!("not-{}", app.id), "read");
        refused(&refresh(&provider, &stranger, text(&first, "refresh_token")), 400, "invalid_grant");
        assert!(lives(&provider, text(&third, "access_token")));

        refused(&refresh(&provider, &app, text(&first, "refresh_token")), 400, "invalid_grant");
        for tokens in [&first, &second, &third] {
            assert!(!lives(&provider, text(tokens, "access_token")));
            refused(&refresh(&provider, &app, text(tokens, "refresh_token")), 400, "invalid_grant");
        }
        // The operator sees why, and the user is asked again.
        let grants = provider.gate.cli_json(&["grant", "list", "--client", &app.id, "--json"]);
        assert!(grants.to_string().contains("reuse"), "{grants}");
        let again = provider.tokens(&app, "read");
        assert!(lives(&provider, text(&again, "access_token")));
    }
}

#[test]
fn a_repeated_refresh_within_the_grace_gets_the_same_answer() {
    Provider::on_each(|provider| {
        let app = provider.confidential("crm", "read write");
        let stranger = provider.confidential("shop", "read write");
        let first = provider.tokens(&app, "read write");
        let spent = text(&first, "refresh_token");
        let answer = refresh(&provider, &app, spent);
        let tokens = given(&provider, &answer);
        // Another tab, or an answer that was lost on its way: the same bytes, and nothing new.
        for more in [&[][..], &[("scope", "read")]] {
            let repeat = provider.token(&app, &[&[("grant_type", "refresh_token"), ("refresh_token", spent)], more].concat());
            assert_eq!((repeat.status, &repeat.body), (200, &answer.body));
        }
        refused(&refresh(&provider, &stranger, spent), 400, "invalid_grant");
        let wrong = App { secret: Some("wrong".to_owned()), ..app.clone() };
        refused(&refresh(&provider, &wrong, spent), 401, "invalid_client");
        let next = refreshed(&provider, &app, text(&tokens, "refresh_token"));
        assert!(lives(&provider, text(&next, "access_token")));
        assert_eq!(introspect(&provider, &app, spent), json!({"active": false}), "spent is spent");
        assert_eq!(introspect(&provider, &app, text(&next, "refresh_token"))["active"], true);
    });
}
