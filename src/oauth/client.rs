//! A registered OAuth client: an app that may be given tokens.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;

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
    /// Its own rate instead of the configured one: requests, and the seconds they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ClientRate>,
}

/// `requests` in `seconds`, with `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRate {
    pub requests: u32,
    pub seconds: u32,
    pub burst: u32,
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
