//! The token endpoint (RFC 6749 section 3.2): a code, a refresh token or a client's own name, for tokens.
//!
//! New tokens are written first, and then the code or refresh token is exchanged for its spent self, which succeeds for one request of
//! many. The others take back what they wrote and judge anew what they find: a code that was used twice, or a refresh token whose answer
//! is repeated. Whatever breaks off between the two writes leaves tokens that nobody has ever seen.

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::clients::{authenticate, guessed};
use crate::authserver::issue::{self, Issued, draw, issue};
use crate::authserver::keys::{self, SiteKeys};
use crate::authserver::random;
use crate::authserver::revoke::end_grant;
use crate::oauth::authorization::check_resource;
use crate::oauth::claims::{ID_TOKEN_LIFETIME, IdToken, Particulars, Told, at_hash, is_openid};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::parameters::Parameters;
use crate::oauth::records::{CODE_KEPT, CODE_REFUSED, CodeRecord, End, Grant, REFRESH_REFUSED, Refresh, RefreshRecord, Refused, issue_at};
use crate::oauth::scopes;
use crate::oauth::sealed_answer;
use crate::oauth::token::{TokenAnswer, TokenRequest};
use crate::policy::scope::Scopes;
use crate::policy::token::TokenHash;
use crate::store::kept::{self, Kind};
use crate::store::{StoreError, grants};

/// How often a record is judged anew when another request was first.
const ATTEMPTS_MAX: usize = 4;

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let pairs = call.form_pairs()?;
    let parameters = Parameters::new(&pairs);
    let client = authenticate(call, &parameters).await?;
    let request = TokenRequest::read(&parameters)?;
    for resource in parameters.all("resource") {
        check_resource(resource, &call.issuer.url)?;
    }
    let answer = match request {
        TokenRequest::Code { code, redirect_uri, verifier } => redeem(call, &client, code, redirect_uri, verifier).await?,
        TokenRequest::Refresh { token, scope } => refresh(call, &client, token, scope).await?,
        TokenRequest::ClientCredentials { scope } => own(call, &client, scope).await?,
    };
    Ok(Answer::json(&answer))
}

async fn redeem(
    call: &mut Call<'_>,
    client: &Client,
    code: &str,
    redirect_uri: Option<&str>,
    verifier: Option<&str>,
) -> Result<TokenAnswer, Failure> {
    check_may(client, GrantType::AuthorizationCode)?;
    let (store, site) = (call.store(), call.issuer.name.clone());
    let id = TokenHash::of(code.as_bytes()).to_string();
    for _ in 0..ATTEMPTS_MAX {
        let Some(kept) = kept::load::<CodeRecord>(store, &site, Kind::Code, &id).await? else {
            guessed(call);
            return Err(OAuthError::grant(CODE_REFUSED).into());
        };
        let record = &kept.value;
        let Some((grant, mark)) = grants::find_live(store, &site, &record.grant).await? else {
            return Err(OAuthError::grant(CODE_REFUSED).into());
        };
        call.note.user = Some(record.user.clone());
        let spent = match record.redeem(client, redirect_uri, verifier, call.now, mark) {
            Ok(spent) => spent,
            Err(refused) => return Err(end_reused(call, &record.grant, refused, CODE_REFUSED).await),
        };
        let scopes = scopes::refreshed(None, &record.scopes, client, &call.issuer.meanings)?;
        // Before anything is written: what cannot be signed must not cost the code.
        let keys = if is_openid(&scopes) { Some(keys::of_site(call).await?) } else { None };
        let Some((grant, iat)) = draw(call, grant, mark).await? else {
            return Err(OAuthError::grant(CODE_REFUSED).into());
        };
        let mut issued = issue(call, client, &grant, iat, scopes.clone(), &record.scopes).await?;
        let expires = record.iat.plus(CODE_KEPT);
        let spent = CodeRecord { issued: Some(TokenHash::of(issued.answer.access_token.as_bytes()).fingerprint().into()), ..spent };
        let won = match kept::swap(store, &site, Kind::Code, &id, &kept, &spent, Some(expires)).await {
            Ok(won) => won,
            // It may have taken place, and only its answer be lost. To call that a failure would have the client try again, and end the
            // grant for reuse.
            Err(lost) => match kept::load::<CodeRecord>(store, &site, Kind::Code, &id).await {
                Ok(Some(now)) if now.value == spent => true,
                _ => return Err(lost.into()),
            },
        };
        if !won {
            issued.withdraw(call).await?;
            continue;
        }
        if let Some(keys) = keys {
            issued.answer.id_token = Some(id_token(call, &keys, client, &grant, record, &scopes, &issued)?);
        }
        issued.note(call, &grant.user);
        return Ok(issued.answer);
    }
    Err(changes_all_the_time())
}

fn id_token(
    call: &Call<'_>,
    keys: &SiteKeys,
    client: &Client,
    grant: &Grant,
    code: &CodeRecord,
    scopes: &Scopes,
    issued: &Issued,
) -> Result<String, OAuthError> {
    keys.sign(&IdToken {
        iss: &call.issuer.url,
        sub: &grant.user,
        aud: client.public_id(),
        exp: issued.iat.plus(ID_TOKEN_LIFETIME),
        iat: issued.iat,
        auth_time: code.auth_time,
        nonce: code.nonce.as_deref(),
        at_hash: at_hash(&issued.answer.access_token),
        particulars: Particulars::of(&grant.user, &grant.profile, Told::in_id_token(scopes)),
    })
}

async fn refresh(call: &mut Call<'_>, client: &Client, token: &str, scope: Option<&str>) -> Result<TokenAnswer, Failure> {
    check_may(client, GrantType::RefreshToken)?;
    let (store, site) = (call.store(), call.issuer.name.clone());
    let id = TokenHash::of(token.as_bytes()).to_string();
    for _ in 0..ATTEMPTS_MAX {
        let Some(kept) = kept::load::<RefreshRecord>(store, &site, Kind::Refresh, &id).await? else {
            // Not of a client that has proved who it is: its server shows whatever its users have kept for too long, from one address, and
            // must be heard for all the others.
            if client.public() {
                guessed(call);
            }
            return Err(OAuthError::grant(REFRESH_REFUSED).into());
        };
        let record = &kept.value;
        let Some((grant, mark)) = grants::find_live(store, &site, &record.grant).await? else {
            return Err(OAuthError::grant(REFRESH_REFUSED).into());
        };
        call.note.user = Some(record.user.clone());
        match record.refresh(client, call.now, mark) {
            Ok(Refresh::Rotate) => {}
            Ok(Refresh::Repeat(sealed)) => return repeated(call, token, sealed),
            Err(refused) => return Err(end_reused(call, &record.grant, refused, REFRESH_REFUSED).await),
        }
        let scopes = scopes::refreshed(scope, &record.scopes, client, &call.issuer.meanings)?;
        let Some((grant, iat)) = draw(call, grant, mark).await? else {
            return Err(OAuthError::grant(REFRESH_REFUSED).into());
        };
        let issued = issue(call, client, &grant, iat, scopes, &record.scopes).await?;
        let spent = record.spend(call.now, sealed(token, &issued.answer)?);
        if !kept::swap(store, &site, Kind::Refresh, &id, &kept, &spent, Some(record.exp)).await? {
            issued.withdraw(call).await?;
            continue;
        }
        issued.note(call, &grant.user);
        return Ok(issued.answer);
    }
    Err(changes_all_the_time())
}

/// The answer that was given a moment ago, once more.
fn repeated(call: &mut Call<'_>, token: &str, sealed: &str) -> Result<TokenAnswer, Failure> {
    let answer = sealed_answer::open(token, sealed).and_then(|json| serde_json::from_slice::<TokenAnswer>(&json).ok());
    let damaged = || StoreError("a spent refresh token has an answer that cannot be read; its client must ask its user again".to_owned());
    let answer = answer.ok_or_else(damaged)?;
    call.note.scopes = Some(answer.scope.as_str().into());
    call.note.token = Some(TokenHash::of(answer.access_token.as_bytes()));
    Ok(answer)
}

fn sealed(token: &str, answer: &TokenAnswer) -> Result<String, Failure> {
    let json = serde_json::to_vec(answer).unwrap_or_default();
    sealed_answer::seal(token, random::bytes()?, &json).map_err(|_| StoreError("an answer could not be sealed".to_owned()).into())
}

/// `client_credentials`: the client speaks for itself, or for the user that the operator gave it.
async fn own(call: &mut Call<'_>, client: &Client, scope: Option<&str>) -> Result<TokenAnswer, Failure> {
    // RFC 6749 section 4.4: only a client that can prove who it is.
    if client.public() {
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, "a client without a secret gets no token of its own").into());
    }
    check_may(client, GrantType::ClientCredentials)?;
    let scopes = scopes::asked(scope, client, &call.issuer.meanings)?;
    if scope.is_some() && is_openid(&scopes) {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "openid is about a user, and here is none").into());
    }
    let user = client.user.clone().unwrap_or_else(|| client.id.clone());
    let mark = grants::mark_of(call.store(), &call.issuer.name, &client.id, &user, None).await?;
    // What is issued comes after the mark, so the secret must still count after the mark was read: a rotation in between was to end this.
    let now = call.store().client(&call.issuer.name, &client.id).await?;
    if !now.is_some_and(|now| {
        now.enabled && (now.created, now.secret, now.previous_secret) == (client.created, client.secret, client.previous_secret)
    }) {
        return Err(OAuthError::new(ErrorCode::TemporarilyUnavailable, "the client was changed while it asked; try again").into());
    }
    let issued = issue::access(call, client, &user, None, issue_at(call.now, mark), scopes).await?;
    issued.note(call, &user);
    Ok(issued.answer)
}

fn check_may(client: &Client, grant: GrantType) -> Result<(), OAuthError> {
    if client.may(grant) {
        return Ok(());
    }
    Err(OAuthError::new(ErrorCode::UnauthorizedClient, format!("the client is not registered for {}", grant.as_str())))
}

/// Why a code or refresh token is not taken; ends its grant where it was used before (RFC 6749 section 4.1.2, RFC 9700 section 4.14.2):
/// one of the two who had it is a thief.
async fn end_reused(call: &mut Call<'_>, grant: &str, refused: Refused, description: &'static str) -> Failure {
    match refused {
        Refused::Error(error) => error.into(),
        Refused::Reused => match end_grant(call, grant, End::Reuse).await {
            Ok(()) => OAuthError::grant(description).into(),
            Err(failure) => failure,
        },
    }
}

fn changes_all_the_time() -> Failure {
    StoreError("a code or refresh token changes all the time; try again".to_owned()).into()
}
