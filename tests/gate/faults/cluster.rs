//! The same in a Cluster of three nodes: the one that has the log is lost, or one that has only tokens, or all; and a failover.
//!
//! Nodes tell each other's addresses, so nothing stands between them and the gates; what is done is done to the processes.

use std::fs;

use serde_json::Value;

use crate::support::eventually;
use crate::support::gate::token_key;
use crate::support::redis_cluster::{RedisCluster, ask};
use crate::support::redis_server::RedisServer;

use super::BOUND;
use super::fleet::{A, B, BOTH};
use super::losses::{killed, stopped};
use super::rewinds::{half_known, rewound};
use super::scene::{PLAIN, Scene, Stashed};
use super::sentinel::{cut_off, is_master, wakes_up};
use super::servers::{Data, Servers, client_keys, log_key};

/// A node hands every write to the kernel before it acknowledges it.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "no"];

/// Where a node keeps what it has, and where [`Servers::save`] leaves it.
const KEPT: &str = "appendonlydir";
const SAVED: &str = "saved";

#[test]
fn the_node_that_has_the_log_is_killed_and_comes_back_with_its_data() {
    killed(Nodes::with_log());
}

#[test]
fn an_old_snapshot_of_the_node_that_has_the_log_revives_nothing() {
    rewound(Nodes::with_log());
}

#[test]
fn an_old_snapshot_of_the_node_that_has_the_log_revives_nothing_that_one_gate_alone_knew_of() {
    half_known(Nodes::with_log());
}

#[test]
fn old_snapshots_of_all_nodes_revive_nothing() {
    rewound(Nodes::all());
}

#[test]
fn all_nodes_are_stopped() {
    stopped(Nodes::all());
}

#[test]
fn a_node_that_has_only_tokens_is_killed_and_an_old_snapshot_of_it_revives_nothing() {
    let mut scene = Scene::begin(Nodes::with_tokens_only());
    // Both gates know the tokens `ended-…`, and none of the others when the node is lost.
    let (mut there, mut elsewhere): (Vec<Stashed>, Vec<Stashed>) = (Vec::new(), Vec::new());
    while there.len() < 4 || elsewhere.len() < 2 {
        let token = scene.stash("new@example.test");
        if scene.fleet.servers.struck(&token_key(&token.secret)) { &mut there } else { &mut elsewhere }.push(token);
    }
    let ended: Vec<Stashed> = there.drain(..2).collect();
    let keys: Vec<String> = ended.iter().map(|token| token_key(&token.secret)).collect();
    for (number, token) in ended.into_iter().enumerate() {
        scene.show(&format!("ended-{number}"), token);
    }
    scene.settles();
    scene.saves(Servers::save);
    assert!(scene.revoke(A, "ended-0") && scene.revoke(B, "ended-1"));
    scene.settles();

    scene.loses(&BOTH, Servers::kill);
    for (name, tokens) in [("there", there), ("elsewhere", elsewhere)] {
        for (number, token) in tokens.into_iter().enumerate() {
            scene.show(&format!("{name}-{number}"), token);
        }
    }
    scene.get("there-", 503);
    scene.get("elsewhere-", 200);
    assert!(scene.revoke_leaver(A, 0) && scene.revoke_grant(B, 0), "the node that has the marks is there");
    scene.lasts(2 * BOUND);
    scene.get("elsewhere-", 200);

    scene.restarts(Data::Saved);
    scene.recovers();
    for key in &keys {
        assert!(!scene.fleet.servers.has(key), "what came back is deleted again");
    }
    assert!(scene.revoke(B, "there-0") && scene.revoke_leaver(B, 1));
    scene.settles();
    scene.ends();
}

#[test]
fn the_node_that_has_the_log_is_followed_by_its_replica() {
    killed(Replicated::start());
}

#[test]
fn a_replica_that_lags_revives_nothing() {
    rewound(Replicated::start());
}

#[test]
fn a_replica_that_lags_revives_nothing_that_one_gate_alone_knew_of() {
    half_known(Replicated::start());
}

#[test]
fn a_node_that_wakes_up_after_its_replica_took_its_place_is_asked_by_nobody() {
    wakes_up(Replicated::start(), |servers| &servers.cluster.servers[servers.node]);
}

/// Three nodes without replicas, and those of them that something is done to.
struct Nodes {
    cluster: RedisCluster,
    struck: Vec<usize>,
}

impl Nodes {
    fn start() -> RedisCluster {
        let cluster = RedisCluster::start(&DURABLE);
        for node in &cluster.servers {
            // As deploy/redis/README.md has it: otherwise one node that is lost stops the others.
            ask::<()>(node, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
        }
        cluster
    }

    fn all() -> Self {
        Self { cluster: Self::start(), struck: vec![0, 1, 2] }
    }

    fn with_log() -> Self {
        let cluster = Self::start();
        let struck = vec![node_of(&cluster.servers[0], &log_key())];
        Self { cluster, struck }
    }

    /// One without the log, and without anything of the client that tokens are of.
    fn with_tokens_only() -> Self {
        let cluster = Self::start();
        let [client, credential] = client_keys(PLAIN);
        let needed = [log_key(), client, credential].map(|key| node_of(&cluster.servers[0], &key));
        let struck = (0..cluster.servers.len()).find(|node| !needed.contains(node)).expect("the client was named so that there is one");
        Self { cluster, struck: vec![struck] }
    }

    /// Whether a key is there; while all nodes are.
    fn has(&self, key: &str) -> bool {
        let nodes = &self.cluster.servers;
        ask(&nodes[node_of(&nodes[0], key)], &["EXISTS", key])
    }
}

impl Servers for Nodes {
    fn section(&self, _gate: usize) -> String {
        section(&self.cluster)
    }

    fn put(&self, key: &str, record: &Value) {
        put(&self.cluster, key, record);
    }

    fn kill(&mut self) {
        self.struck.iter().for_each(|node| self.cluster.servers[*node].kill());
    }

    fn restart(&mut self, data: Data) {
        for node in &self.struck {
            let node = &mut self.cluster.servers[*node];
            let (kept, saved) = (node.directory().join(KEPT), node.directory().join(SAVED));
            if data != Data::Kept {
                fs::remove_dir_all(&kept).expect("it kept everything");
            }
            if data == Data::Saved {
                fs::rename(saved, kept).expect("it was saved");
            }
            node.restart();
        }
        self.cluster.wait(&[0, 1, 2]);
    }

    /// Copies what it has written; of what it is just writing, it will leave out the end.
    fn save(&mut self) {
        for node in &self.struck {
            let directory = self.cluster.servers[*node].directory();
            let saved = directory.join(SAVED);
            fs::create_dir(&saved).expect("it is saved once");
            for file in fs::read_dir(directory.join(KEPT)).expect("it keeps everything") {
                let file = file.expect("the directory can be read");
                fs::copy(file.path(), saved.join(file.file_name())).expect("the file can be copied");
            }
        }
    }

    fn stop(&self) {
        self.struck.iter().for_each(|node| self.cluster.servers[*node].suspend());
    }

    fn cont(&self) {
        self.struck.iter().for_each(|node| self.cluster.servers[*node].resume());
        self.cluster.wait(&[0, 1, 2]);
    }

    fn struck(&self, key: &str) -> bool {
        let other = (0..self.cluster.servers.len()).find(|node| !self.struck.contains(node));
        other.is_none_or(|other| self.struck.contains(&node_of(&self.cluster.servers[other], key)))
    }
}

/// Three nodes and a replica of each. What is done is done to the node that has the log; what comes back in its place is its replica.
struct Replicated {
    cluster: RedisCluster,
    node: usize,
}

impl Replicated {
    fn start() -> Self {
        let cluster = RedisCluster::start_with_replicas(&[]);
        let node = node_of(&cluster.servers[0], &log_key());
        let replicated = Self { cluster, node };
        eventually("the replica has everything", || {
            ask::<String>(replicated.replica(), &["INFO", "replication"]).contains("master_link_status:up")
        });
        replicated
    }

    fn replica(&self) -> &RedisServer {
        let nodes = &self.cluster.servers;
        &nodes[nodes.len() / 2 + self.node]
    }
}

impl Servers for Replicated {
    fn section(&self, _gate: usize) -> String {
        section(&self.cluster)
    }

    fn put(&self, key: &str, record: &Value) {
        put(&self.cluster, key, record);
    }

    fn kill(&mut self) {
        self.cluster.servers[self.node].kill();
    }

    fn restart(&mut self, _data: Data) {
        // Harmless where it was not cut off.
        self.replica().resume();
        eventually("the replica takes its place", || is_master(self.replica()));
        let running: Vec<usize> = (0..self.cluster.servers.len()).filter(|node| *node != self.node).collect();
        self.cluster.wait(&running);
    }

    fn save(&mut self) {
        cut_off(&self.cluster.servers[self.node], self.replica());
    }

    fn stop(&self) {
        self.cluster.servers[self.node].suspend();
    }

    fn cont(&self) {
        self.cluster.servers[self.node].resume();
    }

    fn struck(&self, key: &str) -> bool {
        let other = (self.node + 1) % (self.cluster.servers.len() / 2);
        node_of(&self.cluster.servers[other], key) == self.node
    }
}

fn section(cluster: &RedisCluster) -> String {
    format!("kind = \"redis\"\ncluster = {:?}", cluster.urls())
}

fn put(cluster: &RedisCluster, key: &str, record: &Value) {
    let node = node_of(&cluster.servers[0], key);
    ask::<()>(&cluster.servers[node], &["SET", key, &record.to_string()]);
}

/// The master of a key when all was well, by the arithmetic of any node that runs.
fn node_of(any: &RedisServer, key: &str) -> usize {
    RedisCluster::master_of(ask(any, &["CLUSTER", "KEYSLOT", key]))
}
