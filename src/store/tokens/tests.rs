//! The map of known tokens, against a plain one and under many threads.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::thread;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::*;

#[derive(Debug)]
struct Known {
    key: TokenKey,
    version: u64,
}

impl Keyed for Known {
    fn key(&self) -> &TokenKey {
        &self.key
    }
}

fn key(number: u32) -> TokenKey {
    of_site(1, number)
}

fn of_site(site: u32, number: u32) -> TokenKey {
    TokenKey { site: SiteId(site), hash: TokenHash::of(&number.to_ne_bytes()) }
}

fn known(key: TokenKey, version: u64) -> Arc<Known> {
    Arc::new(Known { key, version })
}

fn filled(entries_max: u64, numbers: std::ops::Range<u32>) -> Tokens<Known> {
    let tokens = Tokens::new(entries_max);
    for number in numbers {
        tokens.insert(known(key(number), 0));
    }
    tokens
}

fn version(tokens: &Tokens<Known>, key: &TokenKey) -> Option<u64> {
    tokens.get(key).map(|known| known.version)
}

/// What really stands in the sets.
fn counted<T>(tokens: &Tokens<T>) -> usize {
    tokens.sets.iter().map(|set| read(set).len()).sum()
}

#[test]
fn what_was_kept_last_is_found_until_it_is_removed() {
    let tokens = filled(1000, 0..3);
    assert_eq!(version(&tokens, &key(1)), Some(0));
    tokens.insert(known(key(1), 7));
    assert_eq!((version(&tokens, &key(1)), tokens.len()), (Some(7), 3));
    assert!(tokens.remove(&key(1)));
    assert!(!tokens.remove(&key(1)));
    assert_eq!((version(&tokens, &key(1)), tokens.contains(&key(1)), tokens.len()), (None, false, 2));
    assert_eq!((version(&tokens, &key(0)), version(&tokens, &key(2)), version(&tokens, &key(3))), (Some(0), Some(0), None));
}

#[test]
fn a_site_has_tokens_of_its_own() {
    let tokens = filled(1000, 0..50);
    assert_eq!(version(&tokens, &of_site(2, 1)), None);
    for number in 0..50 {
        tokens.insert(known(of_site(2, number), 2));
    }
    assert_eq!((version(&tokens, &key(1)), version(&tokens, &of_site(2, 1)), tokens.len()), (Some(0), Some(2), 100));
    tokens.remove_site(SiteId(1));
    assert_eq!((version(&tokens, &key(1)), version(&tokens, &of_site(2, 1)), tokens.len()), (None, Some(2), 50));
    tokens.clear();
    assert_eq!((version(&tokens, &of_site(2, 1)), tokens.len(), counted(&tokens)), (None, 0, 0));
}

#[test]
fn two_tokens_of_one_tag_are_told_apart() {
    let place = |number| Place { value: known(key(number), u64::from(number)), tag: 5, standing: AtomicU8::new(NEW) };
    let set = [place(1), place(2)];
    assert_eq!([1, 2, 3].map(|number| find(&set, &key(number), 5)), [Some(0), Some(1), None]);
    assert_eq!(find(&set, &key(1), 6), None);
}

#[test]
fn no_more_are_kept_than_may_be() {
    for entries_max in [0, 1, 10, 15, 16, 17, 100, 1000] {
        let tokens = filled(entries_max, 0..5000);
        assert!(tokens.len() as u64 <= entries_max, "{} of {entries_max}", tokens.len());
        assert_eq!(tokens.len(), counted(&tokens));
        // The last one is there, wherever there is room for any.
        assert_eq!(version(&tokens, &key(4999)).is_some(), entries_max > 0, "{entries_max}");
    }
}

#[test]
fn of_as_many_tokens_as_there_are_places_nine_in_ten_stay() {
    let tokens = filled(100_000, 0..100_000);
    assert!((88_000..92_000).contains(&tokens.len()), "{}", tokens.len());
    let tokens = filled(100_000, 0..50_000);
    assert!(tokens.len() > 49_800, "{}", tokens.len());
}

#[test]
fn tokens_in_use_outlast_a_flood_of_tokens_that_are_shown_once() {
    // One place in eight is of a token in use; a set of sixteen such tokens is rarer than one in a million.
    let tokens = filled(16_000, 0..2000);
    let mut missed = 0;
    for round in 1..=20 {
        for number in 0..2000 {
            missed += usize::from(tokens.get(&key(number)).is_none());
        }
        for number in 0..20_000 {
            tokens.insert(known(key(round * 1_000_000 + number), 0));
        }
    }
    assert_eq!(missed, 0);
}

#[test]
fn tokens_that_were_in_use_make_room_for_those_that_are() {
    let tokens = filled(16, 0..16);
    let in_use =
        |tokens: &Tokens<Known>, numbers: std::ops::Range<u32>| numbers.filter(|&number| tokens.get(&key(number)).is_some()).count();
    assert_eq!(in_use(&tokens, 0..16), 16);
    // Nobody asks for the first sixteen again, and no round ends: the others still come in, and stay.
    for _ in 0..16 {
        for number in 100..116 {
            if tokens.get(&key(number)).is_none() {
                tokens.insert(known(key(number), 0));
            }
        }
    }
    assert_eq!(in_use(&tokens, 100..116), 16);
}

#[test]
fn what_nobody_asks_for_goes_after_one_to_two_rounds() {
    let tokens = filled(1000, 0..30);
    tokens.forget_idle();
    assert_eq!(tokens.len(), 30, "they came in this round");
    for number in 0..10 {
        assert!(tokens.get(&key(number)).is_some());
    }
    for number in 10..20 {
        assert!(tokens.contains(&key(number)), "this does not count as asking");
    }
    tokens.insert(known(key(29), 1));
    tokens.forget_idle();
    let left = |tokens: &Tokens<Known>| (0..30).filter(|&number| tokens.contains(&key(number))).collect::<Vec<_>>();
    assert_eq!(left(&tokens), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 29]);
    tokens.forget_idle();
    assert_eq!((left(&tokens), tokens.len(), counted(&tokens)), (Vec::new(), 0, 0));
    assert!(tokens.sets.iter().all(|set| read(set).capacity() == 0), "empty sets take no memory");
}

#[test]
fn what_goes_is_given_back_at_once() {
    let tokens = Tokens::new(16);
    let all: Vec<_> = (0..4).map(|number| known(key(number), 0)).collect();
    all.iter().for_each(|value| tokens.insert(value.clone()));
    let held = || all.iter().map(Arc::strong_count).collect::<Vec<_>>();
    assert_eq!(held(), [2, 2, 2, 2]);
    tokens.remove(&key(0));
    tokens.insert(known(key(1), 1));
    assert_eq!(held(), [1, 1, 2, 2]);
    tokens.remove_site(SiteId(1));
    assert_eq!(held(), [1, 1, 1, 1]);
}

/// One thread puts and removes in turn and says how far it is; the others must never find what is older than what they were told.
#[test]
fn nobody_finds_what_was_replaced_or_removed_before() {
    const STEPS: u64 = 200_000;
    let (tokens, done) = (Tokens::new(64), AtomicU64::new(0));
    thread::scope(|scope| {
        let reader = || {
            loop {
                let told = done.load(Ordering::Acquire);
                if told == STEPS {
                    return;
                }
                if let Some(version) = version(&tokens, &key(1)) {
                    // Version n stands from before step n is said to be done until step n + 1, which removes it.
                    assert!(version >= told, "{version} was gone at {told}");
                }
            }
        };
        scope.spawn(reader);
        scope.spawn(reader);
        for step in 1..=STEPS {
            if step % 2 == 0 {
                assert!(tokens.remove(&key(1)));
            } else {
                tokens.insert(known(key(1), step));
            }
            done.store(step, Ordering::Release);
        }
    });
    assert_eq!((tokens.len(), counted(&tokens)), (0, 0));
}

#[test]
fn the_count_holds_whatever_threads_do_at_once() {
    let tokens = Tokens::new(500);
    thread::scope(|scope| {
        for thread in 0..4 {
            let tokens = &tokens;
            scope.spawn(move || {
                for step in 0..20_000_u32 {
                    let key = key(step.wrapping_mul(2_654_435_761) % 1000);
                    match (step + thread) % 7 {
                        0 => drop(tokens.remove(&key)),
                        1..=3 => tokens.insert(known(key, 0)),
                        _ => assert!(tokens.get(&key).is_none_or(|found| found.key == key)),
                    }
                    if step % 5000 == 0 {
                        tokens.forget_idle();
                    }
                }
            });
        }
    });
    assert_eq!(tokens.len(), counted(&tokens));
    assert!(tokens.len() <= 500);
}

#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Insert(u32, u64),
    Remove(u32),
    RemoveSite(u32),
    Clear,
    ForgetIdle,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0_u32..120;
    prop_oneof![
        6 => number().prop_map(Step::Get),
        6 => (number(), any::<u64>()).prop_map(|(number, version)| Step::Insert(number, version)),
        2 => number().prop_map(Step::Remove),
        1 => (0_u32..2).prop_map(Step::RemoveSite),
        1 => proptest::strategy::Just(Step::Clear),
        1 => proptest::strategy::Just(Step::ForgetIdle),
    ]
}

proptest! {
    /// It may forget, but never finds anything other than what was kept last and not removed.
    #[test]
    fn it_knows_nothing_that_a_plain_map_does_not(entries_max in 0_u64..200, steps in proptest::collection::vec(step(), 0..400)) {
        let place = |number: u32| of_site(number % 2, number);
        let (tokens, mut model) = (Tokens::new(entries_max), HashMap::new());
        for step in steps {
            match step {
                Step::Get(number) => {
                    if let Some(version) = version(&tokens, &place(number)) {
                        assert_eq!(model.get(&number), Some(&version));
                    }
                }
                Step::Insert(number, version) => {
                    tokens.insert(known(place(number), version));
                    model.insert(number, version);
                    assert_eq!(tokens.contains(&place(number)), entries_max > 0);
                }
                Step::Remove(number) => {
                    assert!(!tokens.remove(&place(number)) || model.contains_key(&number));
                    model.remove(&number);
                }
                Step::RemoveSite(site) => {
                    tokens.remove_site(SiteId(site));
                    model.retain(|number, _| number % 2 != site);
                }
                Step::Clear => {
                    tokens.clear();
                    model.clear();
                }
                Step::ForgetIdle => tokens.forget_idle(),
            }
            assert_eq!(tokens.len(), counted(&tokens));
            assert!(tokens.len() as u64 <= entries_max && tokens.len() <= model.len());
        }
    }
}
