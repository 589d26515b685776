//! What is asked of an operation and what it answers: the JSON of the socket, and of `--json`.
//!
//! Times are seconds since 1970, as in the stored records. A secret stands only where it is handed over, once, and is written by
//! [`SecretText`] alone, which prints as its kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::oauth::client::{Client, ClientRate, GrantType};
use crate::oauth::records::{Ended, Grant};
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};

/// A secret on its way from or to the operator. It prints as its kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    pub name: String,
    /// `None` for a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The widest scopes that its tokens may carry.
    pub scopes: String,
    /// A client that cannot keep a secret gets none.
    #[serde(default)]
    pub public: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ClientRate>,
    /// `key:secret` of a Frappe user, in place of the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretText>,
    /// Where a browser may be sent with a code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// How it may come by tokens itself; with redirect URIs and without a word on this, by codes and refresh tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_types: Vec<GrantType>,
    /// What it gets when it asks for no scope; `None` for all that it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<String>,
    /// Whether its users are not asked.
    #[serde(default)]
    pub skip_consent: bool,
    /// Origins whose pages may call the API and the OAuth endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Who its `client_credentials` tokens speak for; `None` for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What is to be different about a client; what is `None` stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Own<ClientRate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Own<SecretText>>,
    /// All of them, in place of those that it has. The same for the lists below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types: Option<Vec<GrantType>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Own<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_consent: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Own<String>>,
}

/// What becomes of the secret before, and of what it was good for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Seconds for which the secret before still counts; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
    /// Whether all tokens of the client end as well, and with them its grants.
    #[serde(default)]
    pub revoke_tokens: bool,
}

/// Something that a client has for itself, or that is as it is for everyone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Own<T> {
    Set(T),
    Drop,
}

/// A client as anyone may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    pub client_id: String,
    pub name: String,
    pub scopes: String,
    pub enabled: bool,
    /// Whether it has a secret.
    pub confidential: bool,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ClientRate>,
    /// Whether it has an API key of its own; `None` in a list, which does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_api_key: Option<bool>,
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    #[serde(default)]
    pub grant_types: Vec<GrantType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<String>,
    #[serde(default)]
    pub skip_consent: bool,
    #[serde(default)]
    pub origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The last second of the secret before this one, where that still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<Timestamp>,
    /// The URL of the document that describes it, which is what apps call it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Whether it made itself known, and no operator did.
    #[serde(default)]
    pub self_registered: bool,
}

impl ClientView {
    /// As it is at `now`.
    pub fn of(client: &Client, now: Timestamp) -> Self {
        Self {
            client_id: client.id.to_string(),
            name: client.name.clone(),
            scopes: client.scopes.to_string(),
            enabled: client.enabled,
            confidential: client.secret.is_some(),
            created: client.created,
            rate: client.rate,
            own_api_key: None,
            redirect_uris: client.redirect_uris.clone(),
            grant_types: client.grant_types.clone(),
            default_scopes: client.default_scopes.as_ref().map(ToString::to_string),
            skip_consent: client.skip_consent,
            origins: client.origins.clone(),
            user: client.user.as_deref().map(str::to_owned),
            previous_secret_until: client.previous_secret.map(|previous| previous.until).filter(|until| now < *until),
            document: client.document.as_ref().map(|document| document.url.clone()),
            self_registered: client.self_registered,
        }
    }
}

/// A client, and the secret that it was just given; `None` for a public one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientWithSecret {
    #[serde(flatten)]
    pub client: ClientView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretText>,
}

/// In the order of their ids.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientList {
    pub clients: Vec<ClientView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeletedClient {
    pub client_id: String,
    pub deleted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub client_id: String,
    pub user: String,
    pub scope: String,
    /// In seconds; an hour where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// A token that exists already, which is registered and not shown again; `None` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<SecretText>,
}

/// RFC 6749 section 5.1, and what names the token from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedToken {
    /// `None` for one that was registered: who did has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretText>,
    pub token_type: String,
    pub expires_in: u64,
    pub scope: String,
    pub client_id: String,
    pub user: String,
    pub expires_at: Timestamp,
    pub hash: String,
    pub fingerprint: String,
}

/// A token, by itself or by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenRef {
    Token(SecretText),
    /// 64 hexadecimal digits.
    Hash(String),
}

/// What the store keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    pub hash: String,
    pub fingerprint: String,
    pub client_id: String,
    pub user: String,
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// `None` in a list, which does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TokenState>,
}

impl TokenView {
    pub fn of(hash: &TokenHash, record: &TokenRecord) -> Self {
        Self {
            hash: hash.to_string(),
            fingerprint: hash.fingerprint(),
            client_id: record.client.to_string(),
            user: record.user.to_string(),
            scope: record.scopes.to_string(),
            grant: record.grant.as_deref().map(str::to_owned),
            issued_at: record.iat,
            expires_at: record.exp,
            state: None,
        }
    }
}

/// What a request with the token would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    Live,
    Expired,
    NoSuchClient,
    ClientDisabled,
    /// Its client, its user or its grant was revoked since.
    Revoked,
    /// Its client was deleted, and another made with the same id since.
    OlderThanClient,
}

impl TokenState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::NoSuchClient => "worthless: its client was deleted",
            Self::ClientDisabled => "worthless while its client is disabled",
            Self::Revoked => "worthless: its client, user or grant was revoked",
            Self::OlderThanClient => "worthless: its client was deleted and made anew",
        }
    }
}

/// Soonest to expire first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenList {
    pub tokens: Vec<TokenView>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenListQuery {
    pub client: String,
    #[serde(default)]
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokedToken {
    pub hash: String,
    pub fingerprint: String,
    pub revoked: bool,
}

/// Of a client, of a user, or of one user to one client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantListQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A grant as an operator may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    pub grant_id: String,
    pub client_id: String,
    pub user: String,
    /// Everything that the user said yes to.
    pub scope: String,
    pub created: Timestamp,
    /// When a token was last issued under it.
    pub used: Timestamp,
    pub state: GrantState,
    /// When it ended, and by what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Whether the site's token of the user is kept with it; `None` in a list, which does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_token: Option<bool>,
}

/// Whether tokens may be issued under a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    Live,
    /// Its client or its user was revoked as a whole.
    Revoked,
    Ended,
}

impl GrantView {
    /// `mark` is the latest revocation of its client, its user or itself.
    pub fn of(grant: &Grant, mark: Option<Timestamp>) -> Self {
        Self {
            grant_id: grant.id.to_string(),
            client_id: grant.client.to_string(),
            user: grant.user.to_string(),
            scope: grant.scopes.to_string(),
            created: grant.created,
            used: grant.used,
            state: match grant.ended {
                Some(_) => GrantState::Ended,
                None if grant.live(mark) => GrantState::Live,
                None => GrantState::Revoked,
            },
            ended: grant.ended,
            site_token: None,
        }
    }
}

/// Newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantList {
    pub grants: Vec<GrantView>,
    /// Whether there are more than are listed.
    pub more: bool,
}

/// A user, in a body: a name may hold anything, and a target is logged where bodies are not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRef {
    pub user: String,
}

/// How long to wait until every gateway has applied what was revoked, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub limit: u64,
}

impl Default for Wait {
    fn default() -> Self {
        Self { limit: 10 }
    }
}

/// Who has applied what was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Those that follow the site's log.
    pub gateways: usize,
    /// Those of them that have applied it.
    pub applied: usize,
    /// Until the last of them had, or the time was up.
    pub took_ms: u64,
    /// Those that did not say so within the time.
    pub silent: Vec<SilentGateway>,
}

impl Applied {
    /// Whether that is everybody. Where there is nobody it is not: what was meant to be revoked may be in another store.
    pub const fn by_all(&self) -> bool {
        self.gateways > 0 && self.silent.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentGateway {
    /// `<host>:<process id>`.
    pub gateway: String,
    pub last_seen_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedClient {
    pub client_id: String,
    pub revoked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedUser {
    pub user: String,
    /// Grants that were ended by this.
    pub grants: usize,
    pub revoked: bool,
}
