//! The records and sets of `kept`, in the local file.

use async_trait::async_trait;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::policy::time::Timestamp;
use crate::store::embedded::{EmbeddedStore, SWEEP_MAX};
use crate::store::kept::{Kind, RecordStore, Set, check_place, kept_name};
use crate::store::{StoreError, wall_clock};

/// (site, kind, id) to (expiry, JSON); an expiry of [`NEVER`] is none.
pub(super) const RECORDS: TableDefinition<(&str, &str, &str), (u64, &[u8])> = TableDefinition::new("records");
/// (expiry, site, kind, id): every record that expires, soonest first.
const RECORD_EXPIRY: TableDefinition<(u64, &str, &str, &str), ()> = TableDefinition::new("record-expiry");
/// (site, set, of, member).
pub(super) const SETS: TableDefinition<(&str, &str, &str, &str), ()> = TableDefinition::new("sets");

pub(super) const NEVER: u64 = u64::MAX;

/// Makes the tables of a new file.
pub(super) fn lay_out(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(RECORDS)?;
    transaction.open_table(RECORD_EXPIRY)?;
    transaction.open_table(SETS)?;
    Ok(())
}

/// Removes the records that expired first, a few at a time.
fn sweep(transaction: &WriteTransaction, now: Timestamp) -> Result<(), redb::Error> {
    let mut due = Vec::new();
    for entry in transaction.open_table(RECORD_EXPIRY)?.range(..(now.unix().saturating_add(1), "", "", ""))?.take(SWEEP_MAX) {
        let key = entry?.0;
        let (expiry, site, kind, id) = key.value();
        due.push((expiry, site.to_owned(), kind.to_owned(), id.to_owned()));
    }
    let mut records = transaction.open_table(RECORDS)?;
    let mut expiries = transaction.open_table(RECORD_EXPIRY)?;
    for (expiry, site, kind, id) in due {
        let key = (&*site, &*kind, &*id);
        // One that was exchanged since may live longer than this entry says.
        if records.get(key)?.is_some_and(|record| record.value().0 == expiry) {
            records.remove(key)?;
        }
        expiries.remove((expiry, &*site, &*kind, &*id))?;
    }
    Ok(())
}

/// The record that lives at `now`.
fn live(transaction: &WriteTransaction, key: (&str, &str, &str), now: Timestamp) -> Result<Option<Vec<u8>>, redb::Error> {
    let records = transaction.open_table(RECORDS)?;
    let found = records.get(key)?;
    Ok(found.and_then(|record| {
        let (expiry, json) = record.value();
        (expiry > now.unix()).then(|| json.to_vec())
    }))
}

pub(super) fn put(
    transaction: &WriteTransaction,
    key: (&str, &str, &str),
    json: &[u8],
    expires: Option<Timestamp>,
) -> Result<(), redb::Error> {
    let expiry = expires.map_or(NEVER, Timestamp::unix);
    let before = transaction.open_table(RECORDS)?.insert(key, (expiry, json))?.map(|record| record.value().0);
    let mut expiries = transaction.open_table(RECORD_EXPIRY)?;
    if let Some(before) = before.filter(|&before| before != expiry && before != NEVER) {
        expiries.remove((before, key.0, key.1, key.2))?;
    }
    if expiry != NEVER {
        expiries.insert((expiry, key.0, key.1, key.2), ())?;
    }
    Ok(())
}

#[async_trait]
impl RecordStore for EmbeddedStore {
    async fn record(&self, site: &str, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_place(site, id)?;
        let now = wall_clock().unix();
        self.read(
            || kept_name(site, kind, id),
            |transaction| {
                let found = transaction.open_table(RECORDS)?.get((site, kind.as_str(), id))?;
                Ok(found.and_then(|record| {
                    let (expiry, json) = record.value();
                    (expiry > now).then(|| json.to_vec())
                }))
            },
        )
    }

    async fn create_record(&self, site: &str, kind: Kind, id: &str, json: &[u8], expires: Option<Timestamp>) -> Result<bool, StoreError> {
        check_place(site, id)?;
        let (name, site, id, json) = (kept_name(site, kind, id), site.to_owned(), id.to_owned(), json.to_vec());
        self.write(name, move |transaction| {
            let (key, now) = ((&*site, kind.as_str(), &*id), wall_clock());
            sweep(transaction, now)?;
            let free = live(transaction, key, now)?.is_none();
            if free {
                put(transaction, key, &json, expires)?;
            }
            Ok(free)
        })
        .await
    }

    async fn swap_record(
        &self,
        site: &str,
        kind: Kind,
        id: &str,
        old: &[u8],
        new: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        check_place(site, id)?;
        let (name, site, id) = (kept_name(site, kind, id), site.to_owned(), id.to_owned());
        let (old, new) = (old.to_vec(), new.to_vec());
        self.write(name, move |transaction| {
            let key = (&*site, kind.as_str(), &*id);
            let same = live(transaction, key, wall_clock())?.is_some_and(|json| json == old);
            if same {
                put(transaction, key, &new, expires)?;
            }
            Ok(same)
        })
        .await
    }

    async fn delete_record(&self, site: &str, kind: Kind, id: &str) -> Result<bool, StoreError> {
        check_place(site, id)?;
        let (name, site, id) = (kept_name(site, kind, id), site.to_owned(), id.to_owned());
        self.write(name, move |transaction| {
            let key = (&*site, kind.as_str(), &*id);
            let lived = live(transaction, key, wall_clock())?.is_some();
            let expiry = transaction.open_table(RECORDS)?.remove(key)?.map(|record| record.value().0);
            if let Some(expiry) = expiry.filter(|&expiry| expiry != NEVER) {
                transaction.open_table(RECORD_EXPIRY)?.remove((expiry, key.0, key.1, key.2))?;
            }
            Ok(lived)
        })
        .await
    }

    async fn enter(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        check_place(site, of)?;
        check_place(site, member)?;
        let (site, of, member) = (site.to_owned(), of.to_owned(), member.to_owned());
        self.write(set.as_str().to_owned(), move |transaction| {
            transaction.open_table(SETS)?.insert((&*site, set.as_str(), &*of, &*member), ())?;
            Ok(())
        })
        .await
    }

    async fn leave(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        check_place(site, of)?;
        check_place(site, member)?;
        let (site, of, member) = (site.to_owned(), of.to_owned(), member.to_owned());
        self.write(set.as_str().to_owned(), move |transaction| {
            transaction.open_table(SETS)?.remove((&*site, set.as_str(), &*of, &*member))?;
            Ok(())
        })
        .await
    }

    async fn members(&self, site: &str, set: Set, of: &str) -> Result<Vec<String>, StoreError> {
        check_place(site, of)?;
        self.read(
            || set.as_str().to_owned(),
            |transaction| {
                let mut members = Vec::new();
                for entry in transaction.open_table(SETS)?.range((site, set.as_str(), of, "")..)? {
                    let key = entry?.0;
                    let (its_site, its_set, its_of, member) = key.value();
                    if (its_site, its_set, its_of) != (site, set.as_str(), of) {
                        break;
                    }
                    members.push(member.to_owned());
                }
                Ok(members)
            },
        )
    }
}
