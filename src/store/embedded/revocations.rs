//! Marks and the log of revocations, in the local file. Each change enters its entry in the transaction that makes it.
//!
//! The file has one process, so its follower reads what that process wrote, and never finds anything lost.

use async_trait::async_trait;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::embedded::{EmbeddedStore, TOKENS, remove_token};
use crate::store::kept::{Revocation, RevocationStore, Subject};
use crate::store::ledger::{Ended, Ledger};
use crate::store::log::{ENTRIES_MAX, Entry, Logged};
use crate::store::marked::Marks;
use crate::store::record::{check_site, read_token};
use crate::store::{StoreError, wall_clock};

/// (site, subject) to its mark.
pub(super) const NOT_BEFORE: TableDefinition<(&str, &str), u64> = TableDefinition::new("notbefore");
/// (site, number) to the pairs of an entry, as a JSON array.
const LOG: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("revocations");

/// What every log of a file is answered for by.
const SERVER: &str = "embedded";

/// Makes the tables of a new file.
pub(super) fn lay_out(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(NOT_BEFORE)?;
    transaction.open_table(LOG)?;
    Ok(())
}

/// Enters `entry` into the log, in the transaction of what it tells of. The oldest entries make room.
pub(super) fn append(transaction: &WriteTransaction, site: &str, entry: &Entry) -> Result<(), redb::Error> {
    let mut log = transaction.open_table(LOG)?;
    let last = log.range((site, 0)..=(site, u64::MAX))?.next_back().transpose()?.map(|(key, _)| key.value().1);
    let number = last.map_or(1, |last| last + 1);
    let pairs = serde_json::Value::from(entry.write()).to_string();
    log.insert((site, number), pairs.as_bytes())?;
    log.retain_in((site, 0)..(site, (number + 1).saturating_sub(ENTRIES_MAX)), |_, _| false)?;
    Ok(())
}

/// Marks `field` with `at`, unless it has a later mark.
pub(super) fn raise(transaction: &WriteTransaction, site: &str, field: &str, at: Timestamp) -> Result<(), redb::Error> {
    let mut marks = transaction.open_table(NOT_BEFORE)?;
    let earlier = marks.get((site, field))?.is_none_or(|mark| mark.value() < at.unix());
    if earlier {
        marks.insert((site, field), at.unix())?;
        append(transaction, site, &Entry::Mark { subject: field.into(), at })?;
    }
    Ok(())
}

pub(super) fn mark_of(transaction: &WriteTransaction, site: &str, subject: Subject<'_>) -> Result<Option<Timestamp>, redb::Error> {
    let mark = transaction.open_table(NOT_BEFORE)?.get((site, &*subject.field()))?.map(|mark| Timestamp::from_unix(mark.value()));
    Ok(mark)
}

fn log_name(site: &str) -> String {
    format!("the revocation log of site {site}")
}

fn marks_name(site: &str) -> String {
    format!("the marks of site {site}")
}

impl EmbeddedStore {
    /// The marks of one client, or what the ledger knows to be later.
    pub(super) async fn each_mark(&self, site: &str, subjects: [Subject<'_>; 4]) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        for (mark, subject) in marks.iter_mut().zip(subjects) {
            *mark = self.stored_mark(site, &[subject])?.max(self.ledger.site(site).mark(&[subject]));
        }
        self.ledger.vouch(site).await?;
        Ok(marks)
    }

    fn stored_mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError> {
        check_site(site)?;
        self.read(
            || marks_name(site),
            |transaction| {
                let marks = transaction.open_table(NOT_BEFORE)?;
                let mut latest = None;
                for subject in subjects {
                    latest = latest.max(marks.get((site, &*subject.field()))?.map(|mark| Timestamp::from_unix(mark.value())));
                }
                Ok(latest)
            },
        )
    }

    fn note(&self, site: &str, marks: &[(String, Timestamp)]) {
        let known = self.ledger.site(site);
        for (field, at) in marks {
            if let Some(subject) = Subject::parse(field) {
                known.raise(subject, *at);
            }
        }
    }
}

#[async_trait]
impl RevocationStore for EmbeddedStore {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn revoke(&self, site: &str, subjects: &[Subject<'_>], at: Timestamp) -> Result<Timestamp, StoreError> {
        check_site(site)?;
        let (name, of, revocation) = (marks_name(site), site.to_owned(), Revocation::of(subjects));
        let (at, marks) = self
            .write(name, move |transaction| {
                let mut at = at;
                for field in &revocation.behind {
                    let mark = transaction.open_table(NOT_BEFORE)?.get((&*of, &**field))?.map(|mark| mark.value());
                    at = mark.map_or(at, |mark| at.max(Timestamp::from_unix(mark.saturating_add(1))));
                }
                for field in &revocation.marks {
                    raise(transaction, &of, field, at)?;
                }
                Ok((at, revocation.marks))
            })
            .await?;
        self.note(site, &marks.into_iter().map(|field| (field, at)).collect::<Vec<_>>());
        Ok(at)
    }

    async fn raise(&self, site: &str, marks: &[(String, Timestamp)]) -> Result<(), StoreError> {
        check_site(site)?;
        let (of, raised) = (site.to_owned(), marks.to_vec());
        self.write(marks_name(site), move |transaction| raised.iter().try_for_each(|(field, at)| raise(transaction, &of, field, *at)))
            .await?;
        self.note(site, marks);
        Ok(())
    }

    async fn mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError> {
        let stored = self.stored_mark(site, subjects)?;
        self.ledger.vouch(site).await?;
        Ok(stored.max(self.ledger.site(site).mark(subjects)))
    }

    async fn marks(&self, site: &str) -> Result<Vec<(String, Timestamp)>, StoreError> {
        check_site(site)?;
        self.read(
            || marks_name(site),
            |transaction| {
                let mut found = Vec::new();
                for entry in transaction.open_table(NOT_BEFORE)?.range((site, "")..)? {
                    let (key, at) = entry?;
                    if key.value().0 != site {
                        break;
                    }
                    found.push((key.value().1.to_owned(), Timestamp::from_unix(at.value())));
                }
                Ok(found)
            },
        )
    }

    async fn end_tokens(&self, site: &str, all: &[(TokenHash, Ended)]) -> Result<(), StoreError> {
        check_site(site)?;
        let (of, tokens, known) = (site.to_owned(), all.to_vec(), self.ledger.site(site));
        self.write(format!("{} tokens of site {site}", all.len()), move |transaction| {
            for (hash, ended) in tokens {
                let json = transaction.open_table(TOKENS)?.get((&*of, *hash.as_bytes()))?.map(|json| json.value().to_vec());
                // What was put there after the revocation is left alone.
                let later = |json: &[u8]| read_token(&of, &hash, json).is_ok_and(|record| !void(record.iat, Some(ended.at)));
                if json.is_some_and(|json| !later(&json)) {
                    remove_token(transaction, &of, &hash)?;
                    append(transaction, &of, &Entry::Token { hash, at: ended.at, exp: ended.exp })?;
                }
            }
            Ok(())
        })
        .await?;
        for (hash, ended) in all {
            known.end(hash, *ended, wall_clock());
        }
        Ok(())
    }

    async fn log(&self, site: &str, from: Option<&Logged>, limit: usize) -> Result<Option<Vec<Logged>>, StoreError> {
        check_site(site)?;
        let first = from.map_or(Some(0), |from| from.place.parse::<u64>().ok());
        let Some(first) = first else { return Ok(None) };
        let found = self.read(
            || log_name(site),
            |transaction| {
                let mut found = Vec::new();
                for entry in transaction.open_table(LOG)?.range((site, first)..=(site, u64::MAX))?.take(limit.saturating_add(1)) {
                    let (key, pairs) = entry?;
                    let pairs = serde_json::from_slice::<Vec<String>>(pairs.value()).unwrap_or_default();
                    found.push(Logged { place: key.value().1.to_string().into(), entry: Entry::read(&pairs) });
                }
                Ok(found)
            },
        )?;
        let mut entries = found.into_iter();
        match from {
            Some(from) if entries.next().as_ref() != Some(from) => Ok(None),
            _ => Ok(Some(entries.take(limit).collect())),
        }
    }

    async fn announce(&self, site: &str, entry: &Entry) -> Result<(), StoreError> {
        check_site(site)?;
        let (of, entry) = (site.to_owned(), entry.clone());
        self.write(log_name(site), move |transaction| append(transaction, &of, &entry)).await
    }

    async fn server(&self, _site: &str) -> Result<String, StoreError> {
        Ok(SERVER.to_owned())
    }
}

#[cfg(test)]
mod tests;
