//! Names and values of a query or a form body, read as Python reads them and written anew.
//!
//! The reference is `urllib.parse.parse_qsl(text, keep_blank_values=True)`, which werkzeug uses: `&` separates (`;` does not, T220),
//! `+` is a space, a `%` without two digits stands for itself. What Python would repair (broken UTF-8) is refused here.

use crate::policy::path::{hex, push_encoded};
use crate::policy::refusal::{Reason, Refusal};

/// Pairs that are read; Frappe's own pages send fewer than twenty.
pub const PAIRS_MAX: usize = 1000;

/// Names and values in the order sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Reads `name=value&...`. `reason` is what the refusal says: the query's or the body's.
    pub fn parse(raw: &[u8], reason: Reason) -> Result<Self, Refusal> {
        if raw.is_empty() {
            return Ok(Self::default());
        }
        let mut pairs = Vec::new();
        for part in raw.split(|&byte| byte == b'&').filter(|part| !part.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(Refusal::new(reason, "there are too many parameters"));
            }
            let (name, value) = match part.iter().position(|&byte| byte == b'=') {
                Some(at) => (&part[..at], &part[at + 1..]),
                None => (part, &[][..]),
            };
            let name = decode(name, reason)?;
            if name.chars().any(char::is_control) {
                return Err(Refusal::new(reason, "a parameter name has a control character"));
            }
            let value = decode(value, reason)?;
            if value.contains('\0') {
                return Err(Refusal::new(reason, "a parameter has a NUL character"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub fn from_fields(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes out every pair of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Writes the pairs as `application/x-www-form-urlencoded`, in one spelling only.
    pub fn write(&self, text: &mut String) {
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                text.push('&');
            }
            encode(name, text);
            text.push('=');
            encode(value, text);
        }
    }
}

fn decode(raw: &[u8], reason: Reason) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match raw.get(at..at + 2).and_then(|digits| hex(digits[0]).zip(hex(digits[1]))) {
                Some((high, low)) => {
                    bytes.push(high << 4 | low);
                    at += 2;
                }
                None => bytes.push(b'%'),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Refusal::new(reason, "a parameter is not UTF-8"))
}

fn encode(text: &str, out: &mut String) {
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => push_encoded(byte, out),
        }
    }
}

#[cfg(test)]
pub(in crate::policy) mod tests;
