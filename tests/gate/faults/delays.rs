//! The store is late: a little, which is no reason to refuse anything, and so much that nothing can be known in time.

use std::time::Duration;

use super::fleet::{A, B, BOTH};
use super::scene::Scene;
use super::servers::Single;

/// A look-up is several times there and back.
const LITTLE: Duration = Duration::from_millis(30);
const MUCH: Duration = Duration::from_secs(2);

#[test]
fn a_store_that_is_a_little_late_is_served_from_and_obeyed() {
    let mut scene = Scene::begin(Single::start());
    slow(&scene, LITTLE);
    scene.settles();
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0) && scene.revoke_grant(A, 0));
    assert!(scene.rotate(A) && scene.disable(B));
    scene.settles();
    assert!(scene.enable(A) && scene.delete(B) && scene.revoke(B, "single-1"));
    scene.settles();
    scene.fleet.servers.proxies.iter().for_each(|proxy| proxy.heal());
    scene.settles();
    scene.ends();
}

#[test]
fn a_store_that_is_too_late_lets_nobody_in() {
    let mut scene = Scene::begin(Single::start());
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0));
    scene.loses(&BOTH, |servers| servers.proxies.iter().for_each(|proxy| proxy.slow(MUCH)));
    assert!(!scene.revoke(B, "single-1"), "it was not done in time");
    scene.is_refused(&BOTH);
    scene.lasts(2 * MUCH);
    scene.heals(|servers| servers.proxies.iter().for_each(|proxy| proxy.heal()));
    scene.recovers();
    assert!(scene.revoke_leaver(A, 1) && scene.revoke(A, "single-2"));
    scene.settles();
    scene.ends();
}

fn slow(scene: &Scene<Single>, each_way: Duration) {
    scene.fleet.servers.proxies.iter().for_each(|proxy| proxy.slow(each_way));
}
