//! Waiting until every gateway has applied what was revoked: on both stores, and with gateways that do not answer.

use tokio::runtime::Handle;

use super::*;
use crate::admin::door::running;
use crate::admin::error::{AdminError, Code};
use crate::admin::http;
use crate::admin::message::{Applied, Wait};
use crate::admin::socket::bind;
use crate::store::contract;
use crate::store::follower::Follower;
use crate::store::log::Entry;
use crate::store::presence::{Gateway, LIVE};
use crate::store::redis_server::RedisServer;

/// Longer than any answer takes: what is waited for comes.
const LONG: Wait = Wait { limit: 60 };

async fn wait(admin: &Admin, site: &str, limit: u64) -> Result<Applied, AdminError> {
    admin.wait(site, Wait { limit }).await
}

impl Room {
    /// A gateway of its own on this room's store.
    fn gateway(&self) -> Follower {
        follower(&self.store)
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("admin.sock")
    }
}

/// A gateway that follows both sites, with a cache of its own.
fn follower(store: &Arc<dyn Store>) -> Follower {
    let settings = Settings {
        backend: Backend::Embedded { path: "unused".into() },
        lookup_timeout: Duration::from_secs(20),
        cache_entries_max: 10,
        revocation_bound: Duration::from_secs(1),
        serve_known: None,
    };
    let follower = Follower::new(Arc::new(CachedStore::new(Arc::clone(store), &settings)), settings.revocation_bound, Handle::current());
    follower.follow(SiteId(0), SHOP);
    follower.follow(SiteId(1), ERP);
    follower
}

/// Returns when `count` gateways have said that they follow the site.
async fn seen(store: &Arc<dyn Store>, count: usize) {
    while store.gateways(ERP).await.expect("the store answers").len() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_gateway_says_that_it_has_applied_a_revocation() {
    let room = Room::new();
    room.client("crm", "read").await;
    let (_first, _second) = (room.gateway(), room.gateway());
    seen(&room.store, 2).await;
    room.admin.disable_client(ERP, "crm").await.expect("it is there");
    for _ in 0..3 {
        let applied = room.admin.wait(ERP, LONG).await.expect("the store answers");
        assert_eq!((applied.gateways, applied.applied, applied.silent.len(), applied.by_all()), (2, 2, 0, true), "{applied:?}");
        assert!(applied.took_ms < 60_000, "{applied:?}");
    }
    assert_eq!(room.admin.wait(SHOP, LONG).await.expect("the store answers").gateways, 2, "the other site's log is another");
}

#[tokio::test]
async fn gateways_on_one_redis_have_connections_of_their_own() {
    let server = RedisServer::start();
    let connect = async || Arc::new(contract::redis(&server, contract::PATIENCE).await) as Arc<dyn Store>;
    let (first, second, operator) = (connect().await, connect().await, connect().await);
    let gateways = (follower(&first), follower(&second));
    seen(&operator, 2).await;
    let admin = Room::admin(&operator, None, None);
    admin.create_client(ERP, new_client("crm", "read")).await.expect("a new client");
    admin.revoke_client(ERP, "crm").await.expect("it is there");
    let applied = admin.wait(ERP, LONG).await.expect("the store answers");
    assert_eq!((applied.gateways, applied.applied, applied.by_all()), (2, 2, true), "{applied:?}");
    let subjects = [crate::store::kept::Subject::Client("crm")];
    for store in [&first, &second] {
        assert!(store.ledger().site(ERP).mark(&subjects).is_some(), "who says that it has applied it knows it");
    }
    gateways.0.leave().await;
    let applied = admin.wait(ERP, LONG).await.expect("the store answers");
    assert_eq!((applied.gateways, applied.by_all()), (1, true), "one that has ended is not waited for");
    drop(gateways.1);
    let applied = wait(&admin, ERP, 1).await.expect("the store answers");
    assert_eq!((applied.gateways, applied.applied, applied.silent.len()), (1, 0, 1), "one that has died is");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_named_when_the_time_is_up() {
    let room = Room::new();
    let _live = room.gateway();
    seen(&room.store, 1).await;
    let silent = Gateway::here();
    room.store.present(ERP, &silent).await.expect("the store answers");
    let applied = wait(&room.admin, ERP, 10).await.expect("the store answers");
    assert_eq!((applied.gateways, applied.applied, applied.by_all()), (2, 1, false), "{applied:?}");
    assert_eq!(applied.silent.iter().map(|one| one.gateway.clone()).collect::<Vec<_>>(), [silent.to_string()]);
    assert!((10_000..11_000).contains(&applied.took_ms), "{applied:?}");
    assert!((10_000..11_000).contains(&applied.silent[0].last_seen_ms), "{applied:?}");

    let applied = wait(&room.admin, ERP, 10).await.expect("the store answers");
    assert_eq!((applied.gateways, applied.by_all()), (1, true), "it is no longer taken to live");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_comes_later_is_waited_for_as_well() {
    let room = Room::new();
    let silent = Gateway::here();
    room.store.present(ERP, &silent).await.expect("the store answers");
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let late = room.gateway();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It ends without a word after it has answered, and the first answers last.
        drop(late);
        let names = room.store.log(ERP, None, 100).await.expect("the store answers").expect("a log");
        let name = names.into_iter().find_map(|logged| match logged.entry {
            Entry::Wait { name } => Some(name),
            _ => None,
        });
        room.store.acknowledge(ERP, &[name.expect("the entry is there")], &silent).await.expect("the store answers");
    };
    let (applied, ()) = tokio::join!(wait(&room.admin, ERP, 60), late);
    let applied = applied.expect("the store answers");
    assert_eq!((applied.gateways, applied.applied, applied.by_all()), (2, 2, true), "{applied:?}");
    assert!((2_000..3_000).contains(&applied.took_ms), "{applied:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_gateway_nobody_has_applied_it() {
    let room = Room::new();
    let nobody = Applied { gateways: 0, applied: 0, took_ms: 0, silent: Vec::new() };
    let applied = wait(&room.admin, ERP, 10).await.expect("the store answers");
    assert_eq!((Applied { took_ms: 0, ..applied.clone() }, applied.by_all()), (nobody, false));
    assert!(applied.took_ms < 1_000, "there is nothing to wait for: {applied:?}");
    room.store.present(ERP, &Gateway::here()).await.expect("the store answers");
    room.store.present(SHOP, &Gateway::here()).await.expect("the store answers");
    tokio::time::advance(LIVE + Duration::from_millis(1)).await;
    assert_eq!(wait(&room.admin, ERP, 10).await.expect("the store answers").gateways, 0, "it was seen too long ago");
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused() {
    let room = Room::new();
    for limit in [0, 61, 3600, u64::MAX] {
        let error = wait(&room.admin, ERP, limit).await.expect_err("refused");
        assert_eq!(error.code, Code::LimitInvalid, "{limit}");
        assert!(error.message.contains("--wait=10s"), "{error}");
    }
    for site in ["nosuch", "", "a:b", "erp"] {
        assert_eq!(wait(&room.admin, site, 10).await.expect_err("refused").code, Code::SiteUnknown, "{site}");
    }
    assert_eq!(room.store.log(ERP, None, 10).await.expect("the store answers"), Some(Vec::new()), "a refusal leaves nothing in the log");
}

#[tokio::test]
async fn a_name_that_no_store_takes_stops_no_gateway() {
    let room = Room::new();
    for name in ["a:b", "", "x y", &"x".repeat(65)] {
        room.store.announce(ERP, &Entry::Wait { name: name.into() }).await.expect("the store answers");
    }
    // More than are answered to at once, which only a log that is read from its beginning can have.
    for number in 0..100 {
        room.store.announce(ERP, &Entry::Wait { name: format!("w-{number}").into() }).await.expect("the store answers");
    }
    let gateway = room.gateway();
    seen(&room.store, 1).await;
    let applied = room.admin.wait(ERP, LONG).await.expect("the store answers");
    assert!(applied.by_all() && applied.gateways == 1, "{applied:?}");
    assert!(room.store.acknowledged(ERP, "w-0").await.expect("the store answers").is_empty());
    assert_eq!(room.store.acknowledged(ERP, "w-99").await.expect("the store answers").len(), 1);
    gateway.leave().await;
    assert!(room.store.gateways(ERP).await.expect("the store answers").is_empty());
}

#[tokio::test]
async fn a_wait_goes_through_the_socket() {
    let room = Room::new();
    let _gateway = room.gateway();
    seen(&room.store, 1).await;
    let listener = bind(&room.path()).expect("a free path");
    let serving = tokio::spawn(http::serve(listener, Arc::clone(&room.admin), std::future::pending()));
    let remote = running(&room.path()).await.expect("it may be opened").expect("it answers");
    let applied = remote.wait(ERP, LONG).await.expect("an answer");
    assert_eq!((applied.gateways, applied.by_all()), (1, true), "{applied:?}");
    for (site, wait, code) in [
        (ERP, Wait { limit: 0 }, Code::LimitInvalid),
        (ERP, Wait { limit: 61 }, Code::LimitInvalid),
        (ERP, Wait { limit: u64::MAX }, Code::LimitInvalid),
        ("nosuch", LONG, Code::SiteUnknown),
    ] {
        assert_eq!(remote.wait(site, wait).await.expect_err("refused").code, code, "{wait:?}");
    }
    assert_eq!(remote.revoke_client(ERP, "nosuch").await.expect_err("refused").code, Code::ClientUnknown);
    serving.abort();
}

#[tokio::test]
async fn a_client_loses_its_tokens_and_grants_and_stays_as_it_is() {
    let room = Room::new();
    room.client("crm", "read").await;
    room.client("shop", "read").await;
    let before = room.admin.client(ERP, "crm").await.expect("it is there");
    room.grant("g-1", "crm", USER, crate::admin::operations::now()).await;
    let issued = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    let other = room.admin.issue_token(ERP, new_token("shop", "read")).await.expect("a token");
    assert!(room.lives(&issued.hash).await);
    assert!(room.admin.revoke_client(ERP, "crm").await.expect("it is there").revoked);
    assert!(!room.lives(&issued.hash).await && room.lives(&other.hash).await);
    assert!(room.admin.tokens(ERP, &list("crm", None)).await.expect("the store answers").tokens.is_empty());
    let grant = room.admin.grant(ERP, "g-1").await.expect("it is there");
    assert_eq!(grant.state, crate::admin::message::GrantState::Revoked);
    assert_eq!(room.admin.client(ERP, "crm").await.expect("it is there"), before);
    let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    assert!(room.lives(&anew.hash).await, "issued after it, whatever the second");
    for (site, id, code) in [
        (ERP, "nosuch", Code::ClientUnknown),
        (ERP, "../crm", Code::ClientUnknown),
        (ERP, "", Code::ClientUnknown),
        (SHOP, "crm", Code::ClientUnknown),
        ("nosuch", "crm", Code::SiteUnknown),
    ] {
        assert_eq!(room.admin.revoke_client(site, id).await.expect_err("refused").code, code, "{site} {id}");
    }
    assert!(room.lives(&anew.hash).await);
}
