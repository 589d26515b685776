//! What the upstream is shown for the user: the client's own token, the site's own, or an API key of the client or the site.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use moka::future::Cache;

use crate::audit;
use crate::gateway::Worker;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::{Credential, Site};
use crate::gateway::site_tokens::{Holder, Lost, Opened, SiteClient};
use crate::policy::time::Timestamp;
use crate::policy::token::AccessToken;
use crate::store::Store;
use crate::store::cached::{Live, SiteId};
use crate::store::seal::SealKey;
use crate::upstream::credential::{ApiKey, forward};

/// Clients whose key (or want of one) is remembered.
const KEYS_MAX: u64 = 10_000;

/// What each client shows; `None` where it has no key of its own.
type Keys = Cache<(SiteId, Arc<str>), Option<HeaderValue>>;

/// The API keys of clients, opened a moment ago. They lie sealed in the store.
pub struct ClientKeys {
    store: Arc<dyn Store>,
    /// `None` where none can be opened.
    seal: Option<Arc<SealKey>>,
    known: Keys,
    /// The same, for longer: what is shown while the store cannot be read, where the operator wants that.
    last: Option<Keys>,
}

impl ClientKeys {
    /// Keys are read again after `bound`, like everything else that can be taken back, and go on to be shown for `serve_known` where the
    /// store cannot be read.
    pub fn new(store: Arc<dyn Store>, seal: Option<Arc<SealKey>>, bound: Duration, serve_known: Option<Duration>) -> Self {
        let keys = |time| Cache::builder().max_capacity(KEYS_MAX).time_to_live(time).build();
        // What is shown is as old as the last read before the loss.
        let last = serve_known.map(|serve_known| keys(serve_known + bound));
        Self { store, seal, known: keys(bound), last }
    }

    /// The complete `Authorization` for the client; `None` where it has no key of its own.
    async fn of(&self, site: &Site, client: &Arc<str>) -> Result<Option<HeaderValue>, String> {
        let key = (site.id, client.clone());
        let read = async {
            let header = self.read(site, client).await?;
            if let Some(last) = &self.last {
                last.insert(key.clone(), header.clone()).await;
            }
            Ok(header)
        };
        match self.known.try_get_with(key.clone(), read).await {
            Ok(header) => Ok(header),
            Err(error) => {
                let error: Arc<String> = error;
                let last = match &self.last {
                    Some(last) => last.get(&key).await,
                    None => None,
                };
                last.ok_or_else(|| error.to_string())
            }
        }
    }

    async fn read(&self, site: &Site, client: &Arc<str>) -> Result<Option<HeaderValue>, String> {
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
    }
}

/// What is shown to the upstream.
pub struct Shown {
    pub header: HeaderValue,
    /// Set where it is the site's own token, which the site may refuse while the app's is good.
    pub kept: Option<Arc<Opened>>,
    /// Whether it took time to come by.
    pub waited: bool,
}

impl Worker {
    /// The `Authorization` for the upstream.
    pub(super) async fn credential(&self, site: &Site, live: &Live, token: &AccessToken) -> Result<Shown, Rejection> {
        let header = match &site.credential {
            Credential::Forward => forward(token),
            Credential::Bearer(client) => match &live.record.grant {
                Some(grant) => return self.site_token(client, grant).await,
                None => Box::pin(self.key_of(site, live)).await?.ok_or_else(|| self.credential_missing(site, live))?,
            },
            Credential::ApiKey { of_site } => self.key_of(site, live).await?.unwrap_or_else(|| of_site.clone()),
        };
        Ok(Shown { header, kept: None, waited: false })
    }

    async fn key_of(&self, site: &Site, live: &Live) -> Result<Option<HeaderValue>, Rejection> {
        self.shared.keys.of(site, &live.client.id).await.map_err(|error| self.credential_away(&error))
    }

    async fn site_token(&self, site: &Arc<SiteClient>, grant: &Arc<str>) -> Result<Shown, Rejection> {
        let now = Timestamp::from_unix(audit::now().as_secs());
        let (opened, waited) = match self.shared.site_tokens.ready(site.site, grant, now).await {
            Some(opened) => (opened, false),
            // Boxed: a request that finds a token in memory keeps no room for all that may be done without one.
            None => {
                let holder = self.holder(site, grant);
                let opened = Box::pin(self.shared.site_tokens.of(&holder, now)).await;
                (opened.map_err(|lost| self.lost(lost))?, true)
            }
        };
        Ok(Shown { header: opened.header(), kept: Some(opened), waited })
    }

    pub(super) fn holder(&self, site: &Arc<SiteClient>, grant: &Arc<str>) -> Holder {
        Holder { site: site.clone(), upstreams: self.upstreams.clone(), grant: grant.clone() }
    }

    pub(super) fn lost(&self, lost: Lost) -> Rejection {
        match lost {
            Lost::Refused => Rejection::GrantRefused,
            Lost::Ended => Rejection::TokenRevoked,
            Lost::Away(error) => self.credential_away(&error),
        }
    }

    pub(super) fn credential_away(&self, error: &str) -> Rejection {
        self.shared.complaints.utter(&format!("there is no credential for a request: {error}"));
        Rejection::CredentialAway
    }

    fn credential_missing(&self, site: &Site, live: &Live) -> Rejection {
        let (client, site) = (&live.client.id, &site.name);
        self.shared.complaints.utter(&format!(
            "client `{client}` of site `{site}` has tokens that no user signed in for, and the site knows nobody by them; give it an API key \
             with `scopegate client update {client} --api-key-file FILE`, or have its users sign in"
        ));
        Rejection::CredentialMissing
    }
}
