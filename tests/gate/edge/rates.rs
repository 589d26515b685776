//! The first limits: 429 in Frappe's shape, with when to come back.

use crate::support::gate::{CLIENT, USER};
use crate::support::now;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::reason;
use crate::support::wire::{Reply, Wire, request};
use serde_json::json;

fn too_many(reply: &Reply) {
    reason(reply);
    assert_eq!(reply.status, 429, "{reply:?}");
    let after: u64 = reply.header("retry-after").expect("429 has Retry-After").parse().expect("in seconds");
    assert!((1..=3600).contains(&after), "{after}");
    assert_eq!(reply.json()["exc_type"], "TooManyRequestsError");
    assert!(reply.header("ratelimit").is_some() && reply.header("ratelimit-policy").is_some(), "{reply:?}");
}

#[test]
fn a_client_beyond_its_rate_is_429_and_another_is_not() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\nclient = \"3/1h\"\nclient_burst = 3").start();
    gate.put_client(&json!({"v": 1, "id": "other", "name": "Other", "scopes": "all", "enabled": true, "created": now()}));
    let (token, second) = (gate.token("read"), gate.token("read write"));
    let mut wire = Wire::tls(&gate);
    let list = |token: &str| request("GET", "/api/resource/ToDo", token);
    for _ in 0..3 {
        let reply = wire.exchange(list(&token));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.header("ratelimit").is_some() && reply.header("ratelimit-policy").is_some(), "{reply:?}");
    }
    too_many(&wire.exchange(list(&token)));
    // A rate is the client's, not the token's.
    too_many(&wire.exchange(list(&second)));
    let other = gate.token_of("other", "read", now() + 60);
    assert_eq!(wire.exchange(list(&other)).status, 200);
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn a_client_may_have_a_rate_of_its_own() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\nclient = \"1000/1h\"\nclient_burst = 1000").start();
    gate.put_client(&json!({"v": 1, "id": CLIENT, "name": "App", "scopes": "all", "enabled": true, "created": now(),
        "rate": {"requests": 2, "seconds": 3600, "burst": 2}}));
    let token = gate.token("read");
    let statuses: Vec<u16> = (0..3).map(|_| Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn an_address_beyond_its_rate_is_429_whoever_asks() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\naddress = \"3/1h\"\naddress_burst = 3").start();
    let tokens = [gate.token("read"), gate.unknown_token(), gate.token("write"), gate.token("all")];
    let replies: Vec<Reply> = tokens.iter().map(|token| Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", token))).collect();
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 401, 403, 429]);
    too_many(&replies[3]);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn guessing_tokens_is_slowed_down() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\nfailed_authentications = \"3/1h\"\nfailed_authentications_burst = 3").start();
    let mut wire = Wire::tls(&gate);
    for _ in 0..3 {
        assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &gate.unknown_token())).status, 401);
    }
    too_many(&wire.exchange(request("GET", "/api/resource/ToDo", &gate.unknown_token())));
    upstream.assert_untouched();
}

#[test]
fn served_requests_are_not_failed_authentications() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\nfailed_authentications = \"3/1h\"\nfailed_authentications_burst = 3").start();
    let token = gate.token("read");
    for _ in 0..8 {
        assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200, "user {USER}");
    }
}
