//! The PROXY protocol, versions 1 and 2: who the client is, in the words of a trusted proxy before the first byte of the client.
//!
//! The header must be there on such a connection (its specification, section 2, forbids to guess). Exactly its bytes are consumed, because
//! TLS or HTTP follow at once: they are looked at before they are taken. The `ppp` crate reads a header that is whole.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest version 1 header, by its specification.
const TEXT_BYTES_MAX: usize = 107;
/// The signature, version, family and length of a version 2 header.
const BINARY_PREFIX: usize = 16;
/// The longest version 2 header that is read: addresses and a few kilobytes of type-length-value items, which are not used.
const BINARY_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub enum ProxyError {
    Malformed(&'static str),
    Io(io::Error),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "PROXY protocol: {what}"),
            Self::Io(error) => write!(f, "PROXY protocol: {error}"),
        }
    }
}

impl std::error::Error for ProxyError {}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes the header off the stream; `None` where the proxy speaks for itself (`LOCAL`, as in a health check) or does not know.
pub async fn client(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = Vec::with_capacity(TEXT_BYTES_MAX);
    loop {
        let mut seen = [0; 256];
        let len = stream.peek(&mut seen).await?;
        if len == 0 {
            return Err(ProxyError::Malformed("the connection closed within the header"));
        }
        let progress = take(&header, &seen[..len])?;
        let at = header.len();
        header.resize(at + progress.take, 0);
        stream.read_exact(&mut header[at..]).await?;
        if progress.whole {
            return source(&header);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Progress {
    /// How many of the next bytes belong to the header.
    take: usize,
    /// Whether it is whole with them.
    whole: bool,
}

/// Where the header ends, as far as its bytes so far and the next ones (never empty) can tell.
fn take(so_far: &[u8], next: &[u8]) -> Result<Progress, ProxyError> {
    if *so_far.first().unwrap_or(&next[0]) == b'P' {
        let room = TEXT_BYTES_MAX - so_far.len();
        return match next.iter().take(room).position(|byte| *byte == b'\n') {
            Some(feed) => Ok(Progress { take: feed + 1, whole: true }),
            None if next.len() >= room => Err(ProxyError::Malformed("the header has no end")),
            None => Ok(Progress { take: next.len(), whole: false }),
        };
    }
    let known = so_far.len() + next.len();
    let signature = so_far.iter().chain(next).zip(v2::PROTOCOL_PREFIX).all(|(byte, expected)| byte == expected);
    if !signature {
        return Err(ProxyError::Malformed("the connection does not start with a header"));
    }
    if known < BINARY_PREFIX {
        return Ok(Progress { take: next.len(), whole: false });
    }
    let byte = |at: usize| usize::from(if at < so_far.len() { so_far[at] } else { next[at - so_far.len()] });
    let len = BINARY_PREFIX + (byte(14) << 8 | byte(15));
    if len > BINARY_BYTES_MAX {
        return Err(ProxyError::Malformed("the header is longer than 4096 bytes"));
    }
    Ok(Progress { take: next.len().min(len - so_far.len()), whole: known >= len })
}

fn source(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    const MALFORMED: ProxyError = ProxyError::Malformed("the header is malformed");
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(text)) if text.header.len() == header.len() => Ok(match text.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(v4) => Some(SocketAddr::from((v4.source_address, v4.source_port))),
            v1::Addresses::Tcp6(v6) => Some(SocketAddr::from((v6.source_address, v6.source_port))),
        }),
        HeaderResult::V2(Ok(binary)) => Ok(match (binary.command, binary.addresses) {
            (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(v4)) => Some(SocketAddr::from((v4.source_address, v4.source_port))),
            (v2::Command::Proxy, v2::Addresses::IPv6(v6)) => Some(SocketAddr::from((v6.source_address, v6.source_port))),
        }),
        HeaderResult::V1(_) | HeaderResult::V2(Err(_)) => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{client, source, take};

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend_from_slice(&[0x20 | command, family]);
        header.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend_from_slice(body);
        header
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn lawful() -> Vec<(&'static str, Vec<u8>, Option<SocketAddr>)> {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0x01, 0xbb];
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[32..34].copy_from_slice(&[0x30, 0x39]);
        let with_items = [v4.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat();
        vec![
            ("text, IPv4", b"PROXY TCP4 192.0.2.1 192.0.2.2 12345 443\r\n".to_vec(), Some(addr("192.0.2.1:12345"))),
            ("text, IPv6", b"PROXY TCP6 ::1 ::2 12345 443\r\n".to_vec(), Some(addr("[::1]:12345"))),
            ("text, unknown", b"PROXY UNKNOWN\r\n".to_vec(), None),
            ("text, unknown with more", b"PROXY UNKNOWN ::1 ::2 1 2\r\n".to_vec(), None),
            ("binary, IPv4", binary(1, 0x11, &v4), Some(addr("192.0.2.1:12345"))),
            ("binary, IPv6", binary(1, 0x21, &v6), Some(addr("[::1]:12345"))),
            ("binary, with items", binary(1, 0x11, &with_items), Some(addr("192.0.2.1:12345"))),
            ("binary, local", binary(0, 0x00, &[]), None),
            ("binary, local with addresses", binary(0, 0x11, &v4), None),
            ("binary, unspecified", binary(1, 0x00, &[]), None),
            ("binary, unix", binary(1, 0x31, &[0; 216]), None),
        ]
    }

    #[tokio::test]
    async fn exactly_the_header_is_consumed() {
        for (what, header, expected) in lawful() {
            for split in [header.len(), 1, 15] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                proxy.set_nodelay(true).unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                let reading = tokio::spawn(async move {
                    let found = client(&mut stream).await.unwrap();
                    let mut rest = [0; 5];
                    stream.read_exact(&mut rest).await.unwrap();
                    (found, rest)
                });
                for piece in header.chunks(split) {
                    proxy.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                proxy.write_all(b"GET /").await.unwrap();
                assert_eq!(reading.await.unwrap(), (expected, *b"GET /"), "{what}, {split} bytes at a time");
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let rows: [(&str, Vec<u8>); 12] = [
            ("no header, HTTP", b"GET / HTTP/1.1\r\n".to_vec()),
            ("no header, TLS", vec![0x16, 3, 1, 0]),
            ("text without an end", [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat()),
            ("text of another protocol", b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n".to_vec()),
            ("text in lower case", b"Proxy tcp4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec()),
            ("text with a name for an address", b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n".to_vec()),
            ("text with a port beyond all", b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n".to_vec()),
            ("text with a bare line feed", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec()),
            ("text with a carriage return inside", b"PROXY UNKNOWN\rx\r\n".to_vec()),
            ("binary of version 3", [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x31, 0x11, 0, 0]].concat()),
            ("binary with a short address", binary(1, 0x11, &[0; 8])),
            ("binary with an unknown command", binary(7, 0x11, &[0; 12])),
        ];
        for (what, header) in rows {
            let refused = match take(&[], &header) {
                Ok(progress) => progress.whole && source(&header[..progress.take]).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{what}");
        }
        let mut long = binary(1, 0x11, &[]);
        long[14..].copy_from_slice(&[0xff, 0xff]);
        assert!(take(&[], &long).is_err(), "a length beyond the bound is refused before its bytes come");
    }
}
