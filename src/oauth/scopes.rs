//! Which scopes a request gets: never more than the client may have, never more than were consented to.

use crate::oauth::client::Client;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::coverage::{Meanings, covers};
use crate::policy::scope::{Scope, Scopes};

/// The scopes of an authorization or `client_credentials` request: what is asked for, or else what the client gets by default (RFC 6749
/// section 3.3), within what it may have.
pub fn asked(scope: Option<&str>, client: &Client, meanings: &Meanings) -> Result<Scopes, OAuthError> {
    let asked = match scope {
        Some(text) => known(read(text)?, meanings)?,
        None => client.default_scopes.as_ref().unwrap_or(&client.scopes).clone(),
    };
    within(&asked, &client.scopes, meanings, "the client may not have a scope that it asks for")?;
    Ok(asked)
}

/// The scopes of a refreshed token: those of the grant, or fewer (RFC 6749 section 6), and none that the client has lost since.
pub fn refreshed(scope: Option<&str>, granted: &Scopes, client: &Client, meanings: &Meanings) -> Result<Scopes, OAuthError> {
    let wanted = match scope {
        Some(text) => {
            let wanted = read(text)?;
            within(&wanted, granted, meanings, "a refreshed token gets no scope that was not granted")?;
            wanted
        }
        None => granted.clone(),
    };
    let left: Vec<&str> = wanted.words().filter(|word| covers(&client.scopes, word, meanings)).collect();
    match Scopes::parse(&left.join(" ")) {
        Ok(scopes) if !scopes.is_empty() => Ok(scopes),
        _ => Err(OAuthError::new(ErrorCode::InvalidScope, "the client may no longer have any of the scopes that were granted")),
    }
}

/// What both may do together: the scopes of `first`, and those of `second` that it does not cover.
pub fn union(first: &Scopes, second: &Scopes, meanings: &Meanings) -> Scopes {
    let beyond = second.words().filter(|word| !covers(first, word, meanings));
    let text = first.words().chain(beyond).collect::<Vec<_>>().join(" ");
    // Two lists that were read are too long together at worst; then the user is asked again another time.
    Scopes::parse(&text).unwrap_or_else(|_| second.clone())
}

/// Whether every scope of `asked` lies within `allowed`.
pub fn is_within(asked: &Scopes, allowed: &Scopes, meanings: &Meanings) -> bool {
    asked.words().all(|word| covers(allowed, word, meanings))
}

fn read(text: &str) -> Result<Scopes, OAuthError> {
    match Scopes::parse(text) {
        Ok(scopes) if !scopes.is_empty() => Ok(scopes),
        _ => Err(OAuthError::new(ErrorCode::InvalidScope, "a scope is not of a form that scopes have here")),
    }
}

/// Refuses names that nobody explains: `all` would cover them, and a user be asked for something that means nothing.
fn known(asked: Scopes, meanings: &Meanings) -> Result<Scopes, OAuthError> {
    let unknown = |scope: &Scope| matches!(scope, Scope::Named(name) if !meanings.contains_key(name));
    if asked.narrow().iter().any(unknown) {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "a scope is not known here"));
    }
    Ok(asked)
}

fn within(asked: &Scopes, allowed: &Scopes, meanings: &Meanings, refusal: &'static str) -> Result<(), OAuthError> {
    if is_within(asked, allowed, meanings) { Ok(()) } else { Err(OAuthError::new(ErrorCode::InvalidScope, refusal)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::time::Timestamp;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).expect("scopes")
    }

    fn meanings() -> Meanings {
        Meanings::from([("crm".into(), scopes("read:lead write:lead")), ("tiny".into(), scopes("read:lead"))])
    }

    fn client(text: &str) -> Client {
        Client::new("crm", "An app", scopes(text), Timestamp::from_unix(0))
    }

    #[test]
    fn a_request_gets_what_it_asks_for_within_what_the_client_may_have() {
        let rows = [
            ("read write", Some("read"), Some("read")),
            ("read write", Some("write read write"), Some("write read")),
            ("read write", None, Some("read write")),
            ("read write", Some("read:lead"), Some("read:lead")),
            ("all", Some("read delete:lead call:my_app.x crm"), Some("read delete:lead call:my_app.x crm")),
            ("crm", Some("crm"), Some("crm")),
            ("crm", Some("read:lead"), Some("read:lead")),
            ("crm", Some("tiny"), Some("tiny")),
            ("read write", Some("crm"), Some("crm")),
            ("call:my_app.*", Some("call:my_app.x.y"), Some("call:my_app.x.y")),
            ("read openid", Some("openid"), Some("openid")),
            ("read write", Some("delete"), None),
            ("read write", Some("read delete"), None),
            ("read write", Some("all"), None),
            ("read write", Some("openid"), None),
            ("read:lead", Some("read"), None),
            ("read:lead", Some("read:lead2"), None),
            ("read:lead", Some("crm"), None),
            ("tiny", Some("crm"), None),
            ("call:my_app.*", Some("call:my_app"), None),
            ("call:my_app.*", Some("call:my_apps.x"), None),
            ("read", Some("call:my_app.x"), None),
            ("all", Some("nonsense"), None),
            ("nonsense", Some("nonsense"), None),
            ("read", Some(" "), None),
            ("read", Some("read:"), None),
            ("read", Some("\"read\""), None),
        ];
        for (allowed, asked_for, expected) in rows {
            let got = asked(asked_for, &client(allowed), &meanings());
            match (&got, expected) {
                (Ok(got), Some(expected)) => assert_eq!(got.as_str(), expected, "{allowed} {asked_for:?}"),
                (Err(error), None) => assert_eq!(error.code, ErrorCode::InvalidScope, "{allowed} {asked_for:?}"),
                _ => panic!("{allowed} {asked_for:?}: {got:?}"),
            }
        }
        let by_default = Client { default_scopes: Some(scopes("read:lead")), ..client("read") };
        assert_eq!(asked(None, &by_default, &meanings()).expect("scopes").as_str(), "read:lead");
        let lost = Client { default_scopes: Some(scopes("write")), ..client("read") };
        assert!(asked(None, &lost, &meanings()).is_err(), "a default beyond what it may have");
    }

    #[test]
    fn a_refreshed_token_gets_no_more_than_was_granted_and_nothing_that_was_lost() {
        let rows = [
            (None, "read write", "read write", Some("read write")),
            (Some("read"), "read write", "read write", Some("read")),
            (Some("read:lead"), "read", "read", Some("read:lead")),
            (None, "read write", "read", Some("read")),
            (None, "read write", "all", Some("read write")),
            (None, "crm read:item", "read:item", Some("read:item")),
            (Some("read write"), "read", "all", None),
            (Some("openid"), "read", "all", None),
            (Some("all"), "read", "all", None),
            (Some("write"), "read write", "read", None),
            (None, "write", "read", None),
            (Some("read:"), "read", "read", None),
            (Some(" "), "read", "read", None),
        ];
        for (scope, granted, allowed, expected) in rows {
            let got = refreshed(scope, &scopes(granted), &client(allowed), &meanings());
            match (&got, expected) {
                (Ok(got), Some(expected)) => assert_eq!(got.as_str(), expected, "{scope:?} {granted} {allowed}"),
                (Err(error), None) => assert_eq!(error.code, ErrorCode::InvalidScope, "{scope:?} {granted} {allowed}"),
                _ => panic!("{scope:?} {granted} {allowed}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_union_repeats_nothing() {
        for (first, second, both) in [
            ("read", "write", "read write"),
            ("read", "read:lead write", "read write"),
            ("read:lead", "read", "read:lead read"),
            ("crm", "read:lead", "crm"),
            ("all", "read openid", "all"),
            ("read", "", "read"),
            ("", "read", "read"),
        ] {
            assert_eq!(union(&scopes(first), &scopes(second), &meanings()).as_str(), both, "{first} and {second}");
        }
    }
}
