//! The servers that answer for a site: what crosses the gate, and how it gets there.

use std::net::SocketAddr;
use std::time::Duration;

/// How every upstream server of a site is reached; complete and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TCP connect and, where it is HTTPS, the TLS handshake.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// From the start of forwarding to the last byte of the answer.
    pub total_timeout: Duration,
    /// How long an idle pooled connection is kept.
    pub idle_timeout: Duration,
    /// Idle connections kept per server and worker.
    pub idle_max: usize,
    /// Bytes of an answer's head.
    pub head_bytes_max: usize,
    /// Failures to connect, to answer in time or to speak HTTP in a row after which a server rests.
    pub failures_max: u32,
    /// How long it rests before a request tries it again.
    pub rest: Duration,
    /// Time between two active checks; `None` for none.
    pub check_interval: Option<Duration>,
    /// Path asked by the active check; any answer below 500 is healthy.
    pub check_path: String,
}

/// One server, from `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

/// Who the client is, as told to the upstream.
#[derive(Clone, Debug)]
pub struct Via {
    pub client: SocketAddr,
    /// Whether the client came by HTTPS.
    pub secure: bool,
}
