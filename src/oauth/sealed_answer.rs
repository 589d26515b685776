//! The answer to a refresh, kept with the spent refresh token, for whoever shows that token again a moment later.
//!
//! It is sealed under a key that only the token gives (HKDF-SHA256, RFC 5869), and the store has the token's hash alone: so neither
//! whoever reads the store nor whoever holds the gate's own keys can open it. The nonce is random though each key seals one answer that
//! is kept: of requests that race, each seals an answer of its own before one of them is kept, and two answers under one nonce would
//! give away both (NIST SP 800-38D appendix A).
//!
//! ```text
//! base64url(nonce, 12 bytes | ciphertext | tag, 16 bytes)
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use data_encoding::BASE64URL_NOPAD;

/// Random bytes that each seal takes.
pub const NONCE_BYTES: usize = NONCE_LEN;

/// What keeps this key apart from any other that may be made of the same token one day.
const PURPOSE: &[&[u8]] = &[b"scopegate refresh answer 1"];

/// Seals `answer` for the bearer of `token`.
pub fn seal(token: &str, nonce: [u8; NONCE_BYTES], answer: &[u8]) -> Result<String, Unspecified> {
    let mut sealed = answer.to_vec();
    key(token)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)?;
    Ok(BASE64URL_NOPAD.encode(&[&nonce[..], &sealed].concat()))
}

/// What was sealed for `token`; `None` for what was not, or is damaged.
pub fn open(token: &str, sealed: &str) -> Option<Vec<u8>> {
    let mut bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
    let (nonce, body) = bytes.split_at_mut_checked(NONCE_BYTES)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    key(token).ok()?.open_in_place(nonce, Aad::empty(), body).ok().map(|answer| answer.to_vec())
}

fn key(token: &str) -> Result<LessSafeKey, Unspecified> {
    let extracted = Salt::new(HKDF_SHA256, b"").extract(token.as_bytes());
    Ok(LessSafeKey::new(UnboundKey::from(extracted.expand(PURPOSE, &AES_256_GCM)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens_its_answer() {
        for answer in [&b""[..], b"{}", br#"{"access_token":"canary"}"#, &[7; 9000]] {
            let sealed = seal("the token", [3; NONCE_BYTES], answer).expect("a seal");
            assert_eq!(open("the token", &sealed).as_deref(), Some(answer));
            for other in ["", "The token", "the token ", "another"] {
                assert_eq!(open(other, &sealed), None, "{other:?}");
            }
        }
    }

    #[test]
    fn nothing_that_was_changed_opens() {
        let sealed = seal("t", [3; NONCE_BYTES], b"canary").expect("a seal");
        let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).expect("base64url");
        assert!(!bytes.windows(6).any(|part| part == b"canary"));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(open("t", &BASE64URL_NOPAD.encode(&changed)), None, "byte {at}");
            assert_eq!(open("t", &BASE64URL_NOPAD.encode(&bytes[..at])), None, "cut at {at}");
        }
        for text in ["", "not base64url!", "AA", &format!("{sealed}A")] {
            assert_eq!(open("t", text), None, "{text:?}");
        }
    }

    /// What an earlier build sealed is repeated by the next one: an upgrade is no reason to lose an answer.
    #[test]
    fn the_format_stays() {
        let sealed = seal("the token", [0; NONCE_BYTES], b"answer").expect("a seal");
        assert_eq!(sealed, GOLDEN);
        assert_eq!(open("the token", GOLDEN).as_deref(), Some(&b"answer"[..]));
    }

    const GOLDEN: &str = "AAAAAAAAAAAAAAAA5yI4hvnI6xGdVM-7K6T3lVmcy5k2_A";
}
