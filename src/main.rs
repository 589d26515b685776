//! The command line; see `cli.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    scopegate::cli::run()
}
