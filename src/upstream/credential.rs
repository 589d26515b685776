//! How the upstream learns the user: the `Authorization` header that the gate sends in place of the client's.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

use crate::policy::token::AccessToken;

/// An API key of a Frappe user, `key:secret`. It prints as its kind.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    header: HeaderValue,
}

impl ApiKey {
    /// Reads `key:secret`, as Frappe shows the two; white space around them is the end of a file and of no account.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let text = text.trim();
        let (key, secret) = text.split_once(':').ok_or(ApiKeyError)?;
        if text.len() > API_KEY_BYTES_MAX || !is_plain(key) || !is_plain(secret) {
            return Err(ApiKeyError);
        }
        let mut header = HeaderValue::try_from(format!("token {text}")).map_err(|_| ApiKeyError)?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// The complete `Authorization` header.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// The `Authorization` header that passes the client's own token on. Exactly one space: with two, Frappe takes the request for a
/// guest's (T135 to T139).
pub fn forward(token: &AccessToken) -> HeaderValue {
    let text = ["Bearer ", token.reveal()].concat();
    let mut header = HeaderValue::from_maybe_shared(Bytes::from(text)).expect("a token is token68, which is visible ASCII");
    header.set_sensitive(true);
    header
}

/// Not a `key:secret`. What was read is not repeated: it may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKeyError;

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an API key is written `key:secret`, both from the user's page in Frappe, on one line")
    }
}

impl std::error::Error for ApiKeyError {}

/// Letters, digits and marks; a second colon or a space would make Frappe read other parts.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// Frappe's own are 31 bytes.
const API_KEY_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_is_read_from_text_and_from_files() {
        for text in ["abc:def", "abc:def\n", " abc:def\r\n", "0f9a:-._~+/="] {
            let header = ApiKey::parse(text).expect(text).header();
            assert_eq!(header.to_str().expect("ASCII"), format!("token {}", text.trim()));
            assert!(header.is_sensitive());
        }
    }

    #[test]
    fn what_is_no_api_key_is_refused_without_repeating_it() {
        let long = format!("a:{}", "b".repeat(API_KEY_BYTES_MAX));
        for text in ["", ":", "abc", "abc:", ":def", "a:b:c", "a b:c", "a:b c", "a:b\nc:d", "a:b\0", "ä:b", "token a:b", &long] {
            let error = ApiKey::parse(text).expect_err(text);
            assert!(text.len() < 4 || !error.to_string().contains(text), "{text:?}");
        }
    }

    #[test]
    fn secrets_print_as_their_kind() {
        let key = ApiKey::parse("abc:SECRET").expect("an API key");
        assert_eq!(format!("{key:?} {:?}", key.header()), "ApiKey(..) Sensitive");
        let token = AccessToken::parse("TOKEN").expect("a token");
        assert_eq!(format!("{:?}", forward(&token)), "Sensitive");
        assert_eq!(forward(&token), "Bearer TOKEN");
    }
}
