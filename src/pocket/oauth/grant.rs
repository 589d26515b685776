//! `get_token`: the grants of the token endpoint. Who the client is, is asked and never proved (T21, T32, T37).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::pocket::document::{Document, text};
use crate::pocket::fault::{Fault, Kind};
use crate::pocket::methods::{Answer, Call};
use crate::pocket::oauth::token::{self, TOKEN_SECONDS};
use crate::pocket::oauth::{Refusal, Refused, client, openid};

pub(in crate::pocket) fn get_token(call: &mut Call<'_>) -> Result<Answer, Fault> {
    call.oauth.token_requests += 1;
    if call.request.method != Method::POST {
        // T27.
        return Ok(Refusal::invalid_request(format!("Unsupported request method {}", call.request.method)).raised());
    }
    if !call.request.query.is_empty() {
        // T29.
        return Ok(Refusal::invalid_request("URL query parameters are not allowed").raised());
    }
    let granted = match posted(call, "grant_type") {
        Some("authorization_code") => by_code(call),
        Some("refresh_token") => by_refresh_token(call),
        Some("password") => by_password(call),
        // T23.
        Some("client_credentials") => authenticate(call).and(Err(Refusal::new("unauthorized_client").into())),
        Some(_) | None => Err(Refusal::new("unsupported_grant_type").into()),
    };
    match granted {
        Ok(answer) => Ok(answer),
        Err(Refused::OAuth(refusal)) => Ok(refusal.answered()),
        Err(Refused::Frappe(fault)) => Err(fault),
    }
}

/// The client that a request names, or the one whose token it brings (T40). No secret is looked at; what is compared is the session with
/// the `user_id` cookie, so that a stray cookie or a Bearer token is `invalid_client` (T285, T286).
pub(super) fn authenticate(call: &Call<'_>) -> Result<Arc<Document>, Refused> {
    let id = match posted(call, "client_id").filter(|id| !id.is_empty()) {
        Some(id) => Some(id.to_owned()),
        None => {
            let row = if let Some(refresh_token) = posted(call, "refresh_token") {
                token::by_refresh(call.site, refresh_token)
            } else if let Some(token) = posted(call, "token") {
                token::by_access(call.site, token)
            } else {
                let header = call.request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let header = header.ok_or_else(|| Fault::bare(Kind::Attribute, "'NoneType' object has no attribute 'split'"))?;
                token::by_access(call.site, header.split(' ').nth(1).unwrap_or_default())
            };
            row.and_then(|row| text(&row, "client").map(str::to_owned))
        }
    };
    let found = id.as_deref().and_then(|id| client::find(call.site, id)).ok_or_else(|| client::unknown(id.as_deref()))?;
    let claimed = call.request.cookie("user_id").unwrap_or_else(|| "Guest".to_owned());
    if claimed == call.user { Ok(found) } else { Err(Refusal::new("invalid_client").into()) }
}

fn by_code(call: &mut Call<'_>) -> Result<Answer, Refused> {
    let code = posted(call, "code").ok_or_else(|| Refusal::invalid_request("Missing code parameter."))?.to_owned();
    let client = authenticate(call)?;
    let row = token::find_code(call.site, &code, &client).ok_or_else(|| Refusal::new("invalid_grant"))?;
    if let Some(challenge) = text(&row, "code_challenge").filter(|challenge| !challenge.is_empty()) {
        let Some(verifier) = posted(call, "code_verifier").filter(|verifier| !verifier.is_empty()) else {
            // A code that is brought without its verifier is gone (T323) ...
            token::delete_code(call.site, &code)?;
            return Err(Refusal::new("invalid_grant").into());
        };
        if !fits(verifier, challenge, text(&row, "code_challenge_method")) {
            // ... and with a wrong one it may be tried again (T321).
            return Err(Refusal::new("invalid_grant").into());
        }
    }
    // Any address of the client's will do, although the code says which one it was sent to (T326).
    let redirect_uri = posted(call, "redirect_uri").or_else(|| text(&client, "default_redirect_uri")).unwrap_or_default();
    if redirect_uri.is_empty() {
        return Err(Refusal::invalid_request("Missing redirect URI.").into());
    }
    if !client::may_return_to(&client, redirect_uri) {
        return Err(Refusal::invalid_request("Mismatching redirect URI.").into());
    }
    let user = text(&row, "user").unwrap_or_default();
    let scopes = split(text(&row, "scopes").unwrap_or_default());
    let nonce = text(&row, "nonce").filter(|nonce| !nonce.is_empty());
    let answer = issue(call, &client, user, &scopes, Some(nonce))?;
    token::spend_code(call.site, &code);
    Ok(answer)
}

/// A new pair; the old one stays as good as it was (T35, T36), and may serve another client (T37) or a disabled user (T174).
fn by_refresh_token(call: &mut Call<'_>) -> Result<Answer, Refused> {
    call.oauth.refreshes += 1;
    let refresh_token = posted(call, "refresh_token").ok_or_else(|| Refusal::invalid_request("Missing refresh token parameter."))?;
    let client = authenticate(call)?;
    let row = token::by_refresh(call.site, refresh_token).filter(|row| text(row, "status") == Some("Active"));
    // T38, T55.
    let row = row.ok_or_else(|| token::unknown("refresh_token", refresh_token, true))?;
    let original = split(text(&row, "scopes").unwrap_or_default());
    let scopes = match posted(call, "scope").filter(|scope| !scope.is_empty()) {
        None => original,
        Some(narrower) => {
            let narrower = split(narrower);
            // T39.
            if !narrower.iter().all(|scope| original.contains(scope)) {
                return Err(Refusal::new("invalid_scope").into());
            }
            narrower
        }
    };
    issue(call, &client, text(&row, "user").unwrap_or_default(), &scopes, None)
}

/// Open to every client (T30).
fn by_password(call: &mut Call<'_>) -> Result<Answer, Refused> {
    let client = authenticate(call)?;
    let required = |key| posted(call, key).ok_or_else(|| Refusal::invalid_request(format!("Request is missing {key} parameter.")));
    let (username, password) = (required("username")?, required("password")?);
    let user = call.site.user_with_password(username, password).ok_or_else(Fault::bad_login)?;
    let scopes = client::grantable(&client, posted(call, "scope")).ok_or_else(|| Refusal::new("invalid_scope"))?;
    issue(call, &client, &user, &scopes, None)
}

/// With a nonce, be it an empty one, an ID token goes along where `openid` was granted: only a code brings one (T21, T30, T34).
fn issue(call: &mut Call<'_>, client: &Document, user: &str, scopes: &[String], nonce: Option<Option<&str>>) -> Result<Answer, Refused> {
    let now = call.oauth.now();
    let issued = token::issue(call.site, client, user, scopes, now)?;
    let mut body = json!({
        "access_token": issued.access_token,
        "expires_in": TOKEN_SECONDS,
        "token_type": "Bearer",
        "scope": scopes.join(" "),
        "refresh_token": issued.refresh_token,
    });
    if let Some(nonce) = nonce.filter(|_| scopes.iter().any(|scope| scope == "openid")) {
        let userinfo = openid::userinfo(call.site, user, &call.request.origin())?;
        body["id_token"] = openid::id_token(client, &issued.access_token, nonce, userinfo, now).into();
    }
    Ok(Answer::body(StatusCode::OK, body))
}

/// RFC 7636 section 4.6.
fn fits(verifier: &str, challenge: &str, method: Option<&str>) -> bool {
    match method {
        Some("s256") => BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref()) == challenge,
        _ => verifier == challenge,
    }
}

fn split(scopes: &str) -> Vec<String> {
    scopes.trim().split(' ').map(str::to_owned).collect()
}

fn posted<'a>(call: &Call<'a>, key: &str) -> Option<&'a str> {
    call.form.posted.get(key).and_then(Value::as_str)
}
