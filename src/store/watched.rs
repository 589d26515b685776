//! A store for tests: it counts what it is asked, and answers late, wrongly or not at all where a test wants that.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::contract::{client, embedded, hash, token};
use crate::store::export::{Entry, Pages, PortableStore};
use crate::store::kept::{Kind, RecordStore, RevocationStore, Set, Subject};
use crate::store::ledger::{Ended, Ledger};
use crate::store::log::{self, Logged};
use crate::store::presence::{Gateway, PresenceStore, Seen};
use crate::store::{ClientStore, CredentialStore, Store, StoreError, TokenStore};

/// A real store, watched.
pub(super) struct Watched {
    store: Arc<dyn Store>,
    tokens_asked: AtomicUsize,
    clients_asked: AtomicUsize,
    /// A look-up of a token reads, then waits here, so that its answer is older than what happens meanwhile.
    pub gate: Semaphore,
    pub gated: AtomicBool,
    /// The same for a look-up of a client.
    pub client_gate: Semaphore,
    pub clients_gated: AtomicBool,
    /// How many have come to either gate.
    pub held: AtomicUsize,
    /// Nothing is answered, and nothing done.
    pub broken: AtomicBool,
    /// Everything is done, and nothing answered.
    pub mute: AtomicBool,
    /// The one operation that is refused.
    pub refused: Mutex<Option<&'static str>>,
    /// Which server this is: another number is another one.
    pub server: Arc<AtomicU64>,
    /// Of the embedded store below, unless it lies elsewhere.
    _directory: Option<TempDir>,
}

impl Watched {
    /// An embedded store of a test's own.
    pub fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(embedded(directory.path()));
        Arc::new(Self { _directory: Some(directory), ..Self::watching(store) })
    }

    /// `server` is which server it is, to be changed by the test.
    pub fn over(store: Arc<dyn Store>, server: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { server: Arc::clone(server), ..Self::watching(store) })
    }

    fn watching(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            tokens_asked: AtomicUsize::new(0),
            clients_asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
            client_gate: Semaphore::new(0),
            clients_gated: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            refused: Mutex::new(None),
            server: Arc::default(),
            _directory: None,
        }
    }

    /// With client `crm` and its token `a`.
    pub async fn with_token() -> Arc<Self> {
        let store = Self::new();
        store.create_client("erp", &client("crm")).await.unwrap();
        store.put_token("erp", &hash("a"), &token("crm", "read", Timestamp::from_unix(4_102_444_800))).await.unwrap();
        store
    }

    /// How many look-ups of tokens and of clients there were.
    pub fn asked(&self) -> (usize, usize) {
        (self.tokens_asked.load(Ordering::Relaxed), self.clients_asked.load(Ordering::Relaxed))
    }

    async fn ask<T>(&self, what: &str, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.broken.load(Ordering::Relaxed) || *self.refused.lock().unwrap() == Some(what) {
            return Err(StoreError("broken for the test".to_owned()));
        }
        let answer = answer.await;
        if self.mute.load(Ordering::Relaxed) {
            return Err(StoreError("the answer was lost for the test".to_owned()));
        }
        answer
    }

    async fn pass(&self, gate: &Semaphore, gated: &AtomicBool) {
        if gated.load(Ordering::Relaxed) {
            self.held.fetch_add(1, Ordering::Relaxed);
            gate.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl TokenStore for Watched {
    async fn token(&self, site: &str, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        self.tokens_asked.fetch_add(1, Ordering::Relaxed);
        let found = self.ask("token", self.store.token(site, hash)).await?;
        self.pass(&self.gate, &self.gated).await;
        Ok(found)
    }

    async fn put_token(&self, site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<(), StoreError> {
        self.ask("put_token", self.store.put_token(site, hash, record)).await
    }

    async fn delete_token(&self, site: &str, hash: &TokenHash) -> Result<bool, StoreError> {
        self.ask("delete_token", self.store.delete_token(site, hash)).await
    }

    async fn tokens_of(&self, site: &str, client: &str, limit: usize) -> Result<Vec<(TokenHash, TokenRecord)>, StoreError> {
        self.ask("tokens_of", self.store.tokens_of(site, client, limit)).await
    }
}

#[async_trait]
impl ClientStore for Watched {
    async fn client(&self, site: &str, id: &str) -> Result<Option<Client>, StoreError> {
        self.clients_asked.fetch_add(1, Ordering::Relaxed);
        let found = self.ask("client", self.store.client(site, id)).await?;
        self.pass(&self.client_gate, &self.clients_gated).await;
        Ok(found)
    }

    async fn create_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        self.ask("create_client", self.store.create_client(site, client)).await
    }

    async fn update_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        self.ask("update_client", self.store.update_client(site, client)).await
    }

    async fn delete_client(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        self.ask("delete_client", self.store.delete_client(site, id)).await
    }

    async fn clients(&self, site: &str) -> Result<Vec<Client>, StoreError> {
        self.ask("clients", self.store.clients(site)).await
    }
}

#[async_trait]
impl CredentialStore for Watched {
    async fn credential(&self, site: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask("credential", self.store.credential(site, id)).await
    }

    async fn put_credential(&self, site: &str, id: &str, sealed: &[u8]) -> Result<(), StoreError> {
        self.ask("put_credential", self.store.put_credential(site, id, sealed)).await
    }

    async fn delete_credential(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        self.ask("delete_credential", self.store.delete_credential(site, id)).await
    }
}

#[async_trait]
impl RecordStore for Watched {
    async fn record(&self, site: &str, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask("record", self.store.record(site, kind, id)).await
    }

    async fn create_record(&self, site: &str, kind: Kind, id: &str, json: &[u8], expires: Option<Timestamp>) -> Result<bool, StoreError> {
        self.ask("create_record", self.store.create_record(site, kind, id, json, expires)).await
    }

    async fn swap_record(
        &self,
        site: &str,
        kind: Kind,
        id: &str,
        old: &[u8],
        new: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.ask("swap_record", self.store.swap_record(site, kind, id, old, new, expires)).await
    }

    async fn delete_record(&self, site: &str, kind: Kind, id: &str) -> Result<bool, StoreError> {
        self.ask("delete_record", self.store.delete_record(site, kind, id)).await
    }

    async fn enter(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        self.ask("enter", self.store.enter(site, set, of, member)).await
    }

    async fn leave(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        self.ask("leave", self.store.leave(site, set, of, member)).await
    }

    async fn members(&self, site: &str, set: Set, of: &str) -> Result<Vec<String>, StoreError> {
        self.ask("members", self.store.members(site, set, of)).await
    }
}

#[async_trait]
impl RevocationStore for Watched {
    fn ledger(&self) -> &Ledger {
        self.store.ledger()
    }

    async fn revoke(&self, site: &str, subjects: &[Subject<'_>], at: Timestamp) -> Result<Timestamp, StoreError> {
        self.ask("revoke", self.store.revoke(site, subjects, at)).await
    }

    async fn raise(&self, site: &str, marks: &[(String, Timestamp)]) -> Result<(), StoreError> {
        self.ask("raise", self.store.raise(site, marks)).await
    }

    async fn mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError> {
        self.ask("mark", self.store.mark(site, subjects)).await
    }

    async fn marks(&self, site: &str) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.ask("marks", self.store.marks(site)).await
    }

    async fn end_tokens(&self, site: &str, ended: &[(TokenHash, Ended)]) -> Result<(), StoreError> {
        self.ask("end_tokens", self.store.end_tokens(site, ended)).await
    }

    async fn log(&self, site: &str, from: Option<&Logged>, limit: usize) -> Result<Option<Vec<Logged>>, StoreError> {
        self.ask("log", self.store.log(site, from, limit)).await
    }

    async fn announce(&self, site: &str, entry: &log::Entry) -> Result<(), StoreError> {
        self.ask("announce", self.store.announce(site, entry)).await
    }

    async fn server(&self, site: &str) -> Result<String, StoreError> {
        let server = self.ask("server", self.store.server(site)).await?;
        Ok(format!("{server} {}", self.server.load(Ordering::Relaxed)))
    }
}

#[async_trait]
impl PresenceStore for Watched {
    async fn present(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        self.ask("present", self.store.present(site, gateway)).await
    }

    async fn absent(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        self.ask("absent", self.store.absent(site, gateway)).await
    }

    async fn gateways(&self, site: &str) -> Result<Vec<Seen>, StoreError> {
        self.ask("gateways", self.store.gateways(site)).await
    }

    async fn acknowledge(&self, site: &str, names: &[Box<str>], gateway: &Gateway) -> Result<(), StoreError> {
        self.ask("acknowledge", self.store.acknowledge(site, names, gateway)).await
    }

    async fn acknowledged(&self, site: &str, name: &str) -> Result<BTreeSet<Gateway>, StoreError> {
        self.ask("acknowledged", self.store.acknowledged(site, name)).await
    }
}

#[async_trait]
impl PortableStore for Watched {
    async fn export(&self, pages: Pages) -> Result<u64, StoreError> {
        self.ask("export", self.store.export(pages)).await
    }

    async fn import(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.ask("import", self.store.import(entries)).await
    }
}

#[async_trait]
impl Store for Watched {
    async fn ping(&self) -> Result<(), StoreError> {
        self.ask("ping", self.store.ping()).await
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }
}
