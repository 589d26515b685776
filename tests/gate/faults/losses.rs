//! The store is killed, emptied, stopped, or cut off from one gate or both.

use std::time::Duration;

use crate::support::redis::Contents;

use super::BOUND;
use super::fleet::{A, B, BOTH};
use super::scene::{PLAIN, Scene};
use super::servers::{Data, Servers, Single};

#[test]
fn a_killed_redis_that_comes_back_with_its_data() {
    killed(Single::start());
}

#[test]
fn a_killed_redis_that_comes_back_empty() {
    emptied(Single::start());
}

#[test]
fn a_stopped_redis() {
    stopped(Single::start());
}

pub fn killed(servers: impl Servers) {
    let mut scene = Scene::begin(servers);
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(B, 0) && scene.revoke_grant(A, 0));
    assert!(scene.rotate(A) && scene.disable(B));
    scene.settles();
    // A moment before the end: what was acknowledged holds.
    assert!(scene.revoke(B, "single-1") && scene.revoke_leaver(A, 1) && scene.revoke_grant(B, 1));
    scene.loses(&BOTH, Servers::kill);
    assert!(!scene.revoke(A, "single-2") && !scene.revoke_leaver(B, 2) && !scene.revoke_grant(A, 2), "nobody can acknowledge this");
    scene.is_refused(&BOTH);
    scene.lasts(2 * BOUND);
    scene.restarts(Data::Kept);
    scene.recovers();
    assert!(scene.enable(A) && scene.delete(B) && scene.revoke(A, "single-3"));
    scene.settles();
    scene.ends();
}

fn emptied(servers: impl Servers) {
    let mut scene = Scene::begin(servers);
    assert!(scene.revoke(B, "single-0") && scene.revoke_leaver(A, 0));
    scene.loses(&BOTH, Servers::kill);
    scene.is_refused(&BOTH);
    scene.lasts(2 * BOUND);
    scene.restarts(Data::Lost);
    scene.recovers();
    // It goes on from there, with what is made anew.
    scene.register(PLAIN);
    for name in ["new-0", "new-1"] {
        scene.issue(name, PLAIN, "new@example.test", None);
    }
    scene.recovers();
    assert!(scene.revoke(A, "new-0"));
    scene.settles();
    scene.ends();
}

pub fn stopped(servers: impl Servers) {
    let mut scene = Scene::begin(servers);
    assert!(scene.revoke_leaver(A, 0) && scene.disable(A));
    scene.loses(&BOTH, |servers| servers.stop());
    // It may still be done when the store wakes up, and nobody was told that it is.
    assert!(!scene.revoke(A, "single-0"));
    scene.is_refused(&BOTH);
    scene.lasts(Duration::from_secs(3));
    scene.heals(|servers| servers.cont());
    scene.recovers();
    assert!(scene.enable(B) && scene.revoke(B, "single-1"));
    scene.settles();
    scene.ends();
}

#[test]
fn a_store_that_is_emptied_while_it_runs() {
    let mut scene = Scene::begin(Single::start());
    assert!(scene.revoke(B, "single-0") && scene.revoke_leaver(A, 0));
    scene.becomes(Data::Lost, |servers| servers.redis.replace(&Contents::default()));
    scene.recovers();
    scene.register(PLAIN);
    scene.issue("new", PLAIN, "new@example.test", None);
    scene.recovers();
    scene.ends();
}

#[test]
fn a_gate_that_is_cut_off_stops_and_the_other_goes_on() {
    let mut scene = Scene::begin(Single::start());
    scene.loses(&[A], |servers| servers.proxies[A].cut());
    assert!(scene.revoke(B, "single-0") && scene.revoke_leaver(B, 0) && scene.revoke_grant(B, 0));
    assert!(scene.rotate(B) && scene.disable(B) && scene.delete(B));
    assert!(!scene.revoke(A, "single-1"));
    scene.is_refused(&[A]);
    scene.lasts(2 * BOUND);
    scene.heals(|servers| servers.proxies[A].heal());
    scene.recovers();
    assert!(scene.enable(A));
    scene.settles();
    scene.ends();
}

#[test]
fn a_gate_that_hears_nothing_stops_and_the_other_goes_on() {
    let mut scene = Scene::begin(Single::start());
    scene.loses(&[B], |servers| servers.proxies[B].stall());
    assert!(scene.revoke(A, "single-0") && scene.revoke_leaver(A, 0) && scene.revoke_grant(A, 0));
    assert!(scene.rotate(A) && scene.disable(A) && scene.delete(A));
    scene.is_refused(&[B]);
    scene.lasts(2 * BOUND);
    scene.heals(|servers| servers.proxies[B].heal());
    scene.recovers();
    assert!(scene.enable(B));
    scene.settles();
    scene.ends();
}

#[test]
fn a_store_that_comes_and_goes() {
    let mut scene = Scene::begin(Single::start());
    for number in 0..3 {
        assert!(scene.revoke(A, &format!("single-{number}")) && scene.revoke_leaver(B, number));
        scene.loses(&BOTH, |servers| servers.proxies.iter().for_each(|proxy| proxy.cut()));
        scene.lasts(Duration::from_millis(400));
        scene.heals(|servers| servers.proxies.iter().for_each(|proxy| proxy.heal()));
        scene.recovers();
    }
    scene.ends();
}
