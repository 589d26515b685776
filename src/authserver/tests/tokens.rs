//! The token endpoint: codes, refresh tokens, clients' own tokens, and every no of RFC 6749 section 5.2.

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use crate::oauth::records::End;
use crate::store::kept::Subject;

use super::*;

#[tokio::test]
async fn a_code_gives_the_answer_that_frappes_clients_know() {
    let bench = Bench::embedded();
    bench.ready("read write").await;
    let told = bench.ask(redemption()).await;
    assert_eq!((told.status, told.header("cache-control"), told.header("pragma")), (200, "no-store", "no-cache"));
    assert_eq!(told.header("content-type"), "application/json");
    let answer = told.json();
    // T21: these fields, in this order.
    let names: Vec<_> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["access_token", "expires_in", "token_type", "scope", "refresh_token"]);
    assert_eq!((&answer["expires_in"], &answer["token_type"], &answer["scope"]), (&json!(3600), &json!("Bearer"), &json!("read write")));
    assert!(bench.lives(text(&answer, "access_token")).await);
    assert_ne!(answer["access_token"], answer["refresh_token"]);
}

#[tokio::test]
async fn an_id_token_comes_with_openid_and_can_be_checked() {
    let bench = Bench::embedded();
    let client = bench.client("crm", Some(SECRET)).await;
    let grant = bench.grant(&client, "grant-1", "openid email read").await;
    bench.code(&grant, CODE, |code| code.nonce = Some("n-1".to_owned())).await;
    let answer = bench.redeemed().await;
    let parts: Vec<_> = text(&answer, "id_token").split('.').collect();
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
    let header: Value = serde_json::from_slice(&decoded(parts[0])).expect("JSON");
    let claims: Value = serde_json::from_slice(&decoded(parts[1])).expect("JSON");
    let now = bench.now.unix();
    let expected = json!({
        "iss": URL, "sub": USER, "aud": "crm", "exp": now + 3600, "iat": now, "auth_time": now, "nonce": "n-1",
        "at_hash": crate::oauth::claims::at_hash(text(&answer, "access_token")), "email": USER,
    });
    assert_eq!(claims, expected);

    let jwks = bench.ask(Asked::get(Endpoint::Jwks)).await;
    assert_eq!((jwks.status, jwks.header("cache-control"), jwks.header("pragma")), (200, "public, max-age=300", ""));
    let key = &jwks.json()["keys"][0];
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &key["kid"]));
    let (n, e) = (decoded(text(key, "n")), decoded(text(key, "e")));
    let signed = [parts[0], parts[1]].join(".");
    aws_lc_rs::rsa::PublicKeyComponents { n, e }
        .verify(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decoded(parts[2]))
        .expect("the signature is that of the published key");

    let refreshed = bench.ask(refreshing(text(&answer, "refresh_token"))).await.json();
    assert_eq!(refreshed.get("id_token"), None, "T34");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_in_the_words_of_the_rfc() {
    let bench = Bench::embedded();
    let (crm, _) = bench.ready("read write").await;
    bench.client("other", Some("other-canary")).await;
    bench.client("public", None).await;
    bench.add(Client { enabled: false, ..crm.clone_as("off") }).await;
    bench.add(Client { grant_types: Vec::new(), ..crm.clone_as("none") }).await;
    let as_client = |id: &str, secret: &str| redemption().without("client_id").without("client_secret").basic(id, secret);
    let own = |scope: &str| {
        Asked::post(
            Endpoint::Token,
            &[("grant_type", "client_credentials"), ("scope", scope), ("client_id", "crm"), ("client_secret", SECRET)],
        )
    };
    let json_body = Asked { body: r#"{"grant_type":"authorization_code"}"#.to_owned(), headers: HeaderMap::new(), ..redemption() };
    let rows = [
        ("T28, a JSON body", json_body.with(CONTENT_TYPE, "application/json"), 400, "invalid_request"),
        ("T29, a query", Asked { query: "x=1".to_owned(), ..redemption() }, 400, "invalid_request"),
        ("a code in the URL", Asked { query: format!("code={CODE}"), ..redemption().without("code") }, 400, "invalid_request"),
        ("no grant type", redemption().without("grant_type"), 400, "invalid_request"),
        ("no code", redemption().without("code"), 400, "invalid_request"),
        ("T555, a code twice", redemption().and("code", CODE), 400, "invalid_request"),
        ("two grant types", redemption().and("grant_type", "refresh_token"), 400, "invalid_request"),
        ("authenticated twice", redemption().basic("crm", SECRET), 400, "invalid_request"),
        ("two ids", redemption().without("client_secret").basic("other", "other-canary"), 400, "invalid_request"),
        ("two headers", as_client("crm", SECRET).basic("crm", SECRET), 400, "invalid_request"),
        ("two content types", redemption().with(CONTENT_TYPE, "application/json"), 400, "invalid_request"),
        ("T26, an unknown client", as_client("nobody", SECRET), 401, "invalid_client"),
        ("an id that is none", as_client("a/b c", SECRET), 401, "invalid_client"),
        ("an id that forges a key", as_client("crm%3Ax", SECRET), 401, "invalid_client"),
        ("a disabled client", as_client("off", SECRET), 401, "invalid_client"),
        ("T32, a wrong secret", as_client("crm", "wrong-canary"), 401, "invalid_client"),
        ("T21, no secret", redemption().without("client_secret"), 401, "invalid_client"),
        ("an empty secret", redemption().without("client_secret").and("client_secret", ""), 401, "invalid_client"),
        ("a secret of a public client", as_client("public", SECRET), 401, "invalid_client"),
        ("no client", redemption().without("client_id").without("client_secret"), 401, "invalid_client"),
        ("T286, a token", redemption().without("client_secret").bearer("token-canary"), 401, "invalid_client"),
        ("an assertion", redemption().and("client_assertion", "jwt-canary"), 401, "invalid_client"),
        ("T24, an unknown grant", redemption().without("grant_type").and("grant_type", "magic-canary"), 400, "unsupported_grant_type"),
        ("T30, a password", redemption().without("grant_type").and("grant_type", "password"), 400, "unsupported_grant_type"),
        ("a client that may not", as_client("none", SECRET), 400, "unauthorized_client"),
        ("T20, an unknown code", redemption().without("code").and("code", "wrong-canary"), 400, "invalid_grant"),
        ("another client's code", as_client("other", "other-canary"), 400, "invalid_grant"),
        (
            "a public client with it",
            redemption().without("client_id").without("client_secret").and("client_id", "public"),
            400,
            "invalid_grant",
        ),
        (
            "T326, another redirect",
            redemption().without("redirect_uri").and("redirect_uri", "https://app.example.com/"),
            400,
            "invalid_grant",
        ),
        ("no redirect", redemption().without("redirect_uri"), 400, "invalid_grant"),
        ("T320, a wrong verifier", redemption().without("code_verifier").and("code_verifier", &"canary".repeat(8)), 400, "invalid_grant"),
        ("T322, no verifier", redemption().without("code_verifier"), 400, "invalid_grant"),
        ("after its minute", redemption().later(CODE_LIFETIME), 400, "invalid_grant"),
        ("another resource", redemption().and("resource", "https://evil.example"), 400, "invalid_target"),
        (
            "one of two resources",
            redemption().and("resource", URL).and("resource", "https://erp.example.com.evil.example"),
            400,
            "invalid_target",
        ),
        ("an unknown refresh token", refreshing("wrong-canary"), 400, "invalid_grant"),
        ("a code as refresh token", refreshing(CODE), 400, "invalid_grant"),
        ("no refresh token", refreshing("").and("refresh", "x"), 400, "invalid_request"),
        ("T33, a scope beyond the client's", own("delete"), 400, "invalid_scope"),
        ("all", own("all"), 400, "invalid_scope"),
        ("no scope", own("read:"), 400, "invalid_scope"),
        ("openid of nobody", own("openid"), 400, "invalid_scope"),
        ("T27, GET", Asked { method: Method::GET, ..redemption() }, 405, "invalid_request"),
    ];
    // Spread over addresses, so that no row is refused for the failures of another.
    for (number, (why, asked, status, error)) in (2..).zip(rows) {
        let told = bench.ask(asked.from(number)).await;
        assert_eq!((told.status, told.error().as_str()), (status, error), "{why}: {}", told.text);
        assert_eq!(told.header("cache-control"), "no-store", "{why}");
        let challenge = if status == 401 { "Basic realm=\"erp.example.com\"" } else { "" };
        assert_eq!(told.header("www-authenticate"), challenge, "{why}");
    }
    bench.redeemed().await;
}

#[tokio::test]
async fn nobody_learns_which_clients_there_are() {
    let bench = Bench::embedded();
    let (crm, _) = bench.ready("read").await;
    bench.add(Client { enabled: false, ..crm.clone_as("off") }).await;
    let told = async |id: &str, secret: &str| {
        let asked = redemption().without("client_id").without("client_secret").basic(id, secret);
        let told = bench.ask(asked).await;
        (told.status, told.text, format!("{:?}", told.headers))
    };
    let unknown = told("nobody", SECRET).await;
    assert_eq!(told("off", SECRET).await, unknown);
    assert_eq!(told("crm", "wrong").await, unknown);
}

#[tokio::test]
async fn a_client_proves_itself_in_the_header_or_in_the_form() {
    for (number, asked) in [
        redemption(),
        redemption().without("client_secret").basic("crm", SECRET),
        redemption().without("client_id").without("client_secret").basic("crm", SECRET),
        redemption().without("client_id").without("client_secret").basic("%63rm", "secret%2Dcanary"),
        redemption().and("resource", URL).and("resource", "https://erp.example.com/api/"),
    ]
    .into_iter()
    .enumerate()
    {
        let bench = Bench::embedded();
        bench.ready("read").await;
        let told = bench.ask(asked).await;
        assert_eq!(told.status, 200, "{number}: {}", told.text);
    }
}

#[tokio::test]
async fn a_public_client_names_itself_and_is_held_to_pkce() {
    let bench = Bench::embedded();
    let client = bench.client("public", None).await;
    let grant = bench.grant(&client, "grant-1", "read").await;
    bench.code(&grant, CODE, |_| {}).await;
    let asked = redemption().without("client_secret").without("client_id").and("client_id", "public");
    assert_eq!(bench.ask(asked.clone().without("code_verifier")).await.error(), "invalid_grant");
    let told = bench.ask(asked).await;
    assert_eq!(told.status, 200, "{}", told.text);
}

#[tokio::test]
async fn a_verifier_without_a_challenge_means_that_somebody_took_it_out() {
    let bench = Bench::embedded();
    let client = bench.client("crm", Some(SECRET)).await;
    let grant = bench.grant(&client, "grant-1", "read").await;
    bench.code(&grant, CODE, |code| code.challenge = None).await;
    assert_eq!(bench.ask(redemption()).await.error(), "invalid_grant");
    assert_eq!(bench.ask(redemption().without("code_verifier")).await.status, 200);
}

#[tokio::test]
async fn a_code_that_is_used_twice_ends_its_grant_and_all_its_tokens() {
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read").await;
    let answer = bench.redeemed().await;
    bench.client("other", Some("other-canary")).await;
    let stranger = redemption().without("client_id").without("client_secret").basic("other", "other-canary");
    assert_eq!(bench.ask(stranger).await.error(), "invalid_grant");
    assert_eq!(bench.ended(&grant.id).await, None, "another client's attempt is no second use");
    // Even after its minute: what tells a reuse is that it was used.
    assert_eq!(bench.ask(redemption().later(CODE_LIFETIME + 1)).await.error(), "invalid_grant");
    assert_eq!(bench.ended(&grant.id).await, Some(End::Reuse));
    assert!(!bench.lives(text(&answer, "access_token")).await);
    assert_eq!(bench.ask(refreshing(text(&answer, "refresh_token"))).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_refresh_rotates_and_is_repeated_for_ten_seconds() {
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read write").await;
    let first = bench.redeemed().await;
    let token = text(&first, "refresh_token");
    let second = bench.ask(refreshing(token).later(100)).await.json();
    let names: Vec<_> = second.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["access_token", "expires_in", "token_type", "scope", "refresh_token"]);
    assert!(bench.lives(text(&first, "access_token")).await && bench.lives(text(&second, "access_token")).await);
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    for later in [100, 105, 110] {
        assert_eq!(bench.ask(refreshing(token).later(later)).await.json(), second, "{later}");
    }
    bench.client("other", Some("other-canary")).await;
    let stranger = refreshing(token).without("client_id").without("client_secret").basic("other", "other-canary");
    assert_eq!(bench.ask(stranger.later(105)).await.error(), "invalid_grant", "T37: another client");
    let third = bench.ask(refreshing(text(&second, "refresh_token")).later(106)).await.json();
    assert!(bench.lives(text(&third, "access_token")).await);
    assert_eq!(bench.ended(&grant.id).await, None);

    assert_eq!(bench.ask(refreshing(token).later(111)).await.error(), "invalid_grant");
    assert_eq!(bench.ended(&grant.id).await, Some(End::Reuse));
    for answer in [&first, &second, &third] {
        assert!(!bench.lives(text(answer, "access_token")).await);
    }
    assert_eq!(bench.ask(refreshing(text(&third, "refresh_token")).later(112)).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_refresh_may_narrow_and_never_widen() {
    let bench = Bench::embedded();
    bench.ready("read write").await;
    let first = bench.redeemed().await;
    let refresh = |answer: &Value, scope: &str| refreshing(text(answer, "refresh_token")).and("scope", scope);
    for wide in ["read write openid", "delete", "all", "read:"] {
        assert_eq!(bench.ask(refresh(&first, wide)).await.error(), "invalid_scope", "{wide}");
    }
    let narrow = bench.ask(refresh(&first, "read:lead")).await.json();
    assert_eq!(narrow["scope"], "read:lead");
    let whole = bench.ask(refreshing(text(&narrow, "refresh_token"))).await.json();
    assert_eq!(whole["scope"], "read write", "the refresh token keeps them all");
}

#[tokio::test]
async fn what_a_client_has_lost_its_tokens_lose() {
    let bench = Bench::embedded();
    let (client, _) = bench.ready("read write").await;
    let first = bench.redeemed().await;
    let change = async |client: &Client| assert!(bench.store().update_client(ERP, client).await.expect("the store"));
    change(&Client { scopes: scopes("read"), ..client.clone() }).await;
    let second = bench.ask(refreshing(text(&first, "refresh_token"))).await.json();
    assert_eq!(second["scope"], "read");
    change(&Client { scopes: scopes("delete"), ..client.clone() }).await;
    assert_eq!(bench.ask(refreshing(text(&second, "refresh_token"))).await.error(), "invalid_scope");
    change(&Client { grant_types: vec![GrantType::AuthorizationCode], ..client.clone() }).await;
    assert_eq!(bench.ask(refreshing(text(&second, "refresh_token"))).await.error(), "unauthorized_client");
    change(&client).await;
    assert_eq!(bench.ask(refreshing(text(&second, "refresh_token"))).await.status, 200);
}

#[tokio::test]
async fn a_client_without_refresh_gets_no_refresh_token() {
    let bench = Bench::embedded();
    let (client, _) = bench.ready("read").await;
    let without = Client { grant_types: vec![GrantType::AuthorizationCode], ..client };
    assert!(bench.store().update_client(ERP, &without).await.expect("the store"));
    assert_eq!(bench.redeemed().await.get("refresh_token"), None);
}

#[tokio::test]
async fn nothing_is_issued_under_what_was_revoked() {
    for subject in [Subject::Client("crm"), Subject::User(USER), Subject::Grant("grant-1")] {
        let bench = Bench::embedded();
        bench.ready("read").await;
        bench.store().raise(ERP, &[(subject.field(), bench.now)]).await.expect("the store");
        assert_eq!(bench.ask(redemption()).await.error(), "invalid_grant", "{subject:?}");
    }
    for subject in [Subject::Client("crm"), Subject::User(USER), Subject::Grant("grant-1")] {
        let bench = Bench::embedded();
        bench.ready("read").await;
        let answer = bench.redeemed().await;
        bench.store().raise(ERP, &[(subject.field(), bench.now)]).await.expect("the store");
        assert_eq!(bench.ask(refreshing(text(&answer, "refresh_token")).later(9)).await.error(), "invalid_grant", "{subject:?}");
    }
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read").await;
    grants::end(bench.store(), ERP, &grant.id, End::User, bench.now).await.expect("the store");
    assert_eq!(bench.ask(redemption()).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_slow_clock_ends_what_a_fast_one_issued() {
    let bench = Bench::embedded();
    let (_, grant) = bench.ready("read").await;
    let answer = bench.ask(redemption().later(30)).await.json();
    grants::end(bench.store(), ERP, &grant.id, End::User, bench.now).await.expect("the store");
    assert!(!bench.lives(text(&answer, "access_token")).await);
}

#[tokio::test]
async fn a_clients_own_token_speaks_for_it_or_for_its_user() {
    let bench = Bench::embedded();
    let client = bench.client("crm", Some(SECRET)).await;
    bench.add(Client { user: Some("bot@example.com".into()), ..client.clone_as("bot") }).await;
    bench.client("public", None).await;
    bench.add(Client { grant_types: vec![GrantType::AuthorizationCode], ..client.clone_as("web") }).await;
    let own = |id: &str| Asked::post(Endpoint::Token, &[("grant_type", "client_credentials"), ("scope", "read")]).basic(id, SECRET);
    for (id, user) in [("crm", "crm"), ("bot", "bot@example.com")] {
        let answer = bench.ask(own(id)).await.json();
        let names: Vec<_> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["access_token", "expires_in", "token_type", "scope"]);
        let record = bench.store().token(ERP, &TokenHash::of(text(&answer, "access_token").as_bytes())).await.expect("the store");
        let record = record.expect("a token");
        assert_eq!((&*record.client, &*record.user, record.grant, record.scopes.as_str()), (id, user, None, "read"));
    }
    assert_eq!(bench.ask(own("web")).await.error(), "unauthorized_client");
    let public = Asked::post(Endpoint::Token, &[("grant_type", "client_credentials"), ("client_id", "public")]);
    assert_eq!(bench.ask(public).await.error(), "unauthorized_client");
    // RFC 6749 section 4.4.2: nothing said is the default; `openid` in it hurts nobody.
    let plain = Asked::post(Endpoint::Token, &[("grant_type", "client_credentials")]).basic("crm", SECRET);
    assert_eq!(bench.ask(plain).await.json()["scope"], "read write openid email");

    bench.store().raise(ERP, &[(Subject::Client("crm").field(), bench.now.plus(5))]).await.expect("the store");
    let answer = bench.ask(own("crm")).await.json();
    assert!(bench.lives(text(&answer, "access_token")).await, "issued behind the revocation");
}

#[tokio::test]
async fn guessing_is_slowed_down_by_address_and_by_client() {
    let bench = Bench::embedded();
    bench.ready("read").await;
    let wrong = |last| redemption().without("client_secret").and("client_secret", "wrong-canary").from(last);
    for _ in 0..40 {
        assert_eq!(bench.ask(wrong(1)).await.status, 401);
    }
    let told = bench.ask(wrong(1)).await;
    assert_eq!((told.status, told.reason, told.header("retry-after")), (429, "rate_failed_authentications", "2"));
    assert_eq!(bench.ask(redemption()).await.status, 429, "the right one is not looked at either");
    for _ in 0..20 {
        assert_eq!(bench.ask(wrong(2)).await.status, 401);
    }
    let told = bench.ask(redemption().from(3)).await;
    assert_eq!((told.status, told.reason, told.header("retry-after")), (429, "rate_client_authentications", "1"));
    assert!(!told.text.contains(CANARY));
    let (nobody, other) = (redemption().without("client_id").and("client_id", "nobody"), bench.client("other", Some("x")).await);
    assert_eq!(bench.ask(nobody.from(3)).await.status, 401, "another client");
    assert_eq!(&*other.id, "other");
}

#[tokio::test]
async fn nobody_shuts_out_a_public_client_by_failing_in_its_name() {
    let bench = Bench::embedded();
    let client = bench.client("public", None).await;
    let grant = bench.grant(&client, "grant-1", "read").await;
    bench.code(&grant, CODE, |_| {}).await;
    let public = redemption().without("client_secret").without("client_id").and("client_id", "public");
    for number in 0..60 {
        assert_eq!(bench.ask(public.clone().and("client_secret", "wrong").from(number / 30)).await.status, 401);
    }
    assert_eq!(bench.ask(public.clone().and("client_secret", "wrong").from(3)).await.status, 429);
    assert_eq!(bench.ask(public.from(3)).await.status, 200);
}

impl Client {
    /// The same under another id.
    fn clone_as(&self, id: &str) -> Self {
        Self { id: id.into(), ..self.clone() }
    }
}

#[tokio::test]
async fn a_client_that_proves_itself_may_show_what_is_forgotten_and_a_stranger_may_not() {
    let bench = Bench::embedded();
    bench.ready("read").await;
    bench.client("public", None).await;
    for number in 0..50 {
        assert_eq!(bench.ask(refreshing(&format!("old-{number}"))).await.error(), "invalid_grant", "a server has many users");
    }
    let told = bench.redeemed().await;
    let stranger = refreshing("guess").without("client_secret").without("client_id").and("client_id", "public");
    for _ in 0..40 {
        assert_eq!(bench.ask(stranger.clone()).await.error(), "invalid_grant");
    }
    assert_eq!(bench.ask(stranger).await.status, 429);
    assert!(bench.lives(text(&told, "access_token")).await);
}
