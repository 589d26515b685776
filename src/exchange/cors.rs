//! CORS, answered at the gate: for the origins that the site names, and for none by default (Fetch standard, section 3.3).

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

/// The origin of a request, if it is among `allowed`, whose pages the site lets in.
pub fn origin(allowed: &[HeaderValue], headers: &HeaderMap) -> Option<HeaderValue> {
    if allowed.is_empty() {
        return None;
    }
    let mut values = headers.get_all(ORIGIN).iter();
    let origin = values.next()?;
    (values.next().is_none() && allowed.contains(origin)).then(|| origin.clone())
}

/// Says on an answer, whatever it is, that the page of `origin` may read it.
pub fn allow(headers: &mut HeaderMap, allowed: &[HeaderValue], origin: Option<HeaderValue>) {
    if allowed.is_empty() {
        return;
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

/// The answer to `OPTIONS`: a preflight where the origin is let in, else what the API takes. Frappe would answer anything (T107, T544), so
/// nothing of it goes upstream.
pub fn options(headers: &HeaderMap, origin: Option<&HeaderValue>) -> (StatusCode, HeaderMap) {
    let mut answer = HeaderMap::new();
    if headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) && origin.is_some() {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        answer.insert(ALLOW, METHODS);
    }
    (StatusCode::NO_CONTENT, answer)
}
