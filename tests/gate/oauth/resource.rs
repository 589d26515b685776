//! Resource indicators (RFC 8707): a token is for the site that issued it, and for nothing else.

use serde_json::json;

use crate::oauth::endpoints::{INTROSPECT, REVOKE, TOKEN, given, introspect, lives, refreshed, refused, server, shown, text};
use crate::support::provider::{CALLBACK, Frappe, GATE_CLIENT, GATE_SECRET, ISSUER, Person, Provider, authorize, encoded, parameter};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::wire::Reply;
use scopegate::pocket::Pocket;

/// What is no resource of this site.
const FOREIGN: [&str; 14] = [
    "https://other.example",
    "https://fake.test.evil.example",
    "https://fake.test@evil.example/",
    "https://evil.example/https://fake.test",
    "https://fake.test:8443",
    "http://fake.test",
    // Not absolute.
    "fake.test",
    "/api",
    "//fake.test",
    // With a fragment.
    "https://fake.test/#",
    "https://fake.test/api#x",
    // Compared as they stand: nothing is decoded or folded first.
    "HTTPS://FAKE.TEST",
    "https://fake%2Etest",
    "https://f\u{430}ke.test",
];

const OWN: (&str, &str) = ("grant_type", "client_credentials");

/// The error that a browser is sent back to the app with.
fn sent_back(provider: &Provider, target: &str) -> String {
    let page = Person::new(provider).open(target);
    assert!(page.location().starts_with(CALLBACK), "{}", page.location());
    parameter(page.location(), "error").unwrap_or_else(|| panic!("no error in {}", page.location()))
}

#[test]
fn a_resource_that_is_not_this_site_is_invalid_target() {
    let provider = Provider::on_redis();
    let (app, own) = (provider.confidential("crm", "read"), server(&provider, "etl"));
    let tokens = provider.tokens(&app, "read");
    for resource in FOREIGN {
        assert_eq!(sent_back(&provider, &authorize(&app, "read", &[("resource", resource)])), "invalid_target", "{resource}");
        refused(&provider.token(&own, &[OWN, ("resource", resource)]), 400, "invalid_target");
        let form = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")), ("resource", resource)];
        refused(&provider.token(&app, &form), 400, "invalid_target");
    }
    for resource in [ISSUER, "https://fake.test/", "https://fake.test/api/resource/Item"] {
        given(&provider, &provider.token(&own, &[OWN, ("resource", resource)]));
    }
    refreshed(&provider, &app, text(&tokens, "refresh_token"));
}

#[test]
fn a_resource_may_be_named_more_than_once_and_each_is_checked() {
    let provider = Provider::on_redis();
    let (app, own) = (provider.confidential("crm", "read"), server(&provider, "etl"));
    let twice = [("resource", ISSUER), ("resource", "https://fake.test/api")];
    given(&provider, &provider.token(&own, &[&[OWN], &twice[..]].concat()));
    let code = Person::new(&provider).allow_with(&authorize(&app, "read", &twice));
    let redemption = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    for foreign in ["https://other.example", "https://fake.test/#x"] {
        for order in [[ISSUER, foreign], [foreign, ISSUER]] {
            let named = order.map(|resource| ("resource", resource));
            assert_eq!(sent_back(&provider, &authorize(&app, "read", &named)), "invalid_target");
            refused(&provider.token(&own, &[&[OWN], &named[..]].concat()), 400, "invalid_target");
            refused(&provider.token(&app, &[&redemption[..], &named].concat()), 400, "invalid_target");
        }
    }
    given(&provider, &provider.token(&app, &[&redemption[..], &twice].concat()));
}

#[test]
fn an_omitted_resource_is_the_site() {
    let provider = Provider::on_redis();
    let (app, own) = (provider.confidential("crm", "read"), server(&provider, "etl"));
    let tokens = provider.tokens(&app, "read");
    let next = refreshed(&provider, &app, text(&tokens, "refresh_token"));
    let own = (given(&provider, &provider.token(&own, &[OWN])), own);
    for tokens in [&tokens, &next, &own.0] {
        let told = introspect(&provider, &own.1, text(tokens, "access_token"));
        assert_eq!((&told["aud"], &told["active"]), (&json!(ISSUER), &json!(true)));
    }
    // What the site says of itself, so that a client knows what to name.
    let metadata = provider.get("/.well-known/oauth-protected-resource").json();
    assert_eq!(metadata["resource"], ISSUER);
}

#[test]
fn a_token_request_names_no_resource_beyond_its_grant() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    for named in [&[("resource", ISSUER)][..], &[]] {
        let code = Person::new(&provider).allow_with(&authorize(&app, "read", named));
        let redemption = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
        refused(&provider.token(&app, &[&redemption[..], &[("resource", "https://other.example")]].concat()), 400, "invalid_target");
        // It cost nothing, and what was named before holds for what comes after.
        let tokens = given(&provider, &provider.token(&app, &redemption));
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
        refused(&provider.token(&app, &[&refresh[..], &[("resource", "https://other.example")]].concat()), 400, "invalid_target");
        let next = given(&provider, &provider.token(&app, &[&refresh[..], &[("resource", ISSUER)]].concat()));
        assert_eq!(introspect(&provider, &app, text(&next, "access_token"))["aud"], ISSUER);
    }
}

#[test]
fn a_token_of_one_site_is_worthless_at_another() {
    // As near to each other as two sites can be: one gate, one Frappe, and an app that has the same id and secret at both.
    let callbacks = [&format!("{ISSUER}/oauth/callback"), "https://localhost/oauth/callback"];
    let frappe = Frappe::serving(Pocket::sample().with_oauth_client(
        GATE_CLIENT,
        GATE_SECRET,
        &callbacks.map(|uri| uri as &str),
        "all openid",
        true,
    ));
    let setup = Provider::setup(Setup::on(Redis::start(), &frappe.url()), &frappe, "").another_site(&format!(
        "name = \"other\"\nhosts = [\"localhost\"]\nupstreams = [\"{url}\"]\ncredential = \"bearer\"\n[oauth]\nissuer = \"https://localhost\"\n\
         login_url = \"{url}\"\nclient_id = \"{GATE_CLIENT}\"\nclient_secret = \"{GATE_SECRET}\"",
        url = frappe.url()
    ));
    let provider = Provider { gate: setup.start(), frappe };
    let app = provider.confidential("crm", "read openid");
    let redis = provider.gate.redis();
    redis.put("sg:other:client:crm", &redis.get(&format!("sg:{SITE}:client:crm")));
    redis.add("sg:other:clients", "crm");

    let tokens = provider.tokens(&app, "read openid");
    let code = Person::new(&provider).allow(&app, "read");
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let elsewhere = |target: &str, form: &[(&str, &str)]| -> Reply {
        let body = encoded(&shown(&app, form));
        provider.exchange(&format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        ))
    };
    let bearer = |target: &str| {
        provider
            .exchange(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {access}\r\nConnection: close\r\n\r\n"))
    };
    for target in ["/api/resource/Item", "/api/method/frappe.auth.get_logged_user", "/oauth/userinfo"] {
        assert_eq!(bearer(target).status, 401, "{target}");
    }
    for token in [access, refresh] {
        assert_eq!(elsewhere(INTROSPECT, &[("token", token)]).json(), json!({"active": false}));
        // To the other site it is nothing, so nothing is what it ends.
        assert_eq!(elsewhere(REVOKE, &[("token", token)]).status, 200);
    }
    refused_there(&elsewhere(TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]));
    refused_there(&elsewhere(TOKEN, &[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)]));
    let named = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("resource", "https://localhost")];
    refused(&provider.token(&app, &named), 400, "invalid_target");

    assert!(lives(&provider, access), "where it belongs it is good");
    assert_eq!(introspect(&provider, &app, access)["aud"], ISSUER);
    refreshed(&provider, &app, refresh);
    given(&provider, &provider.redeem(&app, &code));
}

/// `invalid_grant`, of the other site.
fn refused_there(reply: &Reply) {
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_grant")), "{}", reply.text());
}
