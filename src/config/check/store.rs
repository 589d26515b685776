//! `[store]`: where tokens are kept, and how fresh an answer must be.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::config::check::redis;
use crate::config::checked::Secret;
use crate::config::section::Section;
use crate::store::{Backend, Settings};
use crate::wording::show_time;

const EMBEDDED_PATH: &str = "/var/lib/scopegate/scopegate.redb";
const KEY_PREFIX: &str = "sg";
const KEY_PREFIX_MAX: usize = 32;
const ENCRYPTION_KEY_BYTES: usize = 32;
const SERVE_KNOWN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// The store, and the key for what it keeps sealed.
pub fn store(section: &Section<'_>) -> (Option<Settings>, Option<Secret>) {
    let millis = Duration::from_millis;
    let kind = section.text("kind", |text| match text {
        "embedded" | "redis" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a store; write \"embedded\" (one machine) or \"redis\" (several)")),
    });
    let path = section.path("path");
    let servers = redis::servers(section, kind.as_deref() == Some("redis"));
    let prefix = section.text("key_prefix", key_prefix).unwrap_or_else(|| KEY_PREFIX.into());
    let lookup_timeout = section.time("lookup_timeout", millis(50), &(millis(1)..=millis(10_000)));
    let cache_entries_max = section.whole("cache_entries_max", 1_000_000, 1..=100_000_000);
    let revocation_bound = section.time("revocation_bound", millis(1000), &(millis(10)..=millis(60_000)));
    let serve_known = serve_known(section, revocation_bound);
    let key = encryption_key(section);

    let backend = if kind.as_deref() == Some("redis") {
        servers.map(|servers| Backend::Redis { servers, prefix })
    } else {
        if redis::KEYS.iter().any(|key| section.has(key)) {
            section.refuse("kind", "is \"embedded\", yet a Redis address is set; write kind = \"redis\", or remove the address");
        }
        Some(Backend::Embedded { path: path.unwrap_or_else(|| PathBuf::from(EMBEDDED_PATH)) })
    };
    let settings = backend.map(|backend| Settings { backend, lookup_timeout, cache_entries_max, revocation_bound, serve_known });
    (settings, key)
}

/// What to do while the store cannot be asked: the second key says how long the known is served, and stands for the whole answer.
fn serve_known(section: &Section<'_>, revocation_bound: Duration) -> Option<Duration> {
    section.text("on_store_loss", |text| match text {
        "refuse" => Ok(()),
        _ => Err(format!("`{text}` is nothing to do; write \"refuse\", or serve_known = \"30s\" in its place")),
    });
    let known = section.time_if_wanted("serve_known", None, &SERVE_KNOWN)?;
    if section.has("on_store_loss") {
        section.refuse("serve_known", "is set beside `on_store_loss`; keep one of the two");
    }
    if known < revocation_bound {
        let bound = show_time(revocation_bound);
        section.refuse(
            "serve_known",
            &format!("is shorter than `revocation_bound`, for which the known is served anyway; write \"{bound}\" or more"),
        );
    }
    Some(known)
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
