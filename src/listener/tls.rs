//! TLS as it is offered: which certificate for which name, versions, resumption, reload.
//!
//! There is one `ServerConfig` for the life of the process; only the certificates in it are exchanged, so tickets issued before a reload
//! still resume after it. There is no 0-RTT: early data can be replayed.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;

use crate::listener::certificate::{Certificate, CertificateError, CertificateFiles};
use crate::policy::time::Timestamp;

/// Sessions kept for TLS 1.2 clients without tickets; a few hundred bytes each.
const SESSIONS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// Complete and checked; there is at least one certificate.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The first answers where no other has the name that was asked for.
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
}

/// Why TLS cannot be offered.
#[derive(Debug)]
pub enum TlsError {
    /// With its number among the certificates, from 0.
    Certificate(usize, CertificateError),
    NoCertificate,
    Provider(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(_, error) => error.fmt(f),
            Self::NoCertificate => f.write_str("no certificate is configured"),
            Self::Provider(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// The number of the certificate that is to blame, and the field of [`CertificateFiles`] that names the file.
    pub fn place(&self) -> Option<(usize, &'static str)> {
        match self {
            Self::Certificate(number, error) => Some((*number, error.field())),
            Self::NoCertificate | Self::Provider(_) => None,
        }
    }
}

/// What is known of a certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    pub file: PathBuf,
    /// The DNS names it is for.
    pub names: Vec<String>,
    /// The second from which on it is no good.
    pub expires: Timestamp,
}

/// What every HTTPS entrance shares.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
}

impl Tls {
    pub fn load(settings: &TlsSettings, now: Timestamp) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Certificates::load(&settings.certificates, &provider, now)?;
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(certificates)));
        let versions: &[_] = match settings.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(versions).map_err(TlsError::Provider)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        Ok(Self { config: Arc::new(config), provider, resolver })
    }

    /// Exchanges the certificates for those in the files now. Where one of them is broken, all old ones stay.
    pub fn reload(&self, files: &[CertificateFiles], now: Timestamp) -> Result<(), TlsError> {
        let certificates = Certificates::load(files, &self.provider, now)?;
        self.resolver.0.store(Arc::new(certificates));
        Ok(())
    }

    /// What is served now, in the order of the configuration.
    pub fn expiries(&self) -> Vec<Validity> {
        self.resolver.0.load().expiries.clone()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

#[derive(Debug)]
struct Resolver(ArcSwap<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().choose(hello.server_name()))
    }
}

/// The certificates of one load.
#[derive(Debug)]
struct Certificates {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    expiries: Vec<Validity>,
}

impl Certificates {
    fn load(files: &[CertificateFiles], provider: &CryptoProvider, now: Timestamp) -> Result<Self, TlsError> {
        let mut first = None;
        let (mut exact, mut wildcard, mut expiries) = (HashMap::new(), HashMap::new(), Vec::new());
        for (number, files) in files.iter().enumerate() {
            let loaded = Certificate::load(files, provider, now).map_err(|error| TlsError::Certificate(number, error))?;
            let Certificate { file, names, expires, key } = loaded;
            let key = Arc::new(key);
            for name in names.clone() {
                // Where two have a name, the one that is configured first is served.
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_insert_with(|| key.clone()),
                    None => exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
            expiries.push(Validity { file, names, expires });
            first.get_or_insert(key);
        }
        let first = first.ok_or(TlsError::NoCertificate)?;
        Ok(Self { first, exact, wildcard, expiries })
    }

    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let Some(name) = name else { return self.first.clone() };
        let name = name.to_ascii_lowercase();
        let exact = self.exact.get(&name);
        // A wildcard stands for one label (RFC 6125 section 6.4.3).
        let found = exact.or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)));
        found.unwrap_or(&self.first).clone()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
