//! Whose pages may call a site, beyond the origins that its configuration names: those of its clients.
//!
//! Anyone can send an `Origin`, with a token or without, so what is remembered has a size that no header sets, and an answer is looked up
//! once however many requests wait for it.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::oauth::client::Client;
use crate::policy::token::TokenHash;
use crate::store::cached::SiteId;
use crate::store::flight::Flights;
use crate::store::kept::{Set, digest_id};
use crate::store::{Store, StoreError};

/// Clients of one origin that are looked at.
const CLIENTS_MAX: usize = 16;

/// Origins whose answer is remembered, of all sites.
const ORIGINS_MAX: u64 = 10_000;

/// Whether an enabled client of the site lists `origin`, as a browser writes it. The set is an index: only the client's record counts.
pub async fn allowed(store: &dyn Store, site: &str, origin: &str) -> Result<bool, StoreError> {
    let clients = store.members(site, Set::ClientsOfOrigin, &digest_id(origin)).await?;
    for id in clients.iter().take(CLIENTS_MAX) {
        let client = store.client(site, id).await?;
        if client.is_some_and(|client| client.enabled && client.origins.iter().any(|listed| listed == origin)) {
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

/// [`allowed`], remembered for a moment.
pub struct Origins {
    store: Arc<dyn Store>,
    known: Cache<Key, bool>,
    flights: Flights<Key, bool>,
}

/// A site, and the SHA-256 of an origin.
type Key = (SiteId, [u8; 32]);

impl Origins {
    /// Answers are asked for again after `bound`, like everything else that can be taken back.
    pub fn new(store: Arc<dyn Store>, bound: Duration) -> Self {
        let known = Cache::builder().max_capacity(ORIGINS_MAX).time_to_live(bound).build();
        Self { store, known, flights: Flights::new() }
    }

    /// `site` and `site_name` are the same site.
    pub async fn allowed(&self, site: SiteId, site_name: &str, origin: &str) -> Result<bool, StoreError> {
        let key = key(site, origin);
        if let Some(known) = self.known.get(&key).await {
            return Ok(known);
        }
        let look_up = |ticket| {
            let (store, known, name, origin) = (self.store.clone(), self.known.clone(), site_name.to_owned(), origin.to_owned());
            async move {
                let answer = allowed(&*store, &name, &origin).await?;
                known.insert(key, answer).await;
                // Until here the flight is open to others.
                drop(ticket);
                Ok(answer)
            }
        };
        // When the look-up was sent does not matter: an old no costs a page one bound, and an old yes opens nothing without a token.
        Ok(self.flights.join(key, 0, look_up).await?.answer)
    }

    /// What is known without asking; for requests that have earned no look-up.
    pub async fn remembered(&self, site: SiteId, origin: &str) -> Option<bool> {
        self.known.get(&key(site, origin)).await
    }
}

fn key(site: SiteId, origin: &str) -> Key {
    (site, *TokenHash::of(origin.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use crate::oauth::client::Client;
    use crate::store::contract::{PATIENCE, client, embedded, redis};
    use crate::store::redis_server::RedisServer;

    use super::*;

    const APP: &str = "https://app.example.com";

    async fn enter(store: &dyn Store, client: &Client) {
        for origin in &client.origins {
            store.enter("erp", Set::ClientsOfOrigin, &digest_id(origin), &client.id).await.unwrap();
        }
        assert!(store.create_client("erp", client).await.unwrap());
    }

    fn of(id: &str, origin: &str) -> Client {
        Client { origins: vec!["https://other.example.com".to_owned(), origin.to_owned()], ..client(id) }
    }

    #[tokio::test]
    async fn an_origin_is_allowed_by_a_client_that_is_enabled_and_lists_it() {
        let directory = tempfile::tempdir().unwrap();
        rules(&embedded(directory.path())).await;
        let server = RedisServer::start();
        rules(&redis(&server, PATIENCE).await).await;
    }

    async fn rules(store: &dyn Store) {
        assert!(!allowed(store, "erp", APP).await.unwrap());
        // An index may name a client that is gone, one that is disabled, and one that has dropped the origin.
        store.enter("erp", Set::ClientsOfOrigin, &digest_id(APP), "gone").await.unwrap();
        enter(store, &Client { enabled: false, ..of("disabled", APP) }).await;
        store.enter("erp", Set::ClientsOfOrigin, &digest_id(APP), "dropped").await.unwrap();
        enter(store, &client("dropped")).await;
        assert!(!allowed(store, "erp", APP).await.unwrap());
        enter(store, &of("spa", APP)).await;
        assert!(allowed(store, "erp", APP).await.unwrap());
        assert!(!allowed(store, "shop", APP).await.unwrap(), "another site");
        let strangers =
            ["", "null", "https://app.example.com/", "https://APP.example.com", "http://app.example.com", "https://app.example.com:8443"];
        for stranger in strangers {
            assert!(!allowed(store, "erp", stranger).await.unwrap(), "{stranger}");
        }
        for number in 0..CLIENTS_MAX {
            store.enter("erp", Set::ClientsOfOrigin, &digest_id("https://crowd.example.com"), &format!("a{number}")).await.unwrap();
        }
        enter(store, &of("b", "https://crowd.example.com")).await;
        assert!(!allowed(store, "erp", "https://crowd.example.com").await.unwrap(), "no origin costs more than its bound");
    }

    #[tokio::test]
    async fn an_answer_is_remembered_for_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(embedded(directory.path()));
        let (long, none) = (Duration::from_secs(3600), Duration::from_nanos(1));
        let (origins, forgetful) = (Origins::new(store.clone(), long), Origins::new(store.clone(), none));
        assert_eq!(origins.remembered(SiteId(0), APP).await, None);
        for site in [SiteId(0), SiteId(1)] {
            assert!(!origins.allowed(site, "erp", APP).await.unwrap());
            assert!(!forgetful.allowed(site, "erp", APP).await.unwrap());
            assert_eq!(origins.remembered(site, APP).await, Some(false));
            enter(&*store, &of(&format!("spa{}", site.0), APP)).await;
            assert!(!origins.allowed(site, "erp", APP).await.unwrap());
            assert!(forgetful.allowed(site, "erp", APP).await.unwrap());
            store.delete_client("erp", &format!("spa{}", site.0)).await.unwrap();
        }
    }
}
