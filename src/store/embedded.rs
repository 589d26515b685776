//! The store of one machine: one transactional local file, and no other service.
//!
//! A write is on the disk when it is acknowledged. Readers see the last commit and wait for no writer, so a look-up runs where it is
//! asked (microseconds, mostly from memory), while a write, which waits for the disk, goes to a thread that may wait.
//!
//! After `kill -9` or a power cut the file is opened as it was at the last commit that is whole, which is every acknowledged one: a commit
//! is written beside the one before and acknowledged when both it and the pointer to it are on the disk. Opening reads the whole file once
//! and holds every page against its checksum, in time that grows with the file.
//!
//! The file belongs to one process at a time. Expired tokens leave it in small batches, carried by the writes that come anyway.

mod export;
pub mod file;
mod kept;
mod presence;
mod revocations;
#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, RepairSession, TableDefinition, WriteTransaction,
};

use crate::oauth::client::Client;
use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::kept::Subject;
use crate::store::ledger::Ledger;
use crate::store::log::Entry;
use crate::store::marked::{marked, subjects};
use crate::store::presence::Memory;
use crate::store::record::{
    EXPIRED_KEPT, check_credential, check_id, check_site, client_name, credential_name, read_client, read_token, token_name, write_client,
    write_token,
};
use crate::store::{ClientStore, CredentialStore, Store, StoreError, TokenStore, ended, wall_clock};

type Hash = [u8; 32];

/// (site, hash) to JSON.
const TOKENS: TableDefinition<(&str, Hash), &[u8]> = TableDefinition::new("tokens");
/// (site, client, exp, hash): the tokens of a client, soonest to expire first.
const CLIENT_TOKENS: TableDefinition<(&str, &str, u64, Hash), ()> = TableDefinition::new("client-tokens");
/// (exp, site, hash): every token, soonest to expire first.
const EXPIRY: TableDefinition<(u64, &str, Hash), ()> = TableDefinition::new("expiry");
/// (site, id) to JSON.
const CLIENTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("clients");
/// (site, id) to sealed bytes.
const CREDENTIALS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("credentials");
/// What the file is.
const META: TableDefinition<&str, u64> = TableDefinition::new("scopegate");

/// The key of the format in [`META`], and the format that this build reads and writes.
const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;

/// Expired tokens that one write sweeps: more than it can add, so that the file never grows by them, and few enough to cost nothing.
const SWEEP_MAX: usize = 64;

/// Memory for pages of the file, in bytes. The cache in front holds what is hot.
const PAGES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An opening that takes longer is told in the log.
const OPENING_TOLD: Duration = Duration::from_secs(1);

/// The progress that redb shows when the last commit does not verify and it goes back to the one before.
const ROLLED_BACK: f64 = 0.3;

/// One transactional local file.
pub struct EmbeddedStore {
    database: Arc<Database>,
    path: Box<str>,
    ledger: Ledger,
    presence: Memory,
}

impl EmbeddedStore {
    /// Opens the file, or makes it, readable by its owner only; its directory likewise. Blocks: for the start.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let cannot = |error: io::Error| StoreError(format!("store `{shown}` cannot be opened: {error}; check the path and its owner"));
        file::make_directory(path).map_err(cannot)?;
        // Made here, because redb would make it readable to everyone that the umask allows.
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(cannot)?;
        // A file that is not yet in its directory on the disk would be gone after a power cut, with all that was acknowledged.
        file::sync_directory(path).map_err(cannot)?;
        let (started, name) = (Instant::now(), shown.clone());
        let database = Database::builder()
            .set_cache_size(PAGES_BYTES_MAX)
            // Without this a damaged file may end the process later, in the middle of a request.
            .set_check_integrity_on_open(true)
            .set_repair_callback(move |session| tell_repair(&name, session))
            .create(path)
            .map_err(|error| StoreError(unopened(&shown, &error)))?;
        if started.elapsed() >= OPENING_TOLD {
            let bytes = fs::metadata(path).map(|found| found.len()).unwrap_or_default();
            tracing::info!(store = shown, bytes, took_ms = started.elapsed().as_millis(), "the store is read through and sound");
        }
        let store = Self { database: Arc::new(database), path: shown.into(), ledger: Ledger::default(), presence: Memory::default() };
        store.lay_out()?;
        Ok(store)
    }

    /// Makes the tables of a new file, and refuses the file of another program or a later build.
    fn lay_out(&self) -> Result<(), StoreError> {
        let cannot = |error: redb::Error| StoreError(format!("store `{}` cannot be set up: {error}", self.path));
        let transaction = self.begin().map_err(cannot)?;
        let foreign = transaction.list_tables().map_err(|error| cannot(error.into()))?.next().is_some();
        let format = {
            let mut meta = transaction.open_table(META).map_err(|error| cannot(error.into()))?;
            let format = meta.get(FORMAT).map_err(|error| cannot(error.into()))?.map(|format| format.value());
            if format.is_none() && !foreign {
                meta.insert(FORMAT, FORMAT_VERSION).map_err(|error| cannot(error.into()))?;
            }
            format
        };
        match format {
            None if foreign => return Err(StoreError(format!("`{}` is the database of another program: choose another path", self.path))),
            Some(later) if later != FORMAT_VERSION => {
                return Err(StoreError(format!(
                    "store `{}` has format {later}; this build reads {FORMAT_VERSION}: run the build that wrote it, or a later one",
                    self.path
                )));
            }
            _ => {}
        }
        let made = || -> Result<(), redb::Error> {
            transaction.open_table(TOKENS)?;
            transaction.open_table(CLIENT_TOKENS)?;
            transaction.open_table(EXPIRY)?;
            transaction.open_table(CLIENTS)?;
            transaction.open_table(CREDENTIALS)?;
            kept::lay_out(&transaction)?;
            revocations::lay_out(&transaction)?;
            Ok(())
        };
        made().map_err(cannot)?;
        transaction.commit().map_err(|error| cannot(error.into()))
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        begin(&self.database)
    }

    /// What `read` finds in the last commit.
    fn read<T>(
        &self,
        name: impl FnOnce() -> String,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| read(&transaction))
            .map_err(|error| StoreError(format!("cannot read {} in `{}`: {error}", name(), self.path)))
    }

    /// Runs `change` in a transaction of its own on a thread that may wait, and answers when it is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        name: String,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let changed = tokio::task::spawn_blocking(move || {
            let transaction = begin(&database)?;
            let answer = change(&transaction)?;
            transaction.commit()?;
            Ok::<_, redb::Error>(answer)
        });
        let why = match changed.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(error) => format!("the write was given up ({error}); whether it took place is not known"),
        };
        Err(StoreError(format!("cannot change {name} in `{}`: {why}", self.path)))
    }
}

/// Called on every opening, because each one verifies the file; only going back to the commit before is worth a word.
fn tell_repair(store: &str, session: &RepairSession) {
    if (session.progress() - ROLLED_BACK).abs() < f64::EPSILON {
        tracing::warn!(
            store,
            "the last write is not whole and is left out: it was cut off before it was acknowledged, unless the disk is damaged"
        );
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

fn unopened(path: &str, error: &DatabaseError) -> String {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            format!("store `{path}` is held by another process, most likely a running gate: speak to that one through its admin socket")
        }
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            format!("`{path}` is no store of scopegate: choose another path, or restore the file from a backup")
        }
        error => format!("store `{path}` cannot be opened: {error}; restore it from a backup, or move it away to begin with an empty one"),
    }
}

/// A token that was taken out, as it was written.
struct Removed(Vec<u8>);

/// Takes a token out of all three tables; `None` where there was none.
fn remove_token(transaction: &WriteTransaction, site: &str, hash: &TokenHash) -> Result<Option<Removed>, redb::Error> {
    let Some(json) = transaction.open_table(TOKENS)?.remove((site, *hash.as_bytes()))?.map(|json| json.value().to_vec()) else {
        return Ok(None);
    };
    // Of a record that cannot be read the index entries stay behind; readers pass over entries without a token.
    if let Ok(record) = read_token(site, hash, &json) {
        transaction.open_table(CLIENT_TOKENS)?.remove((site, &*record.client, record.exp.unix(), *hash.as_bytes()))?;
        transaction.open_table(EXPIRY)?.remove((record.exp.unix(), site, *hash.as_bytes()))?;
    }
    Ok(Some(Removed(json)))
}

/// Puts a token, whose client and `exp` are said, into all three tables, and tells the log if it takes the place of another.
fn insert_token(
    transaction: &WriteTransaction,
    site: &str,
    hash: &TokenHash,
    (client, exp): (&str, u64),
    json: &[u8],
) -> Result<(), redb::Error> {
    if remove_token(transaction, site, hash)?.is_some_and(|Removed(before)| before != json) {
        revocations::append(transaction, site, &Entry::Look { hash: *hash })?;
    }
    transaction.open_table(TOKENS)?.insert((site, *hash.as_bytes()), json)?;
    transaction.open_table(CLIENT_TOKENS)?.insert((site, client, exp, *hash.as_bytes()), ())?;
    transaction.open_table(EXPIRY)?.insert((exp, site, *hash.as_bytes()), ())?;
    Ok(())
}

/// Removes the tokens that expired first, until `now`, [`SWEEP_MAX`] at most.
fn sweep(transaction: &WriteTransaction, now: Timestamp) -> Result<(), redb::Error> {
    let mut due = Vec::new();
    for entry in transaction.open_table(EXPIRY)?.range(..(now.unix().saturating_add(1), "", [0; 32]))?.take(SWEEP_MAX) {
        let key = entry?.0;
        let (exp, site, hash) = key.value();
        due.push((exp, site.to_owned(), hash));
    }
    for (exp, site, hash) in due {
        // A token that was put again may live longer than this entry of it says.
        let lives = transaction
            .open_table(TOKENS)?
            .get((&*site, hash))?
            .and_then(|json| read_token(&site, &TokenHash::from_bytes(hash), json.value()).ok())
            .is_some_and(|record| !record.expired(now));
        if !lives {
            remove_token(transaction, &site, &TokenHash::from_bytes(hash))?;
        }
        transaction.open_table(EXPIRY)?.remove((exp, &*site, hash))?;
    }
    Ok(())
}

/// All keys of the tokens of `client` that live at `now`.
fn live_tokens<'a>(site: &'a str, client: &'a str, now: Timestamp) -> RangeInclusive<(&'a str, &'a str, u64, Hash)> {
    (site, client, now.unix().saturating_add(1), [0; 32])..=(site, client, u64::MAX, [0xff; 32])
}

#[async_trait]
impl TokenStore for EmbeddedStore {
    async fn token(&self, site: &str, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        check_site(site)?;
        let json = self.read(
            || token_name(site, hash),
            |transaction| {
                let json = transaction.open_table(TOKENS)?.get((site, *hash.as_bytes()))?.map(|json| json.value().to_vec());
                Ok(json)
            },
        )?;
        let found = json.map(|json| read_token(site, hash, &json)).transpose()?;
        Ok(found.filter(|record| !void(record.iat, self.ledger.site(site).ended(hash))))
    }

    async fn put_token(&self, site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<(), StoreError> {
        let json = write_token(site, hash, record)?;
        let (site, hash, client, exp) = (site.to_owned(), *hash, Arc::clone(&record.client), record.exp.unix());
        self.write(token_name(&site, &hash), move |transaction| {
            sweep(transaction, Timestamp::from_unix(wall_clock().unix().saturating_sub(EXPIRED_KEPT)))?;
            insert_token(transaction, &site, &hash, (&client, exp), &json)
        })
        .await
    }

    async fn delete_token(&self, site: &str, hash: &TokenHash) -> Result<bool, StoreError> {
        check_site(site)?;
        let (known, site, hash) = (self.ledger.site(site), site.to_owned(), *hash);
        let ended = self
            .write(token_name(&site, &hash), move |transaction| {
                let Some(Removed(json)) = remove_token(transaction, &site, &hash)? else { return Ok(None) };
                let ended = ended(read_token(&site, &hash, &json).ok().as_ref());
                revocations::append(transaction, &site, &Entry::Token { hash, at: ended.at, exp: ended.exp })?;
                Ok(Some(ended))
            })
            .await?;
        if let Some(ended) = ended {
            known.end(&hash, ended, wall_clock());
        }
        Ok(ended.is_some())
    }

    async fn tokens_of(&self, site: &str, client: &str, limit: usize) -> Result<Vec<(TokenHash, TokenRecord)>, StoreError> {
        check_site(site)?;
        check_id(client)?;
        let now = wall_clock();
        let found = self.read(
            || format!("the tokens of {}", client_name(site, client)),
            |transaction| {
                let tokens = transaction.open_table(TOKENS)?;
                let mut found = Vec::new();
                for entry in transaction.open_table(CLIENT_TOKENS)?.range(live_tokens(site, client, now))?.take(limit) {
                    let (_, _, _, hash) = entry?.0.value();
                    if let Some(json) = tokens.get((site, hash))? {
                        found.push((TokenHash::from_bytes(hash), json.value().to_vec()));
                    }
                }
                Ok(found)
            },
        )?;
        let known = self.ledger.site(site);
        let mut tokens = Vec::with_capacity(found.len());
        for (hash, json) in found {
            let record = read_token(site, &hash, &json)?;
            if !void(record.iat, known.ended(&hash)) {
                tokens.push((hash, record));
            }
        }
        Ok(tokens)
    }
}

#[async_trait]
impl ClientStore for EmbeddedStore {
    async fn client(&self, site: &str, id: &str) -> Result<Option<Client>, StoreError> {
        check_site(site)?;
        check_id(id)?;
        let json = self.read(
            || client_name(site, id),
            |transaction| {
                let json = transaction.open_table(CLIENTS)?.get((site, id))?.map(|json| json.value().to_vec());
                Ok(json)
            },
        )?;
        let Some(json) = json else { return Ok(None) };
        Ok(marked(read_client(site, id, &json)?, self.each_mark(site, subjects(id)).await?))
    }

    async fn create_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        self.keep_client(site, client, false).await
    }

    async fn update_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        self.keep_client(site, client, true).await
    }

    /// Its tokens stay until they expire, and are worth nothing without it.
    async fn delete_client(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        check_site(site)?;
        check_id(id)?;
        let (site, id) = (site.to_owned(), id.to_owned());
        self.write(client_name(&site, &id), move |transaction| {
            let gone = transaction.open_table(CLIENTS)?.remove((&*site, &*id))?.is_some();
            if gone {
                revocations::append(transaction, &site, &Entry::Client { id: id.into() })?;
            }
            Ok(gone)
        })
        .await
    }

    async fn clients(&self, site: &str) -> Result<Vec<Client>, StoreError> {
        check_site(site)?;
        let found = self.read(
            || format!("the clients of site {site}"),
            |transaction| {
                let mut found = Vec::new();
                for entry in transaction.open_table(CLIENTS)?.range((site, "")..)? {
                    let (key, json) = entry?;
                    if key.value().0 != site {
                        break;
                    }
                    found.push((key.value().1.to_owned(), json.value().to_vec()));
                }
                Ok(found)
            },
        )?;
        let mut clients = Vec::with_capacity(found.len());
        for (id, json) in found {
            let marks = self.each_mark(site, subjects(&id)).await?;
            clients.extend(marked(read_client(site, &id, &json)?, marks));
        }
        Ok(clients)
    }
}

impl EmbeddedStore {
    /// Keeps `client` where an id like its own is there or is not, as `expected`; whether that was so.
    async fn keep_client(&self, site: &str, client: &Client, expected: bool) -> Result<bool, StoreError> {
        let json = write_client(site, client)?;
        let (site, id) = (site.to_owned(), Arc::clone(&client.id));
        self.write(client_name(&site, &id), move |transaction| {
            let mut clients = transaction.open_table(CLIENTS)?;
            let left_behind = !expected && deleted(transaction, &clients, &site, &id)?;
            let there = clients.get((&*site, &*id))?.is_some() && !left_behind;
            if there == expected {
                clients.insert((&*site, &*id), &*json)?;
                revocations::append(transaction, &site, &Entry::Client { id: (*id).into() })?;
            }
            Ok(there == expected)
        })
        .await
    }
}

/// Whether the mark of a client has deleted it, and its record was left behind.
fn deleted(
    transaction: &WriteTransaction,
    clients: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    site: &str,
    id: &str,
) -> Result<bool, redb::Error> {
    let mark = revocations::mark_of(transaction, site, Subject::Deleted(id))?;
    let record = clients.get((site, id))?.and_then(|json| read_client(site, id, json.value()).ok());
    Ok(record.is_some_and(|client| marked(client, [None, None, mark, None]).is_none()))
}

#[async_trait]
impl CredentialStore for EmbeddedStore {
    async fn credential(&self, site: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_site(site)?;
        check_id(id)?;
        self.read(
            || credential_name(site, id),
            |transaction| {
                let sealed = transaction.open_table(CREDENTIALS)?.get((site, id))?.map(|sealed| sealed.value().to_vec());
                Ok(sealed)
            },
        )
    }

    async fn put_credential(&self, site: &str, id: &str, sealed: &[u8]) -> Result<(), StoreError> {
        check_credential(site, id, sealed)?;
        let (site, id, sealed) = (site.to_owned(), id.to_owned(), sealed.to_vec());
        self.write(credential_name(&site, &id), move |transaction| {
            transaction.open_table(CREDENTIALS)?.insert((&*site, &*id), &*sealed)?;
            Ok(())
        })
        .await
    }

    async fn delete_credential(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        check_site(site)?;
        check_id(id)?;
        let (site, id) = (site.to_owned(), id.to_owned());
        self.write(credential_name(&site, &id), move |transaction| {
            let gone = transaction.open_table(CREDENTIALS)?.remove((&*site, &*id))?.is_some();
            Ok(gone)
        })
        .await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|| "the format".to_owned(), |transaction| Ok(transaction.open_table(META)?.get(FORMAT)?.is_some()))?
            .then_some(())
            .ok_or_else(|| StoreError(format!("store `{}` has lost its format", self.path)))
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }
}
