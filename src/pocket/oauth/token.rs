//! The codes and the token pairs that the site issued: rows of `OAuth Authorization Code` and `OAuth Bearer Token`.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::pocket::doctype::DocType;
use crate::pocket::document::{Document, folded, text};
use crate::pocket::fault::{Fault, Kind, random_bytes};
use crate::pocket::oauth::client;
use crate::pocket::reply::time_text;
use crate::pocket::site::Site;

/// Lifetime of an access token. Frappe has no setting for it.
pub(super) const TOKEN_SECONDS: i64 = 3600;

/// Token pairs kept; revoked ones go first, then the oldest.
const TOKENS_MAX: usize = 2_000;

/// Codes kept; used ones go first, then the oldest.
const CODES_MAX: usize = 500;

/// Characters of what a client may have stored with a code, as wide as Frappe's columns.
const COLUMN_CHARS_MAX: usize = 140;

const CODES: &str = "OAuth Authorization Code";
const TOKENS: &str = "OAuth Bearer Token";

/// What a code stands for, until it is redeemed.
pub(super) struct CodeGrant<'a> {
    pub client: &'a Document,
    pub user: &'a str,
    pub scopes: &'a [String],
    pub redirect_uri: &'a str,
    pub nonce: Option<&'a str>,
    /// The challenge and its method, `s256` or `plain`.
    pub challenge: Option<(&'a str, &'static str)>,
}

/// Writes a code down. It gets no `expiration_time`, and nobody would look at one (T327).
pub(super) fn issue_code(site: &mut Site, grant: &CodeGrant<'_>) -> Result<String, Fault> {
    for (column, value) in [("nonce", grant.nonce), ("code_challenge", grant.challenge.map(|(challenge, _)| challenge))] {
        if value.is_some_and(|value| value.chars().count() > COLUMN_CHARS_MAX) {
            let text = format!("{CODES}: '{column}' will get truncated, as max characters allowed is {COLUMN_CHARS_MAX}");
            return Err(Fault::thrown(Kind::Validation, text));
        }
    }
    site.make_room(CODES, CODES_MAX, |code| text(code, "validity") == Some("Invalid"));
    let code = random_token();
    let values = json!({
        "authorization_code": code,
        "client": client::id(grant.client),
        "user": grant.user,
        "scopes": grant.scopes.join(" "),
        "redirect_uri_bound_to_authorization_code": grant.redirect_uri,
        "nonce": grant.nonce,
        "code_challenge": grant.challenge.map(|(challenge, _)| challenge),
        "code_challenge_method": grant.challenge.map(|(_, method)| method),
    });
    insert(site, CODES, values)?;
    Ok(code)
}

/// A code that was not used yet, of this client. Unlike a token, it is compared byte for byte.
pub(super) fn find_code(site: &Site, code: &str, client: &Document) -> Option<Arc<Document>> {
    site.find(CODES, code).filter(|row| {
        text(row, "name") == Some(code) && text(row, "client") == Some(client::id(client)) && text(row, "validity") == Some("Valid")
    })
}

pub(super) fn delete_code(site: &mut Site, code: &str) -> Result<(), Fault> {
    site.delete("Administrator", CODES, code)
}

pub(super) fn spend_code(site: &mut Site, code: &str) {
    site.set(CODES, code, "validity", "Invalid");
}

/// One pair, as the token endpoint answers it.
pub(in crate::pocket) struct Issued {
    pub access_token: String,
    pub refresh_token: String,
}

pub(in crate::pocket) fn issue(site: &mut Site, client: &Document, user: &str, scopes: &[String], now: Timestamp) -> Result<Issued, Fault> {
    site.make_room(TOKENS, TOKENS_MAX, |token| text(token, "status") == Some("Revoked"));
    let issued = Issued { access_token: random_token(), refresh_token: random_token() };
    let expires = now.checked_add(SignedDuration::from_secs(TOKEN_SECONDS)).unwrap_or(Timestamp::MAX);
    let values = json!({
        "access_token": issued.access_token,
        "refresh_token": issued.refresh_token,
        "client": client::id(client),
        "user": user,
        "scopes": scopes.join(" "),
        "expires_in": TOKEN_SECONDS,
        "expiration_time": time_text(expires),
    });
    insert(site, TOKENS, values)?;
    Ok(issued)
}

/// Whom an access token speaks for. Letter case does not count (T140), nor does whether the user is still enabled (T173); the client must
/// exist (T177) and still have every scope of the token (T175).
pub(in crate::pocket) fn bearer(site: &Site, token: &str, now: Timestamp) -> Option<String> {
    let row = by_access(site, token)?;
    let live = text(&row, "status") != Some("Revoked") && now < expiry(&row)?;
    let client = client::find(site, text(&row, "client")?)?;
    let live = live && client::still_has(&client, text(&row, "scopes").unwrap_or_default());
    live.then(|| text(&row, "user").map(str::to_owned))?
}

pub(super) fn by_access(site: &Site, token: &str) -> Option<Arc<Document>> {
    site.find(TOKENS, token)
}

/// Any row with that refresh token, revoked or not.
pub(super) fn by_refresh(site: &Site, token: &str) -> Option<Arc<Document>> {
    let wanted = folded(token);
    rows(site).into_iter().find(|row| text(row, "refresh_token").map(folded).as_deref() == Some(wanted.as_str()))
}

/// Revokes the pair that a token belongs to, whatever client asks (T156). One that is not there is passed over (T155).
pub(super) fn revoke(site: &mut Site, token: &str, hint: Option<&str>) {
    let row = if hint == Some("refresh_token") { by_refresh(site, token) } else { by_access(site, token) };
    if let Some(name) = row.as_deref().and_then(|row| text(row, "name")) {
        site.set(TOKENS, name, "status", "Revoked");
    }
}

pub(in crate::pocket) fn revoke_all(site: &mut Site, user: &str) -> usize {
    let mut names = Vec::new();
    for row in rows(site) {
        let theirs = text(&row, "user").map(folded) == Some(folded(user)) && text(&row, "status") == Some("Active");
        names.extend(text(&row, "name").filter(|_| theirs).map(str::to_owned));
    }
    for name in &names {
        site.set(TOKENS, name, "status", "Revoked");
    }
    names.len()
}

/// `None`: somebody wrote a text there that is no time.
pub(super) fn expiry(row: &Document) -> Option<Timestamp> {
    let time: DateTime = text(row, "expiration_time")?.parse().ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// What Frappe says of a token that it does not know, the filters in Python's spelling (T38, T47).
pub(super) fn unknown(column: &str, token: &str, only_active: bool) -> Fault {
    let active = if only_active { ", 'status': 'Active'" } else { "" };
    let token = token.replace('\\', "\\\\").replace('\'', "\\'");
    Fault::not_found(TOKENS, &format!("{{'{column}': '{token}'{active}}}"))
}

fn rows(site: &Site) -> Vec<Arc<Document>> {
    DocType::find(TOKENS).map(|doctype| site.rows(doctype)).unwrap_or_default()
}

fn insert(site: &mut Site, doctype: &str, values: Value) -> Result<(), Fault> {
    let Value::Object(values) = values else { return Ok(()) };
    site.insert("Administrator", doctype, &values).map(|_| ())
}

/// Thirty letters and digits, as oauthlib makes them.
fn random_token() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut token = String::with_capacity(30);
    while token.len() < 30 {
        // 248 is the last multiple of 62: what lies above would favour the first letters.
        let fair = random_bytes::<32>().into_iter().filter(|byte| *byte < 248);
        token.extend(fair.take(30 - token.len()).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    token
}
