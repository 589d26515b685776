//! What crosses the gate, header by header: pure functions over header maps.
//!
//! Towards the upstream a list says what may pass, because Frappe and gunicorn believe far more headers than their documentation names
//! (FACTS section 2.4 rule 7). Towards the client a list says what may not, because apps have headers of their own that their clients
//! need. `Content-Length` and `Transfer-Encoding` are never copied upstream: hyper writes the framing anew from the body that is sent.

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION,
    SERVER, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::upstream::Via;

/// What the gate itself says in a request.
pub struct RequestHeaders<'a> {
    /// `Host`, and `X-Frappe-Site-Name`, which beats it (T290): the site as Frappe knows it. Frappe reads it as a directory name, so its
    /// case counts (T298).
    pub site: &'a HeaderValue,
    pub via: &'a Via,
    pub request_id: &'a HeaderValue,
    /// The complete `Authorization`, marked sensitive.
    pub credential: &'a HeaderValue,
    /// What the site's config lets through besides the built-in list.
    pub extra_allowed: &'a HeaderSet,
    /// Of the body that goes upstream; `None` without one.
    pub content_type: Option<&'a HeaderValue>,
}

/// The headers of the upstream request, made from the client's, which stay as they are: a second try makes them again.
///
/// `Accept-Encoding` and `Content-Encoding` are not on the list: a compressed body would hide its parameters from the policy.
/// `Range` is not, because no API answer is read in parts; `Referer` is not, because it may carry a secret of the page it names.
pub fn to_upstream(client: &HeaderMap, ours: &RequestHeaders<'_>) -> HeaderMap {
    let named = named_in_connection(client);
    let mut headers = HeaderMap::with_capacity(PASSING_USUALLY + OURS_MAX);
    headers.insert(HOST, ours.site.clone());
    for name in client.keys() {
        let Some(repeats) = repeats(name, ours.extra_allowed).filter(|_| !named.contains(name)) else { continue };
        // Frappe answers in HTML to whatever prefers text (T417): all lines of this header are replaced.
        if *name == ACCEPT && client.get(name).is_some_and(starts_with_text) {
            continue;
        }
        for value in client.get_all(name).iter().take(repeats.most()) {
            headers.append(name.clone(), value.clone());
        }
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, APPLICATION_JSON);
    }
    if let Some(content_type) = ours.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    headers.insert(AUTHORIZATION, ours.credential.clone());
    headers.insert(X_FRAPPE_SITE_NAME, ours.site.clone());
    // Frappe believes the first address of the list (T296) and, without one, `Remote-Addr` (T296b): one address, the client's.
    headers.insert(X_FORWARDED_FOR, ours.via.client.clone());
    headers.insert(X_FORWARDED_PROTO, if ours.via.secure { HTTPS } else { HTTP });
    headers.insert(X_REQUEST_ID, ours.request_id.clone());
    headers
}

/// The names by which an upstream may call itself in a `Location`: its address and the site's name at Frappe.
#[derive(Clone, Debug, Default)]
pub struct InnerHosts(Vec<Box<str>>);

impl InnerHosts {
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(hosts.into_iter().map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase().into()).collect())
    }

    fn contains(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        self.0.iter().any(|inner| inner.eq_ignore_ascii_case(host))
    }
}

/// Makes the headers of an answer fit for the client.
///
/// Dropped: what concerns only the connection to the upstream, what speaks for the gate (CORS, challenges, limits, HSTS, `Alt-Svc`),
/// sessions, and what tells how the inside is built. An answer that says nothing about caching was made for one principal and is kept
/// by no cache; an app that does say something is believed.
///
/// A `Location` that names an inner host becomes a path, so that a client neither learns that name nor carries its token past the gate.
/// Other places are left alone: an RPC may send a browser to a payment page.
pub fn to_client(headers: &mut HeaderMap, inner: &InnerHosts) {
    let mut dropped = named_in_connection(headers);
    // Nearly every answer has these two; what is left to drop is seldom anything.
    headers.remove(CONNECTION);
    headers.remove(SERVER);
    dropped.extend(headers.keys().filter(|name| stays_inside(name.as_str())).cloned());
    for name in dropped {
        headers.remove(name);
    }
    if headers.contains_key(LOCATION) {
        settle_location(headers, inner);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, PRIVATE_NO_STORE);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

/// Names of request headers that the site's config lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSet(Box<[HeaderName]>);

impl HeaderSet {
    /// Refuses what no config may let through: credentials, identity, tenant, forwarding and method-override headers, hop-by-hop
    /// headers, framing, and every name outside `[A-Za-z0-9-]` (with `SCRIPT_NAME` gunicorn 21 and 23 serve another path: R25, T620, T624).
    pub fn parse(names: &[impl AsRef<str>]) -> Result<Self, String> {
        names.iter().map(|name| parse_allowed(name.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }
}

fn parse_allowed(name: &str) -> Result<HeaderName, String> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("request header `{name}` cannot be let through: a name has only letters, digits and `-`"));
    }
    let lower = name.to_ascii_lowercase();
    if NEVER_UPSTREAM.contains(&lower.as_str()) || NEVER_UPSTREAM_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(format!("request header `{name}` cannot be let through: the upstream would believe it; remove it from the list"));
    }
    HeaderName::from_bytes(lower.as_bytes()).map_err(|_| format!("request header `{name}` is no header name"))
}

#[derive(Clone, Copy)]
enum Repeats {
    /// One line; later ones are not sent, since who reads which of them is anyone's guess.
    Once,
    List,
}

impl Repeats {
    const fn most(self) -> usize {
        match self {
            Self::Once => 1,
            Self::List => usize::MAX,
        }
    }
}

/// `None` for a header that does not pass. `Content-Type` is written anew, from what the body was read as.
fn repeats(name: &HeaderName, extra_allowed: &HeaderSet) -> Option<Repeats> {
    match *name {
        ACCEPT | ACCEPT_LANGUAGE | IF_NONE_MATCH => Some(Repeats::List),
        USER_AGENT | IF_MODIFIED_SINCE => Some(Repeats::Once),
        CONTENT_TYPE => None,
        _ => match name.as_str() {
            "traceparent" => Some(Repeats::Once),
            "tracestate" => Some(Repeats::List),
            _ => extra_allowed.contains(name).then_some(Repeats::List),
        },
    }
}

/// RFC 9110 section 7.6.1: a `Connection` header ends at the next hop with everything it names.
fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    // Nearly every `Connection` says one of these two and nothing more.
    let telling = values.filter(|value| ![&b"keep-alive"[..], b"close", b"Keep-Alive"].contains(&value.as_bytes()));
    let names = telling.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

fn starts_with_text(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii_start().get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"text"))
}

fn stays_inside(name: &str) -> bool {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authentication-info"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings" => true,
        "set-cookie" | "set-cookie2" => true,
        "server" | "via" | "x-powered-by" | "x-page-name" | "x-from-cache" | "x-sendfile" | "x-request-id" => true,
        "www-authenticate" | "authentication-info" | "alt-svc" | "strict-transport-security" | "ratelimit" | "ratelimit-policy" => true,
        _ => ["x-frappe-", "x-accel-", "x-ratelimit-", "ratelimit-", "access-control-"].iter().any(|prefix| name.starts_with(prefix)),
    }
}

fn settle_location(headers: &mut HeaderMap, inner: &InnerHosts) {
    let Some(location) = headers.remove(LOCATION) else { return };
    let bytes = location.as_bytes();
    // Browsers skip tabs and read `\` as `/`, so that `/<tab>/host` is a host to them.
    if bytes.iter().any(|&byte| byte <= b' ' || byte == b'\\') || bytes.starts_with(b"//") {
        return;
    }
    let settled = match Uri::try_from(bytes) {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => match uri.host() {
            Some(host) if inner.contains(host) => {
                let path = uri.path_and_query().map(|path| path.as_str()).filter(|path| !path.starts_with("//"));
                path.and_then(|path| HeaderValue::try_from(path).ok())
            }
            _ => Some(location),
        },
        // A path, from the root or relative. Any other scheme is nothing that an API sends a client to.
        _ if bytes.starts_with(b"/") || !bytes.contains(&b':') => Some(location),
        _ => None,
    };
    if let Some(settled) = settled {
        headers.insert(LOCATION, settled);
    }
}

/// Headers of our own in a request, at most, and of the client's in most requests.
const OURS_MAX: usize = 9;
const PASSING_USUALLY: usize = 3;

const X_FRAPPE_SITE_NAME: HeaderName = HeaderName::from_static("x-frappe-site-name");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const PRIVATE_NO_STORE: HeaderValue = HeaderValue::from_static("private, no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

const NEVER_UPSTREAM: [&str; 34] = [
    // Who is asking.
    "authorization",
    "proxy-authorization",
    "cookie",
    "cookie2",
    "frappe-authorization-source",
    "remote-addr",
    "remote-user",
    "x-real-ip",
    "x-client-ip",
    "x-remote-user",
    "true-client-ip",
    "client-ip",
    "forwarded",
    "via",
    // What is asked, of whom.
    "host",
    "x-host",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-script-name",
    "script-name",
    "path-info",
    "x-method-override",
    "x-use-x-accel-redirect",
    "x-request-id",
    // How it is framed.
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "content-encoding",
    "upgrade",
    "expect",
];
const NEVER_UPSTREAM_PREFIXES: [&str; 8] =
    ["x-forwarded-", "x-frappe-", "x-http-method", "x-accel-", "proxy-", "http2-", "sec-websocket-", "accept-encoding"];

#[cfg(test)]
mod tests;
