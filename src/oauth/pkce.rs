//! PKCE, S256 only (RFC 7636): `plain` protects from nobody who has seen the request.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;

/// Whether `text` can be the base64url of a SHA-256 (RFC 7636 section 4.2).
pub fn is_challenge(text: &str) -> bool {
    text.len() == 43 && BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == 32)
}

/// Whether `text` has the form of a verifier: 43 to 128 unreserved characters (section 4.1).
pub fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// The S256 challenge of a verifier.
pub fn challenge_of(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref())
}

/// Whether `verifier` is what `challenge` was made of, in constant time (section 4.6).
pub fn verifies(challenge: &str, verifier: &str) -> bool {
    is_verifier(verifier) && verify_slices_are_equal(challenge_of(verifier).as_bytes(), challenge.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_verifies() {
        // RFC 7636 appendix B.
        let (verifier, challenge) = ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_challenge(challenge));
        assert!(verifies(challenge, verifier));
        assert_eq!(challenge_of(verifier), challenge);
    }

    #[test]
    fn nothing_else_does() {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let long = "a".repeat(129);
        let rows = ["", challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjX", &long];
        for verifier in rows {
            assert!(!verifies(challenge, verifier), "{verifier:?}");
        }
        // `plain` in the disguise of S256: the challenge is the verifier itself.
        let plain = "a".repeat(43);
        assert!(!verifies(&plain, &plain));
        for text in ["", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM", &"=".repeat(43)] {
            assert!(!is_challenge(text), "{text:?}");
        }
    }
}
