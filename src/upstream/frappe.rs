//! The gate as an OAuth client of a site: how it learns who has signed in there, and how it gets tokens of that user (FACTS section 3).

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::oauth::records::{Profile, SiteTokens};
use crate::policy::query::Pairs;
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, TOKEN_TEXT_MAX};
use crate::upstream::ask::{Heard, Question, ask};
use crate::upstream::credential::forward;
use crate::upstream::error::UpstreamError;
use crate::upstream::send::SiteUpstream;

const GET_TOKEN: &str = "/api/method/frappe.integrations.oauth2.get_token";
const REVOKE_TOKEN: &str = "/api/method/frappe.integrations.oauth2.revoke_token";
const OPENID_PROFILE: &str = "/api/method/frappe.integrations.oauth2.openid_profile";
const LOGGED_USER: &str = "/api/method/frappe.auth.get_logged_user";

/// Seconds that a token of the site lives, whatever the site says: it says 3600, and nobody would keep one for longer than a day.
const LIFETIME_MIN: u64 = 60;
const LIFETIME_MAX: u64 = 86_400;

/// The longest id of a user, in bytes: Frappe's names have 140 characters at most.
const USER_BYTES_MAX: usize = 560;

/// The longest value of a profile, in bytes; a longer one is left out.
const PROFILE_VALUE_BYTES_MAX: usize = 1024;

/// One site, and what the gate is called there. No `Debug`: it holds a secret.
#[derive(Clone, Copy)]
pub struct Frappe<'a> {
    pub upstream: &'a SiteUpstream,
    /// `Host` and `X-Frappe-Site-Name`.
    pub frappe_site: &'a HeaderValue,
    pub client_id: &'a str,
    pub client_secret: &'a str,
}

/// Why the site gave nothing.
#[derive(Debug)]
pub enum SiteError {
    /// It says no: the code, the token or the client is unknown there, spent or revoked.
    Refused,
    /// It does not know the gate, or not by this secret: nothing is said about a user's token.
    Unregistered,
    /// It did not answer.
    Away(UpstreamError),
    /// It answered what no healthy Frappe would.
    Nonsense,
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the site refuses: what was shown is unknown there, spent or revoked"),
            Self::Unregistered => f.write_str(
                "the site does not take the gate for one of its OAuth clients, or not with what it asks for; check `client_id`, `client_secret` \
                 and `sign_in_scope` of [site.oauth], and the redirect URI and scopes that the site has for that client",
            ),
            Self::Away(error) => error.fmt(f),
            Self::Nonsense => f.write_str("the site gave an answer that no healthy Frappe gives"),
        }
    }
}

impl std::error::Error for SiteError {}

impl From<UpstreamError> for SiteError {
    fn from(error: UpstreamError) -> Self {
        Self::Away(error)
    }
}

impl Frappe<'_> {
    /// Redeems the code that a browser brought back from the sign-in.
    pub async fn redeem(&self, code: &str, redirect_uri: &str, verifier: &str, now: Timestamp) -> Result<SiteTokens, SiteError> {
        let grant = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri), ("code_verifier", verifier)];
        self.tokens(&grant, now).await
    }

    /// A new pair of tokens. The old pair stays valid at the site until it expires or is revoked (T34).
    pub async fn refresh(&self, refresh_token: &str, now: Timestamp) -> Result<SiteTokens, SiteError> {
        let mut tokens = self.tokens(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)], now).await?;
        // RFC 6749 section 6: without a new one, the old one stays.
        tokens.refresh_token.get_or_insert_with(|| refresh_token.to_owned());
        Ok(tokens)
    }

    /// Whose token it is, and what the site says of that user.
    ///
    /// Who it is, is asked of the permission system itself: `sub` of the profile is an opaque id, and its `email` may be changed by the
    /// user, so neither may decide whom the gate acts for.
    pub async fn profile(&self, access_token: &str) -> Result<(Arc<str>, Profile), SiteError> {
        let user = self.user(access_token).await?;
        let authorization = forward(&AccessToken::parse(access_token).ok_or(SiteError::Refused)?);
        let said = self.call::<SaidOfUser>(OPENID_PROFILE, &authorization).await?;
        Ok((user, said.into_profile()))
    }

    /// Whose token it is. This is the site's only true word about whether it takes a token (FACTS section 8).
    pub async fn user(&self, access_token: &str) -> Result<Arc<str>, SiteError> {
        let authorization = forward(&AccessToken::parse(access_token).ok_or(SiteError::Refused)?);
        let user = self.call::<LoggedUser>(LOGGED_USER, &authorization).await?.message;
        if user == "Guest" {
            return Err(SiteError::Refused);
        }
        if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
            return Err(SiteError::Nonsense);
        }
        Ok(user.into())
    }

    /// Revokes an access token and the refresh token beside it (T54), if the site can be reached: it expires by itself otherwise.
    pub async fn revoke(&self, token: &str) {
        // Without `client_id` the site fails over a token that it no longer knows (T52).
        let form = form(&[("token", token), ("token_type_hint", "access_token"), ("client_id", self.client_id)]);
        let question = Question { frappe_site: self.frappe_site, path: REVOKE_TOKEN, authorization: None, form: Some(form) };
        let _ = ask(self.upstream, question).await;
    }

    /// The secret goes into the form: Frappe reads `Basic` as an API key (T153).
    async fn tokens(&self, grant: &[(&str, &str)], now: Timestamp) -> Result<SiteTokens, SiteError> {
        let client = [("client_id", self.client_id), ("client_secret", self.client_secret)];
        let form = form(&[grant, &client].concat());
        let question = Question { frappe_site: self.frappe_site, path: GET_TOKEN, authorization: None, form: Some(form) };
        let heard = ask(self.upstream, question).await?;
        let issued: Issued = match read(&heard) {
            Err(SiteError::Refused) if self.unregistered(&heard) => return Err(SiteError::Unregistered),
            read => read?,
        };
        let fits = |token: &String| !token.is_empty() && token.len() <= TOKEN_TEXT_MAX;
        let usable = issued.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        if AccessToken::parse(&issued.access_token).is_none() || !usable {
            return Err(SiteError::Nonsense);
        }
        Ok(SiteTokens {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token.filter(fits),
            exp: now.plus(issued.expires_in.unwrap_or(0).clamp(LIFETIME_MIN, LIFETIME_MAX)),
        })
    }

    /// Whether a no is about the gate itself. A client that is gone (T26) looks like a token that is (T38), down to a text that may be
    /// translated, but it names the client. Were one taken for the other, a slip in the configuration would end every grant.
    fn unregistered(&self, heard: &Heard) -> bool {
        let said = serde_json::from_slice::<No>(&heard.body).ok().and_then(|no| no.error);
        match said.as_ref().and_then(Value::as_str) {
            Some("invalid_grant") => false,
            // `invalid_client`, `unauthorized_client`, and whatever else is wrong with the question rather than with the token (T326, T39).
            Some(_) => true,
            None => heard.status != StatusCode::NOT_FOUND || contains(&heard.body, self.client_id.as_bytes()),
        }
    }

    async fn call<T: DeserializeOwned>(&self, path: &'static str, authorization: &HeaderValue) -> Result<T, SiteError> {
        let question = Question { frappe_site: self.frappe_site, path, authorization: Some(authorization), form: None };
        read(&ask(self.upstream, question).await?)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut text = String::new();
    Pairs::from_fields(fields).write(&mut text);
    text
}

/// What an answer says. A no counts as one only in the form that Frappe has for it: an error page of a proxy in between, or of a bench
/// that does not know the site, says nothing about a token, and must not make anyone throw it away.
fn read<T: DeserializeOwned>(heard: &Heard) -> Result<T, SiteError> {
    match heard.status {
        StatusCode::OK => serde_json::from_slice(&heard.body).map_err(|_| SiteError::Nonsense),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            match serde_json::from_slice::<No>(&heard.body) {
                Ok(No { error: Some(_), .. } | No { exc_type: Some(_), .. }) => Err(SiteError::Refused),
                _ => Err(SiteError::Nonsense),
            }
        }
        _ => Err(SiteError::Nonsense),
    }
}

/// A no of its OAuth endpoints (T20) or of Frappe itself (T26, T38, T130).
#[derive(Deserialize)]
struct No {
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    exc_type: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct LoggedUser {
    message: String,
}

/// T42. `roles` and `iss` are the site's own business.
#[derive(Deserialize)]
struct SaidOfUser {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    given_name: Option<String>,
    #[serde(default)]
    family_name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    picture: Option<String>,
}

impl SaidOfUser {
    fn into_profile(self) -> Profile {
        let plain = |value: &String| (1..=PROFILE_VALUE_BYTES_MAX).contains(&value.len()) && !value.chars().any(char::is_control);
        Profile {
            name: self.name.filter(plain),
            given_name: self.given_name.filter(plain),
            family_name: self.family_name.filter(plain),
            email: self.email.filter(plain),
            picture: self.picture.filter(plain).filter(|url| url.starts_with("https://")),
        }
    }
}
