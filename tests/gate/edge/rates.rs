//! The first limits: 429 in Frappe's shape, with when to come back.

use crate::support::gate::{CLIENT, USER};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::reason;
use crate::support::wire::{Reply, Wire, request};
use crate::support::{eventually, now};
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

#[test]
fn what_is_left_is_never_more_than_the_policy_says() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\nclient = \"2/1h\"\nclient_burst = 5").start();
    let token = gate.token("read");
    let left: Vec<String> = (0..4)
        .map(|_| {
            let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token));
            assert_eq!(reply.header("ratelimit-policy"), Some("\"client\";q=2;w=3600"));
            reply.header("ratelimit").and_then(|field| field.split(';').nth(1)).unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(left, ["r=2", "r=2", "r=2", "r=1"]);
}

#[test]
fn preflights_count_for_their_address() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[rate]\naddress = \"2/1h\"\naddress_burst = 2").start();
    let options = || Wire::tls(&gate).exchange("OPTIONS /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n\r\n");
    assert_eq!([options().status, options().status], [204, 204]);
    too_many(&options());
}

#[test]
fn a_reload_forgives_no_address() {
    let upstream = Upstream::json("{}");
    let rate = "[rate]\naddress = \"2/1h\"\naddress_burst = 2\nfailed_authentications = \"1/1h\"\nfailed_authentications_burst = 1";
    let gate = Setup::new(&upstream).config(rate).start();
    let token = gate.token("read");
    let list = || Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token));
    assert_eq!([list().status, list().status], [200, 200]);
    too_many(&list());
    gate.signal("HUP");
    eventually("it is reloaded", || gate.log().contains("reloaded"));
    too_many(&list());
}
