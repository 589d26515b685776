//! Records that the OAuth endpoints keep: JSON by kind and id, exchanged only while what was read still stands; sets of ids; and the
//! marks of what is revoked.
//!
//! One exchange of one record is all the atomicity that a Redis Cluster gives, and all that is needed: of many requests that spend one
//! code, one exchange succeeds. Sets are indexes, entered before the record that they name is written, and readers pass over a member
//! without a record.

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::record::{check_id, check_site, read_kept, write_kept};
use crate::store::{Store, StoreError};

/// What a record is; the part of its key behind the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Authorization codes, by SHA-256.
    Code,
    /// Refresh tokens, by SHA-256.
    Refresh,
    Grant,
    /// Browsers that are signed in, by the SHA-256 of their cookie.
    Session,
    /// What a site signs with.
    Keys,
    /// Who is at some work just now.
    Lease,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Code, Self::Refresh, Self::Grant, Self::Session, Self::Keys, Self::Lease];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Refresh => "refresh",
            Self::Grant => "grant",
            Self::Session => "session",
            Self::Keys => "keys",
            Self::Lease => "lease",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a set gathers, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// Grants, of a user by [`digest_id`].
    GrantsOfUser,
    /// Grants, of a client.
    GrantsOfClient,
    /// Clients, of an origin by its SHA-256.
    ClientsOfOrigin,
}

impl Set {
    pub const ALL: [Self; 3] = [Self::GrantsOfUser, Self::GrantsOfClient, Self::ClientsOfOrigin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantsOfUser => "user-grants",
            Self::GrantsOfClient => "client-grants",
            Self::ClientsOfOrigin => "origin-clients",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.as_str() == text)
    }
}

/// A name that may hold anything (a user, an origin), as an id: its SHA-256.
pub fn digest_id(name: &str) -> String {
    TokenHash::of(name.as_bytes()).to_string()
}

#[async_trait]
pub trait RecordStore: Send + Sync {
    /// The record; `None` where there is none, or it has expired.
    async fn record(&self, site: &str, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keeps a new record, until `expires` if that is said; `false` (and nothing changed) where its id is taken.
    async fn create_record(&self, site: &str, kind: Kind, id: &str, json: &[u8], expires: Option<Timestamp>) -> Result<bool, StoreError>;
    /// Puts `new` in the place of `old`; `false` (and nothing changed) where another record stands there, or none.
    async fn swap_record(
        &self,
        site: &str,
        kind: Kind,
        id: &str,
        old: &[u8],
        new: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
    /// Whether there was one to delete.
    async fn delete_record(&self, site: &str, kind: Kind, id: &str) -> Result<bool, StoreError>;
    /// Enters `member` into the set of `of`; it may be there already.
    async fn enter(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError>;
    async fn leave(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError>;
    /// In their order.
    async fn members(&self, site: &str, set: Set, of: &str) -> Result<Vec<String>, StoreError>;
}

/// What a revocation ends: everything of it that was issued until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    Client(&'a str),
    User(&'a str),
    Grant(&'a str),
    /// Nothing: its mark is the latest that a client or a user of the site has had.
    Latest,
}

impl<'a> Subject<'a> {
    /// The subject of a field.
    pub fn parse(field: &'a str) -> Option<Self> {
        if field == Self::Latest.field() {
            return Some(Self::Latest);
        }
        let (kind, name) = field.split_once(':')?;
        match kind {
            "client" => Some(Self::Client(name)),
            "user" => Some(Self::User(name)),
            "grant" => Some(Self::Grant(name)),
            _ => None,
        }
    }

    /// Its field among the marks of a site.
    pub fn field(&self) -> String {
        match self {
            Self::Client(id) => format!("client:{id}"),
            Self::User(user) => format!("user:{user}"),
            Self::Grant(id) => format!("grant:{id}"),
            Self::Latest => "latest".to_owned(),
        }
    }
}

#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Voids everything of `subject` that was issued at `at` or before: one small write, however many tokens that ends. A later mark stays.
    async fn revoke(&self, site: &str, subject: Subject<'_>, at: Timestamp) -> Result<(), StoreError>;
    /// The latest mark of any of the subjects.
    async fn mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError>;
}

/// A record as it was read: what it says, and the bytes that an exchange holds it against.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    pub value: T,
    bytes: Vec<u8>,
}

/// A record with an id, read and judged.
pub async fn load<T: DeserializeOwned>(store: &dyn Store, site: &str, kind: Kind, id: &str) -> Result<Option<Kept<T>>, StoreError> {
    let Some(bytes) = store.record(site, kind, id).await? else { return Ok(None) };
    Ok(Some(Kept { value: read_kept(site, kind, id, &bytes)?, bytes }))
}

/// Keeps a new record; `false` where its id is taken.
pub async fn create<T: Serialize>(
    store: &dyn Store,
    site: &str,
    kind: Kind,
    id: &str,
    value: &T,
    expires: Option<Timestamp>,
) -> Result<bool, StoreError> {
    store.create_record(site, kind, id, &write_kept(site, kind, id, value)?, expires).await
}

/// Puts `value` in the place of the record that was read; `false` where another came first.
pub async fn swap<T: Serialize>(
    store: &dyn Store,
    site: &str,
    kind: Kind,
    id: &str,
    kept: &Kept<T>,
    value: &T,
    expires: Option<Timestamp>,
) -> Result<bool, StoreError> {
    store.swap_record(site, kind, id, &kept.bytes, &write_kept(site, kind, id, value)?, expires).await
}

/// A set's or a record's name in keys is built of these.
pub(super) fn check_place(site: &str, id: &str) -> Result<(), StoreError> {
    check_site(site)?;
    check_id(id)
}

/// A record's name in errors.
pub(super) fn kept_name(site: &str, kind: Kind, id: &str) -> String {
    // Ids of codes, refresh tokens and sessions are hashes: their first half tells them apart.
    let shown = match kind {
        Kind::Code | Kind::Refresh | Kind::Session => id.get(..16).unwrap_or(id),
        Kind::Grant | Kind::Keys | Kind::Lease => id,
    };
    format!("{} {shown} of site {site}", kind.as_str())
}
