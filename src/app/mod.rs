//! Everything built and wired, then run until shutdown.

pub mod demo;

use std::path::Path;

/// Why the gate did not start, or ended: the process's exit code, and what its operator reads.
#[derive(Debug)]
pub struct Failure {
    pub exit: u8,
    pub message: String,
}

/// Serves what the config at `config` says until SIGTERM; with `ready_json` it prints its addresses when every port is open.
pub fn serve(config: &Path, ready_json: bool) -> Result<(), Failure> {
    let _ = (config, ready_json);
    Err(Failure { exit: 1, message: "this build cannot serve yet".to_owned() })
}
