//! `audit`: whether the audit log is whole, and what is in it.

mod filter;
mod row;
mod tail;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::Failure;
use crate::audit::Output;
use crate::cli::audit::filter::FilterArguments;
use crate::cli::{ConfigPath, EXIT_FAILED};
use crate::config::checked::Config;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scopegate audit tail --follow --status 4xx\n  scopegate audit verify")]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether the log is whole: no line removed, altered, moved, doubled or put in
    #[command(
        after_help = "Examples:\n  scopegate audit verify\n  scopegate audit verify audit.log.2 audit.log.1 audit.log\n  scopegate audit verify --key-file audit-key audit.log --json\n  scopegate audit verify --partial - < part.log\n\nName rotated files with the oldest first; `zcat FILE` those that are compressed, and name `-`. Files before the oldest may be gone.\nWhat was cut off at the end shows by FILE.state beside the last file, which is read where it is there, or by --expect-seq.\nWithout a key the chain finds accidents and clumsy hands: who can write the file can compute it anew.\n\nExit code 1 where the log is not whole."
    )]
    Verify(Verify),
    /// Show the last lines, or those that are asked for
    #[command(
        after_help = "Examples:\n  scopegate audit tail\n  scopegate audit tail -n 50 --client crm --decision refuse\n  scopegate audit tail --since 10m --status 5xx --json\n  scopegate audit tail --follow --doctype \"Sales Order\" /var/log/scopegate/audit.log\n\nTimes are UTC, of when a request began; a line is written when it has ended."
    )]
    Tail(Box<Tail>),
}

#[derive(Debug, Args)]
struct Verify {
    /// The files of the log, the oldest first; `-` for standard input [default: the one of the config]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A key of the chain; once for each [default: the one of the config]
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Take a chain without a key for whole although there is a key
    #[arg(long)]
    unkeyed_too: bool,
    /// It may begin anywhere, as a part of a journal does
    #[arg(long)]
    partial: bool,
    /// The number of the last line, or GATE:NUMBER, as it is known from elsewhere
    #[arg(long, value_name = "SEQ")]
    expect_seq: Option<String>,
    /// Do not look at FILE.state
    #[arg(long)]
    without_state: bool,
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Tail {
    /// The file [default: the one of the config]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many lines; 20 unless --since says from when
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u64>,
    /// Go on with what is written from now on, over rotations
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    config: ConfigPath,
    /// Print the lines as they are in the file
    #[arg(long)]
    json: bool,
}

pub fn run(audit: &Audit) -> Result<(), Failure> {
    match &audit.command {
        AuditCommand::Verify(asked) => verify::run(asked),
        AuditCommand::Tail(asked) => tail::run(asked),
    }
}

/// The file that a gate with this config writes.
fn file_of(config: &Config) -> Result<PathBuf, Failure> {
    let elsewhere = match &config.audit.output {
        Output::File(path) => return Ok(path.clone()),
        Output::Stdout => "goes to standard output; name the file it ends up in",
        Output::Syslog { .. } => "goes to syslog; name the file that the daemon writes",
        Output::Journald { .. } => "goes to the journal: `journalctl -t scopegate-audit -o cat`",
        Output::Off => "is off",
    };
    Err(failed(format!("the audit log of this config {elsewhere}")))
}

fn failed(message: String) -> Failure {
    Failure { exit: EXIT_FAILED, message }
}

fn unreadable(file: &std::path::Path, error: &std::io::Error) -> Failure {
    failed(format!("`{}` cannot be read: {error}", file.display()))
}
