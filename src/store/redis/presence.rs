//! Gateways and what they have applied, in Redis.
//!
//! ```text
//! sg:{<site>}:gateways        sorted set: who follows the log, by the millisecond in which it was last seen
//! sg:{<site>}:applied:<name>  set: who has applied the log up to the `wait` entry of that name; expires by itself
//! ```
//!
//! In the slot of the log, so that both can be asked wherever the log can. Redis's own clock measures: those of gateways may differ.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use crate::store::StoreError;
use crate::store::presence::{APPLIED_KEPT, GATEWAYS_MAX, Gateway, KEPT, PresenceStore, Seen};
use crate::store::record::{check_id, check_site};
use crate::store::redis::{RedisStore, command};

/// KEYS: the gateways. ARGV: one of them, the seconds for which they are kept, and how many are.
const PRESENT: &str = "\
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2]) * 1000))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1";

/// KEYS: the gateways. ARGV: the seconds for which they are kept. Gives each with the milliseconds since it was seen.
const GATEWAYS: &str = "\
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local first = string.format('%.0f', now - tonumber(ARGV[1]) * 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], first, '+inf', 'WITHSCORES')
for i = 2, #found, 2 do
  found[i] = string.format('%.0f', math.max(0, now - tonumber(found[i])))
end
return found";

/// KEYS: the sets of the names. ARGV: the gateway, and the seconds for which they are kept.
const ACKNOWLEDGE: &str = "\
for _, key in ipairs(KEYS) do
  redis.call('SADD', key, ARGV[1])
  redis.call('EXPIRE', key, ARGV[2])
end
return 1";

impl RedisStore {
    fn gateways_key(&self, site: &str) -> Result<String, StoreError> {
        check_site(site)?;
        Ok(format!("{}:{{{site}}}:gateways", self.prefix))
    }

    fn applied_key(&self, site: &str, name: &str) -> Result<String, StoreError> {
        check_site(site)?;
        check_id(name)?;
        Ok(format!("{}:{{{site}}}:applied:{name}", self.prefix))
    }
}

fn gateways_name(site: &str) -> String {
    format!("the gateways of site {site}")
}

fn applied_name(site: &str) -> String {
    format!("what the gateways of site {site} have applied")
}

#[async_trait]
impl PresenceStore for RedisStore {
    async fn present(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        let mut present = redis::cmd("EVAL");
        present.arg(PRESENT).arg(1).arg(self.gateways_key(site)?).arg(gateway.write()).arg(KEPT.as_secs()).arg(GATEWAYS_MAX);
        self.write(&present, || gateways_name(site)).await
    }

    async fn absent(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        let mut absent = command("ZREM", &self.gateways_key(site)?);
        absent.arg(gateway.write());
        self.write(&absent, || gateways_name(site)).await
    }

    async fn gateways(&self, site: &str) -> Result<Vec<Seen>, StoreError> {
        let key = self.gateways_key(site)?;
        let mut gateways = redis::cmd("EVAL");
        gateways.arg(GATEWAYS).arg(1).arg(&key).arg(KEPT.as_secs());
        let told: Vec<(String, u64)> = self.read(&gateways, || gateways_name(site)).await?;
        // Passing over one would be to say that all have answered while one was not asked.
        let seen = |(text, ago): (String, u64)| {
            let gateway = Gateway::read(&text).ok_or_else(|| {
                let text = text.escape_debug();
                StoreError(format!("{} are damaged: `{text}` is none; remove it from the sorted set `{key}`", gateways_name(site)))
            })?;
            Ok(Seen { gateway, ago: Duration::from_millis(ago) })
        };
        told.into_iter().map(seen).collect()
    }

    async fn acknowledge(&self, site: &str, names: &[Box<str>], gateway: &Gateway) -> Result<(), StoreError> {
        let keys = names.iter().map(|name| self.applied_key(site, name)).collect::<Result<Vec<_>, _>>()?;
        let mut acknowledge = redis::cmd("EVAL");
        acknowledge.arg(ACKNOWLEDGE).arg(keys.len()).arg(&keys).arg(gateway.write()).arg(APPLIED_KEPT.as_secs());
        self.write(&acknowledge, || applied_name(site)).await
    }

    async fn acknowledged(&self, site: &str, name: &str) -> Result<BTreeSet<Gateway>, StoreError> {
        let told: Vec<String> = self.read(&command("SMEMBERS", &self.applied_key(site, name)?), || applied_name(site)).await?;
        Ok(told.iter().filter_map(|text| Gateway::read(text)).collect())
    }
}
