//! One public HTTPS document, fetched for a stranger who chose its URL.
//!
//! A hand that knows nothing of OAuth: it brings bytes and says for how long they count. Its caller must keep no failure and no
//! document that turned out to be none, and must tell the stranger nothing of a [`FetchError`] but that there was one.
//!
//! The name is looked up once, all its addresses are judged, and the connection goes to one of those: whoever answers the name service
//! differently a moment later (DNS rebinding) is not asked again. Nothing follows a redirect, sends a credential, keeps a connection
//! or unpacks what was compressed.

pub mod address;
pub mod answer;
pub mod error;
pub mod url;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::outbound::address::is_public;
use crate::outbound::answer::{check, fresh_for};
use crate::outbound::error::{FetchError, StartError};
use crate::outbound::url::{HTTPS, Host, HttpsUrl};

/// What the operator has beyond the public Internet; complete and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who may sign certificates besides the system's authorities.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Networks that may be asked though they are not public, on any port, and by address.
    pub allow_networks: Vec<IpNet>,
}

/// Fetches documents, a few at a time. One for the process; any runtime may use it.
pub struct Fetcher {
    allow_networks: Vec<IpNet>,
    tls: TlsConnector,
    slots: Arc<Semaphore>,
    deadline: Duration,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// At most `BODY_BYTES_MAX`; said to be JSON, not yet known to be.
    pub body: Bytes,
    /// How long it may be used without being asked for again.
    pub fresh_for: Duration,
}

impl Fetcher {
    pub fn new(settings: Settings) -> Result<Self, StartError> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls(error.to_string()))?
            .with_root_certificates(root_store(settings.extra_roots)?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            allow_networks: settings.allow_networks,
            tls: TlsConnector::from(Arc::new(tls)),
            slots: Arc::new(Semaphore::new(FETCHES_MAX)),
            deadline: DEADLINE,
        })
    }

    /// The document at `url`, within `DEADLINE`. Dropped, it ends at once, but for a name that is being looked up.
    pub async fn fetch(&self, url: &HttpsUrl) -> Result<Document, FetchError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| FetchError::Busy)?;
        timeout(self.deadline, self.fetch_in(slot, url)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn fetch_in(&self, slot: OwnedSemaphorePermit, url: &HttpsUrl) -> Result<Document, FetchError> {
        let (_slot, addresses) = look_up(slot, url).await?;
        self.admit(url, &addresses)?;
        let stream = self.connect(&addresses).await?;
        let stream = self.tls.connect(server_name(url.host())?, stream).await.map_err(|error| FetchError::tls(&error))?;
        exchange(stream, request(url)).await
    }

    /// Refuses the host if any of its addresses is not for everyone, or it is asked in a way that nobody on the Internet is.
    fn admit(&self, url: &HttpsUrl, addresses: &[SocketAddr]) -> Result<(), FetchError> {
        let allowed = |address: &&SocketAddr| self.allow_networks.iter().any(|net| net.contains(&address.ip()));
        for address in addresses.iter().filter(|address| !allowed(address)) {
            if matches!(url.host(), Host::Address(_)) || !is_public(address.ip()) {
                return Err(FetchError::Address(address.ip()));
            }
            // A resolver completes such a name with the operator's own domain.
            if matches!(url.host(), Host::Name(name) if !name.contains('.')) {
                return Err(FetchError::Local);
            }
            if url.port() != HTTPS {
                return Err(FetchError::Port(url.port()));
            }
        }
        Ok(())
    }

    /// To the first that answers of exactly these addresses.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses.iter().take(ATTEMPTS_MAX) {
            // An address that swallows what it is sent must leave time for the next.
            failure = match timeout(self.deadline / ATTEMPTS_SHARE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
        }
        Err(FetchError::Connect(failure))
    }
}

fn root_store(extra: Vec<CertificateDer<'static>>) -> Result<RootCertStore, StartError> {
    let mut store = RootCertStore::empty();
    // Systems carry old certificates that cannot be read; one good one is enough to go on.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in extra {
        store.add(certificate).map_err(|error| StartError::Authority(error.to_string()))?;
    }
    if store.is_empty() { Err(StartError::NoAuthorities) } else { Ok(store) }
}

/// All addresses of the host. A lookup cannot be stopped, so it keeps its slot until it ends, though its fetch may be long over:
/// otherwise names that are never answered for would take a thread each, without bound.
async fn look_up(slot: OwnedSemaphorePermit, url: &HttpsUrl) -> Result<(OwnedSemaphorePermit, Vec<SocketAddr>), FetchError> {
    let port = url.port();
    let name = match url.host() {
        Host::Address(address) => return Ok((slot, vec![SocketAddr::new(*address, port)])),
        Host::Name(name) => name.clone(),
    };
    let lookup = spawn_blocking(move || (slot, (&*name, port).to_socket_addrs().map(Vec::from_iter)));
    match lookup.await {
        Ok((slot, Ok(addresses))) if !addresses.is_empty() => Ok((slot, addresses)),
        Ok((_, Ok(_))) => Err(FetchError::Unknown("the name service knows none".to_owned())),
        Ok((_, Err(error))) => Err(FetchError::Unknown(error.to_string())),
        Err(error) => Err(FetchError::Unknown(error.to_string())),
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, FetchError> {
    match host {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| FetchError::Tls("no certificate can name the host")),
        Host::Address(address) => Ok(ServerName::from(*address)),
    }
}

fn request(url: &HttpsUrl) -> Request<Empty<Bytes>> {
    Request::get(url.path())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, "scopegate")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .expect("a parsed URL has only what a target and a header may have")
}

/// One request and its answer. The connection lives in this future, and ends with it.
async fn exchange(stream: TlsStream<TcpStream>, request: Request<Empty<Bytes>>) -> Result<Document, FetchError> {
    let mut http = Builder::new();
    http.max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX);
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
    let mut connection = pin!(connection);
    let mut document = pin!(read(sender, request));
    let mut open = true;
    poll_fn(|context| {
        // A server may close as soon as it has sent all, which is then still to be read.
        open = open && connection.as_mut().poll(context).is_pending();
        document.as_mut().poll(context)
    })
    .await
}

async fn read(mut sender: SendRequest<Empty<Bytes>>, request: Request<Empty<Bytes>>) -> Result<Document, FetchError> {
    let answer = sender.send_request(request).await.map_err(FetchError::Http)?;
    check(answer.status(), answer.headers())?;
    let fresh_for = fresh_for(answer.headers());
    Ok(Document { body: bounded(answer).await?, fresh_for })
}

async fn bounded(answer: Response<Incoming>) -> Result<Bytes, FetchError> {
    let body = answer.into_body();
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(FetchError::TooLarge);
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        // What is not hyper's error is the limit's.
        Err(error) => Err(error.downcast().map_or(FetchError::TooLarge, |error| FetchError::Http(*error))),
    }
}

/// Everything, from the name to the last byte. A person waits for it before they see a consent page.
const DEADLINE: Duration = Duration::from_secs(5);

/// Addresses that are tried, and the part of the deadline that each may take.
const ATTEMPTS_MAX: usize = 4;
const ATTEMPTS_SHARE: u32 = 3;

/// Fetches under way at once; one more is refused.
const FETCHES_MAX: usize = 16;

/// The draft recommends 5 KiB; documents with many redirect URIs and translated names are larger. The message of
/// `FetchError::TooLarge` has the number once more.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests;
