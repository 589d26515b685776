//! The log's own lines: that a gate began, goes on in another file, lost lines, or ended. They have `event` and none of the fields of a
//! request, and are links of the chain like every other line.

use std::time::Duration;

use serde::Deserialize;

use crate::audit::chain::{Link, fingerprint, shown, value};
use crate::audit::record::{number, text, write_time};

/// How every line begins, and where the time in it ends.
pub const TIME: &[u8] = br#"{"time":""#;
pub const TIME_END: usize = TIME.len() + 27;
/// What follows the time in a line of the log's own.
pub const EVENT: &[u8] = br#"","event":""#;

/// What the log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The first line of a process.
    Start(Start<'a>),
    /// The first line of another file of the same process.
    Continue { key: Option<&'a str>, follows: Link, torn: Option<Torn> },
    /// So many lines are missing here.
    Lost(u64),
    /// The last line of a process that ended in order.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    pub host: Option<&'a str>,
    pub process: u32,
    pub output: &'a str,
    /// The name of the key; `None` where there is none.
    pub key: Option<&'a str>,
    /// The last line before this one, where the output says which that is.
    pub follows: Option<Link>,
    pub torn: Option<Torn>,
    /// Bytes of the file before this line.
    pub offset: u64,
}

/// The beginning of a line whose rest was never written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Torn {
    pub bytes: u64,
    /// The first half of its SHA-256.
    pub sha256: String,
}

impl Torn {
    /// `None` where there is nothing.
    pub fn of(fragment: &[u8]) -> Option<Self> {
        (!fragment.is_empty()).then(|| Self { bytes: fragment.len() as u64, sha256: fingerprint(fragment) })
    }
}

impl Event<'_> {
    /// The line, without its end.
    pub fn line(&self, now: Duration) -> Vec<u8> {
        let mut line = TIME.to_vec();
        write_time(now, &mut line);
        line.extend_from_slice(EVENT);
        match self {
            Self::Start(start) => {
                line.extend_from_slice(br#"start""#);
                text(&mut line, br#","version":"#, Some(env!("CARGO_PKG_VERSION")));
                text(&mut line, br#","host":"#, start.host);
                number(&mut line, br#","process":"#, u64::from(start.process));
                text(&mut line, br#","output":"#, Some(start.output));
                text(&mut line, br#","key":"#, start.key);
                link(&mut line, start.follows.as_ref());
                torn(&mut line, start.torn.as_ref());
                number(&mut line, br#","offset":"#, start.offset);
            }
            Self::Continue { key, follows, torn: fragment } => {
                line.extend_from_slice(br#"continue""#);
                text(&mut line, br#","key":"#, *key);
                link(&mut line, Some(follows));
                torn(&mut line, fragment.as_ref());
            }
            Self::Lost(count) => {
                line.extend_from_slice(br#"lost""#);
                number(&mut line, br#","lost":"#, *count);
            }
            Self::End => line.extend_from_slice(br#"end""#),
        }
        line
    }
}

fn link(line: &mut Vec<u8>, follows: Option<&Link>) {
    line.extend_from_slice(br#","follows":"#);
    match follows {
        None => line.extend_from_slice(b"null"),
        Some(link) => {
            text(line, br#"{"gate":"#, Some(&link.gate));
            number(line, br#","seq":"#, link.seq);
            text(line, br#","chain":"#, Some(shown(&link.value)));
            line.push(b'}');
        }
    }
}

fn torn(line: &mut Vec<u8>, torn: Option<&Torn>) {
    line.extend_from_slice(br#","torn":"#);
    match torn {
        None => line.extend_from_slice(b"null"),
        Some(torn) => {
            number(line, br#"{"bytes":"#, torn.bytes);
            text(line, br#","sha256":"#, Some(&torn.sha256));
            line.push(b'}');
        }
    }
}

/// A line of the log's own, as it is read.
#[derive(Debug, Deserialize)]
pub struct EventRead {
    pub event: Kind,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub output: Option<String>,
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub follows: Option<LinkRead>,
    #[serde(default)]
    pub torn: Option<Torn>,
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Start,
    Continue,
    Lost,
    End,
}

#[derive(Debug, Deserialize)]
pub struct LinkRead {
    gate: Box<str>,
    seq: u64,
    chain: String,
}

impl LinkRead {
    /// `None` where its chain is none.
    pub fn link(self) -> Option<Link> {
        Some(Link { value: value(&self.chain)?, gate: self.gate, seq: self.seq })
    }
}

impl EventRead {
    /// `None` where the line is a request's; the error where it is neither.
    pub fn parse(line: &[u8]) -> Option<Result<Self, serde_json::Error>> {
        line.get(TIME_END..)?.starts_with(EVENT).then(|| serde_json::from_slice(line))
    }
}

/// The time of a line, as it is written: RFC 3339 with microseconds.
pub fn time_of(line: &[u8]) -> Option<&str> {
    let time = line.strip_prefix(TIME)?.get(..TIME_END - TIME.len())?;
    std::str::from_utf8(time).ok().filter(|time| time.ends_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{Chain, NONE_BEFORE};

    #[test]
    fn what_is_written_is_read() {
        let follows = Link { gate: "0a1b2c3d4e5f".into(), seq: 7, value: NONE_BEFORE };
        let fragment = Torn::of(b"{\"time\"");
        let events = [
            Event::Start(Start {
                host: Some("a\"b"),
                process: 7,
                output: "file",
                key: Some("0a0b0c0d"),
                follows: Some(follows.clone()),
                torn: fragment.clone(),
                offset: 9,
            }),
            Event::Continue { key: None, follows: follows.clone(), torn: None },
            Event::Lost(3),
            Event::End,
        ];
        let mut out = Vec::new();
        let mut chain = Chain::new("0a1b2c3d4e5f".into(), None);
        for event in &events {
            chain.seal(&event.line(Duration::from_secs(1_795_000_000)), &mut out);
        }
        let lines: Vec<&[u8]> = out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        let read: Vec<EventRead> = lines.iter().map(|line| EventRead::parse(line).expect("an event").expect("its own words")).collect();
        assert_eq!(read.iter().map(|event| event.event).collect::<Vec<_>>(), [Kind::Start, Kind::Continue, Kind::Lost, Kind::End]);
        assert_eq!((read[0].host.as_deref(), read[0].key.as_deref(), read[0].offset), (Some("a\"b"), Some("0a0b0c0d"), 9));
        assert_eq!(read[0].torn, fragment);
        assert_eq!(read[2].lost, 3);
        for event in read.into_iter().take(2) {
            assert_eq!(event.follows.and_then(LinkRead::link), Some(follows.clone()));
        }
        assert_eq!(time_of(lines[0]), Some("2026-11-18T11:06:40.000000Z"));
    }
}
