//! The head of an HTTP/1 request, judged on its bytes in one pass, line by line.
//!
//! hyper settles conflicts silently that other servers settle differently, and that is how requests are smuggled: it drops
//! `Content-Length` beside `Transfer-Encoding`, merges equal lengths, and takes bare line feeds for line ends. So this is stricter than hyper
//! in everything: what passes here has one meaning. It is also never laxer, or hyper would refuse with an answer that is not ours.
//!
//! The verdict does not depend on how the bytes arrived: each line is judged when it is complete, in order, and what concerns the
//! whole head at its end.

use memchr::memchr;

use crate::listener::violation::Violation;

/// What one head may take.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    pub bytes_max: usize,
    pub fields_max: usize,
    pub target_bytes_max: usize,
}

/// How the body that follows is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; zero where nothing was said.
    Length(u64),
    Chunked,
}

/// A head that is whole and lawful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Bytes of it, the empty line included.
    pub len: usize,
    pub framing: Framing,
}

/// How far one head has been read. Offsets count from the head's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Where the first line starts that was not judged yet.
    line: usize,
    /// No line feed stands between `line` and here.
    searched: usize,
    /// Lines judged, the request line among them.
    lines: usize,
    version_10: bool,
    /// Where the authority of an absolute-form target stands; empty for the usual origin-form.
    authority: (usize, usize),
    host: Option<(usize, usize)>,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// Judges what is there of the head, which starts at the first of `bytes`; `None` asks for more of them.
    pub fn read(&mut self, bytes: &[u8], bounds: &HeadBounds) -> Result<Option<Complete>, Violation> {
        // A peer that speaks TLS or nonsense to this port may never send a line feed: it is not left waiting.
        if bytes.first().is_some_and(|first| !is_token(*first)) {
            return Err(Violation::RequestLineMalformed);
        }
        let visible = bytes.len().min(bounds.bytes_max);
        loop {
            let Some(found) = memchr(b'\n', &bytes[self.searched..visible]) else {
                self.searched = visible;
                return if visible < bounds.bytes_max { Ok(None) } else { Err(self.overflow()) };
            };
            let feed = self.searched + found;
            if feed == self.line || bytes[feed - 1] != b'\r' {
                return Err(Violation::BareLineFeed);
            }
            let (start, end) = (self.line, feed - 1);
            self.line = feed + 1;
            self.searched = feed + 1;
            if self.lines == 0 {
                self.request_line(&bytes[..end], bounds)?;
            } else if start == end {
                return self.complete(&bytes[..feed + 1]).map(Some);
            } else {
                if self.lines > bounds.fields_max {
                    return Err(Violation::TooManyFields);
                }
                self.field(bytes, start, end)?;
            }
            self.lines += 1;
        }
    }

    /// No line feed within the bound. A target that fills it has a status of its own.
    const fn overflow(&self) -> Violation {
        if self.lines == 0 { Violation::TargetTooLong } else { Violation::HeadTooLarge }
    }

    fn request_line(&mut self, line: &[u8], bounds: &HeadBounds) -> Result<(), Violation> {
        let method = token_len(line);
        if method == 0 || line.get(method) != Some(&b' ') {
            return Err(Violation::RequestLineMalformed);
        }
        let start = method + 1;
        let Some(target_len) = memchr(b' ', &line[start..]) else {
            return Err(Violation::RequestLineMalformed);
        };
        let (target, version) = (&line[start..start + target_len], &line[start + target_len + 1..]);
        self.version_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Violation::VersionUnsupported),
            _ => return Err(Violation::RequestLineMalformed),
        };
        if &line[..method] == b"CONNECT" {
            return Err(Violation::ConnectRefused);
        }
        if target.len() > bounds.target_bytes_max {
            return Err(Violation::TargetTooLong);
        }
        match target {
            [b'/', ..] => path_and_query(target),
            b"*" if &line[..method] == b"OPTIONS" => Ok(()),
            _ => {
                let (from, to) = absolute_form(target)?;
                self.authority = (start + from, start + to);
                Ok(())
            }
        }
    }

    /// One field line, `bytes[start..end]` without its line end.
    fn field(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Violation> {
        let line = &bytes[start..end];
        let name = token_len(line);
        if line.get(name) != Some(&b':') || name == 0 {
            return Err(if matches!(line[0], b' ' | b'\t') { Violation::FoldedLine } else { Violation::FieldMalformed });
        }
        match name {
            4 if line[..4].eq_ignore_ascii_case(b"host") => {
                let (from, to) = trimmed(line, name + 1);
                if self.host.replace((start + from, start + to)).is_some() {
                    return Err(Violation::HostRepeated);
                }
                authority(&line[from..to])
            }
            6 if line[..6].eq_ignore_ascii_case(b"expect") => {
                let (from, to) = trimmed(line, name + 1);
                if line[from..to].eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(Violation::ExpectationRefused) }
            }
            14 if line[..14].eq_ignore_ascii_case(b"content-length") => {
                let (from, to) = trimmed(line, name + 1);
                let length = plain_length(&line[from..to])?;
                if self.length.replace(length).is_some() { Err(Violation::FramingConflict) } else { Ok(()) }
            }
            17 if line[..17].eq_ignore_ascii_case(b"transfer-encoding") => {
                let (from, to) = trimmed(line, name + 1);
                if self.chunked {
                    return Err(Violation::FramingConflict);
                }
                self.chunked = true;
                let known = !self.version_10 && line[from..to].eq_ignore_ascii_case(b"chunked");
                if known { Ok(()) } else { Err(Violation::TransferEncodingRefused) }
            }
            _ => Ok(()),
        }
    }

    /// What can only be said of the whole: `head` ends with the empty line.
    fn complete(&self, head: &[u8]) -> Result<Complete, Violation> {
        // Every line was seen to end in CR LF, so one carriage return more stands inside a line.
        let (controls, returns) = control_bytes(head);
        if controls || returns != self.lines + 1 {
            return Err(Violation::ControlByte);
        }
        let Some((from, to)) = self.host else {
            return Err(Violation::HostMissing);
        };
        let (authority_from, authority_to) = self.authority;
        if authority_to > 0 && !head[from..to].eq_ignore_ascii_case(&head[authority_from..authority_to]) {
            return Err(Violation::AuthorityConflict);
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Violation::FramingConflict),
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Complete { len: head.len(), framing })
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
    )
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token(byte as u8);
        byte += 1;
    }
    table
};

fn token_len(line: &[u8]) -> usize {
    line.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(line.len())
}

/// In a path.
const PATH: u8 = 1;
/// In a query.
const QUERY: u8 = 2;

/// Visible ASCII without what a URI cannot hold; the sets are those of the `http` crate, which reads the target after us.
const TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'#' | b'<' | b'>' => 0,
            b'"' => PATH,
            b'`' => QUERY,
            _ => PATH | QUERY,
        };
        byte += 1;
    }
    table
};

/// Whether a target that starts with `/` holds nothing but what a path and a query may.
pub fn path_and_query(target: &[u8]) -> Result<(), Violation> {
    let path = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path);
    let path = path.iter().fold(PATH, |all, byte| all & TARGET[usize::from(*byte)]);
    let query = query.iter().fold(QUERY, |all, byte| all & TARGET[usize::from(*byte)]);
    if path != 0 && query != 0 { Ok(()) } else { Err(Violation::TargetMalformed) }
}

/// Where the authority of `http://authority/...` stands.
fn absolute_form(target: &[u8]) -> Result<(usize, usize), Violation> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    });
    let from = scheme.ok_or(Violation::TargetMalformed)?.len();
    let rest = &target[from..];
    let to = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    authority(&rest[..to]).map_err(|_| Violation::TargetMalformed)?;
    path_and_query(&rest[to..])?;
    Ok((from, from + to))
}

/// `host [":" port]` without user information: RFC 9110 section 7.2. Of registered names only what DNS or a hosts file can hold.
pub fn authority(value: &[u8]) -> Result<(), Violation> {
    let host = if value.first() == Some(&b'[') {
        let close = memchr(b']', value).ok_or(Violation::HostMalformed)?;
        let inner = std::str::from_utf8(&value[1..close]).map_err(|_| Violation::HostMalformed)?;
        inner.parse::<std::net::Ipv6Addr>().map_err(|_| Violation::HostMalformed)?;
        close + 1
    } else {
        let host = memchr(b':', value).unwrap_or(value.len());
        let plain = value[..host].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if host == 0 || !plain {
            return Err(Violation::HostMalformed);
        }
        host
    };
    match &value[host..] {
        [] => Ok(()),
        [b':', port @ ..] if (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit) => {
            let port = port.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            if port <= u32::from(u16::MAX) { Ok(()) } else { Err(Violation::HostMalformed) }
        }
        _ => Err(Violation::HostMalformed),
    }
}

/// Digits and nothing else, without leading zeros (which some parsers take for octal); 18 digits are more than any disk holds and less
/// than a `u64`.
pub fn plain_length(value: &[u8]) -> Result<u64, Violation> {
    let plain = matches!(value, [b'0'] | [b'1'..=b'9', ..]) && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    if !plain {
        return Err(Violation::LengthMalformed);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The value after a colon at `from - 1`, without the optional white space around it.
fn trimmed(line: &[u8], from: usize) -> (usize, usize) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = line[from..].iter().position(|byte| !blank(byte)) else {
        return (line.len(), line.len());
    };
    let last = line.iter().rposition(|byte| !blank(byte)).unwrap_or(from + first);
    (from + first, last + 1)
}

/// Whether any control character but tab, CR and LF is there, and how many carriage returns. No early exit, so that the compiler
/// makes vector code of it.
fn control_bytes(head: &[u8]) -> (bool, usize) {
    let mut controls = false;
    let mut returns = 0;
    // Blocks whose count fits a byte keep the lanes narrow.
    for block in head.chunks(128) {
        let mut found = 0u8;
        let mut count = 0u8;
        for &byte in block {
            let control = (byte < 0x20 && byte != b'\t' && byte != b'\n' && byte != b'\r') || byte == 0x7f;
            found |= u8::from(control);
            count += u8::from(byte == b'\r');
        }
        controls |= found != 0;
        returns += usize::from(count);
    }
    (controls, returns)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
