//! One connection from its first byte to its last: PROXY protocol, TLS, HTTP/1 or HTTP/2, and its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listener::accept::Lane;
use crate::listener::bound::Permit;
use crate::listener::connection::{Connection, Entrance, InFlight, Tracked};
use crate::listener::guard::{Guard, GuardBounds};
use crate::listener::h2::{self, Overdue, Watch};
use crate::listener::head::HeadBounds;
use crate::listener::pace::{Pace, PaceBounds};
use crate::listener::proxy;
use crate::listener::{Arrival, Bounds, Service};

/// What an HTTP/2 peer may have in flight to us: per stream, and per connection.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers that wait per stream when the peer's window is shut.
const H2_SEND_BUFFER: usize = 64 * 1024;
const H2_FRAME: u32 = 16 * 1024;
/// Streams that the peer opened and reset before they were looked at (CVE-2023-44487), and that we reset for the peer's faults, before
/// the connection ends.
const H2_PENDING_RESETS_MAX: usize = 20;
const H2_ERROR_RESETS_MAX: usize = 100;
/// How long a peer that was sent GOAWAY may take to close an idle connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// hyper's own: as many fields it keeps on the stack, and told another number it takes two allocations for every head.
const HYPER_FIELDS: usize = 100;
/// Bytes that hyper buffers of a connection in each direction; a long body is read and written in such pieces at most.
const HTTP1_BUFFER: usize = 64 * 1024;

/// How connections are spoken to; made once.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    guard: GuardBounds,
    pace: PaceBounds,
}

impl Protocols {
    pub fn new(bounds: &Bounds) -> Self {
        let mut http1 = http1::Builder::new();
        http1.keep_alive(true).half_close(false).header_read_timeout(None);
        // A head may lie in hyper's buffer whole, with what follows it.
        http1.max_buf_size(HTTP1_BUFFER.max(bounds.header_bytes_max * 2));
        if bounds.header_count_max > HYPER_FIELDS {
            http1.max_headers(bounds.header_count_max);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .max_concurrent_streams(bounds.h2_streams_max)
            .max_header_list_size(u32::try_from(bounds.header_bytes_max).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
            .max_local_error_reset_streams(H2_ERROR_RESETS_MAX)
            .max_frame_size(H2_FRAME)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER);
        let head = HeadBounds {
            bytes_max: bounds.header_bytes_max,
            fields_max: bounds.header_count_max,
            target_bytes_max: bounds.target_bytes_max,
        };
        let guard = GuardBounds { head, header_timeout: bounds.header_timeout, idle_timeout: bounds.idle_timeout };
        let pace = PaceBounds { window: bounds.write_timeout, rate_min: bounds.write_rate_min };
        Self { http1, http2, guard, pace }
    }
}

/// What is known of a connection when it is accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub entrance: Entrance,
    pub peer: SocketAddr,
    /// The peer is a trusted proxy that opens with the PROXY protocol.
    pub announced: bool,
}

/// Serves one connection to its end.
pub(super) async fn connection<S: Service>(stream: TcpStream, origin: Origin, mut permit: Permit, lane: Arc<Lane>, service: S) {
    // Boxed, so that its room is given back when the connection is open.
    let opening = Box::pin(open(stream, origin, &mut permit, &lane));
    let ended = tokio::select! {
        biased;
        opened = timeout_at(Instant::now() + lane.shared.bounds.handshake_timeout, opening) => match opened {
            Ok(Ok(Some(opened))) => opened,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                lane.shared.gauges.handshakes_failed.add();
                tracing::debug!(peer = %origin.peer, %error, "handshake failed");
                return;
            }
            Err(_) => {
                lane.shared.gauges.handshakes_failed.add();
                tracing::debug!(peer = %origin.peer, "handshake took too long");
                return;
            }
        },
        () = lane.drain.wait() => return,
    };
    let facts = |local, client, sni, h2| Arc::new(Connection::new(origin.entrance, origin.peer, client, local, sni, h2));
    let end = match ended {
        Opened { local, client, stream: Opening::Plain(stream) } => http1(stream, facts(local, client, None, false), &lane, service).await,
        Opened { local, client, stream: Opening::Tls(stream) } => {
            let session = stream.get_ref().1;
            let sni = session.server_name().map(|name| name.to_ascii_lowercase().into_boxed_str());
            if session.alpn_protocol() == Some(b"h2") {
                http2(*stream, facts(local, client, sni, true), &lane, service).await
            } else {
                http1(*stream, facts(local, client, sni, false), &lane, service).await
            }
        }
    };
    match end {
        End::Closed => {}
        End::Failed(error) => {
            if too_slow(&error) {
                lane.shared.gauges.too_slow.add();
            }
            tracing::debug!(peer = %origin.peer, error = %Chain(&error), "connection failed");
        }
        End::Stalled => {
            lane.shared.gauges.too_slow.add();
            tracing::debug!(peer = %origin.peer, "connection cut: the peer takes in too little");
        }
        End::Cut => {
            lane.shared.gauges.cut.add();
            lane.cut.add();
        }
    }
    drop(permit);
}

struct Opened {
    local: SocketAddr,
    client: SocketAddr,
    stream: Opening,
}

enum Opening {
    Plain(Pace<TcpStream>),
    /// Boxed, because it is large and the future of a plain connection would be as large.
    Tls(Box<TlsStream<Pace<TcpStream>>>),
}

/// PROXY protocol and TLS; `None` where the client has too many connections.
async fn open(mut stream: TcpStream, origin: Origin, permit: &mut Permit, lane: &Lane) -> io::Result<Option<Opened>> {
    let shared = &lane.shared;
    let local = stream.local_addr()?;
    let mut client = origin.peer;
    if origin.announced
        && let Some(named) = proxy::client(&mut stream).await.map_err(io::Error::other)?
    {
        client = SocketAddr::new(named.ip().to_canonical(), named.port());
        if !permit.count_for(client.ip()) {
            shared.gauges.refused_address.add();
            return Ok(None);
        }
    }
    let stream = Pace::new(stream, shared.protocols.pace);
    let stream = match (origin.entrance, &shared.tls) {
        (Entrance::Https, Some(tls)) => {
            let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
            shared.gauges.handshakes.add();
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                shared.gauges.handshakes_resumed.add();
            }
            Opening::Tls(Box::new(stream))
        }
        // `assemble` takes no HTTPS entrance without certificates; were there one, its connections would close.
        (Entrance::Https, None) => return Ok(None),
        (Entrance::Http | Entrance::BehindProxy, _) => Opening::Plain(stream),
    };
    Ok(Some(Opened { local, client, stream }))
}

/// How a connection ended.
enum End {
    Closed,
    Failed(hyper::Error),
    Stalled,
    /// Its time to drain was over.
    Cut,
}

async fn http1<T, S>(io: T, connection: Arc<Connection>, lane: &Lane, service: S) -> End
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    let protocols = &lane.shared.protocols;
    let guard = Guard::new(io, connection.clone(), protocols.guard);
    let calls = connection.clone();
    let (shared, service) = (&lane.shared, &service);
    let call = service_fn(move |request: Request<Incoming>| {
        let arrival = match calls.called() {
            Some(violation) => {
                shared.gauges.violated(violation);
                Err(violation)
            }
            None => Ok(request),
        };
        answer(service, InFlight(calls.clone()), arrival)
    });
    let conn = pin!(protocols.http1.serve_connection(TokioIo::new(guard), call));
    // Until its head is whole hyper does not know that a request is on its way, and would close.
    drive(conn, http1::Connection::graceful_shutdown, lane, || connection.mid_head(), |_| Poll::Pending).await
}

async fn http2<T, S>(io: T, connection: Arc<Connection>, lane: &Lane, service: S) -> End
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let Protocols { http2, guard, pace, .. } = &lane.shared.protocols;
    let calls = connection.clone();
    let shared = lane.shared.clone();
    let call = service_fn(move |request: Request<Incoming>| {
        calls.began();
        let arrival = match h2::violation(&request, &shared.protocols.guard.head) {
            Some(violation) => {
                shared.gauges.violated(violation);
                Err(violation)
            }
            None => Ok(request),
        };
        let (service, message) = (service.clone(), InFlight(calls.clone()));
        async move { answer(&service, message, arrival).await }
    });
    let conn = pin!(http2.serve_connection(TokioIo::new(io), call));
    let mut watch = Watch::default();
    let mut draining = false;
    let watch = |cx: &mut Context<'_>| {
        if !draining && lane.drain.begun() {
            draining = true;
            watch.restart();
        }
        watch.poll(cx, &connection, if draining { GOODBYE_TIMEOUT } else { guard.idle_timeout }, pace)
    };
    drive(conn, http2::Connection::graceful_shutdown, lane, || false, watch).await
}

async fn answer<S: Service>(service: &S, message: InFlight, arrival: Arrival) -> Result<Response<Tracked<S::Body>>, Infallible> {
    let mut response = service.call(&message.0, arrival).await;
    if message.0.unread() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Tracked::new(body, message)))
}

/// Polls a connection to its end, and sees to it that there is one.
///
/// This must be the outermost future of its task: the signal to drain is listened for once, with the waker of the first poll.
async fn drive<C>(
    mut conn: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    lane: &Lane,
    busy: impl Fn() -> bool,
    mut overdue: impl FnMut(&mut Context<'_>) -> Poll<Overdue>,
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut signal = pin!(lane.drain.wait());
    let mut listening = false;
    let mut closing = false;
    // The last moment, and whether it is that of a drain.
    let mut last: Option<(Pin<Box<Sleep>>, bool)> = None;
    poll_fn(|cx| {
        if !listening {
            listening = true;
            let _ = signal.as_mut().poll(cx);
        }
        loop {
            // First what the peer sent before the signal came.
            match conn.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(End::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => {}
            }
            if lane.drain.begun() && !matches!(last, Some((_, true))) {
                last = Some((Box::pin(sleep(lane.shared.bounds.drain_timeout)), true));
            }
            let idle = match overdue(cx) {
                Poll::Ready(Overdue::Stalled) => return Poll::Ready(End::Stalled),
                Poll::Ready(Overdue::Idle) => true,
                Poll::Pending => false,
            };
            if idle && matches!(last, Some((_, true))) {
                // A peer that was told to go and has nothing under way need not be waited for.
                return Poll::Ready(End::Closed);
            }
            if idle && last.is_none() {
                last = Some((Box::pin(sleep(GOODBYE_TIMEOUT)), false));
            }
            if let Some((moment, draining)) = &mut last
                && moment.as_mut().poll(cx).is_ready()
            {
                if *draining {
                    return Poll::Ready(End::Cut);
                }
                if idle {
                    return Poll::Ready(End::Closed);
                }
                // A request came in after all, before the peer knew; it is answered first.
                moment.set(sleep(GOODBYE_TIMEOUT));
                continue;
            }
            if closing || last.is_none() || (lane.drain.begun() && busy()) {
                return Poll::Pending;
            }
            closing = true;
            shut_down(conn.as_mut());
        }
    })
    .await
}

fn too_slow(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
