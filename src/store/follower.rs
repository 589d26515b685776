//! Follows the revocation log of every site: notes what it tells in the ledger, makes the cache look again at what has changed, and says how
//! far it has read. `ledger` has the argument for which all this is done.
//!
//! Each site has a task of its own, so that a node of a Cluster that is lost takes no other site with it. A site is *started over*
//! when there is no place in its log to go on from, or when another server answers for it: then the marks are compared, what the store has
//! lost is written back, and everything cached is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::policy::time::Timestamp;
use crate::store::cached::{CachedStore, SiteId};
use crate::store::kept::Subject;
use crate::store::ledger::{Ended, SiteLedger};
use crate::store::log::{Entry, Logged};
use crate::store::{Store, StoreError, wall_clock};

/// Reads in each bound: one may be lost, and two more may be late.
const READS_IN_BOUND: u32 = 4;

/// However long the bound, a revocation reaches every gateway about as fast as this; and however short, the store is asked no more often.
const PERIOD_MAX: Duration = Duration::from_millis(250);
const PERIOD_MIN: Duration = Duration::from_millis(5);

/// How long a site that another server answers for is not trusted, so that all who know more have written it back: a gateway comes back
/// within half a second (`link`), and reads within a quarter.
pub const SETTLE: Duration = Duration::from_secs(1);

/// Entries that one read takes.
const PAGE: usize = 1_000;

/// Follows the logs of sites.
pub struct Follower {
    cached: Arc<CachedStore>,
    period: Duration,
    /// Where its tasks run: a runtime that lives as long as the gateway.
    runtime: Handle,
    tasks: Mutex<HashMap<SiteId, AbortHandle>>,
}

impl Follower {
    pub fn new(cached: Arc<CachedStore>, bound: Duration, runtime: Handle) -> Self {
        let period = (bound / READS_IN_BOUND).clamp(PERIOD_MIN, PERIOD_MAX);
        Self { cached, period, runtime, tasks: Mutex::default() }
    }

    /// Follows a site from now on, if it is not followed already.
    pub fn follow(&self, site: SiteId, name: &str) {
        // Each change of the map is whole, whatever became of the thread that made it.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.entry(site).or_insert_with(|| {
            let following = Following::new(Arc::clone(&self.cached), site, name);
            self.runtime.spawn(following.run(self.period)).abort_handle()
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).values() {
            task.abort();
        }
    }
}

/// One site's log, and how far it is read.
struct Following {
    store: Arc<dyn Store>,
    cached: Arc<CachedStore>,
    site: SiteId,
    name: Box<str>,
    known: Arc<SiteLedger>,
    /// The last entry that was read.
    place: Option<Logged>,
    /// Who answered for the log until there.
    server: Option<String>,
    /// Whether the store may have lost something, and the site is not yet started over for good.
    lost: bool,
    /// Until then what is read does not make the site fresh.
    settles_at: Option<Instant>,
}

/// What one round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    Complete,
    /// There is more to read, at once.
    Behind,
    /// There is nothing to do but to wait.
    Waiting,
}

impl Following {
    fn new(cached: Arc<CachedStore>, site: SiteId, name: &str) -> Self {
        let store = Arc::clone(cached.store());
        let known = store.ledger().site(name);
        Self { store, cached, site, name: name.into(), known, place: None, server: None, lost: false, settles_at: None }
    }

    async fn run(mut self, period: Duration) {
        let mut failing = false;
        loop {
            let started = Instant::now();
            let round = self.round().await;
            match &round {
                Err(error) if !failing => {
                    warn!(site = &*self.name, %error, "the revocation log cannot be read; what is known counts no longer")
                }
                Ok(_) if failing => info!(site = &*self.name, "the revocation log is read again"),
                _ => {}
            }
            failing = round.is_err();
            if !matches!(round, Ok(Round::Behind)) {
                sleep_until(started + period).await;
            }
        }
    }

    /// One round; what is known counts from when it was sent, if it is complete.
    async fn round(&mut self) -> Result<Round, StoreError> {
        let sent = self.store.ledger().now();
        let round = self.read_on().await?;
        if round == Round::Complete {
            self.known.read_completed(sent);
        }
        Ok(round)
    }

    /// Reads on, and notes what was read.
    async fn read_on(&mut self) -> Result<Round, StoreError> {
        let Some(place) = self.place.clone() else { return self.start_over().await };
        let Some(entries) = self.store.log(&self.name, Some(&place), PAGE).await? else {
            warn!(site = &*self.name, "the revocation log does not go on from where it was read; starting over");
            self.lost = true;
            return self.start_over().await;
        };
        // Asked after the read, so that it is this one that has answered, or an earlier one of which nothing is lost.
        let server = self.store.server(&self.name).await?;
        if self.server.as_ref() != Some(&server) {
            warn!(site = &*self.name, "another server answers for the revocation log, or the same was restarted; starting over");
            self.lost = true;
            return self.start_over().await;
        }
        let more = entries.len() == PAGE;
        self.note(entries).await?;
        if more {
            return Ok(Round::Behind);
        }
        if self.settles_at.is_some_and(|at| Instant::now() < at) {
            return Ok(Round::Waiting);
        }
        self.settles_at = None;
        if std::mem::take(&mut self.lost) {
            self.cached.forget_site(self.site, &self.name);
            info!(site = &*self.name, "the revocation log is caught up with");
        }
        Ok(Round::Complete)
    }

    /// Reads the whole log and all marks, and writes back what the store does not know. Where the store may have lost something, the others
    /// get time to do the same. Whatever of it fails, all of it is done again.
    async fn start_over(&mut self) -> Result<Round, StoreError> {
        self.place = None;
        let server = self.store.server(&self.name).await?;
        let mut place: Option<Logged> = None;
        loop {
            let Some(entries) = self.store.log(&self.name, place.as_ref(), PAGE).await? else { return Ok(Round::Waiting) };
            let (last, full) = (entries.last().cloned(), entries.len() == PAGE);
            self.note(entries).await?;
            place = last.or(place);
            match &place {
                // Two who begin it at once do no harm: each reads the other's entry.
                None => self.store.announce(&self.name, &Entry::Begin).await?,
                Some(_) if !full => break,
                Some(_) => {}
            }
        }
        let marks = self.store.marks(&self.name).await?;
        let stored: HashMap<&str, Timestamp> = marks.iter().map(|(field, at)| (&**field, *at)).collect();
        for (field, at) in &marks {
            self.mark(field, *at);
        }
        let lost_marks: Vec<_> =
            self.known.marks().into_iter().filter(|(field, at)| stored.get(&**field).is_none_or(|stored| stored < at)).collect();
        if !lost_marks.is_empty() {
            self.store.raise(&self.name, &lost_marks).await?;
            warn!(site = &*self.name, marks = lost_marks.len(), "the store had lost revocations; they are written back");
        }
        if self.lost {
            self.store.end_tokens(&self.name, &self.known.all_ended(wall_clock())).await?;
            // From here on, because whatever went wrong until now may have kept the others from it as well.
            self.settles_at = Some(Instant::now() + SETTLE);
        }
        self.server = Some(server);
        self.place = place;
        // The next round reads on from here, asks again who answers, and may be complete.
        Ok(Round::Behind)
    }

    async fn note(&mut self, entries: Vec<Logged>) -> Result<(), StoreError> {
        let Some(last) = entries.last().cloned() else { return Ok(()) };
        for logged in entries {
            match logged.entry {
                Entry::Begin => {}
                Entry::Mark { subject, at } => self.mark(&subject, at),
                Entry::Token { hash, at, exp } => self.known.end(&hash, Ended { at, exp }, wall_clock()),
                Entry::Look { hash } => self.cached.forget_token(self.site, &hash).await,
                Entry::Client { id } => self.cached.forget_client(self.site, &id),
                Entry::Wait { .. } => {}
                Entry::Unknown => {
                    warn!(site = &*self.name, "the revocation log has an entry that cannot be read; everything is looked up again");
                    self.cached.forget_site(self.site, &self.name);
                }
            }
        }
        if self.place.is_some() {
            self.place = Some(last);
        }
        Ok(())
    }

    fn mark(&self, field: &str, at: Timestamp) {
        match Subject::parse(field) {
            Some(subject) => {
                self.known.raise(subject, at);
                if let Some(id) = subject.client() {
                    self.cached.forget_client(self.site, id);
                }
            }
            // Of a later build; its meaning is that build's.
            None => self.cached.forget_site(self.site, &self.name),
        }
    }
}

#[cfg(test)]
mod tests;
