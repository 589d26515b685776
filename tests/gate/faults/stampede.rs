//! When the store comes back, the gates ask it for what they need once, not once for every request that waits for it.

use std::time::{Duration, Instant};

use crate::support::eventually;

use super::BOUND;
use super::fleet::BOTH;
use super::scene::{PLAIN, Scene};
use super::servers::{Data, Servers, Single};

const TOKENS: usize = 5;

/// Requests a second to each gate: far more than there are tokens.
const RATE: u32 = 200;

/// What a gate may ask of the store for each token in a second: its record, its marks and its client, and all of it once more because the
/// bound was over.
const FOR_A_TOKEN: u64 = 8;

/// What it may ask besides: connections made, signs of life, the log of the site read several times a second.
const BESIDES: u64 = 40;

#[test]
fn a_store_that_comes_back_is_not_overrun() {
    let mut scene = Scene::bare(Single::start(), "", BOUND, RATE);
    for number in 0..TOKENS {
        scene.issue(&format!("live-{number}"), PLAIN, "user@example.test", None);
    }
    scene.settles();
    scene.loses(&BOTH, Servers::kill);
    scene.is_refused(&BOTH);
    scene.restarts(Data::Kept);
    let back = Instant::now();
    scene.recovers();
    let second = Duration::from_secs(1);
    // The second that counts begins when the first gate finds the store.
    eventually("a second passes", || back.elapsed() >= second);
    let calls = scene.fleet.servers.redis.calls();
    let (asked, took) = (calls.values().sum::<u64>(), back.elapsed());
    let gates = 2;
    let seconds = took.as_secs() + 1;
    let most = seconds * gates * (TOKENS as u64 * FOR_A_TOKEN + BESIDES);
    assert!(asked <= most, "{asked} commands within {took:?}, and {most} are enough: {calls:?}");
    scene.ends();
}
