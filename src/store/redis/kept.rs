//! The records and sets of `kept`, in Redis.
//!
//! ```text
//! sg:<site>:<kind>:<id>    JSON
//! sg:<site>:<set>:<of>     set of ids
//! ```
//!
//! An exchange is a script on one key, so it works on a Cluster.

use async_trait::async_trait;
use redis::Cmd;

use crate::policy::time::Timestamp;
use crate::store::StoreError;
use crate::store::kept::{Kind, RecordStore, Set, check_place, kept_name};
use crate::store::redis::{EXPIRY_MAX, RedisStore, command};

/// KEYS: the record. ARGV: the old one, the new one, its expiry or `-`.
const SWAP: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '-' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'EXAT', ARGV[3]) end
return 1";

impl RedisStore {
    fn kept_key(&self, site: &str, kind: Kind, id: &str) -> Result<String, StoreError> {
        self.key(site, kind.as_str(), id)
    }

    fn set_key(&self, site: &str, set: Set, of: &str) -> Result<String, StoreError> {
        self.key(site, set.as_str(), of)
    }
}

/// Puts `new` in the place of `old`; gives whether it was there.
pub(super) fn swap(key: &str, old: &[u8], new: &[u8], expires: Option<Timestamp>) -> Cmd {
    let mut swap = redis::cmd("EVAL");
    swap.arg(SWAP).arg(1).arg(key).arg(old).arg(new).arg(expires.map_or("-".to_owned(), |at| expiry(at).to_string()));
    swap
}

fn expiry(at: Timestamp) -> u64 {
    at.unix().clamp(1, EXPIRY_MAX)
}

fn set_name(site: &str, set: Set) -> String {
    format!("{} of site {site}", set.as_str())
}

#[async_trait]
impl RecordStore for RedisStore {
    async fn record(&self, site: &str, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&command("GET", &self.kept_key(site, kind, id)?), || kept_name(site, kind, id)).await
    }

    async fn create_record(&self, site: &str, kind: Kind, id: &str, json: &[u8], expires: Option<Timestamp>) -> Result<bool, StoreError> {
        let mut set = command("SET", &self.kept_key(site, kind, id)?);
        set.arg(json).arg("NX");
        if let Some(at) = expires {
            set.arg("EXAT").arg(expiry(at));
        }
        Ok(self.write::<Option<String>>(&set, || kept_name(site, kind, id)).await?.is_some())
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
        let key = self.kept_key(site, kind, id)?;
        self.write(&swap(&key, old, new, expires), || kept_name(site, kind, id)).await
    }

    async fn delete_record(&self, site: &str, kind: Kind, id: &str) -> Result<bool, StoreError> {
        self.write(&command("DEL", &self.kept_key(site, kind, id)?), || kept_name(site, kind, id)).await
    }

    async fn enter(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        check_place(site, member)?;
        let mut enter = command("SADD", &self.set_key(site, set, of)?);
        enter.arg(member);
        self.write(&enter, || set_name(site, set)).await
    }

    async fn leave(&self, site: &str, set: Set, of: &str, member: &str) -> Result<(), StoreError> {
        check_place(site, member)?;
        let mut leave = command("SREM", &self.set_key(site, set, of)?);
        leave.arg(member);
        self.write(&leave, || set_name(site, set)).await
    }

    async fn members(&self, site: &str, set: Set, of: &str) -> Result<Vec<String>, StoreError> {
        let mut members: Vec<String> = self.read(&command("SMEMBERS", &self.set_key(site, set, of)?), || set_name(site, set)).await?;
        members.sort_unstable();
        Ok(members)
    }
}
