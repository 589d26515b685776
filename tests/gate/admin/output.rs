//! What the commands print: for people, for scripts, and never a secret twice.

use std::fs;

use serde_json::Value;

use crate::support::gate::USER;
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::Upstream;

use super::{refused, run, setup, stdout, with_config};

const ISSUE: [&str; 6] = ["token", "issue", "--client", "app", "--user", USER];

#[test]
fn a_client_and_its_token_on_a_screen() {
    let setup = setup();
    let config = setup.write();
    let ask = |arguments: &[&str]| stdout(&with_config(&config, arguments, ""));
    assert!(ask(&["client", "list"]).contains("no clients yet; `scopegate client create"));
    let created = ask(&["client", "create", "--name", "App", "--id", "app", "--scopes", "read write", "--rate", "600/1m"]);
    let lines: Vec<&str> = created.lines().collect();
    assert_eq!(
        &lines[..6],
        [
            "client   app",
            "name     App",
            "scopes   read write",
            "state    enabled",
            "kind     confidential",
            "rate     600/1m, 600 at once"
        ]
    );
    let secret = lines[lines.len() - 3];
    assert_eq!((secret.len(), lines[lines.len() - 1]), (43, "The client secret is shown this once; the store keeps its SHA-256 only."));

    let listed = ask(&["client", "list"]);
    let (heading, row) = listed.split_once('\n').expect("two lines");
    assert_eq!(heading.find("SCOPES"), row.find("read write"), "{listed}");
    assert!(!listed.contains('\x1b'), "no colours for a pipe");
    assert!(!ask(&["client", "show", "app"]).contains(secret));

    let issued = ask(&[&ISSUE[..], &["--scope", "read"]].concat());
    let token = issued.lines().rev().nth(2).expect("the token's line").to_owned();
    for arguments in [&["token", "inspect", token.as_str()][..], &["token", "list", "--client", "app"]] {
        let shown = ask(arguments);
        assert!(shown.contains(USER) && !shown.contains(&token), "{shown}");
    }
    assert!(ask(&["client", "disable", "app"]).contains("scopegate client enable app"));
    assert!(ask(&["token", "inspect", &token]).contains("worthless while its client is disabled"));
    assert!(ask(&["client", "enable", "app"]).contains("let through again"));
    assert!(ask(&["token", "revoke", &token]).contains("is revoked"));
    assert!(ask(&["client", "delete", "app"]).contains("worth nothing"));
}

#[test]
fn a_token_is_read_from_a_file_or_standard_input() {
    let setup = setup();
    let config = setup.write();
    stdout(&with_config(&config, &["client", "create", "--name", "App", "--id", "app", "--scopes", "read"], ""));
    let token = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123";
    let register = [&ISSUE[..], &["--scope", "read", "--register-file", "-", "--json"]].concat();
    let registered = stdout(&with_config(&config, &register, &format!("{token}\n")));
    assert!(!registered.contains(token), "{registered}");
    let registered: Value = serde_json::from_str(&registered).expect("JSON");
    let hash = registered["hash"].as_str().expect("a hash");

    let file = setup.dir.path().join("token.txt");
    fs::write(&file, format!("{token}\n")).expect("the directory is ours");
    let file = file.to_str().expect("the path is UTF-8");
    for (arguments, input) in [
        (&["token", "inspect", "-", "--json"][..], token),
        (&["token", "inspect", "--token-file", "-", "--json"], token),
        (&["token", "inspect", "--token-file", file, "--json"], ""),
        (&["token", "inspect", "--hash", hash, "--json"], ""),
    ] {
        let shown: Value = serde_json::from_str(&stdout(&with_config(&config, arguments, input))).expect("JSON");
        assert_eq!((shown["hash"].as_str(), shown["state"].as_str()), (Some(hash), Some("live")), "{arguments:?}");
    }
    refused(&with_config(&config, &["token", "inspect", "-"], ""), 1, &["standard input is empty"]);
    refused(&with_config(&config, &["token", "inspect", "-"], "two words"), 1, &["no token"]);
    refused(&with_config(&config, &["token", "inspect", "-"], &"x".repeat(5000)), 1, &["longer than"]);
    refused(&with_config(&config, &["token", "revoke", "--token-file", "/nosuch/token"], ""), 1, &["/nosuch/token"]);
    stdout(&with_config(&config, &["token", "revoke", "--token-file", file], ""));
    refused(&with_config(&config, &["token", "revoke", "--token-file", file], ""), 1, &["was revoked"]);
}

#[test]
fn the_status_of_a_running_gate_names_servers_and_certificates() {
    let upstream = Upstream::json("{}");
    let gate = Setup::embedded(&upstream).start();
    let told = stdout(&with_config(&gate.config, &["status"], ""));
    let row = told.lines().find(|line| line.starts_with(SITE)).expect("the site is there");
    assert!(row.contains(&upstream.url()) && row.contains("healthy"), "{told}");
    let row = told.lines().find(|line| line.contains("edge.pem")).expect("the certificate is there");
    assert!(row.contains(&format!("{SITE} localhost")) && row.contains("days left"), "{told}");
}

#[test]
fn check_tells_everything_at_once() {
    let setup = setup();
    let config = setup.write();
    let told = stdout(&with_config(&config, &["check"], ""));
    assert!(told.contains("1 site, 1 certificate (good until ") && told.contains("embedded store"), "{told}");
    let json: Value = serde_json::from_str(&stdout(&with_config(&config, &["check", "--json"], ""))).expect("JSON");
    assert_eq!((&json["ok"], json["problems"].as_array().map(Vec::len)), (&true.into(), Some(0)));

    fs::remove_file(&setup.certificate.key_file).expect("the directory is ours");
    refused(&with_config(&config, &["check"], ""), 78, &["edge"]);
    let setup = setup.config("[log]\nlevel = \"loud\"\n[listen]\nworker = 1");
    let both = with_config(&setup.write(), &["check", "--json"], "");
    assert_eq!(both.status.code(), Some(78));
    let json: Value = serde_json::from_slice(&both.stdout).expect("JSON");
    assert_eq!((&json["ok"], json["problems"].as_array().map(Vec::len)), (&false.into(), Some(2)), "{json}");
}

#[test]
fn the_environment_says_where_the_config_is_and_changes_it() {
    let setup = setup();
    let config = setup.write();
    let config = config.to_str().expect("the path is UTF-8");
    let level = ("SCOPEGATE__LOG__LEVEL", "loud");
    refused(&run(&["check"], "", &[("SCOPEGATE_CONFIG", config), level]), 78, &["SCOPEGATE__LOG__LEVEL", "loud"]);
    refused(&run(&["check", "--config", config], "", &[("SCOPEGATE_CONFIG", "/nosuch"), level]), 78, &["SCOPEGATE__LOG__LEVEL"]);
    refused(&run(&["client", "list"], "", &[("SCOPEGATE_CONFIG", "/nosuch")]), 78, &["/nosuch", "--config"]);
    refused(&run(&["client", "list", "--site", SITE], "", &[]), 78, &["/etc/scopegate/scopegate.toml"]);
}
