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
