//! `token`: what can be asked of tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::wait::Ending;
use crate::cli::{Place, whole_seconds};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate token issue --client web-shop --user sam@example.com --scope read")]
pub struct Token {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
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
        after_help = "Examples:\n  scopegate token revoke --token-file token.txt\n  scopegate token revoke --token-file token.txt --wait\n  scopegate token revoke --hash HASH    (from `token list --json`)"
    )]
    Revoke(Ending<OneToken>),
    /// List the live tokens of a client, soonest to expire first
    #[command(after_help = "Example:\n  scopegate token list --client web-shop")]
    List(ListTokens),
}

#[derive(Debug, Args)]
pub struct IssueToken {
    #[command(flatten)]
    pub place: Place,
    /// The id of the client that the token is for
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub client: String,
    /// The user that it speaks for, as Frappe knows him
    #[arg(long)]
    pub user: String,
    /// Its scopes, separated by spaces; no more than the client's
    #[arg(long, visible_alias = "scopes")]
    pub scope: String,
    /// How long it lives, like 30m, 8h or 30d, at most 365d [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub expires_in: Option<u64>,
    /// A file with a token that exists already, such as one of Frappe's; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub register_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct OneToken {
    #[command(flatten)]
    pub which: WhichToken,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct WhichToken {
    /// The token; `-` reads it from standard input
    #[arg(value_name = "TOKEN")]
    pub token: Option<Typed>,
    /// A file with the token; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The token's SHA-256, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub hash: Option<String>,
}

/// A secret from the command line. It prints as its kind.
#[derive(Clone)]
pub struct Typed(pub String);

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
pub struct ListTokens {
    #[command(flatten)]
    pub place: Place,
    /// The client's id
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub client: String,
    /// How many at most [default: 100]
    #[arg(long)]
    pub limit: Option<usize>,
}
