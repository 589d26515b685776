//! Writing new tokens down, and taking them back where another request was first.

use aws_lc_rs::rand;

use crate::authserver::call::{Call, Failure};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::records::{Grant, RefreshRecord, issue_at};
use crate::oauth::token::TokenAnswer;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, RECORD_VERSION, TOKEN_BYTES, TokenHash, TokenRecord};
use crate::store::kept::{self, Kept, Kind};
use crate::store::{StoreError, grants};

/// How often a grant is read again when another request used it at the same time.
const ATTEMPTS_MAX: usize = 8;

/// Tokens that are in the store, but not yet anybody's.
pub struct Issued {
    pub answer: TokenAnswer,
    pub iat: Timestamp,
    access: TokenHash,
    refresh: Option<String>,
}

/// Random text of 256 bits: a token, a secret or a part of a URL. Never one that begins with `-`, which a command would take for an
/// option; that costs a fortieth of one bit.
pub fn new_secret() -> Result<AccessToken, Failure> {
    loop {
        let mut random = [0; TOKEN_BYTES];
        fill(&mut random)?;
        let secret = AccessToken::from_random(random);
        if !secret.reveal().starts_with('-') {
            return Ok(secret);
        }
    }
}

pub fn fill(random: &mut [u8]) -> Result<(), Failure> {
    rand::fill(random).map_err(|_| StoreError("the system gives no random bytes".to_owned()).into())
}

/// The grant, used now, and the second to issue at under it; `None` where it has ended.
///
/// That second is written into the grant before anything is issued. Whoever ends the grant marks as void all that was issued until the
/// second that it finds there, or makes this exchange fail: so nothing outlives the end of its grant, though it be issued at the same
/// moment by a gateway whose clock runs ahead.
pub async fn draw(call: &Call<'_>, grant: Kept<Grant>, mark: Option<Timestamp>) -> Result<Option<(Grant, Timestamp)>, Failure> {
    let (store, site) = (call.store(), &*call.issuer.name);
    let mut live = Some((grant, mark));
    for _ in 0..ATTEMPTS_MAX {
        let Some((grant, mark)) = live else { return Ok(None) };
        let at = issue_at(call.now, mark);
        if grant.value.used >= at {
            return Ok(Some((grant.value, at)));
        }
        let used = Grant { used: at, ..grant.value.clone() };
        if grants::change(store, site, &grant, &used).await? {
            return Ok(Some((used, at)));
        }
        live = grants::find_live(store, site, &used.id).await?;
    }
    Err(StoreError(format!("a grant of site {site} changes all the time; try again")).into())
}

/// Writes an access token under a grant, and where the client may have one a refresh token of `all` that was granted.
pub async fn issue(
    call: &Call<'_>,
    client: &Client,
    grant: &Grant,
    iat: Timestamp,
    scopes: Scopes,
    all: &Scopes,
) -> Result<Issued, Failure> {
    let mut issued = access(call, client, &grant.user, Some(grant), iat, scopes).await?;
    if client.may(GrantType::RefreshToken) {
        let token = new_secret()?;
        let record = RefreshRecord {
            v: RECORD_VERSION,
            client: client.id.clone(),
            user: grant.user.clone(),
            grant: grant.id.clone(),
            scopes: all.clone(),
            iat,
            exp: iat.plus(call.issuer.refresh_token_lifetime.as_secs()),
            spent: None,
        };
        let id = token.hash().to_string();
        if !kept::create(call.store(), &call.issuer.name, Kind::Refresh, &id, &record, Some(record.exp)).await? {
            return Err(StoreError("a new refresh token is known already: the random bytes of the system repeat".to_owned()).into());
        }
        issued.answer.refresh_token = Some(token.reveal().to_owned());
        issued.refresh = Some(id);
    }
    Ok(issued)
}

/// Writes an access token alone. Without a grant it is the client's own.
pub async fn access(
    call: &Call<'_>,
    client: &Client,
    user: &std::sync::Arc<str>,
    grant: Option<&Grant>,
    iat: Timestamp,
    scopes: Scopes,
) -> Result<Issued, Failure> {
    let (token, expires_in) = (new_secret()?, call.issuer.access_token_lifetime.as_secs());
    let record = TokenRecord {
        v: RECORD_VERSION,
        client: client.id.clone(),
        user: user.clone(),
        scopes,
        grant: grant.map(|grant| grant.id.clone()),
        iat,
        exp: iat.plus(expires_in),
    };
    let access = token.hash();
    call.store().put_token(&call.issuer.name, &access, &record).await?;
    let answer = TokenAnswer {
        access_token: token.reveal().to_owned(),
        expires_in,
        token_type: "Bearer".to_owned(),
        scope: record.scopes.to_string(),
        refresh_token: None,
        id_token: None,
    };
    Ok(Issued { answer, iat, access, refresh: None })
}

impl Issued {
    /// Takes the tokens back: another request was first, and nobody has seen them.
    pub async fn withdraw(self, call: &Call<'_>) -> Result<(), Failure> {
        call.store().delete_token(&call.issuer.name, &self.access).await?;
        if let Some(refresh) = &self.refresh {
            call.store().delete_record(&call.issuer.name, Kind::Refresh, refresh).await?;
        }
        Ok(())
    }

    /// Names it in the audit record.
    pub fn note(&self, call: &mut Call<'_>, user: &std::sync::Arc<str>) {
        call.note.user = Some(user.clone());
        call.note.scopes = Some(self.answer.scope.as_str().into());
        call.note.token = Some(self.access);
    }
}
