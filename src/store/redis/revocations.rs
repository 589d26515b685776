//! Marks and the log of revocations, in Redis.
//!
//! ```text
//! sg:{<site>}:notbefore    hash: subject -> second
//! sg:{<site>}:revocations  stream: the log
//! ```
//!
//! The braces put both into one slot, so that one script writes both.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Pipeline};

use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::kept::{Revocation, RevocationStore, Subject};
use crate::store::ledger::{Ended, Ledger};
use crate::store::link::Repeat;
use crate::store::log::{ENTRIES_MAX, Entry, Logged};
use crate::store::record::{check_site, read_token};
use crate::store::redis::{RedisStore, cannot_change, cannot_read, command};
use crate::store::{StoreError, wall_clock};

/// KEYS: the marks, the log. ARGV: the second, the entries that the log keeps, how many fields are marked, these, and those that the new
/// marks must come after. Gives the second. A mark that is no number gives way, in this and in the next: that is how it is mended.
const REVOKE: &str = "\
local at, count = tonumber(ARGV[1]), tonumber(ARGV[3])
for i = 4 + count, #ARGV do
  local mark = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) or 0
  if mark >= at then at = mark + 1 end
end
local second = string.format('%.0f', at)
for i = 4, 3 + count do
  redis.call('HSET', KEYS[1], ARGV[i], second)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'mark', ARGV[i], 'at', second)
end
return second";

/// KEYS: the marks, the log. ARGV: the entries that the log keeps, then fields and their marks in turn. A mark that does not grow is written
/// as it is, so that there is a write for replicas to acknowledge.
const RAISE: &str = "\
for i = 2, #ARGV, 2 do
  local mark = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or -1) or -1
  if mark < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'mark', ARGV[i], 'at', ARGV[i + 1])
  else
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', mark))
  end
end
return 1";

/// Marks that one exchange reads or writes, about: a script is one long moment for everybody else.
const PAGE: usize = 500;

/// How long a read of the follower may take. What it says counts from when it was sent, so a slow answer is still worth having, but one
/// that is older than most bounds is not.
const FOLLOWER_PATIENCE: Duration = Duration::from_secs(2);

/// What `XRANGE` tells of an entry: its id, and its fields and values in turn.
type Told = (String, Vec<String>);

impl RedisStore {
    fn marks_key(&self, site: &str) -> Result<String, StoreError> {
        check_site(site)?;
        Ok(format!("{}:{{{site}}}:notbefore", self.prefix))
    }

    fn log_key(&self, site: &str) -> Result<String, StoreError> {
        check_site(site)?;
        Ok(format!("{}:{{{site}}}:revocations", self.prefix))
    }

    /// The mark of each subject, or what the ledger knows to be later.
    pub(super) async fn each_mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let mut get = command("HMGET", &self.marks_key(site)?);
        for subject in subjects {
            get.arg(subject.field());
        }
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let marks: Vec<Option<String>> = self.read(&get, || marks_name(site)).await?;
        self.ledger.vouch(site).await?;
        let known = self.ledger.site(site);
        let latest = |(mark, subject): (Option<String>, &Subject<'_>)| {
            let mark = mark.map(|text| second(site, &text)).transpose()?;
            Ok(mark.max(known.mark(&[*subject])))
        };
        marks.into_iter().zip(subjects).map(latest).collect()
    }

    /// A read that no request waits for.
    async fn read_patiently<T: FromRedisValue>(&self, command: &Cmd, name: impl FnOnce() -> String) -> Result<T, StoreError> {
        self.link
            .ask_within(FOLLOWER_PATIENCE, Repeat::Read, |mut connection| async move { command.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_read(name(), &why))
    }

    /// Enters an entry that is a revocation by itself.
    pub(super) async fn enter_revocation(&self, site: &str, entry: &Entry) -> Result<(), StoreError> {
        self.write_acknowledged(&self.log_key(site)?, &self.append(site, entry)?, || log_name(site)).await
    }

    /// Writes what must outlive a failover, to the master of `key`; the command writes something each time that it is sent.
    async fn write_acknowledged<T: FromRedisValue>(
        &self,
        key: &str,
        command: &Cmd,
        name: impl FnOnce() -> String,
    ) -> Result<T, StoreError> {
        self.link
            .ask_acknowledged(key, |mut connection| async move { command.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_change(name(), &why))
    }

    fn append(&self, site: &str, entry: &Entry) -> Result<Cmd, StoreError> {
        let mut append = command("XADD", &self.log_key(site)?);
        append.arg("MAXLEN").arg("~").arg(ENTRIES_MAX).arg("*");
        for part in entry.write() {
            append.arg(part);
        }
        Ok(append)
    }
}

fn second(site: &str, text: &str) -> Result<Timestamp, StoreError> {
    let damaged = |_| StoreError(format!("{} are damaged: one is no number; revoke anew", marks_name(site)));
    text.parse().map(Timestamp::from_unix).map_err(damaged)
}

fn log_name(site: &str) -> String {
    format!("the revocation log of site {site}")
}

fn marks_name(site: &str) -> String {
    format!("the marks of site {site}")
}

#[async_trait]
impl RevocationStore for RedisStore {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn revoke(&self, site: &str, subjects: &[Subject<'_>], at: Timestamp) -> Result<Timestamp, StoreError> {
        let Revocation { marks, behind } = Revocation::of(subjects);
        let mut revoke = redis::cmd("EVAL");
        revoke.arg(REVOKE).arg(2).arg(self.marks_key(site)?).arg(self.log_key(site)?);
        revoke.arg(at.unix()).arg(ENTRIES_MAX).arg(marks.len()).arg(&marks).arg(&behind);
        let at: String = self.write_acknowledged(&self.marks_key(site)?, &revoke, || marks_name(site)).await?;
        let (at, known) = (second(site, &at)?, self.ledger.site(site));
        for field in &marks {
            if let Some(subject) = Subject::parse(field) {
                known.raise(subject, at);
            }
        }
        Ok(at)
    }

    async fn raise(&self, site: &str, marks: &[(String, Timestamp)]) -> Result<(), StoreError> {
        let known = self.ledger.site(site);
        for page in marks.chunks(PAGE) {
            let mut raise = redis::cmd("EVAL");
            raise.arg(RAISE).arg(2).arg(self.marks_key(site)?).arg(self.log_key(site)?).arg(ENTRIES_MAX);
            for (field, at) in page {
                raise.arg(field).arg(at.unix());
            }
            self.write_acknowledged::<()>(&self.log_key(site)?, &raise, || marks_name(site)).await?;
            for (field, at) in page {
                if let Some(subject) = Subject::parse(field) {
                    known.raise(subject, *at);
                }
            }
        }
        Ok(())
    }

    async fn mark(&self, site: &str, subjects: &[Subject<'_>]) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.each_mark(site, subjects).await?.into_iter().flatten().max())
    }

    /// In pages, so that no exchange is too long. Each mark that stands from the first page to the last is in one of them.
    async fn marks(&self, site: &str) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let key = self.marks_key(site)?;
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut page = command("HSCAN", &key);
            page.arg(cursor).arg("COUNT").arg(PAGE);
            let (next, marks): (u64, Vec<(String, String)>) = self.read_patiently(&page, || marks_name(site)).await?;
            for (field, at) in marks {
                found.push((field, second(site, &at)?));
            }
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// As in `delete_token`, the entries come first. What was put under a hash after it was revoked is left alone.
    async fn end_tokens(&self, site: &str, all: &[(TokenHash, Ended)]) -> Result<(), StoreError> {
        let known = self.ledger.site(site);
        for page in all.chunks(PAGE) {
            let name = || format!("{} tokens of site {site}", page.len());
            let keys = page.iter().map(|(hash, _)| self.token_key(site, hash)).collect::<Result<Vec<_>, _>>()?;
            let found = self.read_all(&keys, name).await?;
            let (mut enter, mut delete) = (Pipeline::new(), Pipeline::new());
            for (((hash, ended), key), json) in page.iter().zip(&keys).zip(found) {
                let Some(json) = json else { continue };
                if read_token(site, hash, &json).is_ok_and(|record| !void(record.iat, Some(ended.at))) {
                    continue;
                }
                enter.add_command(self.append(site, &Entry::Token { hash: *hash, at: ended.at, exp: ended.exp })?).ignore();
                delete.del(key).ignore();
                known.end(hash, *ended, wall_clock());
            }
            for pipeline in [enter, delete].iter().filter(|pipeline| !pipeline.is_empty()) {
                self.link
                    .ask_within(FOLLOWER_PATIENCE, Repeat::Never, |mut connection| async move {
                        pipeline.query_async::<()>(&mut connection).await
                    })
                    .await
                    .map_err(|why| cannot_change(name(), &why))?;
            }
        }
        Ok(())
    }

    /// The entry at our place must be the same as well: an id is Redis's clock, and that of a replica that was promoted may be behind.
    async fn log(&self, site: &str, from: Option<&Logged>, limit: usize) -> Result<Option<Vec<Logged>>, StoreError> {
        let mut range = command("XRANGE", &self.log_key(site)?);
        range.arg(from.map_or("-", |from| &*from.place)).arg("+").arg("COUNT").arg(limit.saturating_add(1));
        let told: Vec<Told> = self.read_patiently(&range, || log_name(site)).await?;
        let mut entries = told.into_iter().map(|(place, pairs)| Logged { place: place.into(), entry: Entry::read(&pairs) });
        match from {
            Some(from) if entries.next().as_ref() != Some(from) => Ok(None),
            _ => Ok(Some(entries.take(limit).collect())),
        }
    }

    async fn announce(&self, site: &str, entry: &Entry) -> Result<(), StoreError> {
        let append = self.append(site, entry)?;
        let append = &append;
        self.link
            .ask(Repeat::Never, |mut connection| async move { append.query_async::<()>(&mut connection).await })
            .await
            .map_err(|why| cannot_change(log_name(site), &why))
    }

    async fn server(&self, _site: &str) -> Result<String, StoreError> {
        self.link.identity().await.map_err(StoreError)
    }
}

#[cfg(test)]
mod tests;
