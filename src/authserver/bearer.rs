//! Tokens that are shown to the OAuth endpoints themselves (RFC 6750): in the header only, never in a form or a URL.

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use crate::authserver::call::{Answer, Call};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::token::AccessToken;

/// The only Bearer token; `None` where no credentials are shown at all.
pub fn shown(call: &Call<'_>) -> Result<Option<AccessToken>, OAuthError> {
    let Some(text) = call.authorization()? else { return Ok(None) };
    let token =
        text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).and_then(|(_, token)| AccessToken::parse(token));
    let refused = || OAuthError::new(ErrorCode::InvalidToken, "the Authorization header is not of the form Bearer and a token");
    token.map(Some).ok_or_else(refused)
}

/// A no with its challenge (RFC 6750 section 3), which says where the metadata is (RFC 9728 section 5.1). Without an error: nothing was
/// shown, and then no code is told (section 3.1).
pub fn refuse(call: &Call<'_>, error: Option<&OAuthError>, reason: &'static str) -> Answer {
    let missing = OAuthError::new(ErrorCode::InvalidToken, "this needs a token in the Authorization header");
    let issuer = call.issuer;
    let mut challenge = format!("Bearer realm=\"{}\"", issuer.name);
    if let Some(error) = error {
        challenge.push_str(&format!(", error=\"{}\", error_description=\"{}\"", error.code.as_str(), error.description));
    }
    challenge.push_str(&format!(", resource_metadata=\"{}/.well-known/oauth-protected-resource\"", issuer.url));
    let mut answer = Answer::error(error.unwrap_or(&missing), &issuer.name).refused(reason);
    answer.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer")));
    answer
}
