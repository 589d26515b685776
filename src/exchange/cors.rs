//! CORS, answered at the gate: for the origins that the site or one of its clients names, and for none by default (Fetch standard, section 3.3).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// What a page may send: the headers of an API call, and no cookie.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, accept, accept-language, x-frappe-csrf-token");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("www-authenticate, retry-after, ratelimit, ratelimit-policy, x-request-id, content-disposition");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Seconds for which a browser remembers a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The longest origin that is looked up, in bytes: a scheme, a host name of the longest, and a port.
const ORIGIN_BYTES_MAX: usize = 300;

/// The origin that a request names, where `differs` says that it may matter. Two of them are none.
pub fn page(differs: bool, headers: &HeaderMap) -> Option<HeaderValue> {
    if !differs {
        return None;
    }
    let mut values = headers.get_all(ORIGIN).iter();
    let origin = values.next()?;
    values.next().is_none().then(|| origin.clone())
}

/// An origin as text, if it could be a client's. `null` could not: every sandboxed page has that one.
pub fn text(origin: &HeaderValue) -> Option<&str> {
    origin.to_str().ok().filter(|text| text.len() <= ORIGIN_BYTES_MAX && text.contains("://"))
}

/// Says on an answer, whatever it is, whether the page of `origin` may read it. Called wherever that could be another for another page.
pub fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

/// The answer to `OPTIONS`: a preflight where the origin is let in, else what the API takes. Frappe would answer anything (T107, T544), so
/// nothing of it goes upstream.
pub fn options(headers: &HeaderMap, lets_in: bool) -> (StatusCode, HeaderMap) {
    let mut answer = HeaderMap::new();
    if headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) && lets_in {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        answer.insert(ALLOW, METHODS);
    }
    (StatusCode::NO_CONTENT, answer)
}
