//! Clients with connections that stay open, which show both gates every token in turn, at a steady rate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::setup::SITE;
use crate::support::wire::Wire;

use super::fleet::{BOTH, target};

/// Requests a second to each gate.
pub const RATE: u32 = 100;

/// Connections to each gate. Each may wait for the gate as long as that may wait for its store.
const CONNECTIONS: u32 = 8;

/// What a client saw.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub token: usize,
    pub gate: usize,
    pub sent: Instant,
    pub came: Instant,
    /// 0 where the connection ended without an answer.
    pub status: u16,
    pub retry_after: bool,
}

/// What the clients share.
#[derive(Default)]
struct Shared {
    tokens: RwLock<Vec<String>>,
    answers: Mutex<Vec<Answer>>,
    turns: [AtomicUsize; 2],
}

pub struct Load {
    shared: Arc<Shared>,
    /// Dropped to end the clients.
    clients: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Load {
    /// `rate` requests a second to each of the two gates.
    pub fn begin(gates: [SocketAddr; 2], rate: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let pause = Duration::from_secs(1) * CONNECTIONS / rate;
        let client = |number: u32, gate: usize| {
            let (stop, stopped) = mpsc::channel();
            let (shared, address) = (Arc::clone(&shared), gates[gate]);
            let client = thread::spawn(move || {
                let mut wire = Wire::plain_to(address);
                // Clients of one gate take turns.
                let mut next = Instant::now() + pause * number / CONNECTIONS;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    // Who was kept waiting does not make up for it.
                    next = Instant::now().max(next + pause);
                    if !shared.ask(&mut wire, gate) {
                        wire = Wire::plain_to(address);
                    }
                }
            });
            (stop, client)
        };
        let clients = BOTH.into_iter().flat_map(|gate| (0..CONNECTIONS).map(move |number| (number, gate)));
        let clients = clients.map(|(number, gate)| client(number, gate)).collect();
        Self { shared, clients }
    }

    /// Shows one more token from now on; its number is how many there were before.
    pub fn show(&self, token: &str) -> usize {
        let mut tokens = self.shared.tokens.write().expect("no one panics with it");
        tokens.push(token.to_owned());
        tokens.len() - 1
    }

    pub fn answers(&self) -> Vec<Answer> {
        self.shared.answers.lock().expect("no one panics with it").clone()
    }

    /// Whether an answer like that has come.
    pub fn saw(&self, mut like: impl FnMut(&Answer) -> bool) -> bool {
        self.shared.answers.lock().expect("no one panics with it").iter().rev().any(&mut like)
    }

    /// Lets the clients finish.
    pub fn end(&mut self) {
        for (stop, client) in self.clients.drain(..) {
            drop(stop);
            assert!(client.join().is_ok(), "a client panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Where the test fails, its clients end before the gates do.
        for (stop, client) in self.clients.drain(..) {
            drop(stop);
            let _ = client.join();
        }
    }
}

impl Shared {
    /// One request; whether the connection can be used again.
    fn ask(&self, wire: &mut Wire, gate: usize) -> bool {
        let turn = self.turns[gate].fetch_add(1, Ordering::Relaxed);
        let (token, request) = {
            let tokens = self.tokens.read().expect("no one panics with it");
            if tokens.is_empty() {
                return true;
            }
            let token = turn % tokens.len();
            (token, request(&target(token, gate), &tokens[token]))
        };
        let sent = Instant::now();
        wire.send(request);
        let reply = wire.try_reply().ok().flatten();
        let came = Instant::now();
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        let retry_after = reply.as_ref().is_some_and(|reply| reply.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
        let open = reply.is_some_and(|reply| reply.header("connection").is_none_or(|connection| connection != "close"));
        self.answers.lock().expect("no one panics with it").push(Answer { token, gate, sent, came, status, retry_after });
        open
    }
}

/// As a trusted proxy sends it that has taken TLS off.
fn request(target: &str, token: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {SITE}\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
}
