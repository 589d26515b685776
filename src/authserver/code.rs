//! A yes, kept: the grant of a user to a client, begun or widened, and the code that the browser carries to the app.

use std::sync::Arc;

use crate::authserver::asked::{self, Asked};
use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::issue::new_secret;
use crate::authserver::random;
use crate::authserver::session::{self, Live};
use crate::authserver::signin::Gate;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::records::{CODE_KEPT, CODE_LIFETIME, CodeRecord, Grant, SiteTokens, issue_at};
use crate::oauth::scopes::union;
use crate::policy::time::Timestamp;
use crate::policy::token::RECORD_VERSION;
use crate::store::grants::{begin, change, mark_of, of_user};
use crate::store::kept::{self, Kept, Kind};

/// How often it is tried again when another request changed the grant first.
const ATTEMPTS_MAX: usize = 8;

/// The live grant of `user` to `client`, and the latest revocation before it. The newest, should two consents have raced.
pub async fn grant_of(call: &Call<'_>, user: &str, client: &str) -> Result<Option<(Kept<Grant>, Option<Timestamp>)>, Failure> {
    let (store, site) = (call.store(), &call.issuer.name);
    for grant in of_user(store, site, user).await? {
        if *grant.value.client != *client || grant.value.ended.is_some() {
            continue;
        }
        let mark = mark_of(store, site, client, user, Some(&grant.value.id)).await?;
        if grant.value.live(mark) {
            return Ok(Some((grant, mark)));
        }
    }
    Ok(None)
}

/// Sends the browser to the app with a code. `None` where the user must sign in again: a revocation has ended the session meanwhile, or the
/// grant would need tokens of the site that this sign-in no longer has.
pub async fn issue(call: &Call<'_>, gate: &Gate<'_>, asked: &Asked, live: &Live) -> Result<Option<Answer>, Failure> {
    let Some((grant, iat)) = consented(call, gate, asked, live).await? else { return Ok(None) };
    let code = new_secret()?;
    let Asked { client, request, .. } = asked;
    let record = CodeRecord {
        v: RECORD_VERSION,
        client: Arc::clone(&client.id),
        user: Arc::clone(&live.session().user),
        grant,
        scopes: request.scopes.clone(),
        redirect_uri: request.redirect_uri_sent.clone(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
        auth_time: live.session().iat,
        iat,
        exp: iat.plus(CODE_LIFETIME),
        spent: None,
        issued: None,
    };
    let id = code.hash().to_string();
    if !kept::create(call.store(), &call.issuer.name, Kind::Code, &id, &record, Some(iat.plus(CODE_KEPT))).await? {
        return Err(OAuthError::new(ErrorCode::ServerError, "a code was drawn twice; try again").into());
    }
    let answer = asked::redirect(call, &request.redirect, &[("code", code.reveal())]);
    Ok(Some(answer.because("code_issued")))
}

/// The grant that covers the request from now on, and the second in which the code is issued.
///
/// It is issued behind the marks that were read, so what authorises it, the session, is judged after they were: a revocation that comes
/// between voids the session, and one that comes later bears a later second than the code.
async fn consented(call: &Call<'_>, gate: &Gate<'_>, asked: &Asked, live: &Live) -> Result<Option<(Arc<str>, Timestamp)>, Failure> {
    let (client, user, profile) = (&asked.client.id, &live.session().user, &live.session().profile);
    let (store, site) = (call.store(), &*call.issuer.name);
    let mut tokens = Tokens::Untouched;
    for _ in 0..ATTEMPTS_MAX {
        let found = grant_of(call, user, client).await?;
        if call.issuer.keeps_site_tokens {
            tokens = tokens.taken(call, gate, live).await?;
        }
        if let Some((read, mark)) = found {
            let iat = issue_at(call.now, mark);
            if !session::stands(call, live).await? {
                return Ok(None);
            }
            // A new sign-in heals a grant whose tokens the site no longer takes.
            if let Tokens::Taken(tokens) = &tokens {
                store.put_credential(site, &read.value.id, &session::seal(gate.key, site, &read.value.id, tokens)?).await?;
            }
            let scopes = union(&read.value.scopes, &asked.request.scopes, &call.issuer.meanings);
            let used = read.value.used.max(iat);
            let grant = Grant { scopes, used, profile: profile.clone(), ..read.value.clone() };
            if change(store, site, &read, &grant).await? {
                return Ok(Some((grant.id, iat)));
            }
            continue;
        }
        if call.issuer.keeps_site_tokens && !matches!(tokens, Tokens::Taken(_)) {
            return Ok(None);
        }
        let created = issue_at(call.now, mark_of(store, site, client, user, None).await?);
        if !session::stands(call, live).await? {
            return Ok(None);
        }
        let grant = Grant {
            v: RECORD_VERSION,
            id: random::id()?.into(),
            client: Arc::clone(client),
            user: Arc::clone(user),
            scopes: asked.request.scopes.clone(),
            created,
            used: created,
            profile: profile.clone(),
            ended: None,
        };
        // Before the grant: none is ever found without its tokens.
        if let Tokens::Taken(tokens) = &tokens {
            store.put_credential(site, &grant.id, &session::seal(gate.key, site, &grant.id, tokens)?).await?;
        }
        if begin(store, site, &grant).await? {
            return Ok(Some((grant.id, created)));
        }
    }
    Err(OAuthError::new(ErrorCode::TemporarilyUnavailable, "the grant changes all the time; try again").into())
}

/// The site's tokens of this sign-in, on their way into a grant.
enum Tokens {
    Untouched,
    /// Another grant has them, or there never were any.
    Gone,
    Taken(SiteTokens),
}

impl Tokens {
    async fn taken(self, call: &Call<'_>, gate: &Gate<'_>, live: &Live) -> Result<Self, Failure> {
        match self {
            Self::Untouched => Ok(session::take_site_tokens(call, gate.key, live).await?.map_or(Self::Gone, Self::Taken)),
            taken => Ok(taken),
        }
    }
}
