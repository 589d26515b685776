//! The OAuth clients of the site: rows of `OAuth Client`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::pocket::document::{Document, number, text};
use crate::pocket::fault::Fault;
use crate::pocket::site::Site;

const DOCTYPE: &str = "OAuth Client";

/// Writes the row of a client, new or over an old one.
pub(in crate::pocket) fn register(site: &mut Site, id: &str, secret: &str, redirect_uris: &[&str], scopes: &str, skip_authorization: bool) {
    let values = json!({
        "client_id": id,
        "app_name": id,
        "client_secret": secret,
        "scopes": scopes,
        "redirect_uris": redirect_uris.join(" "),
        "default_redirect_uri": redirect_uris.first(),
        "skip_authorization": u8::from(skip_authorization),
    });
    let Value::Object(values) = values else { return };
    if site.find(DOCTYPE, id).is_none() {
        // What cannot be a document's name registers nothing, as the builder says.
        let _ = site.insert("Administrator", DOCTYPE, &values);
        return;
    }
    for (column, value) in values {
        site.set(DOCTYPE, id, &column, value);
    }
}

pub(in crate::pocket) fn add_redirect_uri(site: &mut Site, id: &str, redirect_uri: &str) -> bool {
    let Some(client) = site.find(DOCTYPE, id) else { return false };
    let known = text(&client, "redirect_uris").unwrap_or_default();
    site.set(DOCTYPE, id, "redirect_uris", format!("{known} {redirect_uri}").trim());
    true
}

pub(in crate::pocket) fn find(site: &Site, id: &str) -> Option<Arc<Document>> {
    site.find(DOCTYPE, id)
}

/// What Frappe says of a client that it does not know; `None` in Python's spelling where no id was to be had (T26, T52).
pub(super) fn unknown(id: Option<&str>) -> Fault {
    Fault::not_found(DOCTYPE, id.unwrap_or("None"))
}

pub(super) fn id(client: &Document) -> &str {
    text(client, "name").unwrap_or_default()
}

/// Compared byte for byte, with every address that the client registered.
pub(super) fn may_return_to(client: &Document, redirect_uri: &str) -> bool {
    text(client, "redirect_uris").unwrap_or_default().trim().split(' ').any(|known| !known.is_empty() && known == redirect_uri)
}

pub(super) fn skips_authorization(client: &Document) -> bool {
    client.get("skip_authorization").map(number) == Some(1.0)
}

pub(super) fn takes_response_type(client: &Document, response_type: &str) -> bool {
    text(client, "response_type").is_some_and(|taken| taken.eq_ignore_ascii_case(response_type))
}

/// Scopes that a client may ask for, however they are separated (T552).
pub(in crate::pocket) fn scopes(client: &Document) -> Vec<String> {
    text(client, "scopes").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Whether the client still has all of a token's scopes (T175). Only single spaces separate them here, so that a client whose scopes were
/// written on two lines gets tokens and cannot use them (T552).
pub(super) fn still_has(client: &Document, scopes: &str) -> bool {
    let granted: Vec<&str> = text(client, "scopes").unwrap_or_default().split(' ').collect();
    scopes.split(' ').all(|scope| granted.contains(&scope))
}

/// The scopes that were asked for, all of the client's if none were (T15, T553); `None` if one is not the client's (T14, T33).
pub(super) fn grantable(client: &Document, asked: Option<&str>) -> Option<Vec<String>> {
    let allowed = scopes(client);
    let Some(asked) = asked else { return Some(allowed) };
    let asked: Vec<String> = asked.trim().split(' ').map(str::to_owned).collect();
    asked.iter().all(|scope| allowed.contains(scope)).then_some(asked)
}
