//! Clients: made, shown, switched off and on, given another secret, removed.

use std::sync::Arc;

use tracing::info;

use crate::admin::error::{AdminError, Code};
use crate::admin::message::{
    ClientChange, ClientList, ClientView, ClientWithSecret, DeletedClient, NewClient, Own, RevokedClient, Rotation, SecretText,
};
use crate::admin::operations::{Admin, Site, fill, new_secret, now};
use crate::admin::tokens::user;
use crate::admin::{flow, scopes};
use crate::oauth::client::{Client, ClientRate, GrantType, PreviousSecret};
use crate::oauth::records::issue_at;
use crate::policy::coverage::Meanings;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::store::cached::SiteId;
use crate::store::kept::Subject;
use crate::store::{StoreError, origins};
use crate::upstream::credential::ApiKey;

/// Characters of an id that is not chosen: 36 to the power of 20 is beyond meeting by chance.
const ID_LETTERS: usize = 20;

/// The users whose names are no addresses, and so could be ids of clients: tokens of a client without a user speak for its id (RFC 9700
/// section 4.15).
const USERS_WITHOUT_AT: [&str; 2] = ["Administrator", "Guest"];

/// The longest id, in bytes: that of the stores.
const ID_BYTES_MAX: usize = 64;

/// The longest name, in characters: Frappe's own for `app_name`.
const NAME_MAX: usize = 140;

/// The longest that a secret counts after it was rotated away, in seconds: 30 days.
const OVERLAP_MAX: u64 = 30 * 86_400;

/// How often a client is switched on or off before it is said that others do the same.
const SWITCH_ATTEMPTS_MAX: usize = 4;

/// The longest time that a rate is counted over, in seconds.
const RATE_SECONDS_MAX: u32 = 86_400;

impl Admin {
    pub async fn create_client(&self, site: &str, new: NewClient) -> Result<ClientWithSecret, AdminError> {
        let (place, ref site) = self.site(site)?;
        let api_key = new.api_key.as_ref().map(|key| self.api_key(site, key)).transpose()?;
        let id = match new.client_id {
            Some(id) => chosen_id(&id)?,
            None => random_id()?,
        };
        let secret = if new.public { None } else { Some(new_secret()?) };
        let scopes = scopes::parse(&new.scopes, &self.rules().scopes)?;
        let mut client = Client {
            enabled: false,
            secret: secret.as_ref().map(|secret| secret.hash()),
            rate: new.rate.map(rate).transpose()?,
            redirect_uris: flow::redirect_uris(&new.redirect_uris)?,
            grant_types: flow::grant_types(&new.grant_types)?,
            default_scopes: new.default_scopes.map(|text| scopes::parse(&text, &self.rules().scopes)).transpose()?,
            skip_consent: new.skip_consent,
            origins: flow::origins(&new.origins)?,
            user: new.user.as_deref().map(user).transpose()?.map(Into::into),
            ..Client::new(&id, &name(&new.name)?, scopes, now())
        };
        flow::fill_grant_types(&mut client);
        flow::check(&client, &self.rules().scopes)?;

        let _alone = self.changes.lock().await;
        client.created = self.first_second(site, &id).await?;
        // Disabled until its credential is settled: what an earlier client of that id had must not be what this one acts as, and
        // whatever fails on the way leaves a client that is let through nowhere.
        if !self.store.create_client(&site.name, &client).await? {
            let message = format!("client `{}` is there already; choose another --id, or delete it first", client.id);
            return Err(AdminError::new(Code::ClientTaken, message));
        }
        client.enabled = true;
        if let Err(error) = self.finish_client(site, &client, api_key.as_ref()).await {
            // It is disabled, so it does no harm if this fails as well.
            let removed = self.store.delete_client(&site.name, &client.id).await.is_ok();
            let left = if removed { "nothing was created" } else { "it is there, disabled: delete it and try again" };
            return Err(AdminError { message: format!("client `{}` was not set up: {}; {left}", client.id, error.message), ..error });
        }
        self.forget_client(place, &client.id);
        info!(site = &*site.name, client = &*client.id, scopes = client.scopes.as_str(), public = new.public, "client created");
        let view = ClientView { own_api_key: Some(api_key.is_some()), ..ClientView::of(&client, now()) };
        Ok(ClientWithSecret { client: view, client_secret: secret.map(|secret| SecretText::new(secret.reveal())) })
    }

    /// When a client that is created now counts as created: after the deletion of an earlier one with its id.
    async fn first_second(&self, site: &Site, id: &str) -> Result<Timestamp, AdminError> {
        Ok(issue_at(now(), self.store.mark(&site.name, &[Subject::Deleted(id)]).await?))
    }

    async fn finish_client(&self, site: &Site, client: &Client, api_key: Option<&SecretText>) -> Result<(), AdminError> {
        match api_key {
            Some(key) => self.keep_api_key(site, &client.id, key).await?,
            None => drop(self.store.delete_credential(&site.name, &client.id).await?),
        }
        origins::enter(&*self.store, &site.name, client).await?;
        if self.store.update_client(&site.name, client).await? {
            return Ok(());
        }
        Err(AdminError::new(Code::ClientUnknown, "another operator deleted it"))
    }

    async fn keep_api_key(&self, site: &Site, id: &str, key: &SecretText) -> Result<(), AdminError> {
        let seal = self.seal.as_ref().ok_or_else(no_seal_key)?;
        let sealed = seal.seal(&site.name, id, key.reveal().trim().as_bytes())?;
        Ok(self.store.put_credential(&site.name, id, &sealed).await?)
    }

    /// An API key that can be kept for a client of `site`.
    fn api_key(&self, site: &Site, key: &SecretText) -> Result<SecretText, AdminError> {
        if !site.takes_api_keys {
            let message = format!(
                "site `{}` passes each client's own token on, so a client has no use for an API key; leave it out, or write credential = \
                 \"api-key\" for the site",
                site.name
            );
            return Err(AdminError::new(Code::ApiKeyUnused, message));
        }
        ApiKey::parse(key.reveal()).map_err(|error| AdminError::new(Code::ApiKeyInvalid, error.to_string()))?;
        if self.seal.is_none() {
            return Err(no_seal_key());
        }
        Ok(key.clone())
    }

    pub async fn clients(&self, site: &str) -> Result<ClientList, AdminError> {
        let (_, ref site) = self.site(site)?;
        let clients = self.store.clients(&site.name).await?;
        Ok(ClientList { clients: clients.iter().map(|client| ClientView::of(client, now())).collect() })
    }

    pub async fn client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        let (_, ref site) = self.site(site)?;
        let client = self.known_client(site, id).await?;
        let own_api_key = self.store.credential(&site.name, id).await?.is_some();
        Ok(ClientView { own_api_key: Some(own_api_key), ..ClientView::of(&client, now()) })
    }

    /// Changes what is named. Its tokens are bound by the new scopes from now on, as they are by those of a new client.
    pub async fn update_client(&self, site: &str, id: &str, change: ClientChange) -> Result<ClientView, AdminError> {
        let (place, ref site) = self.site(site)?;
        let api_key = match &change.api_key {
            Some(Own::Set(key)) => Some(Some(self.api_key(site, key)?)),
            Some(Own::Drop) => Some(None),
            None => None,
        };
        let (with_api_key, edit) = (change.api_key.is_some(), Edit::of(change, &self.rules().scopes)?);

        let _alone = self.changes.lock().await;
        let before = self.known_client(site, id).await?;
        let client = edit.apply(before.clone());
        flow::check(&client, &self.rules().scopes)?;
        // The key first: if that fails nothing has changed, and scopes that were meant for the new key do not meet the old one.
        match api_key {
            Some(Some(key)) => self.keep_api_key(site, id, &key).await?,
            Some(None) => drop(self.store.delete_credential(&site.name, id).await?),
            None => {}
        }
        origins::enter(&*self.store, &site.name, &client).await?;
        let updated = self.store.update_client(&site.name, &client).await;
        self.forget_client(place, id);
        if !updated? {
            return Err(unknown_client(site, id));
        }
        info!(site = &*site.name, client = id, scopes = client.scopes.as_str(), api_key = with_api_key, "client updated");
        origins::leave(&*self.store, &site.name, &before, Some(&client)).await?;
        let own_api_key = self.store.credential(&site.name, id).await?.is_some();
        Ok(ClientView { own_api_key: Some(own_api_key), ..ClientView::of(&client, now()) })
    }

    /// None of its tokens is let through any more, until it is enabled again.
    pub async fn disable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        self.switch(site, id, false).await
    }

    pub async fn enable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        self.switch(site, id, true).await
    }

    /// The mark is what disables it, in one write; the record says the same for whoever reads records. So the mark comes first where it takes
    /// away, and last where it gives back: whatever fails between, the client is disabled.
    async fn switch(&self, site: &str, id: &str, enabled: bool) -> Result<ClientView, AdminError> {
        let (place, ref site) = self.site(site)?;
        let _alone = self.changes.lock().await;
        self.known_client(site, id).await?;
        if !enabled {
            self.store.revoke(&site.name, &[Subject::Disabled(id)], now()).await?;
        }
        for _ in 0..SWITCH_ATTEMPTS_MAX {
            let switch = |client: &mut Client| {
                client.enabled = enabled;
                Ok(())
            };
            self.change_alone((place, site), id, switch).await?;
            if enabled {
                self.store.revoke(&site.name, &[Subject::Enabled(id)], now()).await?;
                self.forget_client(place, id);
            }
            // Through another gateway the record may have been written back as it was a moment ago.
            let client = self.known_client(site, id).await?;
            if client.enabled == enabled {
                info!(site = &*site.name, client = id, enabled, "client switched");
                return Ok(ClientView::of(&client, now()));
            }
        }
        Err(StoreError(format!("client {id} of site {} is changed by others all the time; try again", site.name)).into())
    }

    /// A new secret for the client. The one before is worth nothing from now on, or from the end of the overlap; one before that, at once.
    /// Tokens stay, unless they are to end as well.
    pub async fn rotate_secret(&self, site: &str, id: &str, rotation: Rotation) -> Result<ClientWithSecret, AdminError> {
        let overlap = rotation.overlap.unwrap_or(0);
        if overlap > OVERLAP_MAX {
            return Err(AdminError::new(
                Code::OverlapInvalid,
                "a secret that was rotated away counts for 30 days at most; write --overlap 1h",
            ));
        }
        let secret = new_secret()?;
        let mark = self.store.mark(&self.site(site)?.1.name, &[Subject::Secret(id)]).await?;
        let change = |client: &mut Client| match client.secret.replace(secret.hash()) {
            Some(hash) => {
                // Never the second of an earlier secret, so that the mark tells the two apart; the record may have forgotten some.
                let earlier = mark.max(client.secret_since).max(Some(client.created));
                client.secret_since = Some(issue_at(now(), earlier));
                client.previous_secret = (overlap > 0).then(|| PreviousSecret { hash, until: now().plus(overlap) });
                Ok(())
            }
            None => Err(AdminError::new(
                Code::ClientPublic,
                format!("client `{id}` is public and has no secret; create another client without --public"),
            )),
        };
        let client = self.change_client(site, id, change).await?;
        info!(site, client = id, overlap, "client secret rotated");
        // After the change: what the old secret could still fetch until then is voided as well.
        let marked = self.mark_rotation(site, &client, rotation.revoke_tokens).await;
        marked.map_err(|error| AdminError {
            message: format!("the secret is another one now, but this is not in the revocation log: {}; rotate it again", error.message),
            ..error
        })?;
        Ok(ClientWithSecret { client: ClientView::of(&client, now()), client_secret: Some(SecretText::new(secret.reveal())) })
    }

    /// The old secret stays worthless in a store that goes back to an older record. With `tokens` all tokens, codes and grants of the client
    /// end that were issued until now.
    async fn mark_rotation(&self, site: &str, client: &Client, tokens: bool) -> Result<(), AdminError> {
        if let Some(since) = client.secret_since {
            self.store.raise(site, &[(Subject::Secret(&client.id).field(), since)]).await?;
        }
        if tokens {
            self.void(site, &[Subject::Client(&client.id)], now()).await?;
            info!(site, client = &*client.id, "tokens and grants of the client revoked");
        }
        Ok(())
    }

    /// Voids everything of a client that was issued until now. Its secret stays, and its users may let it in again.
    pub async fn revoke_client(&self, site: &str, id: &str) -> Result<RevokedClient, AdminError> {
        let (_, ref site) = self.site(site)?;
        self.known_client(site, id).await?;
        self.void(&site.name, &[Subject::Client(id)], now()).await?;
        info!(site = &*site.name, client = id, "tokens and grants of the client revoked");
        Ok(RevokedClient { client_id: id.to_owned(), revoked: true })
    }

    /// Its tokens and grants are worth nothing from now on, whatever is created under its id later.
    pub async fn delete_client(&self, site: &str, id: &str) -> Result<DeletedClient, AdminError> {
        let (place, ref site) = self.site(site)?;
        let _alone = self.changes.lock().await;
        check_known(site, id)?;
        let before = self.store.client(&site.name, id).await;
        if matches!(before, Ok(None)) {
            return Err(unknown_client(site, id));
        }
        // The mark before anything is gone, so that what fails can be tried again; and the client before its API key: one without its own
        // would act as the site's.
        self.void(&site.name, &[Subject::Client(id), Subject::Deleted(id)], now()).await?;
        let deleted = self.store.delete_client(&site.name, id).await;
        self.forget_client(place, id);
        if !deleted? {
            return Err(unknown_client(site, id));
        }
        info!(site = &*site.name, client = id, "client deleted");
        // If this fails the key stays behind, sealed; a later client of that id does not inherit it.
        self.store.delete_credential(&site.name, id).await?;
        // A record that cannot be read is deleted all the same, and a list may name a client that is none.
        if let Ok(Some(client)) = before {
            origins::leave(&*self.store, &site.name, &client, None).await?;
        }
        Ok(DeletedClient { client_id: id.to_owned(), deleted: true })
    }

    async fn change_client(
        &self,
        site: &str,
        id: &str,
        change: impl FnOnce(&mut Client) -> Result<(), AdminError>,
    ) -> Result<Client, AdminError> {
        let (place, ref site) = self.site(site)?;
        let _alone = self.changes.lock().await;
        self.change_alone((place, site), id, change).await
    }

    /// The same for who holds the lock.
    async fn change_alone(
        &self,
        (place, site): (SiteId, &Site),
        id: &str,
        change: impl FnOnce(&mut Client) -> Result<(), AdminError>,
    ) -> Result<Client, AdminError> {
        let mut client = self.known_client(site, id).await?;
        change(&mut client)?;
        let updated = self.store.update_client(&site.name, &client).await;
        self.forget_client(place, id);
        if updated? { Ok(client) } else { Err(unknown_client(site, id)) }
    }

    pub(super) async fn known_client(&self, site: &Site, id: &str) -> Result<Client, AdminError> {
        check_known(site, id)?;
        self.store.client(&site.name, id).await?.ok_or_else(|| unknown_client(site, id))
    }

    fn forget_client(&self, place: SiteId, id: &str) {
        if let Some(cached) = &self.cached {
            cached.forget_client(place, id);
        }
    }
}

/// A change whose parts are right, each by itself.
struct Edit {
    name: Option<String>,
    scopes: Option<Scopes>,
    /// `Some(None)`, here and below, for what is as it is for everyone.
    rate: Option<Option<ClientRate>>,
    redirect_uris: Option<Vec<String>>,
    grant_types: Option<Vec<GrantType>>,
    default_scopes: Option<Option<Scopes>>,
    skip_consent: Option<bool>,
    origins: Option<Vec<String>>,
    user: Option<Option<Arc<str>>>,
}

impl Edit {
    fn of(change: ClientChange, meanings: &Meanings) -> Result<Self, AdminError> {
        Ok(Self {
            name: change.name.as_deref().map(name).transpose()?,
            scopes: change.scopes.as_deref().map(|text| scopes::parse(text, meanings)).transpose()?,
            rate: own(change.rate, rate)?,
            redirect_uris: change.redirect_uris.as_deref().map(flow::redirect_uris).transpose()?,
            grant_types: change.grant_types.as_deref().map(flow::grant_types).transpose()?,
            default_scopes: own(change.default_scopes, |text| scopes::parse(&text, meanings))?,
            skip_consent: change.skip_consent,
            origins: change.origins.as_deref().map(flow::origins).transpose()?,
            user: own(change.user, |text| user(&text).map(Into::into))?,
        })
    }

    /// The client after it.
    fn apply(self, before: Client) -> Client {
        let gets_uris = self.redirect_uris.is_some() && self.grant_types.is_none();
        let mut client = Client {
            name: self.name.unwrap_or(before.name),
            scopes: self.scopes.unwrap_or(before.scopes),
            rate: self.rate.unwrap_or(before.rate),
            redirect_uris: self.redirect_uris.unwrap_or(before.redirect_uris),
            grant_types: self.grant_types.unwrap_or(before.grant_types),
            default_scopes: self.default_scopes.unwrap_or(before.default_scopes),
            skip_consent: self.skip_consent.unwrap_or(before.skip_consent),
            origins: self.origins.unwrap_or(before.origins),
            user: self.user.unwrap_or(before.user),
            ..before
        };
        if gets_uris {
            flow::fill_grant_types(&mut client);
        }
        client
    }
}

/// What was said of something that a client may have of its own.
fn own<T, R>(said: Option<Own<T>>, read: impl FnOnce(T) -> Result<R, AdminError>) -> Result<Option<Option<R>>, AdminError> {
    match said {
        Some(Own::Set(value)) => read(value).map(|value| Some(Some(value))),
        Some(Own::Drop) => Ok(Some(None)),
        None => Ok(None),
    }
}

/// A text that cannot be an id is nobody's; the store would call it an error of its own.
pub(super) fn check_known(site: &Site, id: &str) -> Result<(), AdminError> {
    if is_id(id) { Ok(()) } else { Err(unknown_client(site, id)) }
}

fn unknown_client(site: &Site, id: &str) -> AdminError {
    let message =
        format!("site `{0}` has no client `{1}`; `scopegate client list --site {0}` shows those it has", site.name, id.escape_debug());
    AdminError::new(Code::ClientUnknown, message)
}

fn no_seal_key() -> AdminError {
    AdminError::new(
        Code::SealKeyMissing,
        "an API key is kept encrypted, and there is no key for that; write one with `openssl rand -hex 32 > /etc/scopegate/encryption-key`, \
         name it as encryption_key_file in `[store]`, and restart the gate",
    )
}

/// The stores' grammar of ids.
pub(super) fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// An id that an operator chose: it begins with a letter or digit, so that it looks like no option and no directory.
fn chosen_id(id: &str) -> Result<String, AdminError> {
    if USERS_WITHOUT_AT.iter().any(|user| user.eq_ignore_ascii_case(id)) {
        let message = format!("`{id}` is a user of every Frappe, and a client of that id could pass for it; choose another id");
        return Err(AdminError::new(Code::ClientInvalid, message));
    }
    if is_id(id) && id.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(id.to_owned());
    }
    let message = format!(
        "`{}` is no id of a client; write 1 to {ID_BYTES_MAX} of A-Z a-z 0-9 . _ ~ -, a letter or digit first, or leave it out",
        id.escape_debug()
    );
    Err(AdminError::new(Code::ClientInvalid, message))
}

fn random_id() -> Result<String, AdminError> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    /// The largest multiple of 36 that a byte can hold: bytes above it would make some letters likelier.
    const FAIR: u8 = 252;
    let mut id = String::with_capacity(ID_LETTERS);
    while id.len() < ID_LETTERS {
        let mut random = [0; ID_LETTERS * 2];
        fill(&mut random)?;
        let fair = random.into_iter().filter(|&byte| byte < FAIR);
        id.extend(fair.map(|byte| char::from(LETTERS[usize::from(byte % 36)])).take(ID_LETTERS - id.len()));
    }
    Ok(id)
}

fn name(text: &str) -> Result<String, AdminError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_MAX || text.chars().any(char::is_control) {
        let message = format!("a client is named by 1 to {NAME_MAX} characters on one line; give it the name of the app");
        return Err(AdminError::new(Code::ClientInvalid, message));
    }
    Ok(text.to_owned())
}

fn rate(rate: ClientRate) -> Result<ClientRate, AdminError> {
    if rate.requests == 0 || rate.burst == 0 || !(1..=RATE_SECONDS_MAX).contains(&rate.seconds) {
        let message = "a rate is at least one request over one second to one day; write it like 600/1m";
        return Err(AdminError::new(Code::RateInvalid, message));
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_ids_are_ids_and_differ() {
        let ids: HashSet<String> = (0..200).map(|_| random_id().expect("random bytes")).collect();
        assert_eq!(ids.len(), 200);
        for id in &ids {
            assert_eq!(id.len(), ID_LETTERS);
            assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{id}");
            assert!(chosen_id(id).is_ok());
        }
    }

    #[test]
    fn a_chosen_id_looks_like_no_option_and_no_path() {
        for id in ["crm", "a", "0", "CRM.v2", "my_app~1-x", &"x".repeat(64)] {
            assert!(chosen_id(id).is_ok(), "{id}");
        }
        for id in ["", "-", "-x", ".", "..", "~x", "a b", "a/b", "a:b", "a{b", "ä", "a\n", "a%20", &"x".repeat(65)] {
            assert_eq!(chosen_id(id).expect_err(id).code, Code::ClientInvalid, "{id}");
        }
    }
}
