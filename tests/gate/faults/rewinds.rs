//! The store comes back with what it had before some revocations: nothing that was revoked lives again.

use std::time::{Duration, Instant};

use crate::support::eventually;

use super::BOUND;
use super::fleet::{A, B, BOTH};
use super::scene::{PLAIN, Scene, leaver};
use super::servers::{Data, Servers, Single};

#[test]
fn an_old_snapshot_revives_nothing() {
    rewound(Single::start());
}

#[test]
fn an_old_snapshot_revives_nothing_that_one_gate_alone_knew_of() {
    half_known(Single::start());
}

/// The gate that knows finds the store a little later than the other, which has to wait for it.
#[test]
fn an_old_snapshot_revives_nothing_that_only_the_later_gate_knew_of() {
    const LATER: Duration = Duration::from_millis(200);
    let mut scene = Scene::begin(Single::start());
    scene.saves(Servers::save);
    assert!(scene.disable(A) && scene.delete(A) && scene.revoke_leaver(A, 0) && scene.revoke(A, "single-0") && scene.revoke_grant(A, 0));
    scene.loses(&BOTH, |servers| servers.proxies.iter().for_each(|proxy| proxy.cut()));
    // Long enough for both to try only now and then.
    scene.lasts(3 * BOUND);
    scene.comes_back(Data::Saved, |servers| {
        servers.kill();
        servers.restart(Data::Saved);
        servers.proxies[B].heal();
        let healed = Instant::now();
        eventually("the other is healed later", || healed.elapsed() >= LATER);
        servers.proxies[A].heal();
    });
    scene.recovers();
    scene.goes_on(2 * BOUND);
    scene.ends();
}

#[test]
fn old_data_without_a_restart_revives_nothing() {
    let mut scene = Scene::begin(Single::start());
    let old = scene.saves(|servers| servers.redis.contents());
    scene.issue("late", PLAIN, "late@example.test", None);
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(A, 0) && scene.revoke_grant(B, 0));
    assert!(scene.rotate(B) && scene.disable(A) && scene.delete(B));
    scene.settles();
    // These have been read by one gate alone, which made them.
    assert!(scene.revoke(A, "single-1") && scene.revoke(B, "single-2") && scene.revoke_leaver(A, 1) && scene.revoke_grant(B, 1));
    scene.becomes(Data::Saved, |servers| servers.redis.replace(&old));
    scene.recovers();
    scene.goes_on(2 * BOUND);
    assert!(scene.enable(B));
    scene.settles();
    scene.ends();
}

/// Every kind of revocation, read by both gates before the store was lost.
pub fn rewound(servers: impl Servers) {
    let mut scene = Scene::begin(servers);
    scene.saves(Servers::save);
    // The snapshot does not have it.
    scene.issue("late", PLAIN, "late@example.test", None);
    assert!(scene.revoke(A, "single-0") && scene.revoke(B, "single-1") && scene.revoke_leaver(A, 0) && scene.revoke_leaver(B, 1));
    assert!(scene.revoke_grant(A, 0) && scene.revoke_grant(B, 1) && scene.rotate(A) && scene.disable(B) && scene.delete(A));
    scene.settles();
    scene.loses(&BOTH, Servers::kill);
    scene.is_refused(&BOTH);
    scene.restarts(Data::Saved);
    scene.recovers();
    scene.goes_on(2 * BOUND);
    // What was disabled then can be enabled now, and what is revoked now is.
    assert!(scene.enable(A) && scene.revoke(B, "single-2") && scene.revoke_leaver(A, 2));
    scene.issue("returned", PLAIN, &leaver(0), None);
    scene.settles();
    scene.ends();
}

/// Each revocation is made through one gate in the moment before the store is lost, so that the other has not read of it.
pub fn half_known(servers: impl Servers) {
    let mut scene = Scene::begin(servers);
    scene.saves(Servers::save);
    assert!(scene.disable(A) && scene.rotate(B) && scene.delete(B) && scene.revoke(B, "single-1") && scene.revoke_leaver(B, 1));
    assert!(scene.revoke(A, "single-0") && scene.revoke_grant(A, 0) && scene.revoke_leaver(A, 0));
    scene.loses(&BOTH, Servers::kill);
    scene.restarts(Data::Saved);
    scene.recovers();
    scene.goes_on(2 * BOUND);
    assert!(scene.enable(B));
    scene.settles();
    scene.ends();
}
