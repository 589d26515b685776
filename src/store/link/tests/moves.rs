//! Slots that move from one master of a Cluster to another, under commands and pipelines.

use redis::Pipeline;

use super::{cluster_of, get, set};
use crate::store::contract::{self, PATIENCE};
use crate::store::link::{Link, Repeat, slots};
use crate::store::redis::RedisStore;
use crate::store::redis_cluster::{RedisCluster, ask};
use crate::store::servers::{Login, Replicas, Servers};
use crate::store::{ClientStore, export::PortableStore};

/// In slot 12182, of the third master.
const KEY: &str = "foo";

async fn pipeline(link: &Link, keys: &[String]) -> Result<Vec<Option<String>>, String> {
    let mut gets = Pipeline::new();
    for key in keys {
        gets.get(key);
    }
    let gets = &gets;
    link.ask(Repeat::Read, |mut connection| async move { gets.query_async(&mut connection).await }).await
}

#[tokio::test]
async fn a_slot_may_move_under_any_command() {
    let cluster = RedisCluster::start(&[]);
    let servers = Servers { replicas: Replicas { wanted: 0, timeout: PATIENCE }, ..cluster_of(&cluster.urls(), Login::default()) };
    let link = Link::connect(&servers, PATIENCE).await.unwrap();
    let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).chain(["foo{bar}".to_owned(), KEY.to_owned()]).collect();
    for key in &keys[..101] {
        set(&link, key).await.unwrap();
    }
    let (from, to) = (&cluster.servers[2], &cluster.servers[0]);
    assert_eq!(RedisCluster::master_of(slots::slot(KEY.as_bytes())), 2);
    let [from_id, to_id] = [from, to].map(|server| ask::<String>(server, &["CLUSTER", "MYID"]));
    let slot = slots::slot(KEY.as_bytes()).to_string();
    let before = link.layout().await.unwrap();
    ask::<()>(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    ask::<()>(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);

    // Not there any more: the source sends on, and the target answers those it was told to.
    set(&link, KEY).await.unwrap();
    assert_eq!(get(&link, KEY).await.unwrap().as_deref(), Some(KEY));
    assert_eq!(ask::<usize>(to, &["CLUSTER", "COUNTKEYSINSLOT", &slot]), 1);
    let all = pipeline(&link, &keys).await.unwrap();
    assert_eq!(all, keys.iter().cloned().map(Some).collect::<Vec<_>>());
    assert_eq!(link.layout().await.unwrap(), before);

    for server in [to, from, &cluster.servers[1]] {
        ask::<()>(server, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    assert_eq!(get(&link, KEY).await.unwrap().as_deref(), Some(KEY));
    assert_eq!(pipeline(&link, &keys).await.unwrap(), all);
    set(&link, KEY).await.unwrap();
    while link.layout().await.unwrap() == before {
        get(&link, KEY).await.unwrap();
    }
    assert_eq!(link.masters().len(), 3);
}

#[tokio::test]
async fn a_pipeline_fails_as_one_and_in_the_words_of_the_node() {
    let cluster = RedisCluster::start(&[]);
    let link = Link::connect(&cluster_of(&cluster.urls(), Login::default()), PATIENCE).await.unwrap();
    let push = |mut connection| async move { redis::cmd("LPUSH").arg("list").arg(1).query_async::<()>(&mut connection).await };
    link.ask(Repeat::Never, push).await.unwrap();
    let error = pipeline(&link, &["a".to_owned(), "list".to_owned(), "b".to_owned()]).await.unwrap_err();
    assert!(error.contains("redis cluster refused") && error.contains("WRONGTYPE"), "{error}");
    let mut atomic = Pipeline::new();
    atomic.atomic().get("a").get("b");
    let atomic = &atomic;
    let error = link.ask(Repeat::Read, |mut connection| async move { atomic.query_async::<redis::Value>(&mut connection).await }).await;
    assert!(error.unwrap_err().contains("transaction"));
}

#[tokio::test]
async fn an_export_goes_through_every_master() {
    let cluster = RedisCluster::start(&[]);
    let store = RedisStore::connect(cluster_of(&cluster.urls(), Login::default()), "sg", PATIENCE).await.unwrap();
    for number in 0..200 {
        store.create_client("erp", &contract::client(&format!("c{number}"))).await.unwrap();
    }
    let (pages, mut exported) = tokio::sync::mpsc::channel(99);
    assert_eq!(store.export(pages).await.unwrap(), 0);
    let entries: Vec<_> = std::iter::from_fn(|| exported.try_recv().ok()).flatten().collect();
    assert_eq!(entries.len(), 200);
    assert_eq!(store.clients("erp").await.unwrap().len(), 200);
}
