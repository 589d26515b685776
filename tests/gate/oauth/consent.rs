//! Consent: asked for, given by the user alone, remembered where that is safe, and taken back.

use serde_json::json;

use crate::support::eventually;
use crate::support::provider::{App, CALLBACK, FRAPPE, ISSUER, Page, Person, Provider, authorize, error, parameter, reason, told, told_at};
use crate::support::setup::SITE;

fn asks(page: &Page) -> bool {
    page.reply.status == 200 && page.reply.header("location").is_none() && page.reply.text().contains("action=\"/oauth/consent\"")
}

fn code_in(page: &Page) -> Option<String> {
    parameter(page.reply.header("location")?, "code")
}

fn consent_url() -> String {
    format!("{ISSUER}/oauth/consent")
}

fn grants_to(provider: &Provider, app: &App) -> usize {
    let listed = provider.gate.cli_json(&["grant", "list", "--client", &app.id, "--site", SITE, "--json"]);
    let live =
        |grants: &Vec<serde_json::Value>| grants.iter().filter(|grant| grant.get("ended").is_none_or(|ended| ended.is_null())).count();
    listed["grants"].as_array().map(live).expect("a list")
}

#[test]
fn no_code_is_issued_without_consent() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let target = authorize(&app, "read", &[]);
    let query = target.split_once('?').expect("a query").1;
    let mut person = Person::new(&provider);
    let page = person.begin(&target);
    assert!(asks(&page) && page.reply.text().contains("Sales Dashboard"));
    // Nobody comes past the question: not by Frappe's second step, not by saying yes beforehand, not by a wrong word.
    let yes = "&decision=allow&approval=1&skip_consent=1&authorized=1";
    for path in ["/oauth/authorize".to_owned(), format!("{FRAPPE}authorize"), format!("{FRAPPE}approve")] {
        assert!(asks(&person.open(&format!("{path}?{query}{yes}"))), "{path}");
        let form =
            [("response_type", "code"), ("client_id", "app-1"), ("redirect_uri", CALLBACK), ("scope", "read"), ("decision", "allow")];
        assert!(asks(&person.post(&format!("{ISSUER}{path}"), &form)), "{path}, by a form");
    }
    let ticket = page.field_of("/oauth/consent", "ticket");
    let sign_out = page.field_of("/oauth/signout", "ticket");
    for form in [
        &[("decision", "allow")][..],
        &[("ticket", ""), ("decision", "allow")],
        &[("ticket", "x"), ("decision", "allow")],
        &[("ticket", &ticket[1..]), ("decision", "allow")],
        &[("ticket", &sign_out), ("decision", "allow")],
        &[("ticket", &ticket)],
        &[("ticket", &ticket), ("decision", "")],
        &[("ticket", &ticket), ("decision", "yes")],
        &[("ticket", &ticket), ("decision", "Allow")],
    ] {
        assert_eq!(reason(&person.post(&consent_url(), form).reply), "form_invalid", "{form:?}");
    }
    let twice = [("ticket", ticket.as_str()), ("decision", "allow"), ("decision", "deny")];
    assert_eq!(reason(&person.post(&consent_url(), &twice).reply), "invalid_request");
    let by_link = person.open(&format!("/oauth/consent?ticket={ticket}&decision=allow"));
    assert_eq!((by_link.reply.status, code_in(&by_link)), (405, None));
    assert_eq!(grants_to(&provider, &app), 0);

    // Whom an operator trusts is not asked for; an app cannot trust itself.
    let trusted = provider.app("trusted", "read", &["--redirect-uri", CALLBACK, "--skip-consent"]);
    assert!(code_in(&person.begin(&authorize(&trusted, "read", &[]))).is_some());
    let provider = Provider::with("registration = \"token\"\nregistration_token = \"initial-access-token-0123456789abcdef\"");
    let metadata = json!({"redirect_uris": [CALLBACK], "skip_consent": true, "skip_authorization": 1, "trusted": true});
    let registered = provider.api("POST", "/oauth/register", "initial-access-token-0123456789abcdef", Some(&metadata.to_string())).json();
    let itself = App { id: registered["client_id"].as_str().expect("an id").to_owned(), secret: Some(String::new()) };
    assert!(asks(&Person::new(&provider).begin(&authorize(&itself, "read", &[]))));
}

#[test]
fn consent_cannot_be_given_from_another_site() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let target = authorize(&app, "read", &[]);
    let mut victim = Person::new(&provider);
    let page = victim.begin(&target);
    // It cannot be framed, and its form goes nowhere else.
    assert_eq!(page.reply.header("x-frame-options"), Some("DENY"));
    let policy = page.reply.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");

    let ticket = page.field_of("/oauth/consent", "ticket");
    let form = [("ticket", ticket.as_str()), ("decision", "allow")];
    for headers in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://fake.test\r\n",
        "Origin: https://fake.test.evil.example\r\n",
        "Origin: https://fake.test:8443\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Origin: https://fake.test\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: https://fake.test\r\nOrigin: https://evil.example\r\n",
    ] {
        let page = victim.ask("POST", &consent_url(), headers, Some(&form));
        assert_eq!((page.reply.status, reason(&page.reply).as_str()), (403, "form_foreign"), "{headers}");
    }
    // Somebody else's ticket says nothing here, whoever posts it: it is of another session.
    let mut attacker = Person::new(&provider);
    let page = attacker.open(&target);
    let page = attacker.sign_in_as(page, "sales@example.com", "sales");
    let planted = page.field_of("/oauth/consent", "ticket");
    let back = victim.post(&consent_url(), &[("ticket", &planted), ("decision", "allow")]);
    assert!(back.location().starts_with(&format!("{ISSUER}/oauth/authorize?")) && code_in(&back).is_none(), "{}", back.location());
    // Nor does a ticket count without the session that it was made for.
    let back = Person::new(&provider).post(&consent_url(), &form);
    assert!(back.location().starts_with(&format!("{ISSUER}/oauth/authorize?")) && code_in(&back).is_none(), "{}", back.location());
    assert_eq!(grants_to(&provider, &app), 0);
    let own = "Origin: https://fake.test\r\nSec-Fetch-Site: same-origin\r\n";
    assert!(code_in(&victim.ask("POST", &consent_url(), own, Some(&form))).is_some(), "the page's own form");
}

#[test]
fn a_user_who_denies_sends_access_denied_back() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read");
        let mut person = Person::new(&provider);
        let page = person.begin(&authorize(&app, "read", &[]));
        let told = told(&person.answer(&page, "deny").reply);
        assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), ["error", "error_description", "iss", "state"]);
        assert_eq!((told["error"].as_str(), told["iss"].as_str(), told["state"].as_str()), ("access_denied", ISSUER, "xyz"));
        assert_eq!(grants_to(&provider, &app), 0);
        assert!(asks(&person.begin(&authorize(&app, "read", &[]))), "a no is not remembered");
    });
}

#[test]
fn a_remembered_consent_is_not_asked_for_again() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read write delete");
        let mut person = Person::new(&provider);
        person.allow(&app, "read write");
        for (scope, more, asked, why) in [
            ("read write", &[][..], false, "the same again"),
            ("write", &[], false, "less"),
            ("read:lead", &[], false, "a part of it"),
            ("read write delete", &[], true, "more"),
            ("delete", &[], true, "something else"),
            ("read", &[("prompt", "consent")], true, "the app wants the question"),
            ("read", &[("prompt", "login")], false, "another sign-in is no other consent"),
        ] {
            let page = person.begin(&authorize(&app, scope, more));
            assert_eq!((asks(&page), code_in(&page).is_some()), (asked, !asked), "{why}");
        }
        // What one user allows, another one has not.
        let mut other = Person::new(&provider);
        let page = other.open(&authorize(&app, "read", &[]));
        assert!(asks(&other.sign_in_as(page, "sales@example.com", "sales")));
        assert!(asks(&person.begin(&authorize(&provider.confidential("app-2", "read"), "read", &[]))), "nor to another app");

        // A public app is known by where it is answered, and what listens on the user's own machine may be anything.
        let uris =
            ["--redirect-uri", CALLBACK, "--redirect-uri", "http://127.0.0.1/callback", "--redirect-uri", "com.example.app:/callback"];
        let public = provider.app("public", "read", &[&uris[..], &["--public"]].concat());
        person.allow(&public, "read");
        for (uri, asked) in [(CALLBACK, false), ("http://127.0.0.1:51004/callback", true), ("com.example.app:/callback", true)] {
            let page = person.begin(&authorize(&public, "read", &[("redirect_uri", uri)]));
            assert_eq!(asks(&page), asked, "{uri}");
        }
    });
}

#[test]
fn an_app_that_was_withdrawn_is_asked_for_again_and_its_tokens_end() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read");
        let mut person = Person::new(&provider);
        let tokens = provider.redeem(&app, &person.allow(&app, "read")).json();
        let (access, refresh) = (tokens["access_token"].as_str().expect("a token"), tokens["refresh_token"].as_str().expect("another"));
        provider.gate.keep_secret(access);
        provider.gate.keep_secret(refresh);
        let pending = code_in(&person.begin(&authorize(&app, "read", &[]))).expect("a code");
        assert_eq!(provider.api("GET", "/api/resource/Item", access, None).status, 200);

        let page = person.begin("/oauth/grants");
        assert!(page.reply.text().contains("Sales Dashboard"));
        let ticket = page.field_of("/oauth/grants", "ticket");
        // Not by another site's form, nor by another user.
        let foreign =
            person.ask("POST", &format!("{ISSUER}/oauth/grants"), "Origin: https://evil.example\r\n", Some(&[("ticket", &ticket)]));
        assert_eq!(reason(&foreign.reply), "form_foreign");
        let mut other = Person::new(&provider);
        let listed = other.open("/oauth/grants");
        assert!(!other.sign_in_as(listed, "sales@example.com", "sales").reply.text().contains("Sales Dashboard"));
        other.post(&format!("{ISSUER}/oauth/grants"), &[("ticket", &ticket)]);
        assert_eq!(grants_to(&provider, &app), 1);

        let done = person.post(&format!("{ISSUER}/oauth/grants"), &[("ticket", &ticket)]);
        assert!(person.follow(done).reply.text().contains("can no longer use your account"));
        eventually("the token has ended", || provider.api("GET", "/api/resource/Item", access, None).status == 401);
        let refreshed = provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]);
        assert_eq!(error(&refreshed), (400, "invalid_grant".to_owned()));
        assert_eq!(error(&provider.redeem(&app, &pending)), (400, "invalid_grant".to_owned()), "nor is there another way in");
        assert!(asks(&person.begin(&authorize(&app, "read", &[]))));
        // The question can be answered anew, and what comes of it lives.
        assert_eq!(provider.redeem(&app, &person.allow(&app, "read")).status, 200);
    });
}

#[test]
fn a_user_whom_the_operator_revokes_loses_session_grants_and_tokens() {
    Provider::on_each(|provider| {
        let app = provider.confidential("app-1", "read write");
        let mut person = Person::new(&provider);
        let tokens = provider.redeem(&app, &person.allow(&app, "read")).json();
        let (access, refresh) = (tokens["access_token"].as_str().expect("a token"), tokens["refresh_token"].as_str().expect("another"));
        provider.gate.keep_secret(access);
        provider.gate.keep_secret(refresh);
        let mut other = Person::new(&provider);
        let page = other.open(&authorize(&app, "read", &[]));
        let page = other.sign_in_as(page, "sales@example.com", "sales");
        let theirs = provider.redeem(&app, &code_in(&other.answer(&page, "allow")).expect("a code")).json();
        let theirs = theirs["access_token"].as_str().expect("a token");

        let pending = code_in(&person.begin(&authorize(&app, "read", &[]))).expect("a code");
        let asked = person.begin(&authorize(&app, "read write", &[]));
        assert!(asks(&asked));
        provider.gate.cli_json(&["user", "revoke", "demo@example.com", "--site", SITE, "--json"]);

        let answered = person.answer(&asked, "allow");
        assert!(code_in(&answered).is_none() && answered.location().starts_with(ISSUER), "the page was of a session that has ended");
        assert!(person.open("/oauth/grants").location().starts_with(&provider.frappe.url()), "nobody is signed in");
        assert_eq!(error(&provider.redeem(&app, &pending)), (400, "invalid_grant".to_owned()));
        let refreshed = provider.token(&app, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]);
        assert_eq!(error(&refreshed), (400, "invalid_grant".to_owned()));
        eventually("the token has ended", || provider.api("GET", "/api/resource/Item", access, None).status == 401);
        assert_eq!(provider.api("GET", "/api/resource/Item", theirs, None).status, 200, "others keep theirs");
        // Whoever may still sign in at Frappe is asked anew, and then let in.
        assert!(asks(&person.begin(&authorize(&app, "read", &[]))));
        let again = provider.redeem(&app, &person.allow(&app, "read")).json();
        let again = again["access_token"].as_str().expect("a token");
        assert_eq!(provider.api("GET", "/api/resource/Item", again, None).status, 200);
    });
}

#[test]
fn a_client_that_is_disabled_between_page_and_answer_gets_nothing() {
    let provider = Provider::on_redis();
    let app = provider.confidential("app-1", "read");
    let target = authorize(&app, "read", &[]);
    let switch = |to: &str| provider.gate.cli_json(&["client", to, "app-1", "--site", SITE, "--json"]);
    let mut person = Person::new(&provider);
    let page = person.begin(&target);
    switch("disable");
    for decision in ["allow", "deny"] {
        assert_eq!(reason(&person.answer(&page, decision).reply), "client_unknown", "{decision}");
    }
    assert_eq!(grants_to(&provider, &app), 0);
    // The same while the user signs in.
    switch("enable");
    let mut signing_in = Person::new(&provider);
    let to_frappe = signing_in.open(&target);
    switch("disable");
    assert_eq!(reason(&signing_in.sign_in(to_frappe).reply), "client_unknown");
    // And between the code and its redemption.
    switch("enable");
    let code = code_in(&person.answer(&page, "allow")).expect("a code");
    switch("disable");
    assert_eq!(error(&provider.redeem(&app, &code)), (401, "invalid_client".to_owned()));
    switch("enable");
    assert_eq!(provider.redeem(&app, &code).status, 200);
    // One that has lost the redirect URI or the scope is sent nowhere, or only back.
    let page = person.begin(&authorize(&app, "read", &[("prompt", "consent")]));
    provider.gate.cli_json(&["client", "update", "app-1", "--scopes", "write", "--site", SITE, "--json"]);
    assert_eq!(told(&person.answer(&page, "allow").reply)["error"], "invalid_scope");
    provider.gate.cli_json(&["client", "update", "app-1", "--redirect-uri", "https://app.example/new", "--site", SITE, "--json"]);
    assert_eq!(reason(&person.answer(&page, "allow").reply), "redirect_mismatch");
    let moved = person.open(&authorize(&app, "read", &[("redirect_uri", "https://app.example/new")]));
    assert_eq!(told_at("https://app.example/new", &moved.reply)["error"], "invalid_scope");
}
