//! Waiting until every gateway has applied what was revoked.
//!
//! An operation of its own behind the revocation, so that the revocation is done and told whatever becomes of the wait: a new secret is
//! shown, and whoever gives up waiting has taken nothing back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::admin::error::{AdminError, Code};
use crate::admin::message::{Applied, SilentGateway, Wait};
use crate::admin::operations::{Admin, fill};
use crate::store::StoreError;
use crate::store::log::Entry;
use crate::store::presence::{APPLIED_KEPT, Gateway, Seen};

/// The longest that a wait may take, in seconds. Answers are kept for longer.
pub const LIMIT_MAX: u64 = 60;

const _: () = assert!(LIMIT_MAX < APPLIED_KEPT.as_secs());

/// Random bytes of the name that gateways answer to.
const NAME_BYTES: usize = 16;

/// Between two looks: most answers come within a quarter of a second, and those that do not are late by more than a tenth.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_LATER: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

impl Admin {
    /// Returns when every gateway that lives has applied the revocations of a site that were done until now, or when the time is up.
    pub async fn wait(&self, site: &str, wait: Wait) -> Result<Applied, AdminError> {
        let (_, ref site) = self.site(site)?;
        if !(1..=LIMIT_MAX).contains(&wait.limit) {
            let message = format!("a wait takes 1 to {LIMIT_MAX} seconds; write --wait=10s");
            return Err(AdminError::new(Code::LimitInvalid, message));
        }
        let (started, limit) = (Instant::now(), Duration::from_secs(wait.limit));
        let mut random = [0; NAME_BYTES];
        fill(&mut random)?;
        let name = HEXLOWER.encode(&random);
        let mut awaited = Awaited::default();
        // Before the entry, so that a gateway that is stopped between the two is waited for.
        awaited.see(self.store.gateways(&site.name).await.map_err(unknown)?);
        self.store.announce(&site.name, &Entry::Wait { name: name.as_str().into() }).await.map_err(unknown)?;
        loop {
            let looked = self.look(&site.name, &name, &mut awaited).await;
            let (took, answered) = (started.elapsed(), awaited.silent().next().is_none());
            if looked.is_ok() && answered || took >= limit {
                // What was seen before may no longer be so.
                looked.map_err(unknown)?;
                let applied = awaited.told(took);
                let (gateways, took_ms) = (applied.gateways, applied.took_ms);
                match applied.by_all() {
                    true => info!(site = &*site.name, gateways, took_ms, "revocations are applied by every gateway"),
                    false => warn!(
                        site = &*site.name,
                        gateways,
                        silent = applied.silent.len(),
                        "not every gateway says that it has applied revocations"
                    ),
                }
                return Ok(applied);
            }
            let pause = if took < LATER { PAUSE } else { PAUSE_LATER };
            sleep(pause.min(limit - took)).await;
        }
    }

    async fn look(&self, site: &str, name: &str, awaited: &mut Awaited) -> Result<(), StoreError> {
        // In this order, so that a gateway that comes between the two is still waited for.
        awaited.answered.append(&mut self.store.acknowledged(site, name).await?);
        awaited.see(self.store.gateways(site).await?);
        Ok(())
    }
}

/// Who has to answer, and who has. Once seen alive a gateway has to, whatever becomes of it: one that stopped saying that it lives may go on
/// letting requests in, and a store that lost its gateways has lost the entry as well.
#[derive(Default)]
struct Awaited {
    /// With the last that was heard of each: how long it had been silent, and when that was asked.
    gateways: BTreeMap<Gateway, (Duration, Instant)>,
    answered: BTreeSet<Gateway>,
}

impl Awaited {
    fn see(&mut self, seen: Vec<Seen>) {
        let now = Instant::now();
        for seen in seen {
            if seen.lives() || self.gateways.contains_key(&seen.gateway) {
                self.gateways.insert(seen.gateway, (seen.ago, now));
            }
        }
    }

    fn silent(&self) -> impl Iterator<Item = (&Gateway, Duration)> {
        let silent = self.gateways.iter().filter(|(gateway, _)| !self.answered.contains(*gateway));
        silent.map(|(gateway, (ago, asked))| (gateway, *ago + asked.elapsed()))
    }

    fn told(&self, took: Duration) -> Applied {
        let silent = self.silent().map(|(gateway, ago)| SilentGateway { gateway: gateway.to_string(), last_seen_ms: milliseconds(ago) });
        let silent: Vec<_> = silent.collect();
        let gateways = self.gateways.len();
        Applied { gateways, applied: gateways - silent.len(), took_ms: milliseconds(took), silent }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unknown(error: StoreError) -> AdminError {
    AdminError::new(Code::Store, format!("who has applied it cannot be known: {error}"))
}
