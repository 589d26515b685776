use crate::policy::scope::Scopes;
use crate::policy::token::TokenHash;

use super::*;

fn pairs(form: &str) -> Pairs {
    Pairs::parse(form.as_bytes(), Reason::BodyInvalid).expect("a form")
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

#[test]
fn each_grant_is_read_with_what_belongs_to_it() {
    let rows = [
        (
            "grant_type=authorization_code&code=c&redirect_uri=https://a.example/&code_verifier=v&scope=ignored",
            TokenRequest::Code { code: "c", redirect_uri: Some("https://a.example/"), verifier: Some("v") },
        ),
        ("grant_type=authorization_code&code=c", TokenRequest::Code { code: "c", redirect_uri: None, verifier: None }),
        ("grant_type=authorization_code&code=c&redirect_uri=", TokenRequest::Code { code: "c", redirect_uri: None, verifier: None }),
        ("grant_type=refresh_token&refresh_token=r", TokenRequest::Refresh { token: "r", scope: None }),
        ("grant_type=refresh_token&refresh_token=r&scope=a+b", TokenRequest::Refresh { token: "r", scope: Some("a b") }),
        ("grant_type=client_credentials&scope=read", TokenRequest::ClientCredentials { scope: Some("read") }),
        ("grant_type=client_credentials", TokenRequest::ClientCredentials { scope: None }),
    ];
    for (form, expected) in rows {
        assert_eq!(TokenRequest::read(&Parameters::new(&pairs(form))), Ok(expected), "{form}");
    }
}

#[test]
fn no_other_grant_is_known() {
    let rows = [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=authorization_code", "invalid_request"),
        ("grant_type=authorization_code&code=", "invalid_request"),
        ("grant_type=authorization_code&code=a&code=b", "invalid_request"),
        ("grant_type=authorization_code&code=a&code_verifier=b&code_verifier=b", "invalid_request"),
        ("grant_type=refresh_token", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=a&scope=b&scope=c", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=implicit", "unsupported_grant_type"),
        ("grant_type=Authorization_Code&code=a", "unsupported_grant_type"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a", "unsupported_grant_type"),
    ];
    for (form, code) in rows {
        let error = TokenRequest::read(&Parameters::new(&pairs(form))).expect_err(form);
        assert_eq!(error.code.as_str(), code, "{form}");
    }
}

fn shown_by(authorization: Option<&str>, form: &str) -> Result<(String, Option<String>, bool), &'static str> {
    match shown(authorization, &Parameters::new(&pairs(form))) {
        Ok(shown) => Ok((shown.id, shown.secret, shown.basic)),
        Err(error) => Err(error.code.as_str()),
    }
}

fn header(text: &str) -> String {
    format!("Basic {}", BASE64.encode(text.as_bytes()))
}

#[test]
fn a_client_says_who_it_is_in_one_place() {
    let rows = [
        (None, "client_id=crm", ("crm", None, false)),
        (None, "client_id=crm&client_secret=s", ("crm", Some("s"), false)),
        (None, "client_id=crm&client_secret=", ("crm", None, false)),
        (Some(header("crm:s")), "", ("crm", Some("s"), true)),
        (Some(header("crm:s")), "client_id=crm", ("crm", Some("s"), true)),
        (Some(header("crm:")), "", ("crm", None, true)),
        (Some(header("crm:a:b")), "", ("crm", Some("a:b"), true)),
        // RFC 6749 section 2.3.1: each part is encoded like a form.
        (Some(header("https%3A%2F%2Fapp.example:a%20b+c%25")), "", ("https://app.example", Some("a b c%"), true)),
        (Some(header("crm:a&b=c")), "", ("crm", Some("a&b=c"), true)),
        (Some(header("crm:s").replace("Basic", "bAsIc")), "", ("crm", Some("s"), true)),
    ];
    for (authorization, form, (id, secret, basic)) in rows {
        let expected = (id.to_owned(), secret.map(str::to_owned), basic);
        assert_eq!(shown_by(authorization.as_deref(), form), Ok(expected), "{authorization:?} {form}");
    }
}

#[test]
fn whoever_does_not_is_refused() {
    let rows = [
        (None, "", "invalid_client"),
        (None, "client_id=", "invalid_client"),
        (None, "client_secret=s", "invalid_client"),
        (None, "client_id=a&client_id=a", "invalid_request"),
        (None, "client_id=a&client_secret=s&client_secret=s", "invalid_request"),
        (None, "client_id=a&client_assertion=jwt", "invalid_client"),
        (None, "client_id=a&client_assertion_type=x", "invalid_client"),
        (Some(header("crm:s")), "client_secret=s", "invalid_request"),
        (Some(header("crm:s")), "client_id=other", "invalid_request"),
        (Some(header("crm")), "", "invalid_client"),
        (Some("Basic".to_owned()), "client_id=crm", "invalid_client"),
        (Some("Basic !!!".to_owned()), "client_id=crm", "invalid_client"),
        (Some("Basic //79".to_owned()), "client_id=crm", "invalid_client"),
        (Some(header("crm:%ff")), "", "invalid_client"),
        (Some(header("%00:s")), "", "invalid_client"),
        (Some("Bearer token".to_owned()), "client_id=crm&x=y", "invalid_client"),
        (Some("token key:secret".to_owned()), "client_id=crm", "invalid_client"),
        (Some(String::new()), "client_id=crm", "invalid_client"),
    ];
    for (authorization, form, code) in rows {
        assert_eq!(shown_by(authorization.as_deref(), form), Err(code), "{authorization:?} {form}");
    }
}

#[test]
fn a_client_is_who_it_says_only_with_its_secret() {
    let public = Client::new("crm", "An app", Scopes::parse("read").expect("scopes"), at(0));
    let confidential = Client { secret: Some(TokenHash::of(b"s")), ..public.clone() };
    let rotated = Client {
        previous_secret: Some(crate::oauth::client::PreviousSecret { hash: TokenHash::of(b"old"), until: at(50) }),
        ..confidential.clone()
    };
    let off = Client { enabled: false, ..confidential.clone() };
    let off_public = Client { enabled: false, ..public.clone() };
    let rows = [
        ("its secret", Some(&confidential), Some("s"), 10, true),
        ("none, of a public client", Some(&public), None, 10, true),
        ("the one before, in time", Some(&rotated), Some("old"), 49, true),
        ("the new one meanwhile", Some(&rotated), Some("s"), 10, true),
        ("the one before, too late", Some(&rotated), Some("old"), 50, false),
        ("another", Some(&confidential), Some("S"), 10, false),
        ("its hash", Some(&confidential), Some(&*TokenHash::of(b"s").to_string()), 10, false),
        ("none", Some(&confidential), None, 10, false),
        ("any, of a public client", Some(&public), Some("s"), 10, false),
        ("of a disabled client", Some(&off), Some("s"), 10, false),
        ("none, of a disabled client", Some(&off_public), None, 10, false),
        ("of nobody", None, Some("s"), 10, false),
        ("none, of nobody", None, None, 10, false),
    ];
    let mut sentences = std::collections::BTreeSet::new();
    for (why, client, secret, now, proved) in rows {
        let shown = Shown { id: "crm".to_owned(), secret: secret.map(str::to_owned), basic: false };
        match authenticate(client, &shown, at(now)) {
            Ok(_) => assert!(proved, "{why}"),
            Err(error) => {
                assert!(!proved, "{why}");
                sentences.insert(error.to_string());
            }
        }
    }
    assert_eq!(sentences.len(), 1, "one sentence for all: {sentences:?}");
}

#[test]
fn the_answer_has_frappes_fields_in_frappes_order() {
    let answer = TokenAnswer {
        access_token: "a".into(),
        expires_in: 3600,
        token_type: "Bearer".into(),
        scope: "read write".into(),
        refresh_token: Some("r".into()),
        id_token: None,
    };
    let text = r#"{"access_token":"a","expires_in":3600,"token_type":"Bearer","scope":"read write","refresh_token":"r"}"#;
    assert_eq!(serde_json::to_string(&answer).expect("JSON"), text);
    let read: TokenAnswer = serde_json::from_str(text).expect("what was sealed is read again");
    assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
}
