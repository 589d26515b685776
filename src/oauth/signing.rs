//! The keys that a site's id tokens are signed with: RS256, which every OpenID client must know (OpenID Connect Core 1.0 section 15.1).
//!
//! A key is published before anything is signed with it, for longer than any gateway's or client's copy of the published keys is old, and
//! for some time after: so nobody ever meets a signature whose key cannot be found. Only the first key of a site signs at once.

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::policy::time::Timestamp;
use crate::policy::token::RECORD_VERSION;

/// Seconds after which a key gets a successor: 30 days.
const ROTATED_AFTER: u64 = 30 * 86_400;

/// Seconds for which a successor is published before it signs: three times what gateways and clients may keep a copy for.
const PUBLISHED_BEFORE: u64 = 900;

/// Seconds for which a key is published when it no longer signs: twice the life of an id token.
const PUBLISHED_AFTER: u64 = 7200;

/// Keys that are kept at most, whatever happens to the key that they are sealed with.
const KEYS_MAX: usize = 8;

/// The DER of a PKCS#1 public key (RFC 8017 appendix A.1.1) of 2048 bits with the exponent 65537, around its modulus.
const DER_BEFORE: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
const DER_AFTER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// What is kept of a site's keys, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRecord {
    pub v: u8,
    pub keys: Vec<KeyRecord>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub kid: String,
    pub created: Timestamp,
    /// Modulus and exponent, as RFC 7518 section 6.3.1 writes them.
    pub n: String,
    pub e: String,
    /// The private key, PKCS#8, sealed, in base64url.
    pub sealed: String,
}

/// What everybody may know of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its thumbprint (RFC 7638).
    pub kid: String,
    pub n: String,
    pub e: String,
}

impl PublicKey {
    /// Reads the DER of a key of ours; `None` for any other.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let modulus = der.strip_prefix(&DER_BEFORE)?.strip_suffix(&DER_AFTER)?;
        if modulus.len() != 256 || modulus[0] < 0x80 {
            return None;
        }
        let (n, e) = (BASE64URL_NOPAD.encode(modulus), BASE64URL_NOPAD.encode(&DER_AFTER[2..]));
        // RFC 7638 section 3: these members, in this order, without a space.
        let thumbprint = digest::digest(&digest::SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        Some(Self { kid: BASE64URL_NOPAD.encode(thumbprint.as_ref()), n, e })
    }
}

impl KeysRecord {
    pub fn first(key: KeyRecord) -> Self {
        Self { v: RECORD_VERSION, keys: vec![key] }
    }

    /// The key to sign with: the newest that has been published for long enough, of those that `opens` says can be used.
    pub fn signer(&self, now: Timestamp, opens: impl Fn(&KeyRecord) -> bool) -> Option<&KeyRecord> {
        let mut usable = self.keys.iter().filter(|key| opens(key)).peekable();
        let oldest = usable.peek().copied();
        usable.filter(|key| key.created.plus(PUBLISHED_BEFORE) <= now).last().or(oldest)
    }

    /// Whether a successor is to be made.
    pub fn due(&self, now: Timestamp) -> bool {
        self.keys.last().is_none_or(|key| key.created.plus(ROTATED_AFTER) <= now)
    }

    /// The record with one more key, and without those that nobody needs any more.
    pub fn with(&self, key: KeyRecord, now: Timestamp) -> Self {
        let mut keys: Vec<_> = self.published(now).cloned().chain([key]).collect();
        keys.drain(..keys.len().saturating_sub(KEYS_MAX));
        Self { v: self.v, keys }
    }

    /// What clients check signatures with (RFC 7517 section 5).
    pub fn jwks(&self, now: Timestamp) -> Value {
        let key = |key: &KeyRecord| json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.kid, "n": key.n, "e": key.e});
        json!({"keys": self.published(now).map(key).collect::<Vec<_>>()})
    }

    fn published(&self, now: Timestamp) -> impl Iterator<Item = &KeyRecord> {
        let replaced = self.keys.iter().skip(1).map(|next| Some(next.created.plus(PUBLISHED_BEFORE + PUBLISHED_AFTER))).chain([None]);
        self.keys.iter().zip(replaced).filter(move |(_, until)| until.is_none_or(|until| now < until)).map(|(key, _)| key)
    }
}

/// What a signature of a JWT is made over (RFC 7515 section 5.1). `claims` is JSON.
pub fn signing_input(kid: &str, claims: &[u8]) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid}).to_string();
    [BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims)].join(".")
}

/// The JWT.
pub fn signed(input: &str, signature: &[u8]) -> String {
    [input, &BASE64URL_NOPAD.encode(signature)].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn key(kid: &str, created: u64) -> KeyRecord {
        KeyRecord { kid: kid.into(), created: at(created), n: "bg".into(), e: "AQAB".into(), sealed: "private-canary".into() }
    }

    fn kids(record: &KeysRecord, now: u64) -> String {
        let jwks = record.jwks(at(now));
        let keys = jwks["keys"].as_array().expect("a list").iter().map(|key| key["kid"].as_str().expect("a text"));
        keys.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_key_is_published_before_and_after_it_signs() {
        let first = KeysRecord::first(key("a", 0));
        let start = 30 * DAY;
        let record = first.with(key("b", start), at(start));
        let signer = |now| record.signer(at(now), |_| true).map(|key| &*key.kid);
        let rows = [
            (start, "a", "a b"),
            (start + PUBLISHED_BEFORE - 1, "a", "a b"),
            (start + PUBLISHED_BEFORE, "b", "a b"),
            (start + PUBLISHED_BEFORE + PUBLISHED_AFTER - 1, "b", "a b"),
            (start + PUBLISHED_BEFORE + PUBLISHED_AFTER, "b", "b"),
        ];
        for (now, signs, published) in rows {
            assert_eq!(signer(now), Some(signs), "{now}");
            assert_eq!(kids(&record, now), published, "{now}");
        }
        assert_eq!(first.signer(at(0), |_| true).map(|key| &*key.kid), Some("a"), "the first signs at once");
        let third = record.with(key("c", 60 * DAY), at(60 * DAY));
        assert_eq!(third.keys.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_successor_is_due_after_thirty_days() {
        let record = KeysRecord::first(key("a", 100));
        for (now, due) in [(0, false), (100, false), (100 + 30 * DAY - 1, false), (100 + 30 * DAY, true), (1 << 40, true)] {
            assert_eq!(record.due(at(now)), due, "{now}");
        }
        assert!(KeysRecord { v: 1, keys: Vec::new() }.due(at(0)));
    }

    #[test]
    fn keys_that_do_not_open_sign_nothing_and_do_not_pile_up() {
        let mut record = KeysRecord::first(key("a", 0));
        assert_eq!(record.signer(at(0), |_| false), None);
        for number in 0..20 {
            record = record.with(key(&format!("k{number}"), number), at(number));
            assert_eq!(record.signer(at(number), |key| key.kid == format!("k{number}")).map(|key| key.created), Some(at(number)));
        }
        assert_eq!(record.keys.len(), KEYS_MAX);
    }

    #[test]
    fn what_is_published_is_public() {
        let text = KeysRecord::first(key("a", 0)).jwks(at(0)).to_string();
        assert_eq!(text, r#"{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"a","n":"bg","e":"AQAB"}]}"#);
    }

    #[test]
    fn only_a_key_of_ours_is_read() {
        let mut der = [&DER_BEFORE[..], &[0x80; 256], &DER_AFTER].concat();
        let key = PublicKey::from_der(&der).expect("a key");
        assert_eq!((key.e.as_str(), key.n.len(), key.kid.len()), ("AQAB", 342, 43));
        assert_eq!(PublicKey::from_der(&der[..der.len() - 1]), None);
        assert_eq!(PublicKey::from_der(&[&der[..], &[0]].concat()), None);
        assert_eq!(PublicKey::from_der(&[]), None);
        der[9] = 0x7f;
        assert_eq!(PublicKey::from_der(&der), None, "2047 bits");
    }

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        // RFC 7638 section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn6\
                 4tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbI\
                 SD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let modulus = BASE64URL_NOPAD.decode(n.as_bytes()).expect("base64url");
        let key = PublicKey::from_der(&[&DER_BEFORE[..], &modulus, &DER_AFTER].concat()).expect("a key");
        assert_eq!(key.kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_jwt_has_three_parts() {
        let input = signing_input("a", br#"{"iss":"x"}"#);
        assert_eq!(input, "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJ4In0");
        assert_eq!(signed(&input, &[1, 2, 3]), format!("{input}.AQID"));
    }
}
