//! One request as it came, and what Frappe reads from its head: the site's own URL, cookies.

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, Method};

use crate::pocket::form::percent_decoded;

/// One request, its body read to the end.
pub(super) struct Request {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// `Host` as it was sent, port and letter case included (T297, T298).
    pub fn host(&self) -> &str {
        self.headers.get(HOST).and_then(|value| value.to_str().ok()).filter(|host| !host.is_empty()).unwrap_or("localhost")
    }

    /// What the site believes to be its address: whatever `Host` and `X-Forwarded-Proto` say (T293, T294).
    pub fn origin(&self) -> String {
        let secure = self.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
        format!("{}://{}", if secure { "https" } else { "http" }, self.host())
    }

    /// werkzeug's `request.url`: escapes in the query are undone, but for those that would change its meaning (T10).
    pub fn url(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", unescaped_query(&self.query)) };
        format!("{}{}{query}", self.origin(), self.path)
    }

    /// A cookie, its escapes undone.
    pub fn cookie(&self, name: &str) -> Option<String> {
        cookie(&self.headers, name).map(percent_decoded)
    }
}

/// The first cookie of that name, as it was sent.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
        let (key, value) = cookie.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Percent-encodes as Python's `quote(text, safe="")`, which `urlencode(quote_via=quote)` uses.
pub(super) fn quoted(text: &str) -> String {
    encoded(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// Percent-encodes whatever cannot stand in a `Location`, and `\`, which browsers take for `/`.
pub(super) fn location(text: &str) -> String {
    encoded(text, |byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'`'))
}

/// Keeps the bytes that may stand for themselves, escapes the rest.
pub(super) fn encoded(text: &str, stands: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stands(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes runs of escapes, except those of controls, spaces, `%`, `&`, `=`, `+` and `#`.
fn unescaped_query(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // Runs, because one character may be several escapes.
        let mut run = 0;
        while let Some(byte) = escape(&rest[run..]).filter(|byte| !matches!(byte, 0..=0x20 | 0x7f | b'%' | b'&' | b'=' | b'+' | b'#')) {
            run += 3;
            if byte.is_ascii() {
                break;
            }
        }
        if run == 0 {
            out.push('%');
            rest = &rest[1..];
        } else {
            let decoded = percent_decoded(&rest[..run]);
            // What is no UTF-8 stays escaped.
            out.push_str(if decoded.contains('\u{fffd}') { &rest[..run] } else { &decoded });
            rest = &rest[run..];
        }
    }
    out + rest
}

/// The byte that the text escapes at its start.
fn escape(text: &str) -> Option<u8> {
    let [b'%', high, low, ..] = *text.as_bytes() else { return None };
    Some((char::from(high).to_digit(16)? * 16 + char::from(low).to_digit(16)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::{location, quoted, unescaped_query};

    #[test]
    fn a_query_is_unescaped_where_its_meaning_stays() {
        for (query, expected) in [
            (
                "redirect_uri=http%3A%2F%2F127.0.0.1%3A9999%2Fcb&scope=all%20openid",
                "redirect_uri=http://127.0.0.1:9999/cb&scope=all%20openid",
            ),
            ("state=a%26b%3Dc%2B%23", "state=a%26b%3Dc%2B%23"),
            ("state=%2541", "state=%2541"),
            ("state=%0d%0a%00", "state=%0d%0a%00"),
            ("name=%C3%BCber", "name=über"),
            ("name=%C3%26", "name=%C3%26"),
            ("a=100%&b=%zz%4", "a=100%&b=%zz%4"),
        ] {
            assert_eq!(unescaped_query(query), expected);
        }
    }

    #[test]
    fn quoting_leaves_no_way_out_of_a_header() {
        assert_eq!(quoted("http://a/b c~é"), "http%3A%2F%2Fa%2Fb%20c~%C3%A9");
        assert_eq!(location("/\\evil.example/\r\nSet-Cookie: a\té"), "/%5Cevil.example/%0D%0ASet-Cookie:%20a%09%C3%A9");
    }
}
