//! Where tokens, clients and credentials are kept: the contract, and who fulfils it.
//!
//! Every key belongs to one site. Only hashes of tokens and secrets, and sealed credentials, ever come here.
//! `embedded` and `redis` fulfil the contract, and `contract` (a test) holds both to it; `cached` stands in front of either on the
//! path of a request.

pub mod cached;
pub mod copy;
pub mod embedded;
pub mod export;
pub(crate) mod flight;
pub mod follower;
pub mod grants;
pub mod kept;
pub mod ledger;
pub mod link;
pub mod log;
mod marked;
pub mod origins;
pub mod presence;
mod record;
pub mod redis;
pub mod seal;
pub mod servers;
pub mod tokens;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
#[path = "../../tests/support/alone.rs"]
mod redis_alone;
#[cfg(test)]
#[path = "../../tests/support/cluster.rs"]
pub(crate) mod redis_cluster;
#[cfg(test)]
#[path = "../../tests/support/redis.rs"]
pub(crate) mod redis_server;
#[cfg(test)]
#[path = "../../tests/support/sentinel.rs"]
pub(crate) mod redis_watched;
#[cfg(test)]
mod watched;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::embedded::EmbeddedStore;
use crate::store::export::PortableStore;
use crate::store::kept::{RecordStore, RevocationStore};
use crate::store::ledger::Ended;
use crate::store::presence::PresenceStore;
use crate::store::redis::RedisStore;
use crate::store::servers::Servers;

/// Seconds for which a deleted token is remembered whose record cannot be read: the longest that one may live, a year.
const ENDED_KEPT: u64 = 365 * 86_400;

/// A store could not answer; says what was asked and why, for the operator's log. The gate answers 503.
#[derive(Clone, Debug)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The record of a token, expired or not; `None` where there is none. An expired one may be gone at any time.
    async fn token(&self, site: &str, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError>;
    /// Keeps a token until its `exp`. One that is there already is replaced, and the log told.
    async fn put_token(&self, site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<(), StoreError>;
    /// Revokes a token; whether there was one. Its entry in the log is the revocation, the rest is tidying up.
    async fn delete_token(&self, site: &str, hash: &TokenHash) -> Result<bool, StoreError>;
    /// The live tokens of a client, in the order of their `exp`, then of their hash; `limit` at most.
    async fn tokens_of(&self, site: &str, client: &str, limit: usize) -> Result<Vec<(TokenHash, TokenRecord)>, StoreError>;
}

/// Clients, as their marks leave them. Whatever changes one is told in the log.
#[async_trait]
pub trait ClientStore: Send + Sync {
    async fn client(&self, site: &str, id: &str) -> Result<Option<Client>, StoreError>;
    /// Keeps a new client; `false` (and nothing changed) where its id is taken.
    async fn create_client(&self, site: &str, client: &Client) -> Result<bool, StoreError>;
    /// Replaces a client that is there; `false` where there is none.
    async fn update_client(&self, site: &str, client: &Client) -> Result<bool, StoreError>;
    async fn delete_client(&self, site: &str, id: &str) -> Result<bool, StoreError>;
    /// In the order of their ids.
    async fn clients(&self, site: &str) -> Result<Vec<Client>, StoreError>;
}

#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// Sealed bytes, as they were put; `None` where there are none.
    async fn credential(&self, site: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError>;
    async fn put_credential(&self, site: &str, id: &str, sealed: &[u8]) -> Result<(), StoreError>;
    async fn delete_credential(&self, site: &str, id: &str) -> Result<bool, StoreError>;
}

/// Everything that one gate keeps.
#[async_trait]
pub trait Store: TokenStore + ClientStore + CredentialStore + RecordStore + RevocationStore + PresenceStore + PortableStore {
    /// Asks for an answer, any answer: for `/readyz` and for the check before a port is open.
    async fn ping(&self) -> Result<(), StoreError>;
    /// `embedded` or `redis`.
    fn kind(&self) -> &'static str;
}

/// Opens the configured store and asks it for an answer, so that one that cannot be reached stops the start before a port is open.
///
/// Call it on the runtime that lives longest: what keeps a Redis connection alive is a task there, and every other runtime may use the
/// store through it.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let store: Arc<dyn Store> = match &settings.backend {
        Backend::Embedded { path } => Arc::new(EmbeddedStore::open(path)?),
        Backend::Redis { servers, prefix } => Arc::new(RedisStore::connect(servers, prefix, settings.lookup_timeout).await?),
    };
    store.ping().await?;
    Ok(store)
}

/// What the log says of a token that is deleted, whose record is `record`, if that can be read: no clock of the fleet may have issued it later
/// than the log says it is void until.
fn ended(record: Option<&TokenRecord>) -> Ended {
    let now = wall_clock();
    record.map_or(Ended { at: now, exp: now.plus(ENDED_KEPT) }, |record| Ended { at: now.max(record.iat), exp: record.exp })
}

/// The present second, by this machine's clock. Only for housekeeping and listings: whether a request's token has expired is judged
/// by the caller's own `now`.
fn wall_clock() -> Timestamp {
    Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Which store, and how it is asked; complete and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub backend: Backend,
    /// The longest that one question to the store may take; then it counts as unable to answer.
    pub lookup_timeout: Duration,
    /// Tokens that the cache keeps.
    pub cache_entries_max: u64,
    /// How old an answer of the store may be when a request is decided on it: the bound of DESIGN section 6.
    pub revocation_bound: Duration,
    /// How long what is known goes on to count while the store is lost; `None` where nothing does beyond the bound.
    pub serve_known: Option<Duration>,
}

#[derive(Clone, Debug)]
pub enum Backend {
    /// One transactional local file.
    Embedded { path: std::path::PathBuf },
    /// `prefix` is `sg` unless configured.
    Redis { servers: Servers, prefix: String },
}

/// A Redis address as the `redis` crate reads it, `redis://`, `rediss://` (TLS) or `redis+unix://`, password included: it prints without it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(pub Arc<str>);

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}
