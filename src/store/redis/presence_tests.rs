//! Gateways as Redis has them: the exact keys, its own clock, and what is damaged or forbidden.

use std::sync::Arc;

use redis::{Commands, Connection};
use tokio::runtime::Handle;

use crate::store::cached::{CachedStore, SiteId};
use crate::store::contract::{PATIENCE, redis as connect};
use crate::store::follower::Follower;
use crate::store::presence::{GATEWAYS_MAX, Gateway, KEPT, LIVE, PresenceStore};
use crate::store::redis_server::RedisServer;
use crate::store::{Backend, RedisUrl, Settings};

use super::*;

const GATEWAYS: &str = "sg:{erp}:gateways";

fn beside(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

fn milliseconds(redis: &mut Connection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(redis).unwrap();
    seconds * 1000 + micros / 1000
}

#[tokio::test]
async fn the_keys_of_gateways_are_public_and_expire() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let gateway = Gateway::read("0123456789abcdef gw-1:4711").unwrap();
    let mut redis = beside(&server);
    let before = milliseconds(&mut redis);
    store.present("erp", &gateway).await.unwrap();
    store.acknowledge("erp", &["a".into(), "b".into()], &gateway).await.unwrap();
    let mut keys: Vec<String> = redis.keys("*").unwrap();
    keys.sort();
    assert_eq!(keys, ["sg:{erp}:applied:a", "sg:{erp}:applied:b", GATEWAYS]);
    let seen: Vec<(String, u64)> = redis.zrange_withscores(GATEWAYS, 0, -1).unwrap();
    assert_eq!(seen[0].0, "0123456789abcdef gw-1:4711");
    assert!((before..=milliseconds(&mut redis)).contains(&seen[0].1), "{seen:?} after {before}");
    assert_eq!(redis.smembers::<_, Vec<String>>("sg:{erp}:applied:a").unwrap(), ["0123456789abcdef gw-1:4711"]);
    for (key, most) in [(GATEWAYS, 3600), ("sg:{erp}:applied:a", 120), ("sg:{erp}:applied:b", 120)] {
        let left: u64 = redis.ttl(key).unwrap();
        assert!((most - 60..=most).contains(&left), "{key}: {left}");
    }
    let (pages, mut exported) = tokio::sync::mpsc::channel(9);
    assert_eq!(crate::store::export::PortableStore::export(&store, pages).await.unwrap(), 0, "a copy knows them, and leaves them out");
    assert!(exported.try_recv().is_err());
    store.absent("erp", &gateway).await.unwrap();
    assert!(!redis.exists::<_, bool>(GATEWAYS).unwrap());
}

#[tokio::test]
async fn gateways_are_judged_by_the_clock_of_redis_and_forgotten_by_it() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let now = milliseconds(&mut redis);
    let kept = u64::try_from(KEPT.as_millis()).unwrap();
    for (id, score) in [("live", now), ("ahead", now + 60_000), ("still", now - kept + 60_000), ("gone", now - kept - 60_000)] {
        redis.zadd::<_, _, _, ()>(GATEWAYS, format!("0123456789abcdef {id}:1"), score).unwrap();
    }
    let seen = store.gateways("erp").await.unwrap();
    let mut names: Vec<_> = seen.iter().map(|seen| (seen.gateway.to_string(), seen.lives())).collect();
    names.sort();
    assert_eq!(names, [("ahead:1".to_owned(), true), ("live:1".to_owned(), true), ("still:1".to_owned(), false)]);
    assert!(seen.iter().any(|seen| seen.ago.is_zero()), "what Redis's clock has gone back behind is of now: {seen:?}");
    store.present("erp", &Gateway::here()).await.unwrap();
    assert_eq!(redis.zcard::<_, usize>(GATEWAYS).unwrap(), 4, "the hour is over for one");
    assert!(LIVE < KEPT);

    let mut many = redis::pipe();
    for number in 0..GATEWAYS_MAX + 10 {
        many.zadd(GATEWAYS, format!("0123456789abcdef many:{number}"), now - 10_000).ignore();
    }
    many.exec(&mut redis).unwrap();
    let here = Gateway::here();
    store.present("erp", &here).await.unwrap();
    let seen = store.gateways("erp").await.unwrap();
    assert_eq!(seen.len(), GATEWAYS_MAX);
    assert!(seen.iter().any(|seen| seen.gateway == here), "those that were seen last are kept");
}

#[tokio::test]
async fn what_is_no_gateway_is_an_error_and_not_passed_over() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let now = milliseconds(&mut redis);
    for damaged in ["gw-1:4711", "", "0123456789abcdef gw\u{1b}[2J:1", "v2 0123456789abcdef gw-1:4711"] {
        redis.zadd::<_, _, _, ()>(GATEWAYS, damaged, now).unwrap();
        let error = store.gateways("erp").await.expect_err(damaged).0;
        assert!(error.contains("site erp") && error.contains(GATEWAYS) && !error.contains('\u{1b}'), "{error}");
        redis.del::<_, ()>(GATEWAYS).unwrap();
    }
    redis.set::<_, _, ()>(GATEWAYS, "text").unwrap();
    assert!(store.gateways("erp").await.is_err());
    assert!(store.present("erp", &Gateway::here()).await.is_err());
    redis.set::<_, _, ()>("sg:{erp}:applied:a", "text").unwrap();
    assert!(store.acknowledge("erp", &["a".into()], &Gateway::here()).await.is_err());
    assert!(store.acknowledged("erp", "a").await.is_err());
    redis.sadd::<_, _, ()>("sg:{erp}:applied:b", "whoever").unwrap();
    assert!(store.acknowledged("erp", "b").await.unwrap().is_empty(), "whoever that is, nobody waits for him");
}

/// An upgrade before the ACL user was given the new commands.
#[tokio::test]
async fn a_gateway_that_may_not_say_that_it_lives_or_what_it_has_applied_follows_the_log_all_the_same() {
    let server = RedisServer::start();
    let mut redis = beside(&server);
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("gate").arg("on").arg(">PASSWORD").arg("~sg:*").arg("+@all").arg("-time").arg("-sadd");
    user.query::<()>(&mut redis).unwrap();
    let url = format!("{}?user=gate&pass=PASSWORD", server.socket_url());
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&RedisUrl(url.into()), "sg", PATIENCE).await.unwrap());
    let operator = connect(&server, PATIENCE).await;
    operator.announce("erp", &Entry::Wait { name: "a".into() }).await.unwrap();
    let settings = Settings {
        backend: Backend::Embedded { path: "unused".into() },
        lookup_timeout: PATIENCE,
        cache_entries_max: 10,
        revocation_bound: Duration::from_secs(1),
        serve_known: None,
    };
    let follower = Follower::new(Arc::new(CachedStore::new(Arc::clone(&store), &settings)), settings.revocation_bound, Handle::current());
    follower.follow(SiteId(0), "erp");
    let mut last = 0;
    for round in 0..3 {
        operator.announce("erp", &Entry::Wait { name: format!("b-{round}").into() }).await.unwrap();
        while store.ledger().site("erp").read_sent() <= last {
            tokio::task::yield_now().await;
        }
        last = store.ledger().site("erp").read_sent();
    }
    assert!(operator.gateways("erp").await.unwrap().is_empty());
    assert!(operator.acknowledged("erp", "a").await.unwrap().is_empty());
    redis::cmd("ACL").arg("SETUSER").arg("gate").arg("+time").arg("+sadd").query::<()>(&mut redis).unwrap();
    for name in ["a", "b-0"] {
        while operator.acknowledged("erp", name).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    while operator.gateways("erp").await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}
