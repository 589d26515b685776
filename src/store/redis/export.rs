//! Everything below the prefix, by `SCAN`; and many entries in, by one pipeline.
//!
//! The only place that scans keys, for `store copy` alone. Besides the gate's commands it takes `scan`, `sscan` and `pttl`.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline};

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::export::{Entry, Item, Page, Pages, PortableStore, subject_of};
use crate::store::kept::{Kind, RevocationStore, Set, check_place};
use crate::store::link::Repeat;
use crate::store::record::{EXPIRED_KEPT, check_id, check_site, read_client, read_token, write_client, write_token};
use crate::store::redis::{EXPIRY_MAX, RedisStore, cannot_change, cannot_read};
use crate::store::{StoreError, wall_clock};

/// Keys or members that one step of a scan looks at.
const STEP: usize = 512;

/// What `PTTL` says of a key that does not expire.
const NO_EXPIRY: i64 = -1;

/// A key below the prefix.
#[derive(Debug, PartialEq, Eq)]
enum Key<'k> {
    Client {
        site: &'k str,
        id: &'k str,
    },
    Token {
        site: &'k str,
        hash: TokenHash,
    },
    Credential {
        site: &'k str,
        id: &'k str,
    },
    Record {
        site: &'k str,
        kind: Kind,
        id: &'k str,
    },
    Set {
        site: &'k str,
        set: Set,
        of: &'k str,
    },
    Marks {
        site: &'k str,
    },
    /// The importing store makes its own.
    Index,
}

impl<'k> Key<'k> {
    /// `rest` is the key without the prefix; `None` for one that this build does not write.
    fn parse(rest: &'k str) -> Option<Self> {
        let parts: Vec<&str> = rest.split(':').collect();
        let key = match *parts.as_slice() {
            [site, "clients"] => check_site(site).ok().map(|()| Self::Index)?,
            [site, "client-tokens", id] => check_place(site, id).ok().map(|()| Self::Index)?,
            [site, "client", id] => check_place(site, id).ok().map(|()| Self::Client { site, id })?,
            [site, "token", hash] => check_site(site).ok().and(TokenHash::from_hex(hash)).map(|hash| Self::Token { site, hash })?,
            [site, "credential", id] => check_place(site, id).ok().map(|()| Self::Credential { site, id })?,
            [site, "notbefore"] => check_tag(site).map(|site| Self::Marks { site })?,
            // What it tells, the marks and the tokens say as well.
            [site, "revocations"] => check_tag(site).map(|_| Self::Index)?,
            // Of the gateways on this store.
            [site, "gateways"] => check_tag(site).map(|_| Self::Index)?,
            [site, "applied", name] => check_tag(site).and_then(|_| check_id(name).ok()).map(|()| Self::Index)?,
            [site, name, id] => {
                check_place(site, id).ok()?;
                match (Kind::parse(name), Set::parse(name)) {
                    (Some(kind), _) => Self::Record { site, kind, id },
                    (None, Some(set)) => Self::Set { site, set, of: id },
                    (None, None) => return None,
                }
            }
            _ => return None,
        };
        Some(key)
    }
}

/// The site whose name is in braces.
fn check_tag(tag: &str) -> Option<&str> {
    tag.strip_prefix('{')?.strip_suffix('}').filter(|site| check_site(site).is_ok())
}

/// A page and where it goes when it is full.
struct Sender {
    pages: Pages,
    page: Page,
    /// Nobody wants more.
    enough: bool,
}

impl Sender {
    async fn send(&mut self, site: &str, item: Item) {
        if let Some(full) = self.page.put(Entry::new(site, item)) {
            self.hand_over(full).await;
        }
    }

    async fn hand_over(&mut self, page: Vec<Entry>) {
        self.enough = self.enough || self.pages.send(page).await.is_err();
    }
}

#[async_trait]
impl PortableStore for RedisStore {
    async fn export(&self, pages: Pages) -> Result<u64, StoreError> {
        let mut to = Sender { pages, page: Page::default(), enough: false };
        let below = format!("{}:", self.prefix);
        let mut unknown = 0;
        let unread = |why: String| cannot_read("the keys".to_owned(), &why);
        let layout = self.link.layout().await.map_err(unread)?;
        for master in self.link.masters() {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(format!("{below}*")).arg("COUNT").arg(STEP);
                let scan = &scan;
                let (next, keys): (u64, Vec<Vec<u8>>) = self
                    .link
                    .ask_at(&master, Repeat::Read, |mut connection| async move { scan.query_async(&mut connection).await })
                    .await
                    .map_err(unread)?;
                unknown += self.send_keys(&mut to, &below, &keys).await?;
                cursor = next;
                if cursor == 0 || to.enough {
                    break;
                }
            }
        }
        // A key that moved from a master still to be read to one that was read is missing.
        if !to.enough && self.link.layout().await.map_err(unread)? != layout {
            return Err(unread("they moved to other servers meanwhile; when they are at rest, begin again".to_owned()));
        }
        let rest = to.page.take();
        if !rest.is_empty() {
            to.hand_over(rest).await;
        }
        Ok(unknown)
    }

    /// The order within a pipeline is that of the gate's own writes: an index before what it lists.
    async fn import(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(2 * entries.len());
        for entry in &entries {
            entry.check()?;
            self.put(&mut pipeline, entry)?;
        }
        if !pipeline.is_empty() {
            let pipeline = &pipeline;
            self.link
                .ask(Repeat::Never, |mut connection| async move { pipeline.query_async::<()>(&mut connection).await })
                .await
                .map_err(|why| cannot_change(format!("{} entries", entries.len()), &why))?;
        }
        for entry in &entries {
            if let Item::Mark { subject, at } = &entry.item {
                subject_of(&entry.site, subject)?;
                self.raise(&entry.site, &[(subject.clone(), *at)]).await?;
            }
        }
        Ok(())
    }
}

impl RedisStore {
    /// Sends what stands under `keys`, and says how many of them are of no known kind.
    async fn send_keys(&self, to: &mut Sender, below: &str, keys: &[Vec<u8>]) -> Result<u64, StoreError> {
        let mut unknown = 0;
        let mut plain = Vec::with_capacity(keys.len());
        for key in keys {
            let key = std::str::from_utf8(key).ok();
            match key.and_then(|key| Some((key, Key::parse(key.strip_prefix(below)?)?))) {
                None => unknown += 1,
                Some((_, Key::Index)) => {}
                Some((key, Key::Set { site, set, of })) => self.send_set(to, key, site, set, of).await?,
                Some((key, Key::Marks { site })) => self.send_marks(to, key, site).await?,
                Some(found) => plain.push(found),
            }
        }
        self.send_values(to, &plain).await?;
        Ok(unknown)
    }

    /// Sends what is one value each, and still there.
    async fn send_values(&self, to: &mut Sender, keys: &[(&str, Key<'_>)]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut asked = Pipeline::with_capacity(2 * keys.len());
        for (key, _) in keys {
            asked.get(*key).pttl(*key);
        }
        let asked = &asked;
        let values: Vec<(Option<Vec<u8>>, i64)> = self
            .link
            .ask(Repeat::Read, |mut connection| async move { asked.query_async(&mut connection).await })
            .await
            .map_err(|why| cannot_read(format!("{} keys from `{}` on", keys.len(), keys[0].0), &why))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        for ((_, key), (value, left)) in keys.iter().zip(values) {
            let Some(value) = value else { continue };
            match key {
                Key::Client { site, id } => to.send(site, Item::Client(Box::new(read_client(site, id, &value)?))).await,
                Key::Token { site, hash } => {
                    let record = read_token(site, hash, &value)?;
                    // Redis keeps it a while longer than it lives.
                    if !record.expired(wall_clock()) {
                        to.send(site, Item::Token { hash: *hash, record }).await;
                    }
                }
                Key::Credential { site, id } => to.send(site, Item::Credential { id: (*id).to_owned(), sealed: value }).await,
                Key::Record { site, kind, id } => {
                    let expires = (left != NO_EXPIRY).then(|| expiry(now, left));
                    to.send(site, Item::Record { kind: *kind, id: (*id).to_owned(), json: value, expires }).await;
                }
                Key::Set { .. } | Key::Marks { .. } | Key::Index => {}
            }
        }
        Ok(())
    }

    async fn send_set(&self, to: &mut Sender, key: &str, site: &str, set: Set, of: &str) -> Result<(), StoreError> {
        let mut cursor = 0_u64;
        loop {
            let (next, members): (u64, Vec<String>) = self.step("SSCAN", key, cursor).await?;
            for member in members {
                check_id(&member)?;
                to.send(site, Item::Member { set, of: of.to_owned(), member }).await;
            }
            cursor = next;
            if cursor == 0 || to.enough {
                return Ok(());
            }
        }
    }

    async fn send_marks(&self, to: &mut Sender, key: &str, site: &str) -> Result<(), StoreError> {
        let damaged = || StoreError(format!("the marks of site {site} are damaged: one is no number; revoke anew"));
        let mut cursor = 0_u64;
        loop {
            let (next, marks): (u64, Vec<(String, String)>) = self.step("HSCAN", key, cursor).await?;
            for (subject, at) in marks {
                subject_of(site, &subject)?;
                let at = Timestamp::from_unix(at.parse().map_err(|_| damaged())?);
                to.send(site, Item::Mark { subject, at }).await;
            }
            cursor = next;
            if cursor == 0 || to.enough {
                return Ok(());
            }
        }
    }

    async fn step<T: FromRedisValue>(&self, command: &str, key: &str, cursor: u64) -> Result<T, StoreError> {
        let mut scan = redis::cmd(command);
        scan.arg(key).arg(cursor).arg("COUNT").arg(STEP);
        self.read(&scan, || format!("key `{key}`")).await
    }

    fn put(&self, pipeline: &mut Pipeline, entry: &Entry) -> Result<(), StoreError> {
        let site = &*entry.site;
        match &entry.item {
            Item::Client(client) => self.put_client(pipeline, site, client)?,
            Item::Token { hash, record } => self.put_live_token(pipeline, site, hash, record)?,
            Item::Credential { id, sealed } => {
                pipeline.cmd("SET").arg(self.credential_key(site, id)?).arg(sealed).ignore();
            }
            Item::Record { kind, id, json, expires } => {
                let set = pipeline.cmd("SET").arg(self.key(site, kind.as_str(), id)?).arg(json);
                if let Some(at) = expires {
                    set.arg("EXAT").arg(at.unix().clamp(1, EXPIRY_MAX));
                }
                set.ignore();
            }
            Item::Member { set, of, member } => {
                pipeline.cmd("SADD").arg(self.key(site, set.as_str(), of)?).arg(member).ignore();
            }
            // One by one, behind the others: it may be more than one write.
            Item::Mark { .. } => {}
        }
        Ok(())
    }

    fn put_client(&self, pipeline: &mut Pipeline, site: &str, client: &Client) -> Result<(), StoreError> {
        pipeline.cmd("SADD").arg(self.clients_key(site)?).arg(&*client.id).ignore();
        pipeline.cmd("SET").arg(self.client_key(site, &client.id)?).arg(write_client(site, client)?).ignore();
        Ok(())
    }

    fn put_live_token(&self, pipeline: &mut Pipeline, site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<(), StoreError> {
        let exp = record.exp.unix().clamp(1, EXPIRY_MAX);
        let kept_until = exp.saturating_add(EXPIRED_KEPT).min(EXPIRY_MAX);
        pipeline.cmd("ZADD").arg(self.client_tokens_key(site, &record.client)?).arg(exp).arg(hash.to_string()).ignore();
        pipeline.cmd("SET").arg(self.token_key(site, hash)?).arg(write_token(site, hash, record)?).arg("EXAT").arg(kept_until).ignore();
        Ok(())
    }
}

/// The second at which a key ends that has `left` milliseconds to live, to the nearest: it was set to a whole one.
fn expiry(now: u128, left: i64) -> Timestamp {
    let milliseconds = now + u128::from(u64::try_from(left).unwrap_or_default());
    Timestamp::from_unix(u64::try_from((milliseconds + 500) / 1000).unwrap_or(EXPIRY_MAX).min(EXPIRY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_is_named_and_nothing_else() {
        let hash = "ab".repeat(32);
        let token = format!("erp:token:{hash}");
        for (rest, key) in [
            ("erp:client:crm", Key::Client { site: "erp", id: "crm" }),
            (&*token, Key::Token { site: "erp", hash: TokenHash::from_bytes([0xab; 32]) }),
            ("erp:credential:crm", Key::Credential { site: "erp", id: "crm" }),
            ("erp:refresh:r", Key::Record { site: "erp", kind: Kind::Refresh, id: "r" }),
            ("erp:user-grants:u", Key::Set { site: "erp", set: Set::GrantsOfUser, of: "u" }),
            ("{erp.example.com}:notbefore", Key::Marks { site: "erp.example.com" }),
            ("erp:clients", Key::Index),
            ("{erp}:revocations", Key::Index),
            ("{erp}:gateways", Key::Index),
            ("{erp}:applied:0a", Key::Index),
            ("erp:client-tokens:crm", Key::Index),
        ] {
            assert_eq!(Key::parse(rest), Some(key), "{rest}");
        }
        let upper = format!("erp:token:{}", hash.to_uppercase());
        for rest in [
            "",
            "erp",
            "erp:",
            "erp:notbefore",
            "{erp:notbefore",
            "{}:notbefore",
            "erp:token:abc",
            &upper,
            "erp:client:",
            "erp:client:a b",
            "erp:client:crm:x",
            "e p:client:crm",
            ":clients",
            "erp:cats:a",
            "erp:clients:a",
            "{erp}:revocations-of-a-later-build",
            "erp:gateways",
            "{e p}:gateways",
            "{erp}:gateways:a",
            "{erp}:applied",
            "{erp}:applied:",
            "{erp}:applied:a b",
            "erp:applied:a",
        ] {
            assert_eq!(Key::parse(rest), None, "{rest}");
        }
    }

    #[test]
    fn what_is_left_to_live_becomes_the_second_it_was_set_to() {
        for (now, left, at) in [(5_000, 1_000, 6), (5_400, 599, 6), (5_400, 602, 6), (5_999, 1, 6), (0, -2, 0)] {
            assert_eq!(expiry(now, left), Timestamp::from_unix(at), "{now} + {left}");
        }
        assert_eq!(expiry(0, i64::MAX), Timestamp::from_unix(EXPIRY_MAX));
    }
}
