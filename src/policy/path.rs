//! The path of a request: read once, refused where two readers could differ, written anew for the upstream.
//!
//! gunicorn decodes a path once and Frappe routes on what comes out, so `%2F`, `//`, `..` and friends reach other code than a
//! proxy that compares raw bytes would think (FACTS R6: T208, T209, T211 to T217, T280). Nothing here guesses: a path is in the one
//! form that everybody reads alike, or it is refused.

use std::borrow::Cow;

use crate::policy::refusal::{Reason, Refusal};

/// Frappe keeps a document's name in a `varchar(140)`; four bytes a character at most.
const NAME_BYTES_MAX: usize = 560;

/// Which of Frappe's API prefixes a path bears; the upstream is asked at the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/api/...`
    Bare,
    /// `/api/v1/...`, the same routes.
    V1,
    /// `/api/v2/...`
    V2,
}

/// What a path names, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/api/resource/<doctype>`, `/api/v2/document/<doctype>`
    Doctype { api: Api, doctype: Cow<'a, str> },
    /// `/api/resource/<doctype>/<name>`, `/api/v2/document/<doctype>/<name>`; a name may contain `/`.
    Document { api: Api, doctype: Cow<'a, str>, name: Cow<'a, str> },
    /// `/api/v2/doctype/<doctype>/meta`
    Meta { doctype: Cow<'a, str> },
    /// `/api/v2/doctype/<doctype>/count`
    Count { doctype: Cow<'a, str> },
    /// `/api/method/<dotted.name>`
    Rpc { api: Api, name: &'a str },
    /// `/`
    Root,
    /// Anything else that is at least a clean path: only an operator's own route can lead there.
    Other { path: Cow<'a, str> },
}

/// Reads a raw path (without query). It begins with `/` and is decoded exactly once.
pub fn parse(raw: &str) -> Result<Route<'_>, Refusal> {
    check(raw)?;
    if raw == "/" {
        return Ok(Route::Root);
    }
    // One trailing slash is common and means nothing to Frappe (T280e, T280f).
    let trimmed = raw.strip_suffix('/').unwrap_or(raw);
    let Some(rest) = trimmed.strip_prefix("/api/") else {
        let path = decode(raw)?;
        // `/%61pi/method/...` reaches the API, and is none of the routes below: no prefix that an operator opened may let it through.
        if path.starts_with("/api/") {
            return Err(unknown());
        }
        return Ok(Route::Other { path });
    };
    let (api, rest) = if let Some(rest) = rest.strip_prefix("v1/") {
        (Api::V1, rest)
    } else if let Some(rest) = rest.strip_prefix("v2/") {
        (Api::V2, rest)
    } else {
        (Api::Bare, rest)
    };
    match rest.split_once('/') {
        Some(("resource", rest)) if api != Api::V2 => resource(api, rest),
        Some(("document", rest)) if api == Api::V2 => resource(api, rest),
        Some(("doctype", rest)) if api == Api::V2 => match rest.rsplit_once('/') {
            Some((name, "meta")) if !name.contains('/') => Ok(Route::Meta { doctype: doctype(name)? }),
            Some((name, "count")) if !name.contains('/') => Ok(Route::Count { doctype: doctype(name)? }),
            _ => Err(unknown()),
        },
        Some(("method", name)) => rpc(api, name),
        _ => Err(unknown()),
    }
}

fn resource(api: Api, rest: &str) -> Result<Route<'_>, Refusal> {
    let Some((first, raw_name)) = rest.split_once('/') else {
        return Ok(Route::Doctype { api, doctype: doctype(rest)? });
    };
    let name = decode(raw_name)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(invalid("the document name is longer than Frappe keeps"));
    }
    if api == Api::V2 && is_document_method(&name) {
        return Err(Refusal::method(
            Reason::DocumentMethod,
            "",
            "methods of a document are not let through: Frappe does not check which HTTP method they were meant for",
        ));
    }
    Ok(Route::Document { api, doctype: doctype(first)?, name })
}

/// Whether v2 would read the tail of a name as a call: `<name>/method/<method>` (T224b), `<name>/copy`.
fn is_document_method(name: &str) -> bool {
    let mut tail = name.rsplitn(3, '/');
    let (last, before, rest) = (tail.next(), tail.next(), tail.next());
    (before == Some("method") && rest.is_some()) || (last == Some("copy") && before.is_some())
}

/// A DocType's name as Frappe allows it: word characters, spaces and hyphens. Everything else (`ToDo;x`, `System+Settings`, a
/// trailing space) ends in an error there (T280a to T280d), so it is no route here.
fn doctype(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    let name = decode(raw)?;
    if is_doctype(&name) { Ok(name) } else { Err(Refusal::new(Reason::RouteUnknown, "no DocType can have that name")) }
}

/// Whether Frappe would let a DocType have this name.
pub fn is_doctype(name: &str) -> bool {
    let letter = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(|character| letter(character) || character == ' ')
        && name.starts_with(letter)
        && name.ends_with(letter)
}

/// The dotted name, exactly: trailing path segments, which Frappe cuts off (T213, T280m), are no route.
fn rpc(api: Api, name: &str) -> Result<Route<'_>, Refusal> {
    if is_rpc_name(name) { Ok(Route::Rpc { api, name }) } else { Err(Refusal::new(Reason::RouteUnknown, "no RPC can have that name")) }
}

/// Whether `name` is dotted identifiers, nothing encoded.
pub fn is_rpc_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

/// What must hold of every path: visible ASCII without `\`, `#` and `?`, no empty and no dot segment.
fn check(raw: &str) -> Result<(), Refusal> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(invalid("the request target is not a path"));
    }
    let mut previous = 0;
    let mut dots = false;
    for &byte in bytes {
        match byte {
            b'/' if previous == b'/' => return Err(invalid("the path has an empty segment")),
            b'\\' | b'#' | b'?' => return Err(invalid("the path has a character that must be encoded")),
            0x21..=0x7e => dots |= byte == b'.' && previous == b'/',
            _ => return Err(invalid("the path has a character that must be encoded")),
        }
        previous = byte;
    }
    if dots && raw.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(invalid("the path has a dot segment"));
    }
    Ok(())
}

/// Decodes `%XX` once. What comes out may not be a separator, a control character or another encoding; `/` stands for itself only.
fn decode(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let decoded = match tail {
            [high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match decoded {
            None => return Err(invalid("the path has a `%` without two hexadecimal digits")),
            Some(b'/' | b'\\') => return Err(invalid("the path has an encoded slash")),
            Some(byte) => bytes.push(byte),
        }
        rest = &tail[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("the path is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(invalid("the path has a control character"));
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(invalid("the path has a dot segment"));
    }
    if text.as_bytes().windows(3).any(|window| window[0] == b'%' && hex(window[1]).is_some() && hex(window[2]).is_some()) {
        return Err(invalid("the path is encoded twice"));
    }
    Ok(Cow::Owned(text))
}

pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(Reason::PathInvalid, message)
}

fn unknown() -> Refusal {
    Refusal::new(Reason::RouteUnknown, "there is no such route; documents live under `/api/resource/`, functions under `/api/method/`")
}

/// Whether a path that was read is certain to be built again as it came. Most are, and need not be.
pub fn is_canonical(raw: &str) -> bool {
    raw.bytes().all(|byte| is_pchar(byte) || byte == b'/') && !raw.ends_with('/')
}

impl Route<'_> {
    /// The path to ask the upstream for, built from the parts that were read.
    pub fn to_path(&self) -> String {
        let mut path = String::with_capacity(64);
        match self {
            Self::Doctype { api, doctype } => {
                path.push_str(api.documents());
                encode(doctype, false, &mut path);
            }
            Self::Document { api, doctype, name } => {
                path.push_str(api.documents());
                encode(doctype, false, &mut path);
                path.push('/');
                encode(name, true, &mut path);
            }
            Self::Meta { doctype } => {
                path.push_str("/api/v2/doctype/");
                encode(doctype, false, &mut path);
                path.push_str("/meta");
            }
            Self::Count { doctype } => {
                path.push_str("/api/v2/doctype/");
                encode(doctype, false, &mut path);
                path.push_str("/count");
            }
            Self::Rpc { api, name } => {
                path.push_str(api.methods());
                path.push_str(name);
            }
            Self::Root => path.push('/'),
            Self::Other { path: other } => encode(other, true, &mut path),
        }
        path
    }
}

impl Api {
    const fn documents(self) -> &'static str {
        match self {
            Self::Bare => "/api/resource/",
            Self::V1 => "/api/v1/resource/",
            Self::V2 => "/api/v2/document/",
        }
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::Bare => "/api/method/",
            Self::V1 => "/api/v1/method/",
            Self::V2 => "/api/v2/method/",
        }
    }
}

/// Writes `text` as path characters (RFC 3986 section 3.3, `pchar`), everything else as `%XX` of its UTF-8.
fn encode(text: &str, slash: bool, path: &mut String) {
    for &byte in text.as_bytes() {
        if is_pchar(byte) || (slash && byte == b'/') {
            path.push(char::from(byte));
        } else {
            push_encoded(byte, path);
        }
    }
}

pub(crate) fn push_encoded(byte: u8, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

const fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

#[cfg(test)]
pub(in crate::policy) mod tests;
