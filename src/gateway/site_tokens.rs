//! The site's own tokens of a user, kept sealed with each grant: shown to the site for the app's, and exchanged for new ones ahead of time.
//!
//! One gateway of a fleet exchanges a pair while the others go on with the old one: whoever holds the grant's lease asks the site, and
//! everybody looks at what is kept before and after. The lease only spares the site work. Where it fails (a clock that is off, a store
//! that lost it) a pair is exchanged twice, and the site then has two good ones (T34).
//!
//! What goes on here goes on though the client that began it leaves: an answer of the site that nobody kept would be lost.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use moka::future::Cache;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::audit;
use crate::oauth::records::{End, SiteTokens};
use crate::policy::time::Timestamp;
use crate::policy::token::AccessToken;
use crate::store::cached::SiteId;
use crate::store::flight::{Flights, Ticket};
use crate::store::kept::Kind;
use crate::store::seal::SealKey;
use crate::store::{Store, StoreError, grants};
use crate::upstream::WorkerUpstreams;
use crate::upstream::credential::forward;
use crate::upstream::frappe::{Frappe, SiteError};

/// Grants whose tokens are remembered.
const GRANTS_MAX: u64 = 10_000;

/// How long they are remembered when nobody asks for them.
const IDLE: Duration = Duration::from_secs(600);

/// Seconds of its life that a token has left, at least, when a new one is asked for; or this part of its life, if that is more.
const AHEAD_MIN: u64 = 60;
const AHEAD_PART: u64 = 10;

/// How long a request waits for tokens where there are none that live.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// The time between two looks at what another gateway may have kept.
const STEP: Duration = Duration::from_millis(100);

/// How long the site may take over an exchange, all told; and the seconds of the lease, which must be more.
const EXCHANGE_MAX: Duration = Duration::from_secs(8);
const LEASE: u64 = 10;

/// Seconds in which tokens are not asked for again after that failed.
const PAUSE: u64 = 2;

/// Seconds after an exchange in which another one is of no use: a site that refuses what it has just given will do so again.
const FRESH: u64 = 60;

/// How often a request asks for others than it has; it may first come upon an exchange that is older than its own token.
const ATTEMPTS_MAX: usize = 2;

/// The gate as an OAuth client of one site. No `Debug`: it holds a secret.
pub struct SiteClient {
    pub site: SiteId,
    pub name: Arc<str>,
    /// The site's place among the upstreams.
    pub upstream: usize,
    /// `Host` and `X-Frappe-Site-Name` for the upstream.
    pub frappe_site: HeaderValue,
    pub client_id: Box<str>,
    pub client_secret: Box<str>,
}

impl SiteClient {
    /// The site as that client asks it, from one worker thread.
    pub fn at<'a>(&'a self, upstreams: &'a WorkerUpstreams) -> Frappe<'a> {
        Frappe {
            upstream: upstreams.site(self.upstream),
            frappe_site: &self.frappe_site,
            client_id: &self.client_id,
            client_secret: &self.client_secret,
        }
    }
}

/// Whose tokens are meant, and from which worker thread the site is asked.
#[derive(Clone)]
pub struct Holder {
    pub site: Arc<SiteClient>,
    pub upstreams: Arc<WorkerUpstreams>,
    pub grant: Arc<str>,
}

impl Holder {
    fn key(&self) -> Key {
        (self.site.site, self.grant.clone())
    }
}

type Key = (SiteId, Arc<str>);

/// What an exchange came to.
type Exchanged = Result<Arc<Opened>, Lost>;

/// A pair of tokens, opened. No `Debug`: they are secrets.
pub struct Opened {
    pub grant: Arc<str>,
    header: HeaderValue,
    tokens: SiteTokens,
    /// When new ones are to be asked for.
    due: Timestamp,
    /// When this gateway got them from the site, if it did.
    obtained: Option<Timestamp>,
    /// The second of the last attempt to exchange them that failed.
    failed: AtomicU64,
}

impl Opened {
    /// `seen` is when their life began, as far as anybody here knows: the site's word on how long it lasts is kept nowhere.
    fn new(grant: &Arc<str>, tokens: SiteTokens, seen: Timestamp, obtained: Option<Timestamp>) -> Result<Self, StoreError> {
        let token = AccessToken::parse(&tokens.access_token);
        let header = forward(&token.ok_or_else(|| StoreError("the site's token is not of a form that a token can have".to_owned()))?);
        let life = tokens.exp.since(seen);
        // Of a short life no more than half: a token that is always due would be exchanged for ever.
        let ahead = AHEAD_MIN.max(life / AHEAD_PART).min(life / 2);
        let due = Timestamp::from_unix(tokens.exp.unix().saturating_sub(ahead));
        Ok(Self { grant: grant.clone(), header, tokens, due, obtained, failed: AtomicU64::new(0) })
    }

    /// The complete `Authorization`.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The token by itself, for a question to the site about it.
    pub fn access_token(&self) -> &str {
        &self.tokens.access_token
    }

    fn lives(&self, now: Timestamp) -> bool {
        now < self.tokens.exp
    }

    /// Whether new ones should be asked for, though these are good.
    fn is_due(&self, now: Timestamp) -> bool {
        now >= self.due && self.tokens.refresh_token.is_some() && !self.rests(now)
    }

    /// Whether an exchange has just failed.
    fn rests(&self, now: Timestamp) -> bool {
        now.since(Timestamp::from_unix(self.failed.load(Ordering::Relaxed))) < PAUSE
    }

    fn same_access(&self, other: &Self) -> bool {
        self.tokens.access_token == other.tokens.access_token
    }
}

/// Why there are no tokens to show.
#[derive(Clone, Debug)]
pub enum Lost {
    /// The site takes them no more, and the grant has ended with that.
    Refused,
    /// The grant had ended.
    Ended,
    /// Nobody can know; for the operator's log.
    Away(String),
}

impl From<StoreError> for Lost {
    fn from(error: StoreError) -> Self {
        Self::Away(error.0)
    }
}

/// The tokens of grants.
pub struct KeptTokens(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// `None` where none can be opened.
    seal: Option<Arc<SealKey>>,
    known: Cache<Key, Known>,
    reads: Flights<Key, Option<Arc<Opened>>>,
    exchanges: Flights<Key, Exchanged>,
    bound: Duration,
    serve_known: Duration,
}

#[derive(Clone)]
struct Known {
    opened: Arc<Opened>,
    /// When they were asked for.
    asked: Instant,
}

impl KeptTokens {
    /// Tokens are read again after `bound`, like everything else that can be taken back, and go on to be shown for `serve_known` where the
    /// store cannot be read.
    pub fn new(store: Arc<dyn Store>, seal: Option<Arc<SealKey>>, bound: Duration, serve_known: Duration) -> Self {
        let known = Cache::builder().max_capacity(GRANTS_MAX).time_to_idle(IDLE).build();
        Self(Arc::new(Inner { store, seal, known, reads: Flights::new(), exchanges: Flights::new(), bound, serve_known }))
    }

    /// Tokens from memory, where nothing need be done about them.
    pub async fn ready(&self, site: SiteId, grant: &Arc<str>, now: Timestamp) -> Option<Arc<Opened>> {
        let known = self.0.known.get(&(site, grant.clone())).await?;
        (known.asked.elapsed() < self.0.bound && known.opened.lives(now) && !known.opened.is_due(now)).then_some(known.opened)
    }

    /// Tokens that live at `now`. New ones are asked for where these end soon; only where none live does anybody wait for that.
    pub async fn of(&self, holder: &Holder, now: Timestamp) -> Result<Arc<Opened>, Lost> {
        let opened = match self.0.known.get(&holder.key()).await {
            Some(known) if known.asked.elapsed() < self.0.bound => known.opened,
            known => match self.read(holder, now).await {
                Ok(Some(opened)) => opened,
                Ok(None) => return Err(self.0.without(holder, now).await),
                Err(error) => {
                    let known = known.filter(|known| known.asked.elapsed() < self.0.serve_known && known.opened.lives(now));
                    return known.map(|known| known.opened).ok_or_else(|| error.into());
                }
            },
        };
        if !opened.lives(now) {
            return self.replace(holder, &opened, now).await;
        }
        if opened.is_due(now) {
            self.0.exchanges.launch(holder.key(), 0, exchange(&self.0, holder, &opened));
        }
        Ok(opened)
    }

    /// Others than `old`, which are too old, or which the site has refused.
    pub async fn replace(&self, holder: &Holder, old: &Arc<Opened>, now: Timestamp) -> Result<Arc<Opened>, Lost> {
        if old.rests(now) {
            return Err(Lost::Away("new tokens could not be had a moment ago".to_owned()));
        }
        if old.lives(now) && old.obtained.is_some_and(|at| now.since(at) < FRESH) {
            return Err(Lost::Away(
                "the site refuses tokens that it has just given; has a scope been taken from its OAuth client?".to_owned(),
            ));
        }
        let deadline = Instant::now() + WAIT_MAX;
        for _ in 0..ATTEMPTS_MAX {
            let joined = self.0.exchanges.join(holder.key(), 0, exchange(&self.0, holder, old));
            match timeout_at(deadline, joined).await {
                Ok(landed) => match landed?.answer {
                    Ok(new) if new.same_access(old) => {}
                    answer => return answer,
                },
                Err(_) => break,
            }
        }
        Err(Lost::Away(format!("no new tokens came within {} s", WAIT_MAX.as_secs())))
    }

    async fn read(&self, holder: &Holder, now: Timestamp) -> Result<Option<Arc<Opened>>, StoreError> {
        let (inner, holder_of) = (self.0.clone(), holder.clone());
        let read = |ticket| async move {
            let read = inner.read(&holder_of, now).await;
            drop(ticket);
            read
        };
        Ok(self.0.reads.join(holder.key(), 0, read).await?.answer)
    }
}

/// The exchange of `old`, ready to be begun.
fn exchange(inner: &Arc<Inner>, holder: &Holder, old: &Arc<Opened>) -> impl FnOnce(Ticket<Key, Exchanged>) -> Pending {
    let (inner, holder, old) = (inner.clone(), holder.clone(), old.clone());
    move |ticket| {
        Box::pin(async move {
            let exchanged = inner.exchange(&holder, &old).await;
            if !matches!(exchanged, Ok(Ok(_))) {
                old.failed.store(now().unix(), Ordering::Relaxed);
            }
            drop(ticket);
            exchanged
        })
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<Exchanged, StoreError>> + Send>>;

impl Inner {
    /// What is kept, whatever is remembered.
    async fn read(&self, holder: &Holder, now: Timestamp) -> Result<Option<Arc<Opened>>, StoreError> {
        let (asked, name) = (Instant::now(), &holder.site.name);
        let Some(sealed) = self.store.credential(name, &holder.grant).await? else {
            self.known.invalidate(&holder.key()).await;
            return Ok(None);
        };
        let tokens = self.open(name, &holder.grant, &sealed)?;
        let known = self.known.get(&holder.key()).await;
        let opened = match known {
            // Newer than what has just come.
            Some(known) if known.asked > asked => return Ok(Some(known.opened)),
            Some(known) if known.opened.tokens == tokens => known.opened,
            _ => Arc::new(Opened::new(&holder.grant, tokens, now, None)?),
        };
        self.known.insert(holder.key(), Known { opened: opened.clone(), asked }).await;
        Ok(Some(opened))
    }

    /// New tokens in the place of `old`, from the site or from whoever was faster.
    async fn exchange(&self, holder: &Holder, old: &Arc<Opened>) -> Result<Exchanged, StoreError> {
        let (name, grant, began) = (&holder.site.name, &holder.grant, Instant::now());
        loop {
            if self.store.create_record(name, Kind::Lease, grant, b"{}", Some(now().plus(LEASE))).await? {
                let asked = timeout(EXCHANGE_MAX, self.ask(holder, old)).await;
                // One that cannot be deleted expires by itself.
                let _ = self.store.delete_record(name, Kind::Lease, grant).await;
                return asked.unwrap_or_else(|_| Ok(Err(away(holder, &format_args!("no answer within {} s", EXCHANGE_MAX.as_secs())))));
            }
            if began.elapsed() >= WAIT_MAX {
                return Ok(Err(away(holder, &"another gateway has been at it for too long")));
            }
            sleep(STEP).await;
            match self.read(holder, now()).await? {
                None => return Ok(Err(self.without(holder, now()).await)),
                Some(kept) if !kept.same_access(old) && kept.lives(now()) => return Ok(Ok(kept)),
                Some(_) => {}
            }
        }
    }

    /// Asks the site, as the holder of the lease.
    async fn ask(&self, holder: &Holder, old: &Opened) -> Result<Exchanged, StoreError> {
        let now = now();
        // Another gateway may have given back the lease since `old` was read.
        let Some(kept) = self.read(holder, now).await? else { return Ok(Err(self.without(holder, now).await)) };
        if !kept.same_access(old) && kept.lives(now) {
            return Ok(Ok(kept));
        }
        let Some(refresh_token) = &kept.tokens.refresh_token else { return self.refused(holder, &kept).await.map(Err) };
        match holder.site.at(&holder.upstreams).refresh(refresh_token, now).await {
            Ok(tokens) => self.keep(holder, tokens, now).await,
            Err(SiteError::Refused) => match self.read(holder, now).await? {
                // A new sign-in has brought others meanwhile.
                Some(newer) if newer.tokens != kept.tokens => Ok(Ok(newer)),
                _ => self.refused(holder, &kept).await.map(Err),
            },
            Err(error @ (SiteError::Unregistered | SiteError::Away(_) | SiteError::Nonsense)) => Ok(Err(away(holder, &error))),
        }
    }

    async fn keep(&self, holder: &Holder, tokens: SiteTokens, now: Timestamp) -> Result<Exchanged, StoreError> {
        let (asked, name, grant) = (Instant::now(), &holder.site.name, &holder.grant);
        let sealed = self.sealed(name, grant, &tokens)?;
        let opened = Arc::new(Opened::new(&holder.grant, tokens, now, Some(now))?);
        self.store.put_credential(name, grant, &sealed).await?;
        // What ends a grant deletes its tokens last: one that ended before this look has done so without these.
        if grants::find_live(&*self.store, name, grant).await?.is_none() {
            self.store.delete_credential(name, grant).await?;
            self.known.invalidate(&holder.key()).await;
            return Ok(Err(Lost::Ended));
        }
        self.known.insert(holder.key(), Known { opened: opened.clone(), asked }).await;
        Ok(Ok(opened))
    }

    /// Ends the grant, whose user must be asked again.
    async fn refused(&self, holder: &Holder, kept: &Opened) -> Result<Lost, StoreError> {
        let (name, grant) = (&*holder.site.name, &*holder.grant);
        let why = if kept.tokens.refresh_token.is_some() { "refuses to renew" } else { "gave no refresh token to renew" };
        tracing::warn!(site = name, grant, "the site {why} the tokens of a sign-in, so its grant ends");
        grants::end(&*self.store, name, grant, End::Site, now()).await?;
        self.known.invalidate(&holder.key()).await;
        Ok(Lost::Refused)
    }

    /// What it means that no tokens are kept: the grant has ended, or it began when none were kept, and then only a new sign-in helps.
    async fn without(&self, holder: &Holder, now: Timestamp) -> Lost {
        let (name, grant) = (&*holder.site.name, &*holder.grant);
        let ended = async {
            if grants::find_live(&*self.store, name, grant).await?.is_none() {
                return Ok(Lost::Ended);
            }
            tracing::warn!(site = name, grant, "no tokens of the site are kept with a grant, so it ends");
            grants::end(&*self.store, name, grant, End::Site, now).await?;
            Ok(Lost::Refused)
        };
        ended.await.unwrap_or_else(|error: StoreError| error.into())
    }

    fn seal(&self) -> Result<&SealKey, StoreError> {
        let missing = || StoreError("`store.encryption_key`, which opens the tokens of grants, is not set".to_owned());
        self.seal.as_deref().ok_or_else(missing)
    }

    fn open(&self, site: &str, grant: &str, sealed: &[u8]) -> Result<SiteTokens, StoreError> {
        let wrong = |why: &dyn Display| StoreError(format!("the tokens of grant `{grant}` of site `{site}`: {why}"));
        let opened = self.seal()?.open(site, grant, sealed).map_err(|error| wrong(&error))?;
        // What the parser has to say might quote a token.
        serde_json::from_slice(&opened).map_err(|_| wrong(&"they do not read as tokens"))
    }

    fn sealed(&self, site: &str, grant: &str, tokens: &SiteTokens) -> Result<Vec<u8>, StoreError> {
        let wrong = |why: &dyn Display| StoreError(format!("the new tokens of grant `{grant}` of site `{site}`: {why}"));
        let json = serde_json::to_vec(tokens).map_err(|error| wrong(&error))?;
        self.seal()?.seal(site, grant, &json).map_err(|error| wrong(&error))
    }
}

fn away(holder: &Holder, why: &dyn Display) -> Lost {
    Lost::Away(format!("site `{}` gave no new tokens for grant `{}`: {why}", holder.site.name, holder.grant))
}

fn now() -> Timestamp {
    Timestamp::from_unix(audit::now().as_secs())
}
