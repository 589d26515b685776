//! `[listen]` and `[tls]`: where connections come in, and who is believed there.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;

use ipnet::IpNet;

use crate::config::checked::{CertificateFiles, Listen, Tls, TlsVersion};
use crate::config::section::{Item, Section};

/// More threads than any machine has cores is a typing error.
const WORKERS_MAX: u64 = 1024;

pub fn listen(section: &Section<'_>) -> Listen {
    let mut taken = Vec::new();
    let https = addresses(section, "https", &["0.0.0.0:8443"], &mut taken);
    let http = addresses(section, "http", &["0.0.0.0:8080"], &mut taken);
    let behind_proxy = addresses(section, "behind_proxy", &[], &mut taken);
    let trusted_proxies =
        section.texts("trusted_proxies", network).unwrap_or_default().into_iter().map(|item| item.value).collect::<Vec<_>>();
    let proxy_protocol = section.flag("proxy_protocol", false);
    let workers = section.whole("workers", 0, 0..=WORKERS_MAX);
    let https_public_port = section.whole_if_any("https_public_port", 1..=u64::from(u16::MAX));

    if https.is_empty() && behind_proxy.is_empty() {
        section.refuse("https", "nothing serves requests: `https` and `behind_proxy` are both empty; write https = [\"0.0.0.0:8443\"]");
    }
    for (wanting, wants) in [("behind_proxy", !behind_proxy.is_empty()), ("proxy_protocol", proxy_protocol)] {
        if wants && trusted_proxies.is_empty() {
            section.refuse(wanting, "needs to know whom to believe; write trusted_proxies = [\"10.0.0.5\"] with the proxy's address");
        }
    }
    Listen {
        https,
        http,
        behind_proxy,
        trusted_proxies,
        proxy_protocol,
        workers: if workers == 0 { std::thread::available_parallelism().map_or(1, NonZero::get) } else { workers as usize },
        https_public_port: https_public_port.and_then(|port| u16::try_from(port).ok()),
    }
}

pub fn tls(section: &Section<'_>, listen: &Listen) -> Tls {
    let min_version = section.text("min_version", |text| match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err(format!("`{text}` is not a TLS version that is safe to offer; write \"1.2\" or \"1.3\"")),
    });
    let certificates = section.sections("certificate", certificate);
    if !listen.https.is_empty() && !section.has("certificate") {
        section.refuse(
            "certificate",
            "missing, and `listen.https` needs one; write [[tls.certificate]] with cert_file and key_file, or listen.https = [] behind \
             a proxy that ends TLS",
        );
    }
    Tls { certificates, min_version: min_version.unwrap_or(TlsVersion::V1_2) }
}

fn certificate(section: &Section<'_>) -> Option<CertificateFiles> {
    let (cert_file, key_file) = (section.path("cert_file"), section.path("key_file"));
    for key in ["cert_file", "key_file"].into_iter().filter(|key| !section.has(key)) {
        section.refuse(key, &format!("missing; write {key} = \"/etc/scopegate/tls/{}.pem\"", key.trim_end_matches("_file")));
    }
    if let Some(file) = &key_file {
        section.warn_if_open("key_file", file);
    }
    Some(CertificateFiles { cert_file: cert_file?, key_file: key_file? })
}

/// The addresses of one kind, each told apart from all `taken` before it.
fn addresses(section: &Section<'_>, key: &'static str, default: &[&str], taken: &mut Vec<SocketAddr>) -> Vec<SocketAddr> {
    let written = section.texts(key, address);
    let items = written.unwrap_or_else(|| {
        let items = default.iter().filter_map(|text| address(text).ok());
        items.map(|value| Item { value, origin: section.origin_of(key) }).collect()
    });
    for item in &items {
        if taken.iter().any(|other| overlap(*other, item.value)) {
            section.refuse_at(&item.origin, key, &format!("`{}` is used twice; give each listener a port of its own", item.value));
        }
        taken.push(item.value);
    }
    items.into_iter().map(|item| item.value).collect()
}

/// Reads `address:port`. Port 0 is a free one, for tests.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address and port; write it like \"0.0.0.0:8443\", \"127.0.0.1:8443\" or \"[::]:8443\" (no host names)")
    })
}

/// Whether two sockets cannot both be bound. `[::]` beside an IPv4 address of its port is for IPv6 only.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let meet = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && meet
}

/// Reads `10.0.0.0/8` or one address. All of the internet is nobody to be trusted.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is neither an address nor a network; write it like \"10.0.0.5\" or \"10.0.0.0/24\""))?;
    if network.prefix_len() == 0 {
        return Err(format!("`{text}` lets every client claim any address; write the proxy's own, like \"10.0.0.5\""));
    }
    Ok(network.trunc())
}
