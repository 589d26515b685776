//! The way to Redis, against real servers.

mod losses;
mod moves;
mod refusals;
mod topologies;

use super::*;
use crate::store::RedisUrl;
use crate::store::link::dial::CONNECT_TIMEOUT;
use crate::store::servers::{ACKNOWLEDGE_TIMEOUT, Host};

/// The budget where it is what a test is about, and how much later than it an answer may come on a busy machine.
const BUDGET: Duration = Duration::from_millis(50);
const SLACK: Duration = Duration::from_millis(950);

fn single_at(url: &str) -> Servers {
    Servers::from(&RedisUrl(url.into()))
}

fn cluster_of(urls: &[String], login: Login) -> Servers {
    of(Topology::Cluster { seeds: hosts(urls), login, encrypted: false })
}

fn watched_by(urls: &[String], login: Login, sentinel_login: Login) -> Servers {
    of(Topology::Sentinel { sentinels: hosts(urls), sentinel_login, master: "mymaster".into(), database: 0, login, encrypted: false })
}

fn of(topology: Topology) -> Servers {
    Servers { topology, tls: Tls::default(), replicas: Replicas { wanted: 0, timeout: ACKNOWLEDGE_TIMEOUT } }
}

fn hosts(urls: &[String]) -> Vec<Host> {
    let host = |url: &String| {
        let (name, port) = url.strip_prefix("redis://").unwrap().rsplit_once(':').unwrap();
        Host { name: name.into(), port: port.parse().unwrap() }
    };
    urls.iter().map(host).collect()
}

async fn get(link: &Link, key: &str) -> Result<Option<String>, String> {
    link.ask(Repeat::Read, |mut connection| async move { redis::cmd("GET").arg(key).query_async(&mut connection).await }).await
}

async fn set(link: &Link, key: &str) -> Result<(), String> {
    link.ask(Repeat::Never, |mut connection| async move { redis::cmd("SET").arg(key).arg(key).query_async(&mut connection).await }).await
}

async fn set_acknowledged(link: &Link, key: &str) -> Result<(), String> {
    let send = |mut connection| async move { redis::cmd("SET").arg(key).arg(key).query_async::<()>(&mut connection).await };
    link.ask_acknowledged(key, send).await
}

#[test]
fn a_pause_is_shortened_by_half_at_most() {
    let longest = Duration::from_millis(500);
    for _ in 0..1000 {
        let pause = line::jittered(longest);
        assert!(pause <= longest && pause >= longest / 2, "{pause:?}");
    }
}

#[tokio::test]
async fn no_error_about_the_address_shows_its_password() {
    let rows = [
        "redis://user:pass-canary@127.0.0.1:1/0",
        "redis://user:pass-canary@127.0.0.1:1/zero",
        "redis://:pass-canary@[::1:1/0",
        "rediss://user:pass-canary@127.0.0.1:1/0",
        "redis+unix:///nonexistent.sock?user=u&pass=pass-canary",
        "http://user:pass-canary@127.0.0.1:1/",
        "pass-canary",
        "",
    ];
    for url in rows {
        let url = RedisUrl(url.into());
        let Err(error) = Link::connect(&Servers::from(&url), CONNECT_TIMEOUT).await else { panic!("{}: connected", &url.0) };
        assert!(!error.0.contains("canary"), "{}", error.0);
        assert!(!format!("{url:?}").contains("canary"));
    }
}
