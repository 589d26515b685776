//! The clients that people use, unchanged, through `scopegate demo`: `frappe-client` from PyPI and `frappe-js-sdk` from npm.
//!
//! `tests/run` installs both, pinned, into `.cache/`; the scripts that drive them stand in `tests/clients/`.

pub mod demo;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::clients::demo::Demo;

#[test]
fn the_python_client_works_and_surfaces_refusals() {
    let python = installed("python/bin/python");
    let mut command = Command::new(python);
    command.arg(script("frappe_client.py"));
    drive(command);
}

#[test]
fn the_javascript_client_works_and_surfaces_refusals() {
    let modules = installed("node/node_modules/frappe-js-sdk").parent().expect("node_modules").to_owned();
    let mut command = Command::new("node");
    command.arg(script("frappe_js_sdk.mjs")).env("CLIENTS_NODE_MODULES", modules);
    drive(command);
}

/// Runs a script against a demo of its own.
fn drive(mut command: Command) {
    let demo = Demo::start();
    let authority = demo.ready["ca_file"].as_str().expect("the demo has an authority");
    let mut child = command
        .env("NODE_EXTRA_CA_CERTS", authority)
        // Where the machine sets it, it goes before what a session was told.
        .env("REQUESTS_CA_BUNDLE", authority)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/run, which installs what is missing"));
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{}", demo.ready).expect("the script reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the script ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.trim_end().ends_with("ok"), "{}\n{stdout}{stderr}", output.status);
}

/// Something that `tests/run` puts into `.cache/`, or into the directory that SCOPEGATE_TEST_CACHE names.
fn installed(path: &str) -> PathBuf {
    let cache =
        std::env::var_os("SCOPEGATE_TEST_CACHE").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from);
    let path = cache.join(path);
    assert!(path.exists(), "{} is missing: run tests/run, which installs the clients", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}
