//! The log as a whole: its outputs, what is lost, and what is told of that.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::audit::file::{Noted, note_path, read_note};
use crate::audit::record::tests::record;
use crate::audit::verify::Verifier;
use crate::audit::verify::found::{Expected, Options, Verified};

/// The queue is small where it should be full.
fn settings(output: Output, on_full: OnFull) -> Settings {
    let queue_bytes_max = if matches!(&output, Output::File(path) if path.ends_with("audit.log")) { 16 << 20 } else { 256 << 10 };
    Settings { output, on_full, queue_bytes_max, chain_key: Some(ChainKey::new(b"a key of many letters")) }
}

fn open(path: &Path, on_full: OnFull) -> Audit {
    let audit = Audit::open(&settings(Output::File(path.to_owned()), on_full), 2).expect("the log opens");
    audit.begin();
    audit
}

fn verify(files: &[&Path], expected: &[Expected]) -> Verified {
    let keys = vec![ChainKey::new(b"a key of many letters")];
    let mut verifier = Verifier::new(Options { keys, ..Options::default() });
    for file in files {
        verifier.read(&file.display().to_string(), File::open(file).expect("it opens"), |_| ()).expect("it is read");
    }
    verifier.finish(expected)
}

/// The line that the note beside a log names.
fn noted(log: &Path) -> Vec<Expected> {
    match read_note(&note_path(log), &[ChainKey::new(b"a key of many letters")]).expect("it is read") {
        Noted::Last(link) => vec![Expected { gate: Some(link.gate), seq: link.seq, value: Some(link.value) }],
        other => panic!("{other:?}"),
    }
}

/// Waits for what the writer thread does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn every_line_reaches_the_file_and_a_moved_file_is_opened_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = open(&path, OnFull::Count);
    for index in 0..1000 {
        audit.log(index % 2).write(&record());
    }
    audit.flush();
    let moved = dir.path().join("audit.log.1");
    std::fs::rename(&path, &moved).expect("the file moves");
    audit.reopen();
    audit.log(0).write(&record());
    audit.close();
    // Two of them are its beginning and, in the other file, that it goes on and that it ends.
    let lines = |path: &Path| std::fs::read_to_string(path).expect("the file reads").lines().count();
    assert_eq!((lines(&moved), lines(&path)), (1001, 3));
    let found = verify(&[&moved, &path], &noted(&path));
    assert!(found.ok && found.notes.is_empty(), "{found:#?}");
    assert_eq!((found.requests, found.gates), (1001, 1));
    let alone = verify(&[&path], &noted(&path));
    assert!(alone.ok, "each file can be checked by itself: {alone:#?}");
}

#[test]
fn a_file_that_was_not_moved_is_written_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = open(&path, OnFull::Count);
    audit.reopen();
    audit.log(0).write(&record());
    audit.close();
    let found = verify(&[&path], &noted(&path));
    assert!(found.ok && found.lines == 3, "{found:#?}");
}

#[test]
fn a_new_process_goes_on_behind_a_torn_line_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let run = |kill: bool| {
        let audit = open(&path, OnFull::Count);
        audit.log(0).write(&record());
        audit.close();
        if kill {
            // Its last lines were never written, and of one only a part.
            let text = std::fs::read_to_string(&path).expect("text");
            let end = text.trim_end().rfind('\n').expect("several lines") + 1;
            std::fs::write(&path, &text[..end - 100]).expect("it is written");
            std::fs::remove_file(note_path(&path)).expect("its note");
        }
    };
    run(false);
    run(true);
    run(true);
    run(false);
    let found = verify(&[&path], &noted(&path));
    assert!(found.ok, "{found:#?}");
    assert_eq!((found.gates, found.requests, found.torn), (4, 2, 2));
}

#[test]
fn a_file_that_was_cut_off_shows_by_its_note_and_ever_after_by_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = open(&path, OnFull::Count);
    audit.log(0).write(&record());
    audit.log(0).write(&record());
    audit.close();
    let text = std::fs::read_to_string(&path).expect("text");
    let two: String = text.split_inclusive('\n').take(2).collect();
    std::fs::write(&path, two).expect("it is written");
    assert!(verify(&[&path], &[]).ok, "a file alone does not know of its own end");
    let found = verify(&[&path], &noted(&path));
    assert!(found.problems[0].problem.contains("is cut off"), "{found:#?}");
    open(&path, OnFull::Count).close();
    let found = verify(&[&path], &noted(&path));
    assert!(found.problems[0].problem.contains("2 lines of gate"), "{found:#?}");
    assert_eq!((found.problem_count, found.problems[0].line), (1, 3));
}

#[test]
fn a_file_that_was_moved_while_no_gate_ran_is_followed_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, moved) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    open(&path, OnFull::Count).close();
    std::fs::rename(&path, &moved).expect("the file moves");
    open(&path, OnFull::Count).close();
    assert!(verify(&[&moved, &path], &noted(&path)).ok);
    let other = dir.path().join("audit.log.2");
    open(&other, OnFull::Count).close();
    assert!(!verify(&[&moved, &other, &path], &noted(&path)).ok, "it comes behind another line");
}

#[test]
fn lines_from_before_the_chain_stay_and_none_can_be_added() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    std::fs::write(&path, "{\"time\":\"old\"}\n{\"time\":\"old\"}\n").expect("it is written");
    open(&path, OnFull::Count).close();
    let found = verify(&[&path], &noted(&path));
    assert!(found.ok && found.unchained == 2, "{found:#?}");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, format!("{{\"time\":\"new\"}}\n{text}")).expect("it is written");
    assert!(!verify(&[&path], &noted(&path)).ok);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let output = Output::File("/nonexistent/audit.log".into());
    let error = Audit::open(&settings(output, OnFull::Count), 1).map(|_| ()).expect_err("it must fail");
    assert!(error.contains("/nonexistent/audit.log"), "{error}");
}

#[test]
fn a_full_disk_refuses_or_counts() {
    for (on_full, blocked) in [(OnFull::Count, false), (OnFull::Refuse, true)] {
        let audit = open(Path::new("/dev/full"), on_full);
        assert!(audit.stuck());
        assert_eq!(audit.log(0).blocked(), blocked, "{on_full:?}");
        for _ in 0..5 {
            audit.log(1).write(&record());
        }
        audit.close();
        assert!(audit.lost() >= 5, "{}", audit.lost());
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_and_loses_nothing_that_is_not_told() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, on_full) in [("count", OnFull::Count), ("refuse", OnFull::Refuse)] {
        let path = dir.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let audit = open(&path, on_full);
        let mut written = 0;
        // In the one case until lines are lost, in the other until requests are refused.
        eventually("the queue is full", || {
            if on_full == OnFull::Count || !audit.log(0).blocked() {
                audit.log(0).write(&record());
                written += 1;
            }
            audit.lost() > 100 || audit.log(0).blocked()
        });
        let lost = audit.lost();
        assert_eq!(lost > 0, on_full == OnFull::Count);
        let reader = File::open(&path).expect("it opens");
        let copy = dir.path().join("copy");
        let told = copy.clone();
        let reading = std::thread::spawn(move || {
            let mut copy = String::new();
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                copy.push_str(&line);
                copy.push('\n');
                if line.contains("\"event\":\"end\"") {
                    break;
                }
            }
            std::fs::write(told, copy).expect("it is written");
        });
        eventually("it is written again", || !audit.stuck());
        audit.log(0).write(&record());
        audit.close();
        reading.join().expect("it does not panic");
        assert_eq!(audit.lost(), lost);
        let found = verify(&[&copy], &[]);
        assert!(found.ok, "{found:#?}");
        assert_eq!((found.requests, found.lost), (written + 1 - lost, lost));
    }
}

#[test]
fn a_refusal_for_want_of_the_log_takes_no_room_from_what_was_forwarded() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let audit = open(&path, OnFull::Refuse);
    let log = audit.log(0);
    eventually("it is full", || {
        log.write(&record());
        log.blocked()
    });
    let refusal = AuditRecord { reason: UNAVAILABLE, ..record() };
    for _ in 0..10_000 {
        log.write(&refusal);
    }
    assert_eq!(audit.lost(), 10_000);
    (0..100).for_each(|_| log.write(&record()));
    audit.flush();
    assert_eq!(audit.lost(), 10_000);
}

#[test]
fn a_syslog_daemon_that_is_away_for_a_while_misses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let copy = dir.path().join("copy");
    let output = Output::Syslog { path: path.clone(), facility: Facility::LOCAL0 };
    let audit = Audit::open(&settings(output, OnFull::Count), 1).expect("the log opens");
    let mut lines = String::new();
    let mut receive = |daemon: &UnixDatagram, count: usize| {
        let mut buffer = vec![0; 64 * 1024];
        for _ in 0..count {
            let length = daemon.recv(&mut buffer).expect("a datagram");
            let text = std::str::from_utf8(&buffer[..length]).expect("text");
            lines.push_str(&text[text.find('{').expect("the line")..]);
            lines.push('\n');
        }
        lines.clone()
    };
    audit.begin();
    assert!(audit.stuck(), "there is no daemon yet");
    let daemon = UnixDatagram::bind(&path).expect("a socket");
    audit.log(0).write(&record());
    audit.flush();
    receive(&daemon, 2);
    drop(daemon);
    std::fs::remove_file(&path).expect("its socket");
    audit.log(0).write(&record());
    audit.flush();
    eventually("it is away", || audit.stuck());
    let daemon = UnixDatagram::bind(&path).expect("a socket");
    receive(&daemon, 1);
    audit.close();
    let text = receive(&daemon, 1);
    std::fs::write(&copy, text).expect("it is written");
    let found = verify(&[&copy], &[]);
    assert!(found.ok && found.requests == 2 && found.lost == 0, "{found:#?}");
}
