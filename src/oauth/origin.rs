//! Origins of web pages, exactly as a browser sends them (RFC 6454 section 6.2), since they are compared byte by byte.

// `core`, not `std`: an address is data, and this rule book opens no socket.
use core::net::Ipv6Addr;

/// The longest origin, in bytes: scheme, the longest host that DNS allows, and a port.
pub const ORIGIN_BYTES_MAX: usize = 8 + HOST_BYTES_MAX + 6;

/// The longest host name, in bytes: what DNS allows.
pub const HOST_BYTES_MAX: usize = 253;

/// Whether pages of `origin` may be let in; the error says what to write instead.
pub fn check(origin: &str) -> Result<(), String> {
    let remedy = "write it like \"https://app.example.com\"";
    if origin == "*" || origin == "null" {
        return Err(format!("`{origin}` would let any web page use a token it gets hold of; name each origin: {remedy}"));
    }
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let (name, port) = host_and_port(authority);
    let default_port = if scheme == "https" { "443" } else { "80" };
    let good_port =
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port) && port != default_port);
    if ["https", "http"].contains(&scheme) && is_host(name) && good_port {
        return Ok(());
    }
    Err(format!(
        "`{}` is not an origin as browsers send it: scheme, lower-case host, port unless it is {default_port}, no path; {remedy}",
        origin.escape_debug()
    ))
}

/// The host of an origin that was checked, without its port.
pub fn host(origin: &str) -> &str {
    host_and_port(origin.split_once("://").map_or(origin, |(_, authority)| authority)).0
}

/// Whether `host` is this machine to every browser.
pub fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

/// A host as browsers write it: a name in lower case, or an IPv6 address in brackets and in its shortest form.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    is_name(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether DNS could know `text`, in whichever case.
pub fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (origin, name) in [
            ("https://app.example.com", "app.example.com"),
            ("https://app.example.com:8443", "app.example.com"),
            ("http://localhost:5173", "localhost"),
            ("http://[::1]:5173", "[::1]"),
            ("https://[2001:db8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!((check(origin), host(origin)), (Ok(()), name), "{origin}");
        }
    }

    #[test]
    fn what_no_browser_sends_would_never_match() {
        for origin in [
            "",
            "*",
            "null",
            "app.example.com",
            "//app.example.com",
            "https://",
            "https://*.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://App.example.com",
            "HTTPS://app.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://app.example.com:0",
            "https://app.example.com:08443",
            "https://app.example.com:65536",
            "https://app.example.com:",
            "https://[2001:DB8::1]",
            "https://[0:0:0:0:0:0:0:1]",
            "https://[::1",
            "https://app.example.com\r\nX: y",
            "file://x",
            "chrome-extension://abc",
        ] {
            assert!(check(origin).is_err(), "{origin}");
        }
    }
}
