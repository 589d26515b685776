//! Scopes: what a token's bearer was allowed, in the words of RFC 6749 section 3.3.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest scope text that is read, in bytes, and the most scopes in it.
const SCOPES_TEXT_MAX: usize = 8192;
const SCOPES_MAX: usize = 256;

/// What an operation does, and what a scope lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Read,
    Write,
    Delete,
    /// An RPC that is none of the three: only its own `call:` scope, or `all`, allows it.
    Call,
}

impl Effect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Call => "call",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Delete => 4,
            Self::Call => 8,
        }
    }
}

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `all`: every operation that is not forbidden.
    All,
    /// `read`, `write`, `delete`, on every doctype.
    Broad(Effect),
    /// `read:sales-order`: one effect on one doctype, by Frappe's route slug.
    Doctype(Effect, Box<str>),
    /// `call:my_app.api.quote`: one RPC.
    Rpc(Box<str>),
    /// `call:my_app.*`: every RPC below a prefix, kept with its dot (`my_app.`).
    RpcsBelow(Box<str>),
    /// `openid`, `profile`, `email`: identity, no operation.
    Identity(Box<str>),
    /// A name that only the operator's configuration can explain.
    Named(Box<str>),
}

impl Scope {
    /// Reads one `scope-token`: `1*( %x21 / %x23-5B / %x5D-7E )`. What has the form of a narrow scope but no sense is refused, so
    /// that a typing error is not taken for the name of a configured scope.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() || !text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e) || byte >= 0x80) {
            return Err(ScopeError(format!(
                "`{}` is not a scope: only printable characters without space, quote and backslash",
                text.escape_debug()
            )));
        }
        let Some((action, object)) = text.split_once(':') else {
            return Ok(match text {
                "all" => Self::All,
                "read" => Self::Broad(Effect::Read),
                "write" => Self::Broad(Effect::Write),
                "delete" => Self::Broad(Effect::Delete),
                "openid" | "profile" | "email" => Self::Identity(text.into()),
                _ => Self::Named(text.into()),
            });
        };
        let effect = match action {
            "read" => Effect::Read,
            "write" => Effect::Write,
            "delete" => Effect::Delete,
            "call" => return Self::parse_rpc(object, text),
            _ => return Err(ScopeError(format!("`{text}` is not a scope: the part before `:` is read, write, delete or call"))),
        };
        if object.is_empty() || object.chars().any(|letter| letter.is_uppercase() || letter == ':' || letter == '/') {
            return Err(ScopeError(format!(
                "`{text}` is not a scope: a doctype is written in lower case with `-` for spaces, as in `read:sales-order`"
            )));
        }
        Ok(Self::Doctype(effect, object.into()))
    }

    fn parse_rpc(object: &str, text: &str) -> Result<Self, ScopeError> {
        let (name, below) = match object.strip_suffix(".*") {
            Some(prefix) => (prefix, true),
            None => (object, false),
        };
        if name.is_empty()
            || name.split('.').any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        {
            return Err(ScopeError(format!(
                "`{text}` is not a scope: after `call:` stands a dotted name, or a prefix and `.*`, as in `call:my_app.*`"
            )));
        }
        Ok(if below { Self::RpcsBelow(format!("{name}.").into()) } else { Self::Rpc(name.into()) })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Broad(effect) => f.write_str(effect.as_str()),
            Self::Doctype(effect, slug) => write!(f, "{}:{slug}", effect.as_str()),
            Self::Rpc(name) => write!(f, "call:{name}"),
            Self::RpcsBelow(prefix) => write!(f, "call:{prefix}*"),
            Self::Identity(name) | Self::Named(name) => f.write_str(name),
        }
    }
}

/// Why a text is not a scope; says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeError(pub String);

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScopeError {}

/// The scopes of a token: the text as it was granted, and what it means, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    text: Box<str>,
    /// Bits of [`Effect`] that are allowed on every doctype; [`ALL`] for `all`.
    broad: u8,
    /// Everything else.
    narrow: Box<[Scope]>,
}

const ALL: u8 = 0x80;

impl Scopes {
    /// Reads scopes separated by single spaces; more white space is folded, a repetition is dropped, the order is kept.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SCOPES_TEXT_MAX {
            return Err(ScopeError(format!("the scopes take {} bytes; at most {SCOPES_TEXT_MAX} are read", text.len())));
        }
        let mut words: Vec<&str> = Vec::new();
        let mut broad = 0;
        let mut narrow = Vec::new();
        for word in text.split_ascii_whitespace() {
            if words.contains(&word) {
                continue;
            }
            words.push(word);
            match Scope::parse(word)? {
                Scope::All => broad |= ALL,
                Scope::Broad(effect) => broad |= effect.bit(),
                scope => narrow.push(scope),
            }
        }
        if words.len() > SCOPES_MAX {
            return Err(ScopeError(format!("there are {} scopes; at most {SCOPES_MAX} are read", words.len())));
        }
        Ok(Self { text: words.join(" ").into(), broad, narrow: narrow.into() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether `all` is among them.
    pub fn all(&self) -> bool {
        self.broad & ALL != 0
    }

    /// Whether `effect` is allowed on every doctype.
    pub fn broad(&self, effect: Effect) -> bool {
        self.broad & (ALL | effect.bit()) != 0
    }

    /// The scopes that are neither `all` nor a broad `read`, `write` or `delete`.
    pub fn narrow(&self) -> &[Scope] {
        &self.narrow
    }

    /// Every scope as a word, in the order granted.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|word| !word.is_empty())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
