//! A master, a replica and three sentinels, each a process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis_server::{AT_ONCE, RedisServer, free_port};

/// How long they may take to find each other; sentinels greet every two seconds.
const START_MAX: Duration = Duration::from_secs(30);

const SENTINELS: usize = 3;

pub struct Watched {
    pub master: RedisServer,
    pub replica: RedisServer,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    directory: TempDir,
    process: Child,
}

impl Watched {
    /// With more options for master and replica.
    pub fn start(more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().chain(&AT_ONCE).map(|word| (*word).to_owned()).collect();
        let master = RedisServer::with(|| more.clone());
        let port = master.port();
        let following = ["--replicaof".to_owned(), "127.0.0.1".to_owned(), port.to_string()];
        let replica = RedisServer::with(|| more.iter().chain(&following).cloned().collect());
        let watched = Self { sentinels: (0..SENTINELS).map(|_| Sentinel::start(port)).collect(), master, replica };
        watched.wait();
        watched
    }

    /// Waits until every sentinel knows of all others, and of a master and a replica that are well, and the replica has everything.
    pub fn wait(&self) {
        let deadline = Instant::now() + START_MAX;
        while !follows(&self.master) {
            assert!(Instant::now() < deadline, "the replica does not come up");
            std::thread::yield_now();
        }
        for sentinel in &self.sentinels {
            while !sentinel.knows_all() {
                assert!(Instant::now() < deadline, "the sentinels do not find each other");
                std::thread::yield_now();
            }
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port)).collect()
    }

    pub fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// SIGKILL.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].end();
    }

    /// After [`Self::kill_sentinel`].
    pub fn restart_sentinel(&mut self, number: usize) {
        let sentinel = &mut self.sentinels[number];
        sentinel.process = run(&sentinel.file());
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let port = free_port();
        let sentinel = |text: &str| format!("sentinel {text}\n");
        let text = [
            format!("port {port}\nbind 127.0.0.1\ndir {}\n", directory.path().display()),
            sentinel(&format!("monitor mymaster 127.0.0.1 {master} 2")),
            sentinel("down-after-milliseconds mymaster 2000"),
            sentinel("failover-timeout mymaster 3000"),
        ];
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, text.concat()).expect("the directory is there");
        Self { port, process: run(&file), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("sentinel.conf")
    }

    fn knows_all(&self) -> bool {
        let ask = || {
            let mut connection = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).ok()?.get_connection().ok()?;
            let told =
                redis::cmd("SENTINEL").arg("MASTER").arg("mymaster").query::<std::collections::HashMap<String, String>>(&mut connection);
            told.ok()
        };
        ask().is_some_and(|told| {
            told.get("num-other-sentinels").is_some_and(|count| *count == (SENTINELS - 1).to_string())
                && told.get("num-slaves").is_some_and(|count| count == "1")
                && told.get("flags").is_some_and(|flags| flags == "master")
        })
    }

    fn end(&mut self) {
        // It may be gone already; there is nothing left to do then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.end();
    }
}

fn follows(master: &RedisServer) -> bool {
    let ask = || {
        let mut connection = redis::Client::open(master.url()).ok()?.get_connection().ok()?;
        redis::cmd("INFO").arg("replication").query::<String>(&mut connection).ok()
    };
    ask().is_some_and(|told| told.contains("state=online"))
}

fn run(file: &std::path::Path) -> Child {
    Command::new("redis-server")
        .arg(file)
        .arg("--sentinel")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: apt-get install redis-server")
}
