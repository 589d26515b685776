use crate::oauth::client::Client;
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::policy::time::Timestamp;

use super::*;

const CALLBACK: &str = "https://app.example.com/cb";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).expect("scopes")
}

fn confidential() -> Client {
    Client {
        secret: Some(crate::policy::token::TokenHash::of(b"secret")),
        redirect_uris: vec![CALLBACK.to_owned()],
        grant_types: vec![GrantType::AuthorizationCode],
        ..Client::new("crm", "An app", scopes("read write openid"), Timestamp::from_unix(1))
    }
}

fn public() -> Client {
    Client { secret: None, ..confidential() }
}

fn ask(query: &str, client: Option<&Client>, pkce_for_all: bool) -> Result<AuthorizationRequest, Refusal> {
    let pairs = Pairs::parse(query.as_bytes(), Reason::QueryInvalid).expect("a query");
    let meanings = Meanings::from([("crm".into(), scopes("read:lead"))]);
    read(&Parameters::new(&pairs), client, Rules { pkce_for_all, meanings: &meanings, resource: "https://erp.example.com" })
}

/// The request of Frappe's guide.
fn guide() -> String {
    format!("response_type=code&client_id=crm&redirect_uri={CALLBACK}&scope=read+write&state=xyz")
}

#[test]
fn the_request_of_frappes_guide_is_read() {
    let expected = AuthorizationRequest {
        redirect: Redirect { uri: CALLBACK.to_owned(), state: Some("xyz".to_owned()) },
        redirect_uri_sent: Some(CALLBACK.to_owned()),
        scopes: scopes("read write"),
        challenge: None,
        nonce: None,
        prompt: Prompt::default(),
        max_age: None,
    };
    assert_eq!(ask(&guide(), Some(&confidential()), false), Ok(expected));
}

#[test]
fn everything_that_may_be_said_is_read() {
    let query = format!(
        "{}&code_challenge={CHALLENGE}&code_challenge_method=S256&nonce=n-1&prompt=login+consent&max_age=60&response_mode=query\
         &resource=https://erp.example.com&resource=https://erp.example.com/api/&display=page&ui_locales=de",
        guide()
    );
    let request = ask(&query, Some(&public()), true).expect("a request");
    assert_eq!(request.challenge.as_deref(), Some(CHALLENGE));
    assert_eq!((request.nonce.as_deref(), request.max_age), (Some("n-1"), Some(60)));
    assert_eq!(request.prompt, Prompt { none: false, login: true, consent: true });
}

#[test]
fn what_is_left_out_has_its_default() {
    // RFC 6749 section 3.1.2.3: the only redirect URI; section 3.3 and T553: all scopes that the client may have.
    let request = ask("response_type=code&client_id=crm", Some(&confidential()), false).expect("a request");
    assert_eq!(request.redirect, Redirect { uri: CALLBACK.to_owned(), state: None });
    assert_eq!((request.redirect_uri_sent, request.scopes.as_str()), (None, "read write openid"));
    let client = Client { default_scopes: Some(scopes("read")), ..confidential() };
    assert_eq!(ask("response_type=code", Some(&client), false).expect("a request").scopes.as_str(), "read");
    // Section 3.1: a parameter without a value is as if it were not there.
    assert_eq!(
        ask("response_type=code&scope=&redirect_uri=&prompt=&state=", Some(&client), false).expect("a request").redirect.state,
        None
    );
}

#[test]
fn nothing_is_sent_where_client_and_redirect_do_not_belong_together() {
    let two = Client { redirect_uris: vec![CALLBACK.to_owned(), "https://app.example.com/2".to_owned()], ..confidential() };
    let rows = [
        ("T16, no such client", guide(), None, Problem::ClientUnknown),
        ("disabled", guide(), Some(Client { enabled: false, ..confidential() }), Problem::ClientUnknown),
        ("without redirects", guide(), Some(Client { redirect_uris: Vec::new(), ..confidential() }), Problem::ClientWithoutRedirect),
        ("T17, another URI", guide().replace("/cb", "/cb2"), Some(confidential()), Problem::RedirectMismatch),
        ("a longer one", guide().replace("/cb", "/cb/x"), Some(confidential()), Problem::RedirectMismatch),
        ("another host", guide().replace("app.example", "app.evil.example"), Some(confidential()), Problem::RedirectMismatch),
        ("a script", guide().replace(CALLBACK, "javascript:x"), Some(confidential()), Problem::RedirectMismatch),
        ("T19, none of two", "response_type=code".to_owned(), Some(two), Problem::RedirectMissing),
        ("twice", format!("{}&redirect_uri={CALLBACK}", guide()), Some(confidential()), Problem::RedirectMissing),
        ("too long", guide().replace("/cb", &"a".repeat(9000)), Some(confidential()), Problem::RedirectMissing),
        // Whatever else is wrong with it.
        (
            "all wrong",
            "response_type=token&request=x&redirect_uri=https://evil.example/".to_owned(),
            Some(confidential()),
            Problem::RedirectMismatch,
        ),
    ];
    for (why, query, client, problem) in rows {
        assert_eq!(ask(&query, client.as_ref(), false), Err(Refusal::Page(problem)), "{why}");
    }
    for (query, named) in [("client_id=crm", Some("crm")), ("", None), ("client_id=", None), ("client_id=crm&client_id=crm", None)] {
        let pairs = Pairs::parse(query.as_bytes(), Reason::QueryInvalid).expect("a query");
        assert_eq!(client_id(&Parameters::new(&pairs)).ok(), named, "{query}");
    }
}

#[test]
fn every_other_no_goes_back_to_the_client() {
    use ErrorCode::{InvalidRequest, InvalidScope, InvalidTarget, RequestNotSupported, RequestUriNotSupported, UnauthorizedClient};
    let with = |more: &str| format!("{}&{more}", guide());
    let without_type = guide().replace("response_type=code&", "");
    let asking = |scope: &str| guide().replace("read+write", scope);
    let pkce = |more: &str| with(&format!("code_challenge={CHALLENGE}{more}"));
    let rows = [
        ("no response_type", without_type.clone(), InvalidRequest),
        ("T18, token", with("x=y").replace("=code&", "=token&"), ErrorCode::UnsupportedResponseType),
        ("code and id_token", guide().replace("=code&", "=code+id_token&"), ErrorCode::UnsupportedResponseType),
        ("two of them", with("response_type=code"), InvalidRequest),
        ("a fragment", with("response_mode=fragment"), InvalidRequest),
        ("a form", with("response_mode=form_post"), InvalidRequest),
        ("a request object", with("request=eyJ"), RequestNotSupported),
        ("a request elsewhere", with("request_uri=https://evil.example"), RequestUriNotSupported),
        ("T325, plain by default", pkce(""), InvalidRequest),
        ("plain", pkce("&code_challenge_method=plain"), InvalidRequest),
        ("another method", pkce("&code_challenge_method=s256"), InvalidRequest),
        ("a method alone", with("code_challenge_method=S256"), InvalidRequest),
        ("a short challenge", with("code_challenge=abc&code_challenge_method=S256"), InvalidRequest),
        ("two challenges", pkce(&format!("&code_challenge_method=S256&code_challenge={CHALLENGE}")), InvalidRequest),
        ("T14, a scope beyond the client's", asking("delete"), InvalidScope),
        ("all", asking("all"), InvalidScope),
        ("no scope", asking("read:"), InvalidScope),
        ("spaces alone", asking("+"), InvalidScope),
        ("a word that nobody explains", asking("nonsense"), InvalidScope),
        ("two scopes", with("scope=read"), InvalidRequest),
        ("two states", with("state=abc"), InvalidRequest),
        ("a long nonce", with(&format!("nonce={}", "a".repeat(OPAQUE_BYTES_MAX + 1))), InvalidRequest),
        ("none and login", with("prompt=none+login"), InvalidRequest),
        ("another prompt", with("prompt=create"), InvalidRequest),
        ("a word for a time", with("max_age=soon"), InvalidRequest),
        ("a time before time", with("max_age=-1"), InvalidRequest),
        ("another resource", with("resource=https://evil.example"), InvalidTarget),
        ("one of two", with("resource=https://erp.example.com&resource=https://evil.example"), InvalidTarget),
    ];
    for (why, query, code) in rows {
        match ask(&query, Some(&confidential()), false) {
            Err(Refusal::Redirect(redirect, error)) => {
                assert_eq!((redirect.uri.as_str(), error.code), (CALLBACK, code), "{why}");
                assert_eq!(redirect.state.as_deref(), Some("xyz").filter(|_| why != "two states"), "{why}");
                assert!(error.description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{why}");
            }
            other => panic!("{why}: {other:?}"),
        }
    }
    let refused = |query: &str, client: &Client, all| match ask(query, Some(client), all) {
        Err(Refusal::Redirect(_, error)) => error.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&guide(), &public(), false), InvalidRequest, "a public client without PKCE");
    assert_eq!(refused(&guide(), &confidential(), true), InvalidRequest, "PKCE for all");
    assert_eq!(refused(&guide(), &Client { grant_types: Vec::new(), ..confidential() }, false), UnauthorizedClient);
    let long_state = guide().replace("xyz", &"s".repeat(OPAQUE_BYTES_MAX + 1));
    assert_eq!(refused(&long_state, &confidential(), false), InvalidRequest, "a long state");
}

#[test]
fn a_resource_is_this_site_or_below_it() {
    let long = format!("https://erp.example.com/{}", "a".repeat(RESOURCE_BYTES_MAX));
    for (asked, ours) in [
        ("https://erp.example.com", true),
        ("https://erp.example.com/", true),
        ("https://erp.example.com/api/resource", true),
        ("https://erp.example.com.evil.example", false),
        ("https://erp.example.com@evil.example", false),
        ("https://erp.example.com:8443", false),
        ("https://erp.example.com?x", false),
        ("https://erp.example.com/#x", false),
        ("http://erp.example.com", false),
        ("HTTPS://erp.example.com", false),
        ("erp.example.com", false),
        ("", false),
        (&long, false),
    ] {
        assert_eq!(check_resource(asked, "https://erp.example.com").is_ok(), ours, "{asked}");
    }
}

#[test]
fn prompts_are_read_word_by_word() {
    let rows = [
        (None, Ok(Prompt::default())),
        (Some("none"), Ok(Prompt { none: true, ..Prompt::default() })),
        (Some("login"), Ok(Prompt { login: true, ..Prompt::default() })),
        (Some("select_account"), Ok(Prompt { login: true, ..Prompt::default() })),
        (Some(" consent  login "), Ok(Prompt { consent: true, login: true, none: false })),
        (Some("none consent"), Err(())),
        (Some("None"), Err(())),
        (Some("login,consent"), Err(())),
    ];
    for (text, expected) in rows {
        assert_eq!(prompt(text).map_err(drop), expected, "{text:?}");
    }
}
