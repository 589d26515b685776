//! When the store comes back, the gates ask it for what they need once, not once for every request that waits for it.

use std::time::{Duration, Instant};

use crate::support::eventually;

use super::BOUND;
use super::fleet::BOTH;
use super::scene::{PLAIN, Scene};
use super::servers::{Data, Servers, Single};

const TOKENS: u64 = 5;

/// Requests a second to each gate: far more than may be asked of the store.
const RATE: u32 = 200;

/// Commands with which a gate asks for each token in a second: its record, its marks and its client, and some of it once more because the
/// bound was over.
const FOR_A_TOKEN: u64 = 6;

/// Commands besides: connections made, signs of life, and the log of the site, read several times a second.
const BESIDES: u64 = 40;

const SECOND: Duration = Duration::from_secs(1);

/// Time enough to find the store, to trust it, and to be back at what is usual.
const WATCHED: Duration = Duration::from_secs(4);

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

    let (back, mut connection) = (Instant::now(), scene.fleet.servers.redis.connection());
    let mut looks = vec![(back, 0)];
    eventually("the store was watched", || {
        looks.push((Instant::now(), commands(&mut connection)));
        back.elapsed() >= WATCHED
    });
    scene.recovers();
    let gates = BOTH.len() as u64;
    let most = gates * (TOKENS * FOR_A_TOKEN + BESIDES);
    assert!(most < gates * u64::from(RATE), "one command for each request would be few enough");
    let seconds = looks.iter().filter_map(|&(from, before)| {
        let (until, after) = *looks.iter().find(|(until, _)| *until >= from + SECOND)?;
        Some((after - before, from - back, until - back))
    });
    let (asked, from, until) = seconds.max().expect("it was watched for seconds");
    eprintln!("at most {asked} commands in a second, from {from:?} to {until:?} after the store came back");
    assert!(asked <= most, "{asked} commands from {from:?} to {until:?} after the store came back; {most} are enough");
    scene.ends();
}

/// How many commands the server was given since it started, these questions left out.
fn commands(connection: &mut redis::Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(connection).expect("redis-server answers");
    let calls = |line: &str| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        figures.split(',').next()?.parse::<u64>().ok().filter(|_| name != "info")
    };
    info.lines().filter_map(calls).sum()
}
