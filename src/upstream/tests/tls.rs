//! HTTPS upstreams, with certificates made on the spot.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::peer::{Peer, Wire};
use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn server(&self, name: &str, expired: bool) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn answer_all(mut wire: Wire, _: usize) {
    while wire.request().await.is_some() {
        wire.answer("ok").await;
    }
}

async fn https(acceptor: TlsAcceptor) -> (Peer, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = Peer::listen(listener, Some(acceptor), answer_all);
    let url = format!("https://localhost:{}", peer.address.port());
    (peer, url)
}

fn trusting(url: &str, ca: Vec<CertificateDer<'static>>) -> Arc<Upstreams> {
    let servers = vec![ServerUrl::parse(url).expect("a URL")];
    Upstreams::new(vec![SiteServers { frappe_site: "erp.test".into(), servers, settings: settings(), ca }]).expect("a good site")
}

#[tokio::test]
async fn a_trusted_server_is_spoken_to_and_its_connection_kept() {
    let authority = Authority::new();
    let (peer, url) = https(authority.server("localhost", false)).await;
    let worker = trusting(&url, vec![authority.certificate()]).worker();
    for _ in 0..3 {
        assert_eq!(text(get(worker.site(0)).await.expect("an answer")).await.expect("a body"), "ok");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn untrusted_servers_get_no_request() {
    let authority = Authority::new();
    for (acceptor, trusted, why) in [
        (authority.server("elsewhere.test", false), authority.certificate(), "another name"),
        (authority.server("localhost", true), authority.certificate(), "expired"),
        (authority.server("localhost", false), Authority::new().certificate(), "another authority"),
    ] {
        let (peer, url) = https(acceptor).await;
        let upstreams = trusting(&url, vec![trusted]);
        let worker = upstreams.worker();
        let error = get(worker.site(0)).await.err().expect(why);
        assert!(matches!(error, UpstreamError::Tls(_)), "{why}: {error}");
        assert_eq!(error.status(), 502);
        assert_eq!(peer.requests(), [""; 0], "{why}");
        assert_eq!(upstreams.status()[0].failures, 1, "{why}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_gets_no_request() {
    let peer = Peer::start(async |mut wire: Wire, _| wire.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await).await;
    let url = peer.url().replace("http:", "https:");
    let worker = trusting(&url, vec![Authority::new().certificate()]).worker();
    let error = get(worker.site(0)).await.err().expect("no TLS");
    assert!(matches!(error, UpstreamError::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_body_without_length_that_ends_without_goodbye_is_truncated() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = Peer::listen(listener, Some(authority.server("localhost", false)), async |mut wire: Wire, _| {
        wire.request().await;
        // The TLS stream is dropped without its close_notify.
        wire.write("HTTP/1.1 200 OK\r\n\r\nhalf").await;
    });
    let url = format!("https://localhost:{}", peer.address.port());
    let worker = trusting(&url, vec![authority.certificate()]).worker();
    let error = text(get(worker.site(0)).await.expect("a head")).await.expect_err("half a body");
    assert!(matches!(error, UpstreamError::Truncated(_)), "{error}");
}

#[test]
fn authorities_that_are_none_are_refused() {
    let servers = vec![ServerUrl::parse("https://localhost").expect("a URL")];
    let ca = vec![CertificateDer::from(b"no certificate".to_vec())];
    let site = SiteServers { frappe_site: "erp.test".into(), servers, settings: settings(), ca };
    let error = Upstreams::new(vec![site]).err().expect("no authority");
    assert!(error.to_string().starts_with("a CA certificate for the upstream cannot be used: "), "{error}");
}
