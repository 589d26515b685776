//! `[audit]`, `[metrics]`, `[admin]` and `[log]`: how a running gate is watched and spoken to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tracing::Level;

use crate::config::check::listen::{address, overlap};
use crate::config::checked::{Admin, Audit, Listen, Log, LogFormat, Metrics};
use crate::config::section::Section;

const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
const ADMIN_SOCKET: &str = "/run/scopegate/admin.sock";
/// `sun_path` of Linux holds 108 bytes, the last of them NUL.
const SOCKET_PATH_MAX: usize = 107;

pub fn audit(section: &Section<'_>) -> Audit {
    let file = section.path("file");
    let output = section.text("output", |text| match text {
        "stdout" | "file" | "off" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not an output; write \"stdout\", \"file\" or \"off\"")),
    });
    match (output.as_deref(), file) {
        (Some("file"), Some(file)) => Audit::File(file),
        (Some("file"), None) => {
            section.refuse("output", "is \"file\", but no file is named; write file = \"/var/log/scopegate/audit.log\"");
            Audit::Off
        }
        (_, Some(_)) => {
            section.refuse("file", "is not written to, because `output` is not \"file\"; write output = \"file\", or remove it");
            Audit::Off
        }
        (Some("off"), None) => {
            section.warn("output", "no record is kept of who did what; write \"stdout\" or \"file\"");
            Audit::Off
        }
        (_, None) => Audit::Stdout,
    }
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
