//! `request_headers`: which names a site may let through besides the built-in ones.

use http::HeaderName;

/// Who the request is from, where it goes, how it is framed: only the gate says so (DESIGN sections 4 and 10, FACTS 2.4 rule 7).
const FORBIDDEN: [&str; 26] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "frappe-authorization-source",
    "front-end-https",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "path-info",
    "remote-addr",
    "script-name",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
const FORBIDDEN_BELOW: [&str; 12] = [
    "cf-connecting-",
    "proxy-",
    "sec-websocket-",
    "x-accel-",
    "x-client-ip",
    "x-forwarded",
    "x-frappe-",
    "x-http-method",
    "x-method-override",
    "x-original-",
    "x-rewrite-",
    "x-use-x-accel-",
];

/// A header that may pass, in lower case.
pub fn extra(text: &str) -> Result<HeaderName, String> {
    if text.contains('_') {
        return Err(format!("`{text}` has a `_`, which WSGI servers take for `-`; write a name with `-`, and send it like that"));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("`{text}` is not the name of a header; write letters, digits and `-`, like \"X-Warehouse\" (no patterns)"));
    }
    let name = text.to_ascii_lowercase();
    if FORBIDDEN.contains(&name.as_str()) || FORBIDDEN_BELOW.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("`{text}` says who or where a request is, which only the gate may say; remove it"));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{text}` is not the name of a header; remove it"))
}
