//! `audit verify` and `audit tail` on the log of a real gate.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::audit::{CHAIN_KEY, end, not_whole, whole};
use crate::support::gate::{Gate, Process, cli};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wire::{Wire, json_request, request};

#[test]
fn the_shipped_rotation_is_one_that_logrotate_and_the_gate_understand() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/logrotate.conf");
    let text = fs::read_to_string(file).expect("it is shipped");
    let code: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!((code[0], code[code.len() - 1]), ("/var/log/scopegate/audit.log {", "}"));
    let known = "su daily maxsize rotate dateext dateformat compress delaycompress missingok notifempty nocreate postrotate endscript";
    let script = code.iter().position(|line| *line == "postrotate").expect("the gate is told");
    assert_eq!(code[script + 1..code.len() - 2], ["systemctl kill -s USR1 --kill-whom=main scopegate.service"]);
    for line in code[1..=script].iter().chain([&code[code.len() - 2]]) {
        let word = line.split(' ').next().unwrap_or_default();
        assert!(known.split(' ').any(|known| known == word), "{line}");
    }
    // Where there is one, it has the last word.
    if let Ok(output) = Command::new("logrotate").args(["-d", "-s", "/dev/null", file]).output() {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("unknown option") && !told.contains("bad "), "{told}");
    }
}

/// A gate that has ended, with four requests in its log, the second of which it refused.
fn written(audit: &str) -> Gate {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).config(&format!("[audit]\n{audit}")).start();
    let token = gate.token("read");
    for name in ["a", "b", "c"] {
        let status = Wire::tls(&gate).exchange(request("GET", &format!("/api/resource/ToDo/{name}"), &token)).status;
        assert_eq!(status, 200);
        if name == "a" {
            assert_eq!(Wire::tls(&gate).exchange(json_request("POST", "/api/resource/Lead", &token, "{}")).status, 403);
        }
    }
    end(&mut gate);
    gate
}

fn lines(gate: &Gate) -> Vec<String> {
    fs::read_to_string(gate.setup.audit_file()).expect("text").lines().map(str::to_owned).collect()
}

fn write(gate: &Gate, lines: &[String]) {
    fs::write(gate.setup.audit_file(), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("the directory is ours");
}

#[test]
fn verify_names_file_and_line_of_whatever_was_done_to_the_log() {
    for audit in ["", CHAIN_KEY] {
        let gate = written(audit);
        let found = whole(&gate, &[]);
        assert_eq!((&found["lines"], &found["requests"], &found["gates"]), (&6.into(), &4.into(), &1.into()), "{found:#}");
        assert!(found["from"].as_str() < found["to"].as_str(), "{found:#}");
        let untouched = lines(&gate);
        let tampered = |change: &dyn Fn(&mut Vec<String>), place: &str| {
            let mut changed = untouched.clone();
            change(&mut changed);
            write(&gate, &changed);
            let told = not_whole(&gate, &[]);
            assert!(told.contains(&format!("audit.log:{place}")) && told.contains("NOT WHOLE"), "{told}");
        };
        tampered(&|lines| drop(lines.remove(2)), "3: line 3 of gate");
        tampered(&|lines| lines[2] = lines[2].replace("\"refuse\"", "\"allow\""), "3: was altered");
        tampered(&|lines| lines.swap(2, 3), "3: line 3 of gate");
        tampered(&|lines| lines.insert(3, lines[2].clone()), "4: line 3 of gate");
        tampered(&|lines| drop(lines.remove(0)), "1: ");
        tampered(&|lines| drop(lines.pop()), "5: the log is cut off");
        // Nothing but its note, or what is known from elsewhere, tells of an end that is missing.
        let last = untouched.len().to_string();
        assert!(not_whole(&gate, &["--without-state", "--expect-seq", &last]).contains("cut off"));
        assert!(cli(&gate.config, &["audit", "verify", "--without-state"]).status.success());
        write(&gate, &untouched);
        whole(&gate, &["--expect-seq", &last]);
    }
}

#[test]
fn verify_asks_for_the_key_and_refuses_what_it_cannot_judge() {
    let gate = written(CHAIN_KEY);
    let log = gate.setup.audit_file().display().to_string();
    let key = gate.setup.dir.path().join("key");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
        let output = command.args(["audit", "verify"]).args(arguments).env_clear().output().expect("the binary is built");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    fs::write(&key, format!("{}\n", CHAIN_KEY.split('"').nth(1).expect("the key"))).expect("the directory is ours");
    let key = key.display().to_string();
    let (code, told) = run(&["--key-file", &key, &log]);
    assert_eq!(code, Some(0), "without any config: {told}");
    let (code, told) = run(&[&log, "--without-state"]);
    assert!(code == Some(1) && told.contains("name it with --key-file"), "{told}");
    let compressed = gate.setup.dir.path().join("audit.log.1.gz");
    fs::write(&compressed, b"\x1f\x8b\x08").expect("the directory is ours");
    let (code, told) = run(&[&compressed.display().to_string()]);
    assert!(code == Some(1) && told.contains("zcat"), "{told}");
    let (code, told) = run(&["/nonexistent/audit.log"]);
    assert!(code == Some(1) && told.contains("/nonexistent/audit.log"), "{told}");
}

/// The names in the lines that `audit tail` prints.
fn tail(gate: &Gate, arguments: &[&str]) -> Vec<String> {
    let output = cli(&gate.config, &[&["audit", "tail", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let word = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        ["name", "event", "doctype"].iter().find_map(|key| line[key].as_str()).unwrap_or("?").to_owned()
    };
    text.lines().map(word).collect()
}

#[test]
fn tail_shows_what_is_asked_for() {
    let gate = written("");
    for (arguments, expected) in [
        (&[][..], &["start", "a", "Lead", "b", "c", "end"][..]),
        (&["-n", "2"], &["c", "end"]),
        (&["-n", "0"], &[]),
        (&["--decision", "allow", "-n", "2"], &["b", "c"]),
        (&["--decision", "refuse"], &["Lead"]),
        (&["--status", "4xx"], &["Lead"]),
        (&["--reason", "insufficient_scope"], &["Lead"]),
        (&["--doctype", "todo"], &["a", "b", "c"]),
        (&["--effect", "write", "--client", "app"], &["Lead"]),
        (&["--site", "other.test"], &[]),
        (&["--since", "1h"], &["start", "a", "Lead", "b", "c", "end"]),
        (&["--until", "1h"], &[]),
    ] {
        assert_eq!(tail(&gate, arguments), expected, "{arguments:?}");
    }
    let output = cli(&gate.config, &["audit", "tail", "--status", "403"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("TIME ") && text.contains("  403     insufficient_scope") && !text.contains('\x1b'), "{text}");
}

#[test]
fn tail_follows_the_log_over_its_rotation() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let get = |name: &str| Wire::tls(&gate).exchange(request("GET", &format!("/api/resource/ToDo/{name}"), &token)).status;
    assert_eq!(get("before"), 200);
    gate.audit_of(1);
    let log = gate.setup.audit_file();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    command.args(["audit", "tail", "--follow", "--doctype", "ToDo"]).arg(&log).env_clear();
    let mut following = Process::spawn(command);
    assert!(following.line_with("before").contains("200"));
    assert_eq!(get("second"), 200);
    assert!(following.line_with("second").contains("200"));
    fs::rename(&log, log.with_extension("log.1")).expect("the directory is ours");
    assert_eq!(get("third"), 200);
    gate.signal("USR1");
    assert!(following.line_with("third").contains("200"));
    assert_eq!(get("fourth"), 200);
    assert!(following.line_with("fourth").contains("200"));
    following.end_now();
    following.wait();
}
