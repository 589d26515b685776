//! Whole-phase deadlines (DESIGN section 10 rule 9): a peer that trickles or sleeps is cut off, and one that works is not.

use std::io::Write;
use std::time::Duration;

use crate::support::eventually;
use crate::support::setup::Setup;
use crate::support::upstream::{Then, Upstream};
use crate::support::verdict::reason;
use crate::support::wire::{Wire, json_request, request};

#[test]
fn a_head_that_does_not_end_is_cut_off_however_it_trickles() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nheader_timeout = \"1s\"").start();
    for mut wire in [Wire::tls(&gate), Wire::plain(&gate)] {
        wire.send("GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n");
        // A field every few milliseconds: a timer for each read would never fire.
        eventually("the connection is cut", || wire.try_send(b"X-A: b\r\n").is_err());
        let rest = wire.rest();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
    }
    upstream.assert_untouched();
}

#[test]
fn an_idle_connection_and_a_handshake_that_does_not_come_are_closed() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nidle_timeout = \"1s\"\nhandshake_timeout = \"1s\"\nheader_timeout = \"1s\"").start();
    let token = gate.token("read");
    let mut used = Wire::tls(&gate);
    assert_eq!(used.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    assert!(used.closed(), "between two requests");
    let mut silent = Wire::plain_to(gate.https());
    assert!(silent.closed(), "before the handshake");
    let mut silent = Wire::plain(&gate);
    assert!(silent.closed(), "before the first request");
    let mut wire = Wire::h2(&gate);
    // Its SETTINGS may come first, and its farewell.
    wire.rest();
}

#[test]
fn a_body_that_does_not_come_is_408_and_never_reaches_the_upstream() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nbody_timeout = \"1s\"").start();
    let token = gate.token("write");
    let whole = json_request("POST", "/api/resource/ToDo", &token, r#"{"description":"x"}"#);
    let mut wire = Wire::tls(&gate);
    wire.send(&whole[..whole.len() - 1]);
    let reply = wire.reply().expect("an answer");
    reason(&reply);
    assert_eq!(reply.status, 408, "{reply:?}");
    assert!(wire.closed());
    upstream.assert_untouched();
    let records = gate.stop().audit;
    assert_eq!(records.len(), 1, "{records:#?}");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let (upstream, _held) = Upstream::held();
    let gate = Setup::new(&upstream).config("[upstream]\nfirst_byte_timeout = \"1s\"").start();
    let token = gate.token("read write");
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token));
    reason(&reply);
    assert_eq!(reply.status, 504, "{reply:?}");
    let reply = Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", &token, "{}"));
    assert_eq!(reply.status, 504, "{reply:?}");
    let posts = upstream.requests().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 1, "what may have been done is not sent twice");
    assert_eq!(gate.stop().audit.len(), 2);
}

#[test]
fn an_answer_that_does_not_end_is_cut_at_the_total_time_and_not_completed() {
    let upstream = Upstream::scripted(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"data\":");
        // The next byte never comes: a read that ends with the gate's patience.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
        let _ = std::io::Read::read(stream, &mut [0]);
        Then::Close
    });
    let gate = Setup::new(&upstream).config("[upstream]\ntotal_timeout = \"1s\"\nfirst_byte_timeout = \"1s\"").start();
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &gate.token("read")));
    assert!(wire.try_reply().is_err(), "half an answer is not an answer");
    assert_eq!(gate.stop().audit.len(), 1);
}
