//! What the server says of itself (RFC 8414, RFC 9728, OpenID Connect Discovery 1.0).

use crate::authserver::call::{Answer, Call, Failure};
use crate::oauth::error::{ErrorCode, OAuthError};

pub async fn answer(_call: &mut Call<'_>) -> Result<Answer, Failure> {
    Err(OAuthError::new(ErrorCode::ServerError, "not built").into())
}
