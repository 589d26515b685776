//! Idle connections of one worker to one server, the last used first, so that the rest can age and go.
//!
//! A connection comes back only after an answer that ended cleanly, and hyper has looked for stray bytes by then: it calls itself ready
//! only after it found none. Bytes that come later end the connection where it lies. A server that closes each connection, as
//! gunicorn's sync workers do, is nothing to talk about: its connections are just never ready again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::upstream::Server;
use crate::upstream::connect::Connection;

pub(crate) struct Pool {
    pub(crate) server: Arc<Server>,
    /// The lock keeps futures `Send`; only one thread ever takes it.
    idle: Mutex<Idle>,
    /// Requests that have not seen the end of their answer.
    outstanding: AtomicUsize,
}

#[derive(Default)]
struct Idle {
    /// Oldest first.
    connections: Vec<Connection>,
    sweeping: bool,
}

impl Pool {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, idle: Mutex::default(), outstanding: AtomicUsize::new(0) }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// A connection that was fine when last heard of.
    pub(crate) fn take(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.connections.pop() {
            if connection.is_ready() && now.saturating_duration_since(connection.idle_since) < self.server.settings.idle_timeout {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection whose answer has ended, if it is of further use.
    pub(crate) fn put(self: &Arc<Self>, mut connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle();
        if idle.connections.len() >= self.server.settings.idle_max {
            return;
        }
        idle.connections.push(connection);
        if !idle.sweeping {
            idle.sweeping = true;
            let every = (self.server.settings.idle_timeout / 2).max(SWEEP_EVERY_MIN);
            tokio::spawn(sweep(Arc::downgrade(self), every));
        }
    }

    /// Drops what is dead or old. Returns whether nothing is left to sweep.
    fn prune(&self, now: Instant) -> bool {
        let timeout = self.server.settings.idle_timeout;
        let mut idle = self.idle();
        idle.connections.retain(|connection| connection.is_ready() && now.saturating_duration_since(connection.idle_since) < timeout);
        idle.sweeping = !idle.connections.is_empty();
        !idle.sweeping
    }

    #[cfg(test)]
    pub(crate) fn idle_count(&self) -> usize {
        self.idle().connections.len()
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's hold on a server: counted from the choice of the server to the end of the answer or of the waiting for it.
pub(crate) struct Lease {
    pool: Arc<Pool>,
}

impl Lease {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        pool.outstanding.fetch_add(1, Ordering::Relaxed);
        Self { pool: Arc::clone(pool) }
    }

    /// The answer has ended cleanly.
    pub(crate) fn give_back(self, connection: Connection) {
        self.pool.put(connection);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets idle connections of a quiet server go. Ends with the last of them, or with the pool.
async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.prune(Instant::now()) {
            return;
        }
    }
}

const SWEEP_EVERY_MIN: Duration = Duration::from_millis(50);
