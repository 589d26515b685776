//! A client that sends exactly the bytes it is given, over TLS or plain, and reads whole HTTP/1.1 answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use super::certificate::trusting;
use super::gate::Gate;
use super::setup::SITE;
use super::{DEADLINE, frames};

trait Line: Read + Write + Send {}
impl<T: Read + Write + Send> Line for T {}

/// One connection.
pub struct Wire {
    line: Box<dyn Line>,
    socket: TcpStream,
    /// Read and not yet used.
    ahead: Vec<u8>,
}

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header that is there once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "`{name}` is there more than once: {self:?}");
        values.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("the body is not JSON ({error}): {self:?} {}", self.text()))
    }
}

impl Wire {
    /// HTTP/1.1 over TLS.
    pub fn tls(gate: &Gate) -> Self {
        Self::over_tls(gate.https(), SITE, trusting(&gate.setup.certificate.cert_file, &[b"http/1.1"]))
    }

    /// HTTP/2 over TLS, for frames written by hand.
    pub fn h2(gate: &Gate) -> Self {
        let mut wire = Self::over_tls(gate.https(), SITE, trusting(&gate.setup.certificate.cert_file, &[b"h2"]));
        wire.send(frames::PREFACE);
        wire
    }

    /// To any address whose certificate is in `ca_file`.
    pub fn tls_to(address: SocketAddr, host: &str, ca_file: &Path) -> Self {
        Self::over_tls(address, host, trusting(ca_file, &[b"http/1.1"]))
    }

    pub fn over_tls(address: SocketAddr, host: &str, config: Arc<ClientConfig>) -> Self {
        let socket = connect(address);
        let name = ServerName::try_from(host.to_owned()).expect("a host name");
        let connection = ClientConnection::new(config, name).expect("the config is complete");
        let line = StreamOwned::new(connection, socket.try_clone().expect("a second handle"));
        Self { line: Box::new(line), socket, ahead: Vec::new() }
    }

    /// The HTTP port.
    pub fn plain(gate: &Gate) -> Self {
        Self::plain_to(gate.http())
    }

    pub fn plain_to(address: SocketAddr) -> Self {
        let socket = connect(address);
        Self { line: Box::new(socket.try_clone().expect("a second handle")), socket, ahead: Vec::new() }
    }

    /// Sends what it can: the gate may answer and close before it has read everything, and then the answer is what counts.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes.as_ref());
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line.write_all(bytes)?;
        self.line.flush()
    }

    /// The next answer to anything but HEAD; `None` where the connection ends first.
    pub fn reply(&mut self) -> Option<Reply> {
        self.read_reply(false).unwrap_or_else(|error| panic!("the answer is cut short: {error}"))
    }

    /// The next answer, or how it was cut short.
    pub fn try_reply(&mut self) -> io::Result<Option<Reply>> {
        self.read_reply(false)
    }

    /// Sends one request and reads its answer.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Reply {
        let request = request.as_ref();
        self.send(request);
        let head = request.starts_with(b"HEAD ");
        let reply = self.read_reply(head).unwrap_or_else(|error| panic!("the answer is cut short: {error}"));
        reply.unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(request)))
    }

    /// Whether the gate has closed the connection and sent nothing more.
    pub fn closed(&mut self) -> bool {
        self.ahead.is_empty() && self.fill().map_or_else(is_end, |read| read == 0)
    }

    /// Everything until the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.ahead)
    }

    /// Exactly `count` bytes; `None` where the connection ends first.
    pub fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            match self.fill() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if is_end_ref(&error) => return None,
                Err(error) => panic!("nothing to read within {DEADLINE:?}: {error}"),
            }
        }
        Some(self.ahead.drain(..count).collect())
    }

    /// Ends the connection without a word, as a client does that has lost interest.
    pub fn abandon(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = self.line.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn read_reply(&mut self, head_only: bool) -> io::Result<Option<Reply>> {
        loop {
            let Some(reply) = self.read_head()? else { return Ok(None) };
            // An interim answer such as 100 Continue stands before the real one.
            if reply.status < 200 && reply.status != 101 {
                continue;
            }
            return self.read_body(reply, head_only).map(Some);
        }
    }

    fn read_head(&mut self) -> io::Result<Option<Reply>> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            match self.fill() {
                Ok(0) if self.ahead.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if self.ahead.is_empty() && is_end_ref(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let headers = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| io::Error::other(format!("a header line without a colon in {head:?}")))?;
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
        Ok(Some(Reply { status, headers, body: Vec::new() }))
    }

    fn read_body(&mut self, mut reply: Reply, head_only: bool) -> io::Result<Reply> {
        if head_only || matches!(reply.status, 101 | 204 | 304) {
            return Ok(reply);
        }
        reply.body = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(length), None) => {
                let length = length.parse().map_err(io::Error::other)?;
                self.read_exactly(length)?
            }
            (None, Some("chunked")) => self.read_chunks()?,
            (None, None) => self.rest(),
            _ => return Err(io::Error::other(format!("framing is not plain: {reply:?}"))),
        };
        Ok(reply)
    }

    fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    fn read_line(&mut self) -> io::Result<String> {
        let length = loop {
            if let Some(end) = self.ahead.iter().position(|&byte| byte == b'\n') {
                break end + 1;
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let line = self.ahead.drain(..length).collect();
        String::from_utf8(line).map_err(io::Error::other)
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            let chunk = self.read_exactly(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

/// A request with a bearer and no body.
pub fn request(method: &str, target: &str, token: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// The same with a JSON body.
pub fn json_request(method: &str, target: &str, token: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("the gate accepts connections");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time limit can be set");
    socket.set_write_timeout(Some(DEADLINE)).expect("a time limit can be set");
    socket.set_nodelay(true).expect("a socket option");
    socket
}

fn is_end(error: io::Error) -> bool {
    is_end_ref(&error)
}

/// Whether a read failed because the other side is gone, rather than for lack of time.
fn is_end_ref(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
