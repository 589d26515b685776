//! Masters that die, hang or are cut off, sentinels that do, replicas that lag.

use std::time::Instant;

use super::{BUDGET, SLACK, cluster_of, get, set, set_acknowledged, single_at, watched_by};
use crate::store::contract::PATIENCE;
use crate::store::link::{Link, Repeat};
use crate::store::redis_cluster::RedisCluster;
use crate::store::redis_server::{AT_ONCE, RedisServer};
use crate::store::redis_watched::Watched;
use crate::store::servers::{Login, Replicas, Servers};

/// One key for each of the three masters: slots 12182, 5061 and 866.
const KEYS: [&str; 3] = ["foo", "bar", "hello"];

/// Asks until the answer is as wanted; no answer may take longer than the budget.
async fn until<T>(mut ask: impl AsyncFnMut() -> Result<T, String>, wanted: impl Fn(&Result<T, String>) -> bool) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Instant::now();
        let answer = ask().await;
        assert!(asked.elapsed() < BUDGET + SLACK, "{:?}", asked.elapsed());
        if wanted(&answer) {
            return answer;
        }
        assert!(asked < deadline, "{:?}", answer.err());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_master_is_spoken_to_while_most_sentinels_name_it_and_then_the_next_one() {
    let mut watched = Watched::start(&[]);
    let servers = watched_by(&watched.urls(), Login::default(), Login::default());
    let servers = Servers { replicas: Replicas { wanted: 1, timeout: PATIENCE }, ..servers };
    let link = Link::connect(&servers, BUDGET).await.unwrap();
    set_acknowledged(&link, "foo").await.unwrap();
    let first = link.identity().await.unwrap();
    assert_eq!(link.layout().await.unwrap(), format!("127.0.0.1:{}", watched.master.port()));

    // The master is well, and yet: another may have been made where most of them are.
    watched.kill_sentinel(0);
    until(async || get(&link, "foo").await, Result::is_ok).await.unwrap();
    watched.kill_sentinel(1);
    let error = until(async || get(&link, "foo").await, |answer| answer.as_ref().is_err_and(|why| why.contains("is not connected"))).await;
    let error = error.unwrap_err();
    assert!(error.contains("redis master `mymaster`") && error.contains("majority"), "{error}");
    watched.restart_sentinel(0);
    watched.restart_sentinel(1);
    let answer = until(async || get(&link, "foo").await, Result::is_ok).await.unwrap();
    assert_eq!(answer.as_deref(), Some("foo"));
    assert_eq!(link.identity().await.unwrap(), first, "it is the same one");

    watched.wait();
    watched.master.kill();
    let answer = until(async || get(&link, "foo").await, Result::is_ok).await.unwrap();
    assert_eq!(answer.as_deref(), Some("foo"));
    let second = link.identity().await.unwrap();
    assert_ne!(second, first);
    assert_eq!(link.layout().await.unwrap(), format!("127.0.0.1:{}", watched.replica.port()));
    until(async || set(&link, "bar").await, Result::is_ok).await.unwrap();

    // It comes back empty, and takes itself for the master until it is told otherwise.
    watched.master.restart();
    for _ in 0..200 {
        assert_eq!(get(&link, "bar").await.unwrap().as_deref(), Some("bar"));
    }
    assert_eq!(link.identity().await.unwrap(), second);
}

#[tokio::test]
async fn a_node_of_a_cluster_that_hangs_costs_its_own_slots_only() {
    let mut cluster = RedisCluster::start(&[]);
    let link = Link::connect(&cluster_of(&cluster.urls(), Login::default()), BUDGET).await.unwrap();
    for key in KEYS {
        until(async || set(&link, key).await, Result::is_ok).await.unwrap();
    }
    let first = link.identity().await.unwrap();
    assert_eq!(first.split(',').count(), 3);

    cluster.servers[2].suspend();
    let error = until(async || get(&link, "foo").await, |answer| answer.as_ref().is_err_and(|why| why.contains("is not connected"))).await;
    assert!(error.unwrap_err().contains("redis cluster"));
    // The others go on, and whoever follows their log with them.
    assert_eq!(link.identity().await.unwrap(), first);
    cluster.servers[2].resume();
    for key in KEYS {
        assert_eq!(until(async || get(&link, key).await, Result::is_ok).await.unwrap().as_deref(), Some(key));
    }
    assert_eq!(link.identity().await.unwrap(), first);

    // All at once, so that no node is left to tell of the others.
    for server in &mut cluster.servers {
        server.kill();
    }
    until(async || get(&link, "foo").await, Result::is_err).await.unwrap_err();
    for server in &mut cluster.servers {
        server.restart();
    }
    for key in KEYS {
        assert_eq!(until(async || get(&link, key).await, Result::is_ok).await.unwrap(), None, "{key}: it came back empty");
    }
    assert_ne!(link.identity().await.unwrap(), first);
}

#[tokio::test]
async fn a_master_of_a_cluster_that_dies_is_followed_by_its_replica() {
    let mut cluster = RedisCluster::start_with_replicas(&[]);
    let servers = Servers { replicas: Replicas { wanted: 1, timeout: PATIENCE }, ..cluster_of(&cluster.urls(), Login::default()) };
    let link = Link::connect(&servers, BUDGET).await.unwrap();
    for key in KEYS {
        let acknowledged = async || set_acknowledged(&link, key).await;
        let deadline = Instant::now() + PATIENCE;
        while acknowledged().await.is_err() {
            assert!(Instant::now() < deadline, "{key}");
        }
    }
    let first = link.identity().await.unwrap();
    cluster.servers[2].kill();
    let answer = until(async || get(&link, "foo").await, Result::is_ok).await.unwrap();
    assert_eq!(answer.as_deref(), Some("foo"), "a replica had it");
    assert_ne!(link.identity().await.unwrap(), first);
    cluster.servers[2].restart();
    for key in KEYS {
        assert_eq!(until(async || get(&link, key).await, Result::is_ok).await.unwrap().as_deref(), Some(key));
    }
}

#[tokio::test]
async fn a_change_that_no_replica_has_is_told_and_holds_nobody_up() {
    let master = RedisServer::with(|| AT_ONCE.map(str::to_owned).to_vec());
    let port = master.port().to_string();
    let replica = RedisServer::with(|| ["--replicaof", "127.0.0.1", &port].map(str::to_owned).to_vec());
    let timeout = std::time::Duration::from_millis(300);
    let wanting = |wanted| Servers { replicas: Replicas { wanted, timeout }, ..single_at(&master.url()) };
    let link = Link::connect(&wanting(1), PATIENCE).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while set_acknowledged(&link, "a").await.is_err() {
        assert!(Instant::now() < deadline, "the replica does not come up");
    }

    replica.suspend();
    let waits = set_acknowledged(&link, "b");
    tokio::pin!(waits);
    let asked = async {
        while get(&link, "b").await != Ok(Some("b".to_owned())) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = &mut waits => panic!("it waited for nobody: {answer:?}"),
        () = asked => {}
    }
    let error = waits.await.unwrap_err();
    for told in ["0 of 1 replicas", "made the change", "no harm"] {
        assert!(error.contains(told), "{error}");
    }
    let nobody = Link::connect(&wanting(0), PATIENCE).await.unwrap();
    set_acknowledged(&nobody, "b").await.unwrap();
    replica.resume();
    let deadline = Instant::now() + PATIENCE;
    while set_acknowledged(&link, "c").await.is_err() {
        assert!(Instant::now() < deadline, "the replica does not come back");
    }
}

#[tokio::test]
async fn a_server_that_is_restarted_is_another_one() {
    let mut server = RedisServer::start();
    let link = Link::connect(&single_at(&server.url()), BUDGET).await.unwrap();
    let first = link.identity().await.unwrap();
    assert_eq!(link.identity().await.unwrap(), first);
    server.kill();
    server.restart();
    until(async || get(&link, "a").await, Result::is_ok).await.unwrap();
    assert_ne!(link.identity().await.unwrap(), first);
}

#[tokio::test]
async fn what_may_be_slow_has_a_time_of_its_own() {
    let server = RedisServer::start();
    let link = Link::connect(&single_at(&server.url()), BUDGET).await.unwrap();
    let slow = |mut connection| async move { redis::cmd("BLPOP").arg("none").arg(0.2).query_async::<redis::Value>(&mut connection).await };
    assert!(link.ask(Repeat::Read, slow).await.unwrap_err().contains("did not answer within 50 ms"));
    let link = Link::connect(&single_at(&server.url()), BUDGET).await.unwrap();
    assert_eq!(link.ask_within(PATIENCE, Repeat::Read, slow).await.unwrap(), redis::Value::Nil);
}
