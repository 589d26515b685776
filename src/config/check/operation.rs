//! `[audit]`, `[metrics]`, `[admin]` and `[log]`: how a running gate is watched and spoken to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tracing::Level;

use crate::audit::chain::ChainKey;
use crate::audit::datagram::Facility;
use crate::audit::{OnFull, Output, Settings};
use crate::config::check::listen::{address, overlap};
use crate::config::checked::{Admin, Listen, Log, LogFormat, Metrics};
use crate::config::quantity::{GIB, KIB, MIB};
use crate::config::section::Section;

const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
const ADMIN_SOCKET: &str = "/run/scopegate/admin.sock";
const SYSLOG_SOCKET: &str = "/dev/log";
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Characters of the key of the chain: half as many as `openssl rand -hex 32` writes.
pub const CHAIN_KEY_LENGTH_MIN: usize = 32;
/// `sun_path` of Linux holds 108 bytes, the last of them NUL.
const SOCKET_PATH_MAX: usize = 107;

pub fn audit(section: &Section<'_>) -> Settings {
    let on_full = section.text("on_full", |text| match text {
        "count" => Ok(OnFull::Count),
        "refuse" => Ok(OnFull::Refuse),
        _ => Err(format!("`{text}` is no way to go on; write \"count\" (serve, and count lost lines) or \"refuse\" (answer 503)")),
    });
    let queue_bytes_max = section.memory("queue_bytes_max", 16 * MIB, 256 * KIB..=GIB);
    let output = output(section);
    if output == Output::Off && on_full == Some(OnFull::Refuse) {
        section.refuse("on_full", "is \"refuse\", yet there is no log to be full; write output = \"file\", or on_full = \"count\"");
    }
    Settings { output, on_full: on_full.unwrap_or(OnFull::Count), queue_bytes_max, chain_key: chain_key(section) }
}

fn output(section: &Section<'_>) -> Output {
    let kind = section.text("output", |text| match text {
        "stdout" | "file" | "syslog" | "journald" | "off" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not an output; write \"stdout\", \"file\", \"syslog\", \"journald\" or \"off\"")),
    });
    let kind = kind.as_deref().unwrap_or("stdout");
    let file = section.path("file");
    let socket = section.path("socket");
    let facility = section.text("facility", |text| {
        Facility::parse(text).ok_or_else(|| {
            let names = Facility::NAMES.map(|(name, _)| format!("\"{name}\"")).join(", ");
            format!("`{text}` is not a facility; write one of {names}")
        })
    });
    if file.is_some() && kind != "file" {
        section.refuse("file", "is not written to, because `output` is not \"file\"; write output = \"file\", or remove it");
    }
    let daemon = matches!(kind, "syslog" | "journald");
    for (key, set) in [("socket", socket.is_some()), ("facility", facility.is_some())] {
        if set && !daemon {
            section.refuse(key, "is for `output` \"syslog\" and \"journald\" alone; write one of them, or remove it");
        }
    }
    let facility = facility.unwrap_or(Facility::LOCAL0);
    match (kind, file) {
        ("file", Some(file)) => Output::File(file),
        ("file", None) => {
            section.refuse("output", "is \"file\", but no file is named; write file = \"/var/log/scopegate/audit.log\"");
            Output::Off
        }
        ("syslog", _) => Output::Syslog { path: socket.unwrap_or_else(|| SYSLOG_SOCKET.into()), facility },
        ("journald", _) => Output::Journald { path: socket.unwrap_or_else(|| JOURNAL_SOCKET.into()), facility },
        ("off", _) => {
            section.warn("output", "no record is kept of who did what; write \"stdout\" or \"file\"");
            Output::Off
        }
        _ => Output::Stdout,
    }
}

fn chain_key(section: &Section<'_>) -> Option<ChainKey> {
    let secret = section.secret("chain_key", "chain_key_file")?;
    section.warn_if_written("chain_key", "chain_key_file");
    if secret.reveal().len() < CHAIN_KEY_LENGTH_MIN {
        let key = if section.has("chain_key_file") { "chain_key_file" } else { "chain_key" };
        let remedy = "has fewer than 32 characters and could be guessed; make it with `openssl rand -hex 32`";
        section.refuse(key, remedy);
        return None;
    }
    Some(ChainKey::new(secret.reveal().as_bytes()))
}

pub fn metrics(section: &Section<'_>, listen: &Listen) -> Metrics {
    let read = |text: &str| if text == "off" { Ok(None) } else { address(text).map(Some) };
    let metrics = section.text("listen", read).unwrap_or(Some(METRICS_LISTEN));
    if let Some(metrics) = metrics {
        if [&listen.https, &listen.http, &listen.behind_proxy].into_iter().flatten().any(|other| overlap(*other, metrics)) {
            section.refuse("listen", &format!("`{metrics}` is used by `[listen]` as well; give the metrics a port of their own"));
        }
        if !private(metrics.ip()) {
            section.warn(
                "listen",
                &format!("`{metrics}` may be open to the internet, and metrics ask for no token; write \"{METRICS_LISTEN}\""),
            );
        }
    }
    Metrics { listen: metrics }
}

pub fn admin(section: &Section<'_>) -> Admin {
    let socket = section.path("socket").unwrap_or_else(|| PathBuf::from(ADMIN_SOCKET));
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        section.refuse("socket", &format!("is longer than the {SOCKET_PATH_MAX} bytes that a socket's path may take; shorten it"));
    }
    Admin { socket }
}

pub fn log(section: &Section<'_>) -> Log {
    let level = section.text("level", |text| match text {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => Err(format!("`{text}` is not a level; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")),
    });
    let format = section.text("format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not a format; write \"text\" or \"json\"")),
    });
    Log { level: level.unwrap_or(Level::INFO), format: format.unwrap_or(LogFormat::Text) }
}

/// Whether an address is surely not reached from the internet.
fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
