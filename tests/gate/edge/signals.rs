//! Signals: TERM ends it without a lost request, HUP brings new certificates and never breaks what runs, USR1 opens the audit file again.

use std::fs;
use std::net::TcpStream;

use crate::support::certificate::{self, Certificate, trusting, trusting_der};
use crate::support::eventually;
use crate::support::gate::{Gate, audit_records};
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::{Upstream, json_answer};
use crate::support::wire::{Wire, request};

#[test]
fn term_finishes_what_is_in_flight_and_exits_0() {
    let (upstream, held) = Upstream::held();
    let gate = Setup::new(&upstream).start();
    let (token, address) = (gate.token("read"), gate.https());
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &token));
    upstream.wait_for(1);
    gate.signal("TERM");
    eventually("new connections are refused", || TcpStream::connect(address).is_err());
    held.answer(json_answer(200, r#"{"data":[1]}"#));
    let reply = wire.reply().expect("the answer of the request in flight");
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"data":[1]}"#));
    assert!(wire.closed(), "and then the connection ends");
    let ended = gate.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(ended.audit.len(), 1);
}

#[test]
fn term_is_obeyed_as_soon_as_the_gate_says_that_it_is_ready() {
    let upstream = Upstream::json("{}");
    for _ in 0..5 {
        let ended = Setup::embedded(&upstream).start().stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }
}

#[test]
fn term_does_not_wait_for_idle_connections() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\ndrain_timeout = \"5m\"").start();
    let token = gate.token("read");
    let mut idle: Vec<Wire> = (0..3).map(|_| Wire::tls(&gate)).collect();
    assert_eq!(idle[0].exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    let ended = gate.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(idle[0].closed() && idle[1].closed());
}

#[test]
fn term_cuts_what_does_not_end_within_the_drain_timeout() {
    let (upstream, _held) = Upstream::held();
    let gate = Setup::new(&upstream).config("[bounds]\ndrain_timeout = \"1s\"").start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &token));
    upstream.wait_for(1);
    let ended = gate.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(ended.audit.len(), 1, "a cut request is on record");
    assert!(!matches!(wire.try_reply(), Ok(Some(reply)) if reply.status < 500), "no whole answer was there to give");
}

#[test]
fn hup_shows_the_new_certificate_and_keeps_old_connections() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut before = Wire::tls(&gate);
    assert_eq!(before.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    let old = trusting(&gate.setup.certificate.cert_file, &[b"http/1.1"]);
    let fresh = Certificate::write(gate.setup.dir.path(), "fresh", &[SITE]);
    fs::copy(&fresh.key_file, &gate.setup.certificate.key_file).expect("the directory is ours");
    fs::copy(&fresh.cert_file, &gate.setup.certificate.cert_file).expect("the directory is ours");
    assert_ne!(shown(&gate), Some(fresh.der().to_vec()));
    gate.signal("HUP");
    eventually("the new certificate is shown", || shown(&gate) == Some(fresh.der().to_vec()));
    assert_eq!(before.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200, "the old connection lives on");
    let mut distrusting = Wire::over_tls(gate.https(), SITE, old);
    assert!(distrusting.try_send(request("GET", "/api/resource/ToDo", &token).as_bytes()).is_err(), "it is another certificate");
    assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
}

#[test]
fn a_hup_in_the_moment_of_the_start_reloads_and_ends_nothing() {
    let gate = Setup::embedded(&Upstream::json("{}")).start();
    gate.signal("HUP");
    eventually("it is reloaded", || gate.log().contains("reloaded"));
    assert!(gate.stop().status.success());
}

#[test]
fn hup_with_a_broken_certificate_or_config_keeps_the_old_one() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let old = gate.setup.certificate.der().to_vec();
    fs::write(&gate.setup.certificate.cert_file, "not a certificate").expect("the directory is ours");
    gate.signal("HUP");
    eventually("the log says what is wrong", || gate.log().contains("edge.pem"));
    assert_eq!(shown(&gate), Some(old.clone()));
    fs::write(&gate.config, "[listen\n").expect("the directory is ours");
    let logged = gate.log().len();
    gate.signal("HUP");
    eventually("the log says what is wrong", || gate.log()[logged..].contains("scopegate.toml"));
    assert_eq!(shown(&gate), Some(old.clone()));
    let config = trusting_der(&old);
    assert_eq!(Wire::over_tls(gate.https(), SITE, config).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
}

#[test]
fn usr1_opens_the_audit_file_again() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let list = || request("GET", "/api/resource/ToDo", &token);
    assert_eq!(Wire::tls(&gate).exchange(list()).status, 200);
    gate.audit_of(1);
    let rotated = gate.setup.dir.path().join("audit.log.1");
    fs::rename(gate.setup.audit_file(), &rotated).expect("the directory is ours");
    gate.signal("USR1");
    eventually("the file is there again", || gate.setup.audit_file().exists());
    assert_eq!(Wire::tls(&gate).exchange(list()).status, 200);
    assert_eq!(gate.audit_of(1).len(), 1);
    assert_eq!(audit_records(&rotated).len(), 1);
}

/// The certificate that a handshake shows now.
fn shown(gate: &Gate) -> Option<Vec<u8>> {
    certificate::shown(gate.https(), SITE)
}
