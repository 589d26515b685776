//! Why there is no document.
//!
//! These words are for the operator's log. A stranger who chooses the URL must not be told them: which of them it was says whether a
//! port on an inner network is open. Nothing in them is what a server sent, but for the number of a status.

use std::fmt;
use std::io;
use std::net::IpAddr;

use http::StatusCode;
use rustls::CertificateError;

/// A document that was not to be had.
#[derive(Debug)]
pub enum FetchError {
    /// As many are under way as may be.
    Busy,
    /// The name has no address, or nobody says which.
    Unknown(String),
    /// The host may not be asked: it is, or leads to, this address.
    Address(IpAddr),
    /// The host may be asked only on 443.
    Port(u16),
    /// A name without a dot is nobody's on the Internet.
    Local,
    Connect(io::Error),
    Tls(&'static str),
    /// Not done within the deadline.
    Timeout,
    Status(StatusCode),
    ContentType,
    ContentEncoding,
    TooLarge,
    /// No HTTP, or one that broke off.
    Http(hyper::Error),
}

impl FetchError {
    /// Stable; for log lines and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "fetch_busy",
            Self::Unknown(_) => "fetch_unknown_host",
            Self::Address(_) | Self::Port(_) | Self::Local => "fetch_forbidden_host",
            Self::Connect(_) => "fetch_connect",
            Self::Tls(_) => "fetch_tls",
            Self::Timeout => "fetch_timeout",
            Self::Status(_) => "fetch_status",
            Self::ContentType | Self::ContentEncoding => "fetch_content_type",
            Self::TooLarge => "fetch_too_large",
            Self::Http(_) => "fetch_malformed",
        }
    }

    /// What failed in a handshake, in words of ours: rustls's own would repeat every name in a stranger's certificate.
    pub(crate) fn tls(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Self::Tls(match inner {
            Some(rustls::Error::InvalidCertificate(why)) => certificate_fault(why),
            Some(_) => "the handshake failed",
            None => "the connection broke off in the handshake",
        })
    }
}

const fn certificate_fault(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "its certificate is for another name",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        // The second is an issuer of the same name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "its certificate is signed by nobody whom this system trusts",
        _ => "its certificate is not valid",
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many documents are being fetched at once"),
            Self::Unknown(why) => write!(f, "the host has no address: {why}"),
            Self::Address(address) => {
                write!(f, "the host leads to {address}, which is not public; if the client is your own, allow its network")
            }
            Self::Port(port) => write!(f, "port {port} is not asked, only 443; if the client is your own, allow its network"),
            Self::Local => f.write_str("a host without a dot in its name is not public; if the client is your own, allow its network"),
            Self::Connect(why) => write!(f, "cannot connect to the host: {why}"),
            Self::Tls(why) => write!(f, "no trusted TLS with the host: {why}"),
            Self::Timeout => f.write_str("the document did not come in time"),
            Self::Status(status) if status.is_redirection() => {
                write!(f, "the host answered {}, and redirects are not followed", status.as_str())
            }
            Self::Status(status) => write!(f, "the host answered {} instead of 200", status.as_str()),
            Self::ContentType => f.write_str("the document is not of type `application/json`"),
            Self::ContentEncoding => f.write_str("the document is compressed, which was not asked for"),
            Self::TooLarge => f.write_str("the document is larger than 32 KiB"),
            Self::Http(why) => write!(f, "the host does not speak HTTP as it should: {why}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Why documents cannot be fetched at all.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    NoAuthorities,
    Authority(String),
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuthorities => f.write_str(
                "this system trusts no certificate authority, so no client's document can be fetched; install `ca-certificates`",
            ),
            Self::Authority(why) => write!(f, "a CA certificate for clients' documents cannot be used: {why}"),
            Self::Tls(why) => write!(f, "TLS towards clients' documents cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for StartError {}
