//! The commands that need no running gate: what they print, what they leave in the store, and how they refuse.

mod door;
mod explain;
mod grants;
mod output;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

/// A config on the embedded store, before an upstream that nobody asks.
fn setup() -> Setup {
    Setup::embedded(&Upstream::json("{}"))
}

/// Runs the binary with `input` on its standard input, in an environment that holds `variables` alone.
fn run(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary is built");
    // A command that does not read its input may have ended already.
    drop(child.stdin.take().expect("piped").write_all(input.as_bytes()));
    child.wait_with_output().expect("it ends")
}

fn with_config(config: &Path, arguments: &[&str], input: &str) -> Output {
    run(arguments, input, &[("SCOPEGATE_CONFIG", config.to_str().expect("the path is UTF-8"))])
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The command failed with `code`, said each of `words`, printed no answer, and did not panic.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` in {stderr}");
    }
}
