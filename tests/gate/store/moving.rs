//! A store is backed up, restored and moved: the same tokens, the same refresh tokens and the same keys count afterwards, and nothing is
//! written where it would undo something.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

use scopegate::store::embedded::EmbeddedStore;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gate::{Gate, USER, cli, cli_json};
use crate::support::provider::{App, CALLBACK, Frappe, Person, Provider, authorize};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::Upstream;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("`{key}` in {value}"))
}

/// The command failed with `code`, said each of `words`, and printed no answer.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty() && !stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` in {stderr}");
    }
}

/// Stops the gate and gives what it stood on.
fn stopped(mut gate: Gate) -> Gate {
    gate.signal("TERM");
    gate.wait_killed();
    gate
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// What an app holds.
struct Held {
    app: App,
    access: String,
    refresh: String,
    keys: Value,
}

impl Held {
    fn of(provider: &Provider) -> Self {
        let app = provider.confidential("dashboard", "read openid");
        let tokens = provider.tokens(&app, "read openid");
        let keys = provider.get("/oauth/jwks").json();
        Self { app, access: text(&tokens, "access_token").to_owned(), refresh: text(&tokens, "refresh_token").to_owned(), keys }
    }

    /// All of it counts, and the refresh token is exchanged for the next.
    fn counts(&mut self, provider: &Provider) {
        assert_eq!(provider.api("GET", "/api/resource/Item", &self.access, None).status, 200);
        assert_eq!(provider.get("/oauth/jwks").json(), self.keys);
        let reply = provider.token(&self.app, &[("grant_type", "refresh_token"), ("refresh_token", &self.refresh)]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let tokens = reply.json();
        for (held, name) in [(&mut self.access, "access_token"), (&mut self.refresh, "refresh_token")] {
            *held = text(&tokens, name).to_owned();
            provider.gate.keep_secret(held);
        }
        assert_eq!(provider.api("GET", "/api/resource/Item", &self.access, None).status, 200);
    }
}

/// A gate in the place of the one that a provider has, on the same Frappe.
fn moved(provider: Provider, setup: Setup) -> Provider {
    let Provider { gate, frappe } = provider;
    drop(gate);
    Provider { gate: setup.start(), frappe }
}

#[test]
fn a_site_moves_to_redis_and_back_and_nobody_signs_in_again() {
    let provider = Provider::embedded();
    let mut held = Held::of(&provider);
    let machine =
        provider.gate.cli_json(&["client", "create", "--site", SITE, "--id", "etl", "--name", "ETL", "--scopes", "read", "--json"]);
    provider.gate.keep_secret(text(&machine, "client_secret"));
    let revoked =
        provider.gate.cli_json(&["token", "issue", "--site", SITE, "--client", "etl", "--user", USER, "--scope", "read", "--json"]);
    let revoked = text(&revoked, "access_token").to_owned();
    provider.gate.keep_secret(&revoked);
    provider.gate.cli_json(&["user", "revoke", USER, "--site", SITE, "--json"]);

    let on_redis = Provider::setup(Setup::on(Redis::start(), &provider.frappe.url()), &provider.frappe, "");
    let new = on_redis.write();
    let copy = |config: &Path, to: &Path, more: &[&str]| cli_json(config, &[&["store", "copy", "--to", path(to), "--json"], more].concat());
    // A rehearsal, while the gate goes on.
    let rehearsed = copy(&provider.gate.config, &new, &[]);
    assert_eq!(rehearsed["gate_was_running"], true, "{rehearsed}");
    for (what, count) in
        [("clients", 2), ("tokens", 2), ("grants", 1), ("refresh_tokens", 1), ("credentials", 1), ("signing_keys", 1), ("marks", 2)]
    {
        assert_eq!(rehearsed["copied"][what], count, "{what} in {rehearsed}");
    }
    assert_eq!((&rehearsed["left_out"]["codes"], &rehearsed["left_out"]["sessions"]), (&json!(1), &json!(1)), "{rehearsed}");
    let again = copy(&provider.gate.config, &new, &[]);
    assert_eq!((&again["copied"], again["same"]["tokens"].as_u64()), (&json!({}), Some(2)), "{again}");

    // The app goes on too, so the copy is no longer what the gate holds: a spent refresh token would be whole there.
    held.counts(&provider);
    let config = provider.gate.config.clone();
    refused(&cli(&config, &["store", "copy", "--to", path(&new)]), 1, &["is not empty", "otherwise than the source", "--replace"]);
    refused(&cli(&config, &["store", "copy", "--to", path(&new), "--merge"]), 1, &["is not empty", "nothing was copied"]);

    let source = stopped(provider.gate);
    let provider = Provider { gate: source, frappe: provider.frappe };
    let finally = copy(&config, &new, &["--replace"]);
    assert_eq!(finally["gate_was_running"], false, "{finally}");

    let Provider { gate: source, frappe } = provider;
    let mut provider = Provider { gate: on_redis.start(), frappe };
    held.counts(&provider);
    assert_eq!(provider.api("GET", "/api/resource/Item", &revoked, None).status, 401, "its user was revoked before");
    let shown = provider.gate.cli_json(&["client", "show", "etl", "--site", SITE, "--json"]);
    assert_eq!(text(&shown, "name"), "ETL");

    // And back, into a file that is not there yet.
    let home = Provider::setup(Setup::embedded_at(&provider.frappe.url()), &provider.frappe, "");
    let back = copy(&provider.gate.config, &home.write(), &[]);
    assert_eq!((&back["gate_was_running"], back["unknown"].as_u64()), (&Value::Null, Some(0)), "{back}");
    let mode = fs::metadata(home.dir.path().join("store.redb")).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    provider = moved(provider, home);
    held.counts(&provider);
    drop(source);
}

#[test]
fn a_copy_with_another_key_into_itself_or_into_nothing_is_refused() {
    let provider = Provider::embedded();
    let _held = Held::of(&provider);
    let config = provider.gate.config.clone();
    let redis = Redis::start();
    let to = |setup: &Setup| cli(&config, &["store", "copy", "--to", path(&setup.write())]);

    let setup = || Provider::setup(Setup::redis_at(&redis.url(), &provider.frappe.url()), &provider.frappe, "");
    let other_key = setup().config(&format!("[store]\nencryption_key = \"{}\"", "5b".repeat(32)));
    refused(&to(&other_key), 1, &["another encryption key", "scopegate.toml"]);
    refused(&cli(&config, &["store", "copy", "--to", path(&config)]), 1, &["the same store", "--to"]);
    refused(&cli(&config, &["store", "copy", "--to", "/nosuch/new.toml"]), 78, &["/nosuch/new.toml"]);
    let wrong = setup().config("[store]\nkind = \"cat\"");
    refused(&to(&wrong), 78, &["`cat` is not a store"]);
    let password = "fake-redis-password";
    let nowhere =
        Provider::setup(Setup::redis_at(&format!("redis://:{password}@127.0.0.1:1/"), &provider.frappe.url()), &provider.frappe, "");
    let output = to(&nowhere);
    refused(&output, 1, &["the target cannot be opened", "127.0.0.1:1"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(password));

    // A target that another gate holds, and one that was served from.
    let held = Setup::embedded_at(&provider.frappe.url());
    let held = Provider::setup(held, &provider.frappe, "");
    let file = held.write();
    let store = EmbeddedStore::open(&held.dir.path().join("store.redb")).expect("a new store");
    refused(&cli(&config, &["store", "copy", "--to", path(&file)]), 1, &["the target cannot be opened", "held by another process"]);
    drop(store);
    let create = ["client", "create", "--site", SITE, "--id", "own", "--name", "Own", "--scopes", "read", "--json"];
    cli_json(&file, &create);
    refused(&cli(&config, &["store", "copy", "--to", path(&file)]), 1, &["is not empty", "1 client that the source has not", "--merge"]);
    let merged = cli_json(&config, &["store", "copy", "--to", path(&file), "--merge", "--json"]);
    assert_eq!((merged["kept"]["clients"].as_u64(), merged["copied"]["clients"].as_u64()), (Some(1), Some(1)), "{merged}");
    assert_eq!(cli_json(&file, &["client", "list", "--site", SITE, "--json"])["clients"].as_array().map(Vec::len), Some(2));
    assert!(redis.keys().is_empty(), "nothing was written where it was refused");

    // Where there is nothing to copy.
    let bare = setup();
    let bare_file = bare.write();
    let unmade = Provider::setup(Setup::embedded_at(&provider.frappe.url()), &provider.frappe, "");
    refused(&cli(&unmade.write(), &["store", "copy", "--to", path(&bare_file)]), 1, &["there is no store at", "store.redb"]);
    assert!(!unmade.dir.path().join("store.redb").exists(), "none is made to be copied");
}

fn issue(gate: &Gate) -> String {
    let token = issued(&gate.config);
    gate.keep_secret(&token);
    token
}

fn issued(config: &Path) -> String {
    let issued = cli_json(config, &["token", "issue", "--site", SITE, "--client", "app", "--user", USER, "--scope", "read", "--json"]);
    text(&issued, "access_token").to_owned()
}

fn state(config: &Path, token: &str) -> Option<String> {
    let output = cli(config, &["token", "inspect", token, "--site", SITE, "--json"]);
    let shown: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    shown.map(|shown| text(&shown, "state").to_owned())
}

/// A running gate on the embedded store, with a client `app`.
fn embedded() -> (Gate, PathBuf) {
    let gate = Setup::embedded(&Upstream::json("{}")).start();
    gate.cli_json(&["client", "create", "--site", SITE, "--id", "app", "--name", "App", "--scopes", "read", "--json"]);
    let file = gate.setup.dir.path().join("backup.redb");
    (gate, file)
}

#[test]
fn a_backup_is_made_while_the_gate_runs_and_restored_when_it_does_not() {
    let (gate, file) = embedded();
    let before = issue(&gate);
    let made = gate.cli_json(&["store", "backup", path(&file), "--json"]);
    assert_eq!((made["holds"]["clients"].as_u64(), made["holds"]["tokens"].as_u64()), (Some(1), Some(1)), "{made}");
    let written = fs::metadata(&file).expect("it was made");
    assert_eq!((written.permissions().mode() & 0o777, made["bytes"].as_u64()), (0o600, Some(written.len())));
    refused(&cli(&gate.config, &["store", "backup", path(&file)]), 1, &["backup.redb", "is there already"]);
    let after = issue(&gate);
    gate.cli_json(&["token", "revoke", &before, "--site", SITE, "--json"]);
    refused(&cli(&gate.config, &["store", "restore", path(&file), "--replace"]), 1, &["held by a running gate", "stop it first"]);

    let gate = stopped(gate);
    let config = &gate.config;
    refused(&cli(config, &["store", "restore", path(&file)]), 1, &["holds 1 client, 1 token;", "--replace"]);
    assert_eq!((state(config, &before), state(config, &after).as_deref()), (None, Some("live")), "nothing has changed");
    let store = gate.setup.dir.path().join("store.redb");
    // Only root can give anything away; for others there is nothing to see.
    let given = chown(&store, Some(12_345), Some(12_345)).is_ok();
    let restored = cli_json(config, &["store", "restore", path(&file), "--replace", "--json"]);
    assert_eq!((&restored["holds"], &restored["held_before"]), (&made["holds"], &json!({"clients": 1, "tokens": 1})));
    let put = fs::metadata(&store).expect("it is there");
    assert_eq!((put.permissions().mode() & 0o777, put.uid() == 12_345), (0o600, given), "it belongs to whom it belonged to");
    assert_eq!((state(config, &before).as_deref(), state(config, &after)), (Some("live"), None));

    // Where no gate runs, the file is read by the command itself; and onto an empty store nothing needs to be replaced.
    let second = gate.setup.dir.path().join("second.redb");
    let output = cli(config, &["store", "backup", path(&second)]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("second.redb") && told.contains(": 1 client, 1 token\n"), "{told}");
    fs::remove_file(&store).expect("the directory is ours");
    let restored = cli_json(config, &["store", "restore", path(&second), "--json"]);
    assert_eq!(restored["held_before"], json!({}), "{restored}");
    assert_eq!(state(config, &before).as_deref(), Some("live"));
    let beside: Vec<_> = fs::read_dir(gate.setup.dir.path()).expect("it is there").map(|entry| entry.expect("read").file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains(".redb.")), "nothing stays behind: {beside:?}");
}

#[test]
fn what_is_no_backup_is_not_restored_and_the_store_stays() {
    let (gate, file) = embedded();
    let token = issue(&gate);
    gate.cli_json(&["store", "backup", path(&file), "--json"]);
    let gate = stopped(gate);
    let config = &gate.config;
    let directory = gate.setup.dir.path();
    let restore = |file: &Path| cli(config, &["store", "restore", path(file), "--replace"]);
    let good = fs::read(&file).expect("it was made");
    let bad = |name: &str, bytes: &[u8]| {
        let file = directory.join(name);
        fs::write(&file, bytes).expect("the directory is ours");
        file
    };
    let half = &good[..good.len() / 2];
    for (name, bytes) in [("empty", &b""[..]), ("text", b"[store]\n"), ("half", half), ("zeros", &[0; 8192])] {
        let file = bad(name, bytes);
        refused(&restore(&file), 1, &[name, "is not restored"]);
        assert_eq!(fs::read(&file).expect("it is there"), bytes, "{name} is as it was");
    }
    let mut flipped = 0;
    for at in (0..good.len()).step_by(good.len() / 12) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        let output = restore(&bad("flipped", &bytes));
        flipped += usize::from(!output.status.success());
        // Either it did no harm, or it was refused; either way the token is there.
        assert_eq!(state(config, &token).as_deref(), Some("live"), "byte {at}");
    }
    assert!(flipped > 0, "some byte matters");
    refused(&restore(&directory.join("nosuch")), 1, &["nosuch"]);
    refused(&restore(&directory.join("store.redb")), 1, &["is the store itself"]);
    refused(&restore(directory), 1, &["cannot be"]);

    // A damaged store is what a backup is for.
    fs::write(directory.join("store.redb"), half).expect("the directory is ours");
    refused(&cli(config, &["store", "restore", path(&file)]), 1, &["store.redb", "--replace"]);
    let output = restore(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(state(config, &token).as_deref(), Some("live"));

    // The file of a store that is open elsewhere is no backup, and a store that is open elsewhere is not replaced.
    let open = EmbeddedStore::open(&directory.join("open.redb")).expect("a new store");
    refused(&restore(&directory.join("open.redb")), 1, &["the store of a running gate", "scopegate store backup"]);
    drop(open);
    let open = EmbeddedStore::open(&directory.join("store.redb")).expect("nobody holds it");
    refused(&restore(&file), 1, &["held by a running gate"]);
    drop(open);
}

#[test]
fn backups_are_of_embedded_stores_and_go_where_they_can() {
    let upstream = Upstream::json("{}");
    let redis = Setup::new(&upstream);
    let config = redis.write();
    let file = redis.dir.path().join("backup.redb");
    refused(&cli(&config, &["store", "backup", path(&file)]), 1, &["the configured store is Redis"]);
    refused(&cli(&config, &["store", "restore", path(&file)]), 1, &["the configured store is Redis", "store copy"]);

    let embedded = Setup::embedded(&upstream);
    let config = embedded.write();
    refused(&cli(&config, &["store", "backup", path(&file)]), 1, &["there is no store at", "store.redb"]);
    assert!(!embedded.dir.path().join("store.redb").exists());
    cli_json(&config, &["client", "create", "--site", SITE, "--id", "app", "--name", "App", "--scopes", "read", "--json"]);
    refused(&cli(&config, &["store", "backup", "/nosuch/backup.redb"]), 1, &["/nosuch/backup.redb", "no directory"]);
    refused(&cli(&config, &["store", "backup", path(embedded.dir.path())]), 1, &["is there already"]);
    assert!(!file.exists());
}

#[test]
fn a_backup_under_writes_is_one_state_of_the_store() {
    let (gate, _) = embedded();
    std::thread::scope(|scope| {
        let config = &gate.config;
        let writing = scope.spawn(move || (0..20).map(|_| issued(config)).collect::<Vec<_>>());
        let mut counts = Vec::new();
        let mut number = 0;
        eventually("all are written", || {
            let file = gate.setup.dir.path().join(format!("backup-{number}.redb"));
            number += 1;
            let made = gate.cli_json(&["store", "backup", path(&file), "--json"]);
            counts.push(made["holds"]["tokens"].as_u64().unwrap_or_default());
            writing.is_finished()
        });
        writing.join().expect("the gate answers").iter().for_each(|token| gate.keep_secret(token));
        assert!(counts.is_sorted(), "{counts:?}");
    });
}

#[test]
fn an_app_that_was_sent_away_with_a_code_comes_back_to_the_moved_gate_and_asks_again() {
    let frappe = Frappe::start();
    let provider = Provider::begin(Setup::embedded_at(&frappe.url()), frappe, "");
    let app = provider.confidential("dashboard", "read");
    let code = Person::new(&provider).allow(&app, "read");
    let on_redis = Provider::setup(Setup::on(Redis::start(), &provider.frappe.url()), &provider.frappe, "");
    cli_json(&provider.gate.config, &["store", "copy", "--to", path(&on_redis.write()), "--json"]);
    let provider = moved(provider, on_redis);
    let reply = provider.redeem(&app, &code);
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_grant")), "codes are left out");
    let reply = provider.token(&app, &[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", CALLBACK)]);
    assert_eq!(reply.status, 400);
    // The grant was copied, so that nobody is asked for consent again.
    let mut person = Person::new(&provider);
    let page = person.begin(&authorize(&app, "read", &[]));
    assert!(page.location().starts_with(CALLBACK), "{}", page.location());
}
