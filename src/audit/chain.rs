//! What ties each line to the one before it, so that a line that is taken away, changed, moved or put in shows.
//!
//! A line ends in `,"gate":"…","seq":N,"chain":"…"}`. The chain is the first 16 bytes, in hexadecimal, of SHA-256 over the chain of the
//! line before and everything of this line before `,"chain"`; with a key it is HMAC-SHA-256. So it can be checked by hand:
//!
//! ```sh
//! printf %s%s "$chain_before" "${line%,\"chain\"*}" | sha256sum | cut -c 1-32
//! ```
//!
//! Without a key it finds accidents and clumsy hands only: whoever can write the file can compute the chain anew from there to the end.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

/// Bytes of the chain that are written; hexadecimal digits are twice that.
const CHAIN_BYTES: usize = 16;
const CHAIN_DIGITS: usize = 2 * CHAIN_BYTES;
/// Bytes of a key's name.
const KEY_NAME_BYTES: usize = 4;
/// The longest line that is one of ours, in bytes: `record.rs` writes none that is a tenth of it.
pub const LINE_BYTES_MAX: usize = 1 << 20;

const GATE: &[u8] = br#","gate":""#;
const SEQ: &[u8] = br#"","seq":"#;
const CHAIN: &[u8] = br#","chain":""#;
const END: &[u8] = br#""}"#;

/// A chain's value, as it is written.
pub type Value = [u8; CHAIN_DIGITS];

/// What stands before the first line.
pub const NONE_BEFORE: Value = [b'0'; CHAIN_DIGITS];

/// What makes the chain more than a checksum: who does not have it cannot write the chain anew.
#[derive(Clone)]
pub struct ChainKey {
    key: hmac::Key,
    name: Box<str>,
}

impl ChainKey {
    pub fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let name = hmac::sign(&key, b"the name of this key of an audit log");
        Self { name: HEXLOWER.encode(&name.as_ref()[..KEY_NAME_BYTES]).into(), key }
    }

    /// Says which key it is, and nothing of the key.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainKey({})", self.name)
    }
}

impl PartialEq for ChainKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ChainKey {}

/// The place of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub gate: Box<str>,
    pub seq: u64,
    pub value: Value,
}

/// The chain of one gate as it writes.
pub struct Chain {
    last: Link,
    key: Option<ChainKey>,
    input: Vec<u8>,
}

impl Chain {
    pub fn new(gate: Box<str>, key: Option<ChainKey>) -> Self {
        Self { last: Link { gate, seq: 0, value: NONE_BEFORE }, key, input: Vec::new() }
    }

    /// Appends `line`, which lacks its closing brace, with its end and a line feed.
    pub fn seal(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.last.seq += 1;
        self.input.clear();
        self.input.extend_from_slice(&self.last.value);
        self.input.extend_from_slice(line);
        self.input.extend_from_slice(GATE);
        self.input.extend_from_slice(self.last.gate.as_bytes());
        self.input.extend_from_slice(SEQ);
        self.input.extend_from_slice(itoa::Buffer::new().format(self.last.seq).as_bytes());
        self.last.value = value_of(self.key.as_ref(), &self.input);
        out.extend_from_slice(&self.input[CHAIN_DIGITS..]);
        out.extend_from_slice(CHAIN);
        out.extend_from_slice(&self.last.value);
        out.extend_from_slice(END);
        out.push(b'\n');
    }

    /// The last line that was sealed.
    pub fn last(&self) -> &Link {
        &self.last
    }

    pub fn key(&self) -> Option<&ChainKey> {
        self.key.as_ref()
    }

    /// Goes back to a line of this chain: what was sealed since is sealed again.
    pub fn go_back(&mut self, to: Link) {
        self.last = to;
    }
}

/// The chain of a line that is already written, computed anew. `scratch` is overwritten.
pub fn recompute(key: Option<&ChainKey>, before: &Value, covered: &[u8], scratch: &mut Vec<u8>) -> Value {
    scratch.clear();
    scratch.extend_from_slice(before);
    scratch.extend_from_slice(covered);
    value_of(key, scratch)
}

fn value_of(key: Option<&ChainKey>, input: &[u8]) -> Value {
    let mut value = NONE_BEFORE;
    match key {
        Some(key) => HEXLOWER.encode_mut(&hmac::sign(&key.key, input).as_ref()[..CHAIN_BYTES], &mut value),
        None => HEXLOWER.encode_mut(&digest(&SHA256, input).as_ref()[..CHAIN_BYTES], &mut value),
    }
    value
}

/// The first bytes of SHA-256, in hexadecimal: how a start tells what a torn line was.
pub fn fingerprint(bytes: &[u8]) -> String {
    HEXLOWER.encode(&digest(&SHA256, bytes).as_ref()[..CHAIN_BYTES])
}

/// The parts of a line that was sealed.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// What the worker wrote.
    pub body: &'a [u8],
    /// What the chain speaks for, beside the line before.
    pub covered: &'a [u8],
    pub gate: &'a str,
    pub seq: u64,
    pub value: Value,
}

impl<'a> Sealed<'a> {
    /// Reads a line, without its line feed, from its end. `None` where it has no chain.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (rest, value) = rest.split_last_chunk::<CHAIN_DIGITS>()?;
        let covered = rest.strip_suffix(CHAIN)?;
        let digits = covered.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (rest, seq) = covered.split_at(covered.len() - digits);
        let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
        let rest = rest.strip_suffix(SEQ)?;
        let name = rest.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (rest, gate) = rest.split_at(rest.len() - name);
        let body = rest.strip_suffix(GATE)?;
        Some(Self { body, covered, gate: std::str::from_utf8(gate).ok()?, seq, value: *value })
    }

    pub fn link(&self) -> Link {
        Link { gate: self.gate.into(), seq: self.seq, value: self.value }
    }
}

/// A value, where `text` is one.
pub fn value(text: &str) -> Option<Value> {
    Value::try_from(text.as_bytes()).ok().filter(|value| value.iter().all(u8::is_ascii_hexdigit))
}

pub fn shown(value: &Value) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_person_can_compute_its_chain() {
        let mut chain = Chain::new("0a1b2c3d4e5f".into(), None);
        let mut out = Vec::new();
        chain.seal(br#"{"a":1"#, &mut out);
        chain.seal(br#"{"a":",\"gate\":\"x\",\"seq\":7,\"chain\":\"y\"}""#, &mut out);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let first = Sealed::parse(lines[0].as_bytes()).expect("it is whole");
        assert_eq!((first.gate, first.seq, first.body), ("0a1b2c3d4e5f", 1, &br#"{"a":1"#[..]));
        // printf %s "00000000000000000000000000000000"'{"a":1,"gate":"0a1b2c3d4e5f","seq":1' | sha256sum | cut -c 1-32
        assert_eq!(shown(&first.value), fingerprint(br#"00000000000000000000000000000000{"a":1,"gate":"0a1b2c3d4e5f","seq":1"#));
        let second = Sealed::parse(lines[1].as_bytes()).expect("it is whole");
        assert_eq!(second.seq, 2);
        assert_eq!(second.value, recompute(None, &first.value, second.covered, &mut Vec::new()));
        assert_eq!(&second.link(), chain.last());
    }

    #[test]
    fn a_key_changes_every_value_and_shows_itself_by_name_only() {
        let values = [None, Some(ChainKey::new(b"one")), Some(ChainKey::new(b"two"))].map(|key| {
            let mut out = Vec::new();
            Chain::new("00".into(), key).seal(b"{\"a\":1", &mut out);
            Sealed::parse(out.trim_ascii_end()).expect("it is whole").value
        });
        assert!(values[0] != values[1] && values[1] != values[2] && values[0] != values[2]);
        let shown = format!("{:?}", ChainKey::new(b"one"));
        assert_eq!(shown.len(), "ChainKey(01234567)".len(), "{shown}");
    }

    #[test]
    fn what_has_no_end_is_no_line() {
        let mut out = Vec::new();
        Chain::new("0a".into(), None).seal(b"{\"a\":1", &mut out);
        let line = out.trim_ascii_end();
        assert!(Sealed::parse(line).is_some());
        for cut in 0..line.len() {
            assert!(Sealed::parse(&line[..cut]).is_none(), "{cut}");
        }
        for other in [&b""[..], b"{}", b"{\"chain\":\"0123456789abcdef0123456789abcdef\"}"] {
            assert!(Sealed::parse(other).is_none(), "{}", String::from_utf8_lossy(other));
        }
    }
}
