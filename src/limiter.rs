//! The counted cells: who has used how much of his quota, on this machine.
//!
//! A client's cell travels with its cached record, so that counting a known client takes no lock and no look-up. Addresses have no
//! record: their cells lie in a table of shards, which forgets the cells that are whole again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::policy::quota::{Quota, Verdict};

const SHARDS: usize = 64;
/// Cells of one shard before those that are whole again are swept; and before new addresses share one cell.
const SHARD_SWEEP: usize = 2048;
const SHARD_MAX: usize = 16_384;
/// A full shard is swept this often at most, in nanoseconds: a sweep looks at every cell, and strangers must not buy one each.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// What the limiter says of one request, in the terms of the `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub quota: Quota,
    pub remaining: u32,
    /// Until the quota is whole again.
    pub reset: Duration,
}

/// Too many; how long until one more passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    pub quota: Quota,
    pub retry_after: Duration,
}

/// Nanoseconds since the process began to count. It begins at one hour, so that an unused cell lies in the past.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn nanos(&self, now: Instant) -> u64 {
        const START: u64 = 3_600_000_000_000;
        START.saturating_add(u64::try_from(now.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Counts one request in `cell`.
pub fn count(cell: &AtomicU64, quota: &Quota, now: u64) -> Result<Standing, TooMany> {
    let mut seen = cell.load(Ordering::Relaxed);
    loop {
        match quota.ask(seen, now) {
            Verdict::Refuse { retry_after } => return Err(TooMany { quota: *quota, retry_after }),
            Verdict::Allow { cell: next, remaining, reset } => {
                match cell.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Ok(Standing { quota: *quota, remaining, reset }),
                    Err(other) => seen = other,
                }
            }
        }
    }
}

/// One cell an address.
pub struct Addresses {
    quota: Quota,
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

struct Shard {
    cells: HashMap<IpAddr, u64, RandomState>,
    /// The number of cells at which the next sweep pays.
    sweep_at: usize,
    swept: u64,
}

impl Shard {
    /// Forgets the cells that are whole again, when that is due.
    fn sweep(&mut self, now: u64) {
        if self.cells.len() < self.sweep_at || (self.cells.len() >= SHARD_MAX && now < self.swept.saturating_add(SWEEP_INTERVAL)) {
            return;
        }
        self.cells.retain(|_, cell| *cell > now);
        self.sweep_at = (self.cells.len() * 2).clamp(SHARD_SWEEP, SHARD_MAX);
        self.swept = now;
    }
}

impl Addresses {
    pub fn new(quota: Quota) -> Self {
        let shards = (0..SHARDS)
            .map(|_| Mutex::new(Shard { cells: HashMap::with_hasher(RandomState::default()), sweep_at: SHARD_SWEEP, swept: 0 }))
            .collect();
        Self { quota, shards, hasher: RandomState::default() }
    }

    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Counts one request of `address`.
    pub fn count(&self, address: IpAddr, now: u64) -> Result<Standing, TooMany> {
        self.with_cell(address, now, |quota, cell| match quota.ask(*cell, now) {
            Verdict::Allow { cell: next, remaining, reset } => {
                *cell = next;
                Ok(Standing { quota: *quota, remaining, reset })
            }
            Verdict::Refuse { retry_after } => Err(TooMany { quota: *quota, retry_after }),
        })
    }

    /// Whether one more request of `address` would pass; counts nothing.
    pub fn check(&self, address: IpAddr, now: u64) -> Result<(), TooMany> {
        let address = whole(address);
        let shard = self.lock(address);
        match shard.cells.get(&address).map(|cell| self.quota.ask(*cell, now)) {
            Some(Verdict::Refuse { retry_after }) => Err(TooMany { quota: self.quota, retry_after }),
            Some(Verdict::Allow { .. }) | None => Ok(()),
        }
    }

    fn with_cell<T>(&self, address: IpAddr, now: u64, change: impl FnOnce(&Quota, &mut u64) -> T) -> T {
        let mut address = whole(address);
        let mut shard = self.lock(address);
        if !shard.cells.contains_key(&address) {
            shard.sweep(now);
            if shard.cells.len() >= SHARD_MAX {
                // A flood from more addresses than fit: strangers share one cell until some are whole again.
                address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        change(&self.quota, shard.cells.entry(address).or_insert(0))
    }

    fn lock(&self, address: IpAddr) -> std::sync::MutexGuard<'_, Shard> {
        use std::hash::BuildHasher as _;
        // The top bits choose the shard; the table inside uses the lower ones.
        let shard = (self.hasher.hash_one(address) >> 58) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One subscriber holds a whole /64 (RFC 6177): all of it is one address here.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn two_a_minute() -> Quota {
        Quota { requests: 2, period: Duration::from_secs(60), burst: 2 }
    }

    #[test]
    fn an_address_is_counted_by_itself_and_an_ipv6_network_as_one() {
        let addresses = Addresses::new(two_a_minute());
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert_eq!(addresses.count(one, HOUR).map(|standing| standing.remaining), Ok(1));
        assert_eq!(addresses.count(one, HOUR).map(|standing| standing.remaining), Ok(0));
        assert_eq!(addresses.count(one, HOUR).map_err(|too| too.retry_after), Err(Duration::from_secs(30)));
        assert!(addresses.count(other, HOUR).is_ok());
        assert!(addresses.count("::ffff:192.0.2.1".parse().expect("an address"), HOUR).is_err(), "the same address, mapped");
        for host in ["2001:db8::1", "2001:db8::2"] {
            assert!(addresses.count(host.parse().expect("an address"), HOUR).is_ok());
        }
        assert!(addresses.count("2001:db8::3".parse().expect("an address"), HOUR).is_err(), "the third of one /64");
        assert!(addresses.count("2001:db8:0:1::3".parse().expect("an address"), HOUR).is_ok(), "another /64");
    }

    #[test]
    fn a_check_counts_nothing() {
        let addresses = Addresses::new(two_a_minute());
        let one: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..10 {
            assert!(addresses.check(one, HOUR).is_ok());
        }
        assert!(addresses.count(one, HOUR).is_ok());
        assert!(addresses.count(one, HOUR).is_ok());
        assert!(addresses.check(one, HOUR).is_err());
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let addresses = Addresses::new(two_a_minute());
        for number in 0..(SHARDS * SHARD_MAX * 2) as u32 {
            let _ = addresses.count(IpAddr::V4(number.into()), HOUR);
        }
        let cells: usize = addresses.shards.iter().map(|shard| shard.lock().map(|shard| shard.cells.len()).unwrap_or(0)).sum();
        assert!(cells <= SHARDS * (SHARD_MAX + 1), "{cells} cells");
        // An hour later everything is whole, and each shard is swept by the next new address.
        for number in 0..10_000u32 {
            let _ = addresses.count(IpAddr::V4((0xf000_0000 + number).into()), 2 * HOUR);
        }
        let cells: usize = addresses.shards.iter().map(|shard| shard.lock().map(|shard| shard.cells.len()).unwrap_or(0)).sum();
        assert!(cells <= 10_064, "{cells} cells after the sweep");
    }

    #[test]
    fn two_threads_on_one_cell_never_pass_more_than_the_quota() {
        let quota = Quota { requests: 1000, period: Duration::from_secs(1_000_000), burst: 1000 };
        let cell = AtomicU64::new(0);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| count(&cell, &quota, HOUR).is_ok()).count())).collect();
            threads.into_iter().map(|thread| thread.join().expect("the thread counted")).sum()
        });
        assert_eq!(passed, 1000);
    }
}
