//! `grant` and `user`: what can be asked of what users gave.

use clap::{Args, Subcommand};

use crate::cli::Place;
use crate::cli::wait::Ending;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate grant list --user sam@example.com")]
pub struct Grant {
    #[command(subcommand)]
    pub command: GrantCommand,
}

#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// List the grants of a user or to a client, newest first
    #[command(
        after_help = "Examples:\n  scopegate grant list --user sam@example.com\n  scopegate grant list --client web-shop --json\n\nOnes that ended are listed for about two weeks."
    )]
    List(ListGrants),
    /// Show one grant
    #[command(after_help = "Example:\n  scopegate grant show 4f1c9a7d2b60\n\nIds are shown by `grant list`.")]
    Show(OneGrant),
    /// End a grant and all its tokens; the app must ask the user again
    #[command(after_help = "Examples:\n  scopegate grant revoke 4f1c9a7d2b60\n  scopegate grant revoke 4f1c9a7d2b60 --wait")]
    Revoke(Ending<OneGrant>),
}

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = true, args = ["client", "user"])]
pub struct ListGrants {
    #[command(flatten)]
    pub place: Place,
    /// The id of the client that they are to
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub client: Option<String>,
    /// The user that they are of, as Frappe knows him
    #[arg(long, value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub user: Option<String>,
}

#[derive(Debug, Args)]
pub struct OneGrant {
    /// The grant's id
    #[arg(value_name = "GRANT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate user revoke sam@example.com")]
pub struct User {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// End every token, grant and sign-in of a user, whatever the client
    #[command(
        after_help = "Examples:\n  scopegate user revoke sam@example.com\n  scopegate user revoke sam@example.com --wait\n\nThe user can sign in again afterwards: disable the user in Frappe first."
    )]
    Revoke(Ending<OneUser>),
}

#[derive(Debug, Args)]
pub struct OneUser {
    /// The user, as Frappe knows him
    #[arg(value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub user: String,
    #[command(flatten)]
    pub place: Place,
}
