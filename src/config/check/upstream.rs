//! `[upstream]`, and `[site.upstream]` where one site differs: how servers are reached and when they rest.

use std::time::Duration;

use crate::config::quantity::{KIB, MIB};
use crate::config::section::Section;
use crate::upstream::{ServerUrl, Settings};

const MOMENT: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

pub fn defaults() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Duration::from_secs(60),
        // gunicorn's workers are killed after 120 s in every usual installation of Frappe.
        total_timeout: Duration::from_secs(120),
        idle_timeout: Duration::from_secs(30),
        idle_max: 64,
        head_bytes_max: 64 << 10,
        failures_max: 3,
        rest: Duration::from_secs(5),
        check_interval: Some(Duration::from_secs(10)),
        check_path: "/api/method/ping".to_owned(),
    }
}

/// The settings of this section, `defaults` where it says nothing.
pub fn settings(section: &Section<'_>, defaults: &Settings) -> Settings {
    let settings = Settings {
        connect_timeout: section.time("connect_timeout", defaults.connect_timeout, &(MOMENT..=MINUTE)),
        first_byte_timeout: section.time("first_byte_timeout", defaults.first_byte_timeout, &(MOMENT..=HOUR)),
        total_timeout: section.time("total_timeout", defaults.total_timeout, &(MOMENT..=24 * HOUR)),
        idle_timeout: section.time("idle_timeout", defaults.idle_timeout, &(MOMENT..=HOUR)),
        idle_max: section.whole("idle_max", defaults.idle_max as u64, 0..=10_000) as usize,
        // hyper's HTTP/1 reader wants a buffer of at least 8 KiB.
        head_bytes_max: section.memory("head_bytes_max", defaults.head_bytes_max as u64, 8 * KIB..=MIB),
        failures_max: section.whole("failures_max", u64::from(defaults.failures_max), 1..=1000) as u32,
        rest: section.time("rest", defaults.rest, &(MOMENT..=HOUR)),
        check_interval: section.time_if_wanted("check_interval", defaults.check_interval, &(MOMENT..=HOUR)),
        check_path: section.text("check_path", path).unwrap_or_else(|| defaults.check_path.clone()),
    };
    // What a site does not say has been judged in `[upstream]`.
    let said = section.has("first_byte_timeout") || section.has("total_timeout");
    if said && settings.first_byte_timeout > settings.total_timeout {
        section.refuse("first_byte_timeout", "is longer than `total_timeout`, and could never pass; raise `total_timeout` as well");
    }
    settings
}

/// Reads `http://host:port`. An address with a password in it is not repeated.
pub fn server(text: &str) -> Result<ServerUrl, String> {
    let remedy = "write it like \"http://127.0.0.1:8000\" or \"https://erp.internal\"";
    if text.contains('@') {
        return Err(format!("a user or password has no place in an upstream; {remedy}, and use `credential`"));
    }
    let refuse = |why: &str| format!("`{text}` {why}; {remedy}");
    let (tls, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return Err(refuse("is not an http or https URL")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '\\']) {
        return Err(refuse("has a path; only a server can be named"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("")) })
        }
        Some(_) => return Err(refuse("has no IPv6 address between its brackets")),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let named = !host.is_empty() && host.len() <= 253 && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    if !named {
        return Err(refuse("names no server"));
    }
    let port = match port {
        None => Some(if tls { 443 } else { 80 }),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().filter(|&port| port != 0),
        Some(_) => None,
    };
    let port: u16 = port.ok_or_else(|| refuse("has no port from 1 to 65535"))?;
    Ok(ServerUrl { tls, host: host.to_ascii_lowercase(), port })
}

/// Reads a path that means the same to every server: absolute, and nothing in it to decode, to resolve or to cut off.
pub fn path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let canonical = text.starts_with('/')
        && text.bytes().all(plain)
        && !text.contains("//")
        && !text.split('/').any(|segment| segment == "." || segment == "..");
    if canonical {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a plain path; write it from the first slash, like \"/api/method/ping\", without `%`, `?`, `..` or `//`"))
}
