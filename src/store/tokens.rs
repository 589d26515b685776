//! The tokens that the cache knows, in a bounded map that is built like the cache of a processor: many small sets, and a token may stand in
//! one of them only. The set is found by a hash that nobody outside can foretell, so no one picks whose place a token takes.
//!
//! A hit takes the lock of its set for as long as it takes to look through sixteen places, together with whoever else reads there; so
//! threads meet only where they ask for the same token at the same time, and there they would meet at its count of references anyway. It
//! marks the token as asked for, once between two rounds of [`Tokens::forget_idle`], and writes nothing else. Nothing is allocated, no
//! order of use is kept, and there is no work left for later.
//!
//! A newcomer to a full set takes the place of a token that was not asked for again (NRU, "not recently used"), so a flood of tokens that
//! are shown once pushes each other out, and not those in use. Sets fill unevenly: of as many tokens as there are places nine in ten stay.

use std::hash::{BuildHasher, Hash, Hasher};
use std::mem;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;

use crate::policy::token::TokenHash;
use crate::store::cached::SiteId;

/// Places of a set. More would fill more evenly and take longer to look through: sixteen are four cache lines.
const PLACES: usize = 16;

/// A token of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKey {
    pub site: SiteId,
    pub hash: TokenHash,
}

/// Eight bytes of a SHA-256 are as good as all; the map's own random state keeps whoever picks tokens from picking sets.
impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = *self.hash.as_bytes();
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        state.write_u32(self.site.0);
    }
}

/// What says itself which token it is about, so that the map need not keep the key a second time.
pub trait Keyed {
    fn key(&self) -> &TokenKey;
}

/// A bounded map of what is known of tokens.
pub struct Tokens<T> {
    sets: Box<[RwLock<Set<T>>]>,
    /// Of each set: [`PLACES`], or fewer where there is but one set.
    places: usize,
    /// Written on misses only.
    count: AtomicUsize,
    /// From where the next victim is looked for. It moves on with each, so that no place of a set is passed over for good.
    hand: AtomicUsize,
    random: RandomState,
}

/// Sixteen bytes for each place, and no memory before the first token comes.
type Set<T> = Vec<Place<T>>;

struct Place<T> {
    value: Arc<T>,
    /// Half of the key's hash: tells nearly all tokens apart without a look at them.
    tag: u32,
    standing: AtomicU8,
}

/// Not asked for since the last round: goes with the next one, and first where a place is needed.
const IDLE: u8 = 0;
/// Came since the last round.
const NEW: u8 = 1;
/// Asked for again since the last round.
const ASKED: u8 = 2;

/// Where a token may stand.
struct Spot<'s, T> {
    set: &'s RwLock<Set<T>>,
    tag: u32,
}

impl<T: Keyed> Tokens<T> {
    /// For `entries_max` tokens at most.
    pub fn new(entries_max: u64) -> Self {
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        // The set is found with 32 bits of the hash.
        let sets = (entries_max / PLACES).clamp(1, u32::MAX as usize);
        Self {
            sets: (0..sets).map(|_| RwLock::default()).collect(),
            places: entries_max.min(PLACES),
            count: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            random: RandomState::default(),
        }
    }

    /// What is known of the token, which now counts as asked for.
    pub fn get(&self, key: &TokenKey) -> Option<Arc<T>> {
        let Spot { set, tag } = self.spot(key);
        let set = read(set);
        let place = &set[find(&set, key, tag)?];
        // Read first: while the mark stands, threads share its memory without fighting over it.
        if place.standing() != ASKED {
            place.stand(ASKED);
        }
        Some(Arc::clone(&place.value))
    }

    /// Whether the token is known. It is not asked for.
    pub fn contains(&self, key: &TokenKey) -> bool {
        let Spot { set, tag } = self.spot(key);
        find(&read(set), key, tag).is_some()
    }

    /// Keeps `value` in the place of what is known of its token. Another token may have to go.
    pub fn insert(&self, value: Arc<T>) {
        let Spot { set, tag } = self.spot(value.key());
        let mut set = write(set);
        let known = find(&set, value.key(), tag);
        // One that is read again is in use.
        let standing = AtomicU8::new(if known.is_some() { ASKED } else { NEW });
        let place = Place { value, tag, standing };
        let gone = match known {
            Some(index) => mem::replace(&mut set[index], place),
            None if set.len() < self.places => {
                set.push(place);
                self.count.fetch_add(1, Ordering::Relaxed);
                return;
            }
            None => match victim(&set, self.hand.fetch_add(1, Ordering::Relaxed)) {
                Some(index) => mem::replace(&mut set[index], place),
                // Nothing is to be kept.
                None => place,
            },
        };
        // It may be the last reference, and freeing takes longer than all of the above.
        drop(set);
        drop(gone);
    }

    /// Whether there was one to remove. Nobody who asks from now on finds it.
    pub fn remove(&self, key: &TokenKey) -> bool {
        let Spot { set, tag } = self.spot(key);
        let mut set = write(set);
        let gone = find(&set, key, tag).map(|index| set.swap_remove(index));
        drop(set);
        self.left(usize::from(gone.is_some()));
        gone.is_some()
    }

    /// Removes the tokens of a site. Like everything below it goes through all sets, one by one: some ten milliseconds where a million
    /// tokens go. What comes meanwhile may stay.
    pub fn remove_site(&self, site: SiteId) {
        self.remove_where(|place| place.value.key().site == site);
    }

    /// Removes all tokens.
    pub fn clear(&self) {
        self.remove_where(|_| true);
    }

    /// Ends a round: removes what nobody asked for since the last one. To be called once in a while, by one task: a token then stays for
    /// one to two of these whiles after it was last asked for.
    pub fn forget_idle(&self) {
        self.remove_where(|place| {
            let standing = place.standing();
            if standing != IDLE {
                place.stand(IDLE);
            }
            standing == IDLE
        });
    }

    /// Tokens that are known.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remove_where(&self, goes: impl Fn(&Place<T>) -> bool) {
        for set in &self.sets {
            if read(set).is_empty() {
                continue;
            }
            let mut set = write(set);
            let gone: Vec<_> = set.extract_if(.., |place| goes(place)).collect();
            if set.len() * 4 <= set.capacity() {
                let twice = set.len() * 2;
                set.shrink_to(twice);
            }
            drop(set);
            self.left(gone.len());
        }
    }

    fn left(&self, count: usize) {
        if count > 0 {
            self.count.fetch_sub(count, Ordering::Relaxed);
        }
    }

    fn spot(&self, key: &TokenKey) -> Spot<'_, T> {
        let hash = self.random.hash_one(key);
        let (low, high) = (hash & u64::from(u32::MAX), hash >> 32);
        // Both are below 2^32, so the product's upper half is below the number of sets, and the tag fits.
        Spot { set: &self.sets[((low * self.sets.len() as u64) >> 32) as usize], tag: high as u32 }
    }
}

impl<T> Place<T> {
    fn standing(&self) -> u8 {
        self.standing.load(Ordering::Relaxed)
    }

    /// A mark that is lost between two threads costs a look-up at most.
    fn stand(&self, standing: u8) {
        self.standing.store(standing, Ordering::Relaxed);
    }
}

fn find<T: Keyed>(set: &[Place<T>], key: &TokenKey, tag: u32) -> Option<usize> {
    set.iter().position(|place| place.tag == tag && place.value.key() == key)
}

/// Whose place a newcomer takes: the first of those that are asked for least, from `hand` on. Where all were asked for, they have to be
/// asked for again. `None` where there is no place at all.
fn victim<T>(set: &[Place<T>], hand: usize) -> Option<usize> {
    let start = hand % set.len().max(1);
    let least = (start..set.len()).chain(0..start).min_by_key(|&index| set[index].standing())?;
    if set[least].standing() == ASKED {
        set.iter().for_each(|place| place.stand(NEW));
    }
    Some(least)
}

// Each change of a set is whole, whatever became of the thread that made it.

fn read<T>(set: &RwLock<Set<T>>) -> RwLockReadGuard<'_, Set<T>> {
    set.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(set: &RwLock<Set<T>>) -> RwLockWriteGuard<'_, Set<T>> {
    set.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
