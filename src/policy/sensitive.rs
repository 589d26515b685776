//! What stays closed even to `all`: doctypes and functions that hold secrets, run code or hand out privileges.
//!
//! A `read` token of a System Manager would read every live token, client secret and API secret (T500-T505), and a `write` token would
//! set a password (T506), so these are closed unless the site's configuration names them.
//!
//! Names are compared the way MariaDB's `utf8mb4_unicode_ci` compares them (T140, T145, T550), or more loosely: a spelling that
//! the database may take for a protected doctype is one. What cannot be a doctype's name at all counts as forbidden: Frappe puts the name
//! into SQL as ``tab<name>``, takes one that begins with `__` for a bare table (`__Auth` holds the password hashes), and
//! `get_count` asks no permission.

mod doctypes;
mod rpcs;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::policy::sensitive::doctypes::PROTECTED;
use crate::policy::sensitive::rpcs::{FORBIDDEN, FORBIDDEN_BELOW, FORBIDDEN_LAST, IMPOSSIBLE};

/// The longest doctype name that is looked at, in bytes: `tabDocType.name` holds 140 characters.
const DOCTYPE_BYTES_MAX: usize = 560;

/// Room for the folded form of any protected doctype; the test holds the table to it.
const FOLDED_MAX: usize = 48;

/// How a doctype is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    None,
    /// It configures privileges, or is evaluated or kept as evidence: reads pass, everything else is refused.
    NoWrite,
    /// It holds secrets or runs code: everything is refused. So is what is no doctype's name.
    Forbidden,
}

/// How `doctype` is protected, in whatever spelling.
pub fn protection(doctype: &str) -> Protection {
    if doctype.is_ascii() {
        let mut folded = [0; FOLDED_MAX];
        match fold_ascii(doctype.as_bytes(), &mut folded) {
            Folded::No => Protection::Forbidden,
            Folded::Long => Protection::None,
            Folded::As(length) => listed(&folded[..length]),
        }
    } else {
        fold(doctype).map_or(Protection::Forbidden, |folded| listed(folded.as_bytes()))
    }
}

/// Whether two texts name one doctype. For the exceptions in a site's configuration; what is no doctype's name equals nothing.
pub fn same_doctype(one: &str, other: &str) -> bool {
    matches!((fold(one), fold(other)), (Some(one), Some(other)) if one == other)
}

fn listed(folded: &[u8]) -> Protection {
    match PROTECTED.binary_search_by(|(name, _)| name.as_bytes().cmp(folded)) {
        Ok(at) => PROTECTED[at].1,
        Err(_) => Protection::None,
    }
}

/// What became of an ASCII name.
enum Folded {
    /// So many bytes of the buffer.
    As(usize),
    /// A name longer than every protected one.
    Long,
    /// No doctype's name.
    No,
}

/// Folds without allocating, as every resource request comes this way: lower case, and each run of spaces, hyphens and underscores a
/// single `-`, because Frappe's module paths make all three the same.
fn fold_ascii(name: &[u8], folded: &mut [u8; FOLDED_MAX]) -> Folded {
    if name.len() > DOCTYPE_BYTES_MAX {
        return Folded::No;
    }
    let (mut length, mut gap, mut long) = (0, false, false);
    for &byte in name {
        let letter = match byte {
            b'a'..=b'z' | b'0'..=b'9' => byte,
            b'A'..=b'Z' => byte.to_ascii_lowercase(),
            b'_' if length == 0 => return Folded::No,
            b' ' | b'-' | b'_' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r' => {
                gap = length > 0;
                continue;
            }
            _ => return Folded::No,
        };
        if length + usize::from(gap) >= FOLDED_MAX {
            long = true;
            continue;
        }
        if gap {
            folded[length] = b'-';
            length += 1;
            gap = false;
        }
        folded[length] = letter;
        length += 1;
    }
    match (length, long) {
        (0, _) => Folded::No,
        (_, true) => Folded::Long,
        (_, false) => Folded::As(length),
    }
}

/// The same for any text, and with every difference dropped that the collation does not see: compatibility forms, accents, strokes,
/// ligatures, what has no width. `None` for what is no doctype's name.
fn fold(name: &str) -> Option<String> {
    if name.len() > DOCTYPE_BYTES_MAX {
        return None;
    }
    let mut folded = String::with_capacity(name.len());
    let mut gap = false;
    for letter in name.nfkd().filter(|&letter| !is_combining_mark(letter) && !is_weightless(letter)) {
        if letter == '_' && folded.is_empty() {
            return None;
        }
        if is_gap(letter) {
            gap = !folded.is_empty();
            continue;
        }
        if !letter.is_alphanumeric() {
            return None;
        }
        if gap {
            folded.push('-');
            gap = false;
        }
        for lower in letter.to_lowercase() {
            // A capital may decompose only once it is small: `İ`.
            for part in lower.nfkd().filter(|&part| !is_combining_mark(part)) {
                match plain(part) {
                    Some(text) => folded.push_str(text),
                    None => folded.push(part),
                }
            }
        }
    }
    (!folded.is_empty()).then_some(folded)
}

/// Spaces and dashes of every kind.
fn is_gap(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// What the collation gives no weight: soft hyphen, zero-width characters, directions, variation selectors, tags.
fn is_weightless(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// What letters weigh as much as, where they do not decompose into it.
fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ŧ' => "t",
        'þ' => "th",
        'ı' => "i",
        'ĸ' => "q",
        'ŋ' => "n",
        _ => return None,
    })
}

/// Words that name a secret wherever they stand as a field. `sid` is the session, `__Auth` keeps its `password`.
const SECRET_FIELDS: [&str; 26] = [
    "access_key",
    "access_key_id",
    "access_token",
    "api_key",
    "api_secret",
    "auth_token",
    "authorization_code",
    "client_secret",
    "code_challenge",
    "code_verifier",
    "encryption_key",
    "id_token",
    "new_password",
    "otp_secret",
    "otpsecret",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "reset_password_key",
    "secret",
    "secret_key",
    "sid",
    "token",
];

/// Endings that say the same: `webhook_secret`, `indexing_refresh_token`, `sam@example.com_otpsecret`.
const SECRET_ENDINGS: [&str; 9] =
    ["_access_key", "_api_key", "_authorization_code", "_otpsecret", "_password", "_private_key", "_secret", "_secret_key", "_token"];

/// Whether a field, or an expression over fields, names a secret, on any doctype: `api_key`, `owner.api_key`,
/// ``max(`tabUser`.`api_secret`) as m``. Only names of fields belong here, not the values that a filter compares with.
pub fn secret_field(field: &str) -> bool {
    let folded: Cow<'_, str> = if field.is_ascii() {
        Cow::Borrowed(field)
    } else {
        // Column names are compared without case, and some letters have an ASCII one: `api_K\u{212a}ey`.
        Cow::Owned(field.nfkd().filter(|&letter| !is_combining_mark(letter) && !is_weightless(letter)).collect())
    };
    folded.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(is_secret_word)
}

fn is_secret_word(word: &str) -> bool {
    SECRET_FIELDS.iter().any(|secret| secret.eq_ignore_ascii_case(word))
        || SECRET_ENDINGS.iter().any(|ending| {
            word.len().checked_sub(ending.len()).and_then(|at| word.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(ending))
        })
}

/// Whether the function is closed even to `all` and to an operator's entry, unless the site's configuration names it. Names are
/// compared exactly, as Python does.
pub fn rpc_forbidden(name: &str) -> bool {
    if rpc_impossible(name) || FORBIDDEN.binary_search(&name).is_ok() {
        return true;
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if FORBIDDEN_LAST.contains(&last) {
        return true;
    }
    name.bytes().enumerate().any(|(at, byte)| byte == b'.' && FORBIDDEN_BELOW.binary_search(&&name[..=at]).is_ok())
}

/// Whether no configuration can open the function: it signs in or out, or runs any other method.
pub fn rpc_impossible(name: &str) -> bool {
    IMPOSSIBLE.contains(&name)
}
