//! A gate's admin socket, asked without the command line: an operation takes a millisecond, and returns at an instant that can be told.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::DEADLINE;
use super::gate::Gate;
use super::setup::SITE;

pub struct Admin {
    socket: PathBuf,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// Whether the operation was done.
    pub fn done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Admin {
    pub fn of(gate: &Gate) -> Self {
        Self { socket: gate.setup.dir.path().join("admin.sock") }
    }

    /// Posts to an operation of the site.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, "")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).expect("the gate has its socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit can be set");
        let length = body.len();
        let request = format!(
            "{method} /v1/sites/{SITE}{path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("the gate reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the gate answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole answer: {answer}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        Answer { status, body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")) }
    }
}
