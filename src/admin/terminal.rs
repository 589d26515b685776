//! What a command prints for people: every function turns an answer into text, and [`print()`] alone writes.
//!
//! Names come from stores that others may write to, so control characters in them are shown, never sent to the terminal.

pub mod progress;
pub mod status;
pub mod table;

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::admin::message::{
    ClientList, ClientView, ClientWithSecret, DeletedClient, GrantList, GrantState, GrantView, IssuedToken, RevokedClient, RevokedToken,
    RevokedUser, SecretText, TokenList, TokenState, TokenView,
};
use crate::admin::moving::{BackedUp, CopiedStore, Restored};
use crate::admin::terminal::table::{Cell, Paint, fields, table};
use crate::oauth::client::{ClientRate, GrantType};
use crate::oauth::records::End;
use crate::policy::time::Timestamp;
use crate::wording::show_time;

/// Whether colours are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    pub const PLAIN: Self = Self { colour: false };

    /// Colours only for a terminal that shows them, and for nobody who declined (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colour: io::stdout().is_terminal() && !declined && !dumb }
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes each line of `text` to standard error. Where nobody reads that, there is nobody to tell.
pub fn complain(text: &str) {
    let mut err = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(err, "scopegate: {line}");
    }
}

pub fn clients(list: &ClientList, style: Style) -> String {
    if list.clients.is_empty() {
        return "no clients yet; `scopegate client create --name NAME --scopes \"read\"` makes one\n".to_owned();
    }
    let rows = list.clients.iter().map(|client| {
        vec![
            Cell::plain(&client.client_id),
            Cell::plain(&client.name),
            Cell::plain(&client.scopes),
            enabled(client),
            Cell::plain(kind(client)),
            Cell::plain(&rate(client.rate)),
            Cell::plain(&day(client.created)),
        ]
    });
    table(&["CLIENT", "NAME", "SCOPES", "STATE", "KIND", "RATE", "CREATED"], rows, style)
}

pub fn client(client: &ClientView, style: Style) -> String {
    let mut rows = vec![
        ("client", Cell::plain(&client.client_id)),
        ("name", Cell::plain(&client.name)),
        ("scopes", Cell::plain(&client.scopes)),
        ("state", enabled(client)),
        ("kind", Cell::plain(kind(client))),
        ("rate", Cell::plain(&rate(client.rate))),
        ("created", Cell::plain(&moment(client.created))),
    ];
    if let Some(own) = client.own_api_key {
        rows.push(("api key", Cell::plain(if own { "its own" } else { "the site's" })));
    }
    rows.extend(flow(client));
    fields(&rows, style)
}

/// What a client has for coming by tokens itself; nothing for one that has nothing.
fn flow(client: &ClientView) -> Vec<(&'static str, Cell)> {
    let mut rows = Vec::new();
    let types: Vec<&str> = client.grant_types.iter().map(|kind| kind.as_str()).collect();
    if !types.is_empty() {
        rows.push(("grant types", Cell::plain(&types.join(" "))));
    }
    rows.extend(each("redirect uris", &client.redirect_uris));
    if client.grant_types.contains(&GrantType::AuthorizationCode) {
        rows.push(("consent", Cell::plain(if client.skip_consent { "its users are not asked" } else { "each user is asked" })));
    }
    rows.extend(client.default_scopes.as_ref().map(|scopes| ("default scopes", Cell::plain(scopes))));
    rows.extend(each("origins", &client.origins));
    rows.extend(client.user.as_ref().map(|user| ("speaks for", Cell::plain(user))));
    rows.extend(client.document.as_ref().map(|document| ("document", Cell::plain(document))));
    if client.self_registered {
        rows.push(("registered", Cell::plain("by itself")));
    }
    rows.extend(client.previous_secret_until.map(|until| ("old secret", Cell::plain(&format!("counts until {}", moment(until))))));
    rows
}

/// One line for each, the name before the first.
fn each<'t>(name: &'static str, texts: &'t [String]) -> impl Iterator<Item = (&'static str, Cell)> + 't {
    texts.iter().enumerate().map(move |(at, text)| (if at == 0 { name } else { "" }, Cell::plain(text)))
}

pub fn client_with_secret(created: &ClientWithSecret, style: Style) -> String {
    let mut text = client(&created.client, style);
    match &created.client_secret {
        Some(secret) => text.push_str(&shown_once("client secret", secret, style)),
        None => text.push_str("\nA public client has no secret.\n"),
    }
    text
}

pub fn deleted_client(deleted: &DeletedClient) -> String {
    format!("client {} is deleted; its tokens and grants are worth nothing from now on\n", visible(&deleted.client_id))
}

pub fn revoked_client(revoked: &RevokedClient) -> String {
    let id = visible(&revoked.client_id);
    format!(
        "everything issued to client {id} until now is worth nothing; it can come by new tokens, unless you `scopegate client disable {id}`\n"
    )
}

pub fn switched_client(client: &ClientView) -> String {
    let id = visible(&client.client_id);
    match client.enabled {
        true => format!("client {id} is enabled; its tokens that have not expired are let through again\n"),
        false => format!("client {id} is disabled; none of its tokens is let through, until `scopegate client enable {id}`\n"),
    }
}

pub fn issued_token(token: &IssuedToken, style: Style) -> String {
    let mut text = fields(
        &[
            ("client", Cell::plain(&token.client_id)),
            ("user", Cell::plain(&token.user)),
            ("scope", Cell::plain(&token.scope)),
            ("expires", Cell::plain(&moment(token.expires_at))),
            ("fingerprint", Cell::plain(&token.fingerprint)),
        ],
        style,
    );
    match &token.access_token {
        Some(secret) => text.push_str(&shown_once("token", secret, style)),
        None => text.push_str("\nThe token is registered.\n"),
    }
    text
}

pub fn token(token: &TokenView, style: Style) -> String {
    let mut rows = vec![
        ("fingerprint", Cell::plain(&token.fingerprint)),
        ("hash", Cell::plain(&token.hash)),
        ("client", Cell::plain(&token.client_id)),
        ("user", Cell::plain(&token.user)),
        ("scope", Cell::plain(&token.scope)),
        ("issued", Cell::plain(&moment(token.issued_at))),
        ("expires", Cell::plain(&moment(token.expires_at))),
    ];
    if let Some(grant) = &token.grant {
        rows.push(("grant", Cell::plain(grant)));
    }
    if let Some(state) = token.state {
        let paint = if state == TokenState::Live { Paint::Good } else { Paint::Bad };
        rows.push(("state", Cell::painted(state.as_str(), paint)));
    }
    fields(&rows, style)
}

pub fn tokens(list: &TokenList, style: Style) -> String {
    if list.tokens.is_empty() {
        return "no live tokens; `scopegate token issue` makes one\n".to_owned();
    }
    let rows = list.tokens.iter().map(|token| {
        vec![
            Cell::plain(&token.fingerprint),
            Cell::plain(&token.user),
            Cell::plain(&token.scope),
            Cell::plain(&moment(token.issued_at)),
            Cell::plain(&moment(token.expires_at)),
        ]
    });
    let mut text = table(&["TOKEN", "USER", "SCOPE", "ISSUED", "EXPIRES"], rows, style);
    if list.more {
        let _ = writeln!(text, "\nThere are more; write --limit with more than {}.", list.tokens.len());
    }
    text
}

pub fn revoked_token(revoked: &RevokedToken) -> String {
    format!("token {} is revoked\n", visible(&revoked.fingerprint))
}

pub fn grants(list: &GrantList, style: Style) -> String {
    if list.grants.is_empty() {
        return "no grants; a user gives one by saying yes to an app on the consent page\n".to_owned();
    }
    let rows = list.grants.iter().map(|grant| {
        vec![
            Cell::plain(&grant.grant_id),
            Cell::plain(&grant.client_id),
            Cell::plain(&grant.user),
            Cell::plain(&grant.scope),
            grant_state(grant),
            Cell::plain(&day(grant.created)),
            Cell::plain(&moment(grant.used)),
        ]
    });
    let mut text = table(&["GRANT", "CLIENT", "USER", "SCOPE", "STATE", "CREATED", "USED"], rows, style);
    if list.more {
        text.push_str("\nThere are more; name both --client and --user.\n");
    }
    text
}

pub fn grant(grant: &GrantView, style: Style) -> String {
    let mut rows = vec![
        ("grant", Cell::plain(&grant.grant_id)),
        ("client", Cell::plain(&grant.client_id)),
        ("user", Cell::plain(&grant.user)),
        ("scope", Cell::plain(&grant.scope)),
        ("state", grant_state(grant)),
        ("created", Cell::plain(&moment(grant.created))),
        ("used", Cell::plain(&moment(grant.used))),
    ];
    if let Some(ended) = grant.ended {
        rows.push(("ended", Cell::plain(&moment(ended.at))));
    }
    if let Some(kept) = grant.site_token {
        rows.push(("site token", Cell::plain(if kept { "kept, sealed" } else { "none" })));
    }
    fields(&rows, style)
}

pub fn revoked_grant(grant: &GrantView) -> String {
    let (id, user, client) = (visible(&grant.grant_id), visible(&grant.user), visible(&grant.client_id));
    match grant.ended {
        Some(ended) if ended.by != End::Operator => {
            format!("grant {id} of {user} to {client} had ended already, on {}: {}\n", moment(ended.at), ended_by(ended.by))
        }
        _ => format!("grant {id} is revoked; {client} must ask {user} again\n"),
    }
}

pub fn revoked_user(revoked: &RevokedUser) -> String {
    let user = visible(&revoked.user);
    let ended = match revoked.grants {
        0 => "no grant of that name was found (is it spelled as Frappe spells it?)".to_owned(),
        1 => "1 grant is ended".to_owned(),
        grants => format!("{grants} grants are ended"),
    };
    format!(
        "everything issued for {user} until now is worth nothing; {ended}\nThe user can sign in again: disable the user in Frappe to prevent that.\n"
    )
}

pub fn backed_up(made: &BackedUp) -> String {
    let mut text = format!("{} bytes in `{}`: {}\n", made.bytes, visible(&made.file), made.holds.told());
    text.push_str(&unknown(made.unknown));
    text
}

pub fn restored(restored: &Restored) -> String {
    let mut text = format!("store `{}` now holds {}\n", visible(&restored.store), restored.holds.told());
    if let Some(before) = restored.held_before.as_ref().filter(|before| before.total() > 0) {
        let _ = writeln!(text, "It held {} before.", before.told());
    }
    text.push_str("What was revoked or spent after the backup counts again: revoke it again, from the audit log.\n");
    text
}

pub fn copied_store(done: &CopiedStore) -> String {
    let copied = &done.copied;
    let mut text = format!("copied from {} to {}: {}\n", visible(&done.from), visible(&done.to), copied.copied.told());
    for (tally, what) in [
        (&copied.same, "were there already"),
        (&copied.kept, "are in the target only, and stay there"),
        (&copied.removed, "were in the target only, and are removed"),
        (&copied.left_out, "are left out: they live for minutes"),
    ] {
        if tally.total() > 0 {
            let _ = writeln!(text, "{} {what}", tally.told());
        }
    }
    text.push_str(&unknown(copied.unknown));
    match done.gate_was_running {
        Some(false) => {}
        Some(true) => text.push_str(
            "The gate went on meanwhile: what it wrote since the copy began is not in it. To lose nothing, stop it, copy again with --replace, and start it with the new config.\n",
        ),
        None => text.push_str("What gates wrote to the source meanwhile may be missing. To lose nothing, stop them before.\n"),
    }
    text
}

fn unknown(count: u64) -> String {
    match count {
        0 => String::new(),
        _ => format!("{count} things are not known to this build, and were left out\n"),
    }
}

fn grant_state(grant: &GrantView) -> Cell {
    match (grant.state, grant.ended) {
        (GrantState::Live, _) => Cell::painted("live", Paint::Good),
        (GrantState::Revoked, _) | (GrantState::Ended, None) => Cell::painted("revoked", Paint::Bad),
        (GrantState::Ended, Some(ended)) => Cell::painted(ended_by(ended.by), Paint::Bad),
    }
}

const fn ended_by(end: End) -> &'static str {
    match end {
        End::User => "withdrawn by the user",
        End::Operator => "revoked",
        End::Client => "given back by the app",
        End::Reuse => "ended: something was used twice",
        End::Site => "ended: the site took its token back",
    }
}

/// A secret alone on its line, so that it can be copied whole.
fn shown_once(what: &str, secret: &SecretText, style: Style) -> String {
    let note = format!("The {what} is shown this once; the store keeps its SHA-256 only.");
    format!("\n{}\n\n{}\n", visible(secret.reveal()), Paint::Note.over(&note, style))
}

fn enabled(client: &ClientView) -> Cell {
    if client.enabled { Cell::painted("enabled", Paint::Good) } else { Cell::painted("disabled", Paint::Bad) }
}

const fn kind(client: &ClientView) -> &'static str {
    if client.confidential { "confidential" } else { "public" }
}

fn rate(rate: Option<ClientRate>) -> String {
    let Some(ClientRate { requests, seconds, burst }) = rate else { return "as configured".to_owned() };
    format!("{requests}/{}, {burst} at once", show_time(std::time::Duration::from_secs(seconds.into())))
}

/// `2026-03-01 12:00:00Z`.
pub fn moment(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d %H:%M:%SZ")
}

fn day(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d")
}

fn shown(at: Timestamp, form: &str) -> String {
    let instant = i64::try_from(at.unix()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    instant.map_or_else(|| "beyond the calendar".to_owned(), |instant| instant.strftime(form).to_string())
}

/// The text with its control characters, and those that turn the direction of writing, made visible.
pub fn visible(text: &str) -> String {
    let hidden =
        |letter: char| letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if hidden(letter) {
            shown.extend(letter.escape_default())
        } else {
            shown.push(letter)
        }
        shown
    })
}

#[cfg(test)]
mod tests;
