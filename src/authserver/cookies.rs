//! Cookies: read without guessing, set as strictly as browsers allow.
//!
//! All of them are `__Host-` cookies (RFC 6265bis section 4.1.3.2): no other host and no plain HTTP page can set one here, so a sign-in can
//! be neither planted nor fixed from a neighbouring domain.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Every cookie of the request, in the order sent. HTTP/2 may send them in any number of headers (RFC 9113 section 8.2.3).
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The cookie of that name; `None` where there is none, and where there are two: one of them is somebody else's.
pub fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = all(headers).filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// `Lax`: the browser must bring it along when Frappe sends it back here, and never with another site's form.
pub fn set(name: &str, value: &str, seconds: u64) -> HeaderValue {
    let text = format!("{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax");
    let mut header = HeaderValue::try_from(text).expect("names are ours, or were read as visible ASCII, and values are base64url");
    header.set_sensitive(true);
    header
}

/// Takes a cookie away.
pub fn expire(name: &str) -> HeaderValue {
    set(name, "", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn one_of_a_name_is_read() {
        let rows: [(&[&str], Option<&str>); 11] = [
            (&["a=1"], Some("1")),
            (&["b=2; a=1"], Some("1")),
            (&["b=2", "a=1"], Some("1")),
            (&["a=1=2"], Some("1=2")),
            (&["b=2;a=1 "], Some("1")),
            (&["a="], Some("")),
            (&[], None),
            (&["a"], None),
            (&["A=1"], None),
            (&["xa=1; a.=2"], None),
            (&["a=1; a=2"], None),
        ];
        for (lines, expected) in rows {
            assert_eq!(only(&headers(lines), "a"), expected, "{lines:?}");
        }
        assert_eq!(only(&headers(&["a=1", "a=1"]), "a"), None, "twice the same is twice");
    }

    #[test]
    fn a_cookie_is_of_this_host_alone() {
        let header = set("__Host-sg-x", "v", 600);
        assert_eq!(header, "__Host-sg-x=v; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert!(header.is_sensitive());
        assert_eq!(expire("__Host-sg-x"), "__Host-sg-x=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax");
    }
}
