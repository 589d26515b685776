//! The other two sides of the load bench, as small as they can be: the upstream, and a client that does nothing but new TLS handshakes.
//!
//! `bench-peer upstream PORT` answers every GET with the same 1 KiB document. What Frappe itself costs is left out on purpose: the proxy in
//! front is what is measured, and nginx or wrk in its place would take the core away from the load.
//!
//! `bench-peer handshakes ADDRESS SECONDS TASKS TOKENS CERTIFICATE` connects, makes a full TLS 1.3 handshake without resumption, asks once
//! and closes, `TASKS` times at once, and prints how many were answered and how many failed.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Bytes of the document that is answered with.
const DOCUMENT_BYTES: usize = 1024;
/// Nothing here takes this long unless something is wrong.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream", port] => upstream(port.parse()?).await,
        ["handshakes", address, seconds, tasks, tokens, certificate] => {
            handshakes(address.parse()?, Duration::from_secs_f64(seconds.parse()?), tasks.parse()?, tokens, certificate).await
        }
        _ => Err("usage: bench-peer upstream PORT | handshakes ADDRESS SECONDS TASKS TOKENS CERTIFICATE".into()),
    }
}

async fn upstream(port: u16) -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?;
    let answer: Arc<[u8]> = answer().into_bytes().into();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer_all(stream, answer.clone()));
    }
}

/// What a site of Frappe would say to a GET of a small document.
fn answer() -> String {
    let mut body = String::from(
        r#"{"data":{"name":"ITEM-0001","owner":"Administrator","creation":"2026-01-01 10:00:00.000000","modified":"2026-01-02 10:00:00.000000","modified_by":"Administrator","docstatus":0,"idx":0,"item_code":"ITEM-0001","item_name":"Sample item","item_group":"Products","stock_uom":"Nos","disabled":0,"doctype":"Item","description":""#,
    );
    let end = "\"}}";
    body.extend(std::iter::repeat_n('x', DOCUMENT_BYTES - body.len() - end.len()));
    body.push_str(end);
    format!(
        "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store,no-cache,must-revalidate,max-age=0\r\n\
         Vary: Accept-Encoding\r\nX-Frame-Options: SAMEORIGIN\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}",
        body.len()
    )
}

/// Answers heads without bodies until the peer goes away; the end of a connection is nobody's error here.
async fn answer_all(mut stream: TcpStream, answer: Arc<[u8]>) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}

async fn handshakes(
    address: SocketAddr,
    time: Duration,
    tasks: usize,
    tokens: &str,
    certificate: &str,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let tokens: Arc<[String]> = std::fs::read_to_string(tokens)?.lines().map(str::to_owned).collect();
    let connector = connector(certificate)?;
    let until = Instant::now() + time;
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (connector, tokens) = (connector.clone(), tokens.clone());
        running.spawn(async move {
            let (mut done, mut failed) = (0_u64, 0_u64);
            for number in (task..).step_by(tasks) {
                if Instant::now() >= until {
                    break;
                }
                let asked = tokio::time::timeout(REQUEST_TIMEOUT, ask(&connector, address, &tokens[number % tokens.len()])).await;
                if matches!(asked, Ok(Ok(()))) { done += 1 } else { failed += 1 }
            }
            (done, failed)
        });
    }
    let counts = running.join_all().await;
    println!("{} {}", counts.iter().map(|(done, _)| done).sum::<u64>(), counts.iter().map(|(_, failed)| failed).sum::<u64>());
    Ok(())
}

/// X25519 alone, because not every peer has a hybrid key exchange and all should do the same work.
fn connector(certificate: &str) -> Result<TlsConnector, Box<dyn Error + Send + Sync>> {
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask(connector: &TlsConnector, address: SocketAddr, token: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A reset instead of a close: thousands of closed connections a second would use up the ports of this machine.
    stream.set_zero_linger()?;
    let mut stream = connector.connect(ServerName::try_from("bench.local")?, stream).await?;
    let request = format!(
        "GET /api/resource/Item/ITEM-0001 HTTP/1.1\r\nHost: bench.local\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(4096);
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200") && answer.len() > DOCUMENT_BYTES { Ok(()) } else { Err("no answer as expected".into()) }
}
