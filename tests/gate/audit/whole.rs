//! A bad day: clients that go away, a site that hangs, breaks off and dies, a drain, a kill. One line for each request, and a chain.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::audit::{CHAIN_KEY, end, whole};
use crate::support::eventually;
use crate::support::gate::audit_records;
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::{Then, Upstream, json_answer};
use crate::support::wire::{Wire, json_request, request};

const CLIENTS: usize = 4;
const ROUNDS: usize = 12;

/// A site that does what the name of the document says.
fn moody() -> Upstream {
    Upstream::scripted(|seen, stream| {
        if seen.target.contains("hang") {
            // Until the gate gives up.
            let _ = stream.read(&mut [0; 1]);
        } else if seen.target.contains("cut") {
            let answer = json_answer(200, "{\"data\":[1,2,3,4,5,6,7,8]}");
            let _ = stream.write_all(&answer[..answer.len() - 5]);
        } else if !seen.target.contains("dead") {
            let _ = stream.write_all(&json_answer(200, "{}"));
            return Then::KeepOpen;
        }
        Then::Close
    })
}

fn get(mood: &str, client: usize, round: usize, token: &str) -> (String, String) {
    let name = format!("{mood}-{client}-{round}");
    (request("GET", &format!("/api/resource/ToDo/{name}"), token), name)
}

/// Waits until the site has the request for `name`, so that there surely was one.
fn arrived(upstream: &Upstream, name: &str) {
    eventually("it arrives", || upstream.requests().iter().any(|seen| seen.target.ends_with(name)));
}

/// One client's day; the names it asked for, and how many requests had no name.
fn day(gate: &(SocketAddr, PathBuf), upstream: &Upstream, client: usize, tokens: &(String, String)) -> (Vec<String>, usize) {
    let (read, write) = tokens;
    let (mut names, mut nameless) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let mood = ["fine", "dead", "cut", "fine", "hang", "left"][round % 6];
        let (request, name) = get(if mood == "left" { "hang-left" } else { mood }, client, round, read);
        let mut wire = Wire::tls_to(gate.0, SITE, &gate.1);
        wire.send(&request);
        if mood == "left" {
            arrived(upstream, &name);
            wire.abandon();
        } else {
            let _ = wire.try_reply();
        }
        names.push(name);
        if round % 4 == 0 {
            let whole = json_request("POST", "/api/resource/ToDo", write, r#"{"description":"x"}"#);
            let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
            let mut wire = Wire::tls_to(gate.0, SITE, &gate.1);
            wire.send(format!("{head}\r\nExpect: 100-continue\r\n\r\n"));
            // It has come to the body, so there surely was a request.
            assert_eq!(wire.read(12).as_deref(), Some(&b"HTTP/1.1 100"[..]));
            wire.send(&body[..5]);
            wire.abandon();
            nameless += 1;
        }
    }
    (names, nameless)
}

#[test]
fn one_line_for_every_request_of_a_bad_day() {
    let upstream = moody();
    let times = "first_byte_timeout = \"700ms\"\ntotal_timeout = \"10s\"";
    let config = format!("[upstream]\n{times}\n[bounds]\ndrain_timeout = \"1s\"\n[audit]\n{CHAIN_KEY}\n[listen]\nworkers = 2");
    let mut gate = Setup::new(&upstream).config(&config).start();
    let tokens = (gate.token("read"), gate.token("write"));
    let door = (gate.https(), gate.setup.certificate.cert_file.clone());
    let mut names = Vec::new();
    let mut nameless = 0;
    thread::scope(|scope| {
        let days: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (gate, upstream, tokens) = (&door, &upstream, &tokens);
                scope.spawn(move || day(gate, upstream, client, tokens))
            })
            .collect();
        for day in days {
            let (asked, others) = day.join().expect("a client does not panic");
            names.extend(asked);
            nameless += others;
        }
    });
    // What a client did not send to its end may still be on its way in.
    eventually("the abandoned bodies are on record", || gate.audit().iter().filter(|record| record["name"].is_null()).count() >= nameless);
    // And some that the drain cuts off.
    let mut cut: Vec<Wire> = Vec::new();
    for round in 0..5 {
        let (request, name) = get("hang-drained", 0, round, &tokens.0);
        let mut wire = Wire::tls(&gate);
        wire.send(&request);
        arrived(&upstream, &name);
        cut.push(wire);
        names.push(name);
    }
    end(&mut gate);
    let records = gate.audit();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for record in &records {
        *by_name.entry(record["name"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for name in &names {
        assert_eq!(by_name.get(name.as_str()), Some(&1), "{name}");
    }
    assert_eq!(records.len(), names.len() + nameless);
    let found = whole(&gate, &[]);
    assert_eq!((&found["requests"], &found["lost"]), (&records.len().into(), &0.into()), "{found:#}");
    for outcome in ["served", "refused", "timed_out", "abandoned"] {
        assert!(records.iter().any(|record| record["outcome"] == outcome), "none was {outcome}");
    }
}

#[test]
fn the_chain_goes_on_over_rotations_restarts_and_kills() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).config(&format!("[audit]\n{CHAIN_KEY}")).start();
    let token = gate.token("read");
    let log = gate.setup.audit_file();
    let rotated = |number: usize| gate_file(&log, number);
    let list = || request("GET", "/api/resource/ToDo", &token);
    for round in 1..=3 {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (address, ca_file) = (gate.https(), &gate.setup.certificate.cert_file);
            let (stop, list) = (&stop, &list);
            scope.spawn(move || {
                let mut wire = Wire::tls_to(address, SITE, ca_file);
                while !stop.load(Ordering::Relaxed) && wire.try_send(list().as_bytes()).is_ok() && matches!(wire.try_reply(), Ok(Some(_))) {
                }
            });
            gate.audit_of(20);
            std::fs::rename(&log, rotated(round)).expect("the directory is ours");
            gate.signal("USR1");
            eventually("the file is there again", || audit_records(&log).len() > 20);
            gate.signal(if round == 2 { "TERM" } else { "KILL" });
            stop.store(true, Ordering::Relaxed);
        });
        gate.wait_killed();
        gate.restart();
    }
    end(&mut gate);
    let files = [rotated(1), rotated(2), rotated(3), log.clone()].map(|path| path.display().to_string());
    let found = whole(&gate, &files.each_ref().map(String::as_str));
    assert_eq!(found["gates"], 4, "{found:#}");
    // Whatever retention leaves can be checked by itself.
    whole(&gate, &files[2..].iter().map(String::as_str).collect::<Vec<_>>());
}

fn gate_file(log: &std::path::Path, number: usize) -> std::path::PathBuf {
    log.with_extension(format!("log.{number}"))
}
