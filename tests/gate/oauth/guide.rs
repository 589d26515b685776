//! The flow as Frappe's guide to OAuth 2 prints it, at Frappe's own URLs, over HTTPS, on both stores; and its troubleshooting cases.

use serde_json::json;

use crate::support::gate::token_key;
use crate::support::now;
use crate::support::provider::{CALLBACK, FRAPPE, ISSUER, Person, Provider, basic, error, parameter};

const LEAD: &str = r#"{"lead_name":"OAuth Lead","email_id":"oauth@test.com"}"#;

/// The guide's link: no PKCE, `read write`, `state=xyz`.
fn link(id: &str) -> String {
    format!(
        "{FRAPPE}authorize?response_type=code&client_id={id}&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&scope=read%20write&state=xyz"
    )
}

#[test]
fn the_flow_works_as_frappes_guide_prints_it() {
    Provider::on_each(|provider| {
        let app = provider.confidential("guide-app", "read write");
        let secret = app.secret.clone().expect("a secret");
        let get_token = format!("{FRAPPE}get_token");
        let post =
            |form: &[(&str, &str)]| provider.post(&get_token, &[&[("client_id", "guide-app"), ("client_secret", &secret)], form].concat());

        let mut person = Person::new(&provider);
        let consent = person.begin(&link("guide-app"));
        assert!(consent.url.starts_with(ISSUER), "{}", consent.url);
        assert!(consent.reply.text().contains("Sales Dashboard"), "{}", consent.reply.text());
        let back = person.answer(&consent, "allow");
        let location = back.location().to_owned();
        assert!(location.starts_with(CALLBACK), "{location}");
        assert_eq!(parameter(&location, "state").as_deref(), Some("xyz"));
        assert_eq!(parameter(&location, "iss").as_deref(), Some(ISSUER));
        let code = parameter(&location, "code").expect("a code");
        provider.gate.keep_secret(&code);

        let reply = post(&[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let tokens = reply.json();
        assert_eq!(
            (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
            (&json!("Bearer"), &json!(3600), &json!("read write"))
        );
        let token = tokens["access_token"].as_str().expect("an access token").to_owned();
        let refresh = tokens["refresh_token"].as_str().expect("a refresh token").to_owned();
        provider.gate.keep_secret(&token);
        provider.gate.keep_secret(&refresh);

        let items = provider.api("GET", "/api/resource/Item", &token, None);
        assert_eq!(items.status, 200, "{}", items.text());
        let lead = provider.api("POST", "/api/resource/Lead", &token, Some(LEAD));
        assert_eq!((lead.status, &lead.json()["data"]["lead_name"]), (200, &json!("OAuth Lead")), "{}", lead.text());
        let name = lead.json()["data"]["name"].as_str().expect("a name").to_owned();
        // The scope holds, which is what it is all for.
        assert_eq!(provider.api("DELETE", &format!("/api/resource/Lead/{name}"), &token, None).status, 403);

        let reply = post(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let second = reply.json()["access_token"].as_str().expect("an access token").to_owned();
        assert_ne!(second, token);
        provider.gate.keep_secret(&second);
        provider.gate.keep_secret(reply.json()["refresh_token"].as_str().expect("a refresh token"));
        assert_eq!(provider.api("GET", "/api/resource/Item", &second, None).status, 200);

        let revoke = format!("{FRAPPE}revoke_token");
        let reply = provider.post_with(&revoke, &basic("guide-app", &secret), &[("token", &second)]);
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
        assert_eq!(provider.api("GET", "/api/resource/Item", &second, None).status, 401);
    });
}

#[test]
fn the_guides_troubles_are_answered_as_it_says() {
    Provider::on_each(|provider| {
        let app = provider.confidential("guide-app", "read write");
        let secret = app.secret.as_deref().expect("a secret");
        let get_token = format!("{FRAPPE}get_token");
        let form = [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK)];
        for (id, secret) in [("guide-app", "wrong"), ("nobody", secret), ("guide-app", "")] {
            let reply = provider.post(&get_token, &[&[("client_id", id), ("client_secret", secret)], &form[..]].concat());
            assert_eq!(error(&reply), (401, "invalid_client".to_owned()), "{id}: {}", reply.text());
            assert!(reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Basic ")));
        }

        let mut person = Person::new(&provider);
        let elsewhere = link("guide-app").replace("app.example", "evil.example");
        for target in [elsewhere, link("nobody"), link("guide-app").replace("redirect_uri", "redirect")] {
            let page = person.open(&target);
            let shown = page.reply.header("content-type").unwrap_or_default().starts_with("text/html");
            // An app with one redirect URI may leave it out, and is then led to sign in.
            if target.contains("redirect=") {
                assert_eq!(page.reply.status, 303, "{target}");
                continue;
            }
            assert_eq!((page.reply.status, shown, page.reply.header("location")), (400, true, None), "{target}");
            assert!(!page.reply.text().contains("evil.example"));
        }

        let missing = provider.exchange("GET /api/resource/Item HTTP/1.1\r\nHost: fake.test\r\nConnection: close\r\n\r\n");
        assert_eq!(missing.status, 401);
        let unknown = provider.api("GET", "/api/resource/Item", &provider.gate.unknown_token(), None);
        assert_eq!(unknown.status, 401);
        assert!(unknown.header("www-authenticate").is_some_and(|challenge| challenge.contains("error=\"invalid_token\"")));
    });
}

#[test]
fn a_token_ends_after_3600_seconds() {
    let provider = Provider::on_redis();
    let app = provider.confidential("guide-app", "read write");
    let tokens = provider.tokens(&app, "read write");
    let token = tokens["access_token"].as_str().expect("an access token");
    assert_eq!(provider.api("GET", "/api/resource/Item", token, None).status, 200);
    let key = token_key(token);
    let mut record = provider.gate.redis().get(&key);
    let (iat, exp) = (record["iat"].as_u64().expect("iat"), record["exp"].as_u64().expect("exp"));
    assert_eq!(exp - iat, 3600);
    // The hour goes by in the record.
    record["iat"] = json!(now() - 3600);
    record["exp"] = json!(now());
    provider.gate.put_token(token, &record);
    crate::support::eventually("the token has expired", || provider.api("GET", "/api/resource/Item", token, None).status == 401);
}
