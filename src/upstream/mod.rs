//! The servers that answer for a site: what crosses the gate, and how it gets there.
//!
//! [`Upstreams`] is one for the process: addresses, TLS and the health of each server. Every worker thread takes its own
//! [`WorkerUpstreams`] from it, with idle connections that no other thread touches. Sites that name the same server with the same
//! settings share its health and its connections, so that a thousand sites of one bench cost what one does.

pub mod answer;
pub mod ask;
pub mod body;
pub mod connect;
pub mod credential;
pub mod error;
pub mod frappe;
pub mod headers;
pub mod health;
pub mod pool;
pub mod send;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use rustls::pki_types::CertificateDer;

use crate::upstream::connect::{Roots, StartError, Target};
use crate::upstream::headers::InnerHosts;
use crate::upstream::health::Health;
use crate::upstream::pool::Pool;
use crate::upstream::send::SiteUpstream;

/// How every upstream server of a site is reached; complete and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// TCP connect and, where it is HTTPS, the TLS handshake.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the answer, and between two pieces of its body.
    pub first_byte_timeout: Duration,
    /// From the start of forwarding to the last byte of the answer.
    pub total_timeout: Duration,
    /// How long an idle pooled connection is kept.
    pub idle_timeout: Duration,
    /// Idle connections kept per server and worker.
    pub idle_max: usize,
    /// Bytes of an answer's head.
    pub head_bytes_max: usize,
    /// Failures to connect, to answer in time or to speak HTTP in a row after which a server rests.
    pub failures_max: u32,
    /// How long it rests before a request tries it again.
    pub rest: Duration,
    /// Time between two active checks; `None` for none.
    pub check_interval: Option<Duration>,
    /// Path asked by the active check; any answer below 500 is healthy.
    pub check_path: String,
}

/// One server, from `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl ServerUrl {
    /// Reads `http://host[:port]` or `https://host[:port]`, without path, query or credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("upstream server `{text}` {why}; write it as `http://host:port`"));
        let Ok(uri) = text.parse::<Uri>() else { return refuse("is no URL") };
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return refuse("does not start with `http://` or `https://`"),
        };
        if uri.path() != "/" || uri.query().is_some() || text.contains(['#', '@']) {
            return refuse("has more than a host and a port");
        }
        let host = uri.host().unwrap_or_default();
        let port = match uri.authority().and_then(|authority| authority.as_str().strip_prefix(host)) {
            Some("") => Some(if tls { 443 } else { 80 }),
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|&port| port != 0),
            None => None,
        };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        match port {
            Some(port) if !host.is_empty() => Ok(Self { tls, host, port }),
            _ => refuse("has no host or no valid port"),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Who the client is, as told to the upstream.
#[derive(Clone, Debug)]
pub struct Via {
    /// Its address, in words.
    pub client: HeaderValue,
    /// Whether the client came by HTTPS.
    pub secure: bool,
}

/// What answers for one site; complete and checked.
#[derive(Clone, Debug)]
pub struct SiteServers {
    /// What Frappe calls the site; active checks ask for it.
    pub frappe_site: Box<str>,
    /// At least one.
    pub servers: Vec<ServerUrl>,
    pub settings: Settings,
    /// Who may sign the certificates of HTTPS servers; empty for the system's authorities.
    pub ca: Vec<CertificateDer<'static>>,
}

/// The servers of every site, shared by all workers.
pub struct Upstreams {
    servers: Vec<Arc<Server>>,
    sites: Vec<Arc<Site>>,
}

/// One server with one set of settings, whoever its sites are.
pub(crate) struct Server {
    pub(crate) target: Target,
    pub(crate) health: Health,
    pub(crate) settings: Arc<Settings>,
    /// The site that active checks ask for.
    pub(crate) frappe_site: Box<str>,
}

pub(crate) struct Site {
    /// Indices into the servers of [`Upstreams`].
    servers: Vec<usize>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) inner_hosts: InnerHosts,
}

impl Upstreams {
    /// Sites keep the order in which they are given: [`WorkerUpstreams::site`] takes that index.
    pub fn new(sites: Vec<SiteServers>) -> Result<Arc<Self>, StartError> {
        let mut roots = Roots::default();
        let mut servers = Vec::new();
        let mut known = HashMap::new();
        let mut built = Vec::with_capacity(sites.len());
        for site in sites {
            if site.servers.is_empty() {
                return Err(StartError::NoServers(site.frappe_site.into()));
            }
            let settings = Arc::new(site.settings);
            let hosts = site.servers.iter().map(|server| &*server.host).chain([&*site.frappe_site]);
            let inner_hosts = InnerHosts::new(hosts);
            let mut indices = Vec::with_capacity(site.servers.len());
            for url in site.servers {
                let key = (url.clone(), Arc::clone(&settings), site.ca.clone());
                if let Some(&index) = known.get(&key) {
                    indices.push(index);
                    continue;
                }
                let server = Server {
                    health: Health::new(url.to_string()),
                    target: Target::new(url, &settings, &site.ca, &mut roots)?,
                    settings: Arc::clone(&settings),
                    frappe_site: site.frappe_site.clone(),
                };
                known.insert(key, servers.len());
                indices.push(servers.len());
                servers.push(Arc::new(server));
            }
            built.push(Arc::new(Site { servers: indices, settings, inner_hosts }));
        }
        Ok(Arc::new(Self { servers, sites: built }))
    }

    /// The upstreams of one worker thread. They make connections on the runtime that first polls them and must stay on it.
    pub fn worker(self: &Arc<Self>) -> Arc<WorkerUpstreams> {
        let pools: Vec<_> = self.servers.iter().map(|server| Arc::new(Pool::new(Arc::clone(server)))).collect();
        let sites = self
            .sites
            .iter()
            .map(|site| SiteUpstream::new(Arc::clone(site), site.servers.iter().map(|&index| Arc::clone(&pools[index])).collect()))
            .collect();
        Arc::new(WorkerUpstreams { sites })
    }

    pub(crate) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    pub(crate) fn servers_of(&self, site: usize) -> impl Iterator<Item = &Arc<Server>> {
        self.sites[site].servers.iter().map(|&index| &self.servers[index])
    }
}

/// The sites as one worker thread reaches them.
pub struct WorkerUpstreams {
    sites: Vec<SiteUpstream>,
}

impl WorkerUpstreams {
    /// The site at the index it had in [`Upstreams::new`].
    pub fn site(&self, index: usize) -> &SiteUpstream {
        &self.sites[index]
    }
}

#[cfg(test)]
pub(crate) mod tests;
