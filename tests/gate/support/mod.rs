//! What the tests stand on: a real gate, a real Redis, a recording upstream, clients that send exact bytes, and a browser.
//!
//! Everything here blocks and waits on an event (a line, a socket, an exit) with [`DEADLINE`]; nothing sleeps for a while and hopes.

pub mod admin;
pub mod audit;
pub mod browser;
pub mod certificate;
pub mod exchange;
pub mod frames;
pub mod gate;
pub mod http2;
pub mod provider;
pub mod proxy;
pub mod redis;
#[path = "../../support/cluster.rs"]
pub mod redis_cluster;
#[path = "../../support/redis.rs"]
pub mod redis_server;
#[path = "../../support/sentinel.rs"]
pub mod redis_watched;
pub mod setup;
pub mod upstream;
pub mod verdict;
pub mod webdriver;
pub mod wire;

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest that any test waits for anything; a machine under load needs the room, a passing test never takes it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at something that reports no change by itself.
const LOOK: Duration = Duration::from_millis(5);

/// Asks until `done` says yes; panics with `what` after [`DEADLINE`].
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let (_keep, never) = mpsc::channel::<()>();
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        // A channel on which nothing is ever sent: the wait between two looks.
        let _ = never.recv_timeout(LOOK);
    }
}

/// The clock's second, as tokens count it.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}

/// Sends a signal, by its name without `SIG`, to a process that this test started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -s {name} {pid}")).status().expect("sh is there");
    assert!(status.success(), "could not send {name} to {pid}");
}
