//! The command line: what can be asked, and the exit code of the answer.
//!
//! 0 is fine, 1 failed, 2 wrong usage (`clap` says so itself), 78 a bad config (`EX_CONFIG` of sysexits.h, which service managers know).
//! Answers go to standard output, everything else to standard error.

mod administer;
mod check;
mod explain;
mod input;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::admin::terminal::complain;
use crate::app;
use crate::app::Failure;
use crate::app::demo::DemoOptions;
use crate::config;
use crate::config::checked::Config;
use crate::config::quantity::{Pace, parse_pace, parse_time};
use crate::config::report::{ConfigError, Warning};
use crate::oauth::client::GrantType;
use crate::wording::alike;

/// Where the config is, unless `--config` or the variable says otherwise.
const CONFIG_PATH: &str = "/etc/scopegate/scopegate.toml";
const CONFIG_VARIABLE: &str = "SCOPEGATE_CONFIG";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
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
        Command::Explain(explain) => explain::run(&explain),
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
    after_help = "Examples:\n  scopegate demo                          see it work, with nothing else installed\n  scopegate check --config gate.toml      every mistake of a config, with its line and remedy\n  scopegate explain DELETE /api/resource/Lead/L-1 --scope read\n\nExit codes: 0 fine, 1 failed, 2 usage, 78 bad config."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate, until SIGTERM
    Serve(Serve),
    /// Run a gate before an ERP in memory, with tokens to try
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
    /// Say what a request would do, which scopes allow it, and what is decided, without sending it
    Explain(Explain),
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
}

impl Demo {
    fn options(&self) -> DemoOptions {
        DemoOptions { port: self.port, http_port: self.http_port, upstream_port: self.upstream_port, json: self.json }
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

/// What every command on clients and tokens takes.
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
#[command(after_help = "Example:\n  scopegate client create --name \"Web shop\" --scopes \"read write:sales-order\"")]
struct Client {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Register an app, with the widest scopes that its tokens may carry
    #[command(
        after_help = "Examples:\n  scopegate client create --name \"Web shop\" --scopes \"read write:sales-order\" --rate 600/1m\n  scopegate client create --name ETL --scopes read --api-key-file /root/etl.key\n  scopegate client create --name Shop --scopes \"read write\" --redirect-uri https://shop.example.com/callback\n  scopegate client create --name Mobile --scopes read --public --redirect-uri com.example.app:/callback\n  scopegate client create --name Sync --scopes read --grant-type client_credentials --user sync@example.com\n\nWith a redirect URI and no grant type it gets authorization_code and refresh_token. The secret is shown once."
    )]
    Create(CreateClient),
    /// List the clients of a site
    #[command(after_help = "Example:\n  scopegate client list --json")]
    List(Place),
    /// Show one client
    #[command(after_help = "Example:\n  scopegate client show web-shop")]
    Show(OneClient),
    /// Change what is named; its secret and its tokens stay
    #[command(
        after_help = "Examples:\n  scopegate client update web-shop --scopes \"read write:sales-order\"\n  scopegate client update web-shop --rate 600/1m\n  scopegate client update etl --api-key-file /root/etl.key\n  scopegate client update web-shop --redirect-uri https://shop.example.com/callback --redirect-uri https://test.example.com/callback\n  scopegate client update web-shop --origin https://shop.example.com --ask-consent\n\nWhat can be given more than once takes the place of all that was there. Fewer scopes bind the tokens that it has already. More scopes do not widen them: issue new ones."
    )]
    Update(UpdateClient),
    /// Let none of its tokens through, until it is enabled again
    #[command(after_help = "Example:\n  scopegate client disable web-shop")]
    Disable(OneClient),
    /// Let its tokens through again
    #[command(after_help = "Example:\n  scopegate client enable web-shop")]
    Enable(OneClient),
    /// Give it another secret; tokens stay unless they are to end as well
    #[command(
        after_help = "Examples:\n  scopegate client rotate-secret web-shop --overlap 1h        while the app is given the new one\n  scopegate client rotate-secret web-shop --revoke-tokens     after a leak\n\nThe new secret is shown once."
    )]
    RotateSecret(RotateSecret),
    /// Remove it, and with it all that its tokens are worth
    #[command(after_help = "Example:\n  scopegate client delete web-shop")]
    Delete(OneClient),
}

#[derive(Debug, Args)]
struct OneClient {
    /// The client's id
    #[arg(value_name = "CLIENT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct RotateSecret {
    #[command(flatten)]
    which: OneClient,
    /// How long the secret before still counts, like 30m, 1h or 7d, at most 30d; not at all unless given
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    overlap: Option<u64>,
    /// End all its tokens and grants as well
    #[arg(long)]
    revoke_tokens: bool,
}

#[derive(Debug, Args)]
struct CreateClient {
    #[command(flatten)]
    place: Place,
    /// What people call the app
    #[arg(long)]
    name: String,
    /// The widest scopes that its tokens may carry, separated by spaces: read, write, delete, all, read:sales-order, call:my_app.*
    #[arg(long, visible_alias = "scope", value_name = "SCOPES")]
    scopes: String,
    /// Its id; random unless given
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// An app that cannot keep a secret, such as one in a browser; it gets none
    #[arg(long)]
    public: bool,
    /// Its own rate in place of the configured one, like 600/1m
    #[arg(long, value_parser = parse_pace)]
    rate: Option<Pace>,
    /// How many requests of the rate may come at once [default: all of it, at most 1000]
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    /// A file with `key:secret` of the Frappe user that it acts as, in place of the site's; `-` for standard input
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Where a browser may be sent with a code; may be given more than once
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// How it may come by tokens: authorization_code, refresh_token or client_credentials; may be given more than once
    #[arg(long = "grant-type", value_name = "TYPE", value_parser = grant_type)]
    grant_types: Vec<GrantType>,
    /// What it gets when it asks for no scope [default: all that it may have]
    #[arg(long, value_name = "SCOPES")]
    default_scopes: Option<String>,
    /// Do not ask its users: for an app of your own
    #[arg(long)]
    skip_consent: bool,
    /// An origin whose pages may call the API and the OAuth endpoints, like https://app.example.com; may be given more than once
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// The user that its client_credentials tokens speak for [default: itself, under its id]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = [
    "name", "scopes", "rate", "no_rate", "api_key_file", "no_api_key", "redirect_uris", "no_redirect_uris", "grant_types", "no_grant_types",
    "default_scopes", "no_default_scopes", "skip_consent", "ask_consent", "origins", "no_origins", "user", "no_user",
])]
struct UpdateClient {
    /// The client's id
    #[arg(value_name = "CLIENT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    place: Place,
    /// What people call the app
    #[arg(long)]
    name: Option<String>,
    /// The widest scopes that its tokens may carry, in place of those it has
    #[arg(long, visible_alias = "scope", value_name = "SCOPES")]
    scopes: Option<String>,
    /// A rate of its own, like 600/1m
    #[arg(long, value_parser = parse_pace)]
    rate: Option<Pace>,
    /// How many requests of the rate may come at once [default: all of it, at most 1000]
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    /// The configured rate, in place of its own
    #[arg(long, conflicts_with = "rate")]
    no_rate: bool,
    /// A file with `key:secret` of the Frappe user that it acts as from now on; `-` for standard input
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The site's API key, in place of its own
    #[arg(long, conflicts_with = "api_key_file")]
    no_api_key: bool,
    /// Where a browser may be sent with a code; may be given more than once
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// No redirect URI any more
    #[arg(long, conflicts_with = "redirect_uris")]
    no_redirect_uris: bool,
    /// How it may come by tokens: authorization_code, refresh_token or client_credentials; may be given more than once
    #[arg(long = "grant-type", value_name = "TYPE", value_parser = grant_type)]
    grant_types: Vec<GrantType>,
    /// No tokens but those that an operator issues
    #[arg(long, conflicts_with = "grant_types")]
    no_grant_types: bool,
    /// What it gets when it asks for no scope
    #[arg(long, value_name = "SCOPES")]
    default_scopes: Option<String>,
    /// All that it may have, when it asks for no scope
    #[arg(long, conflicts_with = "default_scopes")]
    no_default_scopes: bool,
    /// Do not ask its users: for an app of your own
    #[arg(long)]
    skip_consent: bool,
    /// Ask each of its users
    #[arg(long, conflicts_with = "skip_consent")]
    ask_consent: bool,
    /// An origin whose pages may call the API and the OAuth endpoints, like https://app.example.com; may be given more than once
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// No origin any more
    #[arg(long, conflicts_with = "origins")]
    no_origins: bool,
    /// The user that its client_credentials tokens speak for
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Itself, under its id, is who they speak for
    #[arg(long, conflicts_with = "user")]
    no_user: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate token issue --client web-shop --user sam@example.com --scope read")]
struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Issue a token, or register one that exists
    #[command(
        after_help = "Examples:\n  scopegate token issue --client web-shop --user sam@example.com --scope \"read write:sales-order\" --expires-in 8h\n  scopegate token issue --client web-shop --user sam@example.com --scope read --register-file - < frappe.token\n\nThe token is shown once; one that is registered is not shown at all."
    )]
    Issue(IssueToken),
    /// Say what is kept of a token, and whether it lives
    #[command(
        after_help = "Examples:\n  scopegate token inspect --token-file token.txt\n  scopegate token inspect - < token.txt\n  scopegate token inspect --hash 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n\nA token on the command line is seen in the list of processes and kept in the shell's history; a file or standard input is better."
    )]
    Inspect(OneToken),
    /// End a token
    #[command(
        after_help = "Examples:\n  scopegate token revoke --token-file token.txt\n  scopegate token revoke --hash HASH    (from `token list --json`)"
    )]
    Revoke(OneToken),
    /// List the live tokens of a client, soonest to expire first
    #[command(after_help = "Example:\n  scopegate token list --client web-shop")]
    List(ListTokens),
}

#[derive(Debug, Args)]
struct IssueToken {
    #[command(flatten)]
    place: Place,
    /// The id of the client that the token is for
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    client: String,
    /// The user that it speaks for, as Frappe knows him
    #[arg(long)]
    user: String,
    /// Its scopes, separated by spaces; no more than the client's
    #[arg(long, visible_alias = "scopes")]
    scope: String,
    /// How long it lives, like 30m, 8h or 30d, at most 365d [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    expires_in: Option<u64>,
    /// A file with a token that exists already, such as one of Frappe's; `-` for standard input
    #[arg(long, value_name = "FILE")]
    register_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct OneToken {
    #[command(flatten)]
    which: WhichToken,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichToken {
    /// The token; `-` reads it from standard input
    #[arg(value_name = "TOKEN")]
    token: Option<Typed>,
    /// A file with the token; `-` for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token's SHA-256, in hexadecimal
    #[arg(long, value_name = "HEX")]
    hash: Option<String>,
}

/// A secret from the command line. It prints as its kind.
#[derive(Clone)]
struct Typed(String);

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed(..)")
    }
}

impl From<String> for Typed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[derive(Debug, Args)]
struct ListTokens {
    #[command(flatten)]
    place: Place,
    /// The client's id
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    client: String,
    /// How many at most [default: 100]
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate grant list --user sam@example.com")]
struct Grant {
    #[command(subcommand)]
    command: GrantCommand,
}

#[derive(Debug, Subcommand)]
enum GrantCommand {
    /// List the grants of a user or to a client, newest first
    #[command(
        after_help = "Examples:\n  scopegate grant list --user sam@example.com\n  scopegate grant list --client web-shop --json\n\nOnes that ended are listed for about two weeks."
    )]
    List(ListGrants),
    /// Show one grant
    #[command(after_help = "Example:\n  scopegate grant show 4f1c9a7d2b60\n\nIds are shown by `grant list`.")]
    Show(OneGrant),
    /// End a grant and all its tokens; the app must ask the user again
    #[command(after_help = "Example:\n  scopegate grant revoke 4f1c9a7d2b60")]
    Revoke(OneGrant),
}

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = true, args = ["client", "user"])]
struct ListGrants {
    #[command(flatten)]
    place: Place,
    /// The id of the client that they are to
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    client: Option<String>,
    /// The user that they are of, as Frappe knows him
    #[arg(long, value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: Option<String>,
}

#[derive(Debug, Args)]
struct OneGrant {
    /// The grant's id
    #[arg(value_name = "GRANT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate user revoke sam@example.com")]
struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// End every token, grant and sign-in of a user, whatever the client
    #[command(
        after_help = "Example:\n  scopegate user revoke sam@example.com\n\nThe user can sign in again afterwards: disable the user in Frappe first."
    )]
    Revoke(OneUser),
}

#[derive(Debug, Args)]
struct OneUser {
    /// The user, as Frappe knows him
    #[arg(value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    #[command(flatten)]
    place: Place,
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

fn grant_type(text: &str) -> Result<GrantType, String> {
    let known = || GrantType::ALL.into_iter().map(GrantType::as_str);
    GrantType::parse(text).ok_or_else(|| match alike(text, known()) {
        Some(similar) => format!("`{text}` is not a grant type; did you mean `{similar}`?"),
        None => format!("`{text}` is not a grant type here; write {}", known().collect::<Vec<_>>().join(", ")),
    })
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
