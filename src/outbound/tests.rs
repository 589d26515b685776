//! Fetching from real TLS servers on loopback: each is a script over raw bytes, with a certificate made on the spot.

mod server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::StatusCode;

use super::*;
use crate::outbound::tests::server::{Authority, Server};

const LOOPBACK: [IpNet; 2] =
    [IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];

fn fetcher(authority: &Authority, allow_networks: &[IpNet]) -> Fetcher {
    let settings = Settings { extra_roots: vec![authority.certificate()], allow_networks: allow_networks.to_vec() };
    Fetcher::new(settings).expect("a fetcher")
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).expect(text)
}

/// What comes of these bytes, from a server that then closes.
async fn answered(bytes: impl Into<Vec<u8>>) -> Result<Document, FetchError> {
    let authority = Authority::new();
    let server = Server::start(authority.acceptor("localhost", false), bytes).await;
    fetcher(&authority, &LOOPBACK).fetch(&url(&server.url("localhost"))).await
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

fn chunked(chunks: usize, size: usize) -> String {
    let chunk = format!("{size:x}\r\n{}\r\n", " ".repeat(size));
    let body = chunk.repeat(chunks);
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n")
}

#[tokio::test]
async fn a_document_comes_with_its_time() {
    let authority = Authority::new();
    let server = Server::start(authority.acceptor("localhost", false), ok("Cache-Control: max-age=600\r\n", "{\"a\":1}")).await;
    let fetcher = fetcher(&authority, &LOOPBACK);
    for _ in 0..2 {
        let document = fetcher.fetch(&url(&server.url("localhost"))).await.expect("a document");
        assert_eq!(document, Document { body: Bytes::from_static(b"{\"a\":1}"), fresh_for: Duration::from_secs(600) });
    }
    let host = server.url("localhost").replace("https://", "").replace("/client.json", "");
    let request = format!(
        "GET /client.json HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\naccept-encoding: identity\r\nuser-agent: scopegate\r\n\
         connection: close\r\n\r\n"
    );
    assert_eq!(server.requests(), [request.clone(), request], "nothing else is told, and no connection is kept");
    assert_eq!(fetcher.slots.available_permits(), FETCHES_MAX);
}

#[tokio::test]
async fn a_document_comes_in_every_framing() {
    let full = "x".repeat(BODY_BYTES_MAX);
    for (bytes, length, why) in [
        (ok("", &full), BODY_BYTES_MAX, "just small enough"),
        (chunked(32, 1024), BODY_BYTES_MAX, "just small enough, in chunks"),
        (ok("", "").replace("Content-Length: 0\r\n", "Connection: close\r\n") + "{}", 2, "until the end"),
        (ok("", "{}").replace("1.1", "1.0"), 2, "as of old"),
        (format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", ok("", "{}")), 2, "after a hint"),
    ] {
        let document = answered(bytes).await.expect(why);
        assert_eq!((document.body.len(), document.fresh_for), (length, Duration::from_secs(3600)), "{why}");
    }
}

#[tokio::test]
async fn what_is_no_document_is_refused() {
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let declared = ok("", "").replace("Length: 0", "Length: 32769");
    for (bytes, code, why) in [
        ("HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n".to_owned(), "fetch_status", "redirect"),
        (ok("Location: /x\r\n", "{}").replace("200 OK", "307 Moved"), "fetch_status", "redirect with a body"),
        (ok("", "{}").replace("200 OK", "404 Not Found"), "fetch_status", "missing"),
        (ok("", "{}").replace("200 OK", "201 Created"), "fetch_status", "another success"),
        (ok("", "{}").replace("200 OK", "101 Switching"), "fetch_status", "another protocol"),
        (ok("", "{}").replace("application/json", "text/html"), "fetch_content_type", "a page"),
        (ok("", "{}").replace("Content-Type: application/json\r\n", ""), "fetch_content_type", "no type"),
        (ok("Content-Encoding: gzip\r\n", "{}"), "fetch_content_type", "compressed"),
        (ok("", &large), "fetch_too_large", "large"),
        (declared, "fetch_too_large", "large, and never sent"),
        (chunked(33, 1024), "fetch_too_large", "large, in chunks"),
        (chunked(1, BODY_BYTES_MAX + 1), "fetch_too_large", "large, in one chunk"),
        (ok("", "{}").replace("Length: 2", "Length: 3"), "fetch_malformed", "cut off"),
        (chunked(1, 2).replace("\r\n0\r\n\r\n", ""), "fetch_malformed", "cut off in a chunk"),
        (ok("Content-Length: 3\r\n", "{}"), "fetch_malformed", "two lengths"),
        (ok(&format!("X: {}\r\n", "x".repeat(HEAD_BYTES_MAX)), "{}"), "fetch_malformed", "a large head"),
        ("{}".to_owned(), "fetch_malformed", "no HTTP"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "fetch_malformed", "another protocol"),
        (String::new(), "fetch_malformed", "nothing"),
    ] {
        let error = answered(bytes).await.expect_err(why);
        assert_eq!(error.code(), code, "{why}: {error}");
        assert!(!error.to_string().contains("{}") && !error.to_string().contains("xx"), "{why}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let authority = Authority::new();
    let inner = Server::start(authority.acceptor("localhost", false), ok("", "{}")).await;
    let bytes = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", inner.url("localhost"));
    let outer = Server::start(authority.acceptor("localhost", false), bytes).await;
    let error = fetcher(&authority, &LOOPBACK).fetch(&url(&outer.url("localhost"))).await.expect_err("a redirect");
    assert!(matches!(error, FetchError::Status(StatusCode::FOUND)), "{error}");
    assert_eq!((outer.requests().len(), inner.requests().len()), (1, 0));
    assert_eq!(error.to_string(), "the host answered 302, and redirects are not followed");
}

#[tokio::test]
async fn strangers_do_not_reach_loopback() {
    let authority = Authority::new();
    let server = Server::start(authority.acceptor("localhost", false), ok("", "{}")).await;
    for host in ["localhost", "127.0.0.1"] {
        for allowed in [&[][..], &["10.0.0.0/8".parse().expect("a network")]] {
            let error = fetcher(&authority, allowed).fetch(&url(&server.url(host))).await.expect_err(host);
            assert!(matches!(error, FetchError::Address(address) if address.is_loopback()), "{host}: {error}");
        }
    }
    let mapped = server.url("[::ffff:127.0.0.1]");
    let error = fetcher(&authority, &LOOPBACK).fetch(&url(&mapped)).await.expect_err("a mapped address");
    assert!(matches!(error, FetchError::Address(_)), "an IPv4 network does not allow its mapped form: {error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_allowed_address_is_asked_by_number() {
    let authority = Authority::new();
    let server = Server::start(authority.acceptor("127.0.0.1", false), ok("", "{}")).await;
    let document = fetcher(&authority, &LOOPBACK).fetch(&url(&server.url("127.0.0.1"))).await.expect("a document");
    assert_eq!(&*document.body, b"{}");
}

#[test]
fn one_bad_address_spoils_a_name() {
    let fetcher = fetcher(&Authority::new(), &["10.0.0.0/8".parse().expect("a network")]);
    for (host, addresses, want) in [
        ("app.example", &["1.1.1.1"][..], None),
        ("app.example", &["1.1.1.1", "2606:4700::1"], None),
        ("app.example", &["10.0.0.1", "1.1.1.1"], None),
        ("app.example:8443", &["10.0.0.1"], None),
        ("intranet", &["10.0.0.1"], None),
        ("10.0.0.1:8443", &["10.0.0.1"], None),
        ("app.example", &["1.1.1.1", "127.0.0.1"], Some("127.0.0.1")),
        ("app.example", &["169.254.169.254", "1.1.1.1"], Some("169.254.169.254")),
        ("app.example", &["1.1.1.1", "::1"], Some("::1")),
        ("app.example", &["10.0.0.1", "192.168.0.1"], Some("192.168.0.1")),
        ("app.example", &["::ffff:10.0.0.1"], Some("::ffff:10.0.0.1")),
        ("app.example:8443", &["1.1.1.1"], Some("port 8443")),
        ("app.example:8443", &["10.0.0.1", "1.1.1.1"], Some("port 8443")),
        ("app.example:22", &["1.1.1.1"], Some("port 22")),
        ("intranet", &["1.1.1.1"], Some("without a dot")),
        ("intranet", &["10.0.0.1", "1.1.1.1"], Some("without a dot")),
        ("1.1.1.1", &["1.1.1.1"], Some("1.1.1.1")),
        ("127.0.0.1", &["127.0.0.1"], Some("127.0.0.1")),
        ("[2606:4700::1]", &["2606:4700::1"], Some("2606:4700::1")),
    ] {
        let url = url(&format!("https://{host}/c"));
        let addresses: Vec<_> = addresses.iter().map(|text| SocketAddr::new(text.parse().expect(text), url.port())).collect();
        match (fetcher.admit(&url, &addresses), want) {
            (Ok(()), None) => {}
            (Err(error), Some(want)) => assert!(error.to_string().contains(want), "{host} at {addresses:?}: {error}"),
            (found, _) => panic!("{host} at {addresses:?}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn untrusted_servers_get_no_request() {
    let authority = Authority::new();
    for (acceptor, why) in [
        (authority.acceptor("elsewhere.example", false), "its certificate is for another name"),
        (authority.acceptor("localhost", true), "its certificate has expired"),
        (Authority::new().acceptor("localhost", false), "its certificate is signed by nobody whom this system trusts"),
    ] {
        let server = Server::start(acceptor, ok("", "{}")).await;
        let error = fetcher(&authority, &LOOPBACK).fetch(&url(&server.url("localhost"))).await.expect_err(why);
        assert!(matches!(error, FetchError::Tls(found) if found == why), "{error}");
        assert_eq!(server.requests(), [""; 0], "{why}");
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_no_request() {
    let authority = Authority::new();
    let server = Server::start_plain("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let error = fetcher(&authority, &LOOPBACK).fetch(&url(&server.url("localhost"))).await.expect_err("no TLS");
    assert!(matches!(error, FetchError::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_stalls_is_left_in_time() {
    let authority = Authority::new();
    for (bytes, why) in
        [("", "no answer"), ("HTTP/1.1 200 OK\r\n", "half a head"), (&ok("", "{}").replace("Length: 2", "Length: 9"), "half a body")]
    {
        let server = Server::start_stalling(authority.acceptor("127.0.0.1", false), bytes).await;
        let fetcher = Fetcher { deadline: Duration::from_millis(100), ..fetcher(&authority, &LOOPBACK) };
        let error = fetcher.fetch(&url(&server.url("127.0.0.1"))).await.expect_err(why);
        assert!(matches!(error, FetchError::Timeout), "{why}: {error}");
        assert_eq!(fetcher.slots.available_permits(), FETCHES_MAX, "{why}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let authority = Authority::new();
    let server = Server::start_plain("").await;
    let gone = server.url("localhost");
    server.stop().await;
    let error = fetcher(&authority, &LOOPBACK).fetch(&url(&gone)).await.expect_err("nobody");
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let authority = Authority::new();
    let gone = Server::start_plain("").await;
    let dead = gone.address;
    gone.stop().await;
    let server = Server::start_plain("").await;
    let fetcher = fetcher(&authority, &LOOPBACK);
    let stream = fetcher.connect(&[dead, server.address]).await.expect("the second");
    assert_eq!(stream.peer_addr().expect("a peer"), server.address);
    let error = fetcher.connect(&[&[dead; ATTEMPTS_MAX][..], &[server.address]].concat()).await.expect_err("one too many");
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
}

#[tokio::test]
async fn one_fetch_too_many_is_refused() {
    let authority = Authority::new();
    let server = Server::start(authority.acceptor("localhost", false), ok("", "{}")).await;
    let fetcher = fetcher(&authority, &LOOPBACK);
    let all = u32::try_from(FETCHES_MAX).expect("a few");
    let taken = Arc::clone(&fetcher.slots).try_acquire_many_owned(all).expect("all of them");
    let error = fetcher.fetch(&url(&server.url("localhost"))).await.expect_err("full");
    assert!(matches!(error, FetchError::Busy), "{error}");
    assert_eq!(server.connections(), 0);
    drop(taken);
    assert!(fetcher.fetch(&url(&server.url("localhost"))).await.is_ok());
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let settings = Settings { extra_roots: vec![CertificateDer::from(b"no certificate".to_vec())], allow_networks: Vec::new() };
    let error = Fetcher::new(settings).err().expect("no authority");
    assert!(error.to_string().starts_with("a CA certificate for clients' documents cannot be used: "), "{error}");
}

#[test]
fn fetches_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let fetcher = fetcher(&Authority::new(), &[]);
    is_send(fetcher.fetch(&url("https://app.example/c")));
}
