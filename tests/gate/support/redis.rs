//! A `redis-server` of the test's own: on a free port, in its own directory, to be killed, stopped and started again.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::Commands;
use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, signal};

pub struct Redis {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// Ports are tried from here to the foot of the range that the kernel hands out by itself, so that none is lost to an outgoing connection
/// between the look and the start.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

impl Redis {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for _ in 0..PORTS.len() {
            let port = free_port();
            if let Some(child) = launch(&dir, port) {
                return Self { dir, port, child: Some(child) };
            }
        }
        panic!("no port is free for redis-server");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// SIGKILL: whatever it held is gone, as it keeps nothing on disk.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("redis-server runs");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Starts it again on its port, empty.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "redis-server still runs");
        self.child = launch(&self.dir, self.port);
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
fn launch(dir: &TempDir, port: u16) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
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

/// A port that nobody listens on. Processes of a test run start at different places, so that they seldom meet.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() % u32::from(range)).expect("below a u16").wrapping_mul(7) % range;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % range;
        let port = PORTS.start + (start + step) % range;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
