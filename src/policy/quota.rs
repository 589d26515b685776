//! How many requests are too many: the generic cell rate algorithm (ITU-T I.371, the "virtual scheduling" form), on integers.
//!
//! A cell is one number: the theoretical arrival time of the next request, in nanoseconds since an origin that the caller keeps.
//! Zero is a cell that was never used.

use std::time::Duration;

/// `requests` in `period`, `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub requests: u32,
    pub period: Duration,
    pub burst: u32,
}

/// What a cell says of one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cell's new value, how many more would pass at once, and the time until the quota is whole again.
    Allow { cell: u64, remaining: u32, reset: Duration },
    /// How long to wait before one request passes. The cell stays: what is refused does not count.
    Refuse { retry_after: Duration },
}

impl Quota {
    /// Nanoseconds that one request takes up.
    fn interval(&self) -> u64 {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        (period / u64::from(self.requests.max(1))).max(1)
    }

    /// Asks for one request at `now`.
    pub fn ask(&self, cell: u64, now: u64) -> Verdict {
        let interval = self.interval();
        let capacity = interval.saturating_mul(u64::from(self.burst.max(1)));
        let arrival = cell.max(now).saturating_add(interval);
        let used = arrival - now;
        if used > capacity {
            return Verdict::Refuse { retry_after: Duration::from_nanos(used - capacity) };
        }
        let remaining = u32::try_from((capacity - used) / interval).unwrap_or(u32::MAX);
        Verdict::Allow { cell: arrival, remaining, reset: Duration::from_nanos(used) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn per_second(requests: u32, burst: u32) -> Quota {
        Quota { requests, period: Duration::from_secs(1), burst }
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_its_share() {
        let quota = per_second(10, 3);
        let mut cell = 0;
        for left in [2, 1, 0] {
            let Verdict::Allow { cell: next, remaining, .. } = quota.ask(cell, SECOND) else { panic!("within the burst") };
            assert_eq!(remaining, left);
            cell = next;
        }
        assert_eq!(quota.ask(cell, SECOND), Verdict::Refuse { retry_after: Duration::from_millis(100) });
        assert!(matches!(quota.ask(cell, SECOND + 100_000_000), Verdict::Allow { remaining: 0, .. }));
        assert_eq!(
            quota.ask(cell, SECOND + 99_999_999),
            Verdict::Refuse { retry_after: Duration::from_nanos(1) },
            "one nanosecond early is early"
        );
    }

    #[test]
    fn a_quota_without_numbers_still_lets_one_pass() {
        let quota = Quota { requests: 0, period: Duration::ZERO, burst: 0 };
        assert!(matches!(quota.ask(0, 5), Verdict::Allow { .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn never_more_than_burst_plus_rate_in_any_window(
            requests in 1u32..200, burst in 1u32..50, gaps in proptest::collection::vec(0u64..50_000_000, 1..300)
        ) {
            let quota = per_second(requests, burst);
            let (mut cell, mut now) = (0, SECOND);
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                if let Verdict::Allow { cell: next, .. } = quota.ask(cell, now) {
                    cell = next;
                    passed.push(now);
                }
            }
            for (first, &from) in passed.iter().enumerate() {
                for (last, &to) in passed.iter().enumerate().skip(first) {
                    let most = u64::from(burst) + (to - from) / quota.interval() + 1;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }

        #[test]
        fn no_input_panics(requests: u32, burst: u32, nanos: u64, cell in any::<u64>(), now in any::<u64>()) {
            let quota = Quota { requests, burst, period: Duration::from_nanos(nanos) };
            quota.ask(cell, now);
        }
    }
}
