//! The model test: gateways issue, use, revoke, disable, rotate, are restarted, lose the store and find it in the past, in random order; and
//! after each step a yes is held against what was taken back, and a no against what was issued (`state`).
//!
//! Nothing here waits: each round of a follower is a step of its own, so that a gateway lags for as long as the order of steps has it. It may
//! say yes to what another revoked until its next read is complete, and to what it revoked itself, never again. An error is an answer only
//! where the store was broken for it, or no log was read yet.
//!
//! A run is known by its seed, which a failure prints together with its steps: `SCOPEGATE_SEED=<seed>` runs it alone, and
//! `SCOPEGATE_RUNS=<number>` makes it that many runs of each kind.

mod gateway;
mod state;
mod world;

use std::cell::RefCell;
use std::env;
use std::time::SystemTime;

use crate::store::cached::Lookup;
use crate::store::kept::RevocationStore;
use crate::store::redis_server::RedisServer;
use crate::store::{ClientStore, TokenStore};

use self::world::{Place, World};
use super::super::*;

const SITE: SiteId = SiteId(5);

/// Steps of a run.
const STEPS: usize = 60;

#[test]
fn an_embedded_store_that_is_asked_each_time_says_what_the_model_says() {
    runs(300, |random| World::new(random, Place::file(false), 1));
}

#[test]
fn a_followed_embedded_store_lets_through_what_the_model_lets_through() {
    runs(500, |random| World::new(random, Place::file(true), 1));
}

#[test]
fn gateways_on_one_redis_let_through_what_the_model_lets_through() {
    let server = RefCell::new(RedisServer::start());
    runs(800, |random| World::new(random, Place::Redis { server: &server, killed: false }, 2));
}

#[test]
fn gateways_on_a_redis_that_is_killed_let_through_what_the_model_lets_through() {
    let server = RefCell::new(RedisServer::start());
    runs(20, |random| World::new(random, Place::Redis { server: &server, killed: true }, 3));
}

fn runs<'s, F: Future<Output = World<'s>>>(count: u64, world: impl Fn(Random) -> F) {
    let said = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")));
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let base = Random(clock).next() >> 16;
    let seeds = said("SCOPEGATE_SEED").map_or(base..base + said("SCOPEGATE_RUNS").unwrap_or(count), |seed| seed..seed + 1);
    println!("seeds {seeds:?}");
    for seed in seeds {
        // One thread, so that a seed means one order of steps.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = world(Random(seed)).await;
            world.seed = seed;
            for _ in 0..STEPS {
                world.step().await;
            }
            world.finish().await;
        });
    }
}

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}
