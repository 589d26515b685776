//! What the upstream is shown for the user: the client's own token, or an API key of the client or the site.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use moka::future::Cache;

use crate::gateway::Worker;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::{Credential, Site};
use crate::policy::token::AccessToken;
use crate::store::Store;
use crate::store::cached::{Live, SiteId};
use crate::store::seal::SealKey;
use crate::upstream::credential::{ApiKey, forward};

/// Clients whose key (or want of one) is remembered.
const KEYS_MAX: u64 = 10_000;

/// The API keys of clients, opened a moment ago. They lie sealed in the store.
pub struct ClientKeys {
    store: Arc<dyn Store>,
    /// `None` where none can be opened.
    seal: Option<Arc<SealKey>>,
    known: Cache<(SiteId, Arc<str>), Option<HeaderValue>>,
}

impl ClientKeys {
    /// Keys are read again after `bound`, like everything else that can be taken back.
    pub fn new(store: Arc<dyn Store>, seal: Option<Arc<SealKey>>, bound: Duration) -> Self {
        Self { store, seal, known: Cache::builder().max_capacity(KEYS_MAX).time_to_live(bound).build() }
    }

    /// The complete `Authorization` for the client; `None` where it has no key of its own.
    async fn of(&self, site: &Site, client: &Arc<str>) -> Result<Option<HeaderValue>, String> {
        let key = (site.id, client.clone());
        let read = async {
            let sealed = self.store.credential(&site.name, client).await.map_err(|error| error.to_string())?;
            let Some(sealed) = sealed else { return Ok(None) };
            // The site's key may do more than this client was given, so it is no substitute for one that cannot be opened.
            let Some(seal) = &self.seal else {
                return Err(format!("client `{client}` has an API key of its own, and `store.encryption_key`, which opens it, is not set"));
            };
            let opened = seal.open(&site.name, client, &sealed).map_err(|error| format!("the API key of client `{client}`: {error}"))?;
            let text = String::from_utf8(opened).map_err(|_| format!("the API key of client `{client}` is not text"))?;
            let key = ApiKey::parse(&text).map_err(|error| format!("the API key of client `{client}`: {error}"))?;
            Ok(Some(key.header()))
        };
        self.known.try_get_with(key, read).await.map_err(|error: Arc<String>| error.to_string())
    }
}

impl Worker {
    /// The `Authorization` for the upstream.
    pub(super) async fn credential(&self, site: &Site, live: &Live, token: &AccessToken) -> Result<HeaderValue, Rejection> {
        match &site.credential {
            Credential::Forward => Ok(forward(token)),
            Credential::Bearer => Err(Rejection::CredentialAway),
            Credential::ApiKey { of_site } => match self.shared.keys.of(site, &live.client.id).await {
                Ok(of_client) => Ok(of_client.unwrap_or_else(|| of_site.clone())),
                Err(error) => {
                    self.shared.complaints.utter(&format!("a credential cannot be read: {error}"));
                    Err(Rejection::CredentialAway)
                }
            },
        }
    }
}
