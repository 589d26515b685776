//! The operations on a real store, alone and through the socket.

mod operations;
mod registered;
mod revoked;
mod socket;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::admin::message::{NewClient, NewToken, SecretText, TokenListQuery};
use crate::admin::operations::{Admin, Rules, Site};
use crate::oauth::records::{Grant, Profile};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::cached::{CachedStore, Lookup, SiteId};
use crate::store::embedded::EmbeddedStore;
use crate::store::seal::SealKey;
use crate::store::{Backend, Settings, Store, grants};

/// The site whose clients may have API keys; it is the second.
const ERP: &str = "erp.example.com";
/// The site that passes tokens on.
const SHOP: &str = "shop.example.com";

const USER: &str = "sam@example.com";

/// A store in a directory of its own, a cache before it, and the operations on both.
struct Room {
    admin: Arc<Admin>,
    store: Arc<dyn Store>,
    cached: Arc<CachedStore>,
    seal: Arc<SealKey>,
    directory: TempDir,
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store.redb");
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&path).expect("a new store"));
        let settings = Settings {
            backend: Backend::Embedded { path },
            lookup_timeout: Duration::from_secs(5),
            cache_entries_max: 1000,
            // Nothing grows old during a test: whatever changes was forgotten at once.
            revocation_bound: Duration::from_secs(3600),
            serve_known: None,
        };
        let cached = Arc::new(CachedStore::new(Arc::clone(&store), &settings));
        let seal = Arc::new(SealKey::from_hex(&"5a".repeat(32)).expect("a key"));
        let admin = Self::admin(&store, Some(&cached), Some(&seal));
        Self { admin, store, cached, seal, directory }
    }

    fn admin(store: &Arc<dyn Store>, cached: Option<&Arc<CachedStore>>, seal: Option<&Arc<SealKey>>) -> Arc<Admin> {
        let rules = Rules {
            sites: vec![
                Site { name: SHOP.into(), id: SiteId(0), takes_api_keys: false },
                Site { name: ERP.into(), id: SiteId(1), takes_api_keys: true },
            ],
            scopes: [(Box::from("crm"), Scopes::parse("read:lead write:lead").expect("scopes"))].into(),
        };
        let status = Box::new(|| json!({"version": "test"}));
        Arc::new(Admin::new(rules, Arc::clone(store), cached.cloned(), seal.cloned(), status))
    }

    async fn client(&self, id: &str, scopes: &str) {
        self.admin.create_client(ERP, new_client(id, scopes)).await.expect("a new client");
    }

    /// A grant of `user` to `client`, begun at `at`, with a site token kept beside it.
    async fn grant(&self, id: &str, client: &str, user: &str, at: Timestamp) -> Grant {
        let grant = Grant {
            v: RECORD_VERSION,
            id: id.into(),
            client: client.into(),
            user: user.into(),
            scopes: Scopes::parse("read").expect("scopes"),
            created: at,
            used: at,
            profile: Profile::default(),
            ended: None,
        };
        assert!(grants::begin(&*self.store, ERP, &grant).await.expect("the store answers"));
        self.store.put_credential(ERP, id, b"sealed").await.expect("the store answers");
        grant
    }

    /// What a request with the token meets.
    async fn lives(&self, hash: &str) -> bool {
        let hash = TokenHash::from_hex(hash).expect("a hash");
        let found = self.cached.find(SiteId(1), ERP, &hash, Timestamp::from_unix(1)).await.expect("the store answers");
        matches!(found, Lookup::Live(_))
    }

    async fn put(&self, hash: &TokenHash, client: &str, iat: u64, exp: u64) {
        self.put_under(hash, client, iat, exp, None).await;
    }

    /// A token of a grant.
    async fn put_under(&self, hash: &TokenHash, client: &str, iat: u64, exp: u64, grant: Option<&str>) {
        let record = TokenRecord {
            v: RECORD_VERSION,
            client: client.into(),
            user: USER.into(),
            scopes: Scopes::parse("read").expect("scopes"),
            grant: grant.map(Into::into),
            iat: Timestamp::from_unix(iat),
            exp: Timestamp::from_unix(exp),
        };
        self.store.put_token(ERP, hash, &record).await.expect("the store answers");
    }
}

fn new_client(id: &str, scopes: &str) -> NewClient {
    NewClient { name: "App".to_owned(), client_id: Some(id.to_owned()), scopes: scopes.to_owned(), ..NewClient::default() }
}

fn new_token(client: &str, scope: &str) -> NewToken {
    NewToken { client_id: client.to_owned(), user: USER.to_owned(), scope: scope.to_owned(), expires_in: None, register: None }
}

fn register(client: &str, token: &str) -> NewToken {
    NewToken { register: Some(SecretText::new(token)), ..new_token(client, "read") }
}

fn list(client: &str, limit: Option<usize>) -> TokenListQuery {
    TokenListQuery { client: client.to_owned(), limit }
}
