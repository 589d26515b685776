//! Clients of the OAuth flow, their grants and their users, as commands show and end them.

use scopegate::oauth::records::{Grant, Profile};
use scopegate::policy::scope::Scopes;
use scopegate::policy::time::Timestamp;
use scopegate::policy::token::RECORD_VERSION;
use scopegate::store::embedded::EmbeddedStore;
use scopegate::store::grants;
use serde_json::Value;

use crate::support::gate::USER;
use crate::support::setup::{SITE, Setup};

use super::{refused, setup, stdout, with_config};

const CREATE: [&str; 9] = ["client", "create", "--name", "App", "--id", "app", "--scopes", "read write", "--json"];

/// Grants of [`USER`] to `app`, begun at that second.
fn begin(setup: &Setup, ids: &[(&str, u64)]) {
    let store = EmbeddedStore::open(&setup.dir.path().join("store.redb")).expect("nobody else holds it");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (id, at) in ids {
        let grant = Grant {
            v: RECORD_VERSION,
            id: (*id).into(),
            client: "app".into(),
            user: USER.into(),
            scopes: Scopes::parse("read").expect("a scope"),
            created: Timestamp::from_unix(*at),
            used: Timestamp::from_unix(*at),
            profile: Profile::default(),
            ended: None,
        };
        assert!(runtime.block_on(grants::begin(&store, SITE, &grant)).expect("the store answers"));
    }
}

#[test]
fn a_client_of_the_flow_on_a_screen_and_in_a_script() {
    let setup = setup();
    let config = setup.write();
    let ask = |arguments: &[&str]| stdout(&with_config(&config, arguments, ""));
    let uris = ["--redirect-uri", "https://a.example/cb", "--redirect-uri", "http://127.0.0.1/cb"];
    let more = ["--default-scopes", "read", "--origin", "https://a.example", "--skip-consent"];
    let created: Value = serde_json::from_str(&ask(&[&CREATE[..], &uris, &more].concat())).expect("JSON");
    assert_eq!(created["redirect_uris"], serde_json::json!(["https://a.example/cb", "http://127.0.0.1/cb"]));
    assert_eq!(created["grant_types"], serde_json::json!(["authorization_code", "refresh_token"]));
    assert_eq!((&created["skip_consent"], &created["default_scopes"]), (&true.into(), &"read".into()));
    let shown = ask(&["client", "show", "app"]);
    assert!(shown.contains("redirect uris   https://a.example/cb\n                http://127.0.0.1/cb\n"), "{shown}");
    assert!(shown.contains("consent         its users are not asked\n") && shown.contains("api key         the site's\n"), "{shown}");

    let updated = ask(&["client", "update", "app", "--ask-consent", "--redirect-uri", "https://b.example/cb", "--no-default-scopes"]);
    assert!(updated.contains("redirect uris  https://b.example/cb\n") && !updated.contains("127.0.0.1"), "{updated}");
    assert!(updated.contains("each user is asked") && updated.contains("https://a.example\n") && !updated.contains("default scopes"));
    let credentials = ["--grant-type", "client_credentials", "--user", "etl@example.com", "--no-redirect-uris", "--no-origins"];
    let updated = ask(&[&["client", "update", "app"][..], &credentials].concat());
    assert!(updated.contains("grant types  client_credentials\n") && updated.contains("speaks for   etl@example.com\n"), "{updated}");

    let rotated = ask(&["client", "rotate-secret", "app", "--overlap", "1h"]);
    assert!(rotated.contains("old secret   counts until ") && rotated.contains("shown this once"), "{rotated}");
    assert!(!ask(&["client", "rotate-secret", "app", "--revoke-tokens"]).contains("old secret"));
}

#[test]
fn what_a_client_cannot_be_is_refused_with_a_remedy() {
    let setup = setup();
    let config = setup.write();
    let uri = "https://a.example/cb";
    for (arguments, code, words) in [
        (&["--redirect-uri", "http://a.example/cb"][..], 1, &["http://a.example/cb", "use https"][..]),
        (&["--redirect-uri", "https://a.example/#x"], 1, &["fragment"]),
        (&["--redirect-uri", uri, "--redirect-uri", uri], 1, &["twice"]),
        (&["--redirect-uri", uri, "--origin", "https://a.example/"], 1, &["https://a.example/", "https://app.example.com"]),
        (&["--redirect-uri", uri, "--origin", "*"], 1, &["name each origin"]),
        (&["--redirect-uri", uri, "--default-scopes", "delete"], 1, &["default scopes", "`delete`"]),
        (&["--redirect-uri", uri, "--user", USER], 1, &["client_credentials", "--no-user"]),
        (&["--public", "--grant-type", "client_credentials"], 1, &["RFC 6749 section 4.4", "--public"]),
        (&["--grant-type", "authorization_code"], 1, &["--redirect-uri"]),
        (&["--grant-type", "refresh_token"], 1, &["authorization_code"]),
        (&["--public", "--skip-consent", "--redirect-uri", "com.example.app:/cb"], 1, &["com.example.app:/cb", "--skip-consent"]),
        (&["--grant-type", "client_credential"], 2, &["did you mean `client_credentials`?"]),
        (&["--grant-type", "password"], 2, &["authorization_code, refresh_token, client_credentials"]),
    ] {
        refused(&with_config(&config, &[&CREATE[..], arguments].concat(), ""), code, words);
    }
    refused(&with_config(&config, &["client", "show", "app"], ""), 1, &["no client `app`"]);
    stdout(&with_config(&config, &CREATE, ""));
    refused(&with_config(&config, &["client", "rotate-secret", "app", "--overlap", "31d"], ""), 1, &["30 days", "--overlap 1h"]);
}

#[test]
fn grants_are_shown_and_ended() {
    let setup = setup();
    let config = setup.write();
    let ask = |arguments: &[&str]| stdout(&with_config(&config, arguments, ""));
    ask(&CREATE);
    assert!(ask(&["grant", "list", "--client", "app"]).contains("no grants"));
    begin(&setup, &[("g-1", 1_767_225_600), ("g-2", 1_767_312_000), ("g-3", 1_767_398_400)]);
    let row =
        |id: &str, state: &str, day: u8| format!("{id}    app     {USER}  read   {state:5}  2026-01-0{day}  2026-01-0{day} 00:00:00Z\n");
    let heading = format!("GRANT  CLIENT  {:width$}  SCOPE  STATE", "USER", width = USER.len());
    for whose in [&["--user", USER][..], &["--client", "app"], &["--client", "app", "--user", USER]] {
        let listed = ask(&[&["grant", "list"][..], whose].concat());
        assert!(listed.starts_with(&heading), "{listed}");
        assert!(listed.ends_with(&[row("g-3", "live", 3), row("g-2", "live", 2), row("g-1", "live", 1)].concat()), "{listed}");
    }
    let shown = ask(&["grant", "show", "g-1"]);
    assert!(shown.contains("state       live\n") && shown.contains("site token  none\n"), "{shown}");
    assert_eq!(ask(&["grant", "revoke", "g-1"]), format!("grant g-1 is revoked; app must ask {USER} again\n"));
    assert!(ask(&["grant", "show", "g-1"]).contains("state       revoked\n"));
    let told = ask(&["user", "revoke", USER]);
    assert!(told.contains("2 grants are ended") && told.contains("disable the user in Frappe"), "{told}");
    let listed: Value = serde_json::from_str(&ask(&["grant", "list", "--user", USER, "--json"])).expect("JSON");
    let states: Vec<&Value> = listed["grants"].as_array().expect("a list").iter().map(|grant| &grant["state"]).collect();
    assert_eq!(states, ["ended", "ended", "ended"]);
    assert_eq!(listed["grants"][0]["ended"]["by"], "operator");
    assert!(ask(&["user", "revoke", "nobody@example.com"]).contains("no grant of that name"));
    let token = ["token", "issue", "--client", "app", "--user", USER, "--scope", "read", "--json"];
    let issued: Value = serde_json::from_str(&ask(&token)).expect("JSON");
    let hash = issued["hash"].as_str().expect("a hash");
    assert!(ask(&["token", "inspect", "--hash", hash]).contains("live"), "in the second of the revocation");
    ask(&["user", "revoke", USER]);
    assert!(ask(&["token", "list", "--client", "app"]).contains("no live tokens"), "and in the same second once more");
}

#[test]
fn what_names_no_grant_is_refused() {
    let setup = setup();
    let config = setup.write();
    for (arguments, code, words) in [
        (&["grant", "list"][..], 2, &["--client", "--user"][..]),
        (&["grant", "list", "--client", "nosuch"], 1, &["no client `nosuch`", "scopegate client list"]),
        (&["grant", "list", "--user", " "], 1, &["a user is named"]),
        (&["grant", "show", "nosuch"], 1, &["no grant `nosuch`", "scopegate grant list"]),
        (&["grant", "revoke", "a:b"], 1, &["no grant `a:b`"]),
        (&["user", "revoke", "a\nb"], 1, &["a user is named"]),
        (&["grant", "list", "--user", USER, "--site", "nosuch"], 1, &["no site `nosuch`"]),
    ] {
        refused(&with_config(&config, arguments, ""), code, words);
    }
}
