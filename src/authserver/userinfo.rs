//! Who the bearer of a token speaks for (OpenID Connect Core 1.0 section 5.3; Frappe's `openid_profile`, T41 to T44).
//!
//! As at Frappe, `openid` is not required (T42): every live token learns who its user is, which the API would tell it as well. Name and
//! address are told by scope.

use serde::Serialize;

use crate::authserver::bearer;
use crate::authserver::call::{Answer, Call, Failure, Limit};
use crate::authserver::clients::guessed;
use crate::authserver::introspect::profile;
use crate::oauth::claims::{Particulars, Told};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::store::cached::{Lookup, Unknown};

#[derive(Serialize)]
struct User<'a> {
    sub: &'a str,
    #[serde(flatten)]
    particulars: Particulars<'a>,
    iss: &'a str,
}

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let token = match bearer::shown(call) {
        Ok(Some(token)) => token,
        Ok(None) => return Ok(bearer::refuse(call, None, "token_missing")),
        Err(error) => return Ok(bearer::refuse(call, Some(&error), "authorization_invalid")),
    };
    let (hash, issuer) = (token.hash(), call.issuer);
    call.note.token = Some(hash);
    if let Some(failures) = &call.shared.failures
        && let Err(too_many) = failures.check(call.address, call.shared.nanos())
        && !call.shared.cached.knows(issuer.site, &hash)
    {
        return Err(Failure::Limited(Limit::FailedAuthentications, too_many));
    }
    let live = match call.shared.cached.find(issuer.site, &issuer.name, &hash, call.now).await? {
        Lookup::Live(live) => live,
        Lookup::Unknown(why) => return Ok(unknown(call, why)),
    };
    let record = &live.record;
    call.note.client = Some(record.client.clone());
    call.note.user = Some(record.user.clone());
    call.note.scopes = Some(record.scopes.as_str().into());
    let profile = profile(call, record.grant.as_deref()).await?;
    let particulars = Particulars::of(&record.user, &profile, Told::by_userinfo(&record.scopes));
    Ok(Answer::json(&User { sub: &record.user, particulars, iss: &issuer.url }))
}

fn unknown(call: &Call<'_>, why: Unknown) -> Answer {
    // The words of the gateway, for the same states.
    let (reason, sentence) = match why {
        Unknown::NoSuchToken => {
            guessed(call);
            ("token_unknown", "the token is not known here")
        }
        Unknown::Expired => ("token_expired", "the token has expired"),
        Unknown::Revoked => ("token_revoked", "the token was revoked"),
        Unknown::ClientDisabled => ("client_disabled", "the client of the token is disabled"),
        Unknown::NoSuchClient | Unknown::OlderThanClient => ("client_unknown", "the client of the token is gone"),
    };
    bearer::refuse(call, Some(&OAuthError::new(ErrorCode::InvalidToken, sentence)), reason)
}
