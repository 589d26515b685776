//! Redis is killed, stopped and started again. A gate that cannot know says 503 with `Retry-After`: never 401, so that a client keeps its
//! token, and never yes.

use serde_json::json;

use crate::support::gate::{CLIENT, Gate, USER};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::{insufficient_scope, reason, unauthorized};
use crate::support::wire::{Reply, Wire, request};
use crate::support::{eventually, now};

fn list(gate: &Gate, token: &str) -> Reply {
    Wire::tls(gate).exchange(request("GET", "/api/resource/ToDo", token))
}

fn cannot_know(reply: &Reply) {
    reason(reply);
    assert_eq!(reply.status, 503, "{reply:?} {}", reply.text());
    let after: u64 = reply.header("retry-after").expect("503 has Retry-After").parse().expect("in seconds");
    assert!((1..=120).contains(&after), "{after}");
    assert!(reply.all("www-authenticate").is_empty(), "nothing is wrong with the token: {reply:?}");
}

#[test]
fn a_killed_redis_is_503_and_recovers_by_itself() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).start();
    let (token, never_seen) = (gate.token("read"), gate.unknown_token());
    assert_eq!(list(&gate, &token).status, 200);
    gate.redis_mut().kill();
    // What was looked up less than the bound ago may still be served; nothing else, and nothing is 401.
    eventually("the cache ends", || match list(&gate, &token) {
        reply if reply.status == 200 => false,
        reply => {
            cannot_know(&reply);
            true
        }
    });
    cannot_know(&list(&gate, &never_seen));
    let before = upstream.requests().len();
    for _ in 0..5 {
        cannot_know(&list(&gate, &token));
    }
    assert_eq!(upstream.requests().len(), before);
    gate.redis_mut().restart();
    // It comes back empty: now the gate knows, and the token is none.
    eventually("redis is found again", || match list(&gate, &token) {
        reply if reply.status == 503 => false,
        reply => {
            unauthorized(&reply, Some("invalid_token"));
            true
        }
    });
    gate.put_client(&json!({"v": 1, "id": CLIENT, "name": "App", "scopes": "all", "enabled": true, "created": now()}));
    let fresh = gate.token("read");
    eventually("a new token is served", || list(&gate, &fresh).status == 200);
}

#[test]
fn a_stopped_redis_is_503_within_the_time_budget() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[store]\nlookup_timeout = \"200ms\"").start();
    let (token, never_seen) = (gate.token("read"), gate.unknown_token());
    assert_eq!(list(&gate, &token).status, 200);
    gate.redis().stop();
    let start = std::time::Instant::now();
    cannot_know(&list(&gate, &never_seen));
    assert!(start.elapsed().as_secs() < 5, "{:?} for one look-up of 200 ms", start.elapsed());
    eventually("the cache ends", || match list(&gate, &token) {
        reply if reply.status == 200 => false,
        reply => {
            cannot_know(&reply);
            true
        }
    });
    gate.redis().cont();
    eventually("redis is found again", || list(&gate, &token).status == 200);
}

#[test]
fn readiness_tells_of_the_store_and_liveness_does_not() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).start();
    let metrics = gate.ready.metrics.expect("metrics have a port");
    let ask = |path: &str| {
        Wire::plain_to(metrics).exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).status
    };
    assert_eq!((ask("/livez"), ask("/readyz")), (200, 200));
    gate.redis_mut().kill();
    eventually("/readyz says no", || ask("/readyz") == 503);
    assert_eq!(ask("/livez"), 200);
    gate.redis_mut().restart();
    eventually("/readyz says yes", || ask("/readyz") == 200);
}

#[test]
fn many_misses_of_one_token_are_few_look_ups_and_all_are_answered() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut http2 = crate::support::http2::Http2::connect(&gate);
    let targets: Vec<String> = (0..60).map(|number| format!("/api/resource/ToDo/{number}")).collect();
    assert!(http2.requests(&targets, &token).iter().all(|reply| reply.status == 200));
    let info: String = redis::cmd("INFO").arg("commandstats").query(&mut gate.redis().connection()).expect("redis-server answers");
    let calls: u64 = ["cmdstat_get:calls=", "cmdstat_mget:calls=", "cmdstat_evalsha:calls="]
        .iter()
        .filter_map(|stat| info.split(stat).nth(1)?.split(',').next()?.parse::<u64>().ok())
        .sum();
    assert!((1..=10).contains(&calls), "{calls} look-ups for 60 requests with one token");
}

#[test]
fn a_disabled_client_a_deleted_client_and_a_deleted_token_end_within_the_bound() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let client = |enabled: bool| json!({"v": 1, "id": CLIENT, "name": "App", "scopes": "all", "enabled": enabled, "created": now()});
    let (token, other) = (gate.token("read"), gate.token("read"));
    assert_eq!(list(&gate, &token).status, 200);
    gate.put_client(&client(false));
    eventually("the client is disabled", || list(&gate, &token).status == 401);
    gate.put_client(&client(true));
    eventually("the client is enabled again", || list(&gate, &token).status == 200);
    let key = crate::support::gate::token_key(&other);
    assert_eq!(list(&gate, &other).status, 200);
    let () = redis::cmd("DEL").arg(&key).query(&mut gate.redis().connection()).expect("redis-server answers");
    gate.redis().log("fake.test", &["look", key.rsplit(':').next().expect("a key ends with the hash")]);
    eventually("the token is gone", || list(&gate, &other).status == 401);
    let () =
        redis::cmd("DEL").arg(format!("sg:fake.test:client:{CLIENT}")).query(&mut gate.redis().connection()).expect("redis-server answers");
    gate.redis().log("fake.test", &["client", CLIENT]);
    eventually("the client is gone", || list(&gate, &token).status == 401);
}

#[test]
fn a_token_never_reaches_beyond_its_client() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    gate.put_client(&json!({"v": 1, "id": "reader", "name": "Reader", "scopes": "read", "enabled": true, "created": now()}));
    let token = gate.token_of("reader", "read write", now() + 60);
    assert_eq!(list(&gate, &token).status, 200);
    let reply = Wire::tls(&gate).exchange(crate::support::wire::json_request("POST", "/api/resource/ToDo", &token, "{}"));
    insufficient_scope(&reply);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_record_that_cannot_be_read_is_not_a_yes() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let records = [
        json!("garbage"),
        json!({}),
        json!({"v": 2, "client": CLIENT, "user": USER, "scopes": "all", "iat": now(), "exp": now() + 60}),
        json!({"v": 1, "client": CLIENT, "user": USER, "scopes": "all", "iat": now()}),
        json!({"v": 1, "client": CLIENT, "user": USER, "scopes": ["all"], "iat": now(), "exp": now() + 60}),
        json!({"v": 1, "client": CLIENT, "user": USER, "scopes": "all", "iat": now(), "exp": "never"}),
        json!({"v": 1, "client": "nobody", "user": USER, "scopes": "all", "iat": now(), "exp": now() + 60}),
    ];
    for record in records {
        let token = gate.unknown_token();
        gate.put_token(&token, &record);
        let reply = list(&gate, &token);
        reason(&reply);
        assert!(matches!(reply.status, 401 | 503), "{record}: {reply:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn only_hashes_of_tokens_are_kept() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.issue("read");
    assert_eq!(list(&gate, &token).status, 200);
    let redis = gate.redis();
    let key = crate::support::gate::token_key(&token);
    let record = redis.record(&key).expect("the token is kept under its hash");
    assert_eq!((record["v"].as_u64(), record["client"].as_str(), record["user"].as_str()), (Some(1), Some(CLIENT), Some(USER)));
    assert_eq!(record["scopes"], "read");
    let left = redis.time_to_live(&key).as_secs();
    // Ten minutes more, in which its bearer is told that it has expired.
    let lives = record["exp"].as_u64().expect("exp") + 600 - now();
    assert!(left.abs_diff(lives) <= 2, "the key ends after its token: {left} s and {lives} s");
    assert!(redis.keys().iter().all(|key| !key.contains(&token)));
}
