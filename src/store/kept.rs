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
use crate::store::ledger::{Ended, Ledger};
use crate::store::log::{Entry, Logged};
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

/// What a mark is of. Marks are seconds, and only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// Everything of the client that was issued until its mark is void; so for a user and a grant.
    Client(&'a str),
    User(&'a str),
    Grant(&'a str),
    /// Its mark is the latest that a client or a user of the site has had.
    Latest,
    /// A client is disabled while this mark of its is later than those of [`Self::Enabled`] and [`Self::Deleted`].
    Disabled(&'a str),
    Enabled(&'a str),
    /// A client's record that was created until then is none.
    Deleted(&'a str),
    /// A client's secrets that were set before then are worth nothing.
    Secret(&'a str),
}

const LATEST: &str = "latest";

impl<'a> Subject<'a> {
    /// How many kinds there are.
    pub const KINDS: usize = 8;

    const NAMES: [&'static str; 8] = ["client", "user", "grant", LATEST, "disabled", "enabled", "deleted", "secret"];

    /// Its kind as a number below [`Self::KINDS`], and the name of what it is of.
    pub const fn parts(self) -> (usize, &'a str) {
        match self {
            Self::Client(id) => (0, id),
            Self::User(user) => (1, user),
            Self::Grant(id) => (2, id),
            Self::Latest => (3, ""),
            Self::Disabled(id) => (4, id),
            Self::Enabled(id) => (5, id),
            Self::Deleted(id) => (6, id),
            Self::Secret(id) => (7, id),
        }
    }

    /// What has these parts.
    pub const fn of(kind: usize, name: &'a str) -> Self {
        match kind {
            0 => Self::Client(name),
            1 => Self::User(name),
            2 => Self::Grant(name),
            4 => Self::Disabled(name),
            5 => Self::Enabled(name),
            6 => Self::Deleted(name),
            7 => Self::Secret(name),
            _ => Self::Latest,
        }
    }

    /// The subject of a field.
    pub fn parse(field: &'a str) -> Option<Self> {
        if field == LATEST {
            return Some(Self::Latest);
        }
        let (name, of) = field.split_once(':')?;
        let kind = Self::NAMES.iter().position(|known| *known == name && name != LATEST)?;
        Some(Self::of(kind, of))
    }

    /// Its field among the marks of a site.
    pub fn field(&self) -> String {
        match self.parts() {
            (_, _) if *self == Self::Latest => LATEST.to_owned(),
            (kind, name) => format!("{}:{name}", Self::NAMES[kind]),
        }
    }

    /// The client that the mark is of, if it changes what the client is.
    pub const fn client(self) -> Option<&'a str> {
        match self {
            Self::Disabled(id) | Self::Enabled(id) | Self::Deleted(id) | Self::Secret(id) => Some(id),
            Self::Client(_) | Self::User(_) | Self::Grant(_) | Self::Latest => None,
        }
    }

    /// Which marks a new one of it must be later than.
    ///
    /// What is issued in the second of a revocation bears the one after it, and may belong to the next client or user that is revoked in that
    /// same second. So no two of their marks are alike. A client that is enabled in the second in which it was disabled is enabled. And a
    /// deletion comes after all that was said of the client, so that nothing of it is said of the next one of that id.
    fn behind(self) -> Vec<Self> {
        match self {
            Self::Client(_) | Self::User(_) => vec![self, Self::Latest],
            Self::Disabled(id) | Self::Enabled(id) => vec![Self::Disabled(id), Self::Enabled(id), Self::Deleted(id)],
            Self::Deleted(id) => vec![self, Self::Disabled(id), Self::Secret(id)],
            Self::Grant(_) | Self::Latest | Self::Secret(_) => vec![self],
        }
    }
}

/// What one revocation writes, and what its second must be later than, as fields.
pub(super) struct Revocation {
    pub marks: Vec<String>,
    pub behind: Vec<String>,
}

impl Revocation {
    pub(super) fn of(subjects: &[Subject<'_>]) -> Self {
        let mut marks: Vec<String> = subjects.iter().map(Subject::field).collect();
        if subjects.iter().any(|subject| matches!(subject, Subject::Client(_) | Subject::User(_))) {
            marks.push(LATEST.to_owned());
        }
        let behind = subjects.iter().flat_map(|subject| subject.behind()).map(|subject| subject.field()).collect();
        Self { marks, behind }
    }
}

/// Marks and the log of them: one write for both, however many tokens that ends.
///
/// Every store has a [`Ledger`] in which it notes what it writes, and by which it judges what it reads: a mark is never earlier than the
/// process knows it to be.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    fn ledger(&self) -> &Ledger;
    /// Marks the subjects with `at`, or with the first second after it that is later than what they must come after, and gives it.
    async fn revoke(&self, site: &str, subjects: &[Subject<'_>], at: Timestamp) -> Result<Timestamp, StoreError>;
    /// Brings marks, by [`Subject::field`], up to these; later ones stay.
    async fn raise(&self, site: &str, marks: &[(String, Timestamp)]) -> Result<(), StoreError>;
    /// The latest mark of any of the subjects. Fails where the follower is not in touch: see `ledger`.
    async fn mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError>;
    /// All marks that the store has, whatever the ledger says: those that stood when it was asked, and perhaps later ones.
    async fn marks(&self, site: &str) -> Result<Vec<(String, Timestamp)>, StoreError>;
    /// Deletes tokens that were revoked, as far as the store has them (again), and says so in the log.
    async fn end_tokens(&self, site: &str, ended: &[(TokenHash, Ended)]) -> Result<(), StoreError>;
    /// The log behind `from`, or all of it, oldest first, `limit` entries at most; `None` where `from` is no longer there: trimmed away, or
    /// never written to the log that the store has now. It may take as long as it takes, within the patience of a follower.
    async fn log(&self, site: &str, from: Option<&Logged>, limit: usize) -> Result<Option<Vec<Logged>>, StoreError>;
    async fn announce(&self, site: &str, entry: &Entry) -> Result<(), StoreError>;
    /// What answers for the site's log: another one after a restart or a failover, which may have lost what was acknowledged.
    async fn server(&self, site: &str) -> Result<String, StoreError>;
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
