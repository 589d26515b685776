//! Which servers are worth asking: what requests have seen of them, and what active checks say.
//!
//! Health is one per server and process, in atomics that a request only reads while all is well. A server that fails `failures_max`
//! times in a row rests; after `rest` one request tries it again. A server that was put to rest by checks comes back by checks alone,
//! since requests may succeed on a server that is about to go.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};

use crate::upstream::body::Outflow;
use crate::upstream::{Server, Settings, Upstreams};

/// How one server stands; for metrics and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    pub server: String,
    pub healthy: bool,
    /// Failures in a row.
    pub failures: u32,
    /// How long it has stood so.
    pub since: Duration,
}

impl Upstreams {
    /// Every server once, in the order of the sites.
    pub fn status(&self) -> Vec<ServerStatus> {
        let now = Instant::now();
        self.servers().iter().map(|server| server.health.status(now)).collect()
    }

    /// The servers of the site at this index.
    pub fn status_of(&self, site: usize) -> Vec<ServerStatus> {
        let now = Instant::now();
        self.servers_of(site).map(|server| server.health.status(now)).collect()
    }

    /// Whether any server of the site at this index is healthy.
    pub fn is_reachable(&self, site: usize) -> bool {
        self.servers_of(site).any(|server| server.health.is_healthy())
    }
}

/// Asks every server that has a `check_interval`, until `stop` is done. One call for the process.
pub async fn watch(upstreams: Arc<Upstreams>, stop: impl Future<Output = ()>) {
    let checked: Vec<_> = upstreams.servers().iter().filter_map(|server| Some((server, server.settings.check_interval?))).collect();
    let count = u32::try_from(checked.len()).unwrap_or(u32::MAX).max(1);
    // Dropped with this future, the set ends its tasks.
    let mut checks = JoinSet::new();
    for (place, (server, interval)) in (0..).zip(checked) {
        // A thousand servers are not asked in one moment.
        let start = Instant::now() + interval / count * place;
        checks.spawn(watch_server(Arc::clone(server), start, interval));
    }
    stop.await;
}

async fn watch_server(server: Arc<Server>, start: Instant, interval: Duration) {
    let mut ticks = interval_at(start, interval.max(CHECK_INTERVAL_MIN));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0, 0);
    loop {
        ticks.tick().await;
        match check(&server).await {
            Ok(()) => {
                (good, bad) = (good + 1, 0);
                if good >= CHECKS_TO_RETURN {
                    server.health.restore(Instant::now());
                }
            }
            Err(why) => {
                (good, bad) = (0, bad + 1);
                if bad >= server.settings.failures_max {
                    server.health.rest_until_checked(Instant::now(), &why);
                }
            }
        }
    }
}

/// One question on a connection of its own: a check that reuses connections does not see that the server takes no new ones.
async fn check(server: &Server) -> Result<(), String> {
    let settings = &server.settings;
    let asked = async {
        let request = check_request(server).map_err(|error| error.to_string())?;
        let mut connection = server.target.open(Instant::now() + settings.connect_timeout).await.map_err(|error| error.to_string())?;
        let answer = pin!(connection.sender.send_request(request)).await.map_err(|error| error.to_string())?;
        if answer.status().is_server_error() { Err(format!("status {}", answer.status().as_u16())) } else { Ok(()) }
    };
    let limit = settings.connect_timeout + settings.first_byte_timeout;
    timeout(limit, asked).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn check_request(server: &Server) -> Result<Request<Outflow>, http::Error> {
    Request::get(&*server.settings.check_path)
        .header(HOST, &*server.frappe_site)
        .header("x-frappe-site-name", &*server.frappe_site)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(USER_AGENT, HeaderValue::from_static("scopegate-check"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Outflow::Empty)
}

/// Whether a request may go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Healthy,
    /// It has rested long enough for one request to try it.
    Due,
    Resting,
}

pub(crate) struct Health {
    server: String,
    base: Instant,
    failures: AtomicU32,
    /// [`HEALTHY`], or the millisecond from which one request may try it, or [`UNTIL_CHECKED`].
    due: AtomicU64,
    /// The millisecond of the last change between healthy and resting.
    since: AtomicU64,
}

impl Health {
    pub(crate) fn new(server: String) -> Self {
        Self { server, base: Instant::now(), failures: AtomicU32::new(0), due: AtomicU64::new(HEALTHY), since: AtomicU64::new(0) }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.due.load(Ordering::Relaxed) == HEALTHY
    }

    pub(crate) fn standing(&self, now: Instant) -> Standing {
        match self.due.load(Ordering::Relaxed) {
            HEALTHY => Standing::Healthy,
            due if due <= self.millisecond(now) => Standing::Due,
            _ => Standing::Resting,
        }
    }

    /// Since when it rests, in milliseconds of its own; the least has rested longest.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Takes the one trial of a server that is [`Standing::Due`]. If nothing comes of it, the next is due after another rest.
    pub(crate) fn claim_trial(&self, now: Instant, rest: Duration) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        due != HEALTHY && due <= self.millisecond(now) && self.change(due, self.due_after(now, rest))
    }

    /// A request got the head of an answer.
    pub(crate) fn succeeded(&self, now: Instant) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let due = self.due.load(Ordering::Relaxed);
        if due != HEALTHY && due != UNTIL_CHECKED && self.change(due, HEALTHY) {
            self.came_back(now);
        }
    }

    /// A request got no connection, no answer in time or no HTTP.
    pub(crate) fn failed(&self, now: Instant, settings: &Settings, why: &dyn std::fmt::Display) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let due = self.due.load(Ordering::Relaxed);
        match due {
            HEALTHY if failures < settings.failures_max => {}
            HEALTHY => {
                if self.change(HEALTHY, self.due_after(now, settings.rest)) {
                    self.went_to_rest(now, why);
                }
            }
            UNTIL_CHECKED => {}
            due => {
                self.change(due, self.due_after(now, settings.rest));
            }
        }
    }

    fn restore(&self, now: Instant) {
        self.failures.store(0, Ordering::Relaxed);
        if self.due.swap(HEALTHY, Ordering::Relaxed) != HEALTHY {
            self.came_back(now);
        }
    }

    fn rest_until_checked(&self, now: Instant, why: &str) {
        if self.due.swap(UNTIL_CHECKED, Ordering::Relaxed) == HEALTHY {
            self.went_to_rest(now, &why);
        }
    }

    fn came_back(&self, now: Instant) {
        self.since.store(self.millisecond(now), Ordering::Relaxed);
        info!(server = self.server, "upstream server is back");
    }

    fn went_to_rest(&self, now: Instant, why: &dyn std::fmt::Display) {
        self.since.store(self.millisecond(now), Ordering::Relaxed);
        warn!(server = self.server, reason = %why, "upstream server rests");
    }

    fn status(&self, now: Instant) -> ServerStatus {
        ServerStatus {
            server: self.server.clone(),
            healthy: self.is_healthy(),
            failures: self.failures.load(Ordering::Relaxed),
            since: Duration::from_millis(self.millisecond(now).saturating_sub(self.since())),
        }
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.due.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn due_after(&self, now: Instant, rest: Duration) -> u64 {
        self.millisecond(now + rest).clamp(HEALTHY + 1, UNTIL_CHECKED - 1)
    }

    fn millisecond(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.base).as_millis()).unwrap_or(UNTIL_CHECKED - 1)
    }
}

const HEALTHY: u64 = 0;
const UNTIL_CHECKED: u64 = u64::MAX;

/// A timer of nothing would panic.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Good checks in a row that bring a server back.
const CHECKS_TO_RETURN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(failures_max: u32, rest: u64) -> Settings {
        Settings { failures_max, rest: Duration::from_secs(rest), ..crate::upstream::tests::settings() }
    }

    fn after(health: &Health, seconds: u64) -> Instant {
        health.base + Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_rests_after_enough_failures_in_a_row_and_no_sooner() {
        let (health, settings) = (Health::new("s".into()), settings(3, 10));
        let now = after(&health, 1);
        health.failed(now, &settings, &"refused");
        health.failed(now, &settings, &"refused");
        health.succeeded(now);
        health.failed(now, &settings, &"refused");
        health.failed(now, &settings, &"refused");
        assert_eq!(health.standing(now), Standing::Healthy);
        health.failed(now, &settings, &"refused");
        assert_eq!(health.standing(now), Standing::Resting);
        assert_eq!(health.standing(after(&health, 10)), Standing::Resting);
        assert_eq!(health.standing(after(&health, 11)), Standing::Due);
    }

    #[test]
    fn one_request_tries_a_rested_server() {
        let (health, settings) = (Health::new("s".into()), settings(1, 10));
        health.failed(after(&health, 0), &settings, &"refused");
        let due = after(&health, 10);
        assert!(!health.claim_trial(after(&health, 9), settings.rest), "not yet");
        assert!(health.claim_trial(due, settings.rest));
        assert!(!health.claim_trial(due, settings.rest), "one only");
        assert_eq!(health.standing(due), Standing::Resting);
        health.failed(due, &settings, &"refused");
        assert_eq!(health.standing(after(&health, 19)), Standing::Resting, "another rest");
        assert!(health.claim_trial(after(&health, 20), settings.rest));
        health.succeeded(after(&health, 20));
        assert_eq!(health.standing(after(&health, 20)), Standing::Healthy);
        assert!(!health.claim_trial(after(&health, 30), settings.rest), "a healthy server needs no trial");
    }

    #[test]
    fn what_checks_put_to_rest_only_checks_bring_back() {
        let (health, settings) = (Health::new("s".into()), settings(1, 10));
        health.rest_until_checked(after(&health, 1), "status 503");
        health.succeeded(after(&health, 2));
        health.failed(after(&health, 2), &settings, &"refused");
        assert_eq!(health.standing(after(&health, 1_000_000)), Standing::Resting);
        assert!(!health.claim_trial(after(&health, 1_000_000), settings.rest));
        health.restore(after(&health, 3));
        assert_eq!(health.standing(after(&health, 3)), Standing::Healthy);
        let want = ServerStatus { server: "s".into(), healthy: true, failures: 0, since: Duration::from_secs(2) };
        assert_eq!(health.status(after(&health, 5)), want);
    }
}
