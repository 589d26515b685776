//! The authorization request: who asks, where the answer goes, and what is asked for (RFC 6749 section 4.1.1).
//!
//! The order matters. Until client and redirect URI are known to belong together, nothing is sent anywhere: whoever wrote the link would
//! choose where (RFC 9700 section 4.11). From then on, every error goes back to the client, if an operator vouches for it.

use crate::oauth::client::{Client, GrantType};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::pkce;
use crate::oauth::scopes;
use crate::policy::coverage::Meanings;
use crate::policy::scope::Scopes;

/// The longest `state` and `nonce` that are carried, in bytes.
const OPAQUE_BYTES_MAX: usize = 2048;

/// The longest resource indicator that is looked at, in bytes.
const RESOURCE_BYTES_MAX: usize = 2048;

/// What holds for every request of a site.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Whether confidential clients must use PKCE as well.
    pub pkce_for_all: bool,
    pub meanings: &'a Meanings,
    /// The public URL of the site's API, without a slash at its end: what `resource` may name (RFC 8707).
    pub resource: &'a str,
}

/// A request that may be put before a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationRequest {
    pub redirect: Redirect,
    /// The redirect URI as it was sent; `None` where the client has only one and left it out.
    pub redirect_uri_sent: Option<String>,
    pub scopes: Scopes,
    pub challenge: Option<String>,
    pub nonce: Option<String>,
    pub prompt: Prompt,
    /// Seconds since the sign-in, at most.
    pub max_age: Option<u64>,
}

/// Where answers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub uri: String,
    pub state: Option<String>,
}

/// What the client wants the user to see (OpenID Connect Core 1.0 section 3.1.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Nothing.
    pub none: bool,
    /// The sign-in, even if there is one.
    pub login: bool,
    /// The consent, even if it was given.
    pub consent: bool,
}

/// Why a request is answered at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// On a page: nobody is known to whom it could be sent.
    Page(Problem),
    /// On a page as well: nobody vouches for the client, and a wrong request would make the gate send people wherever that client likes
    /// (RFC 9700 section 4.11.2).
    Untrusted(OAuthError),
    /// By redirect.
    Redirect(Redirect, OAuthError),
}

impl Refusal {
    /// The no to a request of which the user has seen nothing yet.
    pub fn unseen(client: &Client, to: Redirect, error: OAuthError) -> Self {
        if client.vouched_for() { Self::Redirect(to, error) } else { Self::Untrusted(error) }
    }
}

/// What is wrong with a request that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `client_id` is missing or repeated.
    ClientMissing,
    /// No such client, or a disabled one.
    ClientUnknown,
    /// The client cannot sign users in at all.
    ClientWithoutRedirect,
    /// `redirect_uri` is missing or repeated.
    RedirectMissing,
    /// It is not registered.
    RedirectMismatch,
}

impl Problem {
    /// Stable; for audit lines and the page.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ClientMissing => "client_missing",
            Self::ClientUnknown => "client_unknown",
            Self::ClientWithoutRedirect => "client_without_redirect",
            Self::RedirectMissing => "redirect_missing",
            Self::RedirectMismatch => "redirect_mismatch",
        }
    }

    /// One sentence for the person who sees it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ClientMissing => "The link does not say which app it belongs to (client_id is missing, or stands twice).",
            Self::ClientUnknown => "No app with this client_id is registered here, or it has been switched off.",
            Self::ClientWithoutRedirect => "This app is not registered for signing users in: it has no redirect URI.",
            Self::RedirectMissing => "The link does not say where to go back to (redirect_uri is missing, or stands twice).",
            Self::RedirectMismatch => "The redirect_uri in the link is not one that is registered for this app.",
        }
    }
}

/// The `client_id` of a request.
pub fn client_id<'a>(parameters: &Parameters<'a>) -> Result<&'a str, Refusal> {
    parameters.required("client_id").map_err(|_| Refusal::Page(Problem::ClientMissing))
}

/// Reads the request of `client`, whose id it named; `None` is a client that does not exist.
pub fn read(parameters: &Parameters<'_>, client: Option<&Client>, rules: Rules<'_>) -> Result<AuthorizationRequest, Refusal> {
    let client = client.filter(|client| client.enabled).ok_or(Refusal::Page(Problem::ClientUnknown))?;
    let sent = parameters.one("redirect_uri").map_err(|_| Refusal::Page(Problem::RedirectMissing))?;
    let uri = redirect_of(client, sent)?;
    // `state` that stands twice cannot be given back, but that it was sent twice can be told.
    let state = parameters.one("state").ok().flatten().filter(|state| state.len() <= OPAQUE_BYTES_MAX);
    let redirect = Redirect { uri: uri.to_owned(), state: state.map(str::to_owned) };
    match details(parameters, client, rules) {
        Ok(details) => Ok(AuthorizationRequest { redirect, redirect_uri_sent: sent.map(str::to_owned), ..details }),
        Err(error) => Err(Refusal::unseen(client, redirect, error)),
    }
}

/// Where the answer goes: the URI that is named, if it is registered, or the only one there is (RFC 6749 section 3.1.2.3).
fn redirect_of<'a>(client: &'a Client, sent: Option<&'a str>) -> Result<&'a str, Refusal> {
    match (sent, client.redirect_uris.as_slice()) {
        (_, []) => Err(Refusal::Page(Problem::ClientWithoutRedirect)),
        (Some(sent), _) if client.redirects_to(sent) => Ok(sent),
        (Some(_), _) => Err(Refusal::Page(Problem::RedirectMismatch)),
        (None, [only]) => Ok(only),
        (None, _) => Err(Refusal::Page(Problem::RedirectMissing)),
    }
}

fn details(parameters: &Parameters<'_>, client: &Client, rules: Rules<'_>) -> Result<AuthorizationRequest, OAuthError> {
    let state = parameters.one("state")?;
    // OpenID Connect Core 1.0 section 6: a request inside a parameter could say something else than the one outside.
    if parameters.one("request")?.is_some() {
        return Err(OAuthError::new(ErrorCode::RequestNotSupported, "the parameter request is not supported"));
    }
    if parameters.one("request_uri")?.is_some() {
        return Err(OAuthError::new(ErrorCode::RequestUriNotSupported, "the parameter request_uri is not supported"));
    }
    match parameters.one("response_type")? {
        Some("code") => {}
        Some(_) => return Err(OAuthError::new(ErrorCode::UnsupportedResponseType, "response_type must be code")),
        None => return Err(OAuthError::request("the parameter response_type is missing")),
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, "the client is not registered for authorization_code"));
    }
    if parameters.one("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(OAuthError::request("response_mode must be query"));
    }
    let challenge = challenge(parameters, client, rules)?;
    for resource in parameters.all("resource") {
        check_resource(resource, rules.resource)?;
    }
    let nonce = parameters.one("nonce")?;
    if [state, nonce].into_iter().flatten().any(|value| value.len() > OPAQUE_BYTES_MAX) {
        return Err(OAuthError::request("state or nonce is longer than 2048 bytes"));
    }
    let prompt = prompt(parameters.one("prompt")?)?;
    let max_age = match parameters.one("max_age")? {
        Some(text) => Some(text.parse().map_err(|_| OAuthError::request("max_age is not a number of seconds"))?),
        None => None,
    };
    let scopes = scopes::asked(parameters.one("scope")?, client, rules.meanings)?;
    Ok(AuthorizationRequest {
        redirect: Redirect { uri: String::new(), state: None },
        redirect_uri_sent: None,
        scopes,
        challenge: challenge.map(str::to_owned),
        nonce: nonce.map(str::to_owned),
        prompt,
        max_age,
    })
}

/// The PKCE challenge: S256 alone, and always from a client that has no secret (RFC 9700 section 2.1.1).
fn challenge<'a>(parameters: &Parameters<'a>, client: &Client, rules: Rules<'_>) -> Result<Option<&'a str>, OAuthError> {
    let method = parameters.one("code_challenge_method")?;
    match (parameters.one("code_challenge")?, method) {
        (Some(challenge), Some("S256")) if pkce::is_challenge(challenge) => Ok(Some(challenge)),
        (Some(_), Some("S256")) => Err(OAuthError::request("code_challenge is not the base64url of a SHA-256")),
        // Without a method it would be plain (RFC 7636 section 4.3), which protects nothing.
        (Some(_), _) => Err(OAuthError::request("code_challenge_method must be S256")),
        (None, Some(_)) => Err(OAuthError::request("code_challenge_method without code_challenge")),
        (None, None) if client.public() => Err(OAuthError::request("a client without a secret must send code_challenge")),
        (None, None) if rules.pkce_for_all => Err(OAuthError::request("code_challenge is required here")),
        (None, None) => Ok(None),
    }
}

/// Refuses a resource indicator that is not this site (RFC 8707 section 2): a token for another place must not be had here.
pub fn check_resource(asked: &str, resource: &str) -> Result<(), OAuthError> {
    let ours = asked.strip_prefix(resource).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if ours && asked.len() <= RESOURCE_BYTES_MAX && !asked.contains('#') {
        return Ok(());
    }
    Err(OAuthError::new(ErrorCode::InvalidTarget, "the resource is not served here"))
}

fn prompt(text: Option<&str>) -> Result<Prompt, OAuthError> {
    let mut prompt = Prompt::default();
    for word in text.unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
        match word {
            "none" => prompt.none = true,
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => return Err(OAuthError::request("prompt has a value that is not supported")),
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(OAuthError::request("prompt none stands alone"));
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests;
