//! `client`: what can be asked of clients.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::wait::Ending;
use crate::cli::{Place, whole_seconds};
use crate::config::quantity::{Pace, parse_pace};
use crate::oauth::client::GrantType;
use crate::wording::alike;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scopegate client create --name \"Web shop\" --scopes \"read write:sales-order\"")]
pub struct Client {
    #[command(subcommand)]
    pub command: ClientCommand,
}

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
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
    #[command(after_help = "Examples:\n  scopegate client disable web-shop\n  scopegate client disable web-shop --wait")]
    Disable(Ending<OneClient>),
    /// Let its tokens through again
    #[command(after_help = "Examples:\n  scopegate client enable web-shop\n  scopegate client enable web-shop --wait")]
    Enable(Ending<OneClient>),
    /// Give it another secret; tokens stay unless they are to end as well
    #[command(
        after_help = "Examples:\n  scopegate client rotate-secret web-shop --overlap 1h        while the app is given the new one\n  scopegate client rotate-secret web-shop --revoke-tokens     after a leak\n  scopegate client rotate-secret web-shop --revoke-tokens --wait\n\nThe new secret is shown once."
    )]
    RotateSecret(Ending<RotateSecret>),
    /// End all its tokens and grants, and leave it as it is
    #[command(
        after_help = "Examples:\n  scopegate client revoke-tokens web-shop\n  scopegate client revoke-tokens web-shop --wait\n\nIt can come by new ones at once: `client disable` keeps it out, and `client rotate-secret --revoke-tokens` keeps out whoever has its secret."
    )]
    RevokeTokens(Ending<OneClient>),
    /// Remove it, and with it all that its tokens are worth
    #[command(after_help = "Examples:\n  scopegate client delete web-shop\n  scopegate client delete web-shop --wait=30s")]
    Delete(Ending<OneClient>),
}

#[derive(Debug, Args)]
pub struct OneClient {
    /// The client's id
    #[arg(value_name = "CLIENT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct RotateSecret {
    #[command(flatten)]
    pub which: OneClient,
    /// How long the secret before still counts, like 30m, 1h or 7d, at most 30d; not at all unless given
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub overlap: Option<u64>,
    /// End all its tokens and grants as well
    #[arg(long)]
    pub revoke_tokens: bool,
}

#[derive(Debug, Args)]
pub struct CreateClient {
    #[command(flatten)]
    pub place: Place,
    /// What people call the app
    #[arg(long)]
    pub name: String,
    /// The widest scopes that its tokens may carry, separated by spaces: read, write, delete, all, read:sales-order, call:my_app.*
    #[arg(long, visible_alias = "scope", value_name = "SCOPES")]
    pub scopes: String,
    /// Its id; random unless given
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// An app that cannot keep a secret, such as one in a browser; it gets none
    #[arg(long)]
    pub public: bool,
    /// Its own rate in place of the configured one, like 600/1m
    #[arg(long, value_parser = parse_pace)]
    pub rate: Option<Pace>,
    /// How many requests of the rate may come at once [default: all of it, at most 1000]
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: Option<u32>,
    /// A file with `key:secret` of the Frappe user that it acts as, in place of the site's; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Where a browser may be sent with a code; may be given more than once
    #[arg(long = "redirect-uri", value_name = "URI")]
    pub redirect_uris: Vec<String>,
    /// How it may come by tokens: authorization_code, refresh_token or client_credentials; may be given more than once
    #[arg(long = "grant-type", value_name = "TYPE", value_parser = grant_type)]
    pub grant_types: Vec<GrantType>,
    /// What it gets when it asks for no scope [default: all that it may have]
    #[arg(long, value_name = "SCOPES")]
    pub default_scopes: Option<String>,
    /// Do not ask its users: for an app of your own
    #[arg(long)]
    pub skip_consent: bool,
    /// An origin whose pages may call the API and the OAuth endpoints, as browsers write it; may be given more than once
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub origins: Vec<String>,
    /// The user that its client_credentials tokens speak for [default: itself, under its id]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = [
    "name", "scopes", "rate", "no_rate", "api_key_file", "no_api_key", "redirect_uris", "no_redirect_uris", "grant_types", "no_grant_types",
    "default_scopes", "no_default_scopes", "skip_consent", "ask_consent", "origins", "no_origins", "user", "no_user",
])]
pub struct UpdateClient {
    /// The client's id
    #[arg(value_name = "CLIENT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,
    #[command(flatten)]
    pub place: Place,
    /// What people call the app
    #[arg(long)]
    pub name: Option<String>,
    /// The widest scopes that its tokens may carry, in place of those it has
    #[arg(long, visible_alias = "scope", value_name = "SCOPES")]
    pub scopes: Option<String>,
    /// A rate of its own, like 600/1m
    #[arg(long, value_parser = parse_pace)]
    pub rate: Option<Pace>,
    /// How many requests of the rate may come at once [default: all of it, at most 1000]
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: Option<u32>,
    /// The configured rate, in place of its own
    #[arg(long, conflicts_with = "rate")]
    pub no_rate: bool,
    /// A file with `key:secret` of the Frappe user that it acts as from now on; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// The site's API key, in place of its own
    #[arg(long, conflicts_with = "api_key_file")]
    pub no_api_key: bool,
    /// Where a browser may be sent with a code; may be given more than once
    #[arg(long = "redirect-uri", value_name = "URI")]
    pub redirect_uris: Vec<String>,
    /// No redirect URI any more
    #[arg(long, conflicts_with = "redirect_uris")]
    pub no_redirect_uris: bool,
    /// How it may come by tokens: authorization_code, refresh_token or client_credentials; may be given more than once
    #[arg(long = "grant-type", value_name = "TYPE", value_parser = grant_type)]
    pub grant_types: Vec<GrantType>,
    /// No tokens but those that an operator issues
    #[arg(long, conflicts_with = "grant_types")]
    pub no_grant_types: bool,
    /// What it gets when it asks for no scope
    #[arg(long, value_name = "SCOPES")]
    pub default_scopes: Option<String>,
    /// All that it may have, when it asks for no scope
    #[arg(long, conflicts_with = "default_scopes")]
    pub no_default_scopes: bool,
    /// Do not ask its users: for an app of your own
    #[arg(long)]
    pub skip_consent: bool,
    /// Ask each of its users
    #[arg(long, conflicts_with = "skip_consent")]
    pub ask_consent: bool,
    /// An origin whose pages may call the API and the OAuth endpoints, as browsers write it; may be given more than once
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub origins: Vec<String>,
    /// No origin any more
    #[arg(long, conflicts_with = "origins")]
    pub no_origins: bool,
    /// The user that its client_credentials tokens speak for
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Itself, under its id, is who they speak for
    #[arg(long, conflicts_with = "user")]
    pub no_user: bool,
}

fn grant_type(text: &str) -> Result<GrantType, String> {
    let known = || GrantType::ALL.into_iter().map(GrantType::as_str);
    GrantType::parse(text).ok_or_else(|| match alike(text, known()) {
        Some(similar) => format!("`{text}` is not a grant type; did you mean `{similar}`?"),
        None => format!("`{text}` is not a grant type here; write {}", known().collect::<Vec<_>>().join(", ")),
    })
}
