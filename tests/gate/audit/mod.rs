//! The audit log as a product: every request is in it once, whatever becomes of it; nobody takes a line out unseen; and it says what it
//! lost, or lets nothing through that it could not keep.

mod commands;
mod full;
mod outputs;
mod whole;

use serde_json::Value;

use crate::support::gate::{Gate, cli, cli_json};

/// Keys the chain where a test wants that.
const CHAIN_KEY: &str = "chain_key = \"5e3c6cb1e7f94ee0a1d3f3bb2a7b1c1de3a2f4\"";

/// Ends the gate in order, and keeps its directory.
fn end(gate: &mut Gate) {
    gate.signal("TERM");
    gate.wait_killed();
}

/// What `audit verify` says of the log of a gate, which must be whole.
fn whole(gate: &Gate, files: &[&str]) -> Value {
    let found = cli_json(&gate.config, &[&["audit", "verify", "--json"], files].concat());
    assert_eq!(found["ok"], true, "{found:#}");
    found
}

/// What it says of one that must not be.
fn not_whole(gate: &Gate, arguments: &[&str]) -> String {
    let output = cli(&gate.config, &[&["audit", "verify"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
