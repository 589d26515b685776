//! Certificates made on the spot, and the client side's trust in them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier};

use super::DEADLINE;

/// A self-signed certificate and its key, as files.
#[derive(Clone)]
pub struct Certificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Certificate {
    /// Writes `<stem>.pem` and `<stem>.key` into `dir`.
    pub fn write(dir: &Path, stem: &str, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
        let (cert_file, key_file) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        fs::write(&cert_file, made.cert.pem()).expect("the directory is ours");
        fs::write(&key_file, made.signing_key.serialize_pem()).expect("the directory is ours");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        Self { cert_file, key_file }
    }

    /// The bytes that a handshake shows.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.cert_file).expect("just written")
    }
}

/// A client that trusts the certificates in `ca_file` and nothing else, and offers `protocols` by ALPN.
pub fn trusting(ca_file: &Path, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(ca_file)
        .expect("the file is there")
        .map(|certificate| certificate.expect("a PEM certificate"))
        .collect();
    trusting_these(certificates, protocols)
}

/// The same by the bytes of one certificate, for HTTP/1.1.
pub fn trusting_der(der: &[u8]) -> Arc<ClientConfig> {
    trusting_these(vec![CertificateDer::from(der.to_vec())], &[b"http/1.1"])
}

fn trusting_these(certificates: Vec<CertificateDer<'static>>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).expect("a certificate that can be trusted");
    }
    let mut config = builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// The certificate that a handshake with `host` shows at `address`, trusted or not; `None` where the handshake fails before it.
pub fn shown(address: SocketAddr, host: &str) -> Option<Vec<u8>> {
    let witness = Arc::new(Witness::default());
    let config =
        builder().dangerous().with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a host name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("the config is complete");
    let mut socket = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    socket.set_read_timeout(Some(DEADLINE)).expect("a time limit can be set");
    // The witness ends the handshake, so this fails as soon as the certificate was shown.
    let _ = connection.complete_io(&mut socket);
    witness.0.lock().expect("no one panics with it").take()
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
}

/// Takes down the certificate that it is shown, and trusts none.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().expect("no one panics with it") = Some(certificate.to_vec());
        Err(rustls::Error::General("seen".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("seen".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("seen".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
