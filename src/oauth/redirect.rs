//! Redirect URIs: which may be registered, and which of a client's a request may name.
//!
//! A request names one exactly, byte by byte (RFC 9700 section 2.1); only the port of a loopback address may differ, because a native
//! app takes whichever is free (RFC 8252 section 7.3).

/// The longest redirect URI, in bytes.
pub const REDIRECT_URI_BYTES_MAX: usize = 2048;

/// Schemes that a browser runs or shows in the page of whoever sends it there.
const DANGEROUS_SCHEMES: [&str; 8] = ["javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source"];

/// The parts of an absolute URI, as far as the rules look at them.
struct Parts<'a> {
    scheme: &'a str,
    /// What stands behind `//`; `None` for a URI like `com.example.app:/callback`.
    authority: Option<&'a str>,
    /// Path and query.
    rest: &'a str,
}

fn parts(uri: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = uri.split_once(':')?;
    let good_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    if !good_scheme {
        return None;
    }
    match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            Some(Parts { scheme, authority: Some(&rest[..end]), rest: &rest[end..] })
        }
        None => Some(Parts { scheme, authority: None, rest }),
    }
}

/// Whether a client may register `uri`; the error says what is wrong with it.
pub fn check(uri: &str) -> Result<(), &'static str> {
    if uri.is_empty() || uri.len() > REDIRECT_URI_BYTES_MAX {
        return Err("is empty or longer than 2048 bytes");
    }
    if !uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err("has a character that a URI cannot have");
    }
    if uri.contains('#') {
        return Err("has a fragment, which would swallow the answer (RFC 6749 section 3.1.2)");
    }
    if uri.contains('*') {
        return Err("has a `*`; patterns are not supported, name every URI");
    }
    let Some(parts) = parts(uri) else { return Err("is not an absolute URI with a lower-case scheme") };
    if DANGEROUS_SCHEMES.contains(&parts.scheme) {
        return Err("has a scheme that a browser would run");
    }
    match (parts.scheme, parts.authority) {
        ("https" | "http", None | Some("")) => Err("has no host"),
        ("https" | "http", Some(authority)) if authority.contains('@') => Err("has a user name in its host"),
        ("https", Some(authority)) => port(authority).map(drop),
        ("http", Some(authority)) if is_loopback(host(authority)) => port(authority).map(drop),
        ("http", Some(_)) => Err("is plain HTTP to another machine, where the code could be read along the way; use https"),
        // RFC 8252 section 7.1: a scheme of an app is a domain name in reverse, so that it is the app's own.
        (scheme, _) if scheme.contains('.') => Ok(()),
        _ => Err("has a scheme that is nobody's own; a native app uses its domain in reverse, like com.example.app:/callback"),
    }
}

fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    }
}

fn port(authority: &str) -> Result<Option<u16>, &'static str> {
    let text = &authority[host(authority).len()..];
    match text.strip_prefix(':') {
        None => Ok(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(0) | Err(_) => Err("has a port that is none"),
            Ok(port) => Ok(Some(port)),
        },
        Some(_) => Err("has a port that is none"),
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Whether `asked` is the registered URI. Both have passed [`check`].
pub fn matches(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    if check(asked).is_err() {
        return false;
    }
    let (Some(one), Some(other)) = (parts(registered), parts(asked)) else { return false };
    let (Some(at), Some(asked_at)) = (one.authority, other.authority) else { return false };
    one.scheme == "http" && other.scheme == "http" && is_loopback(host(at)) && host(at) == host(asked_at) && one.rest == other.rest
}

/// Where a browser ends up that is sent to a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A web server: its host, and its port if there is one.
    Web(&'a str),
    /// Whatever listens on the user's own machine.
    Loopback(&'a str),
    /// Whatever app has taken this scheme on the user's device.
    App(&'a str),
}

/// `None` for what [`check`] refuses.
pub fn destination(uri: &str) -> Option<Destination<'_>> {
    let parts = parts(uri)?;
    match (parts.scheme, parts.authority) {
        ("http" | "https", Some(authority)) if is_loopback(host(authority)) => Some(Destination::Loopback(authority)),
        ("http" | "https", Some(authority)) => Some(Destination::Web(authority)),
        ("http" | "https", None) => None,
        (scheme, _) => Some(Destination::App(scheme)),
    }
}

/// What `form-action` must allow, so that a browser follows the redirect behind a form (CSP 3 section 6.4.1.2 applies it to redirects):
/// an origin, or the scheme of an app.
pub fn form_target(uri: &str) -> Option<String> {
    let parts = parts(uri)?;
    // CSP knows no IPv6 addresses (section 2.3.1, `host-char`), and a `;` or `,` in a host would end the directive.
    let host_source = |authority: &str| authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte));
    match (parts.scheme, parts.authority) {
        ("https" | "http", Some(authority)) if host_source(authority) => Some(format!("{}://{authority}", parts.scheme)),
        (scheme, _) => Some(format!("{scheme}:")),
    }
}

/// `uri` with `query` added to what it has.
pub fn with_query(uri: &str, query: &str) -> String {
    let joint = if !uri.contains('?') {
        "?"
    } else if uri.ends_with(['?', '&']) {
        ""
    } else {
        "&"
    };
    [uri, joint, query].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_registered() {
        for uri in [
            "https://app.example.com/callback",
            "https://app.example.com",
            "https://app.example.com:8443/cb?tenant=1",
            "https://[2001:db8::1]:8443/cb",
            "http://127.0.0.1/cb",
            "http://localhost:3000/cb",
            "http://[::1]:5000/cb",
            "com.example.app:/callback",
            "com.example.app://callback",
        ] {
            assert_eq!(check(uri), Ok(()), "{uri}");
        }
    }

    #[test]
    fn what_may_not() {
        let long = format!("https://a.example/{}", "a".repeat(REDIRECT_URI_BYTES_MAX));
        for uri in [
            "",
            "/callback",
            "app.example.com/cb",
            "//app.example.com/cb",
            "https:///cb",
            "https:cb",
            "https://a.example/cb#part",
            "https://a.example/*",
            "https://*.a.example/cb",
            "https://user@a.example/cb",
            "https://a.example\\@evil.example/cb",
            "https://a.example:99999/cb",
            "https://a.example:0/cb",
            "https://a.example:x/cb",
            "https://a.example/c b",
            "https://a.example/\u{e9}",
            "https://a.example/<script>",
            "HTTPS://a.example/cb",
            "http://a.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
            "http://10.0.0.1/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "myapp:/cb",
            "urn:ietf:wg:oauth:2.0:oob",
            &long,
        ] {
            assert!(check(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_request_names_one_exactly_but_for_a_loopback_port() {
        let rows = [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example/cb?x=1", false),
            ("https://a.example/cb", "https://a.example:443/cb", false),
            ("https://a.example/cb", "https://a.example:8443/cb", false),
            ("https://a.example/cb", "https://a.example/CB", false),
            ("https://a.example/cb", "http://a.example/cb", false),
            ("https://a.example/cb", "https://b.example/cb", false),
            ("https://localhost/cb", "https://localhost:1/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:51004/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb", "http://[::1]:51004/cb", true),
            ("http://localhost/cb", "http://localhost:51004/cb", true),
            ("http://127.0.0.1/cb", "http://localhost:51004/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?x", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004.evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb#x", false),
            ("com.example.app:/cb", "com.example.app:/cb", true),
            ("com.example.app:/cb", "com.example.app:/cb2", false),
        ];
        for (registered, asked, expected) in rows {
            assert_eq!(matches(registered, asked), expected, "{registered} {asked}");
        }
    }

    #[test]
    fn where_a_browser_ends_up() {
        let rows = [
            ("https://app.example.com/cb", Some(Destination::Web("app.example.com"))),
            ("https://app.example.com:8443", Some(Destination::Web("app.example.com:8443"))),
            ("http://127.0.0.1:51004/cb", Some(Destination::Loopback("127.0.0.1:51004"))),
            ("http://[::1]/cb", Some(Destination::Loopback("[::1]"))),
            ("https://localhost:3000/cb", Some(Destination::Loopback("localhost:3000"))),
            ("https://localhost.evil.example/cb", Some(Destination::Web("localhost.evil.example"))),
            ("com.example.app:/cb", Some(Destination::App("com.example.app"))),
            ("com.example.app://localhost/cb", Some(Destination::App("com.example.app"))),
            ("https:cb", None),
            ("cb", None),
        ];
        for (uri, expected) in rows {
            assert_eq!(destination(uri), expected, "{uri}");
        }
    }

    #[test]
    fn an_answer_is_added_to_what_is_there() {
        assert_eq!(with_query("https://a.example/cb", "code=1"), "https://a.example/cb?code=1");
        assert_eq!(with_query("https://a.example/cb?t=1", "code=1"), "https://a.example/cb?t=1&code=1");
        assert_eq!(with_query("https://a.example/cb?", "code=1"), "https://a.example/cb?code=1");
        assert_eq!(form_target("https://a.example:8443/cb?x").as_deref(), Some("https://a.example:8443"));
        assert_eq!(form_target("com.example.app:/cb").as_deref(), Some("com.example.app:"));
        assert_eq!(form_target("http://[::1]:5000/cb").as_deref(), Some("http:"), "CSP has no IPv6");
        assert_eq!(form_target("https://a.example;script-src/cb").as_deref(), Some("https:"), "nothing ends the directive");
    }
}
