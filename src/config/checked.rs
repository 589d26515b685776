//! The complete and checked configuration: every default filled in, every file of secrets read, every conflict settled.
//!
//! A room that has settings of its own declares them itself; here stands what has no room, and how all of it hangs together.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

use crate::audit;
use crate::config::place::Places;
use crate::listener::Bounds;
use crate::listener::tls::TlsError;
use crate::policy::scope::{Effect, Scope, Scopes};
use crate::store::servers::Topology;
use crate::store::{Backend, StoreError};
use crate::upstream::ServerUrl;

/// Everything a gate is built from.
#[derive(Clone, Debug)]
pub struct Config {
    pub places: Places,
    pub listen: Listen,
    pub tls: Tls,
    pub bounds: Bounds,
    pub body: BodyBounds,
    pub store: crate::store::Settings,
    /// 64 hexadecimal digits that seal what the store must be able to give back; `None` where no such thing can be kept.
    pub encryption_key: Option<Secret>,
    pub rates: Rates,
    pub audit: audit::Settings,
    pub metrics: Metrics,
    pub admin: Admin,
    pub log: Log,
    /// At least one; their names and their hosts are unique.
    pub sites: Vec<Site>,
    pub rpcs: Vec<RpcEntry>,
    pub scopes: Vec<NamedScope>,
}

impl Config {
    /// `problem` with the store, told at the key that says where the store is.
    pub fn tell_store(&self, problem: &StoreError) -> String {
        let key = match &self.store.backend {
            Backend::Embedded { .. } => "store.path",
            Backend::Redis { servers, .. } => match servers.topology {
                Topology::Single(_) if self.places.has("store.url_file") => "store.url_file",
                Topology::Single(_) => "store.url",
                Topology::Sentinel { .. } => "store.sentinels",
                Topology::Cluster { .. } => "store.cluster",
            },
        };
        self.places.tell(key, problem)
    }

    /// `problem` with the certificates, told at the key of the file that is to blame.
    pub fn tell_tls(&self, problem: &TlsError) -> String {
        match problem.place() {
            Some((number, field)) => self.places.tell(&format!("tls.certificate.{number}.{field}"), problem),
            None => self.places.tell("tls.certificate", problem),
        }
    }
}

/// Where connections come in.
#[derive(Clone, Debug)]
pub struct Listen {
    pub https: Vec<SocketAddr>,
    /// Refuses tokens and redirects the rest.
    pub http: Vec<SocketAddr>,
    /// Plain HTTP behind somebody else's TLS: serves requests, but only those of a trusted proxy.
    pub behind_proxy: Vec<SocketAddr>,
    /// Whose word on the client's address and scheme is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a trusted proxy begins each connection with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Threads that serve connections; at least one.
    pub workers: usize,
    /// The port that clients know, where it is not the one that is bound; for redirects.
    pub https_public_port: Option<u16>,
}

/// What is shown on the HTTPS ports. The files are read where they are used, so that a reload can read them again.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its intermediates.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// Every bound on the body of a request; `listener::Bounds` has those on its head.
#[derive(Clone, Debug)]
pub struct BodyBounds {
    /// A JSON or form body, which is held and parsed, in bytes.
    pub body_bytes_max: usize,
    /// A multipart upload, which streams, in bytes.
    pub upload_bytes_max: u64,
    /// A client that sends less than `body_rate_min` bytes a second over this long is cut off.
    pub body_timeout: Duration,
    pub body_rate_min: u64,
}

/// How often; `None` for as often as one likes.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Requests of one client of a site.
    pub client: Option<Rate>,
    /// Requests from one address.
    pub address: Option<Rate>,
    /// Tokens that turn out to be none, from one address.
    pub failed_authentications: Option<Rate>,
}

/// `requests` in `period`, with `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub period: Duration,
    pub burst: u32,
}

/// Where metrics and health are asked for; `None` for nowhere.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub socket: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: tracing::Level,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// One Frappe site behind the gate.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: Arc<str>,
    /// In lower case, without port; at least one.
    pub hosts: Vec<Box<str>>,
    /// At least one.
    pub servers: Vec<ServerUrl>,
    pub upstream: crate::upstream::Settings,
    pub credential: Credential,
    /// What Frappe calls the site, exactly: sent upstream as `Host` and `X-Frappe-Site-Name`.
    pub frappe_site: Box<str>,
    /// Who may sign the certificates of HTTPS servers; empty for the system's authorities.
    pub upstream_ca: Vec<CertificateDer<'static>>,
    /// As a browser writes them.
    pub cors_origins: Vec<Box<str>>,
    /// Sensitive doctypes and RPCs that are let through after all, by their exact names.
    pub allow_sensitive: Vec<Box<str>>,
    /// Request headers that pass besides the built-in ones.
    pub request_headers: Vec<HeaderName>,
    /// Whether `exc` and `exception` stay in error bodies.
    pub keep_tracebacks: bool,
    pub routes: Vec<Route>,
    /// Set where the gate is the site's OAuth provider.
    pub oauth: Option<OAuth>,
}

/// The gate as the OAuth provider of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// The public origin of the gate for this site, `https://erp.example.com`, without a slash at its end.
    pub issuer: Box<str>,
    /// How users sign in; `None` where only `client_credentials` is of use.
    pub sign_in: Option<SignIn>,
    /// Whether confidential clients must use PKCE as well.
    pub pkce_for_all: bool,
    pub access_token_lifetime: Duration,
    pub refresh_token_lifetime: Duration,
    pub registration: Registration,
    /// The widest scopes that a client may have that registered itself, or is described by a document.
    pub registration_scopes: Scopes,
    /// Whether a client may be described by a document at its id, a URL.
    pub client_documents: bool,
    /// Networks that such documents may lie in, though they are not public.
    pub client_document_networks: Vec<IpNet>,
    /// Who may sign for them besides the system's authorities.
    pub client_document_ca: Vec<CertificateDer<'static>>,
}

/// What the gate is to Frappe: one OAuth client of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Frappe's own public origin, where browsers reach its sign-in page; without a slash at its end.
    pub login_url: Box<str>,
    pub client_id: Box<str>,
    pub client_secret: Secret,
    /// What the gate asks Frappe for; `all openid` unless configured.
    pub scope: Box<str>,
}

/// Whether clients may register themselves (RFC 7591).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    Off,
    /// With this initial access token.
    Token(Secret),
    /// Whoever comes, within tight limits.
    Open,
}

/// How the upstream learns the user.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The client's own token.
    Forward,
    /// The site's own token of the user, kept with the grant.
    Bearer,
    /// `key:secret`, sent as `Authorization: token key:secret` for a client that has none of its own.
    ApiKey(Secret),
}

/// A path that the operator opened beyond the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Canonical; the path itself and, where it ends in `/`, all below it.
    pub path: Box<str>,
    pub methods: Vec<Method>,
    /// What a token needs.
    pub scope: Scope,
}

/// What an RPC of the operator's own apps does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcEntry {
    pub name: Box<str>,
    pub effect: Effect,
    pub methods: Vec<Method>,
    /// The argument that names the doctype. Of this and the next two any may be there, and then must name one.
    pub doctype: Option<Box<str>>,
    /// The argument that is a document, with its doctype in `doctype`.
    pub document: Option<Box<str>>,
    /// The argument that is a list of such documents.
    pub documents: Option<Box<str>>,
    /// Where it exists; empty for every site.
    pub sites: Vec<Box<str>>,
}

/// A scope that the operator named.
#[derive(Clone, Debug)]
pub struct NamedScope {
    pub name: Box<str>,
    /// What a person reads on a consent page.
    pub title: String,
    /// None of them named itself.
    pub grants: Scopes,
}

/// Something that must not be shown. It prints as its kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, for where it is used.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
