//! A registered OAuth client: an app that may be given tokens.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};

use crate::oauth::redirect;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::{RECORD_VERSION, TokenHash};

/// What a store keeps of a client. The JSON form is public and versioned: see `README.md`, "Stored formats".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Version of the format; `policy::token::RECORD_VERSION`.
    pub v: u8,
    pub id: Arc<str>,
    /// What a person calls the app.
    pub name: String,
    /// The widest scopes its tokens may carry.
    pub scopes: Scopes,
    pub enabled: bool,
    pub created: Timestamp,
    /// SHA-256 of its secret, hexadecimal; `None` for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hash_hex")]
    pub secret: Option<TokenHash>,
    /// When the secret was set; `None` for when the client was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_since: Option<Timestamp>,
    /// The secret before this one, for as long as it still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<PreviousSecret>,
    /// Its own rate instead of the configured one: requests, and the seconds they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ClientRate>,
    /// Where a browser may be sent with a code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// How it may come by tokens; none for a client whose tokens an operator issues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_types: Vec<GrantType>,
    /// What it gets when it asks for no scope; `None` for all that it may have, as in Frappe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Scopes>,
    /// Whether its users are not asked: for an operator's own apps.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_consent: bool,
    /// Origins whose pages may call the API and the OAuth endpoints, as a browser writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Who its `client_credentials` tokens speak for; `None` for the client itself, under its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The document that describes it, where its id is a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// Whether it made itself known (RFC 7591), so that no operator has looked at it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub self_registered: bool,
}

/// How a client comes by tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl GrantType {
    pub const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// A secret that was rotated away, and its last second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    #[serde(with = "required_hash_hex")]
    pub hash: TokenHash,
    pub until: Timestamp,
}

/// Where a Client ID Metadata Document lies, and when it must be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub url: String,
    pub fresh_until: Timestamp,
}

/// `requests` in `seconds`, with `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRate {
    pub requests: u32,
    pub seconds: u32,
    pub burst: u32,
}

impl Client {
    /// An enabled public client with nothing but a name and scopes.
    pub fn new(id: &str, name: &str, scopes: Scopes, created: Timestamp) -> Self {
        Self {
            v: RECORD_VERSION,
            id: id.into(),
            name: name.to_owned(),
            scopes,
            enabled: true,
            created,
            secret: None,
            secret_since: None,
            previous_secret: None,
            rate: None,
            redirect_uris: Vec::new(),
            grant_types: Vec::new(),
            default_scopes: None,
            skip_consent: false,
            origins: Vec::new(),
            user: None,
            document: None,
            self_registered: false,
        }
    }

    /// Whether an operator registered it, and so vouches for where it sends browsers.
    pub fn vouched_for(&self) -> bool {
        !self.self_registered && self.document.is_none()
    }

    /// Whether it has no secret, and so cannot prove who it is (RFC 6749 section 2.1).
    pub fn public(&self) -> bool {
        self.secret.is_none()
    }

    /// What apps call it: its id, or the URL of the document that describes it.
    pub fn public_id(&self) -> &str {
        self.document.as_ref().map_or(&self.id, |document| &document.url)
    }

    /// Whether `secret` is its secret at `now`, or the one before while that still counts. Every hash is compared, in constant time.
    pub fn authenticates(&self, secret: &str, now: Timestamp) -> bool {
        let shown = TokenHash::of(secret.as_bytes());
        let equal = |kept: &TokenHash| verify_slices_are_equal(kept.as_bytes(), shown.as_bytes()).is_ok();
        let current = self.secret.as_ref().is_some_and(equal);
        let previous = self.previous_secret.as_ref().is_some_and(|previous| equal(&previous.hash) && now < previous.until);
        current | (previous && self.secret.is_some())
    }

    pub fn may(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }

    /// Whether a browser may be sent to `uri`.
    pub fn redirects_to(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| redirect::matches(registered, uri))
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

mod required_hash_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::policy::token::TokenHash;

    pub fn serialize<S: Serializer>(hash: &TokenHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        TokenHash::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a secret is kept as 64 lower-case hexadecimal digits"))
    }
}

mod hash_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::policy::token::TokenHash;

    pub fn serialize<S: Serializer>(hash: &Option<TokenHash>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.collect_str(hash),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TokenHash>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        TokenHash::from_hex(&text).map(Some).ok_or_else(|| serde::de::Error::custom("a secret is kept as 64 lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client() -> Client {
        Client::new("crm", "An app", Scopes::parse("read").expect("scopes"), Timestamp::from_unix(7))
    }

    #[test]
    fn a_secret_counts_until_its_successor_has_taken_over() {
        let hash = |text: &str| TokenHash::of(text.as_bytes());
        let previous = PreviousSecret { hash: hash("old"), until: Timestamp::from_unix(50) };
        let rotated = Client { secret: Some(hash("new")), previous_secret: Some(previous), ..client() };
        let made_public = Client { secret: None, ..rotated.clone() };
        let rows = [
            (&rotated, "new", 10, true),
            (&rotated, "new", 99, true),
            (&rotated, "old", 49, true),
            (&rotated, "old", 50, false),
            (&rotated, "", 10, false),
            (&rotated, "new ", 10, false),
            (&client(), "", 10, false),
            (&client(), "new", 10, false),
            (&made_public, "old", 10, false),
        ];
        for (client, secret, now, expected) in rows {
            assert_eq!(client.authenticates(secret, Timestamp::from_unix(now)), expected, "{secret} {now}");
        }
    }

    #[test]
    fn only_what_it_was_given_it_may() {
        let web = Client { grant_types: vec![GrantType::AuthorizationCode], redirect_uris: vec!["http://127.0.0.1/cb".into()], ..client() };
        assert!(web.may(GrantType::AuthorizationCode) && !web.may(GrantType::RefreshToken) && !web.may(GrantType::ClientCredentials));
        assert!(GrantType::ALL.into_iter().all(|grant| !client().may(grant)), "an operator's client has no grant");
        assert!(web.redirects_to("http://127.0.0.1:5000/cb") && !web.redirects_to("http://127.0.0.1:5000/"));
        for name in ["password", "implicit", "", "Refresh_Token"] {
            assert_eq!(GrantType::parse(name), None, "{name}");
        }
        for grant in GrantType::ALL {
            assert_eq!(GrantType::parse(grant.as_str()), Some(grant));
            assert_eq!(serde_json::to_value(grant).expect("JSON"), grant.as_str());
        }
    }

    /// README.md, "Stored formats": other tools read and write this, and what an earlier build wrote is read.
    #[test]
    fn the_stored_form_is_public() {
        let least = json!({"v": 1, "id": "crm", "name": "An app", "scopes": "read", "enabled": true, "created": 7});
        assert_eq!(serde_json::to_value(client()).expect("JSON"), least);
        assert_eq!(serde_json::from_value::<Client>(least).expect("a client"), client());
        let url = "https://app.example.com/client.json";
        let full = Client {
            secret: Some(TokenHash::from_bytes([0xab; 32])),
            previous_secret: Some(PreviousSecret { hash: TokenHash::from_bytes([1; 32]), until: Timestamp::from_unix(50) }),
            rate: Some(ClientRate { requests: 5, seconds: 60, burst: 9 }),
            redirect_uris: vec!["https://app.example.com/cb".into()],
            grant_types: GrantType::ALL.to_vec(),
            default_scopes: Some(Scopes::parse("read").expect("scopes")),
            skip_consent: true,
            origins: vec!["https://app.example.com".into()],
            user: Some("bot@example.com".into()),
            document: Some(Document { url: url.into(), fresh_until: Timestamp::from_unix(99) }),
            ..client()
        };
        let written = json!({
            "v": 1, "id": "crm", "name": "An app", "scopes": "read", "enabled": true, "created": 7,
            "secret": "ab".repeat(32), "previous_secret": {"hash": "01".repeat(32), "until": 50},
            "rate": {"requests": 5, "seconds": 60, "burst": 9}, "redirect_uris": ["https://app.example.com/cb"],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"], "default_scopes": "read", "skip_consent": true,
            "origins": ["https://app.example.com"], "user": "bot@example.com", "document": {"url": url, "fresh_until": 99},
        });
        assert_eq!(serde_json::to_value(&full).expect("JSON"), written);
        assert_eq!(serde_json::from_value::<Client>(written.clone()).expect("a client"), full);
        assert_eq!((full.public_id(), client().public_id()), (url, "crm"));
        for (name, damaged) in [("secret", json!("canary")), ("secret", json!("AB".repeat(32))), ("previous_secret", json!({"until": 5}))] {
            let mut written = written.clone();
            written[name] = damaged;
            assert!(serde_json::from_value::<Client>(written).is_err(), "{name}");
        }
    }
}
