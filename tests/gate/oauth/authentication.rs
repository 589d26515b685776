//! How apps prove who they are at the endpoints (RFC 6749 section 2.3), and what guessing comes to.

use serde_json::json;

use crate::oauth::endpoints::{self, Form, INTROSPECT, PROXIED, REVOKE, TOKEN, lives, post_from, refused, secret, server, text, throttled};
use crate::support::eventually;
use crate::support::gate::{cli, sha256};
use crate::support::now;
use crate::support::provider::{App, CALLBACK, Person, Provider, VERIFIER, authorize, basic};
use crate::support::setup::SITE;
use crate::support::wire::Wire;

/// A percent sign before everything, which no app needs and every server must read.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn a_confidential_client_must_authenticate() {
    let provider = Provider::on_redis();
    let app = provider.app(
        "crm",
        "read write",
        &[
            "--redirect-uri",
            CALLBACK,
            "--grant-type",
            "authorization_code",
            "--grant-type",
            "refresh_token",
            "--grant-type",
            "client_credentials",
        ],
    );
    let stranger = provider.confidential("shop", "read");
    let tokens = provider.tokens(&app, "read");
    let code = Person::new(&provider).allow(&app, "read");
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let redemption = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
    let rows: [(&str, &[(&str, &str)]); 5] = [
        (TOKEN, &redemption),
        (TOKEN, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]),
        (TOKEN, &[("grant_type", "client_credentials")]),
        (REVOKE, &[("token", refresh)]),
        (INTROSPECT, &[("token", access)]),
    ];
    let credentials: [Form<'_>; 5] = [
        vec![],
        vec![("client_id", "crm")],
        vec![("client_id", "crm"), ("client_secret", "")],
        vec![("client_id", "crm"), ("client_secret", "wrong")],
        vec![("client_id", "crm"), ("client_secret", secret(&stranger))],
    ];
    for (endpoint, form) in rows {
        for shown in &credentials {
            refused(&provider.post(endpoint, &[shown, form].concat()), 401, "invalid_client");
        }
        // An id that nobody has is told apart from a wrong secret by nothing.
        let unknown = provider.post(endpoint, &[&[("client_id", "nobody"), ("client_secret", "wrong")], form].concat());
        let wrong = provider.post(endpoint, &[&credentials[3], form].concat());
        assert_eq!((unknown.status, unknown.body), (wrong.status, wrong.body));
    }
    assert!(lives(&provider, access), "nothing was revoked");
    assert_eq!(provider.redeem(&app, &code).status, 200, "nothing was spent");

    let taken = cli(&provider.gate.config, &["client", "create", "--id", "crm", "--name", "Another", "--scopes", "read"]);
    assert!(!taken.status.success(), "an id is given once");
}

#[test]
fn client_credentials_that_are_sent_are_checked() {
    let provider = Provider::on_redis();
    let (app, public) = (provider.confidential("crm", "read"), provider.public("mobile", "read"));
    let code = Person::new(&provider).allow(&public, "read");
    let redemption =
        [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
    // None is needed here; what is sent all the same is not passed over.
    for wrong in ["wrong", secret(&app)] {
        let form = [&[("client_id", "mobile"), ("client_secret", wrong)], &redemption[..]].concat();
        refused(&provider.post(TOKEN, &form), 401, "invalid_client");
        refused(&provider.post_with(TOKEN, &basic("mobile", wrong), &redemption), 401, "invalid_client");
    }
    for header in
        ["Authorization: Bearer mobile\r\n", "Authorization: Basic !\r\n", "Authorization: Basic\r\n", "Authorization: Digest x\r\n"]
    {
        let form = [&[("client_id", "mobile")], &redemption[..]].concat();
        refused(&provider.post_with(TOKEN, header, &form), 401, "invalid_client");
    }
    assert_eq!(provider.redeem(&public, &code).status, 200, "the code was not spent");
}

#[test]
fn a_secret_is_taken_by_basic_and_by_post() {
    let provider = Provider::on_redis();
    let app = provider.confidential("crm", "read");
    let own = server(&provider, "etl");
    let form = [("grant_type", "client_credentials")];
    let by_post = [("client_id", "etl"), ("client_secret", secret(&own)), form[0]];
    for (endpoint, _) in endpoints::forms().iter().filter(|(_, kind)| *kind == TOKEN) {
        endpoints::given(&provider, &provider.post(endpoint, &by_post));
        endpoints::given(&provider, &provider.post_with(endpoint, &endpoints::header(&own), &form));
        // As some libraries do: the id in the form as well.
        let named = [("client_id", "etl"), form[0]];
        endpoints::given(&provider, &provider.post_with(endpoint, &endpoints::header(&own), &named));
        let lower = endpoints::header(&own).replace("Basic", "bAsIc");
        endpoints::given(&provider, &provider.post_with(endpoint, &lower, &form));
        // One half of the pair is none.
        refused(&provider.post(endpoint, &[("client_secret", secret(&own)), form[0]]), 401, "invalid_client");
        refused(&provider.post(endpoint, &[("client_id", "etl"), form[0]]), 401, "invalid_client");
    }
    for way in [true, false] {
        let code = Person::new(&provider).allow(&app, "read");
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
        let reply = if way { provider.post_with(TOKEN, &endpoints::header(&app), &form) } else { provider.token(&app, &form) };
        let tokens = endpoints::given(&provider, &reply);
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token"))];
        let tokens = endpoints::given(&provider, &provider.post_with(TOKEN, &endpoints::header(&app), &refresh));
        let token = [("token", text(&tokens, "access_token"))];
        assert_eq!(provider.post_with(INTROSPECT, &endpoints::header(&app), &token).json()["active"], true);
        assert_eq!(provider.post_with(REVOKE, &endpoints::header(&app), &token).status, 200);
        assert!(!lives(&provider, token[0].1));
    }
}

#[test]
fn basic_credentials_are_read_form_encoded() {
    let provider = Provider::on_redis();
    let own = server(&provider, "my-etl");
    let form = [("grant_type", "client_credentials")];
    let ask = |id: &str, secret: &str| provider.post_with(TOKEN, &basic(id, secret), &form);
    for (id, secret) in [("my-etl", secret(&own)), (&escaped("my-etl"), secret(&own)), ("my%2Detl", &escaped(secret(&own)))] {
        endpoints::given(&provider, &ask(id, secret));
    }
    // A secret of somebody else's making, in which every letter that matters stands.
    let odd = "p+q %41&a=b:ü";
    provider.gate.keep_secret(odd);
    let key = format!("sg:{SITE}:client:my-etl");
    let mut record = provider.gate.redis().get(&key);
    record["secret"] = json!(sha256(odd));
    provider.gate.redis().put(&key, &record);
    for encoded in ["p%2Bq+%2541%26a%3Db%3A%C3%BC", "p%2bq%20%2541%26a%3db:%c3%bc", &escaped(odd)] {
        endpoints::given(&provider, &ask("my-etl", encoded));
    }
    for wrong in ["p+q+%2541%26a%3Db%3A%C3%BC", "p%2Bq+A%26a%3Db%3A%C3%BC", "p%2Bq+%2541%26a%3Db%3A%FC", "%"] {
        refused(&ask("my-etl", wrong), 401, "invalid_client");
    }
}

#[test]
fn two_ways_of_client_authentication_at_once_are_refused() {
    let provider = Provider::on_redis();
    let (app, stranger) = (server(&provider, "etl"), server(&provider, "other"));
    let header = endpoints::header(&app);
    for (endpoint, _) in endpoints::forms() {
        let form = [("grant_type", "client_credentials"), ("token", "x")];
        // Both are right, and it is refused all the same.
        let twice = [&form[..], &[("client_id", "etl"), ("client_secret", secret(&app))]].concat();
        refused(&provider.post_with(&endpoint, &header, &twice), 400, "invalid_request");
        refused(&provider.post_with(&endpoint, &header, &[&form[..], &[("client_secret", secret(&app))]].concat()), 400, "invalid_request");
        refused(&provider.post_with(&endpoint, &header, &[&form[..], &[("client_id", "other")]].concat()), 400, "invalid_request");
        refused(&provider.post(&endpoint, &[&twice[..], &[("client_secret", "x")]].concat()), 400, "invalid_request");
        let assertion = [("client_assertion", "x"), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
        refused(&provider.post_with(&endpoint, &header, &[&form[..], &assertion].concat()), 401, "invalid_client");
        let headers = [header.clone(), endpoints::header(&stranger)].concat();
        let reply = provider.post_with(&endpoint, &headers, &form);
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
}

#[test]
fn client_credentials_in_a_query_are_refused() {
    let provider = Provider::on_redis();
    let app = server(&provider, "etl");
    for (endpoint, _) in endpoints::forms() {
        let query = format!("{endpoint}?client_id=etl&client_secret={}", secret(&app));
        let form = [("grant_type", "client_credentials"), ("token", "x")];
        refused(&provider.post(&query, &form), 400, "invalid_request");
        let both = [&form[..], &[("client_id", "etl"), ("client_secret", secret(&app))]].concat();
        refused(&provider.post(&query, &both), 400, "invalid_request");
        refused(&provider.post_with(&query, &endpoints::header(&app), &form), 400, "invalid_request");
        refused(&provider.post_with(&format!("{endpoint}?client_secret={}", secret(&app)), "", &both), 400, "invalid_request");
    }
}

#[test]
fn a_failed_basic_authentication_is_401_with_a_basic_challenge() {
    let provider = Provider::on_redis();
    let app = server(&provider, "etl");
    for (endpoint, _) in endpoints::forms() {
        for header in [
            basic("etl", "wrong"),
            basic("nobody", secret(&app)),
            basic("etl", ""),
            basic("", secret(&app)),
            basic("ETL", secret(&app)),
            format!("Authorization: Bearer {}\r\n", secret(&app)),
        ] {
            // `refused` holds every 401 to its challenge.
            refused(
                &provider.post_with(&endpoint, &header, &[("grant_type", "client_credentials"), ("token", "x")]),
                401,
                "invalid_client",
            );
        }
    }
}

#[test]
fn a_public_client_is_not_identified_by_what_it_sends() {
    let provider = Provider::on_redis();
    let (public, app) = (provider.public("mobile", "read"), provider.confidential("crm", "read"));
    let tokens = provider.tokens(&public, "read");
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    // It has no secret, so there is none that proves it to be itself.
    for made_up in ["x", "mobile", secret(&app)] {
        let form = [("client_id", "mobile"), ("client_secret", made_up), ("grant_type", "refresh_token"), ("refresh_token", refresh)];
        refused(&provider.post(TOKEN, &form), 401, "invalid_client");
        refused(
            &provider.post(INTROSPECT, &[("client_id", "mobile"), ("client_secret", made_up), ("token", access)]),
            401,
            "invalid_client",
        );
    }
    // Its name alone opens nothing that is for clients who can prove theirs.
    refused(&provider.post(INTROSPECT, &[("client_id", "mobile"), ("token", access)]), 401, "invalid_client");
    refused(&provider.post(TOKEN, &[("client_id", "mobile"), ("grant_type", "client_credentials")]), 400, "unauthorized_client");
    // And its name and a stolen code are not enough: the verifier is what proves that it is the one that asked.
    let code = Person::new(&provider).allow(&public, "read");
    let stolen = [("client_id", "mobile"), ("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    refused(&provider.post(TOKEN, &stolen), 400, "invalid_grant");
    let other = "a".repeat(43);
    refused(&provider.post(TOKEN, &[&stolen[..], &[("code_verifier", other.as_str())]].concat()), 400, "invalid_grant");
    let without = authorize(&public, "read", &[("code_challenge", ""), ("code_challenge_method", "")]);
    let page = Person::new(&provider).open(&without);
    assert!(page.location().starts_with(CALLBACK) && page.location().contains("error=invalid_request"), "{}", page.location());
}

#[test]
fn a_public_client_names_itself_when_it_redeems_a_code() {
    let provider = Provider::on_redis();
    let (public, other) = (provider.public("mobile", "read"), provider.public("desktop", "read"));
    let code = Person::new(&provider).allow(&public, "read");
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
    refused(&provider.post(TOKEN, &form), 401, "invalid_client");
    refused(&provider.post(TOKEN, &[&form[..], &[("client_id", "")]].concat()), 401, "invalid_client");
    refused(&provider.redeem(&other, &code), 400, "invalid_grant");
    assert_eq!(provider.redeem(&public, &code).status, 200);
}

#[test]
fn a_rotated_secret_overlaps_with_the_one_before() {
    Provider::on_each(|provider| {
        let app = server(&provider, "etl");
        let rotate = |more: &[&str]| {
            let rotated = provider.gate.cli_json(&[&["client", "rotate-secret", "etl", "--json"], more].concat());
            let new = text(&rotated, "client_secret").to_owned();
            provider.gate.keep_secret(&new);
            App { secret: Some(new), ..app.clone() }
        };
        let ask = |app: &App| provider.token(app, &[("grant_type", "client_credentials")]);
        let second = rotate(&["--overlap", "1h"]);
        assert_ne!(secret(&second), secret(&app));
        for app in [&app, &second] {
            endpoints::given(&provider, &ask(app));
        }
        let third = rotate(&["--overlap", "1h"]);
        refused(&ask(&app), 401, "invalid_client");
        for app in [&second, &third] {
            endpoints::given(&provider, &ask(app));
        }
        let fourth = rotate(&[]);
        let issued = endpoints::given(&provider, &ask(&fourth));
        for app in [&app, &second, &third] {
            refused(&ask(app), 401, "invalid_client");
        }
        let state = |app: &App| endpoints::introspect(&provider, app, text(&issued, "access_token"))["active"].clone();
        assert_eq!(state(&fourth), true);
        let fifth = rotate(&["--revoke-tokens"]);
        eventually("its tokens end", || state(&fifth) == false);
    });
}

#[test]
fn an_overlap_ends_on_its_second() {
    let provider = Provider::on_redis();
    let app = server(&provider, "etl");
    let rotated = provider.gate.cli_json(&["client", "rotate-secret", "etl", "--overlap", "1h", "--json"]);
    provider.gate.keep_secret(text(&rotated, "client_secret"));
    let key = format!("sg:{SITE}:client:etl");
    let mut record = provider.gate.redis().get(&key);
    let until = record["previous_secret"]["until"].as_u64().expect("until when");
    assert!((3590..=3600).contains(&(until - now())), "{until}");
    record["previous_secret"]["until"] = json!(now());
    provider.gate.redis().put(&key, &record);
    refused(&provider.token(&app, &[("grant_type", "client_credentials")]), 401, "invalid_client");
}

#[test]
fn guessing_client_secrets_is_throttled_per_client_and_per_address() {
    // Of the address, which is told apart from the proxy's.
    let provider = Provider::configured(&[PROXIED, "[rate]\nfailed_authentications = \"5/1m\"\nfailed_authentications_burst = 5"].concat());
    let app = server(&provider, "etl");
    let mut wire = Wire::tls(&provider.gate);
    let right = endpoints::shown(&app, &[("grant_type", "client_credentials")]);
    let mut wrong =
        |client: &str, address: &str| post_from(&mut wire, TOKEN, address, &[("client_id", client), ("client_secret", "wrong")]);
    for client in ["a", "b", "etl", "c", "d"] {
        refused(&wrong(client, "192.0.2.1"), 401, "invalid_client");
    }
    assert!(throttled(&wrong("e", "192.0.2.1")));
    refused(&wrong("e", "192.0.2.2"), 401, "invalid_client");
    // No guess is looked at any more, and so no right one shows that it was right.
    assert!(throttled(&post_from(&mut wire, TOKEN, "192.0.2.1", &right)));
    endpoints::given(&provider, &post_from(&mut wire, TOKEN, "192.0.2.3", &right));

    // Of the client, wherever the guesses come from.
    let provider = Provider::configured(PROXIED);
    let (app, other) = (server(&provider, "etl"), server(&provider, "other"));
    let mut wire = Wire::tls(&provider.gate);
    let right = endpoints::shown(&app, &[("grant_type", "client_credentials")]);
    // Here it has proved itself before.
    endpoints::given(&provider, &post_from(&mut wire, TOKEN, "192.0.2.1", &right));
    let mut from = (0..).map(|number: u32| format!("198.51.{}.{}", 100 + number / 256, number % 256));
    let mut guess =
        |wire: &mut Wire| post_from(wire, TOKEN, &from.next().expect("addresses"), &[("client_id", "etl"), ("client_secret", "wrong")]);
    for _ in 0..60 {
        refused(&guess(&mut wire), 401, "invalid_client");
    }
    // One a second comes free again, so one that is refused and the right one must be asked within a second.
    eventually("guesses are refused, and the right one with them", || {
        while !throttled(&guess(&mut wire)) {}
        throttled(&post_from(&mut wire, TOKEN, "203.0.113.9", &right))
    });
    endpoints::given(&provider, &post_from(&mut wire, TOKEN, "192.0.2.1", &right));
    endpoints::given(
        &provider,
        &post_from(&mut wire, TOKEN, "203.0.113.9", &endpoints::shown(&other, &[("grant_type", "client_credentials")])),
    );
}
