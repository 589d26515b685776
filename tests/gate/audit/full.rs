//! What happens to requests while the log cannot be written.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::audit::{CHAIN_KEY, end, whole};
use crate::support::eventually;
use crate::support::gate::{Gate, audit_records};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wire::{Reply, Wire, request};

fn list(gate: &Gate, token: &str) -> Reply {
    Wire::tls(gate).exchange(request("GET", "/api/resource/ToDo", token))
}

/// Bounds the size of the files that a running process may write: a file system that is full, as far as it can tell.
fn bound(pid: u32, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().expect("prlimit of util-linux");
    assert!(status.success(), "{limit}");
}

#[test]
fn a_disk_without_room_lets_nothing_through_where_that_is_wanted() {
    let upstream = Upstream::json("{}");
    let setup = Setup::new(&upstream).audit("output = \"file\"\nfile = \"/dev/full\"\non_full = \"refuse\"");
    let gate = setup.start();
    let token = gate.token("read");
    let reply = list(&gate, &token);
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (503, Some("audit_unavailable")), "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    upstream.assert_untouched();
    let status = gate.cli_json(&["status", "--json"]);
    assert_eq!(status["audit"]["stuck"], true, "{status}");
}

#[test]
fn a_disk_without_room_stops_nothing_where_that_is_wanted() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).audit("output = \"file\"\nfile = \"/dev/full\"").start();
    let token = gate.token("read");
    for _ in 0..3 {
        assert_eq!(list(&gate, &token).status, 200);
    }
    let ended = gate.stop();
    assert!(ended.log.contains("could not write its audit log to the end"), "{}", ended.log);
    assert!(ended.status.success());
}

#[test]
fn when_there_is_room_again_the_log_is_whole_and_nothing_went_through_meanwhile() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).config(&format!("[audit]\non_full = \"refuse\"\n{CHAIN_KEY}")).start();
    let token = gate.token("read");
    assert_eq!(list(&gate, &token).status, 200);
    gate.audit_of(1);
    let log = gate.setup.audit_file();
    // The next line begins and does not end.
    bound(gate.pid(), &(fs::metadata(&log).expect("the log").len() + 100).to_string());
    let mut statuses = vec![200];
    eventually("the log is full", || {
        statuses.push(list(&gate, &token).status);
        statuses.last() == Some(&503)
    });
    for _ in 0..10 {
        statuses.push(list(&gate, &token).status);
    }
    let text = fs::read_to_string(&log).expect("text");
    assert!(!text.ends_with('\n'), "a part of a line is there");
    bound(gate.pid(), "unlimited");
    eventually("it serves again", || {
        statuses.push(list(&gate, &token).status);
        statuses.last() == Some(&200)
    });
    end(&mut gate);
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(upstream.requests().len(), served, "{statuses:?}");
    let on_record: Vec<Value> = audit_records(&log).iter().map(|record| record["status"].clone()).collect();
    assert_eq!(on_record, statuses, "each request once, refusals among them");
    let found = whole(&gate, &[]);
    assert_eq!(found["lost"], 0, "{found:#}");
}

#[test]
fn a_full_file_that_is_moved_away_leaves_a_torn_line_and_no_gap() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).config("[audit]\non_full = \"refuse\"").start();
    let token = gate.token("read");
    assert_eq!(list(&gate, &token).status, 200);
    gate.audit_of(1);
    let log = gate.setup.audit_file();
    bound(gate.pid(), &(fs::metadata(&log).expect("the log").len() + 100).to_string());
    let mut count = 1;
    eventually("the log is full", || {
        count += 1;
        list(&gate, &token).status == 503
    });
    let moved = log.with_extension("log.1");
    fs::rename(&log, &moved).expect("the directory is ours");
    bound(gate.pid(), "unlimited");
    gate.signal("USR1");
    eventually("it serves again", || {
        count += 1;
        list(&gate, &token).status == 200
    });
    end(&mut gate);
    let found = whole(&gate, &[&moved.display().to_string(), &log.display().to_string()]);
    assert_eq!((found["requests"].as_u64(), found["lost"].as_u64()), (Some(count), Some(0)), "{found:#}");
}

#[test]
fn a_pipe_that_nobody_reads_stops_neither_requests_nor_the_end() {
    let upstream = Upstream::json("{}");
    let setup = Setup::new(&upstream);
    let pipe = setup.dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let gate = setup.audit(&format!("output = \"file\"\nfile = \"{}\"\nqueue_bytes_max = \"256KiB\"", pipe.display())).start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    // More than the pipe and the queue take together.
    for _ in 0..1000 {
        assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    }
    eventually("lines are lost and counted", || gate.cli_json(&["status", "--json"])["audit"]["lost"].as_u64() > Some(0));
    drop(wire);
    let ended = gate.stop();
    assert!(ended.status.success(), "{}", ended.log);
    assert!(ended.log.contains("the audit log takes nothing"), "{}", ended.log);
}
