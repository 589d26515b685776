//! What the listener counts, for whoever shows it. Connection by connection, never on the path of a good request.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::listener::violation::Violation;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Gauges {
    /// Connections accepted, those refused next included.
    pub accepted: Counter,
    /// Over `connections_max`.
    pub refused_total: Counter,
    /// Over `connections_per_address_max`.
    pub refused_address: Counter,
    /// Not from a trusted proxy, on an entrance that is only for those.
    pub refused_untrusted: Counter,
    /// Errors of `accept`, such as running out of descriptors.
    pub accept_errors: Counter,
    /// TLS handshakes and PROXY protocol headers that failed or took too long.
    pub handshakes_failed: Counter,
    /// TLS handshakes that were resumed, and all that succeeded.
    pub handshakes_resumed: Counter,
    pub handshakes: Counter,
    /// Connections handed over to a worker with fewer.
    pub handed_over: Counter,
    /// Peers cut off because they took in too little.
    pub too_slow: Counter,
    /// Connections cut at the end of a drain.
    pub cut: Counter,
    violations: [Counter; Violation::ALL.len()],
}

impl Gauges {
    pub(super) fn violated(&self, violation: Violation) {
        self.violations[violation as usize].add();
    }

    pub fn violations(&self, violation: Violation) -> u64 {
        self.violations[violation as usize].value()
    }
}
