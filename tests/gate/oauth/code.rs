//! Codes: redeemed once, within a minute, by whom they were issued to, and with the verifier of their challenge.

use scopegate::oauth::pkce;
use serde_json::{Value, json};

use crate::support::gate::token_key;
use crate::support::provider::{App, CALLBACK, Person, Provider, VERIFIER, authorize, error, reason, told, told_at};
use crate::support::setup::SITE;
use crate::support::wire::Reply;
use crate::support::{eventually, now};

/// Where the record of a code lies.
fn code_key(code: &str) -> String {
    token_key(code).replace(":token:", ":code:")
}

fn invalid_grant(reply: &Reply) -> bool {
    error(reply) == (400, "invalid_grant".to_owned())
}

/// An app whose users are not asked, with a secret or without.
fn own_app(provider: &Provider, id: &str, more: &[&str]) -> App {
    provider.app(id, "read", &[&["--redirect-uri", CALLBACK, "--skip-consent"], more].concat())
}

/// A new code for somebody, who signs in where that is needed.
fn code_for(provider: &Provider, person: &mut Person<'_>, app: &App, more: &[(&str, &str)]) -> String {
    let code = told(&person.begin(&authorize(app, "read", more)).reply)["code"].clone();
    provider.gate.keep_secret(&code);
    code
}

/// Redeems with exactly these, besides what every redemption has.
fn redeem_with(provider: &Provider, app: &App, code: &str, more: &[(&str, &str)]) -> Reply {
    provider.token(app, &[&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)], more].concat())
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn a_code_is_redeemed_once_and_its_reuse_ends_the_grant() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read");
        let other = provider.confidential("other", "read");
        let mut person = Person::new(&provider);
        let code = person.allow(&app, "read");
        let first = provider.redeem(&app, &code);
        assert_eq!(first.status, 200, "{}", first.text());
        let tokens = first.json();
        let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        provider.gate.keep_secret(access);
        provider.gate.keep_secret(refresh);
        let lives = || provider.api("GET", "/api/resource/Item", access, None).status == 200;
        assert!(lives());
        // Whoever cannot prove to be the app ends nothing by trying.
        assert!(invalid_grant(&provider.redeem(&other, &code)));
        let guess = App { secret: Some("wrong".to_owned()), ..app.clone() };
        assert_eq!(error(&provider.redeem(&guess, &code)).1, "invalid_client");
        assert!(lives());

        assert!(invalid_grant(&provider.redeem(&app, &code)));
        eventually("the first one's token has ended", || provider.api("GET", "/api/resource/Item", access, None).status == 401);
        assert!(invalid_grant(&provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", refresh)])));
        let grants = provider.gate.cli_json(&["grant", "list", "--client", "app-1", "--site", SITE, "--json"]);
        assert_eq!(grants["grants"][0]["ended"]["by"], "reuse", "{grants}");
        assert!(invalid_grant(&provider.redeem(&app, &code)), "and never again");
        let asked = person.begin(&authorize(&app, "read", &[]));
        assert!(asked.reply.text().contains("asks for access"), "the user is asked again");
    });
}

#[test]
fn a_code_expires_after_a_minute() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, "own", &[]);
    let mut person = Person::new(&provider);
    for (age, taken) in [(50, true), (60, false), (61, false)] {
        let code = code_for(&provider, &mut person, &app, &[]);
        let key = code_key(&code);
        let mut record = provider.gate.redis().get(&key);
        assert_eq!(record["exp"].as_u64().zip(record["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(60), "{record}");
        assert!(provider.gate.redis().time_to_live(&key).as_secs() <= 600);
        // The time goes by in the record.
        record["iat"] = json!(now() - age);
        record["exp"] = json!(now() - age + 60);
        provider.gate.redis().put(&key, &record);
        let reply = provider.redeem(&app, &code);
        assert_eq!(reply.status == 200, taken, "{age}: {}", reply.text());
        assert!(taken || invalid_grant(&reply), "{age}");
    }
}

#[test]
fn a_code_is_bound_to_its_client_and_redirect_uri() {
    let provider = Provider::on_redis();
    let uris = ["--redirect-uri", "https://app.example/other", "--redirect-uri", "http://127.0.0.1/callback"];
    let app = own_app(&provider, "own", &uris);
    let other = own_app(&provider, "other", &[]);
    let public = own_app(&provider, "public", &["--public"]);
    let mut person = Person::new(&provider);
    let code = code_for(&provider, &mut person, &app, &[]);
    for thief in [&other, &public] {
        assert!(invalid_grant(&provider.redeem(thief, &code)), "{}", thief.id);
    }
    for secret in [None, Some("wrong".to_owned()), other.secret.clone()] {
        let thief = App { secret, ..app.clone() };
        assert_eq!(error(&redeem_with(&provider, &thief, &code, &[])), (401, "invalid_client".to_owned()));
    }
    for uri in ["", "https://app.example/other", "https://app.example/callback/", "https://evil.example/", "http://127.0.0.1/callback"] {
        let reply = provider.token(&app, &[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", uri)]);
        assert!(invalid_grant(&reply), "{uri}: {}", reply.text());
    }
    assert_eq!(redeem_with(&provider, &app, &code, &[]).status, 200, "none of them has spent it");

    // Where the port of a loopback was free to choose, it is bound from then on.
    let at = |port: u16| format!("http://127.0.0.1:{port}/callback");
    let page = person.begin(&authorize(&app, "read", &[("redirect_uri", &at(51_004))]));
    let code = told_at(&at(51_004), &page.reply)["code"].clone();
    let redeem = |uri: &str| provider.token(&app, &[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", uri)]);
    assert!(invalid_grant(&redeem(&at(51_005))) && invalid_grant(&redeem("http://127.0.0.1/callback")));
    assert_eq!(redeem(&at(51_004)).status, 200);
}

#[test]
fn a_code_that_is_unknown_expired_or_spent_is_invalid_grant() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, "own", &[]);
    let mut person = Person::new(&provider);
    let spent = code_for(&provider, &mut person, &app, &[]);
    assert_eq!(provider.redeem(&app, &spent).status, 200);
    let expired = code_for(&provider, &mut person, &app, &[]);
    let mut record = provider.gate.redis().get(&code_key(&expired));
    record["exp"] = json!(now());
    provider.gate.redis().put(&code_key(&expired), &record);
    let tokens = provider.redeem(&app, &code_for(&provider, &mut person, &app, &[])).json();
    let unknown = provider.gate.unknown_token();
    let long = "x".repeat(4096);
    let good = code_for(&provider, &mut person, &app, &[]);
    let rows = [
        ("unknown", unknown.as_str()),
        ("expired", &expired),
        ("an access token", text(&tokens, "access_token")),
        ("a refresh token", text(&tokens, "refresh_token")),
        ("too short", &good[1..]),
        ("in other letters", &good.to_ascii_uppercase()),
        ("no code at all", "\u{e9} /.."),
        ("long", &long),
        ("spent", &spent),
    ];
    let mut said = std::collections::BTreeSet::new();
    for (why, code) in rows {
        let reply = provider.redeem(&app, code);
        assert!(invalid_grant(&reply), "{why}: {}", reply.text());
        assert_eq!((reply.header("cache-control"), reply.header("www-authenticate")), (Some("no-store"), None), "{why}");
        said.insert(reply.text());
    }
    assert_eq!(said.len(), 1, "which of them it is, is nobody's business: {said:?}");
}

#[test]
fn a_code_is_bound_to_its_challenge() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, "own", &["--public"]);
    let asking = provider.confidential("asking", "read");
    let (one, two) = ("1".repeat(43), "2".repeat(43));
    let (first, second) = (pkce::challenge_of(&one), pkce::challenge_of(&two));
    let mut person = Person::new(&provider);
    let mut code = |challenge: &str| code_for(&provider, &mut person, &app, &[("code_challenge", challenge)]);
    let codes = [code(&first), code(&second)];
    let record = provider.gate.redis().get(&code_key(&codes[0]));
    assert_eq!(record["challenge"], first.as_str(), "it is kept with the code");
    for (code, verifier) in [(&codes[0], &two), (&codes[1], &one)] {
        assert!(invalid_grant(&redeem_with(&provider, &app, code, &[("code_verifier", verifier)])), "another request's");
    }
    // What the token request says of a method is not looked at, nor is a challenge of its own.
    for more in [
        [("code_verifier", first.as_str()), ("code_challenge_method", "plain")],
        [("code_verifier", two.as_str()), ("code_challenge", second.as_str())],
    ] {
        assert!(invalid_grant(&redeem_with(&provider, &app, &codes[0], &more)), "{more:?}");
    }
    assert_eq!(redeem_with(&provider, &app, &codes[0], &[("code_verifier", &one)]).status, 200);
    assert_eq!(redeem_with(&provider, &app, &codes[1], &[("code_verifier", &two)]).status, 200);

    // On its way it is sealed: neither Frappe, nor the page, nor the answer has it.
    provider.gate.keep_secret(&first);
    let asked = authorize(&asking, "read", &[("code_challenge", &first), ("code_challenge_method", "S256")]);
    let mut person = Person::new(&provider);
    let to_frappe = person.open(&asked);
    assert!(!to_frappe.reply.headers.iter().any(|(_, value)| value.contains(&first)), "{:?}", to_frappe.reply.headers);
    let consent = person.sign_in(to_frappe);
    assert!(!consent.reply.text().contains(&first));
    let back = person.answer(&consent, "allow");
    assert!(!back.location().contains(&first));
    // Another request in the same browser: the challenge of the one is not that of the other.
    let code = told(&back.reply)["code"].clone();
    assert!(invalid_grant(&redeem_with(&provider, &asking, &code, &[("code_verifier", &two)])));
    assert_eq!(redeem_with(&provider, &asking, &code, &[("code_verifier", &one)]).status, 200);
}

#[test]
fn a_code_with_a_challenge_needs_its_verifier() {
    let provider = Provider::on_redis();
    let apps = [own_app(&provider, "confidential", &[]), own_app(&provider, "public", &["--public"])];
    let challenge = pkce::challenge_of(VERIFIER);
    let mut person = Person::new(&provider);
    for app in &apps {
        let code = code_for(&provider, &mut person, app, &[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
        let other = format!("{}x", &VERIFIER[1..]);
        for verifier in ["", &challenge, &other, &VERIFIER[1..], &VERIFIER.to_ascii_lowercase(), &format!("{VERIFIER}=")] {
            assert!(invalid_grant(&redeem_with(&provider, app, &code, &[("code_verifier", verifier)])), "{} {verifier}", app.id);
        }
        assert!(invalid_grant(&redeem_with(&provider, app, &code, &[])), "{}", app.id);
        assert_eq!(redeem_with(&provider, app, &code, &[("code_verifier", VERIFIER)]).status, 200, "{}", app.id);
    }
}

#[test]
fn a_verifier_without_a_challenge_is_refused() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, "own", &[]);
    let mut person = Person::new(&provider);
    let code = code_for(&provider, &mut person, &app, &[]);
    for verifier in [VERIFIER, "x"] {
        assert!(invalid_grant(&redeem_with(&provider, &app, &code, &[("code_verifier", verifier)])), "{verifier}");
    }
    assert_eq!(redeem_with(&provider, &app, &code, &[]).status, 200);
}

#[test]
fn a_verifier_and_a_challenge_have_their_grammar() {
    let provider = Provider::on_redis();
    let app = own_app(&provider, "own", &["--public"]);
    let good = pkce::challenge_of(VERIFIER);
    for challenge in [
        &good[1..],
        &format!("{good}A"),
        &format!("{good}="),
        &good.replace('-', "+"),
        &format!("{} ", &good[1..]),
        &format!("{}\u{e9}", &good[2..]),
        // Bits beyond the last byte of a SHA-256 are zero.
        &format!("{}N", &good[..42]),
        "x",
    ] {
        let back = told(&provider.get(&authorize(&app, "read", &[("code_challenge", challenge)])));
        assert_eq!(back["error"], "invalid_request", "{challenge}");
    }
    let mut person = Person::new(&provider);
    for (verifier, taken) in [
        ("a".repeat(43), true),
        ("-._~".repeat(32), true),
        ("Az09".repeat(11), true),
        ("a".repeat(42), false),
        ("a".repeat(129), false),
        (format!("{}+", "a".repeat(43)), false),
        (format!("{} ", "a".repeat(43)), false),
        (format!("{}/", "a".repeat(43)), false),
        (format!("{}\u{e9}", "a".repeat(43)), false),
    ] {
        // Whoever made the challenge of it: one that is no verifier fits none.
        let code = code_for(&provider, &mut person, &app, &[("code_challenge", &pkce::challenge_of(&verifier))]);
        let reply = redeem_with(&provider, &app, &code, &[("code_verifier", &verifier)]);
        assert_eq!(reply.status == 200, taken, "{verifier}: {}", reply.text());
        assert!(taken || invalid_grant(&reply), "{verifier}");
    }
}

#[test]
fn s256_is_the_example_of_appendix_b() {
    Provider::on_each(|provider| {
        let app = own_app(&provider, "own", &["--public"]);
        let example = ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let mut person = Person::new(&provider);
        let code = code_for(&provider, &mut person, &app, &[("code_challenge", example.1), ("code_challenge_method", "S256")]);
        let reply = redeem_with(&provider, &app, &code, &[("code_verifier", example.0)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
    });
}

#[test]
fn plain_pkce_is_refused_also_where_it_is_the_default() {
    let provider = Provider::on_redis();
    let apps = [provider.public("public", "read"), provider.confidential("confidential", "read")];
    for app in &apps {
        for method in ["", "plain", "s256", "S512", "S256 plain", "none"] {
            for challenge in [VERIFIER, &pkce::challenge_of(VERIFIER)] {
                let asked = authorize(app, "read", &[("code_challenge", challenge), ("code_challenge_method", method)]);
                let told = told(&provider.get(&asked));
                assert_eq!(told["error"], "invalid_request", "{} {method}", app.id);
                assert!(told["error_description"].contains("S256"), "{told:?}");
            }
        }
    }
    let metadata = provider.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
}

#[test]
fn pkce_is_required_of_public_clients_and_of_all_where_configured() {
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let provider = Provider::on_redis();
    let (public, confidential) = (provider.public("public", "read"), provider.confidential("confidential", "read"));
    assert_eq!(told(&provider.get(&authorize(&public, "read", &without)))["error"], "invalid_request");
    let mut person = Person::new(&provider);
    let code = person.allow(&confidential, "read");
    assert_eq!(provider.redeem(&confidential, &code).status, 200, "its secret says who it is");
    // A public client cannot come by a code without a challenge by way of the page.
    assert_eq!(reason(&person.post(&format!("https://{SITE}/oauth/consent"), &[("decision", "allow")]).reply), "form_invalid");
    let provider = Provider::with("require_pkce = \"all\"");
    let (public, confidential) = (provider.public("public", "read"), provider.confidential("confidential", "read"));
    for app in [&public, &confidential] {
        assert_eq!(told(&provider.get(&authorize(app, "read", &without)))["error"], "invalid_request", "{}", app.id);
        let challenge = pkce::challenge_of(VERIFIER);
        let asked = authorize(app, "read", &[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
        let code = Person::new(&provider).allow_with(&asked);
        assert_eq!(redeem_with(&provider, app, &code, &[("code_verifier", VERIFIER)]).status, 200, "{}", app.id);
    }
}
