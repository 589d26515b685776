//! Parameters: which count, what is made of those that are empty, unknown, repeated or hostile, and what errors say about them.

use serde_json::Value;

use crate::support::gate::cli;
use crate::support::provider::{App, CALLBACK, Person, Provider, VERIFIER, authorize, encoded, error, parameter, reason, told};
use crate::support::setup::SITE;
use crate::support::wire::Reply;

/// Posts `body` as a form, whatever bytes it has.
fn post_bytes(provider: &Provider, target: &str, body: &[u8]) -> Reply {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let mut wire = crate::support::wire::Wire::tls(&provider.gate);
    wire.exchange([head.as_bytes(), body].concat())
}

/// What stands in an OAuth error, wherever it stands.
fn is_well_written(code: &str, description: &str) -> bool {
    let visible = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !code.is_empty() && code.bytes().chain(description.bytes()).all(visible)
}

/// An app that may do everything, and whose users are not asked.
fn own_app(provider: &Provider) -> App {
    let more = ["--redirect-uri", CALLBACK, "--skip-consent"];
    let types = ["--grant-type", "authorization_code", "--grant-type", "refresh_token", "--grant-type", "client_credentials"];
    provider.app("app-1", "read write", &[&more[..], &types].concat())
}

/// A new code of that app.
fn code_of(person: &mut Person<'_>, target: &str) -> String {
    let page = person.begin(target);
    parameter(page.location(), "code").unwrap_or_else(|| panic!("no code in {}", page.location()))
}

const HOSTILE: [&str; 14] = [
    "cAnArY\"><script>alert(1)</script>",
    "cAnArY' onmouseover='alert(1)",
    "cAnArY\r\nSet-Cookie: evil=1\r\n\r\n<html>",
    "cAnArY\nlevel=ERROR forged=1",
    "cAnArY\u{1b}[31m\u{7}",
    "cAnArY\u{202e}\u{2028}\u{feff}",
    "cAnArY{{7*7}}${7*7}<%= 7*7 %>",
    "cAnArY\\\"},{\"x\":\"",
    "cAnArY'; DROP TABLE grants; --",
    "cAnArY\r\nsg:fake.test:client:x",
    "cAnArY/../../../etc/passwd",
    "cAnArY&code=stolen&iss=https://evil.example",
    "cAnArY#fragment",
    "cAnArY%0d%0aLocation:%20https://evil.example",
];

#[test]
fn an_empty_parameter_is_as_good_as_none() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let with = |empty: &str| format!("{}&{empty}=", authorize(&app, "", &[("scope", ""), ("redirect_uri", ""), ("state", "")]));
    for name in [
        "scope",
        "state",
        "redirect_uri",
        "nonce",
        "prompt",
        "max_age",
        "response_mode",
        "code_challenge",
        "code_challenge_method",
        "resource",
        "request",
        "request_uri",
    ] {
        assert!(provider.get(&with(name)).header("location").is_some_and(|to| to.contains("frappe.integrations")), "{name}");
    }
    let mut person = Person::new(&provider);
    let back = person.begin(&with("state"));
    assert_eq!(told(&back.reply).keys().collect::<Vec<_>>(), ["code", "iss"], "no state comes back");
    let nobody = provider.get("/oauth/authorize?response_type=code&client_id=&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback");
    assert_eq!(reason(&nobody), "client_missing");
    let no_type = authorize(&app, "read", &[("response_type", "")]);
    assert_eq!(told(&provider.get(&format!("{no_type}&response_type=")))["error"], "invalid_request");

    let code = parameter(back.location(), "code").expect("a code");
    let whole = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", ""), ("code_verifier", ""), ("scope", "")];
    let reply = provider.token(&app, &whole);
    assert_eq!((reply.status, &reply.json()["scope"]), (200, &Value::from("read write")), "{}", reply.text());
    let own = provider.token(&app, &[("grant_type", "client_credentials"), ("scope", "")]);
    assert_eq!((own.status, &own.json()["scope"]), (200, &Value::from("read write")));
    for form in [&[("grant_type", "")][..], &[("grant_type", "authorization_code"), ("code", "")]] {
        assert_eq!(error(&provider.token(&app, form)), (400, "invalid_request".to_owned()), "{form:?}");
    }
    assert_eq!(error(&provider.post("/oauth/token", &[("grant_type", "client_credentials"), ("client_id", "")])).1, "invalid_client");
}

#[test]
fn unknown_parameters_are_ignored() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let more =
        [("audience", "x"), ("ui_locales", "de fr"), ("display", "popup"), ("x", "1"), ("x", "2"), ("Scope", "delete"), ("iss", "x")];
    let mut person = Person::new(&provider);
    let target = format!("{}&{}", authorize(&app, "read", &[]), encoded(&more));
    let back = person.begin(&target);
    let told = told(&back.reply);
    assert_eq!((told["state"].as_str(), told.len()), ("xyz", 3), "{told:?}");
    let usual = [("grant_type", "authorization_code"), ("code", told["code"].as_str()), ("redirect_uri", CALLBACK)];
    let reply = provider.token(&app, &[&usual[..], &more].concat());
    assert_eq!((reply.status, &reply.json()["scope"]), (200, &Value::from("read")), "{}", reply.text());
    let tokens = reply.json();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().expect("a refresh token"))];
    assert_eq!(provider.token(&app, &[&refresh[..], &more].concat()).status, 200);
}

#[test]
fn a_repeated_parameter_is_refused() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    for (name, value) in [
        ("response_type", "code"),
        ("scope", "read"),
        ("nonce", "n"),
        ("prompt", "login"),
        ("max_age", "60"),
        ("response_mode", "query"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
        ("request", "x"),
        ("request_uri", "x"),
    ] {
        for second in [value, "another", ""] {
            let twice = format!("{}&{}", authorize(&app, "read", &[(name, value)]), encoded(&[(name, second)]));
            let told = told(&provider.get(&twice));
            assert_eq!((told["error"].as_str(), told["state"].as_str()), ("invalid_request", "xyz"), "{name} {second}");
        }
    }
    let back = told(&provider.get(&format!("{}&state=other", authorize(&app, "read", &[]))));
    assert_eq!((back["error"].as_str(), back.get("state")), ("invalid_request", None), "nobody knows which");
    for (more, problem) in
        [("client_id=app-1", "client_missing"), ("redirect_uri=https%3A%2F%2Fapp.example%2Fcallback", "redirect_missing")]
    {
        assert_eq!(reason(&provider.get(&format!("{}&{more}", authorize(&app, "read", &[])))), problem);
    }
    let resources = "resource=https%3A%2F%2Ffake.test&resource=https%3A%2F%2Ffake.test%2Fapi";
    assert_eq!(provider.get(&format!("{}&{resources}", authorize(&app, "read", &[]))).status, 303, "only resource may be");

    let secret = app.secret.as_deref().expect("a secret");
    let named = [("client_id", "app-1"), ("client_secret", secret)];
    for (path, form) in [
        ("token", &[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)][..]),
        ("token", &[("grant_type", "refresh_token"), ("refresh_token", "x"), ("scope", "read")]),
        ("token", &[("grant_type", "client_credentials"), ("scope", "read")]),
        ("revoke", &[("token", "x"), ("token_type_hint", "access_token")]),
        ("introspect", &[("token", "x"), ("token_type_hint", "access_token")]),
    ] {
        let whole = [&named[..], form].concat();
        for twice in &whole {
            let reply = provider.post(&format!("/oauth/{path}"), &[&whole[..], &[*twice]].concat());
            assert_eq!(error(&reply), (400, "invalid_request".to_owned()), "{path} {}", twice.0);
        }
    }
}

#[test]
fn a_form_that_is_not_utf_8_is_invalid_request() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let usual = encoded(&[("client_id", "app-1"), ("client_secret", app.secret.as_deref().expect("a secret")), ("token", "x")]);
    for path in ["token", "revoke", "introspect"] {
        for odd in [&b"scope=%ff"[..], b"scope=\xff", b"sc\xe9pe=1", b"%c3=1", b"scope=%c0%80", b"scope=%ed%a0%80", b"x=%00", b"x%00=1"] {
            let body = [format!("grant_type=client_credentials&{usual}&").as_bytes(), odd].concat();
            let reply = post_bytes(&provider, &format!("/oauth/{path}"), &body);
            assert_eq!(error(&reply), (400, "invalid_request".to_owned()), "{path} {}", odd.escape_ascii());
        }
    }
    for odd in ["state=%ff", "x=%c3", "%ff=1", "state=%00"] {
        assert_eq!(reason(&provider.get(&format!("{}&{odd}", authorize(&app, "read", &[("state", "")])))), "invalid_request", "{odd}");
    }
    // Beyond ASCII and yet UTF-8, it is a value like others.
    assert_eq!(provider.get(&authorize(&app, "read", &[("state", "d\u{e9}j\u{e0}")])).status, 303);
}

#[test]
fn hostile_parameters_break_out_of_no_page_header_or_log() {
    let provider = Provider::on_redis();
    provider.gate.keep_secret("cAnArY");
    let app = own_app(&provider);
    let clean = |reply: &Reply, what: &str| {
        assert!(!reply.text().contains("cAnArY"), "{what}: {}", reply.text());
        for (name, value) in &reply.headers {
            let known = name.eq_ignore_ascii_case("location") || !value.contains("cAnArY");
            assert!(
                known && !value.contains("evil=1") && value.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{what}: {name}: {value}"
            );
        }
    };
    let mut person = Person::new(&provider);
    person.begin(&authorize(&app, "read", &[]));
    for hostile in HOSTILE {
        for name in ["client_id", "redirect_uri", "response_type", "scope", "nonce", "prompt", "max_age", "code_challenge", "resource", "x"]
        {
            let reply = provider.get(&authorize(&app, "read", &[(name, hostile)]));
            clean(&reply, &format!("{name} {hostile:?}"));
            assert!(!reply.header("location").is_some_and(|to| to.contains("cAnArY")), "{name} {hostile:?}");
        }
        // What the app may have back, and only as one value.
        let back = person.open(&authorize(&app, "read", &[("state", hostile)]));
        clean(&back.reply, &format!("state {hostile:?}"));
        assert_eq!(told(&back.reply)["state"], hostile);
        let denied = person.open(&authorize(&app, "delete", &[("state", hostile)]));
        assert_eq!((told(&denied.reply)["error"].as_str(), told(&denied.reply)["state"].as_str()), ("invalid_scope", hostile));
        let link = encoded(&[("state", hostile), ("code", hostile), ("error", hostile), ("error_description", hostile)]);
        clean(&person.open(&format!("/oauth/callback?{link}")).reply, "callback");
        for path in ["consent", "grants", "signout"] {
            let page = person.post(&format!("https://{SITE}/oauth/{path}"), &[("ticket", hostile), ("decision", hostile)]);
            clean(&page.reply, path);
        }
        for name in ["grant_type", "code", "redirect_uri", "code_verifier", "scope", "client_id", "client_secret", "token", "refresh_token"]
        {
            for path in ["token", "revoke", "introspect"] {
                clean(&provider.post(&format!("/oauth/{path}"), &[(name, hostile)]), name);
            }
            clean(&provider.token(&app, &[("grant_type", "authorization_code"), (name, hostile)]), name);
        }
    }
    // A name that is registered is shown, as text.
    let odd = "<b>\"Shop\" & 'Co'</b>";
    let name = ["client", "update", &app.id, "--name", odd, "--ask-consent", "--site", SITE, "--json"];
    assert!(cli(&provider.gate.config, &name).status.success());
    let page = Person::new(&provider).begin(&authorize(&app, "read", &[("prompt", "consent")])).reply.text();
    assert!(page.contains("Shop") && !page.contains("<b>\"Shop") && !page.contains("'Co'</b>"), "{page}");
    // What it wrote to its logs is searched for the canary when it ends.
    let ended = provider.gate.stop();
    assert!(!ended.log.contains("forged=1") && !ended.log.contains('\u{7}'));
}

#[test]
fn error_texts_stay_within_their_alphabet() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let mut codes = std::collections::BTreeSet::new();
    for hostile in HOSTILE.into_iter().chain(["\"\\", "\u{e9}", "\t", "x"]) {
        for name in [
            "response_type",
            "response_mode",
            "scope",
            "prompt",
            "max_age",
            "code_challenge",
            "code_challenge_method",
            "resource",
            "request",
        ] {
            let reply = provider.get(&authorize(&app, "read", &[(name, hostile)]));
            let told = told(&reply);
            assert!(is_well_written(&told["error"], &told["error_description"]), "{name} {hostile:?}: {told:?}");
            codes.insert(told["error"].clone());
        }
        for name in
            ["grant_type", "code", "redirect_uri", "code_verifier", "scope", "refresh_token", "client_assertion", "resource", "client_id"]
        {
            for grant in ["authorization_code", "refresh_token", "client_credentials"] {
                let mut form = vec![("grant_type", grant), ("code", "x"), ("refresh_token", "x"), ("resource", "x")];
                form.retain(|(other, _)| *other != name);
                let reply = provider.token(&app, &[&form[..], &[(name, hostile)]].concat());
                let told = reply.json();
                let (code, description) =
                    (told["error"].as_str().expect("an error"), told["error_description"].as_str().expect("a sentence"));
                assert!(is_well_written(code, description), "{name} {hostile:?}: {told}");
                assert!(reply.header("www-authenticate").is_none_or(|challenge| challenge.is_ascii()), "{name} {hostile:?}");
                codes.insert(code.to_owned());
            }
        }
    }
    let some =
        ["invalid_client", "invalid_request", "invalid_scope", "invalid_target", "unsupported_grant_type", "unsupported_response_type"];
    assert!(some.iter().all(|code| codes.contains(*code)), "{codes:?}");
}

#[test]
fn a_scope_has_the_grammar_of_rfc_6749() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    for scope in [
        "re\"ad",
        "\"read\"",
        "re\\ad",
        "read\u{7f}",
        "read\u{0}x",
        "r\u{e9}ad",
        "read\u{a0}write",
        "read,write",
        "read\u{1b}",
        "Read",
        "read:",
        ":read",
        "read:Sales Order",
        "read;write",
    ] {
        let asked = authorize(&app, scope, &[]);
        if scope.contains('\0') {
            assert_eq!(reason(&provider.get(&asked)), "invalid_request");
            continue;
        }
        assert_eq!(told(&provider.get(&asked))["error"], "invalid_scope", "{scope:?}");
        let own = provider.token(&app, &[("grant_type", "client_credentials"), ("scope", scope)]);
        assert_eq!(error(&own), (400, "invalid_scope".to_owned()), "{scope:?}");
    }
    // What is granted is written in one way only: each once, a space between two.
    let mut person = Person::new(&provider);
    for (asked, granted) in
        [("read", "read"), ("write read", "write read"), ("read read", "read"), ("read:lead write:lead", "read:lead write:lead")]
    {
        let code = code_of(&mut person, &authorize(&app, asked, &[]));
        let tokens = provider.redeem(&app, &code).json();
        assert_eq!(tokens["scope"], granted, "{asked}");
    }
}
