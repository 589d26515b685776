//! What an operator is told who wrote something wrong, or whose Redis is not well.

use redis::{RedisError, Value};

use super::{BUDGET, cluster_of, get, hosts, of, set, single_at, watched_by};
use crate::store::contract::PATIENCE;
use crate::store::link::{Link, dial};
use crate::store::redis_cluster::{RedisCluster, ask};
use crate::store::redis_server::RedisServer;
use crate::store::redis_watched::Watched;
use crate::store::servers::{Login, Password, Servers, Topology};

fn wrong() -> Login {
    Login { user: Some("nosuch".into()), password: Some(Password("pass-canary".into())) }
}

async fn refused(servers: &Servers, told: &[&str]) {
    let Err(error) = Link::connect(servers, PATIENCE).await else { panic!("connected, and not told {told:?}") };
    for told in told {
        assert!(error.0.contains(told), "{told}: {}", error.0);
    }
    assert!(!format!("{error} {error:?} {servers:?}").contains("canary"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_about_sentinels_is_told() {
    let watched = Watched::start(&[]);
    let urls = watched.urls();
    let nobody = Login::default;
    refused(&watched_by(&urls, nobody(), wrong()), &["mymaster", "does not let this user in", "sentinel_password"]).await;
    refused(&watched_by(&urls, wrong(), nobody()), &["at 127.0.0.1:", "does not let this user in", "check user and password"]).await;
    let named = |master: &str, sentinels: &[String]| {
        of(Topology::Sentinel {
            sentinels: hosts(sentinels),
            sentinel_login: nobody(),
            master: master.into(),
            database: 0,
            login: nobody(),
            encrypted: false,
        })
    };
    refused(&named("other", &urls), &["redis master `other`", "knows no master of this name", "store.master"]).await;
    let closed = "redis://127.0.0.1:1".to_owned();
    refused(&named("mymaster", &[urls[0].clone(), closed.clone(), closed.clone()]), &["majority", "127.0.0.1:1 cannot be reached"]).await;
    let server = format!("redis://127.0.0.1:{}", watched.master.port());
    refused(&named("mymaster", &[server]), &["majority", "refused"]).await;

    refused(&single_at(&watched.replica.url()), &["is a replica", "name its master"]).await;
    refused(&cluster_of(&[watched.master.url().trim_end_matches("/0").to_owned()], nobody()), &["no node of a Cluster", "store.url"]).await;
}

#[tokio::test]
async fn what_is_wrong_about_a_cluster_is_told() {
    let mut cluster = RedisCluster::start(&[]);
    let urls = cluster.urls();
    refused(&cluster_of(&urls, wrong()), &["redis cluster", "does not let this user in", "check user and password"]).await;
    refused(&cluster_of(&["redis://127.0.0.1:1".to_owned()], Login::default()), &["127.0.0.1:1 cannot be reached"]).await;

    let one = Link::connect(&single_at(&format!("{}/0", urls[0])), PATIENCE).await.unwrap();
    assert!(get(&one, "foo").await.unwrap_err().contains("write store.cluster instead of store.url"));

    // One of the seeds is enough, while all masters are there.
    Link::connect(&cluster_of(&["redis://127.0.0.1:1".to_owned(), urls[1].clone()], Login::default()), PATIENCE).await.unwrap();
    cluster.servers[2].kill();
    refused(&cluster_of(&urls, Login::default()), &["has a master, 127.0.0.1:", "cluster check"]).await;

    let lonely = RedisServer::with(|| ["--cluster-enabled", "yes", "--cluster-port", "0"].map(str::to_owned).to_vec());
    refused(&cluster_of(&[format!("redis://127.0.0.1:{}", lonely.port())], Login::default()), &["slot 0 has no master"]).await;
}

#[tokio::test]
async fn a_redis_that_is_not_well_says_so() {
    let server = RedisServer::start();
    let link = Link::connect(&single_at(&server.url()), PATIENCE).await.unwrap();
    ask::<()>(&server, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = set(&link, "a").await.unwrap_err();
    assert!(error.contains("NOREPLICAS") && error.contains("min-replicas-to-write"), "{error}");
    ask::<()>(&server, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let error = set(&link, "a").await.unwrap_err();
    assert!(error.contains("OOM") && error.contains("maxmemory"), "{error}");
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    // It becomes a replica behind our back: it is given up, for what it knows of a revocation comes late.
    set(&link, "a").await.unwrap();
    let other = RedisServer::start();
    ask::<()>(&server, &["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    while get(&link, "a").await.is_ok() {}
    let error = get(&link, "a").await.unwrap_err();
    assert!(error.contains("is a replica"), "{error}");

    ask::<()>(&other, &["ACL", "SETUSER", "gate", "on", ">pass", "~*", "-@all", "+get", "+ping"]);
    let url = other.url().replacen("redis://", "redis://gate:pass@", 1);
    let link = Link::connect(&single_at(&url), BUDGET).await.unwrap();
    for error in [link.identity().await.unwrap_err(), set(&link, "a").await.unwrap_err()] {
        assert!(error.contains("deploy/redis/users.acl"), "{error}");
    }
}

#[test]
fn a_refusal_comes_with_its_remedy() {
    for (line, remedy) in [
        ("-LOADING Redis is loading the dataset in memory", "it reads its data from disk"),
        ("-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk", "see its log and its disk"),
        ("-OOM command not allowed when used memory > 'maxmemory'", "maxmemory"),
        ("-READONLY You can't write against a read only replica.", "name its master"),
        ("-MASTERDOWN Link with MASTER is down", "has lost its master"),
        ("-CLUSTERDOWN The cluster is down", "cluster info"),
        ("-NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
        ("-NOPERM User gate has no permissions to run the 'get' command", "users.acl"),
        ("-NOAUTH Authentication required.", "password"),
    ] {
        let Ok(Value::ServerError(error)) = redis::parse_redis_value(format!("{line}\r\n").as_bytes()) else { panic!("{line}") };
        let told = dial::refusal(&RedisError::from(error));
        assert!(told.contains(remedy), "{told}");
    }
}
