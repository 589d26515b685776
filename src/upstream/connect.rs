//! One connection to one server: name, TCP, TLS, and the hyper task that drives it.
//!
//! TLS is always verified: there is no setting to turn that off. Names are looked up again every `RESOLVE_EVERY`, not for every
//! connection, because gunicorn's sync workers end each connection after one answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::TlsConnector;

use crate::upstream::body::Outflow;
use crate::upstream::error::{Phase, UpstreamError};
use crate::upstream::{ServerUrl, Settings};

/// How to reach one server.
pub(crate) struct Target {
    url: ServerUrl,
    addresses: Addresses,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http: Builder,
}

impl Target {
    pub(crate) fn new(url: ServerUrl, settings: &Settings, ca: &[CertificateDer<'static>], roots: &mut Roots) -> Result<Self, StartError> {
        let tls = if url.tls { Some((roots.connector(ca)?, server_name(&url)?)) } else { None };
        let mut http = Builder::new();
        // hyper takes at most 100 header fields unless told otherwise, and being told costs an allocation an answer.
        http.max_header_size(settings.head_bytes_max).max_buf_size(READ_BYTES_MAX.max(settings.head_bytes_max));
        Ok(Self { addresses: Addresses::new(&url), url, tls, http })
    }

    /// A new connection, ready for a request.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<Connection, UpstreamError> {
        let mut sleep = Box::pin(sleep_until(deadline));
        let opened = within(sleep.as_mut(), self.establish()).await;
        let (sender, task) = opened.ok_or(UpstreamError::Timeout(Phase::Connect))??;
        Ok(Connection { sender, sleep, idle_since: deadline, task })
    }

    async fn establish(&self) -> Result<(SendRequest<Outflow>, JoinHandle<()>), UpstreamError> {
        let stream = self.connect().await?;
        match &self.tls {
            None => self.speak_http(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|error| UpstreamError::Tls(error.to_string()))?;
                self.speak_http(stream).await
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, UpstreamError> {
        let addresses = self.addresses.look_up().await.map_err(|error| self.unreachable(&error))?;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let start = self.addresses.start.load(Ordering::Relaxed);
        for offset in 0..addresses.len() {
            let index = start.wrapping_add(offset) % addresses.len();
            // An address that swallows what it is sent uses up the whole wait: whoever comes next begins with another.
            self.addresses.start.store(index + 1, Ordering::Relaxed);
            match TcpStream::connect(addresses[index]).await {
                Ok(stream) => {
                    self.addresses.start.store(index, Ordering::Relaxed);
                    // A head and a small body are two writes; the second must not wait for the first's acknowledgement.
                    stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        self.addresses.forget();
        Err(self.unreachable(&failure))
    }

    fn unreachable(&self, error: &io::Error) -> UpstreamError {
        UpstreamError::Connect(format!("{}: {error}", self.url))
    }

    async fn speak_http<S>(&self, stream: S) -> Result<(SendRequest<Outflow>, JoinHandle<()>), UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = self.http.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| UpstreamError::Connect(error.to_string()))?;
        // How the connection ends is told to whoever waits for an answer on it; an idle one may end as it likes.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok((sender, task))
    }
}

/// An open connection, owned by a request or by the pool. Dropped, it is cut.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Outflow>,
    /// The one timer of whatever request is on the connection. It outlives requests because moving a timer further into the future is
    /// nearly free, and making one is not.
    pub(crate) sleep: Pin<Box<Sleep>>,
    pub(crate) idle_since: Instant,
    task: JoinHandle<()>,
}

impl Connection {
    /// Whether the last answer ended cleanly with nothing after it, and the server has not hung up since.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The output of `future`, or `None` when `sleep` is over first.
pub(crate) async fn within<F: Future>(mut sleep: Pin<&mut Sleep>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Where a server's name leads.
struct Addresses {
    host: String,
    port: u16,
    known: Mutex<Option<Known>>,
    /// The index of the address that worked last, or that is to be tried next.
    start: AtomicUsize,
}

struct Known {
    addresses: Arc<[SocketAddr]>,
    /// `None` for an address that was written as such.
    asked: Option<Instant>,
}

impl Addresses {
    fn new(url: &ServerUrl) -> Self {
        let literal = url.host.parse::<IpAddr>().ok();
        let known = literal.map(|ip| Known { addresses: Arc::new([SocketAddr::new(ip, url.port)]), asked: None });
        Self { host: url.host.clone(), port: url.port, known: Mutex::new(known), start: AtomicUsize::new(0) }
    }

    /// The addresses, looked up anew where they are old. A name service that fails does not take away what it said before.
    async fn look_up(&self) -> io::Result<Arc<[SocketAddr]>> {
        let old = match &*self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(known) if known.asked.is_none_or(|asked| asked.elapsed() < RESOLVE_EVERY) => return Ok(Arc::clone(&known.addresses)),
            Some(known) => Some(Arc::clone(&known.addresses)),
            None => None,
        };
        let found = lookup_host((&*self.host, self.port)).await.map(Vec::from_iter);
        let addresses: Arc<[SocketAddr]> = match (found, old) {
            (Ok(found), _) if !found.is_empty() => found.into(),
            (_, Some(old)) => old,
            (Ok(_), None) => return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            (Err(error), None) => return Err(error),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Known { addresses: Arc::clone(&addresses), asked: Some(Instant::now()) });
        Ok(addresses)
    }

    /// No address answered: the name may lead elsewhere by now.
    fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.asked.is_some()) {
            *known = None;
        }
    }
}

/// TLS settings, made once for each set of authorities.
#[derive(Default)]
pub(crate) struct Roots {
    made: Vec<(Vec<CertificateDer<'static>>, TlsConnector)>,
}

impl Roots {
    fn connector(&mut self, ca: &[CertificateDer<'static>]) -> Result<TlsConnector, StartError> {
        if let Some((_, connector)) = self.made.iter().find(|(known, _)| known == ca) {
            return Ok(connector.clone());
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls(error.to_string()))?
            .with_root_certificates(root_store(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        self.made.push((ca.to_vec(), connector.clone()));
        Ok(connector)
    }
}

fn root_store(ca: &[CertificateDer<'static>]) -> Result<RootCertStore, StartError> {
    let mut store = RootCertStore::empty();
    if ca.is_empty() {
        // Systems carry old certificates that cannot be read; one good one is enough to go on.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        for certificate in ca {
            store.add(certificate.clone()).map_err(|error| StartError::Authority(error.to_string()))?;
        }
    }
    if store.is_empty() { Err(StartError::NoAuthorities) } else { Ok(store) }
}

fn server_name(url: &ServerUrl) -> Result<ServerName<'static>, StartError> {
    ServerName::try_from(url.host.clone()).map_err(|_| StartError::ServerName(url.to_string()))
}

/// Why upstreams cannot be set up.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    NoServers(String),
    NoAuthorities,
    Authority(String),
    ServerName(String),
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers(site) => write!(f, "site `{site}` has no upstream server; give it at least one"),
            Self::NoAuthorities => {
                f.write_str("this system trusts no certificate authority; install `ca-certificates` or name the upstream's own CA file")
            }
            Self::Authority(why) => write!(f, "a CA certificate for the upstream cannot be used: {why}"),
            Self::ServerName(url) => write!(f, "upstream server `{url}` has a host that no certificate can name; use its DNS name"),
            Self::Tls(why) => write!(f, "TLS towards the upstream cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How long an answer of the name service is used.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// Bytes read from a server in one go, at most.
const READ_BYTES_MAX: usize = 64 * 1024;
