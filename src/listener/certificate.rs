//! One certificate with its key, read from files and checked before anything is served with it.
//!
//! Every error names the file and what to do, because it is read by whoever was woken by it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::policy::time::Timestamp;

/// Where one certificate chain and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// A chain that can be served.
#[derive(Debug)]
pub struct Certificate {
    pub file: PathBuf,
    /// The DNS names it is for, in lower case; wildcards as they stand.
    pub names: Vec<String>,
    /// The second after its last.
    pub expires: Timestamp,
    pub(super) key: CertifiedKey,
}

/// Why a certificate cannot be served.
#[derive(Debug)]
pub struct CertificateError {
    file: PathBuf,
    what: &'static str,
    problem: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.what, self.file.display(), self.problem)
    }
}

impl std::error::Error for CertificateError {}

impl CertificateError {
    /// The field of [`CertificateFiles`] that names the file.
    pub fn field(&self) -> &'static str {
        if self.what == "key" { "key_file" } else { "cert_file" }
    }
}

impl Certificate {
    pub fn load(files: &CertificateFiles, provider: &CryptoProvider, now: Timestamp) -> Result<Self, CertificateError> {
        let file = &files.cert_file;
        let broken = |problem: String| CertificateError { file: file.clone(), what: "certificate", problem };
        let chain = read(file, "certificate")?;
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(|error| broken(format!("is not valid PEM ({error})")))?;
        let Some(leaf) = chain.first() else {
            return Err(broken("holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`".to_owned()));
        };
        let (names, starts, expires) = facts(leaf).ok_or_else(|| broken("is not an X.509 certificate".to_owned()))?;
        if expires <= now {
            return Err(broken(format!("expired on {}; renew it", date(expires))));
        }
        if starts > now {
            return Err(broken(format!("is not valid before {}; check this machine's clock", date(starts))));
        }
        let key = load_key(&files.key_file)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                broken(format!("does not belong to the key `{}`: issue it for that key, or name its own", files.key_file.display()))
            }
            error => broken(format!("cannot be used with the key `{}`: {error}", files.key_file.display())),
        })?;
        Ok(Self { file: file.clone(), names, expires, key })
    }
}

fn load_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = read(file, "key")?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => "holds no private key: it must be PEM, unencrypted, with `-----BEGIN PRIVATE KEY-----`".to_owned(),
            error => format!("is not valid PEM ({error})"),
        };
        CertificateError { file: file.to_owned(), what: "key", problem }
    })
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, CertificateError> {
    fs::read(file).map_err(|error| {
        let problem = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist; put it there, or name another".to_owned(),
            std::io::ErrorKind::PermissionDenied => "cannot be read: let the user that runs the gate read it".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        CertificateError { file: file.to_owned(), what, problem }
    })
}

/// Names, first second and the second after the last.
fn facts(leaf: &[u8]) -> Option<(Vec<String>, Timestamp, Timestamp)> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = leaf.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    let second = |seconds: i64| Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0));
    let validity = leaf.validity();
    Some((names, second(validity.not_before.timestamp()), second(validity.not_after.timestamp()).plus(1)))
}

fn date(at: Timestamp) -> String {
    let seconds = i64::try_from(at.unix()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| "a day beyond the calendar".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}
