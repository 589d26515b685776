//! Which pages may call a site: the origins of its clients, found without reading all of them.
//!
//! The set of an origin only says where to look. It is entered before the client is written and may name clients that have changed since,
//! so the client itself is asked each time.

use crate::oauth::client::Client;
use crate::store::kept::{Set, digest_id};
use crate::store::{Store, StoreError};

/// Clients of one origin that are looked at: whoever may register clients must not make a look-up long.
const LOOKED_AT_MAX: usize = 32;

/// Whether pages of `origin`, as a browser writes it, may call: an enabled client names it.
pub async fn allowed(store: &dyn Store, site: &str, origin: &str) -> Result<bool, StoreError> {
    let members = store.members(site, Set::ClientsOfOrigin, &digest_id(origin)).await?;
    for id in members.iter().take(LOOKED_AT_MAX) {
        let client = store.client(site, id).await?;
        if client.is_some_and(|client| client.enabled && client.origins.iter().any(|own| own == origin)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the origins of `client` known. Before it is written, so that no origin of a client is missing.
pub async fn enter(store: &dyn Store, site: &str, client: &Client) -> Result<(), StoreError> {
    for origin in &client.origins {
        store.enter(site, Set::ClientsOfOrigin, &digest_id(origin), &client.id).await?;
    }
    Ok(())
}

/// Forgets those that `before` had and `after` has no longer; `None` for a client that was deleted. After it is written.
pub async fn leave(store: &dyn Store, site: &str, before: &Client, after: Option<&Client>) -> Result<(), StoreError> {
    let kept = |origin: &String| after.is_some_and(|after| after.origins.contains(origin));
    for origin in before.origins.iter().filter(|origin| !kept(origin)) {
        store.leave(site, Set::ClientsOfOrigin, &digest_id(origin), &before.id).await?;
    }
    Ok(())
}
