//! A Redis Cluster of three masters, each a process, with a replica of each where a test is about failover.

use std::time::{Duration, Instant};

use super::redis_server::{AT_ONCE, RedisServer, free_port};

/// How long a Cluster may take to find itself; it takes two seconds at least.
const START_MAX: Duration = Duration::from_secs(30);

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

pub struct RedisCluster {
    /// Masters first, and their replicas in the same order.
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// With more options for each.
    pub fn start(more: &[&str]) -> Self {
        Self::of(MASTERS, more)
    }

    pub fn start_with_replicas(more: &[&str]) -> Self {
        Self::of(2 * MASTERS, more)
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port())).collect()
    }

    /// What the master of a slot is among the first three.
    pub fn master_of(slot: u16) -> usize {
        (0..MASTERS).rfind(|number| first_slot(*number) <= usize::from(slot)).expect("the first one begins at 0")
    }

    /// Waits until every server that runs finds the Cluster well.
    pub fn wait(&self, running: &[usize]) {
        let deadline = Instant::now() + START_MAX;
        for number in running {
            while !info(&self.servers[*number]).is_some_and(|info| info.contains("cluster_state:ok")) {
                assert!(Instant::now() < deadline, "the Cluster does not become well");
                std::thread::yield_now();
            }
        }
    }

    fn of(count: usize, more: &[&str]) -> Self {
        let options = || {
            let bus = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            own.into_iter().chain(AT_ONCE).chain(more.iter().copied()).map(str::to_owned).collect()
        };
        let servers: Vec<RedisServer> = (0..count).map(|_| RedisServer::with(options)).collect();
        for (number, server) in servers.iter().enumerate() {
            ask::<()>(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < MASTERS {
                let last = first_slot(number + 1) - 1;
                ask::<()>(server, &["CLUSTER", "ADDSLOTSRANGE", &first_slot(number).to_string(), &last.to_string()]);
            }
        }
        for server in &servers[1..] {
            let bus: Vec<String> = ask(server, &["CONFIG", "GET", "cluster-port"]);
            ask::<()>(&servers[0], &["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string(), &bus[1]]);
        }
        let deadline = Instant::now() + START_MAX;
        let known = format!("cluster_known_nodes:{count}\r\n");
        for server in &servers {
            while !info(server).is_some_and(|info| info.contains(&known)) {
                assert!(Instant::now() < deadline, "the servers do not meet");
                std::thread::yield_now();
            }
        }
        for (number, replica) in servers.iter().enumerate().skip(MASTERS) {
            let master: String = ask(&servers[number - MASTERS], &["CLUSTER", "MYID"]);
            ask::<()>(replica, &["CLUSTER", "REPLICATE", &master]);
        }
        let cluster = Self { servers };
        cluster.wait(&(0..count).collect::<Vec<_>>());
        cluster
    }
}

fn first_slot(number: usize) -> usize {
    SLOTS * number / MASTERS
}

fn info(server: &RedisServer) -> Option<String> {
    let mut connection = redis::Client::open(server.url()).ok()?.get_connection().ok()?;
    redis::cmd("CLUSTER").arg("INFO").query(&mut connection).ok()
}

/// One command to one server, whatever it is.
pub fn ask<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut connection = redis::Client::open(server.url()).and_then(|client| client.get_connection()).expect("the server runs");
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}
