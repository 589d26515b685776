//! Sealing of credentials: what the gate must be able to read again, encrypted and bound to its place.
//!
//! AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D section 8.2.2: safe for 2^32 seals under one key, far beyond what
//! credentials need). Site and id are authenticated with the bytes, so a sealed value that is copied under another site or id, by
//! someone who can write to the store but has no key, does not open there.
//!
//! ```text
//! 0x01 | nonce, 12 bytes | ciphertext | tag, 16 bytes
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use data_encoding::HEXLOWER_PERMISSIVE;

/// Bytes of a key; twice as many hexadecimal digits stand in its file.
const KEY_BYTES: usize = 32;

/// First byte of everything sealed.
const SEAL_VERSION: u8 = 1;

/// The key that credentials are sealed with. It prints as its kind.
pub struct SealKey(RandomizedNonceKey);

impl SealKey {
    /// Reads the content of a key file: 64 hexadecimal digits, with white space around them.
    pub fn from_hex(text: &str) -> Result<Self, SealError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim_ascii().as_bytes()).map_err(|_| SealError::KeyForm)?;
        if bytes.len() != KEY_BYTES {
            return Err(SealError::KeyForm);
        }
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, &bytes)?))
    }

    /// A new key, as the text that its file is to hold; [`Self::from_hex`] reads it.
    pub fn generate() -> Result<String, SealError> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes)?;
        Ok(HEXLOWER_PERMISSIVE.encode(&bytes))
    }

    /// Seals `secret` for the place `site`, `id`.
    pub fn seal(&self, site: &str, id: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(place(site, id)), &mut sealed)?;
        let mut whole = Vec::with_capacity(1 + NONCE_LEN + sealed.len());
        whole.push(SEAL_VERSION);
        whole.extend_from_slice(nonce.as_ref());
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// Opens what was sealed with this key for this very place.
    pub fn open(&self, site: &str, id: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let Some((&version, rest)) = sealed.split_first() else { return Err(SealError::Damaged) };
        if version != SEAL_VERSION {
            return Err(SealError::Version(version));
        }
        let Some((nonce, body)) = rest.split_at_checked(NONCE_LEN) else { return Err(SealError::Damaged) };
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let secret = self.0.open_in_place(nonce, Aad::from(place(site, id)), &mut body).map_err(|Unspecified| SealError::Damaged)?.len();
        body.truncate(secret);
        Ok(body)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// Site and id with their lengths, so that no two places have the same bytes.
fn place(site: &str, id: &str) -> Vec<u8> {
    let mut place = b"scopegate credential".to_vec();
    for part in [site, id] {
        place.extend_from_slice(&(part.len() as u64).to_be_bytes());
        place.extend_from_slice(part.as_bytes());
    }
    place
}

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The key is not 64 hexadecimal digits.
    KeyForm,
    /// It was sealed by a build that writes another format.
    Version(u8),
    /// Changed, moved from another place, or sealed with another key.
    Damaged,
    /// The cryptographic library failed, as it does without randomness.
    Library,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyForm => f.write_str("the sealing key is 64 hexadecimal digits, as `openssl rand -hex 32` prints them"),
            Self::Version(version) => write!(f, "the credential is sealed in format {version}; this build reads {SEAL_VERSION}"),
            Self::Damaged => f.write_str("the credential does not open: it was changed, moved, or sealed with another key; set it anew"),
            Self::Library => f.write_str("the cryptographic library failed: is there a source of randomness?"),
        }
    }
}

impl std::error::Error for SealError {}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self::Library
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        SealKey::from_hex(&SealKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        let key = key();
        for secret in [&b""[..], b"k", b"key:secret-canary", &[0; 5000]] {
            let sealed = key.seal("erp", "crm", secret).unwrap();
            assert_eq!(key.open("erp", "crm", &sealed).unwrap(), secret);
            for (site, id) in [("erp", "shop"), ("crm", "erp"), ("er", "pcrm"), ("erpc", "rm"), ("", "erpcrm"), ("ERP", "crm")] {
                assert_eq!(key.open(site, id, &sealed), Err(SealError::Damaged), "{site} {id}");
            }
        }
        let sealed = key.seal("erp", "crm", b"secret-canary").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert_ne!(sealed, key.seal("erp", "crm", b"secret-canary").unwrap(), "a nonce is used once");
    }

    #[test]
    fn a_single_changed_or_missing_byte_is_noticed() {
        let key = key();
        let sealed = key.seal("erp", "crm", b"key:secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let expected = if at == 0 { SealError::Version(0) } else { SealError::Damaged };
            assert_eq!(key.open("erp", "crm", &changed), Err(expected), "byte {at}");
            assert_eq!(key.open("erp", "crm", &sealed[..at]), Err(SealError::Damaged), "cut at {at}");
        }
        let longer = [&sealed[..], b"\0"].concat();
        assert_eq!(key.open("erp", "crm", &longer), Err(SealError::Damaged));
        assert_eq!(self::key().open("erp", "crm", &sealed), Err(SealError::Damaged), "another key");
    }

    #[test]
    fn a_key_is_64_digits_and_prints_as_its_kind() {
        let text = SealKey::generate().unwrap();
        assert_eq!(text.len(), 64);
        assert_ne!(text, SealKey::generate().unwrap());
        let key = SealKey::from_hex(&format!(" {}\n", text.to_uppercase())).unwrap();
        assert_eq!(format!("{key:?}"), "SealKey(..)");
        for bad in ["", "ab", &text[1..], &format!("{text}00"), &format!("{}zz", &text[2..])] {
            assert_eq!(SealKey::from_hex(bad).err(), Some(SealError::KeyForm), "{bad}");
        }
    }

    /// What was sealed by an earlier build must open for as long as it says version 1.
    #[test]
    fn version_1_is_read_as_it_was_written() {
        let key = SealKey::from_hex(&"07".repeat(32)).unwrap();
        let sealed = HEXLOWER_PERMISSIVE.decode(SEALED_V1.as_bytes()).unwrap();
        assert_eq!(key.open("erp.example.com", "crm", &sealed).unwrap(), b"api-key:api-secret");
    }

    const SEALED_V1: &str = "013f067d6cdda578996d9e3c13962ed2dc5f012f9d13792d66beab06cc1e995778cae3d8351fa12cacc65f1d87b5dc";
}
