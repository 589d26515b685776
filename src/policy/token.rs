//! An access token: the secret as shown, its hash everywhere else, and the record that is kept of it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;

/// Random bytes behind a token that scopegate issues: 256 bits, twice what RFC 6749 section 10.10 asks for.
pub const TOKEN_BYTES: usize = 32;

/// The longest token text that is looked at, in bytes. Frappe's are 30 long, ours 43; 512 leaves room for other minters.
pub const TOKEN_TEXT_MAX: usize = 512;

/// The secret as its bearer shows it. It prints as its kind, and leaves only as a [`TokenHash`].
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Box<str>);

impl AccessToken {
    /// Reads the `token68` of RFC 6750 section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
    /// `None` for anything else, and beyond [`TOKEN_TEXT_MAX`] bytes.
    pub fn parse(text: &str) -> Option<Self> {
        is_token68(text.as_bytes()).then(|| Self(text.into()))
    }

    /// A new token from `random` bytes.
    pub fn from_random(random: [u8; TOKEN_BYTES]) -> Self {
        Self(BASE64URL_NOPAD.encode(&random).into())
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }

    /// The secret itself: only for the one moment in which it is shown, or passed on to its upstream.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// What a `token68` has before its padding.
const TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    table
};

/// Whether `text` is a `token68` of a length that is looked at.
pub fn is_token68(text: &[u8]) -> bool {
    let body = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
    body > 0
        && text.len() <= TOKEN_TEXT_MAX
        && text[..body].iter().all(|&byte| TOKEN68[usize::from(byte)])
        && text[body..].iter().all(|&byte| byte == b'=')
}

/// SHA-256 of a token: its name in stores, caches, logs and commands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    pub fn of(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// How a token is called in logs and audit records: the first 8 bytes of its hash, 16 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.0[..8])
    }

    /// The same, into a buffer of the caller's.
    pub fn write_fingerprint<'b>(&self, buffer: &'b mut [u8; 16]) -> &'b str {
        HEXLOWER.encode_mut(&self.0[..8], buffer);
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({})", self.fingerprint())
    }
}

/// What a store keeps of a token. The JSON form is public and versioned: see `README.md`, "Stored formats".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Version of the format; [`RECORD_VERSION`].
    pub v: u8,
    pub client: Arc<str>,
    pub user: Arc<str>,
    /// Space-separated, as in RFC 6749 section 3.3.
    pub scopes: Scopes,
    /// The consent it came from; `None` for a token that an operator issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Arc<str>>,
    pub iat: Timestamp,
    pub exp: Timestamp,
}

/// The version of every stored record that this build writes and reads.
pub const RECORD_VERSION: u8 = 1;

impl TokenRecord {
    /// Whether the token has ended at `now`. It ends on its `exp` second: `exp` itself is too late (RFC 7519 section 4.1.4).
    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.exp
    }
}
