//! Follows the revocation log of every site: notes what it tells in the ledger, makes the cache look again at what has changed, and says how
//! far it has read. `ledger` has the argument for which all this is done.
//!
//! Each site has a task of its own, so that a node of a Cluster that is lost takes no other site with it. A site is *started over*
//! when there is no place in its log to go on from, or when another server answers for it: then the marks are compared, what the store has
//! lost is written back, and everything cached is forgotten.
//!
//! Beside each there is another task that says that this gateway lives and follows the site: see `presence`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::policy::time::Timestamp;
use crate::store::cached::{CachedStore, SiteId};
use crate::store::kept::Subject;
use crate::store::ledger::{Ended, SiteLedger};
use crate::store::link;
use crate::store::log::{ENTRIES_MAX, Entry, Logged};
use crate::store::presence::{BEAT, Gateway};
use crate::store::record::check_id;
use crate::store::{Store, StoreError, wall_clock};

/// Reads in each bound: one may be lost, and two more may be late.
const READS_IN_BOUND: u32 = 4;

/// However long the bound, a revocation reaches every gateway about as fast as this; and however short, the store is asked no more often.
const PERIOD_MAX: Duration = Duration::from_millis(250);
const PERIOD_MIN: Duration = Duration::from_millis(5);

/// How long a site that another server answers for is not trusted, so that all who know more have written it back: the longest that a
/// gateway takes to come back to a store that answers, and to read.
pub const SETTLE: Duration = link::BACK_MAX.saturating_add(PERIOD_MAX);

/// Entries that one read takes.
const PAGE: usize = 1_000;

/// Names that are answered to at once. Of more, which only a log that is read from its beginning can have, nobody waits for the first.
const NAMES_MAX: usize = 64;

/// How long the end of a gateway may take to be told.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Follows the logs of sites.
pub struct Follower {
    cached: Arc<CachedStore>,
    period: Duration,
    /// Where its tasks run: a runtime that lives as long as the gateway.
    runtime: Handle,
    gateway: Gateway,
    tasks: Mutex<HashMap<SiteId, Tasks>>,
}

/// What is done for one site.
struct Tasks {
    site: Box<str>,
    following: AbortHandle,
    beating: AbortHandle,
}

impl Tasks {
    fn abort(&self) {
        self.following.abort();
        self.beating.abort();
    }
}

impl Follower {
    pub fn new(cached: Arc<CachedStore>, bound: Duration, runtime: Handle) -> Self {
        let period = (bound / READS_IN_BOUND).clamp(PERIOD_MIN, PERIOD_MAX);
        Self { cached, period, runtime, gateway: Gateway::here(), tasks: Mutex::default() }
    }

    /// Follows a site from now on, if it is not followed already.
    pub fn follow(&self, site: SiteId, name: &str) {
        // Each change of the map is whole, whatever became of the thread that made it.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.entry(site).or_insert_with(|| {
            let following = Following::new(Arc::clone(&self.cached), site, name, self.gateway.clone());
            let beating = beat(Arc::clone(self.cached.store()), name.into(), self.gateway.clone());
            Tasks {
                site: name.into(),
                following: self.runtime.spawn(following.run(self.period)).abort_handle(),
                beating: self.runtime.spawn(beating).abort_handle(),
            }
        });
    }

    /// Follows nothing any more, and says so, in order that nobody waits for this gateway. For one that lets nobody in any more.
    pub async fn leave(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let told = async {
            for task in tasks.values() {
                task.abort();
                if let Err(error) = self.cached.store().absent(&task.site, &self.gateway).await {
                    debug!(site = &*task.site, %error, "the end of this gateway cannot be told; it counts as one that died");
                }
            }
        };
        // Whoever waits for it meanwhile is told that it is silent, which is true.
        drop(timeout(FAREWELL_MAX, told).await);
    }
}

/// Says in time that this gateway follows a site, for ever.
async fn beat(store: Arc<dyn Store>, site: Box<str>, gateway: Gateway) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        beats.tick().await;
        let said = store.present(&site, &gateway).await;
        if let (Err(error), false) = (&said, failing) {
            warn!(site = &*site, %error, "this gateway cannot say that it lives; whoever waits for all does not wait for it");
        }
        failing = said.is_err();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(Tasks::abort);
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
    /// What had gone wrong when the place was given up, until the site has caught up again.
    doubt: Doubt,
    /// Until then what is read does not make the site fresh.
    settles_at: Option<Instant>,
    gateway: Gateway,
    /// Names of `wait` entries that were read and not yet answered to.
    unanswered: VecDeque<Box<str>>,
}

/// What may be wrong with what is known, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    /// Entries were missed: what is cached does not count.
    Missed,
    /// The store may have lost what it had: what is known is written back, and the others get time to do the same.
    Lost,
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
    fn new(cached: Arc<CachedStore>, site: SiteId, name: &str, gateway: Gateway) -> Self {
        let store = Arc::clone(cached.store());
        let known = store.ledger().site(name);
        Self {
            store,
            cached,
            site,
            name: name.into(),
            known,
            place: None,
            server: None,
            doubt: Doubt::None,
            settles_at: None,
            gateway,
            unanswered: VecDeque::new(),
        }
    }

    async fn run(mut self, period: Duration) {
        self.meet().await;
        let (mut failing, mut mute) = (false, false);
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
            if matches!(round, Ok(Round::Complete)) {
                let answered = self.answer().await;
                if let (Err(error), false) = (&answered, mute) {
                    warn!(site = &*self.name, %error, "this gateway cannot say what it has applied; it tries again");
                }
                mute = answered.is_err();
            }
            if !matches!(round, Ok(Round::Behind)) {
                sleep_until(started + period).await;
            }
        }
    }

    /// A gateway that starts beside others gives them time to write back what they know, because it cannot tell whether the store has just
    /// gone back in time: it knows nothing from before.
    async fn meet(&mut self) {
        // A file has one process, and no past but its own.
        if self.store.kind() == "embedded" {
            return;
        }
        let alone = self.store.gateways(&self.name).await.is_ok_and(|others| others.iter().all(|seen| seen.gateway == self.gateway));
        if !alone {
            self.doubt = Doubt::Lost;
        }
    }

    /// Says that everything until the `wait` entries that were read is in force here. Only a complete round makes that true: until then what
    /// was cached before a site was started over may count within the bound.
    async fn answer(&mut self) -> Result<(), StoreError> {
        if !self.unanswered.is_empty() {
            self.store.acknowledge(&self.name, self.unanswered.make_contiguous(), &self.gateway).await?;
            self.unanswered.clear();
        }
        Ok(())
    }

    /// One round; what is known counts from when it was sent, if it is complete.
    async fn round(&mut self) -> Result<Round, StoreError> {
        let sent = self.store.ledger().now();
        let round = self.read_on().await.inspect_err(|_| self.known.note_lost())?;
        if round == Round::Complete {
            self.known.read_completed(sent);
        }
        Ok(round)
    }

    /// Reads on, and notes what was read.
    async fn read_on(&mut self) -> Result<Round, StoreError> {
        let Some(place) = self.place.clone() else { return self.start_over().await };
        let entries = self.store.log(&self.name, Some(&place), PAGE).await?;
        // Asked after the read, so that it is this one that has answered, or an earlier one of which nothing is lost.
        let server = self.store.server(&self.name).await?;
        if self.server.as_ref() != Some(&server) {
            self.give_up(Doubt::Lost, "another server answers for the revocation log, or the same was restarted; starting over");
            return self.start_over().await;
        }
        let Some(entries) = entries else {
            self.give_up(Doubt::Missed, "the revocation log does not go on from where it was read; starting over");
            return self.start_over().await;
        };
        let more = entries.len() == PAGE;
        self.note(entries);
        if more {
            return Ok(Round::Behind);
        }
        if self.settles_at.is_some_and(|at| Instant::now() < at) {
            return Ok(Round::Waiting);
        }
        self.settles_at = None;
        if std::mem::replace(&mut self.doubt, Doubt::None) != Doubt::None {
            self.cached.forget_site(self.site, &self.name);
            info!(site = &*self.name, "the revocation log is caught up with");
        }
        Ok(Round::Complete)
    }

    /// Gives the place in the log up. Told once, however often it happens before the site has caught up.
    fn give_up(&mut self, doubt: Doubt, told: &str) {
        self.place = None;
        if self.doubt == Doubt::None {
            self.known.note_start_over();
            warn!(site = &*self.name, "{told}");
        }
        self.doubt = self.doubt.max(doubt);
    }

    /// Reads the whole log and all marks, and writes back what the store does not know. Where it may have lost something, the others get time
    /// to do the same. Whatever of it fails, all of it is done again.
    async fn start_over(&mut self) -> Result<Round, StoreError> {
        self.place = None;
        let server = self.store.server(&self.name).await?;
        let (mut place, mut count): (Option<Logged>, u64) = (None, 0);
        loop {
            // Trimmed away under our eyes: once more, from its start.
            let Some(entries) = self.store.log(&self.name, place.as_ref(), PAGE).await? else { return Ok(Round::Waiting) };
            let (last, full) = (entries.last().cloned(), entries.len() == PAGE);
            count += entries.len() as u64;
            self.note(entries);
            place = last.or(place);
            match &place {
                // Two who begin it at once do no harm: each reads the other's entry.
                None => self.store.announce(&self.name, &Entry::Begin).await?,
                Some(_) if !full => break,
                Some(_) => {}
            }
        }
        // Only a log that is full is trimmed. Of one that is not, our place was taken away by something else.
        if self.doubt == Doubt::Missed && count < ENTRIES_MAX {
            self.doubt = Doubt::Lost;
        }
        let marks = self.store.marks(&self.name).await?;
        for (field, at) in &marks {
            self.mark(field, *at);
        }
        let stored: HashMap<&str, Timestamp> = marks.iter().map(|(field, at)| (&**field, *at)).collect();
        let known = self.known.marks().into_iter();
        let lost: Vec<_> = known.filter(|(field, at)| stored.get(&**field).is_none_or(|stored| stored < at)).collect();
        if !lost.is_empty() {
            self.store.raise(&self.name, &lost).await?;
            warn!(site = &*self.name, marks = lost.len(), "the store had lost revocations; they are written back");
        }
        if self.doubt == Doubt::Lost {
            self.store.end_tokens(&self.name, &self.known.all_ended(wall_clock())).await?;
            // From here on, because whatever went wrong until now may have kept the others from it as well.
            self.settles_at = Some(Instant::now() + SETTLE);
        }
        self.server = Some(server);
        self.place = place;
        // The next round reads on from here, asks again who answers, and may be complete.
        Ok(Round::Behind)
    }

    fn note(&mut self, entries: Vec<Logged>) {
        let Some(last) = entries.last().cloned() else { return };
        let mut unread = 0;
        for logged in entries {
            match logged.entry {
                Entry::Begin => {}
                Entry::Mark { subject, at } => self.mark(&subject, at),
                Entry::Token { hash, at, exp } => self.known.end(&hash, Ended { at, exp }, wall_clock()),
                Entry::Look { hash } => self.cached.forget_token(self.site, &hash),
                Entry::Client { id } => self.cached.forget_client(self.site, &id),
                Entry::Wait { name } if check_id(&name).is_ok() => {
                    self.unanswered.push_back(name);
                    self.unanswered.drain(..self.unanswered.len().saturating_sub(NAMES_MAX));
                }
                // No store takes an answer to that name.
                Entry::Wait { .. } => {}
                Entry::Unknown => unread += 1,
            }
        }
        if unread > 0 {
            warn!(
                site = &*self.name,
                entries = unread,
                "the revocation log has entries that cannot be read; everything is looked up again"
            );
            self.cached.forget_site(self.site, &self.name);
        }
        if self.place.is_some() {
            self.place = Some(last);
        }
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
