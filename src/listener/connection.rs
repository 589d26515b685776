//! One connection as its service sees it, and what its parts tell each other: the guard, the requests in flight, the driver.
//!
//! All parts of a connection live on one worker, so its counters are never contended; they are atomic only because HTTP/2 streams are
//! tasks of their own.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::listener::violation::Violation;

/// Through which door a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// TLS.
    Https,
    /// The public plain port; the service refuses tokens there.
    Http,
    /// Plain HTTP from a trusted proxy that ended the TLS.
    BehindProxy,
}

impl Entrance {
    /// Whether only trusted proxies may come in here.
    pub(super) fn only_trusted(self) -> bool {
        self == Self::BehindProxy
    }

    /// Its key in the configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::BehindProxy => "behind_proxy",
        }
    }

    /// Its name in logs and among inherited sockets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::BehindProxy => "behind-proxy",
        }
    }
}

/// An address in words. A socket that listens on both families reports IPv4 peers in IPv6 clothes.
pub fn address_text(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_canonical().to_string()).expect("an address prints as digits, letters, dots and colons")
}

/// The facts of one connection.
#[derive(Debug)]
pub struct Connection {
    pub entrance: Entrance,
    /// Who opened the TCP connection.
    pub peer: SocketAddr,
    /// The peer, or whom a trusted one named in the PROXY protocol.
    pub client: SocketAddr,
    /// The client's address in words; every request tells it to the upstream and to the log.
    pub client_text: HeaderValue,
    pub local: SocketAddr,
    /// The name asked for in the TLS handshake, in lower case.
    pub sni: Option<Box<str>>,
    pub h2: bool,
    pulse: Pulse,
}

impl Connection {
    pub fn new(entrance: Entrance, peer: SocketAddr, client: SocketAddr, local: SocketAddr, sni: Option<Box<str>>, h2: bool) -> Self {
        Self { entrance, peer, client, client_text: address_text(client.ip()), local, sni, h2, pulse: Pulse::default() }
    }

    /// A message head went on to hyper, which will make one call of it.
    pub(super) fn began(&self) {
        self.pulse.began.fetch_add(1, Ordering::Relaxed);
        self.pulse.open.fetch_add(1, Ordering::Relaxed);
    }

    /// The next head that goes on to hyper stands for this violation.
    pub(super) fn violated(&self, violation: Violation) {
        let number = self.pulse.began.load(Ordering::Relaxed).wrapping_add(1);
        // One per connection: the guard lets nothing pass after it.
        let _ = self.pulse.violation.set((number, violation));
        self.began();
    }

    /// A call was made: the violation that it stands for, if it does. hyper makes calls in the order of the heads, one each, so
    /// counting tells the guard's stand-in from anything that a client could send.
    pub(super) fn called(&self) -> Option<Violation> {
        let number = self.pulse.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.pulse.violation.get().filter(|(at, _)| *at == number).map(|(_, violation)| *violation)
    }

    /// Messages begun and not yet answered to the end.
    pub(super) fn open(&self) -> u32 {
        self.pulse.open.load(Ordering::Relaxed)
    }

    pub(super) fn mid_head(&self) -> bool {
        self.pulse.mid_head.load(Ordering::Relaxed)
    }

    pub(super) fn set_mid_head(&self, mid_head: bool) {
        self.pulse.mid_head.store(mid_head, Ordering::Relaxed);
    }

    /// Whether the one message in flight has a body that is not wholly here. An answer to it closes the connection: what is left of the body
    /// would have to be read as a courtesy, or taken for the next request.
    pub(super) fn unread(&self) -> bool {
        self.pulse.mid_body.load(Ordering::Relaxed) && self.open() == 1
    }

    pub(super) fn set_mid_body(&self, mid_body: bool) {
        self.pulse.mid_body.store(mid_body, Ordering::Relaxed);
    }

    /// Answers that wait for the peer to make room, and bytes of answers handed on so far.
    pub(super) fn outgoing(&self) -> (u32, u64) {
        (self.pulse.waiting.load(Ordering::Relaxed), self.pulse.bytes.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Pulse {
    began: AtomicU32,
    calls: AtomicU32,
    open: AtomicU32,
    mid_head: AtomicBool,
    mid_body: AtomicBool,
    /// With the number of the call that stands for it.
    violation: OnceLock<(u32, Violation)>,
    waiting: AtomicU32,
    bytes: AtomicU64,
}

/// A message that began and is not over. Dropped with the last byte of the answer, or with the connection.
pub(super) struct InFlight(pub Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.pulse.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// The body of an answer, which keeps its message in flight, and on HTTP/2 tells whether the peer makes room for it.
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
        waiting: Waiting,
        message: InFlight,
    }
}

impl<B> Tracked<B> {
    pub fn new(body: B, message: InFlight) -> Self {
        // Until hyper asks for the first frame it waits for the peer's flow control.
        let waiting = Waiting::new(message.0.h2.then(|| message.0.clone()));
        Self { body, waiting, message }
    }
}

impl<B: Body<Data = Bytes>> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if this.message.0.h2 {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => this.waiting.for_peer(frame.data_ref().map_or(0, Buf::remaining)),
                Poll::Ready(_) | Poll::Pending => this.waiting.for_service(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether one answer waits for the peer, counted on the connection; `None` where nobody asks.
struct Waiting {
    connection: Option<Arc<Connection>>,
    counted: bool,
}

impl Waiting {
    fn new(connection: Option<Arc<Connection>>) -> Self {
        let mut waiting = Self { connection, counted: false };
        waiting.for_peer(0);
        waiting
    }

    fn for_peer(&mut self, bytes: usize) {
        let Some(connection) = &self.connection else { return };
        connection.pulse.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if !self.counted {
            self.counted = true;
            connection.pulse.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn for_service(&mut self) {
        let Some(connection) = &self.connection else { return };
        if self.counted {
            self.counted = false;
            connection.pulse.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.for_service();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::{Connection, Entrance, InFlight, address_text};
    use crate::listener::violation::Violation;

    #[test]
    fn an_address_has_no_port_and_no_ipv6_clothes() {
        for (address, text) in [("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1")] {
            assert_eq!(address_text(address.parse().unwrap()), text);
        }
    }

    #[test]
    fn only_the_call_of_the_stand_in_is_the_violation() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Arc::new(Connection::new(Entrance::Http, address, address, address, None, false));
        connection.began();
        connection.violated(Violation::FoldedLine);
        assert_eq!(connection.open(), 2);
        assert_eq!(connection.called(), None);
        drop(InFlight(connection.clone()));
        assert_eq!(connection.called(), Some(Violation::FoldedLine));
        drop(InFlight(connection.clone()));
        assert_eq!(connection.open(), 0);
    }
}
