//! A `redis-server` of the test's own: on a free port, in its own directory, to be killed, stopped and started again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Commands;
use serde_json::Value;
use tempfile::TempDir;

use super::redis_server::free_port;
use super::{DEADLINE, signal};

pub struct Redis {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    /// What it keeps on disk.
    disk: Disk,
}

/// What a server held: key, milliseconds that it has left (0 for no end), and what lies there, as the server packs it.
#[derive(Default)]
pub struct Contents(Vec<(String, i64, Vec<u8>)>);

#[derive(Clone, Copy)]
enum Disk {
    Nothing,
    /// Every write is handed to the kernel before it is acknowledged, which is enough for what survives a process. That the disk has it
    /// is not waited for: then a busy disk would make the server late.
    Everything,
}

/// Where [`Redis::save`] leaves its snapshot, out of the server's sight.
const SAVED: &str = "saved.rdb";

/// A port is free when it is chosen and may be taken when it is used.
const PORTS_TRIED_MAX: usize = 10;

impl Redis {
    pub fn start() -> Self {
        Self::keeping(Disk::Nothing)
    }

    /// One that loses nothing when it is killed.
    pub fn durable() -> Self {
        Self::keeping(Disk::Everything)
    }

    fn keeping(disk: Disk) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            if let Some(child) = launch(&dir, port, disk) {
                return Self { dir, port, child: Some(child), disk };
            }
        }
        panic!("no port is free for redis-server");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// SIGKILL: whatever it held is gone, unless it is [`Self::durable`].
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("redis-server runs");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Starts it again on its port: empty, or with everything where it is [`Self::durable`].
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "redis-server still runs");
        self.child = launch(&self.dir, self.port, self.disk);
        assert!(self.child.is_some(), "redis-server did not come back on its port");
    }

    /// SIGSTOP: the kernel still accepts connections for it and nothing is ever answered.
    pub fn stop(&self) {
        signal(self.pid(), "STOP");
    }

    pub fn cont(&self) {
        signal(self.pid(), "CONT");
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("redis-server runs").id()
    }

    pub fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("the address is well-formed");
        let connection = client.get_connection_with_timeout(DEADLINE).expect("redis-server answers");
        connection.set_read_timeout(Some(DEADLINE)).expect("a time limit can be set");
        connection
    }

    /// Writes a record in the public format.
    pub fn put(&self, key: &str, record: &Value) {
        let () = self.connection().set(key, record.to_string()).expect("redis-server keeps it");
    }

    /// Reads one.
    pub fn get(&self, key: &str) -> Value {
        let json: String = self.connection().get(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{key} is no JSON ({error}): {json}"))
    }

    pub fn add(&self, set: &str, member: &str) {
        let () = self.connection().sadd(set, member).expect("redis-server keeps it");
    }

    /// Tells the revocation log of a site, as every tool must that changes what a gate may know.
    pub fn log(&self, site: &str, pairs: &[&str]) {
        let mut append = redis::cmd("XADD");
        append.arg(format!("sg:{{{site}}}:revocations")).arg("*").arg(pairs);
        append.query::<()>(&mut self.connection()).expect("redis-server keeps it");
    }

    /// The record under `key`, read back.
    pub fn record(&self, key: &str) -> Option<Value> {
        let text: Option<String> = self.connection().get(key).expect("redis-server answers");
        text.map(|text| serde_json::from_str(&text).expect("a record is JSON"))
    }

    /// What is left to live of `key`.
    pub fn time_to_live(&self, key: &str) -> Duration {
        let milliseconds: i64 = self.connection().pttl(key).expect("redis-server answers");
        Duration::from_millis(u64::try_from(milliseconds).expect("the key is there and expires"))
    }

    /// Everything that it holds, as text: keys, and whatever lies under them.
    pub fn everything(&self) -> String {
        let mut connection = self.connection();
        let mut all = String::new();
        for key in self.keys() {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).expect("redis-server answers");
            let (command, arguments): (_, &[&str]) = match kind.as_str() {
                "string" => ("GET", &[]),
                "set" => ("SMEMBERS", &[]),
                "hash" => ("HGETALL", &[]),
                "zset" => ("ZRANGE", &["0", "-1"]),
                "stream" => ("XRANGE", &["-", "+"]),
                other => panic!("{key} is a {other}, which nothing here writes"),
            };
            let held: redis::Value = redis::cmd(command).arg(&key).arg(arguments).query(&mut connection).expect("redis-server answers");
            if kind == "stream" {
                all.push_str(&format!("{key}\n{held:?}\n"));
                continue;
            }
            let held: Vec<Vec<u8>> = match held {
                redis::Value::BulkString(bytes) => vec![bytes],
                other => redis::from_redis_value(other).expect("bytes, or a list of bytes"),
            };
            all.push_str(&key);
            for part in held {
                all.push('\n');
                all.push_str(&String::from_utf8_lossy(&part));
            }
            all.push('\n');
        }
        all
    }

    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.connection().keys("*").expect("redis-server answers");
        keys.sort();
        keys
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Takes a snapshot, for [`Self::restart_saved`].
    pub fn save(&self) {
        let () = redis::cmd("SAVE").query(&mut self.connection()).expect("redis-server saves");
        fs::rename(self.dir.path().join("dump.rdb"), self.dir.path().join(SAVED)).expect("it has saved");
    }

    /// Starts it again on its port with what it held when it was saved. From here on it keeps nothing on disk.
    pub fn restart_saved(&mut self) {
        self.clear();
        fs::rename(self.dir.path().join(SAVED), self.dir.path().join("dump.rdb")).expect("it was saved");
        self.disk = Disk::Nothing;
        self.restart();
    }

    /// Starts it again on its port, empty whatever it kept.
    pub fn restart_empty(&mut self) {
        self.clear();
        self.restart();
    }

    /// Everything that it holds, for [`Self::replace`].
    pub fn contents(&self) -> Contents {
        let mut connection = self.connection();
        let keys = self.keys().into_iter().filter_map(|key| {
            let bytes: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query(&mut connection).expect("redis-server answers");
            let lives: i64 = connection.pttl(&key).expect("redis-server answers");
            // One that expired meanwhile is none any more.
            bytes.filter(|_| lives != -2).map(|bytes| (key, lives.max(0), bytes))
        });
        Contents(keys.collect())
    }

    /// Puts that in the place of all that it holds, in one step and without a restart.
    pub fn replace(&self, contents: &Contents) {
        let mut step = redis::pipe();
        step.atomic().cmd("FLUSHALL").ignore();
        for (key, lives, bytes) in &contents.0 {
            step.cmd("RESTORE").arg(key).arg(lives).arg(bytes).ignore();
        }
        let () = step.query(&mut self.connection()).expect("redis-server takes it");
    }

    /// Removes what it keeps.
    fn clear(&self) {
        assert!(self.child.is_none(), "redis-server still runs");
        // A file that is not there is as good as one that was removed.
        let _ = fs::remove_dir_all(self.dir.path().join("appendonlydir"));
        let _ = fs::remove_file(self.dir.path().join("dump.rdb"));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // SIGKILL also ends a stopped process.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running server once it says that it is ready; `None` where its port was taken after all.
fn launch(dir: &TempDir, port: u16, disk: Disk) -> Option<Child> {
    let kept = match disk {
        Disk::Nothing => "no",
        Disk::Everything => "yes",
    };
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
        .args(["--appendonly", kept, "--appendfsync", "no"])
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is not installed: run tests/run, which installs it");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped"));
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line.contains("Ready to accept connections") {
            // It may go on writing; someone has to read, or it would be stopped by a full pipe.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return Some(child);
        }
        line.clear();
    }
    let _ = child.wait();
    None
}
