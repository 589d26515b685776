//! Whole connections over real sockets, before a small service that says what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::listener::accept::{Shared, assemble, run};
use crate::listener::certificate::CertificateFiles;
use crate::listener::connection::{Connection, Entrance};
use crate::listener::drain::Drain;
use crate::listener::socket::{Listen, open};
use crate::listener::tls::{Tls, TlsSettings, TlsVersion};
use crate::listener::violation::Violation;
use crate::listener::{Arrival, Bounds, Service};
use crate::policy::time::Timestamp;

/// Long enough that it passes only where something is wrong.
const LONG: Duration = Duration::from_secs(30);
/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(50);

fn bounds() -> Bounds {
    Bounds {
        header_bytes_max: 4096,
        header_count_max: 20,
        target_bytes_max: 1000,
        handshake_timeout: LONG,
        header_timeout: LONG,
        idle_timeout: LONG,
        write_timeout: LONG,
        write_rate_min: 1000,
        connections_max: 100,
        connections_per_address_max: 100,
        h2_streams_max: 10,
        drain_timeout: LONG,
    }
}

/// Says what it saw. `/early` answers without reading the body, `/wait` waits to be let go, `/endless` never stops answering.
#[derive(Clone, Default)]
struct Witness {
    arrived: Arc<Notify>,
    let_go: Arc<Notify>,
}

enum Answer {
    Text(Full<Bytes>),
    Endless,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Text(text) => Pin::new(text).poll_frame(cx),
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024]))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Endless => SizeHint::default(),
        }
    }
}

fn text(status: u16, text: String) -> Response<Answer> {
    let mut response = Response::new(Answer::Text(Full::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

impl Service for Witness {
    type Body = Answer;

    async fn call(&self, connection: &Arc<Connection>, arrival: Arrival) -> Response<Answer> {
        let request = match arrival {
            Err(violation) => return text(violation.status(), violation.reason().to_owned()),
            Ok(request) => request,
        };
        let (head, body) = request.into_parts();
        match head.uri.path() {
            "/early" => return text(413, "early".to_owned()),
            "/endless" => return Response::new(Answer::Endless),
            "/wait" => {
                self.arrived.notify_one();
                self.let_go.notified().await;
            }
            _ => {}
        }
        match body.collect().await {
            Ok(body) => {
                let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                let Connection { client, sni, h2, .. } = &**connection;
                let sni = sni.as_deref().unwrap_or("-");
                text(200, format!("{} {} {body} {} {sni} {h2}", head.method, head.uri.path(), client.ip()))
            }
            Err(error) => text(400, Violation::behind(&error).map_or("incomplete", Violation::reason).to_owned()),
        }
    }
}

struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    drain: Drain,
    witness: Witness,
    workers: Vec<JoinHandle<std::io::Result<u64>>>,
}

struct Options {
    bounds: Bounds,
    entrance: Entrance,
    trusted: Vec<&'static str>,
    proxy_protocol: bool,
    tls: Option<Tls>,
    workers: usize,
}

impl Options {
    fn plain(bounds: Bounds) -> Self {
        Self { bounds, entrance: Entrance::Http, trusted: Vec::new(), proxy_protocol: false, tls: None, workers: 1 }
    }

    fn start(self) -> Running {
        let listen =
            Listen { entrance: self.entrance, address: SocketAddr::from(([127, 0, 0, 1], 0)), proxy_protocol: self.proxy_protocol };
        let doors = open(&[listen], self.workers, Vec::new()).unwrap();
        let trusted = self.trusted.iter().map(|network| network.parse().unwrap()).collect();
        let (shared, workers) = assemble(self.bounds, trusted, self.tls.map(Arc::new), doors);
        let address = workers[0].listens().next().unwrap().address;
        let (drain, witness) = (Drain::new(), Witness::default());
        let workers = workers.into_iter().map(|worker| tokio::spawn(run(worker, shared.clone(), witness.clone(), drain.clone()))).collect();
        Running { address, shared, drain, witness, workers }
    }
}

fn start(bounds: Bounds) -> Running {
    Options::plain(bounds).start()
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the connection closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }

    /// Whether the connection closes on these bytes without an answer.
    async fn refused(&self, bytes: &str) -> bool {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // What was sent may be unread, and then the close is a reset.
        let _ = stream.read_to_end(&mut answer).await;
        answer.is_empty()
    }

    async fn drained(self) -> u64 {
        self.drain.begin();
        let mut cut = 0;
        for worker in self.workers {
            cut += worker.await.unwrap().unwrap();
        }
        assert_eq!(self.shared.open(), 0);
        cut
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the connection has answered with this text.
async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut buffer = [0; 1024];
        let len = stream.read(&mut buffer).await.unwrap();
        assert!(len > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..len]);
    }
    String::from_utf8(answer).unwrap()
}

/// Status and last line of each answer.
fn answers(raw: &str) -> Vec<(u16, String)> {
    let heads: Vec<usize> = raw.match_indices("HTTP/1.").map(|(at, _)| at).collect();
    let ends = heads.iter().skip(1).copied().chain([raw.len()]);
    let one = |(start, end): (&usize, usize)| {
        let answer = &raw[*start..end];
        (answer[9..12].parse().unwrap(), answer.rsplit("\r\n").next().unwrap().to_owned())
    };
    heads.iter().zip(ends).map(one).collect()
}

#[tokio::test]
async fn smuggled_requests_are_refused_and_nothing_after_them_is_served() {
    let running = start(bounds());
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let rows = [
        (
            "CL.TE",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG{hidden}"),
            400,
            "framing_conflict",
        ),
        (
            "TE.CL",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n{hidden}"),
            400,
            "framing_conflict",
        ),
        (
            "TE.TE",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"),
            400,
            "framing_conflict",
        ),
        (
            "TE obscured",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
            400,
            "transfer_encoding_refused",
        ),
        (
            "TE with a space",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
            400,
            "field_malformed",
        ),
        (
            "TE folded",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}"),
            400,
            "transfer_encoding_refused",
        ),
        (
            "CL.CL",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 34\r\n\r\n{hidden}"),
            400,
            "framing_conflict",
        ),
        (
            "CL equal twice",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n{hidden}"),
            400,
            "framing_conflict",
        ),
        ("CL signed", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +34\r\n\r\n{hidden}"), 400, "length_malformed"),
        ("bare CR", format!("GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 34\r\n\r\n{hidden}"), 400, "control_byte"),
        ("bare LF", format!("GET / HTTP/1.1\r\nHost: a\nContent-Length: 34\r\n\r\n{hidden}"), 400, "bare_line_feed"),
        (
            "HTTP/1.0 TE",
            format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
            400,
            "transfer_encoding_refused",
        ),
        ("CONNECT", format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n{hidden}"), 405, "connect_refused"),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "version_unsupported"),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{hidden}"), 400, "host_repeated"),
        ("head too large", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(5000)), 431, "head_too_large"),
        ("target too long", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1000)), 414, "target_too_long"),
        (
            "chunk extension",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n{hidden}"),
            400,
            "chunk_malformed",
        ),
        (
            "trailer",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n{hidden}"),
            400,
            "trailer_refused",
        ),
        (
            "chunk size",
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n{hidden}"),
            400,
            "chunk_malformed",
        ),
    ];
    for (what, bytes, status, reason) in rows {
        // Behind a good request, because that is where the guard must keep its place.
        let bytes = format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{bytes}");
        let raw = running.exchange(bytes.as_bytes()).await;
        let expected = [(200, "POST /first abc 127.0.0.1 - false".to_owned()), (status, reason.to_owned())];
        assert_eq!(answers(&raw), expected, "{what}: {raw}");
        assert!(raw.contains("connection: close"), "{what}: {raw}");
    }
    assert_eq!(running.shared.gauges.violations(Violation::FramingConflict), 5);
    assert_eq!(running.drained().await, 0);
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let running = start(bounds());
    let bytes = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
                 POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
                 POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
                 GET /four HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let raw = running.exchange(bytes.as_bytes()).await;
    let texts: Vec<String> = answers(&raw).into_iter().map(|(_, text)| text).collect();
    let tail = "127.0.0.1 - false";
    assert_eq!(
        texts,
        [format!("GET /one  {tail}"), format!("POST /two hello {tail}"), format!("POST /three abcde {tail}"), format!("GET /four  {tail}")]
    );
}

#[tokio::test]
async fn a_head_of_many_packets_is_served() {
    let running = start(bounds());
    let mut stream = running.connect().await;
    stream.set_nodelay(true).unwrap();
    let filler = "x".repeat(3000);
    for piece in ["GE", "T /pieces HT", "TP/1.1\r", "\nHost: a\r\nX: ", &filler, "\r\n\r", "\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    until(&mut stream, "GET /pieces  127.0.0.1 - false").await;
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let running = start(bounds());
    let mut stream = running.connect().await;
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
    until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"ok").await.unwrap();
    until(&mut stream, "PUT / ok 127.0.0.1 - false").await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let running = start(bounds());
    let mut stream = running.connect().await;
    let body = vec![b'x'; 8 * 1024 * 1024];
    stream.write_all(format!("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    // As most clients do, it reads only when all is sent; a reset would have taken the answer away.
    stream.write_all(&body).await.unwrap();
    let raw = rest(&mut stream).await;
    assert_eq!(answers(&raw), [(413, "early".to_owned())]);
    assert!(raw.contains("connection: close"), "{raw}");
}

#[tokio::test]
async fn a_slow_head_is_answered_and_an_idle_connection_just_closes() {
    let running = start(Bounds { header_timeout: SHORT, idle_timeout: SHORT * 2, ..bounds() });
    assert_eq!(answers(&running.exchange(b"GET / HTTP/1.1\r\nHo").await), [(408, "header_timeout".to_owned())]);
    assert_eq!(running.exchange(b"").await, "");
    let raw = running.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answers(&raw).len(), 1, "{raw}");
    assert_eq!(running.shared.gauges.violations(Violation::HeaderTimeout), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let running = start(Bounds { write_timeout: SHORT, ..bounds() });
    let mut stream = running.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while running.shared.gauges.too_slow.value() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.drained().await, 0);
}

#[tokio::test]
async fn too_many_connections_are_closed_at_once() {
    let rows = [(Bounds { connections_max: 1, ..bounds() }, (1, 0)), (Bounds { connections_per_address_max: 1, ..bounds() }, (0, 1))];
    for (bounds, expected) in rows {
        let running = start(bounds);
        let mut first = running.connect().await;
        first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until(&mut first, "false").await;
        assert_eq!(rest(&mut running.connect().await).await, "");
        let gauges = &running.shared.gauges;
        assert_eq!((gauges.refused_total.value(), gauges.refused_address.value()), expected);
        // The first is none the worse for it.
        first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until(&mut first, "false").await;
    }
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_closes_the_rest() {
    let running = start(bounds());
    let mut idle = running.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut idle, "false").await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    running.witness.arrived.notified().await;
    let mut half = running.connect().await;
    half.write_all(b"GET /half HTTP/1.1\r\nHo").await.unwrap();
    while running.shared.gauges.accepted.value() < 3 {
        tokio::task::yield_now().await;
    }
    // One more turn of everything, so that the half of a head was read.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    running.drain.begin();
    assert_eq!(rest(&mut idle).await, "");
    half.write_all(b"st: a\r\n\r\n").await.unwrap();
    assert_eq!(answers(&rest(&mut half).await)[0].0, 200);
    running.witness.let_go.notify_one();
    let raw = rest(&mut busy).await;
    assert_eq!(answers(&raw)[0].0, 200);
    assert!(raw.contains("connection: close"), "{raw}");
    let address = running.address;
    assert_eq!(running.drained().await, 0);
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let running = start(Bounds { drain_timeout: SHORT, ..bounds() });
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    running.witness.arrived.notified().await;
    assert_eq!(running.drained().await, 1);
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn only_trusted_proxies_say_who_the_client_is() {
    let header = "PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n";
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let trusting = || Options { proxy_protocol: true, trusted: vec!["127.0.0.0/8"], ..Options::plain(bounds()) };
    let raw = trusting().start().exchange(format!("{header}{request}").as_bytes()).await;
    assert_eq!(answers(&raw), [(200, "GET /  192.0.2.7 - false".to_owned())]);
    let running = trusting().start();
    assert!(running.refused(request).await, "a trusted proxy must speak it");
    assert_eq!(running.shared.gauges.handshakes_failed.value(), 1);
    let limited = Options { bounds: Bounds { connections_per_address_max: 0, ..bounds() }, ..trusting() }.start();
    assert!(limited.refused(&format!("{header}{request}")).await, "the client counts, not the proxy");
    assert_eq!(limited.shared.gauges.refused_address.value(), 1);
    let untrusting = Options { proxy_protocol: true, trusted: vec!["192.0.2.0/24"], ..Options::plain(bounds()) }.start();
    let raw = untrusting.exchange(format!("{header}{request}").as_bytes()).await;
    assert_eq!(answers(&raw), [(400, "request_line_malformed".to_owned())], "anybody else's header is nonsense");
    let raw = untrusting.exchange(request.as_bytes()).await;
    assert_eq!(answers(&raw), [(200, "GET /  127.0.0.1 - false".to_owned())]);
}

#[tokio::test]
async fn an_entrance_for_proxies_is_for_nobody_else() {
    let running = Options { entrance: Entrance::BehindProxy, trusted: vec!["192.0.2.0/24"], ..Options::plain(bounds()) }.start();
    assert_eq!(rest(&mut running.connect().await).await, "");
    assert_eq!(running.shared.gauges.refused_untrusted.value(), 1);
    let running = Options { entrance: Entrance::BehindProxy, trusted: vec!["127.0.0.1/32"], ..Options::plain(bounds()) }.start();
    let raw = running.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answers(&raw)[0].0, 200);
}

#[tokio::test]
async fn connections_of_one_worker_are_handed_to_another() {
    let running = Options { workers: 2, ..Options::plain(bounds()) }.start();
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until(&mut stream, "false").await;
        streams.push(stream);
    }
    assert_eq!(running.shared.open(), 16);
    assert!(running.shared.loads().into_iter().all(|load| (7..=9).contains(&load)), "{:?}", running.shared.loads());
    assert_eq!(running.drained().await, 0);
}

/// A gate with a certificate for `edge.example`, and a client that trusts it.
fn secure(bounds: Bounds, alpn: &[u8]) -> (Running, TlsConnector) {
    let dir = tempfile::TempDir::new().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["edge.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = CertificateFiles { cert_file: dir.path().join("edge.pem"), key_file: dir.path().join("edge.key") };
    std::fs::write(&files.cert_file, certificate.pem()).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    let settings = TlsSettings { certificates: vec![files], min_version: TlsVersion::V1_2 };
    let tls = Tls::load(&settings, Timestamp::from_unix(1_780_272_000)).unwrap();
    let running = Options { entrance: Entrance::Https, tls: Some(tls), ..Options::plain(bounds) }.start();
    (running, TlsConnector::from(Arc::new(trusting(certificate.der(), alpn))))
}

fn trusting(certificate: &CertificateDer<'static>, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

fn edge() -> ServerName<'static> {
    ServerName::try_from("edge.example").unwrap()
}

#[tokio::test]
async fn http1_is_served_over_tls() {
    let (running, connector) = secure(bounds(), b"http/1.1");
    let mut stream = connector.connect(edge(), running.connect().await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n").await.unwrap();
    until(&mut stream, "GET /  127.0.0.1 edge.example false").await;
    let broken = running.exchange(b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n").await;
    assert!(!broken.contains("HTTP"), "plain HTTP on the TLS port gets no answer");
    assert_eq!((running.shared.gauges.handshakes.value(), running.shared.gauges.handshakes_failed.value()), (1, 1));
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_ends() {
    let (running, _) = secure(Bounds { handshake_timeout: SHORT, ..bounds() }, b"http/1.1");
    assert_eq!(running.exchange(&[0x16, 3, 1]).await, "");
    assert_eq!(running.shared.gauges.handshakes_failed.value(), 1);
}

type Sender = http2::SendRequest<Full<Bytes>>;

async fn speak_h2(running: &Running, connector: &TlsConnector) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let stream = connector.connect(edge(), running.connect().await).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.initial_stream_window_size(1000).handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn http2_is_served_and_held_to_the_same_rules() {
    let (running, connector) = secure(bounds(), b"h2");
    let (mut sender, _connection) = speak_h2(&running, &connector).await;
    let post = Request::post("https://edge.example/x").body(Full::from("hello")).unwrap();
    let answer = sender.send_request(post).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "POST /x hello 127.0.0.1 edge.example true");
    let conflict = Request::get("https://edge.example/x").header("host", "other.example").body(Full::default()).unwrap();
    let answer = sender.send_request(conflict).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "authority_conflict");
    // Unlike HTTP/1 a violation is that of one stream, and the connection goes on.
    assert_eq!(sender.send_request(get("https://edge.example/y")).await.unwrap().status(), 200);
    assert_eq!(running.shared.gauges.violations(Violation::AuthorityConflict), 1);
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_and_closed() {
    let (running, connector) = secure(Bounds { idle_timeout: SHORT, ..bounds() }, b"h2");
    let (mut sender, connection) = speak_h2(&running, &connector).await;
    assert_eq!(sender.send_request(get("https://edge.example/y")).await.unwrap().status(), 200);
    connection.await.unwrap().expect("GOAWAY without an error");
    assert_eq!(running.drained().await, 0);
}

#[tokio::test]
async fn a_window_that_stays_shut_ends_an_http2_connection() {
    let (running, connector) = secure(Bounds { write_timeout: SHORT, ..bounds() }, b"h2");
    let (mut sender, connection) = speak_h2(&running, &connector).await;
    // The answer is asked for and never read; on the TCP level all is well.
    let answer = sender.send_request(get("https://edge.example/endless")).await.unwrap();
    let _ = connection.await.unwrap();
    assert_eq!(running.shared.gauges.too_slow.value(), 1);
    drop(answer);
}

#[tokio::test]
async fn draining_finishes_http2_streams() {
    let (running, connector) = secure(bounds(), b"h2");
    let (mut sender, connection) = speak_h2(&running, &connector).await;
    let waiting = tokio::spawn(sender.send_request(get("https://edge.example/wait")));
    running.witness.arrived.notified().await;
    running.drain.begin();
    running.witness.let_go.notify_one();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "GET /wait  127.0.0.1 edge.example true");
    drop(sender);
    connection.await.unwrap().unwrap();
    assert_eq!(running.drained().await, 0);
}

#[tokio::test]
async fn trailers_over_http2_do_not_end_up_in_the_body() {
    let (running, connector) = secure(bounds(), b"h2");
    let stream = connector.connect(edge(), running.connect().await).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("authorization", "Bearer x".parse().unwrap());
    let body = Empty::<Bytes>::new().with_trailers(std::future::ready(Some(Ok(trailers))));
    let answer = sender.send_request(Request::post("https://edge.example/t").body(body).unwrap()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "POST /t  127.0.0.1 edge.example true");
}
