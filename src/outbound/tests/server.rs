//! A server that reads a request and answers these bytes, whatever was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn acceptor(&self, name: &str, expired: bool) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        // A client that offered no ALPN, or another, would be turned away.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Ends with the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// What follows the bytes.
#[derive(Clone, Copy)]
enum Ending {
    Close,
    Stall,
}

impl Server {
    pub(super) async fn start(acceptor: TlsAcceptor, bytes: impl Into<Vec<u8>>) -> Self {
        Self::listen(Some(acceptor), bytes.into(), Ending::Close).await
    }

    /// Sends the bytes and then nothing, until the client hangs up.
    pub(super) async fn start_stalling(acceptor: TlsAcceptor, bytes: impl Into<Vec<u8>>) -> Self {
        Self::listen(Some(acceptor), bytes.into(), Ending::Stall).await
    }

    /// Speaks first, and no TLS.
    pub(super) async fn start_plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self::listen(None, bytes.into(), Ending::Close).await
    }

    async fn listen(tls: Option<TlsAcceptor>, bytes: Vec<u8>, ending: Ending) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                match &tls {
                    None => speak(stream, &bytes).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            shared.serve(stream, &bytes, ending).await;
                        }
                    }
                }
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/client.json", self.address.port())
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the port.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn speak(mut stream: TcpStream, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    }
}

impl Seen {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, bytes: &[u8], ending: Ending) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&request).into_owned());
        // The client may have seen enough before it has seen all.
        if stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() && matches!(ending, Ending::Close) {
            let _ = stream.shutdown().await;
        }
        while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
    }
}
