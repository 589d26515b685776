//! Clients that are described by a document at their id, a URL (OAuth Client ID Metadata Document): read when a user is sent here, and
//! kept like every client from then on.
//!
//! Whoever sends a browser here chooses what is fetched, so only the authorization endpoint fetches, an address may do so only so often,
//! and a stranger is told no more than that the document was no good. What an operator does to such a client (disabling it, a rate of its
//! own) outlives every reading of its document.

use std::time::Duration;

use crate::authserver::call::{Call, Failure, Limit};
use crate::authserver::endpoint::Endpoint;
use crate::oauth::client::{Client, Document, GrantType};
use crate::oauth::document::{self, ClientDocument};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::records::issue_at;
use crate::oauth::redirect;
use crate::oauth::scopes;
use crate::outbound::Fetcher;
use crate::outbound::url::HttpsUrl;
use crate::policy::coverage::covers;
use crate::policy::quota::Quota;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::store::kept::{Subject, digest_id};

/// Documents that one address may have fetched.
pub const FETCHES: Quota = Quota { requests: 30, period: Duration::from_secs(3600), burst: 30 };

/// Hexadecimal digits of the URL's hash in the id that the client has here: 160 bits.
const ID_DIGITS: usize = 40;

/// The client whose document is at `url`; `None` where no document can be there, or where nobody was sent here with it yet.
pub async fn find(call: &Call<'_>, documents: &Fetcher, url: &str) -> Result<Option<Client>, Failure> {
    let Ok(parsed) = HttpsUrl::parse(url) else { return Ok(None) };
    let id = id_of(url);
    let kept = call.store().client(&call.issuer.name, &id).await?;
    let fresh = kept.as_ref().and_then(|client| client.document.as_ref()).is_some_and(|document| call.now < document.fresh_until);
    if fresh || call.endpoint != Endpoint::Authorize {
        return Ok(kept);
    }
    let counted = call.shared.memory.documents.count(call.address, call.shared.nanos());
    counted.map_err(|too_many| Failure::Limited(Limit::Documents, too_many))?;
    let fetched = documents.fetch(&parsed).await.map_err(|error| {
        tracing::info!(site = &*call.issuer.name, host = %parsed.host(), code = error.code(), "a client's document was not read: {error}");
        unread()
    })?;
    let described = document::read(url, &fetched.body, redirect::check).map_err(|error| {
        tracing::info!(site = &*call.issuer.name, host = %parsed.host(), "a client's document is no good: {error}");
        unread()
    })?;
    let fresh_until = call.now.plus(fetched.fresh_for.as_secs());
    // Once more: whoever owns the document chooses how long its reading takes, and an operator who disabled the client meanwhile must not
    // find it enabled again.
    let kept = call.store().client(&call.issuer.name, &id).await?;
    let store = call.store();
    let created = match &kept {
        Some(kept) => kept.created,
        // After the deletion of an earlier one, if an operator deleted it.
        None => issue_at(call.now, store.mark(&call.issuer.name, &[Subject::Deleted(&id)]).await?),
    };
    let client = client_of(call, created, described, Document { url: url.to_owned(), fresh_until }, kept.as_ref())?;
    let written = match &kept {
        Some(_) => store.update_client(&call.issuer.name, &client).await?,
        None => store.create_client(&call.issuer.name, &client).await?,
    };
    if !written {
        // Another gateway, or an operator, came first: what is there now is as good.
        return Ok(store.client(&call.issuer.name, &id).await?);
    }
    call.shared.cached.forget_client(call.issuer.site, &id);
    Ok(Some(client))
}

/// What the client with a document at `url` is called in the store.
pub fn id_of(url: &str) -> String {
    format!("doc-{}", &digest_id(url)[..ID_DIGITS])
}

/// The client as its document describes it, within what such clients may have.
fn client_of(
    call: &Call<'_>,
    created: Timestamp,
    described: ClientDocument,
    document: Document,
    kept: Option<&Client>,
) -> Result<Client, Failure> {
    let id = id_of(&document.url);
    let (most, meanings) = (&call.issuer.registration_scopes, &call.issuer.meanings);
    let scopes = match &described.scope {
        Some(text) => {
            let within: Vec<&str> = text.split(' ').filter(|word| covers(most, word, meanings)).collect();
            Scopes::parse(&within.join(" ")).map_err(|_| unread())?
        }
        None => most.clone(),
    };
    if scopes.is_empty() || !scopes::is_within(&scopes, most, meanings) {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "the client may have none of the scopes that its document names").into());
    }
    Ok(Client {
        enabled: kept.is_none_or(|kept| kept.enabled),
        rate: kept.and_then(|kept| kept.rate),
        redirect_uris: described.redirect_uris,
        grant_types: described.grant_types.iter().filter_map(|name| GrantType::parse(name)).collect(),
        document: Some(document),
        ..Client::new(&id, &described.name, scopes, created)
    })
}

/// The one sentence for every failure: which of them it was would tell a stranger what answers inside the operator's network.
fn unread() -> Failure {
    OAuthError::new(ErrorCode::InvalidClient, "the document that describes the client could not be read, or is not one").into()
}
