//! What the operator sees when something is wrong: one message that names it and the remedy, exit code 78, before a port is open.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::support::certificate::Certificate;
use crate::support::gate::cli;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, refusing};

/// `serve` ends by itself with `code` and says each of `words`.
fn ends(config: &Path, code: i32, words: &[&str]) {
    let output = cli(config, &["serve", "--ready-json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "no port was announced: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` in {stderr}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream).config("[listen]\nworker = 1");
    let config = setup.write();
    let text = fs::read_to_string(&config).expect("just written");
    let line = text.lines().position(|line| line.starts_with("worker = ")).expect("it is there") + 1;
    ends(&config, 78, &["scopegate.toml", &line.to_string(), "worker", "workers"]);
    let checked = cli(&config, &["check"]);
    assert_eq!(checked.status.code(), Some(78), "`check` says the same");
}

#[test]
fn a_config_that_is_not_toml_or_not_there_is_78() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let config = setup.write();
    fs::write(&config, "[listen\nhttps = 1\n").expect("the directory is ours");
    ends(&config, 78, &["scopegate.toml"]);
    fs::remove_file(&config).expect("the directory is ours");
    ends(&config, 78, &["scopegate.toml"]);
}

#[test]
fn a_bad_certificate_is_78_and_named() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let config = setup.write();
    let other = Certificate::write(setup.dir.path(), "other", &["other.test"]);
    fs::copy(&other.key_file, &setup.certificate.key_file).expect("the directory is ours");
    ends(&config, 78, &["scopegate.toml:", "`tls.certificate.cert_file`", "edge.pem", "does not belong to the key"]);
    fs::write(&setup.certificate.cert_file, "nonsense").expect("the directory is ours");
    ends(&config, 78, &["scopegate.toml:", "`tls.certificate.cert_file`", "edge.pem"]);
    Certificate::write(setup.dir.path(), "edge", &["edge.test"]);
    fs::remove_file(&setup.certificate.key_file).expect("just written");
    ends(&config, 78, &["scopegate.toml:", "`tls.certificate.key_file`", "edge.key", "put it there"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let upstream = Upstream::json("{}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    for key in ["https", "http"] {
        let setup = Setup::embedded(&upstream).config(&format!("[listen]\n{key} = [\"{address}\"]"));
        ends(&setup.write(), 78, &["scopegate.toml:", &format!("`listen.{key}`"), &address, "the port is taken"]);
    }
    let setup = Setup::embedded(&upstream).config(&format!("[metrics]\nlisten = \"{address}\""));
    ends(&setup.write(), 78, &["scopegate.toml:", "`metrics.listen`", &address]);
}

#[test]
fn an_admin_socket_in_use_and_an_audit_file_that_cannot_be_written_are_named() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let _other = std::os::unix::net::UnixListener::bind(setup.dir.path().join("admin.sock")).expect("a free path");
    ends(&setup.write(), 78, &["scopegate.toml:", "`admin.socket`", "another gate answers"]);
    let setup = Setup::embedded(&upstream).config("[audit]\nfile = \"/dev/null/audit.log\"");
    ends(&setup.write(), 78, &["scopegate.toml:", "`audit.file`", "/dev/null/audit.log"]);
}

#[test]
fn a_second_gate_on_the_same_store_is_refused() {
    let gate = Setup::embedded(&Upstream::json("{}")).start();
    let store = gate.setup.dir.path().join("store.redb");
    let second = Setup::embedded(&Upstream::json("{}")).config(&format!("[store]\npath = \"{}\"", store.display()));
    ends(&second.write(), 78, &["scopegate.toml:", "`store.path`", "held by another process", "admin socket"]);
    let told = gate.log();
    for listening in [format!("https {}", gate.https()), format!("http {}", gate.http()), "metrics 127.0.0.1:".to_owned()] {
        assert!(told.contains(&listening), "`{listening}` in {told}");
    }
}

#[test]
fn a_store_that_cannot_be_reached_at_the_start_is_78_before_a_port_is_open() {
    let upstream = Upstream::json("{}");
    let (_socket, address) = refusing();
    let setup = Setup::redis_at(&format!("redis://:fake-redis-password@{address}/"), &upstream.url());
    let config = setup.write();
    ends(&config, 78, &["scopegate.toml:", "`store.url`", &address.to_string(), "check the address"]);
    let output = cli(&config, &["serve"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("fake-redis-password"), "a password is not shown");
    let setup = Setup::embedded(&upstream).config("[store]\npath = \"/dev/null/directory/store.redb\"");
    ends(&setup.write(), 78, &["scopegate.toml:", "`store.path`", "/dev/null/directory"]);
}

#[test]
fn a_good_config_passes_check() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let output = cli(&setup.write(), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_usage_is_2() {
    let upstream = Upstream::json("{}");
    let config = Setup::embedded(&upstream).write();
    for arguments in [&["nosuch"][..], &["serve", "--nosuch"], &["client"], &["token", "issue"]] {
        assert_eq!(cli(&config, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
