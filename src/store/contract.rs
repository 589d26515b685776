//! What every store must do, run against each of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::oauth::client::{Client, ClientRate};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::RedisStore;
use crate::store::redis_server::RedisServer;
use crate::store::{RedisUrl, Store, wall_clock};

/// Long enough for a machine under load: what the budget bounds is tested by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn token(client: &str, scopes: &str, exp: Timestamp) -> TokenRecord {
    TokenRecord {
        v: RECORD_VERSION,
        client: client.into(),
        user: "user@example.com".into(),
        scopes: Scopes::parse(scopes).unwrap(),
        grant: None,
        iat: Timestamp::from_unix(1_700_000_000),
        exp,
    }
}

pub fn client(id: &str) -> Client {
    Client {
        secret: Some(TokenHash::of(b"secret")),
        ..Client::new(id, &format!("The {id} app"), Scopes::parse("read write").unwrap(), Timestamp::from_unix(1_600_000_000))
    }
}

pub fn hash(text: &str) -> TokenHash {
    TokenHash::of(text.as_bytes())
}

/// An hour from now.
pub fn later() -> Timestamp {
    wall_clock().plus(3600)
}

pub fn embedded(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&directory.join("store.redb")).unwrap()
}

pub async fn redis(server: &RedisServer, budget: Duration) -> RedisStore {
    RedisStore::connect(&RedisUrl(server.url().into()), "sg", budget).await.unwrap()
}

/// One test a rule and store; and all rules together, for stores that are too dear to be made once for each.
macro_rules! contract {
    ($($rule:ident)*) => {
        pub async fn every_rule(open: impl AsyncFn() -> Arc<dyn Store>) {
            $($rule(open().await).await;)*
        }

        mod embedded_store {
            $(
                #[tokio::test]
                async fn $rule() {
                    let directory = tempfile::tempdir().unwrap();
                    super::$rule(Arc::new(super::embedded(directory.path()))).await;
                }
            )*
            use std::sync::Arc;
        }

        mod redis_store {
            $(
                #[tokio::test]
                async fn $rule() {
                    let server = super::RedisServer::start();
                    super::$rule(Arc::new(super::redis(&server, super::PATIENCE).await)).await;
                }
            )*
            use std::sync::Arc;
        }
    };
}

pub mod export;
pub mod kept;
pub mod presence;
pub mod revocations;

contract! {
    a_token_is_kept_as_it_was_put_until_it_is_replaced_or_deleted
    sites_share_nothing
    an_expired_token_never_comes_back_as_a_live_one
    the_tokens_of_a_client_come_soonest_to_expire_first
    a_token_that_was_put_anew_is_listed_once_and_where_it_belongs
    a_client_is_created_once_however_many_try
    a_client_is_updated_only_where_it_is
    clients_come_in_the_order_of_their_ids
    a_credential_is_any_bytes
    names_that_could_forge_a_key_are_refused
    a_record_of_another_version_is_not_written
    many_tokens_are_listed_whole_and_expired_ones_go
}

async fn a_token_is_kept_as_it_was_put_until_it_is_replaced_or_deleted(store: Arc<dyn Store>) {
    let first = TokenRecord { grant: Some("g-1".into()), ..token("crm", "read write:sales-order call:my_app.*", later()) };
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), None);
    assert!(!store.delete_token("erp", &hash("a")).await.unwrap());
    store.put_token("erp", &hash("a"), &first).await.unwrap();
    assert_eq!(store.token("erp", &hash("a")).await.unwrap().as_ref(), Some(&first));
    let second = token("crm", "all", later().plus(9));
    store.put_token("erp", &hash("a"), &second).await.unwrap();
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), Some(second));
    assert!(store.delete_token("erp", &hash("a")).await.unwrap());
    assert!(!store.delete_token("erp", &hash("a")).await.unwrap());
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), None);
    assert_eq!(store.tokens_of("erp", "crm", 10).await.unwrap(), []);
}

async fn sites_share_nothing(store: Arc<dyn Store>) {
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    store.put_credential("erp", "crm", b"sealed").await.unwrap();
    for other in ["er", "erp2", "ERP", "erp.example.com"] {
        assert_eq!(store.token(other, &hash("a")).await.unwrap(), None);
        assert!(!store.delete_token(other, &hash("a")).await.unwrap());
        assert_eq!(store.tokens_of(other, "crm", 10).await.unwrap(), []);
        assert_eq!(store.client(other, "crm").await.unwrap(), None);
        assert!(!store.update_client(other, &client("crm")).await.unwrap());
        assert!(!store.delete_client(other, "crm").await.unwrap());
        assert_eq!(store.clients(other).await.unwrap(), []);
        assert_eq!(store.credential(other, "crm").await.unwrap(), None);
        assert!(!store.delete_credential(other, "crm").await.unwrap());
    }
    assert!(store.token("erp", &hash("a")).await.unwrap().is_some());
}

async fn an_expired_token_never_comes_back_as_a_live_one(store: Arc<dyn Store>) {
    for (name, exp) in [("first", 0), ("old", 1), ("last year", 1_700_000_000)] {
        store.put_token("erp", &hash(name), &token("crm", "read", Timestamp::from_unix(exp))).await.unwrap();
        let found = store.token("erp", &hash(name)).await.unwrap();
        assert!(found.is_none_or(|record| record.expired(wall_clock())), "{name}");
    }
    let just_now = token("crm", "read", Timestamp::from_unix(wall_clock().unix() - 5));
    store.put_token("erp", &hash("just now"), &just_now).await.unwrap();
    assert_eq!(store.tokens_of("erp", "crm", 10).await.unwrap(), []);
    let never = token("crm", "read", Timestamp::from_unix(u64::MAX));
    store.put_token("erp", &hash("never"), &never).await.unwrap();
    assert_eq!(store.token("erp", &hash("never")).await.unwrap(), Some(never));
    assert_eq!(store.token("erp", &hash("just now")).await.unwrap(), Some(just_now), "its bearer is told that it has expired");
}

async fn the_tokens_of_a_client_come_soonest_to_expire_first(store: Arc<dyn Store>) {
    for (name, seconds) in [("c", 30), ("a", 10), ("b", 20)] {
        store.put_token("erp", &hash(name), &token("crm", "read", later().plus(seconds))).await.unwrap();
    }
    store.put_token("erp", &hash("d"), &token("crm2", "read", later())).await.unwrap();
    store.put_token("erp", &hash("e"), &token("crm", "read", Timestamp::from_unix(5))).await.unwrap();
    let listed = |limit| {
        let store = Arc::clone(&store);
        async move { store.tokens_of("erp", "crm", limit).await.unwrap().into_iter().map(|(hash, _)| hash).collect::<Vec<_>>() }
    };
    assert_eq!(listed(10).await, [hash("a"), hash("b"), hash("c")]);
    assert_eq!(listed(2).await, [hash("a"), hash("b")]);
    assert_eq!(listed(0).await, []);
    store.delete_token("erp", &hash("a")).await.unwrap();
    assert_eq!(listed(2).await, [hash("b"), hash("c")]);
}

async fn a_token_that_was_put_anew_is_listed_once_and_where_it_belongs(store: Arc<dyn Store>) {
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    store.put_token("erp", &hash("a"), &token("crm", "read", later().plus(60))).await.unwrap();
    assert_eq!(store.tokens_of("erp", "crm", 10).await.unwrap().len(), 1);
    store.put_token("erp", &hash("a"), &token("shop", "read", later())).await.unwrap();
    assert_eq!(store.tokens_of("erp", "crm", 10).await.unwrap(), []);
    assert_eq!(store.tokens_of("erp", "shop", 10).await.unwrap().len(), 1);
}

async fn a_client_is_created_once_however_many_try(store: Arc<dyn Store>) {
    let tries: Vec<_> = (0..8)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { store.create_client("erp", &Client { name: format!("app {number}"), ..client("crm") }).await.unwrap() },
            )
        })
        .collect();
    let mut created = Vec::new();
    for (number, attempt) in tries.into_iter().enumerate() {
        if attempt.await.unwrap() {
            created.push(format!("app {number}"));
        }
    }
    assert_eq!(created, [store.client("erp", "crm").await.unwrap().unwrap().name]);
}

async fn a_client_is_updated_only_where_it_is(store: Arc<dyn Store>) {
    assert!(!store.update_client("erp", &client("crm")).await.unwrap());
    assert_eq!(store.client("erp", "crm").await.unwrap(), None);
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    let changed = Client { enabled: false, secret: None, rate: Some(ClientRate { requests: 5, seconds: 1, burst: 9 }), ..client("crm") };
    assert!(store.update_client("erp", &changed).await.unwrap());
    assert_eq!(store.client("erp", "crm").await.unwrap(), Some(changed));
    assert!(store.delete_client("erp", "crm").await.unwrap());
    assert!(!store.delete_client("erp", "crm").await.unwrap());
    assert_eq!(store.client("erp", "crm").await.unwrap(), None);
    assert!(store.create_client("erp", &client("crm")).await.unwrap(), "its id is free again");
    assert_eq!(store.clients("erp").await.unwrap(), [client("crm")]);
}

async fn clients_come_in_the_order_of_their_ids(store: Arc<dyn Store>) {
    for id in ["shop", "~z", "crm", "Crm", "crm-2", "crm.1"] {
        assert!(store.create_client("erp", &client(id)).await.unwrap());
    }
    assert!(store.create_client("erp2", &client("other")).await.unwrap());
    store.delete_client("erp", "shop").await.unwrap();
    let ids: Vec<_> = store.clients("erp").await.unwrap().into_iter().map(|client| client.id.to_string()).collect();
    assert_eq!(ids, ["Crm", "crm", "crm-2", "crm.1", "~z"]);
}

async fn a_credential_is_any_bytes(store: Arc<dyn Store>) {
    assert_eq!(store.credential("erp", "site").await.unwrap(), None);
    for sealed in [&b""[..], b"\0\xff\r\n:", &[7; 60_000]] {
        store.put_credential("erp", "site", sealed).await.unwrap();
        assert_eq!(store.credential("erp", "site").await.unwrap().as_deref(), Some(sealed));
    }
    assert!(store.put_credential("erp", "site", &[0; 70_000]).await.is_err());
    assert!(store.delete_credential("erp", "site").await.unwrap());
    assert!(!store.delete_credential("erp", "site").await.unwrap());
    assert_eq!(store.credential("erp", "site").await.unwrap(), None);
}

async fn names_that_could_forge_a_key_are_refused(store: Arc<dyn Store>) {
    for bad in ["", "erp:token", "a b", "{erp}", "erp\n", "é"] {
        assert!(store.token(bad, &hash("a")).await.is_err(), "{bad:?}");
        assert!(store.put_token(bad, &hash("a"), &token("crm", "read", later())).await.is_err());
        assert!(store.put_token("erp", &hash("a"), &token(bad, "read", later())).await.is_err());
        assert!(store.delete_token(bad, &hash("a")).await.is_err());
        assert!(store.tokens_of(bad, "crm", 1).await.is_err());
        assert!(store.tokens_of("erp", bad, 1).await.is_err());
        assert!(store.client(bad, "crm").await.is_err());
        assert!(store.client("erp", bad).await.is_err());
        assert!(store.create_client(bad, &client("crm")).await.is_err());
        assert!(store.create_client("erp", &client(bad)).await.is_err());
        assert!(store.update_client("erp", &client(bad)).await.is_err());
        assert!(store.delete_client("erp", bad).await.is_err());
        assert!(store.clients(bad).await.is_err());
        assert!(store.credential("erp", bad).await.is_err());
        assert!(store.put_credential(bad, "crm", b"").await.is_err());
        assert!(store.delete_credential("erp", bad).await.is_err());
    }
    assert_eq!(store.clients("erp").await.unwrap(), []);
}

async fn a_record_of_another_version_is_not_written(store: Arc<dyn Store>) {
    let record = TokenRecord { v: 2, ..token("crm", "read", later()) };
    assert!(store.put_token("erp", &hash("a"), &record).await.is_err());
    assert!(store.create_client("erp", &Client { v: 2, ..client("crm") }).await.is_err());
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), None);
}

async fn many_tokens_are_listed_whole_and_expired_ones_go(store: Arc<dyn Store>) {
    for number in 0..70 {
        let exp = Timestamp::from_unix(1_700_000_000 + number);
        store.put_token("erp", &hash(&format!("old {number}")), &token("crm", "read", exp)).await.unwrap();
    }
    for number in 0..150 {
        store.put_token("erp", &hash(&format!("new {number}")), &token("crm", "read", later().plus(number))).await.unwrap();
    }
    let all = store.tokens_of("erp", "crm", usize::MAX).await.unwrap();
    assert_eq!(all.len(), 150);
    assert!(all.is_sorted_by_key(|(_, record)| record.exp));
    assert_eq!(store.tokens_of("erp", "crm", 130).await.unwrap(), all[..130]);
    for number in 0..70 {
        assert_eq!(store.token("erp", &hash(&format!("old {number}"))).await.unwrap(), None);
    }
}
