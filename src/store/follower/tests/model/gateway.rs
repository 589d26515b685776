//! A gateway of the model test, and what its services and operators do with the store.

use crate::oauth::client::Client;
use crate::oauth::records::{End, Grant, Profile, issue_at, void};
use crate::policy::scope::Scopes;
use crate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::cached::CLOCK_SKEW;
use crate::store::contract::hash;
use crate::store::grants;
use crate::store::ledger::Terms;
use crate::store::presence;
use crate::store::watched::Watched;
use crate::store::{Backend, Settings};

use super::state::{View, Who};
use super::*;

/// So long that nothing grows old by itself.
pub const BOUND: Duration = Duration::from_secs(3600);

/// Seconds that a token lives.
const LIFETIME: u64 = 86_400;

pub struct Gateway {
    pub who: Who,
    pub site: String,
    pub store: Arc<Watched>,
    pub cached: Arc<CachedStore>,
    /// None where the store is asked each time, and believed.
    pub following: Option<Following>,
    /// The last act that had been done when its last completed read was sent.
    pub read: u64,
    /// Whether it ever completed one.
    pub fresh: bool,
    /// Whether another server answers than when it last looked.
    pub behind: bool,
}

impl Gateway {
    pub fn new(who: Who, site: &str, store: Arc<Watched>, followed: bool, serve_known: bool) -> Self {
        if followed {
            // Whoever has to wait waits for nothing: rounds are driven.
            store.ledger().follow(Terms { bound: BOUND, patience: Duration::from_millis(1) });
        }
        let settings = Settings {
            backend: Backend::Embedded { path: "unused".into() },
            lookup_timeout: Duration::from_secs(1),
            cache_entries_max: 1_000,
            revocation_bound: BOUND,
            serve_known: serve_known.then_some(BOUND),
        };
        let cached = Arc::new(CachedStore::new(Arc::clone(&store) as Arc<dyn Store>, &settings));
        let following = followed.then(|| Following::new(Arc::clone(&cached), SITE, site, presence::Gateway::here()));
        Self { who, site: site.to_owned(), store, cached, following, read: 0, fresh: !followed, behind: false }
    }

    /// Whether it has ever read who answers, and will see that another does.
    pub fn has_read(&self) -> bool {
        self.following.as_ref().is_none_or(|following| following.server.is_some())
    }

    pub fn view(&self, asks: bool) -> View {
        View { who: self.who, read: self.read, asks }
    }

    /// Whether the token is let through, as the gateway decides it. `age` is how much later than now.
    pub async fn find(&self, token: &str, age: Duration) -> Result<bool, StoreError> {
        let at = std::time::Instant::now() + age;
        let found = self.cached.find_at(SITE, &self.site, &hash(token), wall_clock(), at).await?;
        Ok(matches!(found, Lookup::Live(_)))
    }

    /// The same, as introspection decides it: by the store alone.
    pub async fn introspect(&self, token: &str) -> Result<bool, StoreError> {
        let Some(record) = self.store.token(&self.site, &hash(token)).await? else { return Ok(false) };
        let mark = grants::mark_of(&*self.store, &self.site, &record.client, &record.user, record.grant.as_deref()).await?;
        let client = self.store.client(&self.site, &record.client).await?;
        let client = client.filter(|client| client.enabled && record.iat.plus(CLOCK_SKEW) >= client.created);
        Ok(client.is_some() && !void(record.iat, mark) && !record.expired(wall_clock()))
    }

    /// `false` where nothing may be issued.
    pub async fn issue(&self, token: &str, client: &str, user: &str, grant: Option<&str>) -> Result<bool, StoreError> {
        let Some(app) = self.store.client(&self.site, client).await?.filter(|app| app.enabled) else { return Ok(false) };
        let mark = grants::mark_of(&*self.store, &self.site, client, user, grant).await?;
        let iat = issue_at(wall_clock(), mark);
        if let Some(id) = grant {
            let under = match grants::find(&*self.store, &self.site, id).await? {
                Some(read) if read.value.live(mark) => {
                    let grant = Grant { used: read.value.used.max(iat), ..read.value.clone() };
                    grants::change(&*self.store, &self.site, &read, &grant).await?
                }
                Some(_) => false,
                None => grants::begin(&*self.store, &self.site, &new_grant(id, client, user, iat)).await?,
            };
            if !under {
                return Ok(false);
            }
        }
        let record = TokenRecord {
            v: RECORD_VERSION,
            client: app.id,
            user: user.into(),
            scopes: app.scopes,
            grant: grant.map(Into::into),
            iat,
            exp: iat.plus(LIFETIME),
        };
        self.store.put_token(&self.site, &hash(token), &record).await?;
        Ok(true)
    }

    pub async fn revoke_token(&self, token: &str) -> Result<bool, StoreError> {
        let deleted = self.store.delete_token(&self.site, &hash(token)).await;
        self.cached.forget_token(SITE, &hash(token));
        deleted
    }

    pub async fn void(&self, subjects: &[Subject<'_>]) -> Result<(), StoreError> {
        self.store.revoke(&self.site, subjects, wall_clock().plus(CLOCK_SKEW)).await.map(drop)
    }

    pub async fn end_grant(&self, id: &str) -> Result<(), StoreError> {
        grants::end(&*self.store, &self.site, id, End::Operator, wall_clock()).await.map(drop)
    }

    /// `false` where there is no such client; so for the rest of them.
    pub async fn switch(&self, id: &str, enabled: bool) -> Result<bool, StoreError> {
        let Some(client) = self.store.client(&self.site, id).await? else { return Ok(false) };
        if !enabled {
            self.store.revoke(&self.site, &[Subject::Disabled(id)], wall_clock()).await?;
        }
        let switched = self.update(&Client { enabled, ..client }).await?;
        if enabled {
            self.store.revoke(&self.site, &[Subject::Enabled(id)], wall_clock()).await?;
        }
        Ok(switched)
    }

    /// The new secret.
    pub async fn rotate(&self, id: &str, secret: TokenHash, tokens: bool) -> Result<bool, StoreError> {
        let Some(client) = self.store.client(&self.site, id).await? else { return Ok(false) };
        let mark = self.store.mark(&self.site, &[Subject::Secret(id)]).await?;
        let since = issue_at(wall_clock(), mark.max(client.secret_since).max(Some(client.created)));
        if !self.update(&Client { secret: Some(secret), secret_since: Some(since), ..client }).await? {
            return Ok(false);
        }
        self.store.raise(&self.site, &[(Subject::Secret(id).field(), since)]).await?;
        if tokens {
            self.void(&[Subject::Client(id)]).await?;
        }
        Ok(true)
    }

    pub async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        if self.store.client(&self.site, id).await?.is_none() {
            return Ok(false);
        }
        self.void(&[Subject::Client(id), Subject::Deleted(id)]).await?;
        let deleted = self.store.delete_client(&self.site, id).await;
        self.cached.forget_client(SITE, id);
        deleted
    }

    pub async fn create(&self, id: &str, secret: TokenHash) -> Result<bool, StoreError> {
        let created = issue_at(wall_clock(), self.store.mark(&self.site, &[Subject::Deleted(id)]).await?);
        let scopes = Scopes::parse("read").expect("it is a scope");
        let client = Client { secret: Some(secret), ..Client::new(id, id, scopes, created) };
        if !self.store.create_client(&self.site, &Client { enabled: false, ..client.clone() }).await? {
            return Ok(false);
        }
        self.update(&client).await
    }

    async fn update(&self, client: &Client) -> Result<bool, StoreError> {
        let updated = self.store.update_client(&self.site, client).await;
        self.cached.forget_client(SITE, &client.id);
        updated
    }
}

fn new_grant(id: &str, client: &str, user: &str, created: Timestamp) -> Grant {
    Grant {
        v: RECORD_VERSION,
        id: id.into(),
        client: client.into(),
        user: user.into(),
        scopes: Scopes::parse("read").expect("it is a scope"),
        created,
        used: created,
        profile: Profile::default(),
        ended: None,
    }
}
