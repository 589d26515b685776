//! The Redis servers of `[store]`: one, those that sentinels name, or a Cluster; who logs in, and by what TLS.
//!
//! Any address may hold a password by mistake, so no error repeats one.

use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::checked::Secret;
use crate::config::section::Section;
use crate::store::RedisUrl;
use crate::store::servers::{ACKNOWLEDGE_TIMEOUT, Host, Identity, Login, Password, Replicas, Servers, Tls, Topology};

/// The keys that say where Redis is.
pub const KEYS: [&str; 4] = ["url", "url_file", "cluster", "sentinels"];

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;
const REPLICAS_MAX: u64 = 10;
/// Redis can be built with more; none that is configured by hand has.
const DATABASE_MAX: u64 = 65_535;

const UNENCRYPTED: &str = "unencrypted; use rediss:// unless the network is yours alone";

/// What was written, whether it fits together or not.
struct Written {
    url: Option<Secret>,
    cluster: Option<Hosts>,
    sentinels: Option<Hosts>,
    master: Option<Arc<str>>,
    database: Option<u64>,
    login: Login,
    sentinel_login: Login,
    tls: Tls,
    replicas: Replicas,
}

/// Addresses of one list.
struct Hosts {
    hosts: Vec<Host>,
    encrypted: bool,
}

/// The servers; without a word of what is missing where Redis is not `wanted`.
pub fn servers(section: &Section<'_>, wanted: bool) -> Option<Servers> {
    let written = Written {
        url: section.secret("url", "url_file"),
        cluster: hosts(section, "cluster", PORT),
        sentinels: hosts(section, "sentinels", SENTINEL_PORT),
        master: section.text("master", |text| {
            if text.is_empty() { Err("is empty; write the name that the sentinels know it by".to_owned()) } else { Ok(text.into()) }
        }),
        database: section.whole_if_any("database", 0..=DATABASE_MAX),
        login: login(section, "user", "password", "password_file"),
        sentinel_login: login(section, "sentinel_user", "sentinel_password", "sentinel_password_file"),
        tls: tls(section),
        replicas: replicas(section, wanted),
    };
    if !wanted {
        return None;
    }
    let here: Vec<&str> = KEYS.into_iter().filter(|key| section.has(key)).collect();
    match *here.as_slice() {
        [] => {
            section.refuse("url", "missing; write url = \"redis://127.0.0.1:6379\", or url_file where it has a password");
            None
        }
        // Told already, by the key of the file.
        ["url", "url_file"] => None,
        ["url" | "url_file"] => single(section, written),
        ["cluster"] => cluster(section, written),
        ["sentinels"] => sentinel(section, written),
        [first, ..] => {
            let last = *KEYS.iter().rfind(|key| section.has(key))?;
            section.refuse(
                last,
                &format!("is set beside `{first}`; keep one of the two: a Redis is one server, a Cluster, or known to sentinels"),
            );
            None
        }
    }
}

fn single(section: &Section<'_>, written: Written) -> Option<Servers> {
    let needless = ["user", "password", "password_file", "database"];
    refuse_all(section, &needless, "is for `cluster` and `sentinels`; write it into the address: redis://user:password@host:6379/0");
    refuse_all(section, &["master", "sentinel_user", "sentinel_password", "sentinel_password_file"], "is for `sentinels`; remove it");
    let url = written.url?;
    let key = if section.has("url_file") { "url_file" } else { "url" };
    if url.reveal().contains('@') {
        section.warn_if_written("url", "url_file");
    }
    let Ok(connection) = url.reveal().into_connection_info() else {
        section.refuse(
            key,
            "is not an address of Redis; write it like redis://user:password@host:6379, rediss://… for TLS, or redis+unix:///path",
        );
        return None;
    };
    let mut encrypted = false;
    match connection.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            section.refuse(key, "switches off the check of the server's certificate; remove `#insecure`");
            return None;
        }
        ConnectionAddr::TcpTls { .. } => encrypted = true,
        ConnectionAddr::Tcp(host, _) if !loopback(host) => {
            section.warn(key, &format!("records cross the network to `{host}` {UNENCRYPTED}"));
        }
        _ => {}
    }
    needs_tls(section, encrypted);
    Some(Servers { topology: Topology::Single(RedisUrl(url.reveal().into())), tls: written.tls, replicas: written.replicas })
}

fn cluster(section: &Section<'_>, written: Written) -> Option<Servers> {
    refuse_all(section, &["database"], "is set, yet a Cluster has one database only; remove it");
    refuse_all(section, &["master", "sentinel_user", "sentinel_password", "sentinel_password_file"], "is for `sentinels`; remove it");
    let Hosts { hosts: seeds, encrypted } = written.cluster?;
    needs_tls(section, encrypted);
    let topology = Topology::Cluster { seeds, login: written.login, encrypted };
    Some(Servers { topology, tls: written.tls, replicas: written.replicas })
}

fn sentinel(section: &Section<'_>, written: Written) -> Option<Servers> {
    if !section.has("master") {
        section.refuse("master", "missing, and `sentinels` needs it; write the name that they know it by, like \"mymaster\"");
    }
    let Hosts { hosts: sentinels, encrypted } = written.sentinels?;
    needs_tls(section, encrypted);
    let topology = Topology::Sentinel {
        sentinels,
        sentinel_login: written.sentinel_login,
        master: written.master?,
        database: u16::try_from(written.database.unwrap_or(0)).ok()?,
        login: written.login,
        encrypted,
    };
    Some(Servers { topology, tls: written.tls, replicas: written.replicas })
}

fn refuse_all(section: &Section<'_>, keys: &[&'static str], why: &str) {
    for key in keys.iter().filter(|key| section.has(key)) {
        section.refuse(key, why);
    }
}

fn hosts(section: &Section<'_>, key: &'static str, port: u16) -> Option<Hosts> {
    let items = section.texts(key, |text| host(text, port))?;
    if section.empty(key) {
        section.refuse(key, &format!("is empty; write addresses like \"redis://10.0.0.1:{port}\""));
    }
    let encrypted = items.first()?.value.1;
    let mut hosts: Vec<Host> = Vec::with_capacity(items.len());
    for item in items {
        let (host, by_tls) = item.value;
        if by_tls != encrypted {
            section.refuse_at(&item.origin, key, "mixes redis:// and rediss://; TLS is spoken with all of them, or with none");
        }
        // Two votes of one sentinel could make a majority.
        if hosts.contains(&host) {
            section.refuse_at(&item.origin, key, &format!("names {host} twice; name each once"));
        }
        hosts.push(host);
    }
    if let Some(far) = hosts.iter().find(|host| !encrypted && !loopback(&host.name)) {
        section.warn(key, &format!("records cross the network to `{}` {UNENCRYPTED}", far.name));
    }
    Some(Hosts { hosts, encrypted })
}

/// A host and whether TLS is spoken with it.
fn host(text: &str, port: u16) -> Result<(Host, bool), String> {
    let wrong = || Err(format!("has an address that is none of Redis; write it like redis://10.0.0.1:{port}, or rediss://… for TLS"));
    let (encrypted, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
        (Some(rest), None) => (false, rest),
        (None, Some(rest)) => (true, rest),
        _ => return wrong(),
    };
    if rest.contains('@') {
        return Err("has an address with a password; write user, and password_file, as keys of their own".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (name, written_port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, after)) if name.parse::<std::net::Ipv6Addr>().is_ok() => match after.strip_prefix(':') {
            Some(port) => (name, Some(port)),
            None if after.is_empty() => (name, None),
            None => return wrong(),
        },
        Some(_) => return wrong(),
        None => rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port))),
    };
    let port = written_port.map_or(Ok(port), str::parse).unwrap_or(0);
    let plain = name.contains(':') || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if name.is_empty() || !plain || port == 0 || rest.contains(['/', '?', '#']) {
        return wrong();
    }
    Ok((Host { name: name.into(), port }, encrypted))
}

fn login(section: &Section<'_>, user: &'static str, password: &'static str, password_file: &'static str) -> Login {
    let name = section.text(user, |text| {
        if text.is_empty() { Err("is empty; remove it for Redis's `default` user".to_owned()) } else { Ok(text.into()) }
    });
    let secret = section.secret(password, password_file);
    section.warn_if_written(password, password_file);
    if name.is_some() && !section.has(password) && !section.has(password_file) {
        section.refuse(user, &format!("is set without a password; name a file that holds it by `{password_file}`"));
    }
    Login { user: name, password: secret.map(|secret| Password(secret.reveal().into())) }
}

fn tls(section: &Section<'_>) -> Tls {
    let authorities = section.contents("ca_file").filter(|pem| is_certificate(section, "ca_file", pem));
    let certificates = section.contents("cert_file").filter(|pem| is_certificate(section, "cert_file", pem));
    if let Some(file) = section.path("key_file") {
        section.warn_if_open("key_file", &file);
    }
    let key = section.contents("key_file").filter(|pem| {
        let is_key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok();
        if !is_key {
            section.refuse("key_file", "holds no private key in PEM; name a file with -----BEGIN PRIVATE KEY-----");
        }
        is_key
    });
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if section.has(one) && !section.has(other) {
            section.refuse(other, &format!("missing, and `{one}` needs it; set both, or none"));
        }
    }
    let bytes = |pem: String| Arc::from(pem.into_bytes());
    let identity = certificates.zip(key).map(|(certificates, key)| Identity { certificates: bytes(certificates), key: bytes(key) });
    Tls { authorities: authorities.map(bytes), identity }
}

fn is_certificate(section: &Section<'_>, key: &'static str, pem: &str) -> bool {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if read.is_empty() {
        section.refuse(key, "holds no certificate in PEM; name a file with -----BEGIN CERTIFICATE-----");
    }
    !read.is_empty()
}

fn needs_tls(section: &Section<'_>, encrypted: bool) {
    if !encrypted {
        refuse_all(section, &["ca_file", "cert_file", "key_file"], "is set, yet TLS is not spoken; write rediss:// instead of redis://");
    }
}

fn replicas(section: &Section<'_>, wanted: bool) -> Replicas {
    let count = section.whole("wait_replicas", 0, 0..=REPLICAS_MAX);
    let timeout = section.time("wait_timeout", ACKNOWLEDGE_TIMEOUT, &(Duration::from_millis(1)..=Duration::from_secs(1)));
    if count > 0 && !wanted {
        section.refuse("wait_replicas", "is set, yet the embedded store has no replicas; write kind = \"redis\", or remove it");
    }
    Replicas { wanted: u8::try_from(count).unwrap_or(u8::MAX), timeout }
}

fn loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
