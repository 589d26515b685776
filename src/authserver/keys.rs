//! The keys that id tokens are signed with, and the document that publishes them.

use crate::authserver::call::{Answer, Call, Failure};
use crate::oauth::error::{ErrorCode, OAuthError};

pub async fn answer(_call: &mut Call<'_>) -> Result<Answer, Failure> {
    Err(OAuthError::new(ErrorCode::ServerError, "not built").into())
}
