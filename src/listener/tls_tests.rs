//! TLS over real sockets, with certificates made on the spot.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Tls, TlsSettings, TlsVersion, Validity};
use crate::listener::certificate::CertificateFiles;
use crate::policy::time::Timestamp;

/// 2026-06-01.
const NOW: Timestamp = Timestamp::from_unix(1_780_272_000);

/// Writes a certificate for these names, valid through the given years, and its key.
fn issue(dir: &Path, stem: &str, names: &[&str], years: (i32, i32)) -> (CertificateFiles, CertificateDer<'static>) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 3, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let files = CertificateFiles { cert_file: dir.join(format!("{stem}.pem")), key_file: dir.join(format!("{stem}.key")) };
    fs::write(&files.cert_file, certificate.pem()).unwrap();
    fs::write(&files.key_file, key.serialize_pem()).unwrap();
    (files, certificate.der().clone())
}

fn settings(certificates: Vec<CertificateFiles>) -> TlsSettings {
    TlsSettings { certificates, min_version: TlsVersion::V1_2 }
}

fn client(roots: &[&CertificateDer<'static>], versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add((*root).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

struct Met {
    certificate: CertificateDer<'static>,
    version: ProtocolVersion,
    kind: HandshakeKind,
    alpn: Vec<u8>,
}

/// A handshake in memory; an echoed byte after it brings the tickets over.
async fn meet(tls: &Tls, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<Met> {
    let (near, far) = duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(tls.config());
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(near).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    });
    let connector = TlsConnector::from(client.clone());
    let mut stream = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), far).await?;
    stream.write_u8(7).await?;
    assert_eq!(stream.read_u8().await?, 7);
    serving.await.unwrap()?;
    let session = stream.get_ref().1;
    Ok(Met {
        certificate: session.peer_certificates().unwrap()[0].clone().into_owned(),
        version: session.protocol_version().unwrap(),
        kind: session.handshake_kind().unwrap(),
        alpn: session.alpn_protocol().unwrap_or_default().to_vec(),
    })
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name() {
    let dir = TempDir::new().unwrap();
    let (first_files, first) = issue(dir.path(), "first", &["first.example"], (2020, 2099));
    let (second_files, second) = issue(dir.path(), "second", &["second.example", "*.second.example"], (2020, 2099));
    let (exact_files, exact) = issue(dir.path(), "exact", &["a.second.example"], (2020, 2099));
    let tls = Tls::load(&settings(vec![first_files, second_files, exact_files]), NOW).unwrap();
    let config = Arc::new(client(&[&first, &second, &exact], rustls::ALL_VERSIONS));
    let rows = [
        ("first.example", &first),
        ("second.example", &second),
        ("b.second.example", &second),
        ("B.Second.Example", &second),
        ("a.second.example", &exact),
    ];
    for (name, expected) in rows {
        let met = meet(&tls, &config, name).await.unwrap();
        assert_eq!(&met.certificate, expected, "{name}");
        assert_eq!(met.alpn, b"h2", "{name}");
    }
    // Where no certificate has the name, the first is shown, and the client refuses it.
    for name in ["third.example", "c.b.second.example", "192.0.2.1"] {
        let error = meet(&tls, &config, name).await.err().unwrap();
        assert!(error.to_string().contains("certificate not valid for name"), "{name}: {error}");
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_sessions_resume() {
    let dir = TempDir::new().unwrap();
    let (files, root) = issue(dir.path(), "edge", &["edge.example"], (2020, 2099));
    let tls = Tls::load(&settings(vec![files.clone()]), NOW).unwrap();
    for (version, expected) in [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)] {
        let config = Arc::new(client(&[&root], &[version]));
        let fresh = meet(&tls, &config, "edge.example").await.unwrap();
        assert_eq!((fresh.version, fresh.kind), (expected, HandshakeKind::Full));
        assert_eq!(meet(&tls, &config, "edge.example").await.unwrap().kind, HandshakeKind::Resumed, "{expected:?}");
        // A reload does not make every client pay for a new handshake.
        tls.reload(std::slice::from_ref(&files), NOW).unwrap();
        assert_eq!(meet(&tls, &config, "edge.example").await.unwrap().kind, HandshakeKind::Resumed, "{expected:?} after a reload");
    }
    let strict = Tls::load(&TlsSettings { min_version: TlsVersion::V1_3, ..settings(vec![files]) }, NOW).unwrap();
    assert!(meet(&strict, &Arc::new(client(&[&root], &[&rustls::version::TLS12])), "edge.example").await.is_err());
}

#[tokio::test]
async fn a_reload_serves_the_new_and_a_broken_one_leaves_the_old() {
    let dir = TempDir::new().unwrap();
    let (files, old) = issue(dir.path(), "edge", &["edge.example"], (2020, 2098));
    let tls = Tls::load(&settings(vec![files.clone()]), NOW).unwrap();
    let expiry = tls.expiries();
    fs::write(&files.cert_file, "half a fi").unwrap();
    assert!(tls.reload(std::slice::from_ref(&files), NOW).is_err());
    assert_eq!(tls.expiries(), expiry);
    assert_eq!(meet(&tls, &Arc::new(client(&[&old], rustls::ALL_VERSIONS)), "edge.example").await.unwrap().certificate, old);
    let (files, new) = issue(dir.path(), "edge", &["edge.example"], (2020, 2099));
    tls.reload(&[files], NOW).unwrap();
    assert!(tls.expiries()[0].expires > expiry[0].expires);
    assert_eq!(meet(&tls, &Arc::new(client(&[&new], rustls::ALL_VERSIONS)), "edge.example").await.unwrap().certificate, new);
}

#[test]
fn every_error_names_the_file_and_the_remedy() {
    let dir = TempDir::new().unwrap();
    let (good, _) = issue(dir.path(), "good", &["a.example"], (2020, 2099));
    let (other, _) = issue(dir.path(), "other", &["a.example"], (2020, 2099));
    let (old, _) = issue(dir.path(), "old", &["a.example"], (2020, 2026));
    let (future, _) = issue(dir.path(), "future", &["a.example"], (2090, 2099));
    let text = dir.path().join("text.pem");
    fs::write(&text, "no certificate at all\n").unwrap();
    let missing = dir.path().join("missing.pem");
    let swap = |files: &CertificateFiles, cert: &Path, key: &Path| CertificateFiles {
        cert_file: if cert.as_os_str().is_empty() { files.cert_file.clone() } else { cert.to_owned() },
        key_file: if key.as_os_str().is_empty() { files.key_file.clone() } else { key.to_owned() },
    };
    let none = Path::new("");
    let rows = [
        (swap(&good, &missing, none), "certificate `DIR/missing.pem` does not exist; put it there, or name another"),
        (swap(&good, none, &missing), "key `DIR/missing.pem` does not exist; put it there, or name another"),
        (swap(&good, &text, none), "certificate `DIR/text.pem` holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`"),
        (
            swap(&good, none, &text),
            "key `DIR/text.pem` holds no private key: it must be PEM, unencrypted, with `-----BEGIN PRIVATE KEY-----`",
        ),
        (
            swap(&good, none, &other.key_file),
            "certificate `DIR/good.pem` does not belong to the key `DIR/other.key`: issue it for that key, or name its own",
        ),
        (
            swap(&good, &good.key_file, none),
            "certificate `DIR/good.key` holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`",
        ),
        (old, "certificate `DIR/old.pem` expired on 2026-03-01; renew it"),
        (future, "certificate `DIR/future.pem` is not valid before 2090-01-01; check this machine's clock"),
    ];
    for (files, expected) in rows {
        let error = Tls::load(&settings(vec![good.clone(), files]), NOW).unwrap_err();
        let message = error.to_string();
        let of_key = message.starts_with("key");
        assert_eq!(error.place(), Some((1, if of_key { "key_file" } else { "cert_file" })));
        assert_eq!(message.replace(dir.path().to_str().unwrap(), "DIR"), expected);
    }
    assert_eq!(Tls::load(&settings(Vec::new()), NOW).unwrap_err().to_string(), "no certificate is configured");
}

#[test]
fn expiries_are_told_with_their_files() {
    let dir = TempDir::new().unwrap();
    let (files, _) = issue(dir.path(), "edge", &["edge.example"], (2020, 2027));
    let tls = Tls::load(&settings(vec![files.clone()]), NOW).unwrap();
    // 2027-03-01T00:00:00Z is the last second.
    let told = Validity { file: files.cert_file, names: vec!["edge.example".to_owned()], expires: Timestamp::from_unix(1_803_859_201) };
    assert_eq!(tls.expiries(), [told]);
}
