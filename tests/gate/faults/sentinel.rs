//! The same with sentinels, which make a replica the master: one that has everything, or lags; and the old one wakes up.

use serde_json::Value;

use crate::support::eventually;
use crate::support::redis_cluster::ask;
use crate::support::redis_server::RedisServer;
use crate::support::redis_watched::Watched;

use super::BOUND;
use super::fleet::{A, B, BOTH};
use super::losses::killed;
use super::rewinds::{half_known, rewound};
use super::scene::{PLAIN, Scene};
use super::servers::{Data, Servers};

/// By what a gate asks for tokens, marks, clients and the log.
const ASKED: [&str; 5] = ["cmdstat_get:", "cmdstat_mget:", "cmdstat_hmget:", "cmdstat_hscan:", "cmdstat_xrange:"];

#[test]
fn a_replica_takes_the_place_of_a_master_that_was_killed() {
    killed(Elected::start());
}

#[test]
fn a_replica_that_lags_revives_nothing() {
    rewound(Elected::start());
}

#[test]
fn a_replica_that_lags_revives_nothing_that_one_gate_alone_knew_of() {
    half_known(Elected::start());
}

#[test]
fn a_master_that_wakes_up_after_another_was_made_is_asked_by_nobody() {
    wakes_up(Elected::start(), |servers| &servers.watched.master);
}

#[test]
fn a_master_that_most_sentinels_cannot_vouch_for_is_not_believed() {
    let mut scene = Scene::begin(Elected::start());
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0));
    scene.settles();
    scene.loses(&BOTH, |servers| (0..2).for_each(|number| servers.watched.kill_sentinel(number)));
    scene.is_refused(&BOTH);
    scene.lasts(3 * BOUND);
    scene.heals(|servers| {
        (0..2).for_each(|number| servers.watched.restart_sentinel(number));
        eventually("most sentinels name it", || servers.name(&servers.watched.master));
    });
    scene.recovers();
    assert!(scene.revoke(B, "single-1") && scene.revoke_leaver(A, 1));
    scene.settles();
    scene.ends();
}

/// The master is stopped while its replica lags, and lives on when that has taken its place, with what was revoked since and in its own
/// opinion still the master.
pub fn wakes_up<S: Servers>(servers: S, old: impl Fn(&S) -> &RedisServer) {
    let mut scene = Scene::begin(servers);
    scene.saves(Servers::save);
    scene.issue("late", PLAIN, "late@example.test", None);
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0) && scene.disable(A));
    scene.loses(&BOTH, |servers| servers.stop());
    scene.is_refused(&BOTH);
    scene.restarts(Data::Saved);
    scene.recovers();
    assert!(scene.revoke(B, "single-1") && scene.revoke_leaver(A, 1) && scene.enable(B));

    scene.fleet.servers.cont();
    let zombie = || old(&scene.fleet.servers);
    // What had been sent to it before, it does when it wakes up. When it has answered, that is done.
    ask::<String>(zombie(), &["PING"]);
    ask::<()>(zombie(), &["CONFIG", "RESETSTAT"]);
    scene.settles();
    assert!(scene.revoke(A, "single-2") && scene.revoke_leaver(B, 2));
    scene.settles();
    scene.goes_on(2 * BOUND);
    let asked: String = ask(old(&scene.fleet.servers), &["INFO", "commandstats"]);
    assert!(!ASKED.iter().any(|command| asked.contains(command)), "{asked}");
    scene.ends();
}

/// A master, a replica and three sentinels. What is done is done to the master; what comes back in its place is the replica.
struct Elected {
    watched: Watched,
}

impl Elected {
    fn start() -> Self {
        Self { watched: Watched::start(&[]) }
    }

    /// Whether most sentinels say that it is the master, and it says so too.
    fn name(&self, server: &RedisServer) -> bool {
        let port = server.port().to_string();
        let says = |sentinel: u16| {
            let mut connection = redis::Client::open(format!("redis://127.0.0.1:{sentinel}/")).ok()?.get_connection().ok()?;
            redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg("mymaster").query::<Vec<String>>(&mut connection).ok()
        };
        let ports = self.watched.sentinel_ports();
        let votes = ports.iter().filter(|sentinel| says(**sentinel).is_some_and(|address| address[1] == port)).count();
        2 * votes > ports.len() && is_master(server)
    }
}

impl Servers for Elected {
    fn section(&self, _gate: usize) -> String {
        format!("kind = \"redis\"\nmaster = \"mymaster\"\nsentinels = {:?}", self.watched.urls())
    }

    fn put(&self, key: &str, record: &Value) {
        ask::<()>(&self.watched.master, &["SET", key, &record.to_string()]);
    }

    fn kill(&mut self) {
        self.watched.master.kill();
    }

    fn restart(&mut self, _data: Data) {
        // Harmless where it was not cut off.
        self.watched.replica.resume();
        eventually("most sentinels name the replica", || self.name(&self.watched.replica));
    }

    fn save(&mut self) {
        cut_off(&self.watched.master, &self.watched.replica);
    }

    fn stop(&self) {
        self.watched.master.suspend();
    }

    fn cont(&self) {
        self.watched.master.resume();
    }
}

/// The replica gets nothing any more: it is stopped, and its connection closed, in which more would wait for it. It would come back for
/// what it has missed, so when it goes on its master must be gone.
pub fn cut_off(master: &RedisServer, replica: &RedisServer) {
    replica.suspend();
    let closed: usize = ask(master, &["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(closed, 1, "it has one replica");
}

pub fn is_master(server: &RedisServer) -> bool {
    ask::<String>(server, &["INFO", "replication"]).contains("role:master")
}
