//! Where the lines go beside a file, and that a daemon may be restarted.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::audit::whole;
use crate::support::DEADLINE;
use crate::support::eventually;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wire::{Wire, request};

/// Receives messages until one has `last` in it, and gives the line in each.
fn received(daemon: &UnixDatagram, before: &str, last: &str) -> String {
    daemon.set_read_timeout(Some(DEADLINE)).expect("a time");
    let mut lines = String::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = daemon.recv(&mut buffer).expect("a message");
        let text = std::str::from_utf8(&buffer[..length]).expect("text");
        assert!(text.starts_with(before), "{text}");
        let line = &text[text.find('{').expect("a line")..];
        lines.push_str(line.trim_end());
        lines.push('\n');
        if line.contains(last) {
            return lines;
        }
    }
}

#[test]
fn syslog_and_the_journal_get_a_message_a_line_over_a_restart_of_theirs() {
    for (output, before) in
        [("syslog", "<142>1 2"), ("journald", "PRIORITY=6\nSYSLOG_FACILITY=17\nSYSLOG_IDENTIFIER=scopegate-audit\nMESSAGE={\"time\":\"")]
    {
        let upstream = Upstream::json("{}");
        let setup = Setup::new(&upstream);
        let socket = setup.dir.path().join("daemon.sock");
        let daemon = UnixDatagram::bind(&socket).expect("a socket");
        let audit = format!("output = \"{output}\"\nsocket = \"{}\"\nfacility = \"local1\"\non_full = \"refuse\"", socket.display());
        let gate = setup.audit(&audit).start();
        let token = gate.token("read");
        let list = |name: &str| Wire::tls(&gate).exchange(request("GET", &format!("/api/resource/ToDo/{name}"), &token)).status;
        assert_eq!(list("first"), 200);
        let mut lines = received(&daemon, before, "first");
        drop(daemon);
        fs::remove_file(&socket).expect("its socket");
        eventually("it is missed", || list("refused") == 503);
        let daemon = UnixDatagram::bind(&socket).expect("a socket");
        // It reads all the while, as a daemon does: its socket holds ten messages.
        let reading = thread::spawn(move || received(&daemon, before, "\"event\":\"end\""));
        eventually("it is found again", || list("second") == 200);
        gate.signal("TERM");
        lines.push_str(&reading.join().expect("a daemon does not panic"));
        let copy = gate.setup.dir.path().join("copy");
        fs::write(&copy, lines).expect("the directory is ours");
        let found = whole(&gate, &[&copy.display().to_string()]);
        assert_eq!(found["lost"], 0, "{found:#}");
        gate.wait();
    }
}
