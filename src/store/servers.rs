//! Which Redis servers a store lives on, and how they are spoken to; complete and checked.
//!
//! Passwords and keys have types that print as their kind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::store::RedisUrl;

/// How long a revocation waits for its replicas unless configured.
pub const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    pub topology: Topology,
    pub tls: Tls,
    pub replicas: Replicas,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    Single(RedisUrl),
    /// One master at a time, which the sentinels name. TLS is spoken with all of them, or with none.
    Sentinel {
        sentinels: Vec<Host>,
        sentinel_login: Login,
        master: Arc<str>,
        database: u16,
        login: Login,
        encrypted: bool,
    },
    Cluster {
        seeds: Vec<Host>,
        login: Login,
        encrypted: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// A name or an IP address, without brackets.
    pub name: Arc<str>,
    pub port: u16,
}

/// `None` is Redis's own `default` user, and no password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub user: Option<Arc<str>>,
    pub password: Option<Password>,
}

/// Prints as its kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Arc<str>);

/// What a TLS connection is made with, all of it PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who signs the servers' certificates; `None` for the system's authorities.
    pub authorities: Option<Arc<[u8]>>,
    pub identity: Option<Identity>,
}

/// What a server may ask of whoever connects.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificates: Arc<[u8]>,
    pub key: Arc<[u8]>,
}

/// How many replicas must have a revocation before it counts as done, and how long it waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub wanted: u8,
    pub timeout: Duration,
}

impl From<&RedisUrl> for Servers {
    /// One server, and nothing special about it.
    fn from(url: &RedisUrl) -> Self {
        Self {
            topology: Topology::Single(url.clone()),
            tls: Tls::default(),
            replicas: Replicas { wanted: 0, timeout: ACKNOWLEDGE_TIMEOUT },
        }
    }
}

impl From<&Self> for Servers {
    fn from(servers: &Self) -> Self {
        servers.clone()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authorities, identity } = self;
        f.debug_struct("Tls").field("authorities", &authorities.is_some()).field("identity", &identity.is_some()).finish()
    }
}
