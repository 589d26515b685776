//! `store`: the store as a whole.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::admin::moving;
use crate::admin::terminal;
use crate::admin::terminal::complain;
use crate::admin::terminal::progress::Progress;
use crate::app::Failure;
use crate::cli::administer::{Shown, block_on, failed};
use crate::cli::{ConfigPath, EXIT_CONFIG, EXIT_FAILED};
use crate::config;
use crate::config::checked::Config;
use crate::store::copy::Existing;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate store backup /var/backups/scopegate.redb")]
pub struct Store {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Write everything that the embedded store holds at one moment into a file
    #[command(
        after_help = "Examples:\n  scopegate store backup /var/backups/scopegate.redb\n  scopegate store backup \"/var/backups/scopegate-$(date +%F).redb\" --json\n\nThe gate may run meanwhile. The file is a store itself, readable by its owner only. It holds hashes and sealed credentials; the encryption key is not in it."
    )]
    Backup(Backup),
    /// Put a backup in the place of the embedded store
    #[command(
        after_help = "Examples:\n  scopegate store restore /var/backups/scopegate.redb\n  scopegate store restore /var/backups/scopegate.redb --replace\n\nThe gate must be stopped. Tokens that were revoked after the backup live again, and so do refresh tokens that were spent after it: revoke them again, from the audit log."
    )]
    Restore(Restore),
    /// Copy everything into the store of another config, so that a site moves and nobody signs in again
    #[command(
        after_help = "Examples:\n  scopegate store copy --to /etc/scopegate/redis.toml\n  scopegate store copy --config /etc/scopegate/redis.toml --to embedded.toml --json\n\nWrite the new config first: a copy of the old one with another [store] and the same encryption key. Both ways are possible, embedded to Redis and Redis to embedded. It may be run again; what is there already stays. Codes and sign-ins are left out, which live for minutes.\nStop the gates first: what they write during the copy may be missing in it. Once the target is in use, do not copy again: what was revoked or spent there would live again.\nOn Redis the user needs +scan +sscan +hscan +pttl as well, for this command only."
    )]
    Copy(Copy),
}

#[derive(Debug, Args)]
struct Backup {
    /// The file to write; it must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Restore {
    /// A backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do away with what the store holds
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Copy {
    /// The config whose [store] is copied into; variables of the environment are not laid over it
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Leave there what only the target has
    #[arg(long, conflicts_with = "replace")]
    merge: bool,
    /// Remove what only the target has, and overwrite what it has otherwise
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(store: Store) -> Result<(), Failure> {
    match store.command {
        StoreCommand::Backup(asked) => backup(&asked),
        StoreCommand::Restore(asked) => restore(&asked),
        StoreCommand::Copy(asked) => copy(&asked),
    }
}

fn backup(asked: &Backup) -> Result<(), Failure> {
    let (config, _) = asked.config.load()?;
    let mut progress = Progress::on_stderr("backed up");
    let made = moving::backup(&config.admin.socket, &config.store, &asked.file, |count| progress.tell(count));
    let made = block_on(made)?;
    drop(progress);
    let made = made.map_err(failed)?;
    Shown::new(&made, |_| terminal::backed_up(&made)).print(asked.json)
}

fn restore(asked: &Restore) -> Result<(), Failure> {
    let (config, _) = asked.config.load()?;
    let restored = block_on(moving::restore(&config.admin.socket, &config.store, &asked.file, asked.replace))?.map_err(failed)?;
    Shown::new(&restored, |_| terminal::restored(&restored)).print(asked.json)
}

fn copy(asked: &Copy) -> Result<(), Failure> {
    let (config, _) = asked.config.load()?;
    let target = target(&asked.to)?;
    check_key(&config, &target, &asked.to)?;
    let existing = match (asked.merge, asked.replace) {
        (true, _) => Existing::Merge,
        (false, true) => Existing::Replace,
        (false, false) => Existing::Refuse,
    };
    let mut progress = Progress::on_stderr("copied");
    let copied = moving::copy_to(&config.admin.socket, &config.store, &target.store, existing, |count| progress.tell(count));
    let copied = block_on(copied)?;
    drop(progress);
    let copied = copied.map_err(failed)?;
    Shown::new(&copied, |_| terminal::copied_store(&copied)).print(asked.json)
}

/// The config of the target, as it is written: what the environment says is about this one.
fn target(file: &Path) -> Result<Config, Failure> {
    let (config, warnings) =
        config::load(file, std::iter::empty()).map_err(|error| Failure { exit: EXIT_CONFIG, message: error.to_string() })?;
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    Ok(config)
}

/// What is sealed goes over as it is, and must open there.
fn check_key(source: &Config, target: &Config, file: &Path) -> Result<(), Failure> {
    if source.encryption_key == target.encryption_key {
        return Ok(());
    }
    let message = format!(
        "`{}` has another encryption key than the config of the source, so nothing that is sealed would open there; write the same \
         encryption_key_file in both",
        file.display()
    );
    Err(Failure { exit: EXIT_FAILED, message })
}
