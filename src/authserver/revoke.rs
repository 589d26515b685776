//! Revocation (RFC 7009): a client gives back what it was given.

use serde_json::json;

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::clients::authenticate;
use crate::oauth::client::Client;
use crate::oauth::error::OAuthError;
use crate::oauth::parameters::Parameters;
use crate::oauth::records::{End, RefreshRecord};
use crate::policy::token::{AccessToken, TokenHash};
use crate::store::grants;
use crate::store::kept::{self, Kind};

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let pairs = call.form_pairs()?;
    let parameters = Parameters::new(&pairs);
    let client = authenticate(call, &parameters).await?;
    let token = parameters.required("token")?;
    // Section 2.1: only a hint, and here not needed. Both kinds lie under their hash, each in its own place.
    parameters.one("token_type_hint")?;
    // Section 2.2: a token that cannot be one is invalid, which is no error: what the client wanted is so.
    if let Some(token) = AccessToken::parse(token) {
        let hash = token.hash();
        if !revoke_access(call, &client, &hash).await? {
            revoke_refresh(call, &client, &hash).await?;
        }
    }
    Ok(Answer::json(&json!({})))
}

/// Whether it was an access token.
async fn revoke_access(call: &mut Call<'_>, client: &Client, hash: &TokenHash) -> Result<bool, Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    let Some(record) = store.token(site, hash).await? else { return Ok(false) };
    check_own(client, &record.client)?;
    let deleted = store.delete_token(site, hash).await;
    // Even if nobody knows whether it is deleted: the next request with it asks.
    call.shared.cached.forget_token(call.issuer.site, hash);
    deleted?;
    call.note.user = Some(record.user);
    call.note.token = Some(*hash);
    Ok(true)
}

/// With a refresh token ends all that rests on the same consent (section 2.1), and the consent itself, so that the user is asked again.
/// That goes for a spent one as well: whoever signs out may hold either.
async fn revoke_refresh(call: &mut Call<'_>, client: &Client, hash: &TokenHash) -> Result<(), Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    let Some(kept) = kept::load::<RefreshRecord>(store, site, Kind::Refresh, &hash.to_string()).await? else { return Ok(()) };
    check_own(client, &kept.value.client)?;
    end_grant(call, &kept.value.grant, End::Client).await?;
    call.note.user = Some(kept.value.user);
    Ok(())
}

/// Ends a grant, and all that rests on it.
pub async fn end_grant(call: &Call<'_>, id: &str, by: End) -> Result<(), Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    grants::end(store, site, id, by, call.now).await?;
    Ok(())
}

/// Section 2.1: if the token was not issued to the client, "the request is refused and the client is informed of the error". Of the codes
/// that there are, this one is for a token that "was issued to another client" (RFC 6749 section 5.2). Frappe lets anybody revoke
/// anything (T156).
fn check_own(client: &Client, owner: &str) -> Result<(), OAuthError> {
    if *client.id == *owner { Ok(()) } else { Err(OAuthError::grant("the token was issued to another client")) }
}
