//! What this process knows of revocations: for each site the marks, and the tokens that were revoked one by one, until they would have
//! expired. It only grows.
//!
//! A store notes here what it wrote itself, the follower what the log tells; and whatever a store or the cache reads is judged by it. So a
//! Redis that comes back with older data revives nothing in a process that knows better, and what was lost can be written back.
//!
//! # Why a revocation holds within the bound
//!
//! The claim of DESIGN section 6: when a revocation call has returned, no gateway lets through what it revoked more than `revocation_bound`
//! later. Let the call return at `r`, and a gateway decide at `t`.
//!
//! 1. Whatever the call wrote is in the log by `r`. A mark and its entry are one write; the entry of a single token is the revocation, and
//!    the key is deleted after it; a changed client is announced after it was written. The gateway that made the call has noted it here by `r`.
//! 2. The gateway decides only on what counts, and nothing counts, neither what is cached nor what the store has just answered, unless the
//!    last *completed* read of the log was *sent* later than `t - bound` ([`SiteLedger::fresh`], [`Ledger::vouch`]).
//! 3. If `r < t - bound`, that read was sent after `r`, so it has told the entry, and what it told was noted here before the read counted
//!    as completed. What was cached before is judged anew, because the generation is another; what was being looked up is judged when its
//!    answer comes, because [`SiteLedger::generation`] was taken before it was sent.
//!
//! That leaves a store that loses what it has acknowledged: a Redis that was restarted from older data, or a replica that was promoted
//! before the write had reached it. It is another process, has another history (`master_replid`), or a log that does not go on from our
//! place. Each is seen by the next read, which then does not complete: the follower starts over. It compares the marks, writes back what
//! it knows and the store does not, and does not count as fresh for `SETTLE` after that, while the others write back what they know. What a
//! gateway does not know at the time of the loss was revoked after its last completed read was sent; so until then it errs within the
//! bound, by 2. A gateway that starts knows nothing, so it waits as long where others have followed the same log.
//!
//! What remains outside the claim: a write that Redis acknowledged and lost, where no gateway that has read or made it comes back to Redis
//! within `SETTLE` of the others; `appendfsync always`, or `wait_replicas`, leaves no such write. And a master that is cut off from its fleet
//! together with a gateway, where no sentinels are asked who the master is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::StoreError;
use crate::store::kept::Subject;

/// Single tokens that are remembered before those that have expired are looked for.
const ENDED_SWEEP_MIN: usize = 1024;

/// What is known of all sites.
pub struct Ledger {
    born: Instant,
    terms: OnceLock<Terms>,
    sites: Mutex<HashMap<Box<str>, Arc<SiteLedger>, RandomState>>,
}

/// On which terms a follower reads the logs. A process without one, such as a command, asks the store and believes it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// `revocation_bound`.
    pub bound: Duration,
    /// How long an answer may wait for the follower.
    pub patience: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { born: Instant::now(), terms: OnceLock::new(), sites: Mutex::default() }
    }
}

impl Ledger {
    /// From now on nothing counts that the follower has not vouched for.
    pub fn follow(&self, terms: Terms) {
        // A second follower would follow on the terms of the first.
        let _ = self.terms.set(terms);
    }

    pub fn terms(&self) -> Option<Terms> {
        self.terms.get().copied()
    }

    /// What is known of a site; nothing at first.
    pub fn site(&self, name: &str) -> Arc<SiteLedger> {
        // Each change of the map is whole, whatever became of the thread that made it.
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(name) {
            return Arc::clone(site);
        }
        let site = Arc::new(SiteLedger::default());
        sites.insert(name.into(), Arc::clone(&site));
        site
    }

    /// An instant as the cache and the ledger count them: nanoseconds since the ledger was made, plus one.
    pub fn instant(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.born)).saturating_add(1)
    }

    pub fn now(&self) -> u64 {
        self.instant(Instant::now())
    }

    /// How long the process has known anything.
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// How the log of a site is read, for those who watch.
    pub fn touch(&self, site: &str) -> Touch {
        let site = self.site(site);
        let (now, sent) = (self.now(), site.read_sent());
        Touch {
            age: (sent != 0).then(|| Duration::from_nanos(now.saturating_sub(sent))),
            within_bound: self.terms().is_none_or(|terms| site.fresh(now, nanoseconds(terms.bound))),
            started_over: site.started_over(),
        }
    }

    /// Says that what the store has just answered may be believed, which takes a follower that is in touch; waits for it for a moment.
    pub async fn vouch(&self, site: &str) -> Result<(), StoreError> {
        let Some(terms) = self.terms() else { return Ok(()) };
        let ledger = self.site(site);
        let fresh = || ledger.fresh(self.now(), nanoseconds(terms.bound));
        if fresh() {
            return Ok(());
        }
        let in_touch = async {
            loop {
                // Entered before the question is asked again, so that no news is missed.
                let news = ledger.news.notified();
                if fresh() {
                    return;
                }
                news.await;
            }
        };
        timeout(terms.patience, in_touch).await.map_err(|_| {
            StoreError(format!(
                "the revocation log of site {site} was not read within the bound of {} ms, so nothing that the store says may be believed",
                terms.bound.as_millis()
            ))
        })
    }
}

/// How the log of a site is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Since the last complete read was sent; `None` where there was none.
    pub age: Option<Duration>,
    /// Whether that counts; in a process without a follower everything does.
    pub within_bound: bool,
    /// How often the follower had to start over, because the store may have lost something.
    pub started_over: u64,
}

/// What is known of one site.
#[derive(Debug, Default)]
pub struct SiteLedger {
    known: RwLock<Known>,
    /// Counts what became known.
    generation: AtomicU64,
    /// The generation in which the follower last started over.
    began: AtomicU64,
    /// When the last completed read of the log was sent; 0 for never.
    read_sent: AtomicU64,
    /// Whether a read has failed since the last one that was complete.
    lost: AtomicBool,
    /// How often the follower had to start over.
    started_over: AtomicU64,
    /// Rung at each completed read.
    news: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// By [`Subject::kind`], then by name.
    marks: [HashMap<Box<str>, Timestamp, RandomState>; Subject::KINDS],
    ended: HashMap<TokenHash, Ended, RandomState>,
    sweep_at: usize,
}

/// A token that was revoked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What was issued under its hash until then is void.
    pub at: Timestamp,
    pub exp: Timestamp,
}

impl SiteLedger {
    /// Notes a mark; an earlier one than is known changes nothing.
    pub fn raise(&self, subject: Subject<'_>, at: Timestamp) {
        let (kind, name) = subject.parts();
        let mut known = self.write();
        match known.marks[kind].get_mut(name) {
            Some(mark) if *mark >= at => return,
            Some(mark) => *mark = at,
            None => drop(known.marks[kind].insert(name.into(), at)),
        }
        self.grown();
    }

    /// Notes a token that was revoked by itself. `now` is for forgetting those that have expired.
    pub fn end(&self, hash: &TokenHash, ended: Ended, now: Timestamp) {
        let mut known = self.write();
        let entry = known.ended.entry(*hash).or_insert(ended);
        *entry = Ended { at: entry.at.max(ended.at), exp: entry.exp.max(ended.exp) };
        if known.ended.len() > known.sweep_at.max(ENDED_SWEEP_MIN) {
            known.ended.retain(|_, ended| ended.exp > now);
            known.sweep_at = known.ended.len() * 2;
        }
        self.grown();
    }

    /// The latest mark of any of the subjects.
    pub fn mark(&self, subjects: &[Subject<'_>]) -> Option<Timestamp> {
        let known = self.read();
        subjects.iter().filter_map(|subject| known.mark(*subject)).max()
    }

    /// Until when what was issued under a hash is void, if it was revoked by itself.
    pub fn ended(&self, hash: &TokenHash) -> Option<Timestamp> {
        self.read().ended.get(hash).map(|ended| ended.at)
    }

    /// Whether a token with this hash and record is void.
    pub fn voids(&self, hash: &TokenHash, record: &TokenRecord) -> bool {
        let known = self.read();
        let of_grant = record.grant.as_deref().and_then(|grant| known.mark(Subject::Grant(grant)));
        let mark = known.mark(Subject::Client(&record.client)).max(known.mark(Subject::User(&record.user))).max(of_grant);
        void(record.iat, mark) || known.ended.get(hash).is_some_and(|ended| record.iat <= ended.at)
    }

    /// All marks.
    pub fn marks(&self) -> Vec<(String, Timestamp)> {
        let known = self.read();
        let of_kind = |(kind, marks): (usize, &HashMap<Box<str>, Timestamp, RandomState>)| {
            marks.iter().map(|(name, at)| (Subject::of(kind, name).field(), *at)).collect::<Vec<_>>()
        };
        known.marks.iter().enumerate().flat_map(of_kind).collect()
    }

    /// All tokens that were revoked by themselves and would still live at `now`.
    pub fn all_ended(&self, now: Timestamp) -> Vec<(TokenHash, Ended)> {
        self.read().ended.iter().filter(|(_, ended)| ended.exp > now).map(|(hash, ended)| (*hash, *ended)).collect()
    }

    /// Another one means that something became known since.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What was judged in an earlier generation than this does not count.
    pub fn began(&self) -> u64 {
        self.began.load(Ordering::Acquire)
    }

    /// Nothing that was cached until now counts any more.
    pub fn start_over(&self) {
        // `began` is there before the generation by which anybody asks for it.
        let known = self.write();
        self.began.store(self.generation() + 1, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(known);
    }

    /// A read of the log that was sent at `sent` is complete, and all that it told is noted.
    pub fn read_completed(&self, sent: u64) {
        self.read_sent.fetch_max(sent, Ordering::AcqRel);
        self.lost.store(false, Ordering::Relaxed);
        self.news.notify_waiters();
    }

    /// Whether the last completed read was sent less than `bound` before `at`.
    pub fn fresh(&self, at: u64, bound: u64) -> bool {
        let sent = self.read_sent();
        sent != 0 && at.saturating_sub(sent) < bound
    }

    /// When the last completed read was sent; 0 for never.
    pub fn read_sent(&self) -> u64 {
        self.read_sent.load(Ordering::Acquire)
    }

    /// The log could not be read.
    pub fn note_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Whether the store is lost, as far as the follower can tell: a read has failed, and none was complete since.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The follower starts over, because the store may have lost something.
    pub fn note_start_over(&self) {
        self.started_over.fetch_add(1, Ordering::Relaxed);
    }

    fn started_over(&self) -> u64 {
        self.started_over.load(Ordering::Relaxed)
    }

    fn grown(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    // Nothing that can panic runs under the lock.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn mark(&self, subject: Subject<'_>) -> Option<Timestamp> {
        let (kind, name) = subject.parts();
        self.marks[kind].get(name).copied()
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn hash(text: &str) -> TokenHash {
        TokenHash::of(text.as_bytes())
    }

    #[test]
    fn a_mark_only_grows_and_is_of_its_subject_alone() {
        let site = SiteLedger::default();
        let all = [
            Subject::Client("a"),
            Subject::User("a"),
            Subject::Grant("a"),
            Subject::Latest,
            Subject::Disabled("a"),
            Subject::Enabled("a"),
            Subject::Deleted("a"),
            Subject::Secret("a"),
        ];
        assert_eq!(all.len(), Subject::KINDS);
        for (number, subject) in all.iter().enumerate() {
            assert_eq!(site.mark(&[*subject]), None, "{subject:?}");
            site.raise(*subject, at(10 + number as u64));
            let before = site.generation();
            site.raise(*subject, at(9));
            site.raise(*subject, at(10 + number as u64));
            assert_eq!(site.generation(), before, "nothing became known");
            assert_eq!(site.mark(&[*subject]), Some(at(10 + number as u64)), "{subject:?}");
        }
        assert_eq!(site.mark(&[]), None);
        assert_eq!(site.mark(&[Subject::User("b"), Subject::Client("b")]), None);
        assert_eq!(site.mark(&[Subject::User("a"), Subject::Client("a"), Subject::Grant("b")]), Some(at(11)));
        let mut marks = site.marks();
        marks.sort();
        let mut expected: Vec<_> = all.iter().enumerate().map(|(number, subject)| (subject.field(), at(10 + number as u64))).collect();
        expected.sort();
        assert_eq!(marks, expected);
    }

    #[test]
    fn a_token_that_ended_is_remembered_until_it_would_have_expired() {
        let site = SiteLedger::default();
        site.end(&hash("a"), Ended { at: at(5), exp: at(100) }, at(5));
        site.end(&hash("a"), Ended { at: at(4), exp: at(90) }, at(5));
        assert_eq!((site.ended(&hash("a")), site.ended(&hash("b"))), (Some(at(5)), None));
        assert_eq!(site.all_ended(at(99)), [(hash("a"), Ended { at: at(5), exp: at(100) })]);
        assert_eq!(site.all_ended(at(100)), []);
        for number in 0..3 * ENDED_SWEEP_MIN as u64 {
            site.end(&hash(&number.to_string()), Ended { at: at(number), exp: at(number + 10) }, at(number));
        }
        assert!(site.read().ended.len() <= 2 * ENDED_SWEEP_MIN, "those that expired are forgotten: {}", site.read().ended.len());
        assert_eq!(site.all_ended(at(3 * ENDED_SWEEP_MIN as u64)).len(), 9);
    }

    #[test]
    fn it_is_fresh_for_the_bound_from_when_the_read_was_sent() {
        let site = SiteLedger::default();
        assert!(!site.fresh(1, SECOND), "nothing was ever read");
        site.read_completed(5 * SECOND);
        for (now, fresh) in [(5 * SECOND, true), (6 * SECOND - 1, true), (6 * SECOND, false), (60 * SECOND, false)] {
            assert_eq!(site.fresh(now, SECOND), fresh, "{now}");
        }
        site.read_completed(2 * SECOND);
        assert_eq!(site.read_sent(), 5 * SECOND, "a read that took longer than the next one");
    }

    #[tokio::test]
    async fn without_a_follower_a_store_is_believed_and_with_one_that_is_away_it_is_not() {
        let ledger = Ledger::default();
        ledger.vouch("erp").await.unwrap();
        let terms = Terms { bound: Duration::from_secs(3600), patience: Duration::from_millis(1) };
        ledger.follow(terms);
        let error = ledger.vouch("erp").await.unwrap_err().0;
        assert!(error.contains("erp") && error.contains("3600000 ms"), "{error}");
        ledger.site("shop").read_completed(ledger.now());
        assert!(ledger.vouch("erp").await.is_err(), "another site");
        ledger.site("erp").read_completed(ledger.now());
        ledger.vouch("erp").await.unwrap();
    }

    #[test]
    fn whoever_watches_sees_how_far_behind_it_is() {
        let ledger = Ledger::default();
        assert_eq!(ledger.touch("erp"), Touch { age: None, within_bound: true, started_over: 0 }, "there is no follower");
        ledger.follow(Terms { bound: Duration::from_secs(3600), patience: Duration::ZERO });
        assert_eq!(ledger.touch("erp"), Touch { age: None, within_bound: false, started_over: 0 });
        ledger.site("erp").note_start_over();
        ledger.site("erp").read_completed(1);
        let touch = ledger.touch("erp");
        assert!(touch.within_bound && touch.started_over == 1, "{touch:?}");
        assert!(touch.age.is_some_and(|age| age <= ledger.age()), "{touch:?}");
        assert_eq!(ledger.touch("shop").age, None);
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_follower() {
        let ledger = Arc::new(Ledger::default());
        ledger.follow(Terms { bound: Duration::from_secs(3600), patience: Duration::from_secs(3600) });
        let waiting = tokio::spawn({
            let ledger = Arc::clone(&ledger);
            async move { ledger.vouch("erp").await }
        });
        tokio::task::yield_now().await;
        ledger.site("erp").read_completed(ledger.now());
        waiting.await.unwrap().unwrap();
    }
}
