//! Revocation, introspection and userinfo.

use http::header::AUTHORIZATION;
use serde_json::json;

use crate::oauth::records::End;

use super::*;

fn revoking(token: &str) -> Asked {
    Asked::post(Endpoint::Revoke, &[("token", token), ("client_id", "crm"), ("client_secret", SECRET)])
}

fn introspecting(token: &str) -> Asked {
    Asked::post(Endpoint::Introspect, &[("token", token)]).basic("crm", SECRET)
}

fn userinfo(token: &str) -> Asked {
    Asked::get(Endpoint::Userinfo).bearer(token)
}

#[tokio::test]
async fn an_access_token_goes_alone_and_a_refresh_token_takes_its_grant_along() {
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read").await;
    let first = bench.redeemed().await;
    let told = bench.ask(revoking(text(&first, "access_token"))).await;
    assert_eq!((told.status, told.text.as_str(), told.header("cache-control")), (200, "{}", "no-store"), "T53");
    assert!(!bench.lives(text(&first, "access_token")).await);
    assert_eq!(bench.ended(&grant.id).await, None);

    let second = bench.ask(refreshing(text(&first, "refresh_token"))).await.json();
    let told = bench.ask(revoking(text(&second, "refresh_token")).and("token_type_hint", "access_token")).await;
    assert_eq!((told.status, told.text.as_str()), (200, "{}"));
    assert_eq!(bench.ended(&grant.id).await, Some(End::Client));
    assert!(!bench.lives(text(&second, "access_token")).await);
    assert_eq!(bench.ask(refreshing(text(&second, "refresh_token"))).await.error(), "invalid_grant", "T55");
    assert_eq!(bench.ask(revoking(text(&second, "refresh_token"))).await.status, 200, "once more");
}

#[tokio::test]
async fn the_next_request_with_a_revoked_token_is_refused_though_it_was_just_let_in() {
    let bench = Bench::embedded();
    bench.ready("read").await;
    let answer = bench.redeemed().await;
    let token = text(&answer, "access_token");
    assert_eq!(bench.ask(userinfo(token)).await.status, 200);
    bench.ask(revoking(token).and("token_type_hint", "anything")).await;
    assert_eq!(bench.ask(userinfo(token)).await.status, 401);
}

#[tokio::test]
async fn what_is_no_token_is_revoked_already_and_what_is_anothers_stays() {
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read").await;
    bench.client("other", Some("other-canary")).await;
    bench.client("public", None).await;
    let answer = bench.redeemed().await;
    for unknown in ["unknown-canary", "a b canary", "\u{e4}canary", &"canary".repeat(200)] {
        let told = bench.ask(revoking(unknown)).await;
        assert_eq!((told.status, told.text.as_str()), (200, "{}"), "RFC 7009 section 2.2: {unknown}");
    }
    let stranger = |token: &str| Asked::post(Endpoint::Revoke, &[("token", token)]).basic("other", "other-canary");
    let public = |token: &str| Asked::post(Endpoint::Revoke, &[("token", token), ("client_id", "public")]);
    let (access, refresh) = (text(&answer, "access_token"), text(&answer, "refresh_token"));
    let rows = [
        ("T156, another's token", stranger(access), 400, "invalid_grant"),
        ("another's refresh token", stranger(refresh), 400, "invalid_grant"),
        ("by a public client", public(access), 400, "invalid_grant"),
        ("T51, no token", revoking("").and("x", "y"), 400, "invalid_request"),
        ("two tokens", revoking(access).and("token", refresh), 400, "invalid_request"),
        ("T50, GET", Asked { method: Method::GET, query: format!("token={access}"), ..revoking(access) }, 405, "invalid_request"),
        ("in the URL", Asked { query: format!("token={access}"), ..revoking(access) }, 400, "invalid_request"),
        ("a wrong secret", revoking(access).without("client_secret").and("client_secret", "wrong-canary"), 401, "invalid_client"),
        ("T53, no client", revoking(access).without("client_id").without("client_secret"), 401, "invalid_client"),
    ];
    for (why, asked, status, error) in rows {
        let told = bench.ask(asked).await;
        assert_eq!((told.status, told.error().as_str()), (status, error), "{why}: {}", told.text);
    }
    assert!(bench.lives(access).await);
    assert_eq!(bench.ended(&grant.id).await, None);
}

#[tokio::test]
async fn a_public_client_gives_its_own_token_back() {
    let bench = Bench::embedded();
    let client = bench.client("public", None).await;
    let grant = bench.grant(&client, "grant-1", "read").await;
    bench.code(&grant, CODE, |_| {}).await;
    let answer = bench.ask(redemption().without("client_secret").without("client_id").and("client_id", "public")).await.json();
    let token = text(&answer, "access_token");
    let told = bench.ask(Asked::post(Endpoint::Revoke, &[("token", token), ("client_id", "public")])).await;
    assert_eq!(told.text, "{}");
    assert!(!bench.lives(token).await);
}

#[tokio::test]
async fn introspection_tells_what_a_live_token_is() {
    let bench = Bench::embedded();
    bench.ready("openid read").await;
    bench.client("resource", Some("resource-canary")).await;
    let answer = bench.redeemed().await;
    let now = bench.now.unix();
    let access = json!({
        "client_id": "crm", "active": true, "exp": now + 3600, "iat": now, "scope": "openid read", "token_type": "Bearer",
        "username": USER, "sub": USER, "aud": URL, "iss": URL, "name": "Sam Fake", "email": USER,
    });
    let token = text(&answer, "access_token");
    assert_eq!(bench.ask(introspecting(token)).await.json(), access);
    let by_another = Asked::post(Endpoint::Introspect, &[("token", token), ("token_type_hint", "x")]).basic("resource", "resource-canary");
    assert_eq!(bench.ask(by_another).await.json(), access, "a resource server is another client");
    let refresh = json!({
        "client_id": "crm", "active": true, "exp": now + 30 * 86_400, "iat": now, "scope": "openid read",
        "username": USER, "sub": USER, "aud": URL, "iss": URL,
    });
    let told = bench.ask(introspecting(text(&answer, "refresh_token")).and("token_type_hint", "refresh_token")).await;
    assert_eq!((told.json(), told.header("cache-control")), (refresh, "no-store"));
}

#[tokio::test]
async fn introspection_says_nothing_else_of_what_is_worth_nothing() {
    let bench = Bench::embedded();
    let (client, grant) = bench.ready("read").await;
    bench.client("resource", Some("resource-canary")).await;
    let first = bench.redeemed().await;
    let second = bench.ask(refreshing(text(&first, "refresh_token"))).await.json();
    let inactive = async |asked: Asked, why: &str| {
        let told = bench.ask(asked).await;
        assert_eq!((told.status, told.text.as_str()), (200, r#"{"active":false}"#), "{why}");
    };
    inactive(introspecting("unknown"), "T47").await;
    inactive(introspecting("a b"), "no token").await;
    inactive(introspecting(CODE), "a code").await;
    inactive(introspecting(text(&first, "refresh_token")), "spent").await;
    inactive(introspecting(text(&first, "access_token")).later(3600), "T171, expired on the second").await;
    inactive(introspecting(text(&second, "refresh_token")).later(30 * 86_400), "expired").await;
    let by_another = Asked::post(Endpoint::Introspect, &[("token", text(&second, "refresh_token"))]).basic("resource", "resource-canary");
    inactive(by_another, "another client's refresh token").await;
    assert!(bench.store().update_client(ERP, &Client { enabled: false, ..client.clone() }).await.expect("the store"));
    bench.shared.cached.forget_client(SiteId(0), "crm");
    let by_resource =
        |answer: &Value| Asked::post(Endpoint::Introspect, &[("token", text(answer, "access_token"))]).basic("resource", "resource-canary");
    inactive(by_resource(&second), "its client is disabled").await;
    assert!(bench.store().update_client(ERP, &client).await.expect("the store"));
    assert_eq!(bench.ask(by_resource(&second)).await.json()["active"], true);

    grants::end(bench.store(), ERP, &grant.id, End::User, bench.now).await.expect("the store");
    bench.shared.cached.forget_token(SiteId(0), &TokenHash::of(text(&second, "access_token").as_bytes()));
    inactive(by_resource(&second), "its grant has ended").await;
    inactive(introspecting(text(&second, "refresh_token")), "T56, its grant has ended").await;
}

#[tokio::test]
async fn only_clients_with_a_secret_may_ask() {
    let bench = Bench::embedded();
    bench.ready("read").await;
    bench.client("public", None).await;
    let answer = bench.redeemed().await;
    let token = text(&answer, "access_token");
    let rows = [
        ("T45, nobody", Asked::post(Endpoint::Introspect, &[("token", token)]), 401, "invalid_client"),
        ("public", Asked::post(Endpoint::Introspect, &[("token", token), ("client_id", "public")]), 401, "invalid_client"),
        ("a wrong secret", Asked::post(Endpoint::Introspect, &[("token", token)]).basic("crm", "wrong-canary"), 401, "invalid_client"),
        ("the token itself", Asked::post(Endpoint::Introspect, &[("token", token)]).bearer(token), 401, "invalid_client"),
        ("no token", Asked::post(Endpoint::Introspect, &[]).basic("crm", SECRET), 400, "invalid_request"),
        ("T48, GET", Asked { method: Method::GET, ..introspecting(token) }, 405, "invalid_request"),
    ];
    for (why, asked, status, error) in rows {
        let told = bench.ask(asked).await;
        assert_eq!((told.status, told.error().as_str()), (status, error), "{why}: {}", told.text);
    }
}

#[tokio::test]
async fn userinfo_tells_by_scope_who_the_user_is() {
    let rows = [
        ("openid", json!({"sub": USER, "name": "Sam Fake", "email": USER, "iss": URL})),
        ("all", json!({"sub": USER, "name": "Sam Fake", "email": USER, "iss": URL})),
        ("email", json!({"sub": USER, "email": USER, "iss": URL})),
        ("read", json!({"sub": USER, "iss": URL})),
    ];
    for (allowed, expected) in rows {
        let bench = Bench::embedded();
        let client = bench.add(Client { scopes: scopes("all"), ..new_client(&bench) }).await;
        let grant = bench.grant(&client, "grant-1", allowed).await;
        bench.code(&grant, CODE, |_| {}).await;
        let answer = bench.redeemed().await;
        let token = text(&answer, "access_token");
        for asked in [userinfo(token), Asked { method: Method::POST, ..userinfo(token) }, Asked { method: Method::HEAD, ..userinfo(token) }]
        {
            let told = bench.ask(asked).await;
            assert_eq!((told.status, told.json(), told.header("cache-control")), (200, expected.clone(), "no-store"), "{allowed}");
        }
    }
}

fn new_client(bench: &Bench) -> Client {
    Client {
        secret: Some(TokenHash::of(SECRET.as_bytes())),
        grant_types: GrantType::ALL.to_vec(),
        ..Client::new("crm", "An app", scopes("all"), bench.now)
    }
}

#[tokio::test]
async fn userinfo_challenges_whoever_shows_no_good_token() {
    let bench = Bench::embedded();
    bench.ready("openid").await;
    let answer = bench.redeemed().await;
    let token = text(&answer, "access_token");
    let in_query = Asked { query: format!("access_token={token}"), ..Asked::get(Endpoint::Userinfo) };
    let rows = [
        ("T43, none", Asked::get(Endpoint::Userinfo), 401, "token_missing", ""),
        ("T147, in the URL", in_query, 401, "token_missing", ""),
        ("in a form", Asked::post(Endpoint::Userinfo, &[("access_token", token)]), 401, "token_missing", ""),
        ("unknown", userinfo("unknown-canary"), 401, "token_unknown", "invalid_token"),
        ("a refresh token", userinfo(text(&answer, "refresh_token")), 401, "token_unknown", "invalid_token"),
        ("expired", userinfo(token).later(3600), 401, "token_expired", "invalid_token"),
        ("Basic", Asked::get(Endpoint::Userinfo).basic("crm", SECRET), 401, "authorization_invalid", "invalid_token"),
        (
            "T136, three parts",
            Asked::get(Endpoint::Userinfo).with(AUTHORIZATION, "Bearer a b"),
            401,
            "authorization_invalid",
            "invalid_token",
        ),
        ("T146, twice", userinfo(token).bearer(token), 400, "authorization_invalid", "invalid_request"),
    ];
    for (why, asked, status, reason, code) in rows {
        let told = bench.ask(asked).await;
        assert_eq!((told.status, told.reason), (status, reason), "{why}: {}", told.text);
        told.error();
        let challenge = told.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm=\"erp.example.com\""), "{why}: {challenge}");
        assert!(challenge.ends_with("resource_metadata=\"https://erp.example.com/.well-known/oauth-protected-resource\""), "{challenge}");
        assert_eq!(challenge.contains("error="), !code.is_empty(), "{why}: {challenge}");
        assert!(challenge.contains(code), "{why}: {challenge}");
        assert!(!challenge.contains(CANARY) && !challenge.contains(token), "{why}: {challenge}");
    }
    for _ in 0..40 {
        bench.ask(userinfo("unknown")).await;
    }
    assert_eq!(bench.ask(userinfo("another")).await.status, 429);
    assert_eq!(bench.ask(userinfo(token)).await.status, 429, "not yet known to be good");
}
