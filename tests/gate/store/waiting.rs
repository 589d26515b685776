//! `--wait`: whether every gateway has applied what was revoked, with two gates on one Redis, with one that is stopped, and with none; and
//! what an operator's machines see of the revocation log.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gate::{CLIENT, Gate, USER, cli, sha256};
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::Upstream;
use crate::support::wire::{Reply, Wire, request};

/// The exit code of a wait in vain.
const UNCONFIRMED: i32 = 3;

/// Another gate on the Redis of `gate`.
fn second(gate: &Gate, upstream: &Upstream) -> Gate {
    let other = Setup::redis_at(&gate.redis().url(), &upstream.url()).start();
    eventually("two gateways are seen", || gateways(gate) == json!(2));
    other
}

fn gateways(gate: &Gate) -> Value {
    gate.cli_json(&["status", "--json"])["sites"][0]["revocation_log"]["gateways"].clone()
}

fn status(gate: &Gate, token: &str) -> u16 {
    Wire::tls(gate).exchange(request("GET", "/api/resource/ToDo", token)).status
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// It ended with `code` and said each of `words` on standard error.
fn says(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` in {stderr}");
    }
}

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn create(config: &Path) -> Value {
    let created = cli(config, &["client", "create", "--name", "App", "--id", CLIENT, "--scopes", "all", "--json"]);
    parsed(&created)
}

#[test]
fn every_gateway_answers_and_the_time_is_told() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let other = second(&gate, &upstream);
    let created = gate.cli_json(&["client", "create", "--name", "CRM", "--id", "crm", "--scopes", "read", "--json"]);
    gate.keep_secret(created["client_secret"].as_str().expect("a secret"));
    gate.redis().put(
        &format!("sg:{SITE}:grant:g-1"),
        &json!({"v": 1, "id": "g-1", "client": "crm", "user": USER, "scopes": "read", "created": 1, "used": 1, "profile": {}}),
    );
    let issue = || {
        let issued = gate.cli_json(&["token", "issue", "--client", "crm", "--user", USER, "--scope", "read", "--json"]);
        let token = issued["access_token"].as_str().expect("a token").to_owned();
        gate.keep_secret(&token);
        token
    };
    let mut token = String::new();
    // What a live token is worth afterwards, at both.
    for (ending, worth) in [
        (&["token", "revoke", "--hash"][..], 401),
        (&["grant", "revoke", "g-1"], 200),
        (&["user", "revoke", USER], 401),
        (&["client", "revoke-tokens", "crm"], 401),
        (&["client", "disable", "crm"], 401),
        (&["client", "enable", "crm"], 200),
        (&["client", "rotate-secret", "crm"], 200),
        (&["client", "rotate-secret", "crm", "--revoke-tokens"], 401),
        (&["client", "delete", "crm"], 401),
    ] {
        if ending[1] != "enable" {
            token = issue();
            assert_eq!((status(&gate, &token), status(&other, &token)), (200, 200), "{ending:?}");
        }
        let hash = sha256(&token);
        let hash = if ending[0] == "token" { &[hash.as_str()][..] } else { &[] };
        let told = gate.cli_json(&[ending, hash, &["--wait", "--json"]].concat());
        let applied = &told["applied"];
        assert_eq!(
            (&applied["gateways"], &applied["applied"], &applied["silent"]),
            (&json!(2), &json!(2), &json!([])),
            "{ending:?}: {told}"
        );
        assert!(applied["took_ms"].as_u64().is_some_and(|took| took < 10_000), "{ending:?}: {told}");
        // Nobody need look again: what was waited for is so.
        assert_eq!((status(&gate, &token), status(&other, &token)), (worth, worth), "{ending:?}");
        if let Some(secret) = told["client_secret"].as_str() {
            gate.keep_secret(secret);
        }
    }
    let told = cli(&gate.config, &["client", "disable", CLIENT, "--wait=5s"]);
    says(&told, 0, &[]);
    let told = stdout(&told);
    let (first, last) = told.trim_end().split_once('\n').expect("two lines");
    assert!(first.contains("is disabled") && last.starts_with("all 2 gateways have applied it, after "), "{told}");

    other.stop();
    assert_eq!(gateways(&gate), json!(1), "one that has ended is not waited for");
    let told = gate.cli_json(&["client", "enable", CLIENT, "--wait", "--json"]);
    assert_eq!((&told["applied"]["gateways"], &told["enabled"]), (&json!(1), &json!(true)), "{told}");
}

#[test]
fn a_gateway_that_is_stopped_is_named_when_the_time_is_up() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let other = second(&gate, &upstream);
    gate.cli_json(&["client", "delete", CLIENT, "--json"]);
    create(&gate.config);
    other.signal("STOP");
    let silent = format!(":{}", other.pid());
    let told = cli(&gate.config, &["client", "rotate-secret", CLIENT, "--revoke-tokens", "--wait=1s", "--json"]);
    says(&told, UNCONFIRMED, &["1 of 2 gateways did not say", &silent, "last seen", "revocation_bound", "wait again"]);
    let told = parsed(&told);
    assert_eq!(told["client_secret"].as_str().map(str::len), Some(43), "it is done, and shown");
    let applied = &told["applied"];
    assert_eq!((&applied["gateways"], &applied["applied"]), (&json!(2), &json!(1)), "{applied}");
    assert!(applied["took_ms"].as_u64().is_some_and(|took| took >= 1_000), "{applied}");
    let named = &applied["silent"].as_array().expect("a list")[..];
    let [named] = named else { panic!("one is silent: {applied}") };
    assert!(named["gateway"].as_str().is_some_and(|name| name.ends_with(&silent)) && named["last_seen_ms"].is_u64(), "{applied}");
    other.signal("CONT");
    let told = gate.cli_json(&["client", "disable", CLIENT, "--wait", "--json"]);
    assert_eq!((&told["applied"]["gateways"], &told["applied"]["applied"]), (&json!(2), &json!(2)), "{told}");
}

#[test]
fn a_gate_on_the_embedded_store_is_the_only_one() {
    let upstream = Upstream::json("{}");
    let gate = Setup::embedded(&upstream).start();
    create(&gate.config);
    let told = gate.cli_json(&["client", "disable", CLIENT, "--wait", "--json"]);
    assert_eq!((&told["applied"]["gateways"], &told["applied"]["applied"]), (&json!(1), &json!(1)), "{told}");
    let told = stdout(&cli(&gate.config, &["client", "revoke-tokens", CLIENT, "--wait"]));
    assert!(told.contains("the 1 gateway has applied it, after "), "{told}");
    let told = stdout(&cli(&gate.config, &["status"]));
    let row = told.lines().find(|line| line.contains(" ms ago")).expect("the log is read");
    assert!(row.starts_with(SITE), "{told}");
}

#[test]
fn where_no_gate_runs_it_is_done_and_said_that_nobody_has_applied_it() {
    let upstream = Upstream::json("{}");
    for (setup, words) in [
        (Setup::embedded(&upstream), &["it is done", "no gateway follows this site", "[store]"][..]),
        (Setup::new(&upstream), &["it is done", "no gateway follows this site", "key_prefix"]),
    ] {
        let config = setup.write();
        create(&config);
        let told = cli(&config, &["client", "disable", CLIENT, "--wait", "--json"]);
        says(&told, UNCONFIRMED, words);
        let told = parsed(&told);
        assert_eq!((&told["enabled"], &told["applied"]["gateways"]), (&json!(false), &json!(0)), "{told}");
        let shown = cli(&config, &["client", "enable", CLIENT, "--wait=60s"]);
        says(&shown, UNCONFIRMED, words);
        assert!(stdout(&shown).contains("is enabled") && !stdout(&shown).contains("applied"), "{}", stdout(&shown));
    }
}

#[test]
fn what_cannot_be_waited_for_is_refused_and_nothing_is_done() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let config = setup.write();
    create(&config);
    for (arguments, words) in [
        (&["client", "disable", CLIENT, "--wait=0s"][..], &["whole seconds"][..]),
        (&["client", "disable", CLIENT, "--wait=61s"], &["60s at most"]),
        (&["client", "disable", CLIENT, "--wait=1h"], &["60s at most"]),
        (&["client", "disable", CLIENT, "--wait=500ms"], &["whole seconds"]),
        (&["client", "disable", CLIENT, "--wait=soon"], &["soon"]),
        (&["client", "disable", CLIENT, "--wait=-1s"], &["-1s"]),
        (&["client", "disable", CLIENT, "--wait=10"], &["`10` is not a time"]),
        (&["client", "disable", CLIENT, "--wait", "10s"], &["10s"]),
        (&["client", "disable", CLIENT, "--wait", "--wait"], &["--wait"]),
        (&["client", "show", CLIENT, "--wait"], &["--wait"]),
        (&["token", "list", "--client", CLIENT, "--wait"], &["--wait"]),
        (&["status", "--wait"], &["--wait"]),
    ] {
        let refused = cli(&config, arguments);
        says(&refused, 2, words);
        assert!(refused.stdout.is_empty(), "{arguments:?}");
    }
    for arguments in [
        &["client", "disable", "nosuch"][..],
        &["client", "enable", "nosuch"],
        &["client", "delete", "nosuch"],
        &["client", "revoke-tokens", "nosuch"],
        &["client", "rotate-secret", "nosuch"],
        &["grant", "revoke", "nosuch"],
        &["user", "revoke", " "],
        &["token", "revoke", "--hash", HASH],
        &["token", "revoke", "--hash", "abc"],
        &["client", "disable", CLIENT, "--site", "nosuch.test"],
    ] {
        let refused = cli(&config, &[arguments, &["--wait=60s", "--json"]].concat());
        says(&refused, 1, &[]);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{arguments:?}: {refused:?}");
    }
    let shown = parsed(&cli(&config, &["client", "show", CLIENT, "--json"]));
    assert_eq!(shown["enabled"], true, "{shown}");
}

#[test]
fn the_log_is_watched() {
    let upstream = Upstream::json("{}");
    let mut gate = Setup::new(&upstream).start();
    let port = gate.ready.metrics.expect("metrics have a port");
    let ask = |path: &str| Wire::plain_to(port).exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let metric = |name: &str| -> f64 {
        let text = ask("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
    };
    let age = || metric(&format!("scopegate_revocation_log_age_seconds{{site=\"{SITE}\"}}"));
    let started_over = || metric(&format!("scopegate_revocation_started_over_total{{site=\"{SITE}\"}}"));
    assert!((0.0..1.0).contains(&age()), "{}", age());
    assert_eq!((started_over(), metric("scopegate_served_known_total")), (0.0, 0.0));
    let ready = |reply: &Reply| -> Value { serde_json::from_str(&reply.text()).expect("JSON") };
    let reply = ask("/readyz");
    assert_eq!((reply.status, &ready(&reply)["revocations"]), (200, &json!({SITE: true})));

    // Redis answers, and the log cannot be read: nobody is let in, and the balancer is told.
    let log = format!("sg:{{{SITE}}}:revocations");
    let () = redis::cmd("SET").arg(&log).arg("no log").query(&mut gate.redis().connection()).expect("redis-server answers");
    eventually("/readyz says no", || ask("/readyz").status == 503);
    let told = ready(&ask("/readyz"));
    assert_eq!((&told["store"], &told["revocations"], &told["ready"]), (&json!(true), &json!({SITE: false}), &json!(false)), "{told}");
    assert!(age() >= 1.0);
    let told = gate.cli_json(&["status", "--json"])["sites"][0]["revocation_log"].clone();
    assert!(told["in_touch"] == false && told["age_ms"].as_u64().is_some_and(|age| age >= 1_000), "{told}");
    assert!(stdout(&cli(&gate.config, &["status"])).contains("nobody is let in"));
    let () = redis::cmd("DEL").arg(&log).query(&mut gate.redis().connection()).expect("redis-server answers");
    eventually("/readyz says yes", || ask("/readyz").status == 200);
    assert!(age() < 1.0);
    assert_eq!(started_over(), 1.0, "its place is gone");

    gate.redis_mut().kill();
    gate.redis_mut().restart();
    eventually("another server is noticed", || started_over() == 2.0);
    eventually("it is read again", || age() < 1.0);
}

#[test]
fn what_is_done_is_said_though_nobody_can_say_who_has_applied_it() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    gate.cli_json(&["client", "delete", CLIENT, "--json"]);
    create(&gate.config);
    let key = format!("sg:{{{SITE}}}:gateways");
    let () = redis::cmd("ZADD").arg(&key).arg(1e15).arg("no gateway").query(&mut gate.redis().connection()).expect("redis-server answers");
    let told = cli(&gate.config, &["client", "disable", CLIENT, "--wait=1s", "--json"]);
    says(&told, UNCONFIRMED, &["it is done, but whether every gateway has applied it is not known", "no gateway", &key]);
    let told = parsed(&told);
    assert_eq!((&told["enabled"], &told["applied"]["error"]), (&json!(false), &json!("store")), "{told}");
    let told = gate.cli_json(&["status", "--json"]);
    assert!(told["sites"][0]["revocation_log"].get("gateways").is_none(), "the rest of the status is there: {told}");
}
