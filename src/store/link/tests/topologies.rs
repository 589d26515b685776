//! The contract of all stores on a Cluster, on a watched master, by the user of deploy/redis and by TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{cluster_of, single_at, watched_by};
use crate::store::contract::{self, PATIENCE};
use crate::store::redis::RedisStore;
use crate::store::redis_cluster::RedisCluster;
use crate::store::redis_server::{RedisServer, free_port};
use crate::store::redis_watched::Watched;
use crate::store::servers::{Identity, Login, Password, Servers, Tls};
use crate::store::{ClientStore, RedisUrl, Store};

/// A store below a prefix of its own.
async fn open(servers: &Servers) -> RedisStore {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("sg{}", OPENED.fetch_add(1, Ordering::Relaxed));
    RedisStore::connect(servers, &prefix, PATIENCE).await.unwrap()
}

async fn contract_holds(servers: &Servers) {
    issued_and_kept(servers).await;
    contract::export::every_rule(async || Arc::new(open(servers).await) as Arc<dyn Store>).await;
}

async fn issued_and_kept(servers: &Servers) {
    contract::every_rule(async || Arc::new(open(servers).await) as Arc<dyn Store>).await;
    contract::kept::every_rule(async || Arc::new(open(servers).await) as Arc<dyn Store>).await;
    contract::presence::every_rule(async || Arc::new(open(servers).await) as Arc<dyn Store>).await;
    contract::revocations::every_rule(async || Arc::new(open(servers).await) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn a_cluster_is_a_store() {
    let cluster = RedisCluster::start(&[]);
    contract_holds(&cluster_of(&cluster.urls(), Login::default())).await;
}

/// The rights of a file in deploy/, for keys of the prefixes above.
pub fn rights(file: &str) -> Vec<String> {
    let line = file.lines().find(|line| line.starts_with("user scopegate ")).expect("the file has the user");
    line.split(' ').skip(2).map(|word| word.replace("~sg:*", "~sg*")).collect()
}

fn login() -> Login {
    Login { user: Some("scopegate".into()), password: Some(Password("PASSWORD".into())) }
}

/// With what `store copy` needs besides, by the line of the runbook.
fn admit_for_copies(port: u16) {
    let runbook = include_str!("../../../../deploy/RUNBOOK.md");
    let line = runbook.lines().find(|line| line.starts_with("ACL SETUSER scopegate +")).expect("the runbook has the line");
    let mut connection = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection().unwrap();
    redis::cmd("ACL").arg(line.split(' ').skip(1).collect::<Vec<_>>()).query::<()>(&mut connection).unwrap();
}

fn admit(port: u16, file: &str) {
    let mut connection = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection().unwrap();
    redis::cmd("ACL").arg("SETUSER").arg("scopegate").arg(rights(file)).query::<()>(&mut connection).unwrap();
}

const USERS: &str = include_str!("../../../../deploy/redis/users.acl");
const SENTINEL_USERS: &str = include_str!("../../../../deploy/redis/sentinel-users.acl");

#[tokio::test]
async fn a_master_that_sentinels_name_is_a_store_for_the_users_of_deploy() {
    let watched = Watched::start(&[]);
    for port in watched.sentinel_ports() {
        admit(port, SENTINEL_USERS);
    }
    admit(watched.master.port(), USERS);
    admit_for_copies(watched.master.port());
    contract_holds(&watched_by(&watched.urls(), login(), login())).await;
}

#[tokio::test]
async fn the_user_of_deploy_may_do_all_that_a_store_does_and_no_more() {
    let server = RedisServer::start();
    admit(server.port(), USERS);
    let url = server.url().replacen("redis://", "redis://scopegate:PASSWORD@", 1);
    let servers = single_at(&url);
    issued_and_kept(&servers).await;
    let mut connection = redis::Client::open(&*url).unwrap().get_connection().unwrap();
    for words in
        [&["FLUSHALL"][..], &["CONFIG", "GET", "*"], &["KEYS", "*"], &["GET", "other:key"], &["ACL", "LIST"], &["CLUSTER", "RESET"]]
    {
        let error = redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut connection).expect_err(words[0]).to_string();
        assert!(error.to_ascii_uppercase().contains("NOPERM"), "{words:?}: {error}");
    }
}

#[tokio::test]
async fn a_cluster_is_a_store_for_the_user_of_deploy() {
    let cluster = RedisCluster::start(&[]);
    for server in &cluster.servers {
        admit(server.port(), USERS);
    }
    let store = open(&cluster_of(&cluster.urls(), login())).await;
    store.ping().await.unwrap();
    assert!(store.create_client("erp", &contract::client("crm")).await.unwrap());
    assert_eq!(store.clients("erp").await.unwrap().len(), 1);
}

/// A private authority, and what it signed.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn signed() -> Signed {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Of a certificate that is named like its issuer, OpenSSL thinks that it signed itself.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    Signed { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

#[tokio::test]
async fn tls_is_spoken_with_a_private_authority_and_a_certificate_of_ones_own() {
    let (ours, theirs) = (signed(), signed());
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, cert, key) = (file("ca.pem", &ours.authority), file("cert.pem", &ours.certificate), file("key.pem", &ours.key));
    let port = std::cell::Cell::new(0);
    let _server = RedisServer::with(|| {
        port.set(free_port());
        let port = port.get().to_string();
        ["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key].map(str::to_owned).to_vec()
    });
    let bytes = |text: &str| Arc::<[u8]>::from(text.as_bytes());
    let identity = |of: &Signed| Some(Identity { certificates: bytes(&of.certificate), key: bytes(&of.key) });
    let url = RedisUrl(format!("rediss://127.0.0.1:{}/0", port.get()).into());
    let by = |authorities, identity| Servers { tls: Tls { authorities, identity }, ..Servers::from(&url) };

    contract_holds(&by(Some(bytes(&ours.authority)), identity(&ours))).await;
    for (tls, why) in [
        (by(Some(bytes(&theirs.authority)), identity(&ours)), "another authority"),
        (by(None, identity(&ours)), "the system's authorities"),
        (by(Some(bytes(&ours.authority)), None), "no certificate of one's own"),
        (by(Some(bytes(&ours.authority)), identity(&theirs)), "a certificate of somebody else's"),
        (by(Some(bytes("garbage")), None), "no authority at all"),
        (by(None, Some(Identity { certificates: bytes(&ours.certificate), key: bytes("garbage") })), "a key that is none"),
    ] {
        let error = RedisStore::connect(tls, "sg", PATIENCE).await.err().unwrap_or_else(|| panic!("{why}: connected")).0;
        assert!(error.contains("redis at 127.0.0.1:"), "{why}: {error}");
        assert!(!error.contains("does not answer"), "{why}: {error}");
        assert!(!error.contains("garbage") && !error.contains("PRIVATE KEY"), "{why}: {error}");
    }
}
