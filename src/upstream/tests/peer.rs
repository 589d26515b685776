//! A server that does what a test's script says, byte for byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Ends with the test.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Peer {
    /// Runs `script` on every connection; its second argument counts them from 0.
    pub(super) async fn start<F, S>(script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Wire, usize) -> F + Send + 'static,
    {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), None, script)
    }

    pub(super) fn listen<F, S>(listener: TcpListener, tls: Option<TlsAcceptor>, script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Wire, usize) -> F + Send + 'static,
    {
        let address = listener.local_addr().expect("a bound listener");
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let count = shared.connections.fetch_add(1, Ordering::SeqCst);
                let stream = match &tls {
                    None => Either::Plain(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Either::Tls(Box::new(stream)),
                        Err(_) => continue,
                    },
                };
                tokio::spawn(script(Wire { stream: stream.boxed(), unread: Vec::new(), seen: Arc::clone(&shared) }, count));
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Every request that came whole, head and body as they were.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Either {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Either {
    fn boxed(self) -> Box<dyn Stream> {
        match self {
            Self::Plain(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection, from the server's end. Dropped, it closes.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    seen: Arc<Seen>,
}

impl Wire {
    /// The next request, head and body; `None` when the gate has closed the connection.
    pub(super) async fn request(&mut self) -> Option<String> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let lower = head.to_ascii_lowercase();
        let body = if let Some((_, rest)) = lower.split_once("content-length: ") {
            let length = rest.lines().next().expect("a line").parse().expect("a length");
            self.read_exactly(length).await?
        } else if lower.contains("transfer-encoding: chunked") {
            self.read_until(b"0\r\n\r\n").await?
        } else {
            String::new()
        };
        let request = head + &body;
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        Some(request)
    }

    pub(super) async fn read_until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return self.read_exactly(at + end.len()).await;
            }
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Option<String> {
        while self.unread.len() < length {
            self.fill().await?;
        }
        let read: Vec<u8> = self.unread.drain(..length).collect();
        Some(String::from_utf8(read).expect("a test's request is text"))
    }

    async fn fill(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    /// Writes if the gate still listens.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        if self.stream.write_all(bytes.as_ref()).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// An answer with this body that keeps the connection open.
    pub(super) async fn answer(&mut self, body: &str) {
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Until the gate closes the connection.
    pub(super) async fn closed(&mut self) {
        while self.fill().await.is_some() {}
    }
}
