//! Where a command finds its operations when no gate answers, and when something else does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;

use crate::support::setup::SITE;

use super::{refused, setup, stdout, with_config};

const CREATE: [&str; 7] = ["client", "create", "--name", "App", "--id", "app", "--scopes"];

#[test]
fn a_socket_that_was_left_behind_is_no_gate() {
    let setup = setup();
    let config = setup.write();
    drop(UnixListener::bind(setup.dir.path().join("admin.sock")).expect("a free path"));
    stdout(&with_config(&config, &[&CREATE[..], &["read"]].concat(), ""));
    refused(&with_config(&config, &["status"], ""), 1, &["no gate answers", "admin.sock", "scopegate serve"]);
    let store = fs::metadata(setup.dir.path().join("store.redb")).expect("it was made");
    assert_eq!(store.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_store_that_root_makes_belongs_to_the_owner_of_its_directory() {
    let setup = setup();
    let config = setup.write();
    let directory = setup.dir.path().join("state");
    let path = directory.join("store.redb");
    let setup = setup.config(&format!("[store]\npath = \"{}\"", path.display()));
    setup.write();
    fs::create_dir(&directory).expect("the directory is ours");
    // Only root can give anything away; for others there is nothing to see.
    if chown(&directory, Some(12_345), Some(12_345)).is_ok() {
        stdout(&with_config(&config, &[&CREATE[..], &["read"]].concat(), ""));
        let made = fs::metadata(&path).expect("it was made");
        assert_eq!((made.uid(), made.gid()), (12_345, 12_345));
    }
}

#[test]
fn a_store_that_is_held_by_a_gate_that_does_not_answer_is_named() {
    let setup = setup();
    let config = setup.write();
    stdout(&with_config(&config, &[&CREATE[..], &["read"]].concat(), ""));
    let _held = scopegate::store::embedded::EmbeddedStore::open(&setup.dir.path().join("store.redb")).expect("nobody holds it");
    refused(&with_config(&config, &["client", "list"], ""), 1, &["no gate answers", "admin.sock", "store.redb", "another process"]);
    let checked = with_config(&config, &["check"], "");
    assert!(stdout(&checked).starts_with("ok: "), "a running gate holds its store, and may be checked before a reload");
}

#[test]
fn one_of_several_sites_must_be_named() {
    let setup = setup().config(&format!(
        r#"
        [[site]]
        name = "{SITE}"
        upstreams = ["http://127.0.0.1:1"]
        credential = "forward"
        [[site]]
        name = "other.test"
        upstreams = ["http://127.0.0.1:1"]
        credential = "forward"
        "#
    ));
    let config = setup.write();
    refused(&with_config(&config, &["client", "list"], ""), 2, &["--site", SITE, "other.test"]);
    refused(&with_config(&config, &["explain", "GET", "/"], ""), 2, &["--site"]);
    refused(&with_config(&config, &["client", "list", "--site", "othre.test"], ""), 1, &["did you mean `other.test`?"]);
    let key = ["--api-key-file", "-", "--site", "other.test"];
    refused(&with_config(&config, &[&CREATE[..], &["read"], &key].concat(), "a:s3cret"), 1, &["api-key"]);
}
