//! Guesses at clients' secrets: so many failures of one client a minute, and the next is refused before its secret is looked at.
//!
//! Ids are public, so anybody can fail in the name of any client. An address from which a client has just proved who it is goes on being
//! heard, whatever strangers do meanwhile; for failures of its own there is the limit on addresses.
//!
//! Ids that belong to nobody are counted like all others: who is refused for guessing must not tell which clients exist.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::limiter::TooMany;
use crate::policy::quota::{Quota, Verdict};
use crate::store::cached::SiteId;

/// Failures of one client.
const FAILURES: Quota = Quota { requests: 60, period: Duration::from_secs(60), burst: 60 };

/// Nanoseconds for which an address is heard after its client proved itself there: a day.
const PROVEN: u64 = 86_400_000_000_000;

/// Entries of each table. Beyond that new ones share one, or are not made.
const ENTRIES_MAX: usize = 65_536;

/// A full table is swept this often at most, in nanoseconds.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// The entry of all that find no room.
const CROWD: u64 = 0;

/// Who failed, and who did not.
#[derive(Default)]
pub struct Throttle {
    tables: Mutex<Tables>,
    hasher: RandomState,
}

#[derive(Default)]
struct Tables {
    /// By site and client: the cells of the failures.
    failures: Table,
    /// By site, client and address: until when it is heard.
    proven: Table,
}

/// Instants by the hash of whom they are about; an instant that has passed is as good as none.
#[derive(Default)]
struct Table {
    instants: HashMap<u64, u64, RandomState>,
    swept: u64,
}

impl Throttle {
    /// Whether the client may try once more from `address`.
    pub fn check(&self, site: SiteId, id: &str, address: IpAddr, now: u64) -> Result<(), TooMany> {
        let tables = self.lock();
        let (failures, proven) = (self.key((site, id)), self.key((site, id, address)));
        match FAILURES.ask(tables.failures.read(failures), now) {
            Verdict::Refuse { retry_after } if tables.proven.read(proven) <= now => Err(TooMany { quota: FAILURES, retry_after }),
            _ => Ok(()),
        }
    }

    /// Somebody failed to be the client.
    pub fn failed(&self, site: SiteId, id: &str, now: u64) {
        let key = self.key((site, id));
        let mut tables = self.lock();
        let key = if tables.failures.has_room(key, now) { key } else { CROWD };
        if let Verdict::Allow { cell, .. } = FAILURES.ask(tables.failures.read(key), now) {
            tables.failures.instants.insert(key, cell);
        }
    }

    /// The client has proved who it is at `address`.
    pub fn proved(&self, site: SiteId, id: &str, address: IpAddr, now: u64) {
        let key = self.key((site, id, address));
        let mut tables = self.lock();
        if tables.proven.has_room(key, now) {
            tables.proven.instants.insert(key, now.saturating_add(PROVEN));
        }
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of).max(CROWD + 1)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // No code that can panic runs under this lock, and each change is whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn read(&self, key: u64) -> u64 {
        // In a full table, whoever has no entry of his own is in the crowd.
        let own = self.instants.get(&key).or_else(|| self.instants.get(&CROWD).filter(|_| self.instants.len() >= ENTRIES_MAX));
        own.copied().unwrap_or_default()
    }

    /// Whether `key` has an entry, or can have one.
    fn has_room(&mut self, key: u64, now: u64) -> bool {
        if self.instants.contains_key(&key) || self.instants.len() < ENTRIES_MAX {
            return true;
        }
        if now >= self.swept.saturating_add(SWEEP_INTERVAL) {
            self.instants.retain(|_, instant| *instant > now);
            self.swept = now;
        }
        self.instants.len() < ENTRIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteId = SiteId(3);
    const NOW: u64 = 3_600_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn exhausted(id: &str) -> Throttle {
        let throttle = Throttle::default();
        for number in 0..60 {
            assert!(throttle.check(SITE, id, address(1), NOW).is_ok(), "{number}");
            throttle.failed(SITE, id, NOW);
        }
        throttle
    }

    #[test]
    fn sixty_failures_a_minute_and_the_next_waits() {
        let throttle = exhausted("crm");
        let refused = throttle.check(SITE, "crm", address(2), NOW).map_err(|too_many| too_many.retry_after);
        assert_eq!(refused, Err(Duration::from_secs(1)), "whatever the address");
        assert!(throttle.check(SITE, "shop", address(1), NOW).is_ok(), "another client");
        assert!(throttle.check(SiteId(4), "crm", address(1), NOW).is_ok(), "another site's");
        assert!(throttle.check(SITE, "crm", address(1), NOW + SECOND).is_ok(), "a second later");
    }

    #[test]
    fn where_the_client_proved_itself_strangers_do_not_shut_it_out() {
        let throttle = exhausted("crm");
        throttle.proved(SITE, "crm", address(9), NOW);
        assert!(throttle.check(SITE, "crm", address(9), NOW).is_ok());
        assert!(throttle.check(SITE, "crm", address(8), NOW).is_err());
        throttle.proved(SITE, "shop", address(8), NOW);
        assert!(throttle.check(SITE, "crm", address(8), NOW).is_err(), "proved to be another");
        let throttle = exhausted("crm");
        throttle.proved(SITE, "crm", address(9), NOW);
        for _ in 0..60 {
            throttle.failed(SITE, "crm", NOW + PROVEN);
        }
        assert!(throttle.check(SITE, "crm", address(9), NOW + PROVEN).is_err(), "a day later");
    }

    #[test]
    fn a_flood_of_ids_takes_bounded_memory() {
        let throttle = Throttle::default();
        for number in 0..ENTRIES_MAX * 2 {
            throttle.failed(SITE, &number.to_string(), NOW);
            throttle.proved(SITE, &number.to_string(), address(1), NOW);
        }
        let sizes = |throttle: &Throttle| {
            let tables = throttle.lock();
            (tables.failures.instants.len(), tables.proven.instants.len())
        };
        let (failures, proven) = sizes(&throttle);
        assert!(failures <= ENTRIES_MAX + 1 && proven <= ENTRIES_MAX, "{failures} {proven}");
        assert!(throttle.check(SITE, "new", address(2), NOW).is_err(), "the crowd has failed often");
        throttle.failed(SITE, "new", NOW + 3600 * SECOND);
        assert_eq!(sizes(&throttle).0, 1, "an hour later all is forgiven");
    }
}
