//! The life of clients and tokens by the command line, on each store, with the gate running and without.

use std::fs;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gate::{CLIENT, Gate, USER, cli, cli_json};
use crate::support::setup::{API_KEY, SITE, Setup};
use crate::support::upstream::Upstream;
use crate::support::verdict::insufficient_scope;
use crate::support::wire::{Wire, json_request, request};

fn on_each(test: impl Fn(Setup, &Upstream)) {
    let upstream = Upstream::json("{}");
    test(Setup::embedded(&upstream), &upstream);
    let upstream = Upstream::json("{}");
    test(Setup::new(&upstream), &upstream);
}

fn status(gate: &Gate, token: &str) -> u16 {
    Wire::tls(gate).exchange(request("GET", "/api/resource/ToDo", token)).status
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` in {value}"))
}

const TOKEN: [&str; 8] = ["--site", SITE, "--client", "crm", "--user", USER, "--json", "--scope"];

fn create(id: &str, scopes: &str) -> Vec<String> {
    ["client", "create", "--site", SITE, "--name", "CRM", "--id", id, "--scopes", scopes, "--json"].map(str::to_owned).to_vec()
}

#[test]
fn a_client_and_its_tokens_live_and_end_by_commands() {
    on_each(|setup, _| {
        let gate = setup.start();
        let run = |arguments: &[&str]| gate.cli_json(&[arguments, &["--site", SITE, "--json"]].concat());
        let create = create("crm", "read write");
        let client = gate.cli_json(&create.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(text(&client, "client_id"), "crm");
        gate.keep_secret(text(&client, "client_secret"));
        let issued = gate.cli_json(&[&["token", "issue"], &TOKEN[..], &["read"], &["--expires-in", "1h"]].concat());
        assert_eq!((text(&issued, "token_type"), issued["expires_in"].as_u64(), text(&issued, "scope")), ("Bearer", Some(3600), "read"));
        let token = text(&issued, "access_token");
        gate.keep_secret(token);
        assert_eq!(status(&gate, token), 200);
        insufficient_scope(&Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", token, "{}")));

        let fingerprint = text(&issued, "fingerprint");
        let inspected = gate.cli_json(&["token", "inspect", token, "--site", SITE, "--json"]);
        assert!(inspected.to_string().contains(USER) && !inspected.to_string().contains(token), "{inspected}");
        let listed = gate.cli_json(&["token", "list", "--client", "crm", "--site", SITE, "--json"]);
        assert!(listed.to_string().contains(fingerprint) && !listed.to_string().contains(token), "{listed}");
        assert!(run(&["client", "list"]).to_string().contains("\"crm\""));
        assert!(!run(&["client", "show", "crm"]).to_string().contains(text(&client, "client_secret")));

        run(&["client", "disable", "crm"]);
        eventually("the client is disabled", || status(&gate, token) == 401);
        run(&["client", "enable", "crm"]);
        eventually("the client is enabled", || status(&gate, token) == 200);
        let widest = text(&client, "scopes");
        run(&["client", "update", "crm", "--scopes", "write"]);
        eventually("the client may no longer read", || status(&gate, token) == 403);
        run(&["client", "update", "crm", "--scopes", widest]);
        eventually("the client may read again", || status(&gate, token) == 200);
        run(&["token", "revoke", token]);
        eventually("the token is revoked", || status(&gate, token) == 401);

        let rotated = run(&["client", "rotate-secret", "crm"]);
        gate.keep_secret(text(&rotated, "client_secret"));
        assert_ne!(text(&rotated, "client_secret"), text(&client, "client_secret"));
        let second = gate.cli_json(&[&["token", "issue"], &TOKEN[..], &["write"]].concat());
        let second = text(&second, "access_token");
        gate.keep_secret(second);
        assert_eq!(Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", second, "{}")).status, 200);
        run(&["client", "delete", "crm"]);
        eventually("the client is deleted", || status(&gate, second) == 401);
    });
}

#[test]
fn a_client_acts_by_its_own_api_key_and_never_by_the_sites_instead() {
    const OWN: &str = "ownkey0000001:ownsecret00001";
    let upstream = Upstream::json("{}");
    let setup = Setup::new(&upstream);
    let key_file = setup.dir.path().join("own.key");
    fs::write(&key_file, OWN).expect("the directory is ours");
    let key_file = key_file.to_str().expect("the path is UTF-8").to_owned();
    let sealing = format!("[store]\nencryption_key = \"{}\"", "5a".repeat(32));
    let gate = setup.config(&sealing).start();
    gate.keep_secret(OWN);
    let token = gate.token("read");
    let shown = || upstream.requests().last().and_then(|seen| seen.header("authorization").map(str::to_owned));
    let update = |change: &[&str]| gate.cli_json(&[&["client", "update", CLIENT, "--json"], change].concat());
    let acts_by = |key: &str| {
        eventually("it acts by its key", || {
            assert_eq!(status(&gate, &token), 200);
            shown() == Some(format!("token {key}"))
        });
    };
    acts_by(API_KEY);
    update(&["--api-key-file", &key_file]);
    acts_by(OWN);
    update(&["--no-api-key"]);
    acts_by(API_KEY);
    update(&["--api-key-file", &key_file]);

    // Another gate on the same store, which has lost the key that opens it.
    let other = Setup::redis_at(&gate.redis().url(), &upstream.url()).start();
    let before = upstream.requests().len();
    assert_eq!(status(&other, &token), 503);
    assert_eq!(upstream.requests().len(), before, "the site's key may do more than the client's own");
    assert!(other.stop().log.contains("encryption_key"));
}

#[test]
fn commands_work_on_the_store_where_no_gate_runs() {
    on_each(|setup, _| {
        let config = setup.write();
        let create = create("crm", "read");
        cli_json(&config, &create.iter().map(String::as_str).collect::<Vec<_>>());
        let issued = cli_json(&config, &[&["token", "issue"], &TOKEN[..], &["read"]].concat());
        let gate = setup.start();
        let token = text(&issued, "access_token");
        gate.keep_secret(token);
        assert_eq!(status(&gate, token), 200);
    });
}

#[test]
fn what_cannot_be_done_is_exit_1_and_says_what_to_do() {
    on_each(|setup, _| {
        let config = setup.write();
        let create = create("crm", "read");
        let create: Vec<&str> = create.iter().map(String::as_str).collect();
        cli_json(&config, &create);
        let refused: [&[&str]; 5] = [
            &create,
            &["client", "show", "nosuch", "--site", SITE],
            &["client", "list", "--site", "nosuch.test"],
            &["token", "issue", "--site", SITE, "--client", "nosuch", "--user", USER, "--scope", "read"],
            &["token", "issue", "--site", SITE, "--client", "crm", "--user", USER, "--scope", "read write"],
        ];
        for arguments in refused {
            let output = cli(&config, arguments);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {} {stderr}", output.status);
            assert!(!stderr.is_empty() && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
        }
    });
}

#[test]
fn explain_says_what_a_request_would_do_and_who_may() {
    let upstream = Upstream::json("{}");
    let setup = Setup::embedded(&upstream);
    let config = setup.write();
    let explain = |arguments: &[&str]| {
        let output = cli(&config, &[&["explain"], arguments, &["--json"]].concat());
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        stdout
    };
    for (arguments, needed) in [
        (&["GET", "/api/resource/Sales Order"][..], "read"),
        (&["POST", "/api/method/frappe.client.delete"], "delete"),
        (&["POST", "/api/resource/Lead"], "write"),
    ] {
        let told = explain(arguments);
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
        assert!(told.to_string().contains(&format!("\"{needed}")), "{arguments:?}: {told}");
    }
    let allowed = explain(&["GET", "/api/resource/Lead", "--scope", "read"]);
    let denied = explain(&["DELETE", "/api/resource/Lead/x", "--scope", "read"]);
    assert!(allowed.contains("allow") && denied.contains("insufficient_scope"), "{allowed}{denied}");
    let closed = explain(&["GET", "/api/resource/OAuth Bearer Token", "--scope", "all"]);
    assert!(!closed.contains("\"allow\""), "{closed}");
    assert_eq!(json!(upstream.connections()), json!(0));
}
