//! Everything that a store keeps, one entry at a time: for backups, and for moving to another store.
//!
//! An export lists what no request ever lists, so it is for these commands alone: in Redis it scans all keys of the prefix, which the path
//! of a request never does. Indexes that a store makes for itself (of clients, of the tokens of a client) are no entries; whoever imports
//! makes its own.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::kept::{Kind, Set, Subject, check_place, kept_name};
use crate::store::record::{check_credential, check_kept, check_site, client_name, credential_name, token_name, write_client, write_token};
use crate::store::{Store, StoreError};

/// Entries of a page at most, and the bytes of their values after which it is full: one import of an embedded store is one write.
pub const PAGE_ENTRIES_MAX: usize = 2048;
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Pages that an export is ahead of who takes them.
pub const PAGES_AHEAD: usize = 4;

/// Where an export puts what it finds, page by page. Closed by who has seen enough; the export then ends, and that is no error.
pub type Pages = mpsc::Sender<Vec<Entry>>;

#[async_trait]
pub trait PortableStore: Send + Sync {
    /// Puts everything that has not expired into `pages`; gives the number of things that this build does not know, and left out. The
    /// embedded store gives one state of itself. Redis gives what was there throughout, perhaps twice, and perhaps some of what came and
    /// went meanwhile.
    async fn export(&self, pages: Pages) -> Result<u64, StoreError>;
    /// Keeps every entry in the place of what is there; of two marks the later stays.
    async fn import(&self, entries: Vec<Entry>) -> Result<(), StoreError>;
}

/// One thing of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub site: String,
    pub item: Item,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    Client(Box<Client>),
    Token {
        #[serde(with = "hexadecimal")]
        hash: TokenHash,
        record: TokenRecord,
    },
    Credential {
        id: String,
        #[serde(with = "base64")]
        sealed: Vec<u8>,
    },
    Record {
        kind: Kind,
        id: String,
        /// The bytes as they are: an exchange compares bytes.
        #[serde(with = "base64")]
        json: Vec<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    Member {
        set: Set,
        of: String,
        member: String,
    },
    Mark {
        /// [`Subject::field`].
        subject: String,
        at: Timestamp,
    },
}

/// What an entry is, for counting, in the order in which people want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Clients,
    Tokens,
    Grants,
    RefreshTokens,
    Credentials,
    SigningKeys,
    Marks,
    Listings,
    Codes,
    Sessions,
    Leases,
}

impl What {
    /// One of it, and several.
    pub const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Clients => ["client", "clients"],
            Self::Tokens => ["token", "tokens"],
            Self::Grants => ["grant", "grants"],
            Self::RefreshTokens => ["refresh token", "refresh tokens"],
            Self::Credentials => ["sealed credential", "sealed credentials"],
            Self::SigningKeys => ["set of signing keys", "sets of signing keys"],
            Self::Marks => ["revocation mark", "revocation marks"],
            Self::Listings => ["entry of an index", "entries of indexes"],
            Self::Codes => ["code", "codes"],
            Self::Sessions => ["sign-in", "sign-ins"],
            Self::Leases => ["lease", "leases"],
        }
    }

    /// Whether it lives for minutes at most, so that nobody misses it in another store.
    pub const fn passing(self) -> bool {
        matches!(self, Self::Codes | Self::Sessions | Self::Leases)
    }
}

/// How many of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<What, u64>);

impl Tally {
    pub fn add(&mut self, what: What) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn of(&self, what: What) -> u64 {
        self.0.get(&what).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// `1 client, 12 tokens`.
    pub fn told(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(what, &count)| format!("{count} {}", what.names()[usize::from(count != 1)])).collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }
}

impl Entry {
    pub fn new(site: &str, item: Item) -> Self {
        Self { site: site.to_owned(), item }
    }

    pub const fn what(&self) -> What {
        match &self.item {
            Item::Client(_) => What::Clients,
            Item::Token { .. } => What::Tokens,
            Item::Credential { .. } => What::Credentials,
            Item::Record { kind, .. } => match kind {
                Kind::Code => What::Codes,
                Kind::Refresh => What::RefreshTokens,
                Kind::Grant => What::Grants,
                Kind::Session => What::Sessions,
                Kind::Keys => What::SigningKeys,
                Kind::Lease => What::Leases,
            },
            Item::Member { .. } => What::Listings,
            Item::Mark { .. } => What::Marks,
        }
    }

    /// Where it stands: no two places have the same text, because no name of a place has a `:` but the subject of a mark, which comes last.
    pub fn place(&self) -> String {
        let site = &self.site;
        match &self.item {
            Item::Client(client) => format!("{site}:client:{}", client.id),
            Item::Token { hash, .. } => format!("{site}:token:{hash}"),
            Item::Credential { id, .. } => format!("{site}:credential:{id}"),
            Item::Record { kind, id, .. } => format!("{site}:{}:{id}", kind.as_str()),
            Item::Member { set, of, member } => format!("{site}:{}:{of}:{member}", set.as_str()),
            Item::Mark { subject, .. } => format!("{site}:notbefore:{subject}"),
        }
    }

    /// What stands there, for holding two against each other. Empty for a mark, because two marks never contradict each other: the later one
    /// counts. A record's expiry is not part of it; Redis tells only what is left to live.
    pub fn value(&self) -> Result<Vec<u8>, StoreError> {
        match &self.item {
            Item::Client(client) => write_client(&self.site, client),
            Item::Token { hash, record } => write_token(&self.site, hash, record),
            Item::Credential { sealed, .. } => Ok(sealed.clone()),
            Item::Record { json, .. } => Ok(json.clone()),
            Item::Member { .. } | Item::Mark { .. } => Ok(Vec::new()),
        }
    }

    /// Its name in errors.
    pub fn name(&self) -> String {
        match &self.item {
            Item::Client(client) => client_name(&self.site, &client.id),
            Item::Token { hash, .. } => token_name(&self.site, hash),
            Item::Credential { id, .. } => credential_name(&self.site, id),
            Item::Record { kind, id, .. } => kept_name(&self.site, *kind, id),
            Item::Member { set, of, .. } => format!("{} {of} of site {}", set.as_str(), self.site),
            Item::Mark { .. } => format!("a mark of site {}", self.site),
        }
    }

    /// Holds it to what a store takes: it may have come through a file or a socket.
    pub fn check(&self) -> Result<(), StoreError> {
        let site = &self.site;
        match &self.item {
            Item::Client(client) => write_client(site, client).map(drop),
            Item::Token { hash, record } => write_token(site, hash, record).map(drop),
            Item::Credential { id, sealed } => check_credential(site, id, sealed),
            Item::Record { kind, id, json, .. } => check_kept(site, *kind, id, json),
            Item::Member { of, member, .. } => check_place(site, of).and_then(|()| check_place(site, member)),
            Item::Mark { subject, .. } => {
                check_site(site)?;
                subject_of(site, subject).map(drop)
            }
        }
    }

    /// Bytes of its value, about.
    pub fn size(&self) -> usize {
        match &self.item {
            Item::Credential { sealed, .. } => sealed.len(),
            Item::Record { json, .. } => json.len(),
            Item::Client(client) => client.redirect_uris.iter().chain(&client.origins).map(String::len).sum(),
            Item::Token { record, .. } => record.scopes.as_str().len(),
            Item::Member { .. } | Item::Mark { .. } => 0,
        }
    }
}

/// The subject of a mark, by its field.
pub fn subject_of<'f>(site: &str, field: &'f str) -> Result<Subject<'f>, StoreError> {
    Subject::parse(field).ok_or_else(|| StoreError(format!("the marks of site {site} are damaged: one is of no client, user or grant")))
}

/// Takes an entry out of a store. A mark stays: it only ever ends what was issued before it.
pub async fn remove(store: &dyn Store, entry: &Entry) -> Result<(), StoreError> {
    let site = &entry.site;
    match &entry.item {
        Item::Client(client) => store.delete_client(site, &client.id).await.map(drop),
        Item::Token { hash, .. } => store.delete_token(site, hash).await.map(drop),
        Item::Credential { id, .. } => store.delete_credential(site, id).await.map(drop),
        Item::Record { kind, id, .. } => store.delete_record(site, *kind, id).await.map(drop),
        Item::Member { set, of, member } => store.leave(site, *set, of, member).await,
        Item::Mark { .. } => Ok(()),
    }
}

/// A page that is being filled.
#[derive(Default)]
pub(super) struct Page {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Page {
    /// Adds an entry; gives the page when it is full.
    pub(super) fn put(&mut self, entry: Entry) -> Option<Vec<Entry>> {
        self.bytes += entry.size();
        self.entries.push(entry);
        let full = self.entries.len() >= PAGE_ENTRIES_MAX || self.bytes >= PAGE_BYTES_MAX;
        full.then(|| self.take())
    }

    pub(super) fn take(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }
}

/// Bytes in JSON.
mod base64 {
    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))
    }
}

/// The hash of a token in JSON.
mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::policy::token::TokenHash;

    pub fn serialize<S: Serializer>(hash: &TokenHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        TokenHash::from_hex(&text).ok_or_else(|| D::Error::custom("not the hash of a token"))
    }
}
