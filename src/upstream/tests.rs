//! What the room does on real sockets: every server here is a script over raw bytes.

mod answers;
mod connections;
mod frappe;
mod peer;
mod requests;
mod servers;
mod tls;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::task::yield_now;

use super::*;
use crate::upstream::answer::Answer;
use crate::upstream::body::RequestBody;
use crate::upstream::error::UpstreamError;
use crate::upstream::send::Outgoing;

pub(crate) fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        idle_max: 8,
        head_bytes_max: 8 * 1024,
        failures_max: 3,
        rest: Duration::from_secs(60),
        check_interval: None,
        check_path: "/api/method/ping".to_owned(),
    }
}

/// One site with these servers.
fn upstreams(servers: &[String], settings: Settings) -> Arc<Upstreams> {
    let servers = servers.iter().map(|url| ServerUrl::parse(url).expect("a test's server")).collect();
    Upstreams::new(vec![SiteServers { frappe_site: "erp.test".into(), servers, settings, ca: Vec::new() }]).expect("a test's site")
}

fn outgoing(method: Method, body: RequestBody) -> Outgoing<'static> {
    Outgoing { method, target: "/api/resource/ToDo?limit=1".parse().expect("a path"), headers: &headers, body }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("erp.test"))])
}

async fn get(site: &SiteUpstream) -> Result<Answer, UpstreamError> {
    site.send(outgoing(Method::GET, RequestBody::Empty)).await
}

async fn post(site: &SiteUpstream) -> Result<Answer, UpstreamError> {
    site.send(outgoing(Method::POST, RequestBody::Full(Bytes::from_static(b"{\"a\":1}")))).await
}

async fn text(answer: Answer) -> Result<String, UpstreamError> {
    let body = answer.body.collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).expect("a test's body"))
}

/// Lets everything else on this thread run until `holds`, for a while.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: not within ten seconds");
        yield_now().await;
    }
}

#[test]
fn server_urls() {
    for (text, tls, host, port, shown) in [
        ("http://127.0.0.1:8000", false, "127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("http://frappe", false, "frappe", 80, "http://frappe:80"),
        ("https://ERP.Example.com/", true, "erp.example.com", 443, "https://erp.example.com:443"),
        ("https://[::1]:8443", true, "::1", 8443, "https://[::1]:8443"),
    ] {
        let url = ServerUrl::parse(text).expect(text);
        assert_eq!(url, ServerUrl { tls, host: host.to_owned(), port }, "{text}");
        assert_eq!(url.to_string(), shown);
    }
    for text in [
        "",
        "frappe:8000",
        "ftp://frappe",
        "unix:/run/frappe.sock",
        "http://",
        "http://:80",
        "http://frappe:0",
        "http://frappe:",
        "http://frappe:65536",
        "http://frappe/app",
        "http://frappe?x",
        "http://frappe#x",
        "http://user:pass@frappe",
        "http://fra ppe",
    ] {
        assert!(ServerUrl::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn futures_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let upstreams = upstreams(&["http://127.0.0.1:1".to_owned()], settings());
    let worker = is_send(upstreams.worker());
    drop(is_send(get(worker.site(0))));
    fn body_is_send(answer: Answer) -> impl Send {
        answer.body
    }
    let _ = body_is_send;
}
