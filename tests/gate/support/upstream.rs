//! A stand-in for Frappe: raw TCP, every request kept byte for byte, and answers exactly as the test scripts them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::DEADLINE;

/// One complete request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Head and framed body, as received.
    pub raw: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "`{name}` went upstream twice: {:?}", self.headers);
        first
    }
}

/// What becomes of the connection behind an answer.
pub enum Then {
    Close,
    KeepOpen,
}

type Script = dyn Fn(&Seen, &mut TcpStream) -> Then + Send + Sync;

#[derive(Default)]
struct Record {
    requests: Mutex<Vec<Seen>>,
    arrived: Condvar,
    /// Connections accepted, less the knocks of [`Upstream::connections`].
    connections: AtomicUsize,
}

pub struct Upstream {
    address: SocketAddr,
    record: Arc<Record>,
}

/// How a connection of [`Upstream::connections`] names itself.
const KNOCK: &[u8] = b"KNOCK\n";

impl Upstream {
    /// Answers each request as `script` writes it.
    pub fn scripted(script: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let record = Arc::new(Record::default());
        let (script, kept): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&record));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (script, record) = (Arc::clone(&script), Arc::clone(&kept));
                record.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream, &record, &*script));
            }
        });
        Self { address, record }
    }

    /// Gives every request the same bytes and closes behind them, as gunicorn's sync workers do.
    pub fn answering(answer: Vec<u8>) -> Self {
        Self::scripted(move |_, stream| {
            let _ = stream.write_all(&answer);
            Then::Close
        })
    }

    /// Gives every request `body` as JSON on a connection that stays open.
    pub fn json(body: &'static str) -> Self {
        Self::scripted(move |request, stream| {
            let _ = stream.write_all(&json_answer(200, if request.method == "HEAD" { "" } else { body }));
            Then::KeepOpen
        })
    }

    /// Reads each request and answers it only when the test says so.
    pub fn held() -> (Self, Held) {
        let (release, released) = mpsc::channel::<Vec<u8>>();
        let released = Mutex::new(released);
        let upstream = Self::scripted(move |_, stream| {
            let answer = released.lock().expect("no script panics").recv();
            if let Ok(answer) = answer {
                let _ = stream.write_all(&answer);
            }
            Then::Close
        });
        (upstream, Held { release })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Complete requests so far, in the order of their ends.
    pub fn requests(&self) -> Vec<Seen> {
        self.record.requests.lock().expect("no one panics with it").clone()
    }

    /// The only request so far.
    pub fn request(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "exactly one request goes upstream, not {requests:#?}");
        requests.into_iter().next().expect("there is one")
    }

    /// Blocks until `count` requests have arrived.
    pub fn wait_for(&self, count: usize) {
        let requests = self.record.requests.lock().expect("no one panics with it");
        let (requests, late) =
            self.record.arrived.wait_timeout_while(requests, DEADLINE, |requests| requests.len() < count).expect("no one panics with it");
        assert!(!late.timed_out(), "{} of {count} requests came upstream within {DEADLINE:?}", requests.len());
    }

    /// Connections opened so far, with or without a request on them. Every connection made before this call is counted: connections are
    /// accepted in the order they were made, and this makes one more and waits until it has been.
    pub fn connections(&self) -> usize {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(KNOCK).expect("it reads");
        let mut answer = [0; KNOCK.len()];
        stream.read_exact(&mut answer).expect("it answers a knock");
        self.record.connections.load(Ordering::SeqCst)
    }

    /// Nothing, not even a connection, came from the gate.
    pub fn assert_untouched(&self) {
        assert_eq!(self.connections(), 0, "the upstream was reached: {:#?}", self.requests());
    }
}

/// The test's hand on an upstream that waits.
pub struct Held {
    release: Sender<Vec<u8>>,
}

impl Held {
    pub fn answer(&self, bytes: Vec<u8>) {
        self.release.send(bytes).expect("the upstream waits");
    }
}

/// A whole answer with a JSON body.
pub fn json_answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An address on which nobody listens, and nobody will while the result lives: bound, but not listening.
pub fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("an IP address");
    (socket, address)
}

/// A receiver that a test can use to learn of an upstream connection's end.
pub fn watching_the_end() -> (Upstream, Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::scripted(move |_, stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = tell.lock().expect("no script panics").send(());
        Then::Close
    });
    (upstream, told)
}

fn serve(stream: TcpStream, record: &Record, script: &Script) {
    let mut answers = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    if reader.fill_buf().is_ok_and(|bytes| bytes.starts_with(KNOCK)) {
        record.connections.fetch_sub(1, Ordering::SeqCst);
        let _ = answers.write_all(KNOCK);
        return;
    }
    while let Ok(Some(seen)) = read_request(&mut reader) {
        record.requests.lock().expect("no one panics with it").push(seen.clone());
        record.arrived.notify_all();
        match script(&seen, &mut answers) {
            Then::Close => return,
            Then::KeepOpen => {}
        }
    }
}

/// `None` at the end of the connection; an error where it ends inside a request.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut raw)? == 0 {
            return if raw.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
    let head = String::from_utf8_lossy(&raw).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut request_line = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (request_line.next().unwrap_or_default().to_owned(), request_line.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let find = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str());
    let body = match (find("content-length"), find("transfer-encoding")) {
        (Some(_), Some(_)) => return Err(io::Error::other("a length and a transfer encoding")),
        (Some(length), None) => {
            let mut body = vec![0; length.parse().map_err(io::Error::other)?];
            reader.read_exact(&mut body)?;
            raw.extend_from_slice(&body);
            body
        }
        (None, Some(_)) => read_chunks(reader, &mut raw)?,
        (None, None) => Vec::new(),
    };
    Ok(Some(Seen { method, target, headers, body, raw }))
}

fn read_chunks(reader: &mut impl BufRead, raw: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        raw.extend_from_slice(&line);
        let digits = std::str::from_utf8(&line).map_err(io::Error::other)?.trim_end();
        let size = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        raw.extend_from_slice(&chunk);
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
