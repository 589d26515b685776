//! The token request: which grant is shown, and by which client (RFC 6749 sections 2.3 and 4 to 6).

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::oauth::client::Client;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::policy::time::Timestamp;

/// What is shown for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRequest<'a> {
    Code { code: &'a str, redirect_uri: Option<&'a str>, verifier: Option<&'a str> },
    Refresh { token: &'a str, scope: Option<&'a str> },
    ClientCredentials { scope: Option<&'a str> },
}

impl<'a> TokenRequest<'a> {
    pub fn read(parameters: &Parameters<'a>) -> Result<Self, OAuthError> {
        match parameters.required("grant_type")? {
            "authorization_code" => Ok(Self::Code {
                code: parameters.required("code")?,
                redirect_uri: parameters.one("redirect_uri")?,
                verifier: parameters.one("code_verifier")?,
            }),
            "refresh_token" => Ok(Self::Refresh { token: parameters.required("refresh_token")?, scope: parameters.one("scope")? }),
            "client_credentials" => Ok(Self::ClientCredentials { scope: parameters.one("scope")? }),
            _ => Err(OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                "grant_type must be authorization_code, refresh_token or client_credentials",
            )),
        }
    }
}

/// Who a client says it is. No `Debug`: it holds a secret.
pub struct Shown {
    pub id: String,
    pub secret: Option<String>,
    /// Whether it came in an `Authorization` header, so that a no must answer with a challenge (RFC 6749 section 5.2).
    pub basic: bool,
}

/// Reads who the client says it is, from the only `Authorization` header or from the form; never from both (RFC 6749 section 2.3).
pub fn shown(authorization: Option<&str>, parameters: &Parameters<'_>) -> Result<Shown, OAuthError> {
    let (id, secret) = (parameters.one("client_id")?, parameters.one("client_secret")?);
    if parameters.one("client_assertion")?.is_some() || parameters.one("client_assertion_type")?.is_some() {
        return Err(invalid_client("client assertions are not supported; use client_secret_basic or client_secret_post"));
    }
    let Some(authorization) = authorization else {
        let id = id.ok_or_else(|| invalid_client("the client is not named: client_id is missing"))?;
        return Ok(Shown { id: id.to_owned(), secret: secret.map(str::to_owned), basic: false });
    };
    if secret.is_some() {
        return Err(OAuthError::request("the client authenticates in two ways at once"));
    }
    let (basic_id, basic_secret) =
        basic(authorization).ok_or_else(|| invalid_client("the Authorization header is not of the form Basic"))?;
    if id.is_some_and(|id| id != basic_id) {
        return Err(OAuthError::request("the form and the Authorization header name two clients"));
    }
    Ok(Shown { id: basic_id, secret: Some(basic_secret).filter(|secret| !secret.is_empty()), basic: true })
}

/// `Basic`, whose two parts are encoded like a form (RFC 6749 section 2.3.1).
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let part = |text: &str| {
        // As the name of a pair: whatever `=` and `&` the secret has are encoded, or else they are taken as they stand.
        if text.contains(['&', '=']) {
            return Some(text.to_owned());
        }
        let pairs = Pairs::parse(text.as_bytes(), Reason::BodyInvalid).ok()?;
        Some(pairs.iter().next().map(|(name, _)| name.to_owned()).unwrap_or_default())
    };
    Some((part(id)?, part(secret)?))
}

/// Whether `client` is who it says it is. One sentence for all failures: which clients exist is nobody's business.
pub fn authenticate<'c>(client: Option<&'c Client>, shown: &Shown, now: Timestamp) -> Result<&'c Client, OAuthError> {
    let refused = || invalid_client("the client is unknown or disabled, or its secret is wrong");
    let client = client.filter(|client| client.enabled).ok_or_else(refused)?;
    let proved = match (&shown.secret, client.public()) {
        (Some(secret), false) => client.authenticates(secret, now),
        (None, true) => true,
        _ => false,
    };
    if proved { Ok(client) } else { Err(refused()) }
}

fn invalid_client(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClient, description)
}

/// The answer of the token endpoint, with Frappe's fields in Frappe's order (T21). It is a secret: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenAnswer {
    pub access_token: String,
    pub expires_in: u64,
    pub token_type: String,
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

#[cfg(test)]
mod tests;
