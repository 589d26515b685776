//! The command line: what can be asked, and the exit code of the answer.
//!
//! 0 is fine, 1 failed, 2 wrong usage (`clap` says so itself), 3 done though not every gateway has said that it has applied it, 78 a bad
//! config (`EX_CONFIG` of sysexits.h, which service managers know).
//! Answers go to standard output, everything else to standard error.

mod administer;
mod audit;
mod check;
mod client;
mod explain;
mod grant;
mod input;
mod keep;
mod token;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::admin::terminal::complain;
use crate::app;
use crate::app::Failure;
use crate::app::demo::DemoOptions;
use crate::cli::audit::Audit;
use crate::cli::client::Client;
use crate::cli::grant::{Grant, User};
use crate::cli::keep::Store;
use crate::cli::token::Token;
use crate::config;
use crate::config::checked::Config;
use crate::config::quantity::parse_time;
use crate::config::report::{ConfigError, Warning};

/// Where the config is, unless `--config` or the variable says otherwise.
const CONFIG_PATH: &str = "/etc/scopegate/scopegate.toml";
const CONFIG_VARIABLE: &str = "SCOPEGATE_CONFIG";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// `--wait` in vain; what was asked for is done.
const EXIT_UNCONFIRMED: u8 = 3;
const EXIT_CONFIG: u8 = 78;

/// Reads the command line, does what it says and tells the process's exit code.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => app::serve(&serve.config.path(), serve.ready_json),
        Command::Demo(demo) => app::demo::run(demo.options()),
        Command::Check(check) => check::run(&check),
        Command::Client(client) => administer::client(client),
        Command::Token(token) => administer::token(token),
        Command::Grant(grant) => administer::grant(grant),
        Command::User(user) => administer::user(user),
        Command::Store(store) => keep::run(store),
        Command::Explain(explain) => explain::run(&explain),
        Command::Audit(audit) => audit::run(&audit),
        Command::Status(status) => administer::status(&status),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            complain(&message);
            ExitCode::from(exit)
        }
    }
}

/// The gate that makes OAuth scopes mean something on Frappe and ERPNext REST APIs.
#[derive(Debug, Parser)]
#[command(
    name = "scopegate",
    version,
    after_help = "Examples:\n  scopegate demo                          see it work, with nothing else installed\n  scopegate check --config gate.toml      every mistake of a config, with its line and remedy\n  scopegate explain DELETE /api/resource/Lead/L-1 --scope read\n\nExit codes: 0 fine, 1 failed, 2 usage, 3 done, but --wait was in vain, 78 bad config."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate, until SIGTERM
    Serve(Serve),
    /// Run a gate before an ERP in memory, with a sign-in and tokens to try
    Demo(Demo),
    /// Say what is wrong with a config, certificates and store included
    Check(Check),
    /// Clients: the apps that tokens are issued for
    Client(Client),
    /// Tokens: issue, look at, revoke
    Token(Token),
    /// Grants: what users let apps do
    Grant(Grant),
    /// Users: end everything that was issued for one
    User(User),
    /// The store as a whole: back it up, restore it, move it
    Store(Store),
    /// Say what a request would do, which scopes allow it, and what is decided, without sending it
    Explain(Explain),
    /// The audit log: look at it, and check that it is whole
    Audit(Audit),
    /// Ask the running gate how it is
    Status(Status),
}

#[derive(Debug, Args)]
struct ConfigPath {
    /// The config [default: $SCOPEGATE_CONFIG or /etc/scopegate/scopegate.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigPath {
    fn path(&self) -> PathBuf {
        self.named().unwrap_or_else(|| CONFIG_PATH.into())
    }

    /// The config that was asked for by name.
    fn named(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    /// The config, with its warnings; whatever is wrong with it is exit code 78.
    fn load(&self) -> Result<(Config, Vec<Warning>), Failure> {
        load(&self.path()).map_err(|error| Failure { exit: EXIT_CONFIG, message: error.to_string() })
    }
}

fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigError> {
    config::load(path, config::environment()?.into_iter())
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate serve --config /etc/scopegate/scopegate.toml")]
struct Serve {
    #[command(flatten)]
    config: ConfigPath,
    /// Print one line of JSON with every address when all ports are open
    #[arg(long)]
    ready_json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scopegate demo\n  scopegate demo --json --port 0 --http-port 0")]
struct Demo {
    /// Print one line of JSON, for scripts, in place of the curl lines
    #[arg(long)]
    json: bool,
    /// The port for HTTPS; 0 for a free one
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    port: u16,
    /// The port for HTTP, which refuses tokens; 0 for a free one
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http_port: u16,
    /// The port of the ERP in memory; 0 for a free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    upstream_port: u16,
    /// The port of the app that users let in; 0 for a free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    app_port: u16,
}

impl Demo {
    fn options(&self) -> DemoOptions {
        DemoOptions {
            port: self.port,
            http_port: self.http_port,
            upstream_port: self.upstream_port,
            app_port: self.app_port,
            json: self.json,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate check --config gate.toml && systemctl reload scopegate")]
struct Check {
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What every command on clients, tokens, grants and users takes.
#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    config: ConfigPath,
    /// The site; may be left out where the config has only one
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scopegate explain GET \"/api/resource/Sales Order?limit_page_length=5\" --scope read:sales-order\n  scopegate explain POST /api/method/frappe.client.delete --body '-' --scope write <<< '{\"doctype\":\"Lead\",\"name\":\"L-1\"}'\n\nIt needs no running gate, store or certificate, and without a config it explains the built-in rules."
)]
struct Explain {
    #[command(flatten)]
    config: ConfigPath,
    /// The HTTP method
    #[arg(value_name = "METHOD")]
    method: String,
    /// The path, with or without query, or a whole URL
    #[arg(value_name = "PATH")]
    path: String,
    /// The site; may be left out where the config has only one
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The scopes of the token that is to be decided on
    #[arg(long, visible_alias = "scopes", value_name = "SCOPES")]
    scope: Option<String>,
    /// A file with the body; `-` for standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The body's Content-Type [default: application/json, or a form where it does not look like JSON]
    #[arg(long, requires = "body", value_name = "TYPE")]
    content_type: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate status --json\n\nExit code 1 where no gate answers.")]
struct Status {
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let time = parse_time(text)?;
    if time.is_zero() || time != Duration::from_secs(time.as_secs()) {
        return Err(format!("`{text}` is not a time of whole seconds; write it like \"30m\", \"8h\" or \"30d\""));
    }
    Ok(time.as_secs())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_well_formed_and_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains("Example"), "`{}` has no example", command.get_name());
            open.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        }
    }

    #[test]
    fn every_command_that_is_printed_somewhere_is_usage() {
        let mut printed = String::new();
        for document in ["README.md", "deploy/RUNBOOK.md"] {
            let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).expect("the document");
            // Commands stand on a line of their own or between two back quotes, where a bare name is no command.
            let quoted = text.split('`').filter(|part| !part.trim().contains('\n') && (part.starts_with("sudo ") || part.contains(" --")));
            printed.extend(text.lines().chain(quoted).map(|part| format!("{part}\n")));
        }
        let mut open = vec![Cli::command()];
        while let Some(command) = open.pop() {
            printed.push_str(&command.get_after_help().map(ToString::to_string).unwrap_or_default());
            printed.push('\n');
            open.extend(command.get_subcommands().cloned());
        }
        let mut count = 0;
        for line in printed.lines() {
            let line = line.trim().trim_start_matches("sudo ");
            let words = words(line);
            // `scopegate demo        see it work`, and what only names a program or has letters for an argument.
            let [program, rest @ ..] = words.as_slice() else { continue };
            if program != "scopegate" || rest.is_empty() || line.contains("  ") && !line.contains("  #") && !line.contains("  (") {
                continue;
            }
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{line}\n{error}");
            }
        }
        assert!(count > 40, "only {count} were found");
    }

    /// The words of a simple command, up to a comment, a redirection or the next command.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for letter in line.chars().chain([' ']) {
            match (quote, letter) {
                (Some(open), _) if letter == open => quote = None,
                (None, '"' | '\'') => quote = Some(letter),
                (None, ' ') => {
                    if word.starts_with(['#', '<', '>', '|', '&', '(']) {
                        break;
                    }
                    words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                }
                _ => word.push(letter),
            }
        }
        words
    }

    #[test]
    fn what_is_no_usage_is_refused() {
        for line in [
            "",
            "nosuch",
            "serve --nosuch",
            "client",
            "client create",
            "client create --name x",
            "client create --name x --scopes read --rate 600",
            "client create --name x --scopes read --burst 5",
            "client show",
            "client disable a b",
            "client update a",
            "client update a --burst 5",
            "client update a --json",
            "client update a --rate 600/1m --no-rate",
            "client update a --api-key-file - --no-api-key",
            "client update --scopes read",
            "token",
            "token issue --client a --user b",
            "token issue --client a --user b --scope read --expires-in 1",
            "token issue --client a --user b --scope read --expires-in 0s",
            "token issue --client a --user b --scope read --expires-in 1500ms",
            "token inspect",
            "token inspect abc --hash def",
            "token revoke --hash a --token-file b",
            "token list",
            "client create --name x --scopes read --grant-type implicit",
            "client create --name x --scopes read --grant-type password",
            "client create --name x --scopes read --redirect-uri",
            "client create --name x --scopes read --ask-consent",
            "client create --name x --scopes read --client-secret x",
            "client update a --skip-consent --ask-consent",
            "client update a --redirect-uri https://a.example/cb --no-redirect-uris",
            "client update a --grant-type refresh_token --no-grant-types",
            "client update a --origin https://a.example --no-origins",
            "client update a --user b --no-user",
            "client update a --default-scopes read --no-default-scopes",
            "client rotate-secret",
            "client rotate-secret a --overlap 1",
            "client rotate-secret a --overlap 0s",
            "client rotate-secret a --secret x",
            "grant",
            "grant list",
            "grant list --json",
            "grant list --user",
            "grant show",
            "grant revoke",
            "grant revoke a b",
            "user",
            "user revoke",
            "user revoke a b",
            "store",
            "store backup",
            "store backup a b",
            "store backup a --replace",
            "store restore",
            "store restore a --merge",
            "store restore a --site erp.example.com",
            "store copy",
            "store copy redis.toml",
            "store copy --to",
            "store copy --to redis.toml --merge --replace",
            "store copy --to redis://:secret@127.0.0.1/ --to redis.toml",
            "store copy --url redis://:secret@127.0.0.1/",
            "audit",
            "audit verify --expect-seq",
            "audit tail a b",
            "audit tail -n many",
            "audit tail --status 6xx",
            "audit tail --since yesterday",
            "audit tail --key-file a",
            "explain GET",
            "explain GET / --content-type text/plain",
            "demo --port 65536",
            "status extra",
        ] {
            let words = ["scopegate"].into_iter().chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn a_token_on_the_command_line_is_not_printed() {
        let parsed = Cli::try_parse_from(["scopegate", "token", "inspect", "s3cret"]).expect("this is usage");
        assert!(!format!("{parsed:?}").contains("s3cret"));
    }
}
