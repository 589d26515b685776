//! Everything of one store into another, so that a site moves without anybody signing in again.
//!
//! What stands in the target is looked at first. A target that has been served from is not one to copy over: a refresh token that was spent
//! there would be whole again, and a token that was revoked there would live again. So whatever the source has not is refused, unless
//! the operator says what is to become of it, and nothing is written before that is settled.

use std::collections::HashMap;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::policy::token::TokenHash;
use crate::store::export::{Entry, PAGES_AHEAD, Pages, Tally, What, remove};
use crate::store::{Store, StoreError};

/// What becomes of what the target has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// The target has nothing that the source has not.
    #[default]
    Refuse,
    /// What only the target has stays. What both have is the same.
    Merge,
    /// The target is afterwards what the source is.
    Replace,
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    pub copied: Tally,
    /// There already.
    pub same: Tally,
    /// In the target only, and left there.
    pub kept: Tally,
    /// In the target only, and removed.
    pub removed: Tally,
    /// Not copied, because it lives for minutes only.
    pub left_out: Tally,
    /// Things in the source that this build does not know.
    pub unknown: u64,
}

/// Why there is no copy, or not all of one.
#[derive(Debug)]
pub enum CopyError<E> {
    Source(E),
    Target(StoreError),
    /// The target has what the source has not, or has it otherwise. Nothing was written.
    Occupied {
        only_there: Tally,
        otherwise: Tally,
    },
    /// The source changes while it is copied, so that what was held against the target does not count.
    Changing(String),
}

/// Copies what `source` puts into its pages, which is asked twice where the target is not empty. `progress` is told the number of entries
/// that have been written.
pub async fn copy<E>(
    source: impl AsyncFn(Pages) -> Result<u64, E>,
    target: &dyn Store,
    existing: Existing,
    mut progress: impl FnMut(u64),
) -> Result<Copied, CopyError<E>> {
    let source = async |pages| source(pages).await.map_err(CopyError::Source);
    let mut there = Known::of(target).await.map_err(CopyError::Target)?;
    let mut done = Copied::default();
    if !there.0.is_empty() {
        let otherwise = there.compare(&source).await?;
        let only_there = there.tally(|seen| !seen);
        let refused = match existing {
            Existing::Refuse => otherwise.total() + only_there.total() > 0,
            Existing::Merge => otherwise.total() > 0,
            Existing::Replace => false,
        };
        if refused {
            return Err(CopyError::Occupied { only_there, otherwise });
        }
        match existing {
            Existing::Replace => done.removed = there.remove_unseen(target).await.map_err(CopyError::Target)?,
            Existing::Refuse | Existing::Merge => done.kept = only_there,
        }
    }
    let mut written = 0;
    done.unknown = each(&source, async |page| {
        let mut new = Vec::with_capacity(page.len());
        for entry in page {
            if there.wants(&entry, existing, &mut done)? {
                new.push(entry);
            }
        }
        written += new.len() as u64;
        target.import(new).await.map_err(CopyError::Target)?;
        progress(written);
        Ok(())
    })
    .await?;
    Ok(done)
}

/// Runs `source` and `take` side by side, a few pages apart. Where `take` fails, the source ends, and that is what is told.
pub async fn each<E>(
    source: &impl AsyncFn(Pages) -> Result<u64, E>,
    mut take: impl AsyncFnMut(Vec<Entry>) -> Result<(), E>,
) -> Result<u64, E> {
    let (pages, mut coming) = mpsc::channel(PAGES_AHEAD);
    let taken = async move {
        while let Some(page) = coming.recv().await {
            take(page).await?;
        }
        Ok(())
    };
    let (sent, taken) = tokio::join!(source(pages), taken);
    taken.and(sent)
}

/// Half of a SHA-256: enough to tell the things of two stores apart that nobody made to collide.
type Digest = u128;

fn digest(bytes: &[u8]) -> Digest {
    let mut half = [0; 16];
    half.copy_from_slice(&TokenHash::of(bytes).as_bytes()[..16]);
    Digest::from_be_bytes(half)
}

/// What is in the target, by place: 48 bytes for each thing, whatever it is.
struct Known(HashMap<Digest, Thing>);

struct Thing {
    value: Digest,
    what: What,
    /// Whether the source has it.
    seen: bool,
    /// Whether it was counted as written or as there already. Redis may name a thing twice.
    counted: bool,
}

impl Thing {
    fn of(entry: &Entry) -> Result<Self, StoreError> {
        Ok(Self { value: digest(&entry.value()?), what: entry.what(), seen: false, counted: false })
    }
}

impl Known {
    async fn of(target: &dyn Store) -> Result<Self, StoreError> {
        let mut things = HashMap::new();
        each(&async |pages| target.export(pages).await, async |page| {
            for entry in page.iter().filter(|entry| !entry.what().passing()) {
                things.insert(digest(entry.place().as_bytes()), Thing::of(entry)?);
            }
            Ok::<_, StoreError>(())
        })
        .await?;
        Ok(Self(things))
    }

    /// Goes through the source once; gives what both have, but otherwise.
    async fn compare<E>(&mut self, source: &impl AsyncFn(Pages) -> Result<u64, CopyError<E>>) -> Result<Tally, CopyError<E>> {
        let mut otherwise = Tally::default();
        each(source, async |page| {
            for entry in &page {
                let Some(thing) = self.0.get_mut(&digest(entry.place().as_bytes())) else { continue };
                if !thing.seen && thing.value != digest(&entry.value().map_err(CopyError::Target)?) {
                    otherwise.add(thing.what);
                }
                thing.seen = true;
            }
            Ok(())
        })
        .await?;
        Ok(otherwise)
    }

    fn tally(&self, which: impl Fn(bool) -> bool) -> Tally {
        let mut tally = Tally::default();
        for thing in self.0.values().filter(|thing| which(thing.seen)) {
            tally.add(thing.what);
        }
        tally
    }

    /// Removes what the source has not. Marks stay: they end what was issued before them, and nothing lives by their absence.
    async fn remove_unseen(&mut self, target: &dyn Store) -> Result<Tally, StoreError> {
        let mut removed = Tally::default();
        each(&async |pages| target.export(pages).await, async |page| {
            for entry in page.iter().filter(|entry| entry.what() != What::Marks) {
                let place = digest(entry.place().as_bytes());
                // What passes by itself was not looked at, and goes as well: a sign-in in the target is no sign-in in the source.
                if self.0.get(&place).is_some_and(|thing| thing.seen) {
                    continue;
                }
                remove(target, entry).await?;
                self.0.remove(&place);
                removed.add(entry.what());
            }
            Ok::<_, StoreError>(())
        })
        .await?;
        Ok(removed)
    }

    /// Whether an entry is to be written; counts it.
    fn wants<E>(&mut self, entry: &Entry, existing: Existing, done: &mut Copied) -> Result<bool, CopyError<E>> {
        let (what, place) = (entry.what(), digest(entry.place().as_bytes()));
        if what.passing() {
            done.left_out.add(what);
            return Ok(false);
        }
        let fresh = Thing::of(entry).map_err(CopyError::Target)?;
        match self.0.get_mut(&place) {
            Some(thing) if thing.value == fresh.value => {
                if !thing.counted {
                    done.same.add(what);
                }
                thing.counted = true;
                // Which of two marks is the later is for the store to find out.
                Ok(what == What::Marks)
            }
            Some(thing) if existing == Existing::Replace || thing.counted => {
                if !thing.counted {
                    done.copied.add(what);
                }
                *thing = Thing { seen: true, counted: true, ..fresh };
                Ok(true)
            }
            Some(_) => Err(CopyError::Changing(entry.name())),
            None => {
                done.copied.add(what);
                self.0.insert(place, Thing { seen: true, counted: true, ..fresh });
                Ok(true)
            }
        }
    }
}
