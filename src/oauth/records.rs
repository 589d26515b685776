//! What is kept between the steps of a grant, and when each step is allowed. The JSON forms are public and versioned: see `README.md`,
//! "Stored formats".
//!
//! Nothing here is changed in place: a rule reads a record and gives the next one, and the store exchanges the two only while the first
//! still stands. So of many requests that redeem one code or one refresh token at the same time, one wins.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::oauth::client::Client;
use crate::oauth::error::OAuthError;
use crate::oauth::pkce;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;

/// Seconds for which a code may be redeemed.
pub const CODE_LIFETIME: u64 = 60;

/// Seconds for which a code is remembered, so that a second use can be told from nonsense.
pub const CODE_KEPT: u64 = 600;

/// Seconds in which a repeated refresh is taken for two tabs, or an answer that was lost on its way, and not for a theft.
pub const REFRESH_GRACE: u64 = 10;

/// Seconds for which a grant that has ended is still listed.
pub const ENDED_KEPT: u64 = 30 * 86_400;

/// Whether what was issued at `iat` is void, because its client, user or grant was revoked at `mark` or later (DESIGN section 6).
pub fn void(iat: Timestamp, mark: Option<Timestamp>) -> bool {
    mark.is_some_and(|mark| iat <= mark)
}

/// The second to issue at: the present one, unless that is still within a revocation that what is issued comes after.
///
/// The mark must have been read before whatever authorises the issue was last judged, or a revocation in between is passed by.
pub fn issue_at(now: Timestamp, mark: Option<Timestamp>) -> Timestamp {
    mark.map_or(now, |mark| now.max(mark.plus(1)))
}

/// One consent of one user to one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub v: u8,
    pub id: Arc<str>,
    pub client: Arc<str>,
    pub user: Arc<str>,
    /// Everything that the user said yes to.
    pub scopes: Scopes,
    pub created: Timestamp,
    /// When a token was last issued under it.
    pub used: Timestamp,
    /// What the site says of the user, as of the last sign-in.
    #[serde(default)]
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// When a grant ended, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub at: Timestamp,
    pub by: End,
}

/// What can end a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The user withdrew it.
    User,
    /// An operator revoked it.
    Operator,
    /// The app gave it back (RFC 7009).
    Client,
    /// A code or refresh token was used a second time.
    Reuse,
    /// The site no longer takes the token that was kept with it.
    Site,
}

impl Grant {
    /// Whether tokens may be issued under it. `mark` is the latest revocation of its client, its user or itself.
    pub fn live(&self, mark: Option<Timestamp>) -> bool {
        self.ended.is_none() && !void(self.created, mark)
    }

    /// The same grant, ended.
    pub fn end(&self, by: End, now: Timestamp) -> Self {
        Self { ended: Some(Ended { at: now, by }), ..self.clone() }
    }
}

/// An authorization code, under its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    pub v: u8,
    pub client: Arc<str>,
    pub user: Arc<str>,
    pub grant: Arc<str>,
    pub scopes: Scopes,
    /// As the request named it; `None` where it left it out, and then the token request must leave it out as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// The PKCE challenge, S256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When the user signed in.
    pub auth_time: Timestamp,
    pub iat: Timestamp,
    pub exp: Timestamp,
    /// When it was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Timestamp>,
    /// The fingerprint of the access token that was issued for it: by this the request knows its own exchange again, should the store's
    /// answer to it be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Box<str>>,
}

/// Why a code or a refresh token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was used before: its grant must end.
    Reused,
    Error(OAuthError),
}

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        Self::Error(error)
    }
}

/// One sentence for everything that a stranger with a stolen code could learn from.
pub const CODE_REFUSED: &str = "the code is unknown, expired, used, revoked, or another client's";

/// The same for a refresh token.
pub const REFRESH_REFUSED: &str = "the refresh token is unknown, expired, used, revoked, or another client's";

impl CodeRecord {
    /// The record after `client`, which has proved who it is, redeemed the code with this redirect URI and PKCE verifier. `mark` is the
    /// latest revocation of its client, user or grant.
    pub fn redeem(
        &self,
        client: &Client,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
        now: Timestamp,
        mark: Option<Timestamp>,
    ) -> Result<Self, Refused> {
        if self.client != client.id {
            return Err(OAuthError::grant(CODE_REFUSED).into());
        }
        if self.spent.is_some() {
            return Err(Refused::Reused);
        }
        if now >= self.exp || void(self.iat, mark) {
            return Err(OAuthError::grant(CODE_REFUSED).into());
        }
        // RFC 6749 section 4.1.3: required, and the same, where the authorization request had one.
        if self.redirect_uri.as_deref() != redirect_uri {
            return Err(OAuthError::grant("redirect_uri is not that of the authorization request").into());
        }
        match (&self.challenge, verifier) {
            (Some(challenge), Some(verifier)) if pkce::verifies(challenge, verifier) => {}
            (None, None) => {}
            (Some(_), Some(_)) => return Err(OAuthError::grant("code_verifier does not fit the code_challenge").into()),
            (Some(_), None) => return Err(OAuthError::grant("code_verifier is missing").into()),
            // RFC 9700 section 2.1.1: a verifier without a challenge means that somebody took the challenge out.
            (None, Some(_)) => return Err(OAuthError::grant("the authorization request had no code_challenge").into()),
        }
        Ok(Self { spent: Some(now), ..self.clone() })
    }
}

/// A refresh token, under its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshRecord {
    pub v: u8,
    pub client: Arc<str>,
    pub user: Arc<str>,
    pub grant: Arc<str>,
    /// Those of the grant's first token: a token may be refreshed with fewer, the next refresh token keeps them all.
    pub scopes: Scopes,
    pub iat: Timestamp,
    pub exp: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// That a refresh token was used, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub at: Timestamp,
    /// The answer, sealed under a key that only the spent token itself gives, in base64url.
    pub answer: String,
}

/// What a refresh token still gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh<'a> {
    /// A new pair, and this one is spent.
    Rotate,
    /// The answer that was given a moment ago, sealed.
    Repeat(&'a str),
}

impl RefreshRecord {
    /// What `client`, which has proved who it is, gets for the token.
    pub fn refresh(&self, client: &Client, now: Timestamp, mark: Option<Timestamp>) -> Result<Refresh<'_>, Refused> {
        if self.client != client.id || now >= self.exp || void(self.iat, mark) {
            return Err(OAuthError::grant(REFRESH_REFUSED).into());
        }
        match &self.spent {
            None => Ok(Refresh::Rotate),
            Some(spent) if now.since(spent.at) <= REFRESH_GRACE => Ok(Refresh::Repeat(&spent.answer)),
            Some(_) => Err(Refused::Reused),
        }
    }

    /// The record after it was used.
    pub fn spend(&self, now: Timestamp, answer: String) -> Self {
        Self { spent: Some(Spent { at: now, answer }), ..self.clone() }
    }
}

/// A browser in which somebody has just signed in, under the SHA-256 of its cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub v: u8,
    pub user: Arc<str>,
    #[serde(default)]
    pub profile: Profile,
    /// When the user signed in.
    pub iat: Timestamp,
    pub exp: Timestamp,
    /// The site's tokens of this sign-in, sealed, until a grant takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_tokens: Option<String>,
}

/// What the site says of a user (its `openid_profile`, T42), for people and for `openid` clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// The tokens that the site gave the gate for one user. They are kept sealed only. No `Debug`: they are secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteTokens {
    pub access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The last second of the access token, by the gate's clock.
    pub exp: Timestamp,
}

#[cfg(test)]
mod tests;
