//! `client`, `token`, `grant`, `user` and `status`: ask the gate, or work on the store, and show the answer.

use std::future::Future;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::door::{self, Door, running};
use crate::admin::error::AdminError;
use crate::admin::message::{ClientChange, GrantListQuery, NewClient, NewToken, Own, Rotation, SecretText, TokenListQuery, TokenRef, Wait};
use crate::admin::terminal;
use crate::admin::terminal::Style;
use crate::app::Failure;
use crate::cli::client::{Client, ClientCommand, CreateClient, UpdateClient};
use crate::cli::grant::{Grant, GrantCommand, User, UserCommand};
use crate::cli::token::{IssueToken, Token, TokenCommand, WhichToken};
use crate::cli::wait::{Ending, confirmed, verdict};
use crate::cli::{EXIT_FAILED, EXIT_USAGE, Place, Status, input};
use crate::config::checked::Config;
use crate::config::quantity::Pace;
use crate::config::rules::admin_rules;
use crate::oauth::client::ClientRate;
use crate::policy::time::Timestamp;
use crate::store::cached::SiteId;

/// Requests of a rate that may come at once, unless that is said: as in the config.
const BURST: u32 = 1000;

pub fn client(client: Client) -> Result<(), Failure> {
    match client.command {
        ClientCommand::Create(create) => {
            let new = new_client(&create)?;
            at(&create.place, async |door, site| {
                let created = door.create_client(site, new).await?;
                Ok(Shown::new(&created, |style| terminal::client_with_secret(&created, style)))
            })
        }
        ClientCommand::List(place) => at(&place, async |door, site| {
            let list = door.clients(site).await?;
            Ok(Shown::new(&list, |style| terminal::clients(&list, style)))
        }),
        ClientCommand::Show(one) => at(&one.place, async |door, site| {
            let client = door.client(site, &one.id).await?;
            Ok(Shown::new(&client, |style| terminal::client(&client, style)))
        }),
        ClientCommand::Update(update) => {
            let change = client_change(&update)?;
            at(&update.place, async |door, site| {
                let client = door.update_client(site, &update.id, change).await?;
                Ok(Shown::new(&client, |style| terminal::client(&client, style)))
            })
        }
        ClientCommand::Disable(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let client = door.disable_client(site, &one.id).await?;
            Ok(Shown::new(&client, |_| terminal::switched_client(&client)))
        }),
        ClientCommand::Enable(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let client = door.enable_client(site, &one.id).await?;
            Ok(Shown::new(&client, |_| terminal::switched_client(&client)))
        }),
        ClientCommand::RotateSecret(Ending { what: rotate, wait }) => {
            let rotation = Rotation { overlap: rotate.overlap, revoke_tokens: rotate.revoke_tokens };
            end_at(&rotate.which.place, wait, async |door, site| {
                let rotated = door.rotate_secret(site, &rotate.which.id, rotation).await?;
                Ok(Shown::new(&rotated, |style| terminal::client_with_secret(&rotated, style)))
            })
        }
        ClientCommand::RevokeTokens(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let revoked = door.revoke_client(site, &one.id).await?;
            Ok(Shown::new(&revoked, |_| terminal::revoked_client(&revoked)))
        }),
        ClientCommand::Delete(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let deleted = door.delete_client(site, &one.id).await?;
            Ok(Shown::new(&deleted, |_| terminal::deleted_client(&deleted)))
        }),
    }
}

pub fn token(token: Token) -> Result<(), Failure> {
    match token.command {
        TokenCommand::Issue(issue) => {
            let new = new_token(&issue)?;
            at(&issue.place, async |door, site| {
                let issued = door.issue_token(site, new).await?;
                Ok(Shown::new(&issued, |style| terminal::issued_token(&issued, style)))
            })
        }
        TokenCommand::Inspect(one) => {
            let which = which_token(&one.which)?;
            at(&one.place, async |door, site| {
                let token = door.inspect_token(site, &which).await?;
                Ok(Shown::new(&token, |style| terminal::token(&token, style)))
            })
        }
        TokenCommand::Revoke(Ending { what: one, wait }) => {
            let which = which_token(&one.which)?;
            end_at(&one.place, wait, async |door, site| {
                let revoked = door.revoke_token(site, &which).await?;
                Ok(Shown::new(&revoked, |_| terminal::revoked_token(&revoked)))
            })
        }
        TokenCommand::List(list) => {
            let query = TokenListQuery { client: list.client, limit: list.limit };
            at(&list.place, async |door, site| {
                let tokens = door.tokens(site, &query).await?;
                Ok(Shown::new(&tokens, |style| terminal::tokens(&tokens, style)))
            })
        }
    }
}

pub fn grant(grant: Grant) -> Result<(), Failure> {
    match grant.command {
        GrantCommand::List(list) => {
            let query = GrantListQuery { client: list.client, user: list.user };
            at(&list.place, async |door, site| {
                let grants = door.grants(site, &query).await?;
                Ok(Shown::new(&grants, |style| terminal::grants(&grants, style)))
            })
        }
        GrantCommand::Show(one) => at(&one.place, async |door, site| {
            let grant = door.grant(site, &one.id).await?;
            Ok(Shown::new(&grant, |style| terminal::grant(&grant, style)))
        }),
        GrantCommand::Revoke(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let grant = door.revoke_grant(site, &one.id).await?;
            Ok(Shown::new(&grant, |_| terminal::revoked_grant(&grant)))
        }),
    }
}

pub fn user(user: User) -> Result<(), Failure> {
    match user.command {
        UserCommand::Revoke(Ending { what: one, wait }) => end_at(&one.place, wait, async |door, site| {
            let revoked = door.revoke_user(site, &one.user).await?;
            Ok(Shown::new(&revoked, |_| terminal::revoked_user(&revoked)))
        }),
    }
}

pub fn status(asked: &Status) -> Result<(), Failure> {
    let (config, _) = asked.config.load()?;
    let socket = &config.admin.socket;
    let answer = block_on(async {
        match running(socket).await? {
            Some(gate) => gate.status().await.map(Some),
            None => Ok(None),
        }
    })?;
    let Some(status) = answer.map_err(failed)? else {
        let message = format!(
            "no gate answers on `{}`; start one with `scopegate serve`, or name the config of the one that runs with --config",
            socket.display()
        );
        return Err(Failure { exit: EXIT_FAILED, message });
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Shown::new(&status, |style| terminal::status::status(&status, Timestamp::from_unix(now), style)).print(asked.json)
}

/// An answer in its two forms.
pub struct Shown {
    json: Value,
    text: String,
}

impl Shown {
    pub fn new(answer: &impl Serialize, text: impl FnOnce(Style) -> String) -> Self {
        let json = serde_json::to_value(answer).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        Self { json, text: text(Style::of_stdout()) }
    }

    pub fn print(&self, json: bool) -> Result<(), Failure> {
        if json { print(&format!("{}\n", self.json)) } else { print(&self.text) }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    terminal::print(text).map_err(|error| Failure { exit: EXIT_FAILED, message: format!("the answer cannot be written: {error}") })
}

/// Loads the config, finds the site and the way to the operations, and shows what `ask` brings back.
fn at(place: &Place, ask: impl AsyncFnOnce(&Door, &str) -> Result<Shown, AdminError>) -> Result<(), Failure> {
    let (config, _) = place.config.load()?;
    let site = site(&config, place.site.as_deref(), &place.config.path())?;
    let answer = block_on(async { ask(&Door::open(place_of(&config)).await?, &site).await })?;
    answer.map_err(failed)?.print(place.json)
}

/// The same for what ends access; where that is wanted, waits until every gateway has applied it.
///
/// People see the answer before the wait, since it may hold a secret; for programs `applied` stands in it.
fn end_at(place: &Place, wait: Option<Wait>, ask: impl AsyncFnOnce(&Door, &str) -> Result<Shown, AdminError>) -> Result<(), Failure> {
    let Some(wait) = wait else { return at(place, ask) };
    let (config, _) = place.config.load()?;
    let site = site(&config, place.site.as_deref(), &place.config.path())?;
    block_on(async {
        let door = Door::open(place_of(&config)).await.map_err(failed)?;
        let mut shown = ask(&door, &site).await.map_err(failed)?;
        if !place.json {
            shown.print(false)?;
        }
        let applied = door.wait(&site, wait).await;
        if let (true, Some(keys)) = (place.json, shown.json.as_object_mut()) {
            keys.insert("applied".to_owned(), applied.as_ref().map_or_else(|error| json!(error), |applied| json!(applied)));
            shown.print(true)?;
        }
        if let (false, Ok(applied)) = (place.json, &applied)
            && applied.by_all()
        {
            print(&confirmed(applied))?;
        }
        verdict(&applied, &config)
    })?
}

/// The site that was named, or the only one. Whether the named one exists is for the operation to say.
pub fn site(config: &Config, named: Option<&str>, file: &Path) -> Result<String, Failure> {
    match (named, config.sites.as_slice()) {
        (Some(named), _) => Ok(named.to_owned()),
        (None, [only]) => Ok(only.name.to_string()),
        (None, sites) => {
            let names: Vec<&str> = sites.iter().map(|site| &*site.name).collect();
            let message = format!("`{}` has {} sites; say which with --site: {}", file.display(), names.len(), names.join(", "));
            Err(Failure { exit: EXIT_USAGE, message })
        }
    }
}

/// Runs `future` on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure { exit: EXIT_FAILED, message: format!("the process cannot be set up: {error}") })?;
    Ok(runtime.block_on(future))
}

fn new_client(create: &CreateClient) -> Result<NewClient, Failure> {
    Ok(NewClient {
        name: create.name.clone(),
        client_id: create.id.clone(),
        scopes: create.scopes.clone(),
        public: create.public,
        rate: create.rate.map(|pace| rate(pace, create.burst)).transpose()?,
        api_key: create.api_key_file.as_deref().map(input::secret).transpose()?,
        redirect_uris: create.redirect_uris.clone(),
        grant_types: create.grant_types.clone(),
        default_scopes: create.default_scopes.clone(),
        skip_consent: create.skip_consent,
        origins: create.origins.clone(),
        user: create.user.clone(),
    })
}

fn client_change(update: &UpdateClient) -> Result<ClientChange, Failure> {
    let own_rate = update.rate.map(|pace| rate(pace, update.burst)).transpose()?.map(Own::Set);
    let own_key = update.api_key_file.as_deref().map(input::secret).transpose()?.map(Own::Set);
    Ok(ClientChange {
        name: update.name.clone(),
        scopes: update.scopes.clone(),
        rate: own_rate.or_else(|| update.no_rate.then_some(Own::Drop)),
        api_key: own_key.or_else(|| update.no_api_key.then_some(Own::Drop)),
        redirect_uris: list(&update.redirect_uris, update.no_redirect_uris),
        grant_types: list(&update.grant_types, update.no_grant_types),
        default_scopes: update.default_scopes.clone().map(Own::Set).or_else(|| update.no_default_scopes.then_some(Own::Drop)),
        skip_consent: (update.skip_consent || update.ask_consent).then_some(update.skip_consent),
        origins: list(&update.origins, update.no_origins),
        user: update.user.clone().map(Own::Set).or_else(|| update.no_user.then_some(Own::Drop)),
    })
}

/// A list in the place of what is there: what was given, or nothing where that was said.
fn list<T: Clone>(given: &[T], none: bool) -> Option<Vec<T>> {
    (none || !given.is_empty()).then(|| given.to_vec())
}

fn rate(pace: Pace, burst: Option<u32>) -> Result<ClientRate, Failure> {
    let seconds = u32::try_from(pace.period.as_secs()).ok().filter(|_| pace.period.subsec_nanos() == 0);
    let Some(seconds) = seconds else {
        return Err(Failure {
            exit: EXIT_USAGE,
            message: "a client's rate is counted over whole seconds; write it like 600/1m".to_owned(),
        });
    };
    Ok(ClientRate { requests: pace.requests, seconds, burst: burst.unwrap_or(BURST.min(pace.requests)) })
}

fn new_token(issue: &IssueToken) -> Result<NewToken, Failure> {
    Ok(NewToken {
        client_id: issue.client.clone(),
        user: issue.user.clone(),
        scope: issue.scope.clone(),
        expires_in: issue.expires_in,
        register: issue.register_file.as_deref().map(input::secret).transpose()?,
    })
}

fn which_token(which: &WhichToken) -> Result<TokenRef, Failure> {
    match (&which.token, &which.token_file, &which.hash) {
        (_, _, Some(hash)) => Ok(TokenRef::Hash(hash.clone())),
        (_, Some(file), None) => input::secret(file).map(TokenRef::Token),
        (Some(typed), None, None) if typed.0 != "-" => Ok(TokenRef::Token(SecretText::new(typed.0.clone()))),
        (_, None, None) => input::secret(Path::new("-")).map(TokenRef::Token),
    }
}

pub fn failed(error: AdminError) -> Failure {
    Failure { exit: EXIT_FAILED, message: error.message }
}

/// Where the configuration says that the operations are. No gate of this process's own numbers the sites.
fn place_of(config: &Config) -> door::Place<'_> {
    door::Place {
        socket: &config.admin.socket,
        store: &config.store,
        encryption_key: config.encryption_key.as_ref().map(|key| key.reveal()),
        rules: admin_rules(config, |_| SiteId(0)),
    }
}
