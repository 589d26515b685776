//! Introspection (RFC 7662): what a token is worth now, by the gateway's own judgement.
//!
//! Any client with a secret may ask about any access token of the site: those who ask are resource servers, which are not the clients
//! that the tokens were issued to. A refresh token is nobody's business but its client's.

use serde::Serialize;
use serde_json::json;

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::clients::authenticate_confidential;
use crate::oauth::claims::{Particulars, Told};
use crate::oauth::client::Client;
use crate::oauth::parameters::Parameters;
use crate::oauth::records::{Profile, Refresh, RefreshRecord};
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, TokenHash};
use crate::store::cached::Lookup;
use crate::store::grants;
use crate::store::kept::{self, Kind};

/// A live token (section 2.2), with Frappe's names for what Frappe tells as well (T45).
#[derive(Serialize)]
struct Active<'a> {
    client_id: &'a str,
    active: bool,
    exp: Timestamp,
    iat: Timestamp,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    username: &'a str,
    sub: &'a str,
    aud: &'a str,
    iss: &'a str,
    #[serde(flatten)]
    particulars: Particulars<'a>,
}

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let pairs = call.form_pairs()?;
    let parameters = Parameters::new(&pairs);
    let client = authenticate_confidential(call, &parameters).await?;
    let token = parameters.required("token")?;
    // Section 2.1: only a hint, and here not needed.
    parameters.one("token_type_hint")?;
    let found = match AccessToken::parse(token) {
        Some(token) => match access(call, &token.hash()).await? {
            Some(answer) => Some(answer),
            None => refresh(call, &client, &token.hash()).await?,
        },
        None => None,
    };
    // Section 2.2: nothing else is said of a token that is worth nothing.
    Ok(found.unwrap_or_else(|| Answer::json(&json!({"active": false})).because("token_inactive")))
}

async fn access(call: &mut Call<'_>, hash: &TokenHash) -> Result<Option<Answer>, Failure> {
    let issuer = call.issuer;
    let Lookup::Live(live) = call.shared.cached.find(issuer.site, &issuer.name, hash, call.now).await? else { return Ok(None) };
    let record = &live.record;
    let profile = profile(call, record.grant.as_deref()).await?;
    call.note.user = Some(record.user.clone());
    call.note.token = Some(*hash);
    Ok(Some(Answer::json(&Active {
        client_id: live.client.client().public_id(),
        active: true,
        exp: record.exp,
        iat: record.iat,
        scope: record.scopes.as_str(),
        token_type: Some("Bearer"),
        username: &record.user,
        sub: &record.user,
        aud: &issuer.url,
        iss: &issuer.url,
        particulars: Particulars::of(&record.user, &profile, Told::by_userinfo(&record.scopes)),
    })))
}

async fn refresh(call: &mut Call<'_>, client: &Client, hash: &TokenHash) -> Result<Option<Answer>, Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    let Some(kept) = kept::load::<RefreshRecord>(store, site, Kind::Refresh, &hash.to_string()).await? else { return Ok(None) };
    let record = kept.value;
    let Some((_, mark)) = grants::find_live(store, site, &record.grant).await? else { return Ok(None) };
    // A spent one is not active, though its answer may still be repeated.
    if record.refresh(client, call.now, mark) != Ok(Refresh::Rotate) {
        return Ok(None);
    }
    call.note.user = Some(record.user.clone());
    Ok(Some(Answer::json(&Active {
        client_id: client.public_id(),
        active: true,
        exp: record.exp,
        iat: record.iat,
        scope: record.scopes.as_str(),
        token_type: None,
        username: &record.user,
        sub: &record.user,
        aud: &call.issuer.url,
        iss: &call.issuer.url,
        particulars: Particulars::default(),
    })))
}

/// What the site says of the user of a grant; nothing for a token that has none.
pub(super) async fn profile(call: &Call<'_>, grant: Option<&str>) -> Result<Profile, Failure> {
    let Some(id) = grant else { return Ok(Profile::default()) };
    let grant = grants::find(call.store(), &call.issuer.name, id).await?;
    Ok(grant.map(|grant| grant.value.profile).unwrap_or_default())
}
