//! What an operator can do to a gate: who does it, and with what. `clients`, `tokens`, `grants` and `wait` hold the operations themselves.
//!
//! Each change writes to the store first and then makes the cache forget, also where the store failed: whether a failed write took place
//! is not always known. Each is told in the log, without secrets.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use serde_json::{Value, json};

use crate::admin::error::{AdminError, Code};
use crate::policy::coverage::Meanings;
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, TOKEN_BYTES};
use crate::store::cached::{CachedStore, SiteId};
use crate::store::seal::SealKey;
use crate::store::{Store, StoreError};
use crate::wording::alike;

/// What of the config the operations need.
#[derive(Clone, Debug)]
pub struct Rules {
    pub sites: Vec<Site>,
    pub scopes: Meanings,
}

#[derive(Clone, Debug)]
pub struct Site {
    pub name: Arc<str>,
    /// What the cache calls it.
    pub id: SiteId,
    /// Whether a client may have an API key in place of the site's.
    pub takes_api_keys: bool,
}

/// What a running gate says of itself: the JSON of `status`, but for `store` and `cache`, which are added here.
pub type StatusSource = Box<dyn Fn() -> Value + Send + Sync>;

/// The operations, on one store.
pub struct Admin {
    rules: ArcSwap<Rules>,
    pub(super) store: Arc<dyn Store>,
    /// That of the running gate; `None` in a process of its own.
    pub(super) cached: Option<Arc<CachedStore>>,
    pub(super) seal: Option<Arc<SealKey>>,
    status: StatusSource,
    /// A client is read, changed and written back, and two changes at a time would lose one: a disabled client would be enabled again
    /// by the rotation of its secret. Held across the store's answers, by operators only.
    pub(super) changes: tokio::sync::Mutex<()>,
}

impl Admin {
    pub fn new(
        rules: Rules,
        store: Arc<dyn Store>,
        cached: Option<Arc<CachedStore>>,
        seal: Option<Arc<SealKey>>,
        status: StatusSource,
    ) -> Self {
        Self { rules: ArcSwap::from_pointee(rules), store, cached, seal, status, changes: tokio::sync::Mutex::new(()) }
    }

    /// What the gate says of itself.
    pub async fn status(&self) -> Value {
        let mut status = (self.status)();
        let Some(keys) = status.as_object_mut() else { return status };
        if !keys.contains_key("store") {
            let reachable = self.store.ping().await.is_ok();
            keys.insert("store".to_owned(), json!({"kind": self.store.kind(), "reachable": reachable}));
        }
        if let Some(cached) = &self.cached
            && !keys.contains_key("cache")
        {
            keys.insert("cache".to_owned(), json!({"entries": cached.len(), "hits": cached.hits(), "misses": cached.misses()}));
        }
        if let Some(sites) = keys.get_mut("sites").and_then(Value::as_array_mut) {
            // A store that cannot be asked about one site is not asked about all the others in turn: nothing is said of them.
            let _ = self.tell_gateways(sites).await;
        }
        status
    }

    /// Adds how many gateways follow the log of each site.
    async fn tell_gateways(&self, sites: &mut [Value]) -> Result<(), StoreError> {
        for site in sites {
            let Some(name) = site["name"].as_str() else { continue };
            let gateways = self.store.gateways(name).await?;
            if let Some(log) = site.get_mut("revocation_log").and_then(Value::as_object_mut) {
                log.insert("gateways".to_owned(), json!(gateways.iter().filter(|seen| seen.lives()).count()));
            }
        }
        Ok(())
    }

    /// The store that is handed out whole: only the embedded one, because anybody else can ask Redis.
    pub(super) fn portable_store(&self) -> Result<Arc<dyn Store>, AdminError> {
        match self.store.kind() {
            "embedded" => Ok(Arc::clone(&self.store)),
            kind => {
                let message =
                    format!("the running gate keeps its data in {kind}, and the config says otherwise; restart it, or name its config");
                Err(AdminError::new(Code::StoreUnfit, message))
            }
        }
    }

    /// Takes over what a reload of the configuration says.
    pub fn replace_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(super) fn site(&self, name: &str) -> Result<(SiteId, Site), AdminError> {
        let rules = self.rules();
        let sites = || rules.sites.iter();
        if let Some(site) = sites().find(|site| *site.name == *name) {
            return Ok((site.id, site.clone()));
        }
        let remedy = match alike(name, sites().map(|site| &*site.name)) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("the config has {}", sites().map(|site| &*site.name).collect::<Vec<_>>().join(", ")),
        };
        Err(AdminError::new(Code::SiteUnknown, format!("there is no site `{}`; {remedy}", name.escape_debug())))
    }
}

/// The present second.
pub(super) fn now() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// A new secret. Never one that begins with `-`, which a shell's command would take for an option; that costs a fortieth of one bit.
pub(super) fn new_secret() -> Result<AccessToken, AdminError> {
    loop {
        let mut random = [0; TOKEN_BYTES];
        fill(&mut random)?;
        let secret = AccessToken::from_random(random);
        if !secret.reveal().starts_with('-') {
            return Ok(secret);
        }
    }
}

pub(super) fn fill(random: &mut [u8]) -> Result<(), AdminError> {
    rand::fill(random).map_err(|_| AdminError::new(Code::Internal, "the system gives no random bytes; try again"))
}
