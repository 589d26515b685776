//! Single flight: many callers who miss the same key at once make one look-up.
//!
//! The cache's own single flight is not used, for three reasons. Its look-up lives in one caller's future, and a waiter that sees 200
//! callers in a row go away panics, which anyone with one slow moment of the store and 200 connections could bring about. It cannot be told
//! that a key was forgotten while its look-up was under way, so it would keep an answer from before a revocation. And it does not say when
//! a look-up was sent, so one who joins it cannot know whether "there is none" is older than the token it asks for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::store::StoreError;

/// The look-ups that are under way.
pub struct Flights<K, V>(Arc<Mutex<Open<K, V>>>);

struct Open<K, V> {
    flights: HashMap<K, Flight<V>, RandomState>,
    /// Counts flights, so that one that was forgotten is not taken for a later one of the same key.
    last: u64,
}

struct Flight<V> {
    number: u64,
    sent: u64,
    landing: watch::Receiver<Option<Result<V, StoreError>>>,
}

/// An answer, and when its look-up was sent: what happened in the store later than that, it need not show.
#[derive(Clone)]
pub struct Landed<V> {
    pub sent: u64,
    pub answer: V,
}

/// A look-up's hold on its own flight, which ends when the ticket is dropped: with the look-up, or with the runtime that ran it.
pub struct Ticket<K: Eq + Hash, V> {
    key: K,
    number: u64,
    sent: u64,
    flights: Flights<K, V>,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Open { flights: HashMap::with_hasher(RandomState::default()), last: 0 })))
    }

    /// Waits for the look-up of `key` that is under way, or starts one with `look_up`, which counts as sent at `now`. It goes on where
    /// its callers go away, on the runtime of the first of them, and ends within the store's own time limit.
    pub async fn join<F, Fut>(&self, key: K, now: u64, look_up: F) -> Result<Landed<V>, StoreError>
    where
        F: FnOnce(Ticket<K, V>) -> Fut,
        Fut: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let (sent, mut landing) = self.board(key, now, look_up);
        match landing.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(answer))) => Ok(Landed { sent, answer: answer.clone() }),
            Ok(Some(Err(error))) => Err(error.clone()),
            Ok(None) | Err(_) => Err(StoreError("the look-up was given up: the gate is shutting down".to_owned())),
        }
    }

    /// Starts the look-up of `key`, unless one is under way, and leaves it to itself.
    pub fn launch<F, Fut>(&self, key: K, now: u64, look_up: F)
    where
        F: FnOnce(Ticket<K, V>) -> Fut,
        Fut: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let _ = self.board(key, now, look_up);
    }

    fn board<F, Fut>(&self, key: K, now: u64, look_up: F) -> (u64, watch::Receiver<Option<Result<V, StoreError>>>)
    where
        F: FnOnce(Ticket<K, V>) -> Fut,
        Fut: Future<Output = Result<V, StoreError>> + Send + 'static,
    {
        let mut open = self.lock();
        if let Some(flight) = open.flights.get(&key) {
            return (flight.sent, flight.landing.clone());
        }
        open.last += 1;
        let number = open.last;
        let (land, landing) = watch::channel(None);
        open.flights.insert(key.clone(), Flight { number, sent: now, landing: landing.clone() });
        drop(open);
        let look_up = look_up(Ticket { key, number, sent: now, flights: self.clone() });
        tokio::spawn(async move {
            let answer = look_up.await;
            land.send_replace(Some(answer));
        });
        (now, landing)
    }

    /// Disowns the look-up of `key` that is under way: whoever asks from now on makes another.
    pub fn forget(&self, key: &K) {
        self.lock().flights.remove(key);
    }

    /// The same for every look-up that is under way.
    pub fn forget_all(&self) {
        self.lock().flights.clear();
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, Open<K, V>> {
        // No code that can panic runs under this lock, and each change of the map is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash, V> Ticket<K, V> {
    /// When the look-up counts as sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Runs `keep` where the key was not forgotten since the look-up was sent, and while nobody can forget it.
    pub fn if_current<T>(&self, keep: impl FnOnce() -> T) -> Option<T> {
        let open = self.flights.lock();
        open.flights.get(&self.key).filter(|flight| flight.number == self.number).map(|_| keep())
    }
}

impl<K: Eq + Hash, V> Drop for Ticket<K, V> {
    fn drop(&mut self) {
        let mut open = self.flights.lock();
        if open.flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            open.flights.remove(&self.key);
        }
    }
}
