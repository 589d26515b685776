//! Everything in the local file, out of one state of it; and many entries in, by one write.

use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, TableError, TransactionError, WriteTransaction};

use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::embedded::kept::{NEVER, RECORDS, SETS};
use crate::store::embedded::revocations::{NOT_BEFORE, raise};
use crate::store::embedded::{CLIENTS, CREDENTIALS, EmbeddedStore, TOKENS, insert_token, kept};
use crate::store::export::{Entry, Item, Page, Pages, PortableStore};
use crate::store::kept::{Kind, Set};
use crate::store::record::{read_client, read_token, write_client, write_token};
use crate::store::{StoreError, wall_clock};

/// Why an export ends early.
enum Stop {
    /// Nobody wants more.
    Enough,
    Redb(redb::Error),
    Store(StoreError),
}

impl From<TransactionError> for Stop {
    fn from(error: TransactionError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<TableError> for Stop {
    fn from(error: TableError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Redb(error.into())
    }
}

#[async_trait]
impl PortableStore for EmbeddedStore {
    async fn export(&self, pages: Pages) -> Result<u64, StoreError> {
        let (database, path) = (Arc::clone(&self.database), self.path.clone());
        let exported = tokio::task::spawn_blocking(move || export(&database, pages));
        match exported.await {
            Ok(Ok(unknown)) => Ok(unknown),
            Ok(Err(Stop::Enough)) => Ok(0),
            Ok(Err(Stop::Store(error))) => Err(error),
            Ok(Err(Stop::Redb(error))) => Err(StoreError(format!("cannot read through `{path}`: {error}"))),
            Err(error) => Err(StoreError(format!("the export of `{path}` was given up: {error}"))),
        }
    }

    async fn import(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        // Judged here, so that the write has no way out but the disk's.
        let ready = entries.into_iter().map(Ready::of).collect::<Result<Vec<_>, _>>()?;
        let name = format!("{} entries", ready.len());
        self.write(name, move |transaction| ready.iter().try_for_each(|ready| ready.put(transaction))).await
    }
}

fn export(database: &Database, pages: Pages) -> Result<u64, Stop> {
    let transaction = database.begin_read()?;
    let mut to = Sender { pages, page: Page::default() };
    let now = wall_clock();
    clients(&transaction, &mut to)?;
    tokens(&transaction, &mut to, now)?;
    credentials(&transaction, &mut to)?;
    let unknown = records(&transaction, &mut to, now)? + sets(&transaction, &mut to)?;
    marks(&transaction, &mut to)?;
    to.finish()?;
    Ok(unknown)
}

struct Sender {
    pages: Pages,
    page: Page,
}

impl Sender {
    fn send(&mut self, site: &str, item: Item) -> Result<(), Stop> {
        self.page.put(Entry::new(site, item)).map_or(Ok(()), |full| self.hand_over(full))
    }

    fn finish(mut self) -> Result<(), Stop> {
        match self.page.take() {
            rest if rest.is_empty() => Ok(()),
            rest => self.hand_over(rest),
        }
    }

    fn hand_over(&self, page: Vec<Entry>) -> Result<(), Stop> {
        self.pages.blocking_send(page).map_err(|_| Stop::Enough)
    }
}

fn clients(transaction: &ReadTransaction, to: &mut Sender) -> Result<(), Stop> {
    for entry in transaction.open_table(CLIENTS)?.iter()? {
        let (key, json) = entry?;
        let (site, id) = key.value();
        to.send(site, Item::Client(Box::new(read_client(site, id, json.value()).map_err(Stop::Store)?)))?;
    }
    Ok(())
}

fn tokens(transaction: &ReadTransaction, to: &mut Sender, now: Timestamp) -> Result<(), Stop> {
    for entry in transaction.open_table(TOKENS)?.iter()? {
        let (key, json) = entry?;
        let (site, hash) = (key.value().0, TokenHash::from_bytes(key.value().1));
        let record = read_token(site, &hash, json.value()).map_err(Stop::Store)?;
        if !record.expired(now) {
            to.send(site, Item::Token { hash, record })?;
        }
    }
    Ok(())
}

fn credentials(transaction: &ReadTransaction, to: &mut Sender) -> Result<(), Stop> {
    for entry in transaction.open_table(CREDENTIALS)?.iter()? {
        let (key, sealed) = entry?;
        let (site, id) = key.value();
        to.send(site, Item::Credential { id: id.to_owned(), sealed: sealed.value().to_vec() })?;
    }
    Ok(())
}

fn records(transaction: &ReadTransaction, to: &mut Sender, now: Timestamp) -> Result<u64, Stop> {
    let mut unknown = 0;
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (key, record) = entry?;
        let ((site, kind, id), (expiry, json)) = (key.value(), record.value());
        match Kind::parse(kind) {
            Some(_) if expiry <= now.unix() => {}
            Some(kind) => {
                let expires = (expiry != NEVER).then(|| Timestamp::from_unix(expiry));
                to.send(site, Item::Record { kind, id: id.to_owned(), json: json.to_vec(), expires })?;
            }
            None => unknown += 1,
        }
    }
    Ok(unknown)
}

fn sets(transaction: &ReadTransaction, to: &mut Sender) -> Result<u64, Stop> {
    let mut unknown = 0;
    for entry in transaction.open_table(SETS)?.iter()? {
        let key = entry?.0;
        let (site, set, of, member) = key.value();
        match Set::parse(set) {
            Some(set) => to.send(site, Item::Member { set, of: of.to_owned(), member: member.to_owned() })?,
            None => unknown += 1,
        }
    }
    Ok(unknown)
}

fn marks(transaction: &ReadTransaction, to: &mut Sender) -> Result<(), Stop> {
    for entry in transaction.open_table(NOT_BEFORE)?.iter()? {
        let (key, at) = entry?;
        let (site, subject) = key.value();
        to.send(site, Item::Mark { subject: subject.to_owned(), at: Timestamp::from_unix(at.value()) })?;
    }
    Ok(())
}

/// An entry that was judged, with its bytes.
struct Ready {
    entry: Entry,
    bytes: Vec<u8>,
}

impl Ready {
    fn of(entry: Entry) -> Result<Self, StoreError> {
        entry.check()?;
        let bytes = match &entry.item {
            Item::Client(client) => write_client(&entry.site, client)?,
            Item::Token { hash, record } => write_token(&entry.site, hash, record)?,
            // Where the bytes are in the entry already.
            Item::Credential { .. } | Item::Record { .. } | Item::Member { .. } | Item::Mark { .. } => Vec::new(),
        };
        Ok(Self { entry, bytes })
    }

    fn put(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let site = &*self.entry.site;
        match &self.entry.item {
            Item::Client(client) => {
                transaction.open_table(CLIENTS)?.insert((site, &*client.id), &*self.bytes)?;
            }
            Item::Token { hash, record } => insert_token(transaction, site, hash, (&record.client, record.exp.unix()), &self.bytes)?,
            Item::Credential { id, sealed } => {
                transaction.open_table(CREDENTIALS)?.insert((site, &**id), &**sealed)?;
            }
            Item::Record { kind, id, json, expires } => kept::put(transaction, (site, kind.as_str(), id), json, *expires)?,
            Item::Member { set, of, member } => {
                transaction.open_table(SETS)?.insert((site, set.as_str(), &**of, &**member), ())?;
            }
            Item::Mark { subject, at } => raise(transaction, site, subject, *at)?,
        }
        Ok(())
    }
}
