//! A real `redis-server` of a test's own: on a free port and a socket in a temporary directory, ended with the test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to come up; only a machine that is stuck reaches it.
const START_MAX: Duration = Duration::from_secs(20);

/// A port is free when it is chosen and may be taken when it is used.
const PORTS_TRIED_MAX: usize = 10;

/// Ports are tried from here to the foot of the range that the kernel hands out by itself, so that none is lost to an outgoing connection
/// while its server is not there.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Options of a master whose replicas need not wait for others that might come.
pub const AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

pub struct RedisServer {
    directory: TempDir,
    port: u16,
    more: Vec<String>,
    process: Child,
}

impl RedisServer {
    /// With more of its options, which are asked for again where a port among them was taken.
    pub fn with(more: impl Fn() -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        for _ in 0..PORTS_TRIED_MAX {
            let (port, more) = (free_port(), more());
            if let Some(process) = run(&directory, port, &more) {
                return Self { directory, port, more, process };
            }
        }
        panic!("redis-server did not start on any of {PORTS_TRIED_MAX} free ports");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn suspend(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// SIGKILL: the port is closed and connections are reset.
    pub fn kill(&mut self) {
        self.process.kill().expect("the process is ours");
        self.process.wait().expect("the process is ours");
    }

    /// After [`Self::kill`]: a server on the same port, and empty unless it was told to keep something.
    pub fn restart(&mut self) {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            if let Some(process) = run(&self.directory, self.port, &self.more) {
                self.process = process;
                return;
            }
        }
        panic!("redis-server did not come back on port {}", self.port);
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.process.id().to_string()]).status().expect("there is a `kill`");
        assert!(done.success(), "kill {signal}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be gone already; there is nothing left to do then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on. Processes of a test run start at different places, so that they seldom meet.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() % u32::from(range)).expect("below a u16").wrapping_mul(7) % range;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % range;
        let port = PORTS.start + (start + step) % range;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Starts a server and waits until it answers; `None` where it ended instead, as it does when the port is taken.
fn run(directory: &TempDir, port: u16, more: &[String]) -> Option<Child> {
    let socket = directory.path().join("redis.sock");
    let mut process = Command::new("redis-server")
        .current_dir(directory.path())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: apt-get install redis-server");
    let deadline = Instant::now() + START_MAX;
    loop {
        if process.try_wait().expect("the process is ours").is_some() {
            return None;
        }
        if answers(port) {
            return Some(process);
        }
        assert!(Instant::now() < deadline, "redis-server says nothing on port {port}");
        std::thread::yield_now();
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut answer = [0; 7];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG\r\n"
}
