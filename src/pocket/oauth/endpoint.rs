//! `authorize`, `approve`, `revoke_token` and `introspect_token`.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::pocket::document::{Document, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::filter::plain;
use crate::pocket::form::pairs;
use crate::pocket::methods::{Answer, Call, Rendering};
use crate::pocket::oauth::token::{self, CodeGrant};
use crate::pocket::oauth::{Refusal, Refused, client, grant, openid};
use crate::pocket::pages;
use crate::pocket::request::{encoded, quoted};

/// Where a consent leads.
const APPROVE: &str = "/api/method/frappe.integrations.oauth2.approve";

/// An authorization request that nothing is wrong with.
struct Wanted<'a> {
    client: Arc<Document>,
    redirect_uri: &'a str,
    scopes: Vec<String>,
    /// The challenge and its method, `s256` or `plain`.
    challenge: Option<(&'a str, &'static str)>,
}

/// Errors are shown here as JSON and never sent to the client's address, not even those that RFC 6749 section 4.1.2.1 sends there (T14).
pub(in crate::pocket) fn authorize(call: &mut Call<'_>) -> Result<Answer, Fault> {
    // T19.
    let redirect_uri = call.form.text("redirect_uri").ok_or_else(|| Fault::bare(Kind::Key, "'redirect_uri'"))?;
    if call.user == "Guest" {
        return Ok(Answer::redirect(format!("/login?redirect-to={}", quoted(&call.request.url()))));
    }
    let parameters = call.form.args.iter().filter(|(key, _)| !matches!(key.as_str(), "cmd" | "data"));
    let parameters: Vec<String> = parameters.map(|(key, value)| format!("{}={}", quoted(key), quoted(&plain(value)))).collect();
    let allow = format!("{APPROVE}?{}", parameters.join("&"));
    let wanted = match wanted(call) {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(refusal.raised()),
    };
    if client::skips_authorization(&wanted.client) {
        return Ok(Answer::redirect(allow));
    }
    let mut details = wanted.scopes;
    if details.iter().any(|scope| scope == "openid") {
        details.retain(|scope| scope != "openid");
        details.extend(["Full Name", "Email", "User Image", "Roles"].map(str::to_owned));
    }
    let app = text(&wanted.client, "app_name").unwrap_or_default();
    // Without `state`, and with `?` even where the address has one already (T13).
    let page = pages::consent(app, &details, &allow, &format!("{redirect_uri}?error=access_denied"));
    Ok(Answer { rendering: Rendering::Page(page), ..Answer::default() })
}

/// Nothing shows that somebody consented: whoever calls this gets a code (T12b).
pub(in crate::pocket) fn approve(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let wanted = match wanted(call) {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(refusal.raised()),
    };
    // Not the user who is signed in: the one whom the cookie names (T281, T284).
    let user = call.request.cookie("user_id").ok_or_else(|| Fault::bare(Kind::Key, "'user_id'"))?;
    let grant = CodeGrant {
        client: &wanted.client,
        user: &user,
        scopes: &wanted.scopes,
        redirect_uri: wanted.redirect_uri,
        nonce: call.form.text("nonce").filter(|nonce| !nonce.is_empty()),
        challenge: wanted.challenge,
    };
    let code = token::issue_code(call.site, &grant)?;
    let separator = if wanted.redirect_uri.contains('?') { '&' } else { '?' };
    let mut target = format!("{}{separator}code={code}", wanted.redirect_uri);
    if let Some(state) = call.form.text("state") {
        target.push_str(&format!("&state={}", plus_quoted(state)));
    }
    Ok(Answer::redirect(target).committed())
}

/// Anybody may revoke anything that they know; the client is asked for only where the token does not tell (T52, T58, T156).
pub(in crate::pocket) fn revoke_token(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let empty = |status| Ok(Answer::body(status, json!({})));
    let posted = |key| call.form.posted.get(key).and_then(Value::as_str).filter(|value: &&str| !value.is_empty());
    // T50, T51.
    let Some(token) = posted("token").filter(|_| call.request.method == Method::POST && call.request.query.is_empty()) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    match grant::authenticate(call) {
        Ok(_) => {}
        Err(Refused::OAuth(_)) => return empty(StatusCode::UNAUTHORIZED),
        Err(Refused::Frappe(fault)) => return Err(fault),
    }
    token::revoke(call.site, token, posted("token_type_hint"));
    empty(StatusCode::OK)
}

/// `active` is the row's status and says nothing of its expiry (T171).
pub(in crate::pocket) fn introspect_token(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let asked = call.argument("token").unwrap_or_default();
    let (column, row) = match call.form.text("token_type_hint") {
        Some("refresh_token") => ("refresh_token", token::by_refresh(call.site, &asked)),
        _ => ("access_token", token::by_access(call.site, &asked)),
    };
    let Some(row) = row else { return Ok(inactive(&token::unknown(column, &asked, false))) };
    let client_id = text(&row, "client").unwrap_or_default();
    let Some(client) = client::find(call.site, client_id) else { return Ok(inactive(&client::unknown(Some(client_id)))) };
    let scopes = text(&row, "scopes").unwrap_or_default();
    let mut body = json!({
        "client_id": client::id(&client),
        "trusted_client": u8::from(client::skips_authorization(&client)),
        "active": text(&row, "status") == Some("Active"),
        "exp": token::expiry(&row).map(|time| time.as_second()),
        "scope": scopes,
    });
    // The letters `openid` anywhere in the text are enough.
    let user = text(&row, "user").unwrap_or_default();
    if scopes.contains("openid")
        && openid::subject(user).is_some()
        && let Some(body) = body.as_object_mut()
    {
        body.extend(openid::userinfo(call.site, user, &call.request.origin())?);
    }
    Ok(Answer::body(StatusCode::OK, body))
}

/// Whatever goes wrong in there becomes a plain `false` (T47).
fn inactive(fault: &Fault) -> Answer {
    Answer { messages: fault.messages().to_vec(), ..Answer::body(StatusCode::OK, json!({"active": false})) }
}

/// Checks an authorization request in oauthlib's order.
fn wanted<'a>(call: &Call<'a>) -> Result<Wanted<'a>, Refusal> {
    let form = call.form;
    let sent = pairs(&call.request.query);
    for key in ["client_id", "response_type", "redirect_uri", "scope", "state"] {
        if sent.iter().filter(|(sent, _)| sent == key).count() > 1 {
            return Err(Refusal::invalid_request(format!("Duplicate {key} parameter.")));
        }
    }
    let client_id = form.text("client_id").filter(|id| !id.is_empty());
    let client_id = client_id.ok_or_else(|| Refusal::invalid_request("Missing client_id parameter."))?;
    let client = client::find(call.site, client_id).ok_or_else(|| Refusal::invalid_request("Invalid client_id parameter value."))?;
    let redirect_uri = form.text("redirect_uri").ok_or_else(|| Refusal::invalid_request("Missing redirect URI."))?;
    if !redirect_uri.contains(':') {
        return Err(Refusal::invalid_request("Invalid redirect URI."));
    }
    if !client::may_return_to(&client, redirect_uri) {
        return Err(Refusal::invalid_request("Mismatching redirect URI."));
    }
    match form.text("response_type") {
        None => return Err(Refusal::invalid_request("Missing response_type parameter.")),
        // What answers in a fragment is not offered here, whatever the client's row says.
        Some("code") if client::takes_response_type(&client, "code") => {}
        Some("code" | "token" | "id_token" | "id_token token" | "code token" | "code id_token" | "code token id_token") => {
            return Err(Refusal::new("unauthorized_client"));
        }
        Some(_) => return Err(Refusal::new("unsupported_response_type")),
    }
    let challenge = match form.text("code_challenge").map(|challenge| (challenge, form.text("code_challenge_method"))) {
        None => None,
        Some((challenge, Some("S256"))) => Some((challenge, "s256")),
        // RFC 7636 section 4.3: nothing said means `plain` (T325).
        Some((challenge, None | Some("plain"))) => Some((challenge, "plain")),
        Some(_) => return Err(Refusal::invalid_request("Transform algorithm not supported.")),
    };
    let scopes = client::grantable(&client, form.text("scope")).ok_or_else(|| Refusal::new("invalid_scope"))?;
    // Without a character there is no challenge, and the code comes without one.
    let challenge = challenge.filter(|(challenge, _)| !challenge.is_empty());
    Ok(Wanted { client, redirect_uri, scopes, challenge })
}

/// Python's `quote_plus`.
fn plus_quoted(text: &str) -> String {
    let stands = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b' ');
    encoded(text, stands).replace(' ', "+")
}
