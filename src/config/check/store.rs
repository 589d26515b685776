//! `[store]`: where tokens are kept, and how fresh an answer must be.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::config::checked::Secret;
use crate::config::section::Section;
use crate::store::{Backend, RedisUrl, Settings};

const EMBEDDED_PATH: &str = "/var/lib/scopegate/scopegate.redb";
const KEY_PREFIX: &str = "sg";
const KEY_PREFIX_MAX: usize = 32;
const ENCRYPTION_KEY_BYTES: usize = 32;

/// The store, and the key for what it keeps sealed.
pub fn store(section: &Section<'_>) -> (Option<Settings>, Option<Secret>) {
    let millis = Duration::from_millis;
    let kind = section.text("kind", |text| match text {
        "embedded" | "redis" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a store; write \"embedded\" (one machine) or \"redis\" (several)")),
    });
    let path = section.path("path");
    let url = section.secret("url", "url_file");
    let prefix = section.text("key_prefix", key_prefix).unwrap_or_else(|| KEY_PREFIX.into());
    let lookup_timeout = section.time("lookup_timeout", millis(50), &(millis(1)..=millis(10_000)));
    let cache_entries_max = section.whole("cache_entries_max", 1_000_000, 1..=100_000_000);
    let revocation_bound = section.time("revocation_bound", millis(1000), &(millis(10)..=millis(60_000)));
    let key = encryption_key(section);

    let backend = if kind.as_deref() == Some("redis") {
        redis_backend(section, url, prefix)
    } else {
        if section.has("url") || section.has("url_file") {
            section.refuse("kind", "is \"embedded\", yet a Redis address is set; write kind = \"redis\", or remove the address");
        }
        Some(Backend::Embedded { path: path.unwrap_or_else(|| PathBuf::from(EMBEDDED_PATH)) })
    };
    let settings = backend.map(|backend| Settings { backend, lookup_timeout, cache_entries_max, revocation_bound, serve_known: None });
    (settings, key)
}

fn redis_backend(section: &Section<'_>, url: Option<Secret>, prefix: String) -> Option<Backend> {
    if !section.has("url") && !section.has("url_file") {
        section.refuse("url", "missing; write url = \"redis://127.0.0.1:6379\", or url_file where it has a password");
    }
    let url = url?;
    let key = if section.has("url_file") { "url_file" } else { "url" };
    if url.reveal().contains('@') {
        section.warn_if_written("url", "url_file");
    }
    // The address may hold a password, so no error repeats it.
    let Ok(connection) = url.reveal().into_connection_info() else {
        section.refuse(
            key,
            "is not an address of Redis; write it like redis://user:password@host:6379, rediss://… for TLS, or redis+unix:///path",
        );
        return None;
    };
    match connection.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            section.refuse(key, "switches off the check of the server's certificate; remove `#insecure`");
        }
        ConnectionAddr::Tcp(host, _) if !loopback(host) => {
            section
                .warn(key, &format!("records cross the network to `{host}` unencrypted; use rediss:// unless the network is yours alone"));
        }
        _ => {}
    }
    Some(Backend::Redis { url: RedisUrl(url.reveal().into()), prefix })
}

fn loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `:` separates the parts of a key, and `{}` mark the part that places it in a cluster.
fn key_prefix(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && (1..=KEY_PREFIX_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a prefix; write up to {KEY_PREFIX_MAX} letters, digits, `-`, `_` or `.`, like \"sg\""))
}

fn encryption_key(section: &Section<'_>) -> Option<Secret> {
    let secret = section.secret("encryption_key", "encryption_key_file")?;
    section.warn_if_written("encryption_key", "encryption_key_file");
    if HEXLOWER_PERMISSIVE.decode(secret.reveal().as_bytes()).is_ok_and(|key| key.len() == ENCRYPTION_KEY_BYTES) {
        return Some(secret);
    }
    let key = if section.has("encryption_key_file") { "encryption_key_file" } else { "encryption_key" };
    section.refuse(key, "is not 64 hexadecimal digits; make it with `openssl rand -hex 32`");
    None
}
