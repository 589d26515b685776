//! Where Redis is and how it is spoken to: `[store]` of kind "redis".

use super::*;
use crate::store::servers::{Host, Servers, Topology};

/// `keys` in `[store]`, from line 11 on.
fn redis(keys: &str) -> String {
    format!("\n[store]\nkind = \"redis\"\n{keys}")
}

fn servers(keys: &str) -> (Servers, Vec<String>) {
    let (config, warnings) = with(&redis(keys)).unwrap_or_else(|error| panic!("{keys}\n{error}"));
    let Backend::Redis { servers, .. } = config.store.backend else { panic!("{keys}") };
    (servers, warnings.iter().map(ToString::to_string).collect())
}

const SENTINELS: &str = "sentinels = [\"redis://127.0.0.1:26379\", \"redis://[::1]\", \"redis://localhost:26381/\"]\nmaster = \"mymaster\"";
const CLUSTER: &str = "cluster = [\"rediss://a.internal:6380\", \"rediss://10.0.0.2\"]";

#[test]
fn each_topology_is_read_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
        path.display().to_string()
    };
    let made = rcgen::generate_simple_self_signed(Vec::new()).expect("a certificate");
    let (certificate, key) = (file("cert.pem", &made.cert.pem()), file("key.pem", &made.signing_key.serialize_pem()));
    let (password, other) = (file("password", "pass-canary\n"), file("other", "word-canary\n"));

    let (read, warnings) = servers(&format!(
        "{SENTINELS}\ndatabase = 3\nuser = \"gate\"\npassword_file = \"{password}\"\nsentinel_user = \"asks\"\nsentinel_password_file = \"{other}\"\n\
         wait_replicas = 2\nwait_timeout = \"1s\""
    ));
    assert_eq!(warnings, [""; 0]);
    assert!(!format!("{read:?}").contains("canary"));
    assert_eq!((read.replicas.wanted, read.replicas.timeout), (2, Duration::from_secs(1)));
    let Topology::Sentinel { sentinels, sentinel_login, master, database, login, encrypted } = read.topology else { panic!("sentinels") };
    assert_eq!(sentinels.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:26379", "[::1]:26379", "localhost:26381"]);
    assert_eq!((&*master, database, encrypted), ("mymaster", 3, false));
    assert_eq!((login.user.as_deref(), login.password.map(|word| word.0)), (Some("gate"), Some("pass-canary".into())));
    assert_eq!((sentinel_login.user.as_deref(), sentinel_login.password.map(|word| word.0)), (Some("asks"), Some("word-canary".into())));

    let (read, warnings) = servers(&format!("{CLUSTER}\nca_file = \"{certificate}\"\ncert_file = \"{certificate}\"\nkey_file = \"{key}\""));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(read.replicas.wanted, 0);
    assert!(read.tls.authorities.is_some() && read.tls.identity.is_some());
    assert!(!format!("{read:?}").contains("PRIVATE"));
    let Topology::Cluster { seeds, encrypted, .. } = read.topology else { panic!("a Cluster") };
    assert_eq!(seeds, [Host { name: "a.internal".into(), port: 6380 }, Host { name: "10.0.0.2".into(), port: 6379 }]);
    assert!(encrypted);

    let (read, _) = servers(&format!("url = \"rediss://h\"\nca_file = \"{certificate}\""));
    assert!(matches!(read.topology, Topology::Single(_)) && read.tls.authorities.is_some() && read.tls.identity.is_none());

    for (keys, named) in [
        (format!("{CLUSTER}\nca_file = \"{key}\""), "`store.ca_file`: holds no certificate"),
        (format!("{CLUSTER}\ncert_file = \"{key}\"\nkey_file = \"{key}\""), "`store.cert_file`: holds no certificate"),
        (format!("{CLUSTER}\ncert_file = \"{certificate}\"\nkey_file = \"{certificate}\""), "`store.key_file`: holds no private key"),
        (format!("{CLUSTER}\ncert_file = \"{certificate}\""), "`store.key_file`: missing"),
        (format!("{CLUSTER}\nkey_file = \"{key}\""), "`store.cert_file`: missing"),
        (format!("{SENTINELS}\nca_file = \"{certificate}\""), "`store.ca_file`: is set, yet TLS is not spoken"),
        (format!("url = \"redis://localhost\"\nca_file = \"{certificate}\""), "`store.ca_file`: is set, yet TLS is not spoken"),
    ] {
        let told = refusal(&redis(&keys));
        assert!(told.contains(named), "{keys}\n{told}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_remedy() {
    for (keys, told) in [
        (
            format!("url = \"redis://localhost\"\n{CLUSTER}"),
            "gate.toml:12: `store.cluster`: is set beside `url`; keep one of the two: a Redis is one server, a Cluster, or known to sentinels",
        ),
        (
            format!("{CLUSTER}\n{SENTINELS}"),
            "gate.toml:12: `store.sentinels`: is set beside `cluster`; keep one of the two: a Redis is one server, a Cluster, or known to \
             sentinels",
        ),
        (format!("{CLUSTER}\ndatabase = 1"), "gate.toml:12: `store.database`: is set, yet a Cluster has one database only; remove it"),
        (format!("{CLUSTER}\nmaster = \"m\""), "gate.toml:12: `store.master`: is for `sentinels`; remove it"),
        (format!("{CLUSTER}\nsentinel_password = \"x\""), "gate.toml:12: `store.sentinel_password`: is for `sentinels`; remove it"),
        (
            "url = \"redis://localhost\"\npassword = \"x\"".to_owned(),
            "gate.toml:12: `store.password`: is for `cluster` and `sentinels`; write it into the address: redis://user:password@host:6379/0",
        ),
        (
            "sentinels = [\"redis://localhost\"]".to_owned(),
            "gate.toml:9: `store.master`: missing, and `sentinels` needs it; write the name that they know it by, like \"mymaster\"",
        ),
        (
            format!("{CLUSTER}\nuser = \"gate\""),
            "gate.toml:12: `store.user`: is set without a password; name a file that holds it by `password_file`",
        ),
        ("cluster = []".to_owned(), "gate.toml:11: `store.cluster`: is empty; write addresses like \"redis://10.0.0.1:6379\""),
        (
            "cluster = [\"redis://localhost\", \"rediss://10.0.0.1\"]".to_owned(),
            "gate.toml:11: `store.cluster`: mixes redis:// and rediss://; TLS is spoken with all of them, or with none",
        ),
        (
            "sentinels = [\"redis://localhost\", \"redis://localhost:26379\"]\nmaster = \"m\"".to_owned(),
            "gate.toml:11: `store.sentinels`: names localhost:26379 twice; name each once",
        ),
    ] {
        assert_eq!(refusal(&redis(&keys)), told, "{keys}");
    }
    for (row, key) in [
        ("\n[store]\ncluster = [\"redis://localhost\"]", "`store.kind`"),
        ("\n[store]\nsentinels = [\"redis://localhost\"]", "`store.kind`"),
        ("\n[store]\nwait_replicas = 1", "`store.wait_replicas`"),
        ("\n[store]\nwait_replicas = 11", "`store.wait_replicas`"),
        ("\n[store]\nwait_timeout = \"2s\"", "`store.wait_timeout`"),
        ("\n[store]\non_store_loss = \"pray\"", "`store.on_store_loss`"),
        ("\n[store]\nserve_known = \"11m\"", "`store.serve_known`"),
        ("\n[store]\nserve_known = \"500ms\"", "`store.serve_known`"),
        ("\n[store]\nserve_known = \"30s\"\nrevocation_bound = \"40s\"", "`store.serve_known`: is shorter than `revocation_bound`"),
        ("\n[store]\nserve_known = \"30s\"\non_store_loss = \"refuse\"", "`store.serve_known`: is set beside `on_store_loss`"),
    ] {
        let told = refusal(row);
        assert!(told.contains(key), "{row}\n{told}");
    }
}

#[test]
fn an_address_is_one_of_redis_and_is_never_repeated() {
    for bad in [
        "",
        "pass-canary",
        "redis://",
        "redis://:6379",
        "http://pass-canary",
        "redis://pass-canary:0",
        "redis://pass-canary:65536",
        "redis://pass-canary:x",
        "redis://pass-canary/1",
        "redis://pass-canary?db=1",
        "rediss://pass-canary#insecure",
        "redis://[pass-canary]:1",
        "redis://[::1",
        "redis://[::1]x",
        "redis://a:pass-canary@h:6379",
        "redis://:pass-canary@h",
        "redis+unix:///pass-canary",
        "redis://pass canary",
    ] {
        for key in ["cluster", "sentinels"] {
            let told = refusal(&redis(&format!("{key} = [\"{bad}\"]\nmaster = \"m\"")));
            assert!(told.contains(&format!("`store.{key}`: has an address")), "{bad}\n{told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }
}

#[test]
fn an_open_wire_and_an_open_secret_are_warned_of() {
    for (keys, told) in [
        ("cluster = [\"redis://10.0.0.1\"]", "`store.cluster`: records cross the network to `10.0.0.1` unencrypted"),
        ("sentinels = [\"redis://s1\"]\nmaster = \"m\"", "`store.sentinels`: records cross the network to `s1` unencrypted"),
        ("cluster = [\"redis://localhost\"]\npassword = \"x\"", "`store.password`: a secret in this file is seen"),
        ("sentinels = [\"redis://localhost\"]\nmaster = \"m\"\nsentinel_password = \"x\"", "`store.sentinel_password`: a secret"),
    ] {
        let (_, warnings) = servers(keys);
        assert_eq!(warnings.len(), 1, "{keys}\n{warnings:?}");
        assert!(warnings[0].contains(told), "{keys}\n{warnings:?}");
    }
    let (config, _) = with("\n[store]\nserve_known = \"30s\"").expect("right");
    assert_eq!(config.store.serve_known, Some(Duration::from_secs(30)));
    let (config, _) = with("\n[store]\non_store_loss = \"refuse\"").expect("right");
    assert_eq!(config.store.serve_known, None);
}
