//! The browser's session here: who has just signed in, for as long as it takes to answer a question.
//!
//! It is short on purpose. Frappe knows for how long somebody stays signed in, and asking it again costs the user no more than a moment.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use http::HeaderValue;

use crate::authserver::call::{Call, Failure};
use crate::authserver::cookies;
use crate::authserver::random;
use crate::authserver::signin::Gate;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::records::{Profile, Session, SiteTokens, issue_at, void};
use crate::policy::time::Timestamp;
use crate::policy::token::{RECORD_VERSION, TokenHash};
use crate::store::kept::{self, Kept, Kind, Subject};
use crate::store::seal::SealKey;

/// Seconds for which a sign-in counts here.
pub const SESSION_LIFETIME: u64 = 600;

const COOKIE: &str = "__Host-sg-session";

/// A session that was found in the store.
pub struct Live {
    /// The SHA-256 of its cookie, hexadecimal.
    pub id: String,
    kept: Kept<Session>,
}

impl Live {
    pub fn session(&self) -> &Session {
        &self.kept.value
    }
}

/// The session of the browser that calls; `None` where there is none that counts.
pub async fn find(call: &Call<'_>) -> Result<Option<Live>, Failure> {
    let Some(cookie) = cookies::only(call.headers, COOKIE) else { return Ok(None) };
    let id = TokenHash::of(cookie.as_bytes()).to_string();
    let site = &call.issuer.name;
    let Some(kept) = kept::load::<Session>(call.store(), site, Kind::Session, &id).await? else { return Ok(None) };
    if call.now >= kept.value.exp {
        return Ok(None);
    }
    let mark = call.store().mark(site, &[Subject::User(&kept.value.user)]).await?;
    Ok((!void(kept.value.iat, mark)).then_some(Live { id, kept }))
}

/// Whether nothing has voided the session since it was found.
pub async fn stands(call: &Call<'_>, live: &Live) -> Result<bool, Failure> {
    let session = live.session();
    let mark = call.store().mark(&call.issuer.name, &[Subject::User(&session.user)]).await?;
    Ok(!void(session.iat, mark))
}

/// Begins a session under a new id: one that was there before may have been planted. The cookie that carries it; `None` where the user was
/// revoked after `since`, which is the site's latest mark from before the sign-in was looked at.
pub async fn begin(
    call: &Call<'_>,
    key: &SealKey,
    (user, since): (&Arc<str>, Option<Timestamp>),
    profile: Profile,
    tokens: Option<&SiteTokens>,
) -> Result<Option<HeaderValue>, Failure> {
    let site = &call.issuer.name;
    let cookie = random::secret()?;
    let id = TokenHash::of(cookie.as_bytes()).to_string();
    let mark = call.store().mark(site, &[Subject::User(user)]).await?;
    if mark > since {
        return Ok(None);
    }
    let iat = issue_at(call.now, mark);
    let session = Session {
        v: RECORD_VERSION,
        user: Arc::clone(user),
        profile,
        iat,
        exp: iat.plus(SESSION_LIFETIME),
        site_tokens: tokens.map(|tokens| seal(key, site, &id, tokens)).transpose()?.map(|sealed| BASE64URL_NOPAD.encode(&sealed)),
    };
    if !kept::create(call.store(), site, Kind::Session, &id, &session, Some(session.exp)).await? {
        return Err(OAuthError::new(ErrorCode::ServerError, "a session id was drawn twice; try again").into());
    }
    Ok(Some(cookies::set(COOKIE, &cookie, SESSION_LIFETIME)))
}

/// Ends the session, if there is one, and whatever tokens of the site no grant has taken from it. What takes its cookie away.
pub async fn end(call: &Call<'_>, gate: &Gate<'_>, live: &Live) -> Result<HeaderValue, Failure> {
    let site = &call.issuer.name;
    call.store().delete_record(site, Kind::Session, &live.id).await?;
    if let Some(tokens) = sealed_tokens(gate.key, site, live) {
        gate.frappe.revoke(&tokens.access_token).await;
    }
    Ok(cookies::expire(COOKIE))
}

/// Takes the site's tokens out of the session: one caller gets them, however many ask at once.
pub async fn take_site_tokens(call: &Call<'_>, key: &SealKey, live: &Live) -> Result<Option<SiteTokens>, Failure> {
    let site = &call.issuer.name;
    let Some(tokens) = sealed_tokens(key, site, live) else { return Ok(None) };
    let without = Session { site_tokens: None, ..live.session().clone() };
    let taken = kept::swap(call.store(), site, Kind::Session, &live.id, &live.kept, &without, Some(without.exp)).await?;
    Ok(taken.then_some(tokens))
}

/// Tokens of the site as they are kept, for the place `id`.
pub fn seal(key: &SealKey, site: &str, id: &str, tokens: &SiteTokens) -> Result<Vec<u8>, Failure> {
    let failed = || OAuthError::new(ErrorCode::ServerError, "the tokens of the site cannot be sealed; try again");
    let json = serde_json::to_vec(tokens).map_err(|_| failed())?;
    Ok(key.seal(site, id, &json).map_err(|_| failed())?)
}

/// What [`seal`] made; `None` for what does not open, as after a change of the key: then there must be another sign-in.
pub fn open(key: &SealKey, site: &str, id: &str, sealed: &[u8]) -> Option<SiteTokens> {
    serde_json::from_slice(&key.open(site, id, sealed).ok()?).ok()
}

fn sealed_tokens(key: &SealKey, site: &str, live: &Live) -> Option<SiteTokens> {
    let sealed = BASE64URL_NOPAD.decode(live.session().site_tokens.as_deref()?.as_bytes()).ok()?;
    open(key, site, &live.id, &sealed)
}
