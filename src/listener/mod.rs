//! How connections come in: bind, accept, TLS, the guard before HTTP/1, one connection, drain.
//!
//! This room knows nothing of tokens, sites or replies: it gives its [`Service`] either a lawful request or the [`Violation`] that came in
//! the place of one, with the facts of the [`Connection`], and writes whatever the service answers.
//!
//! ```text
//! accept -> (PROXY protocol) -> pace -> (TLS) -> guard -> hyper HTTP/1 -> service
//!                                            `-> hyper HTTP/2 -> rules again -> service
//! ```
//!
//! Everything is built first: [`socket::open`] binds, [`accept::assemble`] makes the workers, and each thread runs [`accept::run`].
//!
//! [`Violation`]: violation::Violation
//! [`Connection`]: connection::Connection

pub mod accept;
mod bound;
pub mod certificate;
mod chunk;
mod clock;
pub mod connection;
pub mod drain;
pub mod gauges;
mod guard;
mod h2;
mod head;
mod pace;
mod proxy;
mod serve;
pub mod socket;
pub mod tls;
pub mod violation;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::listener::connection::Connection;
use crate::listener::violation::Violation;

/// Every bound on what a peer may take; complete and checked.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The request line and header fields of one request, in bytes.
    pub header_bytes_max: usize,
    /// Header fields of one request.
    pub header_count_max: usize,
    /// The request target, in bytes; 65534 at most, which is hyper's own bound.
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

/// What comes to the service: a request that is lawful as far as HTTP goes, or the violation in the place of one. A violation is answered
/// like a request, and over HTTP/1 the connection closes with the answer.
///
/// The body of a request may still end with an error; [`Violation::behind`] tells whether it was the client's doing.
pub type Arrival = Result<Request<Incoming>, Violation>;

/// Who answers. It is cloned for every connection and every HTTP/2 request, so clones should be cheap.
pub trait Service: Clone + Send + Sync + 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// The future is dropped where the client goes away first.
    fn call(&self, connection: &Arc<Connection>, arrival: Arrival) -> impl Future<Output = Response<Self::Body>> + Send;
}

#[cfg(test)]
mod tests;
