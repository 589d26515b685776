//! An HTTP/2 client that keeps the rules: hyper's. For frames that break them, see `frames`.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::DEADLINE;
use super::certificate::trusting;
use super::gate::Gate;
use super::setup::SITE;
use super::wire::Reply;

/// One HTTP/2 connection to the gate.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Http2 {
    pub fn connect(gate: &Gate) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = trusting(&gate.setup.certificate.cert_file, &[b"h2"]);
        let address = gate.https();
        let sender = runtime.block_on(async {
            let socket = TcpStream::connect(address).await.expect("the gate accepts connections");
            let name = ServerName::try_from(SITE).expect("a host name");
            let tls = TlsConnector::from(config).connect(name, socket).await.expect("the gate shows its certificate");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the gate takes HTTP/2");
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2 begins");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// One request on a stream of its own.
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let request = build(method, target, headers, body);
        let answer = self.sender.send_request(request);
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, whole(answer)).await.expect("an answer in time") })
    }

    /// Several requests at once, answered in the order they are given here.
    pub fn requests(&mut self, targets: &[String], token: &str) -> Vec<Reply> {
        let bearer = format!("Bearer {token}");
        let answers: Vec<_> =
            targets.iter().map(|target| self.sender.send_request(build("GET", target, &[("authorization", &bearer)], b""))).collect();
        self.runtime.block_on(async {
            let mut replies = Vec::new();
            for answer in answers {
                replies.push(tokio::time::timeout(DEADLINE, whole(answer)).await.expect("an answer in time"));
            }
            replies
        })
    }
}

fn build(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("https://{SITE}{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).expect("a well-formed request")
}

async fn whole(answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Reply {
    let (parts, body) = answer.await.expect("an answer").into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers, body }
}
