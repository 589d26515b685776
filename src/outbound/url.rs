//! The URL of a document, as "OAuth Client ID Metadata Document" (draft-ietf-oauth-client-id-metadata-document) lets a client bear it.
//!
//! Such a URL is a name before it is a place: it is compared byte by byte, stored, and shown to a person who decides by it. So one
//! spelling only: no upper-case host, no `:443`, no octal address, no escape of what needs none. The draft takes a query, if
//! reluctantly; here there is none, so that nobody can have the gate act on somebody else's query, nor have a client for each number
//! that they count to. The draft can be read to take `/` for a path; client libraries do not send it and it is refused.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An `https` URL with a host and a path, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpsUrl {
    text: Box<str>,
    host: Host,
    port: u16,
    /// Where the path begins in `text`.
    path: usize,
}

/// A host that was named or numbered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Name(Box<str>),
    Address(IpAddr),
}

impl HttpsUrl {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError("is longer than 512 bytes"));
        }
        let rest = text.strip_prefix("https://").ok_or(UrlError("does not start with `https://`"))?;
        if text.contains('#') {
            return Err(UrlError("has a fragment"));
        }
        if text.contains('?') {
            return Err(UrlError("has a query"));
        }
        let (authority, path) = rest.split_at(rest.find('/').ok_or(UrlError("has no path"))?);
        if authority.contains('@') {
            return Err(UrlError("has a user name or password"));
        }
        let (host, port) = split_port(authority)?;
        let host = Host::parse(host)?;
        let port = port.map_or(Ok(HTTPS), parse_port)?;
        check_path(path)?;
        Ok(Self { text: text.into(), host, port, path: text.len() - path.len() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host alone, as a person should see it.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    /// Host and port as the `Host` field has them.
    pub fn authority(&self) -> &str {
        &self.text["https://".len()..self.path]
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').and_then(|inside| inside.parse::<Ipv6Addr>().ok().filter(|a| a.to_string() == inside));
            return address
                .map(|address| Self::Address(address.into()))
                .ok_or(UrlError("has an IPv6 address that is not in its short form"));
        }
        if text.is_empty() {
            return Err(UrlError("has no host"));
        }
        // No top-level domain begins with a digit, but `127.1`, `0x7f000001` and `2130706433` are addresses to a resolver.
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|first: char| first.is_ascii_digit()) {
            let address = text.parse().map_err(|_| UrlError("has an IPv4 address that is not four decimal numbers"))?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        if text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(UrlError("has a host that is not a DNS name in lower case"));
        }
        Ok(Self::Name(text.into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Why a text is not the URL of a document; reads on from `` `client_id` ``.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlError(&'static str);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UrlError {}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    // The colons of an IPv6 address stand inside its brackets.
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].split_once(':') {
        None => Ok((authority, None)),
        Some((name, port)) => Ok((&authority[..end + name.len()], Some(port))),
    }
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let port = text.parse().ok().filter(|_| digits).ok_or(UrlError("has a port that is not a number from 1 to 65535"))?;
    if port == HTTPS { Err(UrlError("names port 443, which goes without saying")) } else { Ok(port) }
}

fn is_label(label: &str) -> bool {
    let edges = !label.starts_with('-') && !label.ends_with('-');
    let bytes = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    edges && bytes && (1..=LABEL_BYTES_MAX).contains(&label.len())
}

fn check_path(path: &str) -> Result<(), UrlError> {
    if path == "/" {
        return Err(UrlError("has no path but `/`"));
    }
    check_path_bytes(path.as_bytes())?;
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, "." | "..") {
            return Err(UrlError("has a dot segment in its path"));
        }
        if segment.is_empty() && segments.peek().is_some() {
            return Err(UrlError("has an empty segment in its path"));
        }
    }
    Ok(())
}

/// RFC 3986 section 3.3, and of escapes only those that a server cannot take for a letter, a dot or a separator (section 6.2.2.2).
fn check_path_bytes(path: &[u8]) -> Result<(), UrlError> {
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%' {
            let Some((escaped, after)) = unescape(rest) else { return Err(UrlError("has a `%` without two hexadecimal digits")) };
            if is_unreserved(escaped) || matches!(escaped, b'/' | b'\\' | 0..=0x1f | 0x7f) {
                return Err(UrlError("has an escape in its path that can be read in two ways"));
            }
            rest = after;
        } else if !is_unreserved(*byte) && !b"/!$&'()*+,;=:@".contains(byte) {
            return Err(UrlError("has a character that a URL cannot have"));
        }
    }
    Ok(())
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn unescape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (&[high, low], after) = digits.split_first_chunk()?;
    Some((nibble(high)? << 4 | nibble(low)?, after))
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A URL is stored with each grant and shown on the consent page. The message above has the number once more.
const URL_BYTES_MAX: usize = 512;

/// RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

pub(crate) const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_name_a_client() {
        for (text, host, port, authority, path) in [
            ("https://app.example/client.json", "app.example", 443, "app.example", "/client.json"),
            ("https://app.example/c/", "app.example", 443, "app.example", "/c/"),
            ("https://app.example:8443/c", "app.example", 8443, "app.example:8443", "/c"),
            (
                "https://xn--bcher-kva.example/@anna/app_1~x;v=1",
                "xn--bcher-kva.example",
                443,
                "xn--bcher-kva.example",
                "/@anna/app_1~x;v=1",
            ),
            ("https://app.example/b%C3%BCcher", "app.example", 443, "app.example", "/b%C3%BCcher"),
            ("https://app.example/.well-known/...", "app.example", 443, "app.example", "/.well-known/..."),
            ("https://localhost:4000/c", "localhost", 4000, "localhost:4000", "/c"),
            ("https://10.1.2.3/c", "10.1.2.3", 443, "10.1.2.3", "/c"),
            ("https://[fd00::1]:8443/c", "fd00::1", 8443, "[fd00::1]:8443", "/c"),
        ] {
            let url = HttpsUrl::parse(text).expect(text);
            assert_eq!((url.host().to_string().as_str(), url.port(), url.authority(), url.path()), (host, port, authority, path), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn urls_that_do_not() {
        let long = format!("https://app.example/{}", "a".repeat(500));
        let long_label = format!("https://{}.example/c", "a".repeat(64));
        let long_name = format!("https://{}example/c", "abcdefg.".repeat(32));
        for (text, why) in [
            ("", "does not start"),
            ("app.example/c", "does not start"),
            ("http://app.example/c", "does not start"),
            ("HTTPS://app.example/c", "does not start"),
            ("https:/app.example/c", "does not start"),
            (" https://app.example/c", "does not start"),
            ("file:///etc/passwd", "does not start"),
            (&long, "longer than 512"),
            ("https://app.example", "no path"),
            ("https://app.example/", "no path but `/`"),
            ("https://app.example#/c", "a fragment"),
            ("https://app.example/c#", "a fragment"),
            ("https://app.example/c?", "a query"),
            ("https://app.example/c?id=1", "a query"),
            ("https://app.example?/c", "a query"),
            ("https://anna@app.example/c", "a user name"),
            ("https://anna:secret@app.example/c", "a user name"),
            ("https://@app.example/c", "a user name"),
            ("https://app.example:@127.0.0.1/c", "a user name"),
            ("https:///c", "no host"),
            ("https://:8443/c", "no host"),
            ("https://App.example/c", "lower case"),
            ("https://app.example./c", "lower case"),
            ("https://.example/c", "lower case"),
            ("https://app..example/c", "lower case"),
            ("https://-app.example/c", "lower case"),
            ("https://app-.example/c", "lower case"),
            ("https://app_1.example/c", "lower case"),
            ("https://app%2eexample/c", "lower case"),
            ("https://bücher.example/c", "lower case"),
            ("https://app.example\\@127.0.0.1/c", "a user name"),
            ("https://app.example\\.evil.example/c", "lower case"),
            ("https://app example/c", "lower case"),
            ("https://app.example\n/c", "lower case"),
            (&long_label, "lower case"),
            (&long_name, "lower case"),
            ("https://127.1/c", "four decimal"),
            ("https://2130706433/c", "four decimal"),
            ("https://0x7f000001/c", "four decimal"),
            ("https://0x7f.0x0.0x0.0x1/c", "four decimal"),
            ("https://0177.0.0.1/c", "four decimal"),
            ("https://127.0.0.01/c", "four decimal"),
            ("https://127.0.0.1.5/c", "four decimal"),
            ("https://[::FFFF]/c", "short form"),
            ("https://[0:0:0:0:0:0:0:1]/c", "short form"),
            ("https://[::ffff:7f00:1]/c", "short form"),
            ("https://[fe80::1%25eth0]/c", "short form"),
            ("https://[::1/c", "short form"),
            ("https://[::1]x/c", "short form"),
            ("https://::1/c", "no host"),
            ("https://app.example:/c", "has a port"),
            ("https://app.example:0/c", "has a port"),
            ("https://app.example:08443/c", "has a port"),
            ("https://app.example:+8443/c", "has a port"),
            ("https://app.example:65536/c", "has a port"),
            ("https://app.example:80:80/c", "has a port"),
            ("https://app.example:443/c", "port 443"),
            ("https://app.example/./c", "a dot segment"),
            ("https://app.example/a/../c", "a dot segment"),
            ("https://app.example/..", "a dot segment"),
            ("https://app.example/%2e%2e/c", "two ways"),
            ("https://app.example/%2E/c", "two ways"),
            ("https://app.example/a%2Fb", "two ways"),
            ("https://app.example/a%5cb", "two ways"),
            ("https://app.example/a%00", "two ways"),
            ("https://app.example/a%0d%0ab", "two ways"),
            ("https://app.example/%61", "two ways"),
            ("https://app.example/a%", "hexadecimal"),
            ("https://app.example/a%4", "hexadecimal"),
            ("https://app.example/a%+4", "hexadecimal"),
            ("https://app.example//c", "an empty segment"),
            ("https://app.example/a//c", "an empty segment"),
            ("https://app.example/c//", "an empty segment"),
            ("https://app.example//", "an empty segment"),
            ("https://app.example/a b", "cannot have"),
            ("https://app.example/a\tb", "cannot have"),
            ("https://app.example/a\r\nHost: evil", "cannot have"),
            ("https://app.example/a\\b", "cannot have"),
            ("https://app.example/ü", "cannot have"),
            ("https://app.example/<c>", "cannot have"),
            ("https://app.example/\u{202e}c", "cannot have"),
        ] {
            let error = HttpsUrl::parse(text).expect_err(text);
            assert!(error.to_string().contains(why), "{text:?}: {error}");
        }
    }
}
