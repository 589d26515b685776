//! Registration (RFC 7591): a client makes itself known, where the operator lets it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE32_DNSSEC;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::authserver::bearer;
use crate::authserver::call::{Answer, Call, Failure, Limit};
use crate::authserver::clients::guessed;
use crate::authserver::issue::{fill, new_secret};
use crate::authserver::issuer::Registration;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::registration::{self, Authentication};
use crate::policy::token::TokenHash;
use crate::store::{StoreError, origins};

/// Random bytes of an id: 16 letters and digits.
const ID_BYTES: usize = 10;

/// How often another id is tried when one is taken, which takes 2^40 clients.
const ATTEMPTS_MAX: usize = 3;

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    match &call.issuer.registration {
        Registration::Off => return Ok(off(call)),
        Registration::Token(expected) => {
            if let Some(refusal) = admit(call, expected)? {
                return Ok(refusal);
            }
        }
        Registration::Open => {
            let counted = call.shared.memory.registrations.count(call.address, call.shared.nanos());
            counted.map_err(|too_many| Failure::Limited(Limit::Registrations, too_many))?;
        }
    }
    if !call.query.is_empty() {
        return Err(OAuthError::request("parameters belong into the body, not into the URL").into());
    }
    let content_type = call.only(&CONTENT_TYPE)?.unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(OAuthError::request("the body must be application/json").into());
    }
    let wanted = registration::Registration::read(&call.body, &call.issuer.registration_scopes, &call.issuer.meanings)?;
    let authentication = wanted.authentication;
    let secret = if authentication == Authentication::None { None } else { Some(new_secret()?) };
    for _ in 0..ATTEMPTS_MAX {
        let mut client = wanted.clone().client(&new_id()?, call.now);
        client.secret = secret.as_ref().map(|secret| secret.hash());
        origins::enter(call.store(), &call.issuer.name, &client).await?;
        if call.store().create_client(&call.issuer.name, &client).await? {
            tracing::info!(site = &*call.issuer.name, client = &*client.id, scopes = client.scopes.as_str(), "client registered itself");
            call.note.client = Some(client.id.clone());
            call.note.scopes = Some(client.scopes.as_str().into());
            let told = registration::answer(&client, authentication, secret.as_ref().map(|secret| secret.reveal()));
            return Ok(Answer { status: StatusCode::CREATED, ..Answer::json(&told) });
        }
    }
    Err(StoreError("no id of a client is free: the random bytes of the system repeat".to_owned()).into())
}

/// As if it were not there.
fn off(call: &Call<'_>) -> Answer {
    let error = OAuthError::request("clients are registered by the operator here");
    Answer { status: StatusCode::NOT_FOUND, ..Answer::error(&error, &call.issuer.name) }.refused("registration_off")
}

/// Whether the initial access token (section 3) is shown; the refusal if it is not.
fn admit(call: &Call<'_>, expected: &TokenHash) -> Result<Option<Answer>, Failure> {
    if let Some(failures) = &call.shared.failures {
        let checked = failures.check(call.address, call.shared.nanos());
        checked.map_err(|too_many| Failure::Limited(Limit::FailedAuthentications, too_many))?;
    }
    Ok(match bearer::shown(call) {
        Ok(None) => Some(bearer::refuse(call, None, "token_missing")),
        Err(error) => Some(bearer::refuse(call, Some(&error), "authorization_invalid")),
        Ok(Some(token)) if verify_slices_are_equal(token.hash().as_bytes(), expected.as_bytes()).is_ok() => None,
        Ok(Some(_)) => {
            guessed(call);
            let error = OAuthError::new(ErrorCode::InvalidToken, "this token does not let clients register");
            Some(bearer::refuse(call, Some(&error), "token_unknown"))
        }
    })
}

fn new_id() -> Result<String, Failure> {
    let mut random = [0; ID_BYTES];
    fill(&mut random)?;
    Ok(BASE32_DNSSEC.encode(&random))
}
