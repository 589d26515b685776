//! A line as a datagram: RFC 5424 for a syslog daemon, or journald's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
//!
//! The socket is named anew with every datagram, so a daemon that was restarted is found again by itself.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::event::time_of;

/// How long a daemon that does not read may hold up one line, before the log counts as stuck.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// `info`, RFC 5424 section 6.2.1.
const SEVERITY: u8 = 6;
/// How the lines are found again in the journal.
const JOURNAL_IDENTIFIER: &str = "scopegate-audit";

/// Where syslog files a message, RFC 5424 section 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    pub const LOCAL0: Self = Self(16);

    /// Those that are a service's to use; the others belong to the system.
    pub const NAMES: [(&str, Self); 11] = [
        ("user", Self(1)),
        ("daemon", Self(3)),
        ("authpriv", Self(10)),
        ("local0", Self::LOCAL0),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, facility)| *facility)
    }
}

/// How a datagram begins, and what stands before each line in it.
enum Format {
    /// Priority and version; host, application and process.
    Syslog {
        before_time: String,
        behind_time: String,
    },
    Journal {
        before: String,
    },
}

pub struct Datagrams {
    path: PathBuf,
    socket: UnixDatagram,
    format: Format,
    datagram: Vec<u8>,
}

impl Datagrams {
    pub fn syslog(path: &Path, facility: Facility, host: Option<&str>) -> io::Result<Self> {
        let host = host.unwrap_or("-");
        let behind_time = format!(" {host} scopegate {} audit - ", std::process::id());
        Self::new(path, Format::Syslog { before_time: format!("<{}>1 ", facility.0 * 8 + SEVERITY), behind_time })
    }

    pub fn journald(path: &Path, facility: Facility) -> io::Result<Self> {
        let before = format!("PRIORITY={SEVERITY}\nSYSLOG_FACILITY={}\nSYSLOG_IDENTIFIER={JOURNAL_IDENTIFIER}\nMESSAGE=", facility.0);
        Self::new(path, Format::Journal { before })
    }

    fn new(path: &Path, format: Format) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { path: path.to_owned(), socket, format, datagram: Vec::new() })
    }

    /// Sends one line, which has no line feed.
    pub fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.datagram.clear();
        match &self.format {
            Format::Syslog { before_time, behind_time } => {
                self.datagram.extend_from_slice(before_time.as_bytes());
                self.datagram.extend_from_slice(time_of(line).unwrap_or("-").as_bytes());
                self.datagram.extend_from_slice(behind_time.as_bytes());
                self.datagram.extend_from_slice(line);
            }
            Format::Journal { before } => {
                self.datagram.extend_from_slice(before.as_bytes());
                self.datagram.extend_from_slice(line);
                self.datagram.push(b'\n');
            }
        }
        self.socket.send_to(&self.datagram, &self.path).map(drop)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"time":"2026-11-18T11:06:40.120003Z","a":1}"#;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_line_is_one_message_in_the_words_of_each_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).expect("a socket");
        let line = String::from_utf8_lossy(LINE);
        Datagrams::syslog(&path, Facility::LOCAL0, Some("gate-1")).expect("a socket").send(LINE).expect("it is sent");
        let process = std::process::id();
        assert_eq!(received(&daemon), format!("<134>1 2026-11-18T11:06:40.120003Z gate-1 scopegate {process} audit - {line}"));
        Datagrams::journald(&path, Facility::LOCAL0).expect("a socket").send(LINE).expect("it is sent");
        let fields = "PRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=scopegate-audit\n";
        assert_eq!(received(&daemon), format!("{fields}MESSAGE={line}\n"));
    }

    #[test]
    fn a_daemon_that_was_restarted_is_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut datagrams = Datagrams::syslog(&path, Facility::LOCAL0, None).expect("a socket");
        assert!(datagrams.send(LINE).is_err(), "nobody is there yet");
        let first = UnixDatagram::bind(&path).expect("a socket");
        datagrams.send(LINE).expect("it is sent");
        drop(first);
        assert!(datagrams.send(LINE).is_err(), "it is gone");
        std::fs::remove_file(&path).expect("its socket");
        let second = UnixDatagram::bind(&path).expect("a socket");
        datagrams.send(LINE).expect("it is sent");
        assert!(received(&second).starts_with("<134>1 "));
    }
}
