//! The store of a fleet: Redis 6.2 or later, or Valkey. The format is public (DESIGN section 5).
//!
//! ```text
//! sg:<site>:token:<sha256-hex>    JSON, expires by itself
//! sg:<site>:client:<id>           JSON
//! sg:<site>:credential:<id>       sealed bytes
//! sg:<site>:clients               set of client ids
//! sg:<site>:client-tokens:<id>    sorted set of token hashes by `exp`
//! ```
//!
//! and what `redis/kept.rs`, `revocations.rs` and `presence.rs` add.
//!
//! The last two are indexes, so that no operation scans keys; only `store copy` does (`redis/export.rs`). Index and key live in different Cluster slots, so no transaction spans
//! them: the order of the writes does the work. An index entry is written before its key, and readers pass over entries without a key;
//! so whatever breaks off half-way, no live token or client is missing from its index.

mod export;
#[cfg(test)]
mod grants_tests;
mod kept;
mod presence;
#[cfg(test)]
mod presence_tests;
mod revocations;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Pipeline};

use crate::oauth::client::Client;
use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::kept::RevocationStore;
use crate::store::ledger::Ledger;
use crate::store::link::{Link, Repeat};
use crate::store::log::Entry;
use crate::store::marked::{Marks, marked, subjects};
use crate::store::record::{
    EXPIRED_KEPT, check_credential, check_id, check_site, client_name, credential_name, read_client, read_token, token_name, write_client,
    write_token,
};
use crate::store::redis::kept::swap;
use crate::store::servers::Servers;
use crate::store::{ClientStore, CredentialStore, Store, StoreError, TokenStore, ended, wall_clock};

/// The longest key prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 32;

/// Records that one listing asks for at once.
const PAGE: usize = 128;

/// The latest instant at which a key may expire, 9999-12-31T23:59:59Z: later ones overflow Redis's milliseconds.
const EXPIRY_MAX: u64 = 253_402_300_799;

/// Seconds after its `exp` for which an index entry stays, so that a clock that runs ahead drops no live token from a listing.
const INDEX_GRACE: u64 = 60;

/// Redis, through one connection that is shared by all.
pub struct RedisStore {
    link: Link,
    prefix: Box<str>,
    ledger: Ledger,
}

impl RedisStore {
    /// Connects, on the runtime that is to keep the connection and its keeper: see `link`. `budget` bounds every exchange.
    pub async fn connect(servers: impl Into<Servers>, prefix: &str, budget: Duration) -> Result<Self, StoreError> {
        if !(1..=PREFIX_BYTES_MAX).contains(&prefix.len()) || check_site(prefix).is_err() {
            return Err(StoreError(format!("`{}` is no key prefix: 1 to {PREFIX_BYTES_MAX} of A-Z a-z 0-9 . _ -", prefix.escape_debug())));
        }
        Ok(Self { link: Link::connect(&servers.into(), budget).await?, prefix: prefix.into(), ledger: Ledger::default() })
    }

    fn token_key(&self, site: &str, hash: &TokenHash) -> Result<String, StoreError> {
        check_site(site)?;
        Ok(format!("{}:{site}:token:{hash}", self.prefix))
    }

    fn client_key(&self, site: &str, id: &str) -> Result<String, StoreError> {
        self.key(site, "client", id)
    }

    fn client_tokens_key(&self, site: &str, id: &str) -> Result<String, StoreError> {
        self.key(site, "client-tokens", id)
    }

    fn credential_key(&self, site: &str, id: &str) -> Result<String, StoreError> {
        self.key(site, "credential", id)
    }

    fn key(&self, site: &str, kind: &str, id: &str) -> Result<String, StoreError> {
        check_site(site)?;
        check_id(id)?;
        Ok(format!("{}:{site}:{kind}:{id}", self.prefix))
    }

    fn clients_key(&self, site: &str) -> Result<String, StoreError> {
        check_site(site)?;
        Ok(format!("{}:{site}:clients", self.prefix))
    }

    async fn read<T: FromRedisValue>(&self, command: &Cmd, name: impl FnOnce() -> String) -> Result<T, StoreError> {
        self.link
            .ask(Repeat::Read, |mut connection| async move { command.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_read(name(), &why))
    }

    async fn write<T: FromRedisValue>(&self, command: &Cmd, name: impl FnOnce() -> String) -> Result<T, StoreError> {
        self.link
            .ask(Repeat::Never, |mut connection| async move { command.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_change(name(), &why))
    }

    /// The token as Redis has it, whatever was revoked.
    async fn stored_token(&self, site: &str, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        let json: Option<Vec<u8>> = self.read(&command("GET", &self.token_key(site, hash)?), || token_name(site, hash)).await?;
        json.map(|json| read_token(site, hash, &json)).transpose()
    }

    /// After the change: whoever reads the entry and then looks the client up must find it changed.
    async fn announce_client(&self, site: &str, id: &str) -> Result<(), StoreError> {
        self.announce(site, &Entry::Client { id: id.into() }).await
    }

    /// Puts a client in the place of one that its mark has deleted, and whose record was left behind or came back.
    async fn replace_deleted(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        let (key, name) = (self.client_key(site, &client.id)?, || client_name(site, &client.id));
        let json: Option<Vec<u8>> = self.read(&command("GET", &key), name).await?;
        let Some(json) = json else { return Ok(false) };
        // One that cannot be read is there until an operator has looked at it.
        let Ok(before) = read_client(site, &client.id, &json) else { return Ok(false) };
        if marked(before, of_one(&self.each_mark(site, &subjects(&client.id)).await?)).is_some() {
            return Ok(false);
        }
        self.write(&swap(&key, &json, &write_client(site, client)?, None), name).await
    }

    /// The values of many keys, in their order. Single `GET`s in one pipeline: `MGET` cannot cross the slots of a Cluster.
    async fn read_all(&self, keys: &[String], name: impl FnOnce() -> String) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut gets = Pipeline::with_capacity(keys.len());
        for key in keys {
            gets.get(key);
        }
        let gets = &gets;
        self.link
            .ask(Repeat::Read, |mut connection| async move { gets.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_read(name(), &why))
    }
}

/// The marks of one client, asked for by its `subjects`; what is missing is none.
fn of_one(marks: &[Option<Timestamp>]) -> Marks {
    std::array::from_fn(|index| marks.get(index).copied().flatten())
}

fn cannot_read(name: String, why: &str) -> StoreError {
    StoreError(format!("cannot read {name}: {why}"))
}

fn cannot_change(name: String, why: &str) -> StoreError {
    StoreError(format!("cannot change {name}: {why}"))
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

#[async_trait]
impl TokenStore for RedisStore {
    async fn token(&self, site: &str, hash: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        Ok(self.stored_token(site, hash).await?.filter(|record| !void(record.iat, self.ledger.site(site).ended(hash))))
    }

    async fn put_token(&self, site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<(), StoreError> {
        let json = write_token(site, hash, record)?;
        let key = self.token_key(site, hash)?;
        let index = self.client_tokens_key(site, &record.client)?;
        let exp = record.exp.unix().clamp(1, EXPIRY_MAX);

        let mut enter = Pipeline::with_capacity(2);
        enter.zrembyscore(&index, "-inf", wall_clock().unix().saturating_sub(INDEX_GRACE)).zadd(&index, hash.to_string(), exp);
        let enter = &enter;
        self.link
            .ask(Repeat::Never, |mut connection| async move { enter.query_async::<()>(&mut connection).await })
            .await
            .map_err(|why| cannot_change(token_name(site, hash), &why))?;
        let mut set = command("SET", &key);
        set.arg(&json).arg("EXAT").arg(exp.saturating_add(EXPIRED_KEPT).min(EXPIRY_MAX)).arg("GET");
        let before: Option<Vec<u8>> = self.write(&set, || token_name(site, hash)).await?;
        if before.is_some_and(|before| before != json) {
            self.announce(site, &Entry::Look { hash: *hash }).await?;
        }
        Ok(())
    }

    /// The log first: token and log lie in two slots, and the entry alone ends the token wherever it is read. Whatever breaks off behind it
    /// leaves a key that is worth nothing.
    async fn delete_token(&self, site: &str, hash: &TokenHash) -> Result<bool, StoreError> {
        let key = self.token_key(site, hash)?;
        let json: Option<Vec<u8>> = self.read(&command("GET", &key), || token_name(site, hash)).await?;
        let Some(json) = json else { return Ok(false) };
        let record = read_token(site, hash, &json).ok();
        let (ended, known) = (ended(record.as_ref()), self.ledger.site(site));
        let first = known.ended(hash).is_none_or(|before| before < ended.at);
        self.enter_revocation(site, &Entry::Token { hash: *hash, at: ended.at, exp: ended.exp }).await?;
        known.end(hash, ended, wall_clock());
        let deleted: bool = self.write(&command("DEL", &key), || token_name(site, hash)).await?;
        // A record that cannot be read leaves its index entry behind, which is swept in any case.
        if let Some(record) = record {
            let mut leave = command("ZREM", &self.client_tokens_key(site, &record.client)?);
            leave.arg(hash.to_string());
            self.write::<()>(&leave, || token_name(site, hash)).await?;
        }
        Ok(deleted || first)
    }

    async fn tokens_of(&self, site: &str, client: &str, limit: usize) -> Result<Vec<(TokenHash, TokenRecord)>, StoreError> {
        let index = self.client_tokens_key(site, client)?;
        let name = || format!("the tokens of {}", client_name(site, client));
        let (now, known) = (wall_clock(), self.ledger.site(site));
        let mut tokens = Vec::new();
        let mut offset = 0;
        while tokens.len() < limit {
            let mut page = command("ZRANGEBYSCORE", &index);
            page.arg(format!("({}", now.unix())).arg("+inf").arg("LIMIT").arg(offset).arg(PAGE);
            let members: Vec<String> = self.read(&page, name).await?;
            if members.is_empty() {
                break;
            }
            offset += members.len();
            let hashes = members
                .iter()
                .map(|member| TokenHash::from_hex(member))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| StoreError(format!("{} are damaged: key `{index}` holds what is no hash", name())))?;
            let keys = hashes.iter().map(|hash| self.token_key(site, hash)).collect::<Result<Vec<_>, _>>()?;
            for (hash, json) in hashes.into_iter().zip(self.read_all(&keys, name).await?) {
                let Some(json) = json else { continue };
                let record = read_token(site, &hash, &json)?;
                let ended = void(record.iat, known.ended(&hash));
                // A token that was put again for another client stays in the index of the first until it expires.
                if *record.client == *client && !ended && !record.expired(now) && tokens.len() < limit {
                    tokens.push((hash, record));
                }
            }
        }
        Ok(tokens)
    }
}

#[async_trait]
impl ClientStore for RedisStore {
    async fn client(&self, site: &str, id: &str) -> Result<Option<Client>, StoreError> {
        let get = command("GET", &self.client_key(site, id)?);
        let subjects = subjects(id);
        let (json, marks) = tokio::join!(self.read(&get, || client_name(site, id)), self.each_mark(site, &subjects));
        let json: Option<Vec<u8>> = json?;
        let Some(json) = json else { return Ok(None) };
        Ok(marked(read_client(site, id, &json)?, of_one(&marks?)))
    }

    async fn create_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        let name = || client_name(site, &client.id);
        let mut set = command("SET", &self.client_key(site, &client.id)?);
        set.arg(write_client(site, client)?).arg("NX");
        let mut enter = command("SADD", &self.clients_key(site)?);
        enter.arg(&*client.id);
        self.write::<()>(&enter, name).await?;
        let created = self.write::<Option<String>>(&set, name).await?.is_some() || self.replace_deleted(site, client).await?;
        // Again, for one who deletes the id's last holder at the same time: its `SREM` may have come between, but never comes after,
        // because the `DEL` that made room here follows it.
        self.write::<()>(&enter, name).await?;
        if created {
            self.announce_client(site, &client.id).await?;
        }
        Ok(created)
    }

    async fn update_client(&self, site: &str, client: &Client) -> Result<bool, StoreError> {
        let mut set = command("SET", &self.client_key(site, &client.id)?);
        set.arg(write_client(site, client)?).arg("XX");
        let updated = self.write::<Option<String>>(&set, || client_name(site, &client.id)).await?.is_some();
        if updated {
            self.announce_client(site, &client.id).await?;
        }
        Ok(updated)
    }

    /// Its tokens stay until they expire, and are worth nothing without it.
    async fn delete_client(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        let mut leave = command("SREM", &self.clients_key(site)?);
        leave.arg(id);
        let delete = command("DEL", &self.client_key(site, id)?);
        self.write::<()>(&leave, || client_name(site, id)).await?;
        let deleted = self.write(&delete, || client_name(site, id)).await?;
        if deleted {
            self.announce_client(site, id).await?;
        }
        Ok(deleted)
    }

    async fn clients(&self, site: &str) -> Result<Vec<Client>, StoreError> {
        let name = || format!("the clients of site {site}");
        let mut ids: Vec<String> = self.read(&command("SMEMBERS", &self.clients_key(site)?), name).await?;
        ids.sort_unstable();
        let mut clients = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let keys = page.iter().map(|id| self.client_key(site, id)).collect::<Result<Vec<_>, _>>()?;
            let found = self.read_all(&keys, name).await?;
            let all: Vec<_> = page.iter().flat_map(|id| subjects(id)).collect();
            let marks = self.each_mark(site, &all).await?;
            for ((id, json), marks) in page.iter().zip(found).zip(marks.chunks(subjects("").len())) {
                if let Some(json) = json {
                    clients.extend(marked(read_client(site, id, &json)?, of_one(marks)));
                }
            }
        }
        Ok(clients)
    }
}

#[async_trait]
impl CredentialStore for RedisStore {
    async fn credential(&self, site: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&command("GET", &self.credential_key(site, id)?), || credential_name(site, id)).await
    }

    async fn put_credential(&self, site: &str, id: &str, sealed: &[u8]) -> Result<(), StoreError> {
        check_credential(site, id, sealed)?;
        let mut set = command("SET", &self.credential_key(site, id)?);
        set.arg(sealed);
        self.write(&set, || credential_name(site, id)).await
    }

    async fn delete_credential(&self, site: &str, id: &str) -> Result<bool, StoreError> {
        self.write(&command("DEL", &self.credential_key(site, id)?), || credential_name(site, id)).await
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.link
            .ask(Repeat::Read, |mut connection| async move { redis::cmd("PING").query_async::<()>(&mut connection).await })
            .await
            .map_err(StoreError)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}
