//! Where secrets may be, and where they never are: on the wire in the clear, in caches, cookies, addresses, logs, pages and stores.

use std::collections::BTreeSet;
use std::fs;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::oauth::endpoints::{
    INTROSPECT, PROXIED, REVOKE, TOKEN, forms, given, header, introspect, post_from, refresh, refreshed, refused, revoke, secret, server,
    shown, text, throttled,
};
use crate::support::gate::{key_of, sha256};
use crate::support::provider::{
    App, CALLBACK, FRAPPE, Frappe, GATE_CLIENT, GATE_SECRET, ISSUER, Page, Person, Provider, authorize, parameter,
};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::verdict;
use crate::support::wire::{Reply, Wire};
use scopegate::pocket::Pocket;

/// A key of pocket ERP's that reads what it issued.
const READER: (&str, &str) = ("reader-key", "reader-secret");

/// The paths of every endpoint.
fn paths() -> Vec<String> {
    let frappe = ["authorize", "approve", "get_token", "revoke_token", "introspect_token", "openid_profile", "openid_configuration"];
    let short = ["authorize", "consent", "callback", "token", "revoke", "introspect", "userinfo", "register", "jwks", "grants", "signout"];
    let known = ["openid-configuration", "oauth-authorization-server", "oauth-protected-resource"];
    let frappe = frappe.map(|name| format!("{FRAPPE}{name}"));
    let short = short.map(|name| format!("/oauth/{name}"));
    frappe.into_iter().chain(short).chain(known.map(|name| format!("/.well-known/{name}"))).collect()
}

#[test]
fn no_oauth_endpoint_is_served_over_plain_http() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let ask = |method: &str, target: &str, rest: &str| {
        Wire::plain(&provider.gate).exchange(format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n{rest}"))
    };
    let led_away = |reply: &Reply, target: &str| {
        assert_eq!(reply.status, 308, "{target}: {}", reply.text());
        assert!(reply.header("location").is_some_and(|to| to.starts_with(ISSUER)), "{target}");
        assert!(reply.all("set-cookie").is_empty(), "{target}");
    };
    for path in paths() {
        for method in ["GET", "HEAD"] {
            led_away(&ask(method, &path, "\r\n"), &path);
        }
        let form = crate::support::provider::encoded(&shown(&app, &[("token", "x"), ("grant_type", "client_credentials")]));
        let body = format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", form.len());
        let refusals = [
            ask("POST", &path, &body),
            ask("GET", &path, &format!("{}\r\n", header(&app))),
            ask("GET", &path, "Cookie: __Host-sg-session=x\r\n\r\n"),
            ask("GET", &format!("{path}?code=x&state=y"), "\r\n"),
            ask("GET", &format!("{path}?{form}"), "\r\n"),
            ask("GET", &format!("{path}?access_token=x"), "\r\n"),
        ];
        for reply in &refusals {
            assert_eq!((reply.status, verdict::reason(reply).as_str()), (403, "token_over_http"), "{path}");
        }
    }
    led_away(&ask("GET", &authorize(&app, "read", &[]), "\r\n"), "an authorization request");
    assert_eq!(provider.frappe.pocket.token_requests(), 0);

    // And what is served over TLS says that it stays so, and names nothing that is not.
    let metadata = provider.get("/.well-known/openid-configuration");
    assert!(metadata.header("strict-transport-security").is_some());
    for (name, value) in metadata.json().as_object().expect("an object") {
        assert!(!value.to_string().contains("http://"), "{name}");
    }
}

/// Nobody could guess one of these from the others: each 256 bits, in all of which they differ.
fn random(what: &str, secrets: &[String]) {
    assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), secrets.len(), "{what}: one came twice");
    let decoded: Vec<Vec<u8>> = secrets
        .iter()
        .map(|text| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}: {text}")))
        .collect();
    assert!(decoded.iter().all(|bytes| bytes.len() == 32), "{what}");
    for at in 0..64 {
        let nibble = |bytes: &Vec<u8>| (bytes[at / 2] >> (at % 2 * 4)) & 0xf;
        assert!(decoded.iter().any(|bytes| nibble(bytes) != nibble(&decoded[0])), "{what}: the half-byte {at} is always the same");
    }
    let ones: u32 = decoded.iter().flatten().map(|byte| byte.count_ones()).sum();
    let bits = u32::try_from(secrets.len() * 256).expect("few");
    // Seven standard deviations: once in four hundred thousand million runs.
    assert!(f64::from(ones.abs_diff(bits / 2)) < 7.0 * (f64::from(bits) / 4.0).sqrt(), "{what}: {ones} of {bits} bits are set");
}

#[test]
fn codes_and_tokens_are_256_random_bits() {
    const EACH: usize = 16;
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let (mut codes, mut access, mut refresh_tokens) = (Vec::new(), Vec::new(), Vec::new());
    let mut person = Person::new(&provider);
    for _ in 0..EACH {
        let code = person.allow(&app, "read");
        let tokens = given(&provider, &provider.redeem(&app, &code));
        codes.push(code);
        access.push(text(&tokens, "access_token").to_owned());
        refresh_tokens.push(text(&tokens, "refresh_token").to_owned());
    }
    random("codes", &codes);
    random("access tokens", &access);
    random("refresh tokens", &refresh_tokens);
    let secrets: Vec<_> = (0..EACH).map(|number| secret(&server(&provider, &format!("etl-{number}"))).to_owned()).collect();
    random("client secrets", &secrets);

    // As a client of Frappe, the gate draws as well: its state, and a verifier that only its challenge is seen of.
    let sign_ins: Vec<Page> = (0..EACH).map(|_| Person::new(&provider).open(&authorize(&app, "read", &[]))).collect();
    let of = |name: &str| -> Vec<String> {
        sign_ins.iter().map(|page| parameter(page.location(), name).unwrap_or_else(|| panic!("no {name} in {}", page.location()))).collect()
    };
    random("challenges", &of("code_challenge"));
    random("states", &of("state"));
    assert!(of("code_challenge_method").iter().all(|method| method.eq_ignore_ascii_case("s256")));
}

/// Everything that the store holds, as text.
fn stored(provider: &Provider) -> String {
    match &provider.gate.setup.redis {
        Some(redis) => redis.everything(),
        None => {
            String::from_utf8_lossy(&fs::read(provider.gate.setup.dir.path().join("store.redb")).expect("the store's file")).into_owned()
        }
    }
}

fn nowhere(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "a secret is in {what}: {}…", &secret[..4]);
    }
}

/// On each store, with a Frappe that tells what it issued.
fn on_each(test: impl Fn(&Provider)) {
    let frappe = || {
        let callback = format!("{ISSUER}/oauth/callback");
        let pocket = Pocket::sample().with_oauth_client(GATE_CLIENT, GATE_SECRET, &[&callback], "all openid", true);
        Frappe::serving(pocket.with_key(READER.0, READER.1, "Administrator"))
    };
    let (one, other) = (frappe(), frappe());
    let setup = Setup::embedded_at(&one.url());
    test(&Provider::begin(setup, one, ""));
    let setup = Setup::on(Redis::start(), &other.url());
    test(&Provider::begin(setup, other, ""));
}

/// Every access and refresh token that Frappe gave the gate.
fn frappes_tokens(provider: &Provider) -> Vec<String> {
    let target = "/api/resource/OAuth%20Bearer%20Token?fields=%5B%22access_token%22%2C%22refresh_token%22%5D&limit_page_length=0";
    let (key, secret) = READER;
    let reply = Wire::plain_to(provider.frappe.address)
        .exchange(format!("GET {target} HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: token {key}:{secret}\r\nConnection: close\r\n\r\n"));
    let rows = reply.json();
    let rows = rows["data"].as_array().unwrap_or_else(|| panic!("{rows}")).clone();
    let tokens: Vec<String> =
        rows.iter().flat_map(|row| [text(row, "access_token").to_owned(), text(row, "refresh_token").to_owned()]).collect();
    assert!(!tokens.is_empty(), "the gate has got none");
    tokens
}

#[test]
fn codes_tokens_and_secrets_are_kept_as_hashes() {
    on_each(|provider| {
        let app = provider.confidential("crm", "read openid");
        let mut person = Person::new(provider);
        let unspent = person.allow(&app, "read openid");
        let code = person.allow(&app, "read openid");
        let tokens = given(provider, &provider.redeem(&app, &code));
        let next = refreshed(provider, &app, text(&tokens, "refresh_token"));
        let rotated = provider.gate.cli_json(&["client", "rotate-secret", "crm", "--overlap", "1h", "--json"]);
        let new_secret = text(&rotated, "client_secret");
        let mut secrets = vec![unspent.clone(), code.clone(), secret(&app).to_owned(), new_secret.to_owned()];
        for tokens in [&tokens, &next] {
            secrets.extend(["access_token", "refresh_token"].map(|name| text(tokens, name).to_owned()));
        }
        nowhere("the store", &stored(provider), &secrets);
        if provider.gate.setup.redis.is_none() {
            return;
        }
        let redis = provider.gate.redis();
        let there = |kind: &str, secret: &str| assert!(redis.record(&key_of(kind, secret)).is_some(), "{kind}");
        there("code", &unspent);
        there("code", &code);
        for tokens in [&tokens, &next] {
            there("token", text(tokens, "access_token"));
            there("refresh", text(tokens, "refresh_token"));
        }
        there("session", &person.jars["fake.test"]["__Host-sg-session"]);
        let client = redis.get(&format!("sg:{SITE}:client:crm"));
        assert_eq!((&client["secret"], &client["previous_secret"]["hash"]), (&json!(sha256(new_secret)), &json!(sha256(secret(&app)))));
    });
}

#[test]
fn what_holds_a_token_or_a_secret_is_never_cached() {
    let provider = Provider::with("registration = \"open\"");
    let app = provider.confidential("crm", "read openid");
    let never = |what: &str, reply: &Reply| {
        let cache: Vec<_> = reply.header("cache-control").unwrap_or_default().split(',').map(str::trim).collect();
        assert!(cache.contains(&"no-store"), "{what}: {reply:?}");
        assert_eq!(reply.header("pragma"), Some("no-cache"), "{what}");
    };
    let mut person = Person::new(&provider);
    let consent = person.begin(&authorize(&app, "read openid", &[]));
    let page = person.answer(&consent, "allow");
    let code = parameter(page.location(), "code").expect("a code");
    provider.gate.keep_secret(&code);
    person.open("/oauth/grants");
    for page in person.seen.iter().filter(|page| page.url.starts_with(ISSUER)) {
        never(&page.url, &page.reply);
    }
    let answer = provider.redeem(&app, &code);
    never("tokens", &answer);
    let tokens = given(&provider, &answer);
    let (access, refresh_token) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    never("a refresh", &refresh(&provider, &app, refresh_token));
    never("the same once more", &refresh(&provider, &app, refresh_token));
    never("userinfo", &provider.api("GET", "/oauth/userinfo", access, None));
    for token in [access, "x"] {
        never("an introspection", &provider.post(INTROSPECT, &shown(&app, &[("token", token)])));
        never("a revocation", &revoke(&provider, &app, token));
    }
    never("a code again", &provider.redeem(&app, &code));
    for (endpoint, _) in forms() {
        never("a wrong secret", &provider.post(&endpoint, &[("client_id", "crm"), ("client_secret", "wrong")]));
        never("another method", &provider.get(&endpoint));
    }
    let wanted = json!({"redirect_uris": [CALLBACK], "client_name": "An app", "scope": "read"}).to_string();
    let reply = provider.exchange(&format!(
        "POST /oauth/register HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{wanted}",
        wanted.len()
    ));
    assert_eq!(reply.status, 201, "{}", reply.text());
    provider.gate.keep_secret(text(&reply.json(), "client_secret"));
    never("a new secret", &reply);
}

#[test]
fn no_token_is_ever_in_a_cookie_or_an_address() {
    on_each(|provider| {
        let app = provider.confidential("crm", "read openid");
        let mut person = Person::new(provider);
        let code = person.allow(&app, "read openid");
        let tokens = given(provider, &provider.redeem(&app, &code));
        person.open("/oauth/grants");
        let page = person.open(&authorize(&app, "read openid", &[("prompt", "consent")]));
        person.follow(page);
        let mut secrets = frappes_tokens(provider);
        secrets.extend(["access_token", "refresh_token", "id_token"].map(|name| text(&tokens, name).to_owned()));
        let mut cookies = 0;
        for page in &person.seen {
            nowhere("an address", &page.url, &secrets);
            nowhere("an address", page.reply.header("location").unwrap_or_default(), &secrets);
            for cookie in page.reply.all("set-cookie") {
                nowhere("a cookie", cookie, &secrets);
                if !page.url.starts_with(ISSUER) {
                    continue;
                }
                cookies += 1;
                // Of this host, over TLS, and for no script.
                assert!(cookie.starts_with("__Host-"), "{}", page.url);
                for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
                    assert!(cookie.split("; ").any(|part| part == attribute), "{attribute} at {}", page.url);
                }
            }
        }
        assert!(cookies > 0, "nothing was looked at");
        // The endpoints for apps set none, and take a token from no address.
        for reply in [refresh(provider, &app, text(&tokens, "refresh_token")), provider.post(TOKEN, &[("client_id", "crm")])] {
            assert!(reply.all("set-cookie").is_empty());
        }
        let access = text(&tokens, "access_token");
        assert_eq!(provider.get(&format!("/oauth/userinfo?access_token={access}")).status, 401);
        assert!((400..500).contains(&provider.get(&format!("/api/resource/Item?access_token={access}")).status));
    });
}

#[test]
fn no_secret_is_in_any_log_page_or_store() {
    on_each(|provider| {
        let (app, public) = (provider.confidential("crm", "read write openid"), provider.public("mobile", "read"));
        let mut person = Person::new(provider);
        let mut secrets = vec![GATE_SECRET.to_owned(), secret(&app).to_owned()];
        let keep = |secrets: &mut Vec<String>, tokens: &Value| {
            let names = ["access_token", "refresh_token", "id_token"];
            secrets.extend(names.iter().filter_map(|name| tokens[*name].as_str().map(str::to_owned)));
        };
        for (app, scope) in [(&app, "read openid"), (&public, "read")] {
            let code = person.allow(app, scope);
            let tokens = given(provider, &provider.redeem(app, &code));
            let next = refreshed(provider, app, text(&tokens, "refresh_token"));
            keep(&mut secrets, &tokens);
            keep(&mut secrets, &next);
            // What goes wrong is logged more than what goes well.
            provider.redeem(app, "not-a-code");
            provider.post(TOKEN, &[("client_id", &app.id), ("client_secret", &code), ("grant_type", "refresh_token")]);
            provider.get(&format!("{TOKEN}?code={code}&client_secret={code}"));
            provider.post(&format!("{REVOKE}?token={}", text(&next, "access_token")), &shown(app, &[]));
            refused(&provider.token(app, &[("grant_type", "refresh_token"), ("refresh_token", &code)]), 400, "invalid_grant");
            assert_eq!(provider.api("GET", "/api/resource/Item", text(&next, "access_token"), None).status, 200);
            assert_eq!(provider.api("DELETE", "/api/resource/Item/x", text(&next, "access_token"), None).status, 403);
            secrets.push(code);
        }
        introspect(provider, &app, &secrets[2]);
        let mut jar = Vec::new();
        for page in person.seen.iter().filter(|page| page.url.starts_with(ISSUER)) {
            let values =
                page.reply.all("set-cookie").into_iter().filter_map(|cookie| cookie.split(';').next()?.split_once('=').map(|pair| pair.1));
            jar.extend(values.filter(|value| !value.is_empty()).map(str::to_owned));
        }
        assert!(jar.len() >= 2, "the sign-in under way, and the session");
        secrets.extend(jar);
        person.open("/oauth/grants");
        secrets.extend(frappes_tokens(provider));
        assert!(secrets.iter().all(|secret| secret.len() >= 16), "too short to be looked for");

        for page in person.seen.iter().filter(|page| page.url.starts_with(ISSUER)) {
            nowhere(&page.url, &page.reply.text(), &secrets);
        }
        nowhere("the store", &stored(provider), &secrets);
        revoke(provider, &app, &secrets[3]);
        nowhere("the store", &stored(provider), &secrets);
        // When the gate stops, its log, its audit log and what it printed are searched for all of these.
        for secret in &secrets {
            provider.gate.keep_secret(secret);
        }
        nowhere("the metrics", &metrics(provider), &secrets);
    });
}

fn metrics(provider: &Provider) -> String {
    let address = provider.gate.ready.metrics.expect("a port for metrics");
    let reply = Wire::plain_to(address).exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(reply.status, 200);
    reply.text()
}

#[test]
fn guessing_codes_and_refresh_tokens_is_throttled() {
    const FIVE: &str = "[rate]\nfailed_authentications = \"5/1m\"\nfailed_authentications_burst = 5";
    let provider = Provider::configured(&[PROXIED, FIVE].concat());
    let (app, public) = (provider.confidential("crm", "read"), provider.public("mobile", "read"));
    let mut wire = Wire::tls(&provider.gate);
    let code = Person::new(&provider).allow(&app, "read");
    let tokens = provider.tokens(&app, "read");
    // Each kind of guess from an address of its own; what is right is not looked at there any more, and is taken elsewhere.
    let code_form = |code: &str| {
        vec![("grant_type", "authorization_code".to_owned()), ("code", code.to_owned()), ("redirect_uri", CALLBACK.to_owned())]
    };
    let refresh_form = |token: &str| vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", token.to_owned())];
    let mut post = |address: &str, app: &App, form: &[(&'static str, String)]| {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        post_from(&mut wire, TOKEN, address, &shown(app, &form))
    };
    for (number, (app, of, right)) in [
        (&app, &code_form as &dyn Fn(&str) -> Vec<(&'static str, String)>, Some(code.as_str())),
        (&public, &code_form, None),
        (&public, &refresh_form, None),
    ]
    .into_iter()
    .enumerate()
    {
        let (here, elsewhere) = (format!("192.0.2.{number}"), format!("198.51.100.{number}"));
        for guess in 0..5 {
            refused(&post(&here, app, &of(&format!("guess-{guess}"))), 400, "invalid_grant");
        }
        assert!(throttled(&post(&here, app, &of("guess-6"))));
        if let Some(right) = right {
            assert!(throttled(&post(&here, app, &of(right))));
            given(&provider, &post(&elsewhere, app, &of(right)));
        }
    }
    // Refresh tokens that are forgotten by now are no guesses of a client that proves who it is: they come from one address for all its users.
    for old in 0..9 {
        refused(&post("192.0.2.9", &app, &refresh_form(&format!("old-{old}"))), 400, "invalid_grant");
    }
    given(&provider, &post("192.0.2.9", &app, &refresh_form(text(&tokens, "refresh_token"))));
    // Access tokens, where they are shown.
    let mut show = |address: &str, target: &str, token: &str| {
        wire.exchange(format!(
            "GET {target} HTTP/1.1\r\nHost: {SITE}\r\nX-Forwarded-For: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .status
    };
    for (number, target) in ["/api/resource/Item", "/oauth/userinfo"].iter().enumerate() {
        let here = format!("203.0.113.{number}");
        for _ in 0..5 {
            assert_eq!(show(&here, target, &provider.gate.unknown_token()), 401);
        }
        assert_eq!(show(&here, target, &provider.gate.unknown_token()), 429);
        assert_eq!(show("203.0.113.9", target, text(&tokens, "access_token")), 200);
    }

    // Who may introspect may ask about what is no token, so it is counted with all requests of the address.
    let provider = Provider::configured(&[PROXIED, "[rate]\naddress = \"8/1m\"\naddress_burst = 8"].concat());
    let resource = server(&provider, "resource");
    let mut wire = Wire::tls(&provider.gate);
    for _ in 0..8 {
        let reply = post_from(&mut wire, INTROSPECT, "192.0.2.1", &shown(&resource, &[("token", &provider.gate.unknown_token())]));
        assert_eq!(reply.json(), json!({"active": false}));
    }
    assert!(throttled(&post_from(&mut wire, INTROSPECT, "192.0.2.1", &shown(&resource, &[("token", "x")]))));
    assert!(throttled(&post_from(&mut wire, TOKEN, "192.0.2.1", &shown(&resource, &[]))));
    refused(&post_from(&mut wire, INTROSPECT, "192.0.2.2", &[("token", "x")]), 401, "invalid_client");
}
