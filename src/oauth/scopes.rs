//! Which scopes a request gets: never more than the client may have, never more than were consented to.

use crate::oauth::client::Client;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::coverage::{Meanings, covers};
use crate::policy::scope::Scopes;

/// The scopes of an authorization or `client_credentials` request: what is asked for, or else what the client gets by default (RFC 6749
/// section 3.3), within what it may have.
pub fn asked(scope: Option<&str>, client: &Client, meanings: &Meanings) -> Result<Scopes, OAuthError> {
    let asked = match scope {
        Some(text) => read(text)?,
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

fn within(asked: &Scopes, allowed: &Scopes, meanings: &Meanings, refusal: &'static str) -> Result<(), OAuthError> {
    if is_within(asked, allowed, meanings) { Ok(()) } else { Err(OAuthError::new(ErrorCode::InvalidScope, refusal)) }
}
