//! How connections come in: bind, accept, TLS, the guard before HTTP/1, one connection, drain.

use std::time::Duration;

/// Every bound on what a peer may take; complete and checked.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The request line and header fields of one request, in bytes.
    pub header_bytes_max: usize,
    /// Header fields of one request.
    pub header_count_max: usize,
    /// The request target, in bytes.
    pub target_bytes_max: usize,
    /// TLS handshake, and the PROXY protocol header before it.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two requests of a connection, and before the first.
    pub idle_timeout: Duration,
    /// A peer that takes in less than `write_rate_min` bytes a second over this long is cut off.
    pub write_timeout: Duration,
    pub write_rate_min: u64,
    /// Connections open at once, over all listeners; and from one address.
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// HTTP/2 requests in flight on one connection.
    pub h2_streams_max: u32,
    /// From the signal to the last cut.
    pub drain_timeout: Duration,
}
