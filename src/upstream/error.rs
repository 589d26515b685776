//! Why there is no answer, or no more of one.

use std::error::Error;
use std::fmt;

use http::StatusCode;

/// What a body of a request or of the gate's own making fails with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A request that got no answer, or an answer that broke off.
#[derive(Debug)]
pub enum UpstreamError {
    /// No connection: refused, unreachable, or a name that does not resolve. Nothing was sent.
    Connect(String),
    /// No trusted TLS with the server. Nothing was sent.
    Tls(String),
    Timeout(Phase),
    /// What came is no HTTP answer, or one with contradicting or unknown framing.
    Malformed(String),
    /// The connection ended before an answer.
    Closed,
    /// A 101 that nobody asked for.
    Upgrade,
    /// The body of the request failed on its way: the client's connection, or the gate's own no.
    Body(BoxError),
    /// The answer broke off; what has come of it must not look complete.
    Truncated(String),
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Connect,
    FirstByte,
    /// Between two pieces of the answer's body.
    Gap,
    Total,
}

impl UpstreamError {
    /// Stable; for audit lines, metrics and clients.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "upstream_connect",
            Self::Tls(_) => "upstream_tls",
            Self::Timeout(Phase::Connect) => "upstream_connect_timeout",
            Self::Timeout(Phase::FirstByte) => "upstream_first_byte_timeout",
            Self::Timeout(Phase::Gap) => "upstream_gap_timeout",
            Self::Timeout(Phase::Total) => "upstream_total_timeout",
            Self::Malformed(_) => "upstream_malformed",
            Self::Closed => "upstream_closed",
            Self::Upgrade => "upstream_upgrade",
            Self::Body(_) => "request_body",
            Self::Truncated(_) => "upstream_truncated",
        }
    }

    /// What the client is told, unless the failed body of its request says otherwise.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Connect(_) | Self::Tls(_) | Self::Malformed(_) | Self::Closed | Self::Upgrade | Self::Truncated(_) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }
}

/// What hyper says, and why: it keeps the two apart.
pub(crate) fn with_cause(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "cannot connect to the upstream: {why}"),
            Self::Tls(why) => write!(f, "no trusted TLS with the upstream: {why}"),
            Self::Timeout(Phase::Connect) => f.write_str("the upstream did not take the connection within `connect_timeout`"),
            Self::Timeout(Phase::FirstByte) => f.write_str("the upstream did not begin its answer within `first_byte_timeout`"),
            Self::Timeout(Phase::Gap) => f.write_str("the upstream paused its answer for longer than `first_byte_timeout`"),
            Self::Timeout(Phase::Total) => f.write_str("the upstream did not finish within `total_timeout`"),
            Self::Malformed(why) => write!(f, "the upstream does not speak HTTP: {why}"),
            Self::Closed => f.write_str("the upstream closed the connection before it answered"),
            Self::Upgrade => f.write_str("the upstream switched protocols unasked"),
            Self::Body(why) => write!(f, "the body of the request failed: {why}"),
            Self::Truncated(why) => write!(f, "the answer of the upstream broke off: {why}"),
        }
    }
}

impl Error for UpstreamError {}
