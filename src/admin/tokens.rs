//! Tokens that an operator issues, registers, looks at and revokes.

use std::collections::HashMap;

use tracing::info;

use crate::admin::clients::check_known;
use crate::admin::error::{AdminError, Code};
use crate::admin::message::{IssuedToken, NewToken, RevokedToken, SecretText, TokenList, TokenListQuery, TokenRef, TokenState, TokenView};
use crate::admin::operations::{Admin, Site, new_secret, now};
use crate::admin::scopes;
use crate::oauth::records::{issue_at, void};
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::cached::CLOCK_SKEW;
use crate::store::grants::mark_of;

/// DESIGN section 9: an access token lives for an hour.
const LIFETIME: u64 = 3600;

/// The longest life of a token, in seconds: a year.
const LIFETIME_MAX: u64 = 365 * 86_400;

/// The longest user, in characters: Frappe's own for the name of a document.
const USER_MAX: usize = 140;

/// The shortest token that is registered, in bytes: 20 random letters and digits are 119 bits, and what is shorter may be guessed
/// (RFC 6749 section 10.10). Frappe's are 30 long.
const REGISTERED_BYTES_MIN: usize = 20;

/// Tokens in a list, unless more are asked for, and at most.
const LIST: usize = 100;
const LIST_MAX: usize = 10_000;

impl Admin {
    /// A new token, or an existing one made known, for a client that is enabled and may have such scopes.
    pub async fn issue_token(&self, site: &str, new: NewToken) -> Result<IssuedToken, AdminError> {
        let (_, ref site) = self.site(site)?;
        let user = user(&new.user)?;
        let expires_in = lifetime(new.expires_in)?;
        let wanted = scopes::parse(&new.scope, &self.rules().scopes)?;
        let token = match &new.register {
            Some(register) => registered(register)?,
            None => new_secret()?,
        };

        let _alone = self.changes.lock().await;
        let client = self.known_client(site, &new.client_id).await?;
        if !client.enabled {
            let message =
                format!("client `{0}` is disabled, so no token of it is let through; `scopegate client enable {0}` first", client.id);
            return Err(AdminError::new(Code::ClientDisabled, message));
        }
        scopes::check_within(&wanted, &client.scopes, &client.id, &self.rules().scopes)?;
        let (hash, now) = (token.hash(), now());
        self.check_free(site, &hash, now).await?;
        // What was revoked a moment ago stays so; this is issued after it.
        let ended = self.store.ledger().site(&site.name).ended(&hash);
        let iat = issue_at(now, mark_of(&*self.store, &site.name, &client.id, user, None).await?.max(ended));
        let record = TokenRecord {
            v: RECORD_VERSION,
            client: client.id,
            user: user.into(),
            scopes: wanted,
            grant: None,
            iat,
            exp: iat.plus(expires_in),
        };
        self.store.put_token(&site.name, &hash, &record).await?;
        info!(
            site = &*site.name,
            client = &*record.client,
            user = &*record.user,
            token = hash.fingerprint(),
            scopes = record.scopes.as_str(),
            expires_in,
            registered = new.register.is_some(),
            "token issued"
        );
        Ok(IssuedToken {
            access_token: new.register.is_none().then(|| SecretText::new(token.reveal())),
            token_type: "Bearer".to_owned(),
            expires_in,
            scope: record.scopes.to_string(),
            client_id: record.client.to_string(),
            user: record.user.to_string(),
            expires_at: record.exp,
            hash: hash.to_string(),
            fingerprint: hash.fingerprint(),
        })
    }

    /// Refuses to write over a live token: it would change hands, or grow, without anyone having revoked it.
    async fn check_free(&self, site: &Site, hash: &TokenHash, now: Timestamp) -> Result<(), AdminError> {
        match self.store.token(&site.name, hash).await? {
            Some(record) if !record.expired(now) => Err(AdminError::new(
                Code::TokenTaken,
                format!(
                    "the token {} is registered already, for client `{}` and user `{}`; revoke it first",
                    hash.fingerprint(),
                    record.client,
                    record.user
                ),
            )),
            _ => Ok(()),
        }
    }

    pub async fn inspect_token(&self, site: &str, token: &TokenRef) -> Result<TokenView, AdminError> {
        let (_, ref site) = self.site(site)?;
        let hash = hash_of(token)?;
        let record = self.store.token(&site.name, &hash).await?.ok_or_else(|| unknown_token(site, &hash))?;
        let client = self.store.client(&site.name, &record.client).await?;
        let mark = mark_of(&*self.store, &site.name, &record.client, &record.user, record.grant.as_deref()).await?;
        let state = match client {
            _ if record.expired(now()) => TokenState::Expired,
            _ if void(record.iat, mark) => TokenState::Revoked,
            None => TokenState::NoSuchClient,
            Some(client) if !client.enabled => TokenState::ClientDisabled,
            Some(client) if record.iat.plus(CLOCK_SKEW) < client.created => TokenState::OlderThanClient,
            Some(_) => TokenState::Live,
        };
        Ok(TokenView { state: Some(state), ..TokenView::of(&hash, &record) })
    }

    pub async fn revoke_token(&self, site: &str, token: &TokenRef) -> Result<RevokedToken, AdminError> {
        let (place, ref site) = self.site(site)?;
        let hash = hash_of(token)?;
        let deleted = self.store.delete_token(&site.name, &hash).await;
        if let Some(cached) = &self.cached {
            cached.forget_token(place, &hash);
        }
        if !deleted? {
            return Err(unknown_token(site, &hash));
        }
        info!(site = &*site.name, token = hash.fingerprint(), "token revoked");
        Ok(RevokedToken { hash: hash.to_string(), fingerprint: hash.fingerprint(), revoked: true })
    }

    /// The live tokens of a client.
    pub async fn tokens(&self, site: &str, query: &TokenListQuery) -> Result<TokenList, AdminError> {
        let (_, ref site) = self.site(site)?;
        let limit = query.limit.unwrap_or(LIST);
        if !(1..=LIST_MAX).contains(&limit) {
            return Err(AdminError::new(Code::LimitInvalid, format!("a list has 1 to {LIST_MAX} tokens; write --limit {LIST}")));
        }
        check_known(site, &query.client)?;
        let mut found = self.live_tokens(site, &query.client, limit + 1).await?;
        if found.is_empty() {
            // An empty list of a client that does not exist would hide a typing error.
            self.known_client(site, &query.client).await?;
        }
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(TokenList { tokens: found.iter().map(|(hash, record)| TokenView::of(hash, record)).collect(), more })
    }

    /// The first `wanted` tokens of a client that nothing has voided.
    async fn live_tokens(&self, site: &Site, client: &str, wanted: usize) -> Result<Vec<(TokenHash, TokenRecord)>, AdminError> {
        let mut ask = wanted;
        loop {
            let found = self.store.tokens_of(&site.name, client, ask).await?;
            let all = found.len() < ask || ask > LIST_MAX;
            let mut marks = HashMap::new();
            let mut live = Vec::new();
            for (hash, record) in found {
                let key = (record.user.clone(), record.grant.clone());
                let mark = match marks.get(&key) {
                    Some(mark) => *mark,
                    None => {
                        let mark = mark_of(&*self.store, &site.name, client, &record.user, record.grant.as_deref()).await?;
                        marks.insert(key, mark);
                        mark
                    }
                };
                if !void(record.iat, mark) {
                    live.push((hash, record));
                }
            }
            if all || live.len() >= wanted {
                live.truncate(wanted);
                return Ok(live);
            }
            ask = (ask * 4).min(LIST_MAX + 1);
        }
    }
}

fn hash_of(token: &TokenRef) -> Result<TokenHash, AdminError> {
    match token {
        TokenRef::Token(text) => parsed(text).map(|token| token.hash()),
        TokenRef::Hash(text) => TokenHash::from_hex(text).ok_or_else(|| {
            AdminError::new(
                Code::TokenInvalid,
                "that is no hash of a token; it is 64 lower-case hexadecimal digits, as `token list --json` shows",
            )
        }),
    }
}

/// What was read is not repeated: it may be another secret.
fn parsed(text: &SecretText) -> Result<AccessToken, AdminError> {
    AccessToken::parse(text.reveal().trim())
        .ok_or_else(|| AdminError::new(Code::TokenInvalid, "that is no token; give the token alone, without `Bearer`, on one line"))
}

fn registered(text: &SecretText) -> Result<AccessToken, AdminError> {
    let token = parsed(text)?;
    if token.reveal().len() < REGISTERED_BYTES_MIN {
        let message = format!("a token of less than {REGISTERED_BYTES_MIN} characters can be guessed; register a longer one");
        return Err(AdminError::new(Code::TokenInvalid, message));
    }
    Ok(token)
}

pub(super) fn user(text: &str) -> Result<&str, AdminError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > USER_MAX || text.chars().any(char::is_control) {
        let message = format!("a user is named by 1 to {USER_MAX} characters on one line; give the e-mail address that Frappe knows");
        return Err(AdminError::new(Code::UserInvalid, message));
    }
    Ok(text)
}

fn lifetime(seconds: Option<u64>) -> Result<u64, AdminError> {
    let seconds = seconds.unwrap_or(LIFETIME);
    if !(1..=LIFETIME_MAX).contains(&seconds) {
        return Err(AdminError::new(Code::LifetimeInvalid, "a token lives for one second to 365 days; write --expires-in 1h"));
    }
    Ok(seconds)
}

fn unknown_token(site: &Site, hash: &TokenHash) -> AdminError {
    let message =
        format!("site `{}` has no token {}: it was revoked, or has expired, or belongs to another site", site.name, hash.fingerprint());
    AdminError::new(Code::TokenUnknown, message)
}
