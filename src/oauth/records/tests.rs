use serde_json::json;

use crate::policy::token::RECORD_VERSION;

use super::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CALLBACK: &str = "https://app.example.com/cb";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

fn client(id: &str) -> Client {
    Client::new(id, "An app", Scopes::parse("read").expect("scopes"), at(0))
}

fn grant() -> Grant {
    Grant {
        v: RECORD_VERSION,
        id: "g-1".into(),
        client: "crm".into(),
        user: "sam@example.com".into(),
        scopes: Scopes::parse("read openid").expect("scopes"),
        created: at(100),
        used: at(200),
        profile: Profile { name: Some("Sam".into()), ..Profile::default() },
        ended: None,
    }
}

fn code() -> CodeRecord {
    CodeRecord {
        v: RECORD_VERSION,
        client: "crm".into(),
        user: "sam@example.com".into(),
        grant: "g-1".into(),
        scopes: Scopes::parse("read").expect("scopes"),
        redirect_uri: Some(CALLBACK.to_owned()),
        challenge: Some(pkce::challenge_of(VERIFIER)),
        nonce: None,
        auth_time: at(90),
        iat: at(100),
        exp: at(100 + CODE_LIFETIME),
        spent: None,
        issued: None,
    }
}

fn refresh() -> RefreshRecord {
    RefreshRecord {
        v: RECORD_VERSION,
        client: "crm".into(),
        user: "sam@example.com".into(),
        grant: "g-1".into(),
        scopes: Scopes::parse("read").expect("scopes"),
        iat: at(100),
        exp: at(1000),
        spent: None,
    }
}

#[test]
fn what_is_issued_after_a_revocation_is_not_void() {
    for (iat, mark, is_void) in
        [(100, None, false), (100, Some(99), false), (100, Some(100), true), (100, Some(101), true), (0, Some(0), true)]
    {
        assert_eq!(void(at(iat), mark.map(at)), is_void, "{iat} {mark:?}");
    }
    for (now, mark, issued) in [(100, None, 100), (100, Some(50), 100), (100, Some(99), 100), (100, Some(100), 101), (100, Some(500), 501)]
    {
        let iat = issue_at(at(now), mark.map(at));
        assert_eq!(iat, at(issued), "{now} {mark:?}");
        assert!(!void(iat, mark.map(at)));
    }
}

#[test]
fn a_grant_lives_until_it_ends_or_is_revoked() {
    for (mark, lives) in [(None, true), (Some(99), true), (Some(100), false), (Some(5000), false)] {
        assert_eq!(grant().live(mark.map(at)), lives, "{mark:?}");
    }
    let ended = grant().end(End::Reuse, at(300));
    assert!(!ended.live(None));
    assert_eq!(ended, Grant { ended: Some(Ended { at: at(300), by: End::Reuse }), ..grant() });
}

#[test]
fn a_code_is_redeemed_by_its_client_in_its_minute_with_what_it_was_asked_with() {
    let spent = code().redeem(&client("crm"), Some(CALLBACK), Some(VERIFIER), at(159), Some(at(99)));
    assert_eq!(spent, Ok(CodeRecord { spent: Some(at(159)), ..code() }));
    let bare = CodeRecord { redirect_uri: None, challenge: None, ..code() };
    assert!(bare.redeem(&client("crm"), None, None, at(100), None).is_ok());
}

#[test]
fn a_code_is_not_redeemed_otherwise() {
    let bare = || CodeRecord { redirect_uri: None, challenge: None, ..code() };
    let other = "https://app.example.com/cb/";
    let rows = [
        ("another client", code(), "shop", Some(CALLBACK), Some(VERIFIER), 101, None),
        ("a client in another case", code(), "CRM", Some(CALLBACK), Some(VERIFIER), 101, None),
        ("on its last second", code(), "crm", Some(CALLBACK), Some(VERIFIER), 160, None),
        ("long after", code(), "crm", Some(CALLBACK), Some(VERIFIER), 1 << 40, None),
        ("revoked when it was issued", code(), "crm", Some(CALLBACK), Some(VERIFIER), 101, Some(100)),
        ("revoked since", code(), "crm", Some(CALLBACK), Some(VERIFIER), 101, Some(101)),
        ("T326, another redirect URI", code(), "crm", Some(other), Some(VERIFIER), 101, None),
        ("no redirect URI", code(), "crm", None, Some(VERIFIER), 101, None),
        ("a redirect URI that was not sent", bare(), "crm", Some(CALLBACK), None, 101, None),
        ("T320, another verifier", code(), "crm", Some(CALLBACK), Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK"), 101, None),
        ("the challenge itself", code(), "crm", Some(CALLBACK), Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), 101, None),
        ("T322, no verifier", code(), "crm", Some(CALLBACK), None, 101, None),
        ("a verifier without a challenge", bare(), "crm", None, Some(VERIFIER), 101, None),
    ];
    for (why, code, id, redirect_uri, verifier, now, mark) in rows {
        match code.redeem(&client(id), redirect_uri, verifier, at(now), mark.map(at)) {
            Err(Refused::Error(error)) => assert_eq!(error.code.as_str(), "invalid_grant", "{why}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn a_second_use_is_told_from_nonsense() {
    let spent = CodeRecord { spent: Some(at(110)), ..code() };
    for (now, verifier) in [(110, Some(VERIFIER)), (111, None), (159, Some("wrong")), (100_000, Some(VERIFIER))] {
        assert_eq!(spent.redeem(&client("crm"), Some(CALLBACK), verifier, at(now), None), Err(Refused::Reused), "{now}");
    }
    // Whoever is another client learns, and ends, nothing.
    assert_eq!(
        spent.redeem(&client("shop"), Some(CALLBACK), Some(VERIFIER), at(111), None),
        Err(Refused::Error(OAuthError::grant(CODE_REFUSED)))
    );
}

#[test]
fn a_refresh_token_rotates_then_repeats_then_betrays() {
    let spent = refresh().spend(at(200), "sealed".to_owned());
    let refused = || Err(Refused::Error(OAuthError::grant(REFRESH_REFUSED)));
    let rows = [
        ("fresh", refresh(), "crm", 100, None, Ok(Refresh::Rotate)),
        ("on its last day", refresh(), "crm", 999, Some(99), Ok(Refresh::Rotate)),
        ("a moment later", spent.clone(), "crm", 200, None, Ok(Refresh::Repeat("sealed"))),
        ("by a slower clock", spent.clone(), "crm", 190, None, Ok(Refresh::Repeat("sealed"))),
        ("ten seconds later", spent.clone(), "crm", 210, None, Ok(Refresh::Repeat("sealed"))),
        ("eleven", spent.clone(), "crm", 211, None, Err(Refused::Reused)),
        ("much later", spent.clone(), "crm", 999, None, Err(Refused::Reused)),
        ("expired", refresh(), "crm", 1000, None, refused()),
        ("expired and spent", spent.clone(), "crm", 1000, None, refused()),
        ("T37, another client's", refresh(), "shop", 101, None, refused()),
        ("another client's, spent", spent.clone(), "shop", 500, None, refused()),
        ("revoked", refresh(), "crm", 101, Some(100), refused()),
        ("revoked, within the grace", spent, "crm", 201, Some(201), refused()),
    ];
    for (why, record, id, now, mark, expected) in rows {
        assert_eq!(record.refresh(&client(id), at(now), mark.map(at)), expected, "{why}");
    }
}

/// README.md, "Stored formats": other tools read these.
#[test]
fn the_stored_forms_are_public() {
    let ended = grant().end(End::Client, at(300));
    let rows = [
        (
            serde_json::to_value(&ended),
            json!({
                "v": 1, "id": "g-1", "client": "crm", "user": "sam@example.com", "scopes": "read openid", "created": 100, "used": 200,
                "profile": {"name": "Sam"}, "ended": {"at": 300, "by": "client"},
            }),
        ),
        (
            serde_json::to_value(CodeRecord { nonce: Some("n".into()), spent: Some(at(7)), ..code() }),
            json!({
                "v": 1, "client": "crm", "user": "sam@example.com", "grant": "g-1", "scopes": "read", "redirect_uri": CALLBACK,
                "challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "nonce": "n", "auth_time": 90, "iat": 100, "exp": 160, "spent": 7,
            }),
        ),
        (
            serde_json::to_value(refresh().spend(at(200), "c2VhbGVk".into())),
            json!({
                "v": 1, "client": "crm", "user": "sam@example.com", "grant": "g-1", "scopes": "read", "iat": 100, "exp": 1000,
                "spent": {"at": 200, "answer": "c2VhbGVk"},
            }),
        ),
    ];
    for (written, expected) in rows {
        assert_eq!(written.expect("JSON"), expected);
    }
    let read: Grant = serde_json::from_value(rows_of_grant()).expect("a grant as it was written");
    assert_eq!(read, Grant { profile: Profile::default(), ..grant() });
    for by in [End::User, End::Operator, End::Client, End::Reuse, End::Site] {
        let text = serde_json::to_string(&by).expect("JSON");
        assert_eq!(serde_json::from_str::<End>(&text).ok(), Some(by), "{text}");
    }
}

/// The least that a grant has.
fn rows_of_grant() -> serde_json::Value {
    json!({"v": 1, "id": "g-1", "client": "crm", "user": "sam@example.com", "scopes": "read openid", "created": 100, "used": 200})
}
