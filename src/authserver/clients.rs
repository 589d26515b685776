//! Who a client is: found by what it calls itself, and proved by its secret (RFC 6749 section 2.3).

use crate::authserver::call::{Call, Failure, Limit};
use crate::authserver::documents;
use crate::oauth::client::Client;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::token::{self, Shown};

/// The longest id that is looked up, in bytes: that of the stores.
const ID_BYTES_MAX: usize = 64;

/// The client with this id; `None` where there is none, and where no client could have such an id.
pub async fn find(call: &Call<'_>, id: &str) -> Result<Option<Client>, Failure> {
    // A URL has a `/`, which no id in a store can have.
    if id.starts_with("https://") {
        return match &call.issuer.documents {
            Some(documents) => Box::pin(documents::find(call, documents, id)).await,
            None => Ok(None),
        };
    }
    let plain = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
    if !plain {
        return Ok(None);
    }
    // One that is described by a document has its URL for a name, and no other.
    Ok(call.store().client(&call.issuer.name, id).await?.filter(|client| client.document.is_none()))
}

/// The client that a form or its `Authorization` header names, if it has proved who it is.
///
/// Guesses are counted for the address and for the client, and too many end it before a secret is looked at. One answer for every
/// failure, and the same count: which clients exist is nobody's business.
pub async fn authenticate(call: &mut Call<'_>, parameters: &Parameters<'_>) -> Result<Client, Failure> {
    let shown = token::shown(call.authorization()?, parameters)?;
    let now = call.shared.nanos();
    let (failures, guesses) = (call.shared.failures.as_deref(), &call.shared.memory.guesses);
    if let Some(failures) = failures {
        failures.check(call.address, now).map_err(|too_many| Failure::Limited(Limit::FailedAuthentications, too_many))?;
    }
    // Whoever shows no secret guesses none: nobody can shut out the users of a public client by failing in its name.
    if shown.secret.is_some() {
        guesses.check(call.issuer.site, &shown.id, call.address, now).map_err(|too_many| Failure::Limited(Limit::Client, too_many))?;
    }
    let found = find(call, &shown.id).await?;
    call.note.client = found.as_ref().map(|client| client.id.clone());
    match token::authenticate(found.as_ref(), &shown, call.now) {
        Ok(client) => {
            if !client.public() {
                guesses.proved(call.issuer.site, &shown.id, call.address, now);
            }
            Ok(client.clone())
        }
        Err(error) => {
            failed(call, &shown);
            Err(error.into())
        }
    }
}

/// The same, for an endpoint that a client without a secret must not speak to.
pub async fn authenticate_confidential(call: &mut Call<'_>, parameters: &Parameters<'_>) -> Result<Client, Failure> {
    let client = authenticate(call, parameters).await?;
    if client.public() {
        return Err(OAuthError::new(ErrorCode::InvalidClient, "this endpoint is for clients that have a secret").into());
    }
    Ok(client)
}

/// Counts a token, code or refresh token that nobody issued.
pub fn guessed(call: &Call<'_>) {
    if let Some(failures) = &call.shared.failures {
        // What is over the limit is refused the next time.
        let _ = failures.count(call.address, call.shared.nanos());
    }
}

fn failed(call: &Call<'_>, shown: &Shown) {
    guessed(call);
    if shown.secret.is_some() {
        call.shared.memory.guesses.failed(call.issuer.site, &shown.id, call.shared.nanos());
    }
}
