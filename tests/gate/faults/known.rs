//! `serve_known`: tokens that a gate knows go on for a time without the store, and not longer.

use std::time::{Duration, Instant};

use super::BOUND;
use super::fleet::{A, B, BOTH};
use super::load::Answer;
use super::scene::Scene;
use super::servers::{Data, Servers, Single};

const KNOWN: Duration = Duration::from_secs(3);

/// Before the end of that time it may be over: it runs from the last thing that the gate heard.
const EARLIER: Duration = Duration::from_secs(1);

#[test]
fn known_tokens_go_on_for_as_long_as_was_chosen() {
    known(Single::start());
}

fn known(servers: impl Servers) {
    let mut scene = Scene::with(servers, "serve_known = \"3s\"", KNOWN);
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0) && scene.rotate(A) && scene.disable(B));
    // Both gates know of that. What is revoked later, one that is cut off need not know before the time is over.
    scene.settles();
    scene.loses(&BOTH, Servers::kill);
    let lost = Instant::now();
    scene.lasts(KNOWN);
    scene.is_refused(&BOTH);
    scene.restarts(Data::Kept);
    scene.recovers();
    assert!(scene.enable(A) && scene.revoke(B, "single-1"));
    scene.settles();
    let live = scene.numbers("live-");
    let answers = scene.ends();
    let (from, until) = (lost + BOUND, lost + KNOWN - EARLIER);
    for gate in BOTH {
        for &token in &live {
            let of_it = |answer: &&Answer| (answer.token, answer.gate) == (token, gate);
            let within = |answer: &&Answer| answer.sent > from && answer.came < until;
            let statuses: Vec<u16> = answers.iter().filter(of_it).filter(within).map(|answer| answer.status).collect();
            assert!(!statuses.is_empty() && statuses.iter().all(|&status| status == 200), "token {token} at gate {gate}: {statuses:?}");
        }
    }
}
