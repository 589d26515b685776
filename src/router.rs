//! Which service answers: by the entrance, the host and the path.
//!
//! `Host` picks the site, and nothing else of the request does. What comes in by plain HTTP is never served: a token on it has already
//! been read along the way, so it is refused and not redirected (a redirect would look like it worked).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::authserver;
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::exchange::answer::answer_with;
use crate::exchange::body::GateBody;
use crate::exchange::{Books, Exchange};
use crate::gateway::Worker;
use crate::gateway::site::Site;
use crate::listener::connection::{Connection, Entrance, address_text};
use crate::listener::violation::Violation;
use crate::listener::{Arrival, Service};
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::reply::{Reply, Shape};
use crate::store::cached::SiteId;
use crate::telemetry::RequestIds;
use crate::upstream::Via;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const STRICT_TRANSPORT_SECURITY: HeaderName = HeaderName::from_static("strict-transport-security");

/// What is served, until the operator says otherwise: swapped whole when the configuration is read again.
pub struct Table {
    /// By host, in lower case, without port.
    pub hosts: Arc<HashMap<Box<str>, Arc<Site>, RandomState>>,
    pub trusted_proxies: Arc<[IpNet]>,
    /// The port that a redirect to HTTPS names; `None` for the standard one.
    pub https_port: Option<u16>,
    pub worker: Worker,
    /// The sites whose OAuth provider the gate is.
    pub issuers: Arc<HashMap<SiteId, Arc<Issuer>, RandomState>>,
    pub authserver: authserver::Worker,
    pub books: Arc<Books>,
}

/// The service of one worker thread.
#[derive(Clone)]
pub struct Front {
    pub table: Arc<ArcSwap<Table>>,
    pub ids: Arc<RequestIds>,
}

impl Front {
    /// Answers a request.
    pub async fn request(&self, connection: &Connection, request: Request<Incoming>) -> Response<GateBody> {
        let table = self.table.load_full();
        let (address, via) = table.via(connection, request.headers());
        let worker = &table.worker;
        let mut exchange = self.exchange(&table, address, via.client.clone(), Some(request.method().clone()));
        let is_head = request.method() == http::Method::HEAD;
        let shape = Shape::of(request.uri().path());
        let Some(site) = table.site(&request) else {
            let reply = Reply::new(StatusCode::NOT_FOUND, "host_unknown", "no site has this host name here");
            return answer_with(reply, shape, exchange, is_head);
        };
        exchange.site = Some(site.name.clone());
        if !via.secure {
            return insecure(&table, site, &request, shape, exchange, is_head);
        }
        let mut response = match table.endpoint(site, request.uri().path()) {
            // Boxed: a hundred API requests come for one of these, and need not keep room for it.
            Some((issuer, endpoint)) => Box::pin(table.authserver.serve(issuer, endpoint, &via, request, exchange)).await,
            None => worker.serve(site, &via, request, exchange).await,
        };
        if connection.entrance == Entrance::Https {
            // RFC 6797: a year; hosts below it are not ours to speak for.
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        response
    }

    /// Answers what the listener found to be no request. hyper closes the connection behind it.
    pub fn violation(&self, connection: &Connection, violation: Violation) -> Response<GateBody> {
        let table = self.table.load_full();
        let exchange = self.exchange(&table, connection.client.ip(), connection.client_text.clone(), None);
        let status = StatusCode::from_u16(violation.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let reply =
            Reply::new(status, violation.reason(), violation.sentence()).with(http::header::CONNECTION, HeaderValue::from_static("close"));
        answer_with(reply, Shape::V1, exchange, false)
    }

    fn exchange(&self, table: &Table, address: IpAddr, address_text: HeaderValue, method: Option<http::Method>) -> Box<Exchange> {
        Box::new(Exchange::begin(table.books.clone(), self.ids.next(), address, address_text, method))
    }
}

impl Table {
    /// The site of the request's host.
    fn site<T>(&self, request: &Request<T>) -> Option<&Arc<Site>> {
        let host = match request.headers().get(HOST) {
            Some(host) => host.to_str().ok()?,
            None => request.uri().authority()?.as_str(),
        };
        let host = without_port(host);
        match self.hosts.get(host) {
            Some(site) => Some(site),
            None if host.bytes().any(|byte| byte.is_ascii_uppercase()) => self.hosts.get(host.to_ascii_lowercase().as_str()),
            None => None,
        }
    }

    /// The OAuth endpoint at `path`, where the gate is the site's provider.
    fn endpoint(&self, site: &Site, path: &str) -> Option<(&Issuer, Endpoint)> {
        let endpoint = Endpoint::of(path)?;
        self.issuers.get(&site.id).map(|issuer| (&**issuer, endpoint))
    }

    /// Who the client is: the peer, or whom a trusted proxy names.
    fn via(&self, connection: &Connection, headers: &HeaderMap) -> (IpAddr, Via) {
        let secure = match connection.entrance {
            Entrance::Https => true,
            Entrance::Http => false,
            // The operator says that a proxy in front ends TLS; where the proxy itself says that it did not, it is believed.
            Entrance::BehindProxy => headers.get_all(X_FORWARDED_PROTO).iter().all(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https")),
        };
        let peer = connection.client.ip();
        let client = client_of(&self.trusted_proxies, peer, headers);
        let text = if client == peer { connection.client_text.clone() } else { address_text(client) };
        (client, Via { client: text, secure })
    }
}

/// The peer, or whom the trusted proxies before it name.
fn client_of(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    if trusted.is_empty() || !trusts(peer) {
        return peer;
    }
    // From the right: each trusted proxy appended the one it heard from. The first that is not trusted is the client. What stands to the
    // left of it is the client's own, and may be anything.
    let mut client = peer;
    let hops = headers.get_all(X_FORWARDED_FOR).iter().rev().flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    for hop in hops {
        let Some(address) = hop_address(hop) else { break };
        client = address;
        if !trusts(address) {
            break;
        }
    }
    client
}

/// The address of one element of `X-Forwarded-For`; some proxies add the port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The host of `host[:port]`.
fn without_port(host: &str) -> &str {
    match memchr::memrchr(b':', host.as_bytes()).map(|at| (&host[..at], &host[at + 1..])) {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The answer on plain HTTP: a refusal for anything that carries a token, a redirect for the rest, to the host that is configured.
fn insecure(
    table: &Table,
    site: &Site,
    request: &Request<Incoming>,
    shape: Shape,
    exchange: Box<Exchange>,
    is_head: bool,
) -> Response<GateBody> {
    // A form on its way to an endpoint has been read along the way, whatever it is answered.
    let form = *request.method() == Method::POST && table.endpoint(site, request.uri().path()).is_some();
    if form || carries_secret(request) {
        let message = "a token came over plain HTTP, where anybody could read it: revoke it, and use HTTPS";
        return answer_with(Reply::new(StatusCode::FORBIDDEN, "token_over_http", message), shape, exchange, is_head);
    }
    let Some(host) =
        table.hosts.iter().filter(|(_, other)| other.id == site.id).map(|(host, _)| host).find(|host| asked_for(request, host))
    else {
        let reply = Reply::new(StatusCode::NOT_FOUND, "host_unknown", "no site has this host name here");
        return answer_with(reply, shape, exchange, is_head);
    };
    let port = table.https_port.map(|port| format!(":{port}")).unwrap_or_default();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // `*`, and a query behind no path, would stand in the authority.
    let target = if target == "*" { "" } else { target };
    let root = if target.starts_with('/') { "" } else { "/" };
    let location = HeaderValue::from_str(&format!("https://{host}{port}{root}{target}"));
    let reply = Reply::new(StatusCode::PERMANENT_REDIRECT, "redirect_to_https", "use HTTPS");
    let reply = match location {
        Ok(location) => reply.with(LOCATION, location),
        Err(_) => Reply::new(StatusCode::BAD_REQUEST, Reason::PathInvalid.code(), "the path cannot be asked for"),
    };
    answer_with(reply, shape, exchange, is_head)
}

fn asked_for(request: &Request<Incoming>, host: &str) -> bool {
    let asked = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    asked.is_some_and(|asked| without_port(asked).eq_ignore_ascii_case(host))
}

/// Whether anything in the head could be a credential.
fn carries_secret(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    if headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE) {
        return true;
    }
    let query = request.uri().query().unwrap_or_default().as_bytes();
    match Pairs::parse(query, Reason::QueryInvalid) {
        Ok(pairs) => pairs.iter().any(|(key, _)| SECRET_KEYS.contains(&key)),
        Err(_) => true,
    }
}

/// Parameters that carry secrets in Frappe or OAuth.
const SECRET_KEYS: [&str; 10] =
    ["access_token", "token", "sid", "pwd", "usr", "client_secret", "refresh_token", "code", "password", "api_secret"];

impl Service for Front {
    type Body = GateBody;

    async fn call(&self, connection: &Arc<Connection>, arrival: Arrival) -> Response<GateBody> {
        match arrival {
            Ok(request) => self.request(connection, request).await,
            Err(violation) => self.violation(connection, violation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_last_trusted_proxy_heard_from() {
        let trusted: [IpNet; 2] = ["127.0.0.1/32".parse().expect("a network"), "10.0.0.0/8".parse().expect("a network")];
        let rows: [(&[&[u8]], &str); 13] = [
            (&[], "127.0.0.1"),
            (&[b"192.0.2.1"], "192.0.2.1"),
            (&[b"203.0.113.9, 192.0.2.1, 10.0.0.1"], "192.0.2.1"),
            (&[b"203.0.113.9", b"192.0.2.1"], "192.0.2.1"),
            // What the client claimed itself hides nothing, whatever it is.
            (&[b"\xff, 192.0.2.1"], "192.0.2.1"),
            (&[b"evil, 192.0.2.1"], "192.0.2.1"),
            (&[b",,192.0.2.1"], "192.0.2.1"),
            (&[b"192.0.2.1:5678"], "192.0.2.1"),
            (&[b"[2001:db8::1]:99"], "2001:db8::1"),
            (&[b"2001:db8::1"], "2001:db8::1"),
            (&[b"::ffff:192.0.2.1"], "192.0.2.1"),
            (&[b"unknown, 10.0.0.2"], "10.0.0.2"),
            (&[b"\xff"], "127.0.0.1"),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("a header value"));
            }
            let client = |peer: &str| client_of(&trusted, peer.parse().expect("an address"), &headers).to_string();
            assert_eq!(client("127.0.0.1"), expected, "{values:?}");
            assert_eq!(client("192.0.2.77"), "192.0.2.77", "a stranger speaks for himself: {values:?}");
        }
    }

    #[test]
    fn a_host_has_its_port_taken_off() {
        for (host, name) in
            [("a.test", "a.test"), ("a.test:8443", "a.test"), ("[::1]", "[::1]"), ("[::1]:443", "[::1]"), ("a.test:x", "a.test:x")]
        {
            assert_eq!(without_port(host), name);
        }
    }
}
