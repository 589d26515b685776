//! A worker: accepts from its own sockets, serves what it accepted, and hands over where it has more than others.
//!
//! The kernel spreads connections by a hash, so a few long-lived ones may all land on one worker. A hand-over costs two registrations and a
//! wake-up, once in the life of a connection, and only where the loads differ.

use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::listener::bound::{Connections, Permit};
use crate::listener::drain::Drain;
use crate::listener::gauges::{Counter, Gauges};
use crate::listener::serve::{self, Origin, Protocols};
use crate::listener::socket::{Door, Listen};
use crate::listener::tls::Tls;
use crate::listener::{Bounds, Service};

/// How long accepting rests after an error: first, and at most.
const REST_MIN: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_secs(1);
/// The least time between two log lines about it.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);
/// Given to the last connections to end by themselves after they were told to.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// What all workers share.
pub struct Shared {
    pub gauges: Gauges,
    pub(super) bounds: Bounds,
    pub(super) protocols: Protocols,
    pub(super) tls: Option<Arc<Tls>>,
    trusted_proxies: Vec<IpNet>,
    connections: Arc<Connections>,
    inboxes: Box<[UnboundedSender<Handed>]>,
}

impl Shared {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.connections.open()
    }

    /// Connections open now, worker by worker.
    pub fn loads(&self) -> Vec<usize> {
        self.connections.loads()
    }
}

/// One worker, to be run on a thread of its own.
pub struct Worker {
    index: usize,
    doors: Vec<Door>,
    /// As many as there are permits at most.
    inbox: UnboundedReceiver<Handed>,
}

impl Worker {
    /// The addresses that it listens on, with their true ports.
    pub fn listens(&self) -> impl Iterator<Item = &Listen> {
        self.doors.iter().map(|door| &door.listen)
    }
}

/// A connection on its way to another worker.
struct Handed {
    stream: net::TcpStream,
    origin: Origin,
    permit: Permit,
}

/// What the connections of one worker share.
pub(super) struct Lane {
    pub shared: Arc<Shared>,
    pub drain: Drain,
    /// Connections of this worker that were cut at the end.
    pub cut: Counter,
    index: usize,
}

/// Puts the parts together: one worker for each element of `doors`. HTTPS doors need `tls`.
pub fn assemble(bounds: Bounds, trusted_proxies: Vec<IpNet>, tls: Option<Arc<Tls>>, doors: Vec<Vec<Door>>) -> (Arc<Shared>, Vec<Worker>) {
    let (inboxes, receivers): (Vec<_>, Vec<_>) = doors.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let connections = Connections::new(bounds.connections_max, bounds.connections_per_address_max, doors.len());
    let workers = doors.into_iter().zip(receivers).enumerate();
    let workers = workers.map(|(index, (doors, inbox))| Worker { index, doors, inbox }).collect();
    let shared = Shared {
        gauges: Gauges::default(),
        protocols: Protocols::new(&bounds),
        bounds,
        tls,
        trusted_proxies,
        connections,
        inboxes: inboxes.into(),
    };
    (Arc::new(shared), workers)
}

/// Runs one worker on the runtime of this thread until it is drained; says how many of its connections had to be cut.
///
/// The service is cloned for every request: what the clones share should not be shared with other workers.
pub async fn run<S: Service>(worker: Worker, shared: Arc<Shared>, service: S, drain: Drain) -> io::Result<u64> {
    let Worker { index, doors, mut inbox } = worker;
    let lane = Arc::new(Lane { shared, drain, cut: Counter::default(), index });
    let mut accepting = JoinSet::new();
    for door in doors {
        let listener = TcpListener::from_std(door.socket)?;
        accepting.spawn(accept(listener, door.listen, lane.clone(), service.clone()));
    }
    loop {
        tokio::select! {
            handed = inbox.recv() => {
                let Some(Handed { stream, origin, permit }) = handed else { break };
                match TcpStream::from_std(stream) {
                    Ok(stream) => drop(tokio::spawn(serve::connection(stream, origin, permit, lane.clone(), service.clone()))),
                    Err(error) => tracing::warn!(%error, "connection lost on its way to another worker"),
                }
            }
            () = lane.drain.wait() => break,
        }
    }
    // What is still on its way ends here, and so do the permits of it.
    inbox.close();
    while inbox.try_recv().is_ok() {}
    while accepting.join_next().await.is_some() {}
    let emptied = lane.shared.connections.emptied(index);
    let _ = tokio::time::timeout(lane.shared.bounds.drain_timeout + END_TIMEOUT, emptied).await;
    Ok(lane.cut.value())
}

async fn accept<S: Service>(listener: TcpListener, listen: Listen, lane: Arc<Lane>, service: S) {
    let mut rest = Rest::default();
    let mut complaints = Complaints::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lane.drain.wait() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                rest = Rest::default();
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                lane.shared.gauges.accepted.add();
                if let Some((origin, permit)) = admit(&lane, listen, peer) {
                    place(stream, origin, permit, &lane, &service);
                }
            }
            // The client was gone before it was accepted: no reason to keep others waiting.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                lane.shared.gauges.accept_errors.add();
                if let Some(suppressed) = complaints.utter(Instant::now()) {
                    tracing::warn!(address = %listen.address, %error, suppressed, "cannot accept connections");
                }
                tokio::select! {
                    () = sleep(rest.next()) => {}
                    () = lane.drain.wait() => return,
                }
            }
        }
    }
}

/// Whether there is room for a connection, and what is known of it; otherwise it closes at once.
fn admit(lane: &Lane, listen: Listen, peer: SocketAddr) -> Option<(Origin, Permit)> {
    let Shared { gauges, connections, trusted_proxies, .. } = &*lane.shared;
    let trusted = trusted_proxies.iter().any(|network| network.contains(&peer.ip()));
    if listen.entrance.only_trusted() && !trusted {
        gauges.refused_untrusted.add();
        return None;
    }
    let Some(mut permit) = connections.admit(lane.index) else {
        gauges.refused_total.add();
        return None;
    };
    // All clients of a proxy come from its address.
    if !trusted && !permit.count_for(peer.ip()) {
        gauges.refused_address.add();
        return None;
    }
    Some((Origin { entrance: listen.entrance, peer, announced: trusted && listen.proxy_protocol }, permit))
}

/// Serves a connection here, or hands it to a worker with fewer.
fn place<S: Service>(stream: TcpStream, origin: Origin, mut permit: Permit, lane: &Arc<Lane>, service: &S) {
    let shared = &lane.shared;
    let target = shared.connections.place(lane.index);
    if target == lane.index {
        drop(tokio::spawn(serve::connection(stream, origin, permit, lane.clone(), service.clone())));
        return;
    }
    match stream.into_std() {
        Ok(stream) => {
            permit.move_to(target);
            shared.gauges.handed_over.add();
            // A worker that takes no more is draining, and so are all: the connection closes.
            let _ = shared.inboxes[target].send(Handed { stream, origin, permit });
        }
        Err(error) => tracing::warn!(%error, "connection lost on its way to another worker"),
    }
}

/// The growing rests after errors in a row.
struct Rest(Duration);

impl Default for Rest {
    fn default() -> Self {
        Self(REST_MIN)
    }
}

impl Rest {
    fn next(&mut self) -> Duration {
        let rest = self.0;
        self.0 = (rest * 2).min(REST_MAX);
        rest
    }
}

/// Keeps a log readable while the same goes wrong again and again.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    suppressed: u64,
}

impl Complaints {
    /// How many were kept back since the last that was uttered; `None` where this one is kept back too.
    fn utter(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Complaints, Rest};

    #[test]
    fn errors_in_a_row_rest_longer_up_to_a_second() {
        let mut rest = Rest::default();
        let rests: Vec<u128> = (0..10).map(|_| rest.next().as_millis()).collect();
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn one_complaint_a_second_is_uttered() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.utter(start), Some(0));
        assert_eq!(complaints.utter(start + Duration::from_millis(5)), None);
        assert_eq!(complaints.utter(start + Duration::from_millis(999)), None);
        assert_eq!(complaints.utter(start + Duration::from_secs(1)), Some(2));
    }
}
