//! The look-up of the hot path: a token's record and its client, from memory where what is known there may still be believed.
//!
//! That is the case while the follower has read the revocation log within `revocation_bound`, and nothing that it told concerns the token:
//! `ledger` has the whole argument. Where there is no follower an answer counts for `revocation_bound` from when its look-up was *sent*,
//! because what the store did after that it need not show. In any case it is looked up again now and then, for the sake of those who write
//! to the store and not to its log.
//!
//! Only what lets a request in comes from memory. "There is none", "expired" and "disabled" always come from the store, and from a
//! look-up that was sent after the request came: a remembered no would refuse a token that was issued since, for a request that its
//! owner has every right to send. The price, one look-up for each bad token shown, is bounded by the limit on failed authentications.
//! Errors are not kept either.
//!
//! A warm hit allocates nothing, and meets other threads only where they ask for a token of the same set of the map. When something was
//! revoked each token is judged anew once, under the ledger's lock.

mod tally;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use crate::oauth::client::Client;
use crate::oauth::records::void;
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::cached::tally::Tally;
use crate::store::flight::{Flights, Ticket};
use crate::store::kept::Subject;
use crate::store::ledger::{SiteLedger, nanoseconds};
use crate::store::tokens::{Keyed, TokenKey, Tokens};
use crate::store::{Settings, Store, StoreError};

/// Seconds by which the clocks of a fleet may differ: a token that was issued longer than that before its client was created belongs to
/// an earlier client of the same id.
pub const CLOCK_SKEW: u64 = 5;

/// Clients that are remembered though no cached token needs them, for the sake of their limiter cell.
const IDLE_CLIENTS_MAX: usize = 65_536;

/// How long a token or a client is known before it is looked up again though nothing was heard of it: what a foreign tool did to the store
/// without telling the log comes into force after this at the latest.
const REVIEW: Duration = Duration::from_secs(10);

/// How often an answer may come too late to count before the store is said to be too slow.
const ATTEMPTS_MAX: u32 = 3;

/// A site's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// A token that lives, as far as the cache may know.
#[derive(Debug)]
pub struct Live {
    key: TokenKey,
    pub record: TokenRecord,
    pub client: Arc<LiveClient>,
    /// When the look-up of the record was sent.
    asked: u64,
    /// [`SiteLedger::generation`] by which it was last judged.
    judged: AtomicU64,
}

impl Keyed for Live {
    fn key(&self) -> &TokenKey {
        &self.key
    }
}

impl Live {
    /// Whether nothing that became known since it was looked up has voided it.
    fn stands(&self) -> bool {
        // Taken first: what becomes known from here on is judged the next time.
        let site = &self.client.site;
        let generation = site.generation();
        let judged = self.judged.load(Ordering::Relaxed);
        if judged == generation {
            return true;
        }
        let stands = judged >= site.began() && !site.voids(&self.key.hash, &self.record);
        if stands {
            self.judged.store(generation, Ordering::Relaxed);
        }
        stands
    }
}

/// A client, one object for all its tokens for as long as it is remembered.
#[derive(Debug)]
pub struct LiveClient {
    pub id: Arc<str>,
    /// What is known of the revocations of its site.
    site: Arc<SiteLedger>,
    /// The limiter's: zero at first, and kept when the client is read again.
    pub cell: AtomicU64,
    client: ArcSwap<Client>,
    /// When the look-up was sent that last found the client enabled; [`NEVER`] where it must be asked again.
    vouched: AtomicU64,
}

impl LiveClient {
    /// Not yet vouched for.
    fn new(client: Client, site: Arc<SiteLedger>, cell: u64) -> Self {
        let id = Arc::clone(&client.id);
        Self { id, site, cell: AtomicU64::new(cell), client: ArcSwap::from_pointee(client), vouched: AtomicU64::new(NEVER) }
    }

    /// The client as it was last read.
    pub fn client(&self) -> Guard<Arc<Client>> {
        self.client.load()
    }
}

/// What became of a look-up.
#[derive(Clone, Debug)]
pub enum Lookup {
    Live(Arc<Live>),
    Unknown(Unknown),
}

/// Why a token is worth nothing: for the audit log, not for its bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    NoSuchToken,
    Expired,
    NoSuchClient,
    ClientDisabled,
    /// Its client, its user or its grant was revoked since.
    Revoked,
    /// Its client was deleted, and another made with the same id since.
    OlderThanClient,
}

/// Instants are nanoseconds since the cache was made, plus one; this is none of them.
const NEVER: u64 = 0;

/// A store and what was learnt from it a moment ago.
pub struct CachedStore {
    knowledge: Arc<Knowledge>,
    hits: Tally,
    misses: Tally,
    served_known: Tally,
}

/// What look-ups need when their callers are gone.
struct Knowledge {
    store: Arc<dyn Store>,
    tokens: Tokens<Live>,
    clients: Mutex<Clients>,
    token_flights: Flights<TokenKey, Found<Live>>,
    client_flights: Flights<ClientKey, Found<LiveClient>>,
    bound: u64,
    review: u64,
    /// How long after the last completed read of the log what is known goes on to count while the store cannot answer.
    serve_known: Option<u64>,
}

type ClientKey = (SiteId, Arc<str>);

/// What the store says.
#[derive(Debug)]
enum Found<T> {
    Live(Arc<T>),
    Unknown(Unknown),
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Live(live) => Self::Live(Arc::clone(live)),
            Self::Unknown(why) => Self::Unknown(*why),
        }
    }
}

impl CachedStore {
    pub fn new(store: Arc<dyn Store>, settings: &Settings) -> Self {
        let knowledge = Arc::new(Knowledge {
            store,
            tokens: Tokens::new(settings.cache_entries_max),
            clients: Mutex::new(Clients { of_site: HashMap::default(), count: 0, sweep_at: IDLE_CLIENTS_MAX }),
            token_flights: Flights::new(),
            client_flights: Flights::new(),
            bound: nanoseconds(settings.revocation_bound),
            review: nanoseconds(settings.revocation_bound.max(REVIEW)),
            serve_known: settings.serve_known.map(nanoseconds),
        });
        Self { knowledge, hits: Tally::default(), misses: Tally::default(), served_known: Tally::default() }
    }

    /// The token with this hash, if it lives at `now`. `site` and `site_name` are the same site. May be called on any runtime.
    pub async fn find(&self, site: SiteId, site_name: &str, hash: &TokenHash, now: Timestamp) -> Result<Lookup, StoreError> {
        self.find_at(site, site_name, hash, now, Instant::now()).await
    }

    /// [`Self::find`] at an instant of the caller's, who has just read the clock, or is a test and need not wait for an answer to grow old.
    pub async fn find_at(
        &self,
        site: SiteId,
        site_name: &str,
        hash: &TokenHash,
        now: Timestamp,
        at: Instant,
    ) -> Result<Lookup, StoreError> {
        let knowledge = &self.knowledge;
        let at = knowledge.store.ledger().instant(at);
        let key = TokenKey { site, hash: *hash };
        match knowledge.tokens.get(&key).filter(|live| !live.record.expired(now)) {
            Some(live) if knowledge.counts(&live, at) => {
                self.hits.add();
                Ok(Lookup::Live(live))
            }
            known => {
                self.misses.add();
                // Boxed, so that a request that hits carries no room for a look-up.
                Box::pin(self.miss(key, site_name, now, at, known)).await
            }
        }
    }

    /// What the store says, or where it says nothing and the operator wants that, what was known a moment ago.
    async fn miss(&self, key: TokenKey, site_name: &str, now: Timestamp, at: u64, known: Option<Arc<Live>>) -> Result<Lookup, StoreError> {
        let knowledge = &self.knowledge;
        // Nothing that the store says may be believed, and it will not be heard of in time: whoever waits for it waits for nothing.
        if let Some(live) = known.as_ref().filter(|live| knowledge.lost(live, at) && knowledge.may_serve(live)) {
            self.served_known.add();
            return Ok(Lookup::Live(Arc::clone(live)));
        }
        let record = known.clone().filter(|live| knowledge.record_counts(live, at));
        let failed = match knowledge.ask(key, site_name, now, at, record).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        match known.filter(|live| knowledge.may_serve(live)) {
            Some(live) => {
                self.served_known.add();
                Ok(Lookup::Live(live))
            }
            None => Err(failed),
        }
    }

    /// Whether a live record of the token was read a moment ago. It is not asked for, and may no longer count.
    pub fn knows(&self, site: SiteId, hash: &TokenHash) -> bool {
        self.knowledge.tokens.contains(&TokenKey { site, hash: *hash })
    }

    /// The next request with this token asks the store.
    pub fn forget_token(&self, site: SiteId, hash: &TokenHash) {
        let key = TokenKey { site, hash: *hash };
        self.knowledge.token_flights.forget(&key);
        self.knowledge.tokens.remove(&key);
    }

    /// Drops what nobody has asked for since the last time; to be called every [`Self::idle`].
    pub fn forget_idle(&self) {
        self.knowledge.tokens.forget_idle();
    }

    /// How long what is known of a token may be of use, at most.
    pub fn idle(&self) -> Duration {
        Duration::from_nanos(self.knowledge.review.max(self.knowledge.serve_known.unwrap_or_default()))
    }

    /// The next request with any token of the site, or of any client of it, asks the store.
    pub fn forget_site(&self, site: SiteId, name: &str) {
        self.knowledge.store.ledger().site(name).start_over();
        self.knowledge.token_flights.forget_all();
        self.knowledge.client_flights.forget_all();
        if let Some(clients) = self.knowledge.clients().of_site.get(&site) {
            clients.values().for_each(|client| client.vouched.store(NEVER, Ordering::Release));
        }
    }

    /// The next request with any token of this client asks the store about the client.
    pub fn forget_client(&self, site: SiteId, id: &str) {
        // First the look-ups under way, so that none of them vouches for the client again.
        self.knowledge.client_flights.forget(&(site, id.into()));
        if let Some(client) = self.knowledge.clients().of_site.get(&site).and_then(|clients| clients.get(id)) {
            client.vouched.store(NEVER, Ordering::Release);
        }
    }

    /// Tokens in the cache, about.
    pub fn len(&self) -> u64 {
        self.knowledge.tokens.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Look-ups that were answered from memory.
    pub fn hits(&self) -> u64 {
        self.hits.sum()
    }

    /// Look-ups for which the store was asked.
    pub fn misses(&self) -> u64 {
        self.misses.sum()
    }

    /// Tokens that were let through on what was known before the store was lost.
    pub fn served_known(&self) -> u64 {
        self.served_known.sum()
    }

    /// What is in front of which this cache stands.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.knowledge.store
    }
}

impl Knowledge {
    /// The store's answer to a request that came at `at`. `known` is a record that is young enough while its client is not.
    async fn ask(
        self: &Arc<Self>,
        key: TokenKey,
        site_name: &str,
        now: Timestamp,
        at: u64,
        known: Option<Arc<Live>>,
    ) -> Result<Lookup, StoreError> {
        // Before the store is asked, for while nothing that it says may be believed it need not be asked at all.
        self.store.ledger().vouch(site_name).await?;
        if let Some(live) = known
            && let Found::Live(client) = self.client(key.site, site_name, &live.record.client, at).await?
            && Arc::ptr_eq(&client, &live.client)
            && self.counts(&live, self.now())
        {
            return Ok(Lookup::Live(live));
        }
        for _ in 0..ATTEMPTS_MAX {
            let landed = self
                .token_flights
                .join(key, self.now().max(at), |ticket| Self::look_up_token(Arc::clone(self), ticket, key, site_name.to_owned(), now))
                .await?;
            match landed.answer {
                Found::Live(live) if !live.record.expired(now) => {
                    if self.counts(&live, self.now()) {
                        return Ok(Lookup::Live(live));
                    }
                }
                // Joined: what it did not find may have been put since. The next one is sent later than this request came.
                _ if landed.sent < at => {}
                Found::Live(_) => return Ok(Lookup::Unknown(Unknown::Expired)),
                // And after it: a no of a server that is no longer believed may be about a token that is stored.
                Found::Unknown(why) => return self.store.ledger().vouch(site_name).await.map(|()| Lookup::Unknown(why)),
            }
        }
        Err(StoreError(format!(
            "the store answers too slowly: {ATTEMPTS_MAX} answers in a row were older than the revocation bound of {} ms when they came",
            self.bound / 1_000_000
        )))
    }

    /// The look-up behind a miss.
    async fn look_up_token(
        self: Arc<Self>,
        ticket: Ticket<TokenKey, Found<Live>>,
        key: TokenKey,
        site_name: String,
        now: Timestamp,
    ) -> Result<Found<Live>, StoreError> {
        let (asked, site) = (ticket.sent(), self.store.ledger().site(&site_name));
        // Before anything is asked, so that whatever becomes known meanwhile is not missed.
        let judged = AtomicU64::new(site.generation());
        let Some(mut record) = self.store.token(&site_name, &key.hash).await? else {
            return Ok(Found::Unknown(Unknown::NoSuchToken));
        };
        let subjects =
            [Subject::Client(&record.client), Subject::User(&record.user), Subject::Grant(record.grant.as_deref().unwrap_or(""))];
        let subjects = if record.grant.is_some() { &subjects[..] } else { &subjects[..2] };
        let (mark, client) = tokio::join!(self.store.mark(&site_name, subjects), self.client(key.site, &site_name, &record.client, asked));
        if void(record.iat, mark?) {
            return Ok(Found::Unknown(Unknown::Revoked));
        }
        let client = match client? {
            Found::Live(client) => client,
            Found::Unknown(why) => return Ok(Found::Unknown(why)),
        };
        if record.iat.plus(CLOCK_SKEW) < client.client().created {
            return Ok(Found::Unknown(Unknown::OlderThanClient));
        }
        // One text for all tokens of a client.
        record.client = Arc::clone(&client.id);
        let live = Arc::new(Live { key, record, client, asked, judged });
        if !live.record.expired(now) {
            ticket.if_current(|| self.tokens.insert(Arc::clone(&live)));
        }
        Ok(Found::Live(live))
    }

    /// The client with this id, if it is enabled; asked again where what is known of it is too old at `at`.
    async fn client(self: &Arc<Self>, site: SiteId, site_name: &str, id: &Arc<str>, at: u64) -> Result<Found<LiveClient>, StoreError> {
        let known = self.clients().of_site.get(&site).and_then(|clients| clients.get(id)).cloned();
        let read = self.store.ledger().site(site_name).read_sent();
        if let Some(client) = known.filter(|client| self.vouched(client.vouched.load(Ordering::Acquire), at, read)) {
            return Ok(Found::Live(client));
        }
        let key = (site, Arc::clone(id));
        loop {
            let landed = self
                .client_flights
                .join(key.clone(), self.now().max(at), |ticket| {
                    Self::look_up_client(Arc::clone(self), ticket, site, site_name.to_owned(), Arc::clone(id))
                })
                .await?;
            // As with tokens: a no from before this request came is asked again, which happens once at most.
            if matches!(landed.answer, Found::Live(_)) || landed.sent >= at {
                return Ok(landed.answer);
            }
        }
    }

    async fn look_up_client(
        self: Arc<Self>,
        ticket: Ticket<ClientKey, Found<LiveClient>>,
        site: SiteId,
        site_name: String,
        id: Arc<str>,
    ) -> Result<Found<LiveClient>, StoreError> {
        let asked = ticket.sent();
        let client = self.store.client(&site_name, &id).await?;
        let mut clients = self.clients();
        match client {
            Some(client) if client.enabled => {
                let ledger = self.store.ledger().site(&site_name);
                // Where it was forgotten meanwhile this answer may be older than what is known: whoever waits for it asks again.
                let entered = ticket.if_current(|| {
                    let live = clients.enter(site, client.clone(), Arc::clone(&ledger));
                    live.vouched.store(asked, Ordering::Release);
                    live
                });
                Ok(Found::Live(entered.unwrap_or_else(|| Arc::new(LiveClient::new(client, ledger, 0)))))
            }
            refused => {
                if let Some(live) = clients.of_site.get(&site).and_then(|clients| clients.get(&id)) {
                    live.vouched.store(NEVER, Ordering::Release);
                }
                let why = if refused.is_some() { Unknown::ClientDisabled } else { Unknown::NoSuchClient };
                Ok(Found::Unknown(why))
            }
        }
    }

    /// Whether what is known of a token and its client may be decided on at `at`.
    fn counts(&self, live: &Live, at: u64) -> bool {
        // The older of the two answers decides; one that never came is the oldest.
        let asked = live.asked.min(live.client.vouched.load(Ordering::Acquire));
        self.vouched(asked, at, live.client.site.read_sent()) && live.stands()
    }

    /// The same of the token alone.
    fn record_counts(&self, live: &Live, at: u64) -> bool {
        self.vouched(live.asked, at, live.client.site.read_sent()) && live.stands()
    }

    /// Whether an answer asked for at `asked` may be used at `at`, if the last completed read of the log was sent at `read`.
    fn vouched(&self, asked: u64, at: u64, read: u64) -> bool {
        let age = at.saturating_sub(asked);
        if self.store.ledger().terms().is_none() {
            return asked != NEVER && age < self.bound;
        }
        asked != NEVER && age < self.review && read != NEVER && at.saturating_sub(read) < self.bound
    }

    /// Whether the follower has failed to read the log, and at `at` nothing counts that was known before.
    fn lost(&self, live: &Live, at: u64) -> bool {
        let site = &live.client.site;
        site.lost() && !site.fresh(at, self.bound)
    }

    /// Whether a token that the store cannot be asked about may be let through all the same.
    fn may_serve(&self, live: &Live) -> bool {
        let Some(serve_known) = self.serve_known else { return false };
        let read = live.client.site.read_sent();
        read != NEVER
            && self.now().saturating_sub(read) < serve_known
            && live.client.vouched.load(Ordering::Acquire) != NEVER
            && live.stands()
    }

    fn now(&self) -> u64 {
        self.store.ledger().now()
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        // Each change of the map is whole, whatever became of the thread that made it.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients that are remembered. Asked on misses only.
struct Clients {
    of_site: HashMap<SiteId, HashMap<Arc<str>, Arc<LiveClient>, RandomState>, RandomState>,
    count: usize,
    sweep_at: usize,
}

impl Clients {
    /// The one object of `client`, now as it was just read.
    fn enter(&mut self, site: SiteId, client: Client, ledger: Arc<SiteLedger>) -> Arc<LiveClient> {
        let clients = self.of_site.entry(site).or_default();
        let cell = match clients.get(&client.id) {
            Some(known) if known.client().created == client.created => {
                if **known.client() != client {
                    known.client.store(Arc::new(client));
                }
                return Arc::clone(known);
            }
            // Another client with an old id: the tokens of the old one must be judged anew, so it gets an object of its own. What was
            // counted goes with the id, or deleting and creating would be a way around a limit.
            Some(gone) => {
                gone.vouched.store(NEVER, Ordering::Release);
                gone.cell.load(Ordering::Relaxed)
            }
            None => 0,
        };
        let live = Arc::new(LiveClient::new(client, ledger, cell));
        if clients.insert(Arc::clone(&live.id), Arc::clone(&live)).is_none() {
            self.count += 1;
        }
        if self.count > self.sweep_at {
            self.sweep();
        }
        live
    }

    /// Drops the clients that no token holds.
    fn sweep(&mut self) {
        for clients in self.of_site.values_mut() {
            clients.retain(|_, client| Arc::strong_count(client) > 1);
        }
        self.count = self.of_site.values().map(HashMap::len).sum();
        self.sweep_at = IDLE_CLIENTS_MAX.max(self.count * 2);
    }
}

#[cfg(test)]
mod tests;
