//! A site, a store, and gateways between them.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::audit;
use crate::gateway::site_tokens::{Holder, KeptTokens, Lost, SiteClient};
use crate::oauth::records::{Grant, Profile, SiteTokens};
use crate::pocket::{self, Pocket};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::RECORD_VERSION;
use crate::store::cached::SiteId;
use crate::store::contract::{PATIENCE, embedded, redis};
use crate::store::redis_server::RedisServer;
use crate::store::seal::SealKey;
use crate::store::{Store, grants};
use crate::upstream::ask::{Question, ask};
use crate::upstream::{ServerUrl, Settings, SiteServers, Upstreams, WorkerUpstreams};

pub const USER: &str = "sam@example.com";
pub const SITE: &str = "erp";
pub const GRANT: &str = "g-1";

/// The last second of the tokens that the tests keep, where they do not say otherwise.
pub const LIFE: u64 = 3600;

/// Nothing is read again; and everything is, each time.
pub const NEVER: Duration = Duration::from_secs(3600);
pub const ALWAYS: Duration = Duration::ZERO;

pub struct Scene {
    pub pocket: Arc<Pocket>,
    pub store: Arc<dyn Store>,
    pub seal: Arc<SealKey>,
    pub upstreams: Arc<WorkerUpstreams>,
    pub site: Arc<SiteClient>,
    /// When it began.
    pub now: Timestamp,
    pub redis: Option<RedisServer>,
    _directory: TempDir,
}

impl Scene {
    pub async fn on_file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(embedded(directory.path()));
        Self::new(store, None, directory).await
    }

    pub async fn on_redis() -> Self {
        let server = RedisServer::start();
        let store = Arc::new(redis(&server, PATIENCE).await);
        Self::new(store, Some(server), tempfile::tempdir().unwrap()).await
    }

    pub async fn on_both() -> [Self; 2] {
        [Self::on_file().await, Self::on_redis().await]
    }

    async fn new(store: Arc<dyn Store>, redis: Option<RedisServer>, directory: TempDir) -> Self {
        let pocket = Pocket::sample().with_password(USER, "pw").with_oauth_client("gate", "gate-secret", &["https://gate/"], "all", true);
        let pocket = Arc::new(pocket);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(pocket::serve(listener, pocket.clone(), pending()));
        let seal = Arc::new(SealKey::from_hex(&"5a".repeat(32)).unwrap());
        let site = Arc::new(site_client("gate"));
        Self { pocket, store, seal, upstreams: worker(&url), site, now: wall(), redis, _directory: directory }
    }

    /// A gateway's tokens, with a memory of their own.
    pub fn gateway(&self, bound: Duration) -> KeptTokens {
        KeptTokens::new(self.store.clone(), Some(self.seal.clone()), bound, Duration::ZERO)
    }

    pub fn holder(&self) -> Holder {
        Holder { site: self.site.clone(), upstreams: self.upstreams.clone(), grant: GRANT.into() }
    }

    /// Tokens of the user, from the site's own sign-in.
    pub async fn sign_in(&self) -> SiteTokens {
        let form = format!("grant_type=password&client_id=gate&username={USER}&password=pw&scope=all");
        let path = "/api/method/frappe.integrations.oauth2.get_token";
        let question = Question { frappe_site: &self.site.frappe_site, path, authorization: None, form: Some(form) };
        let heard = ask(self.upstreams.site(0), question).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&heard.body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{name} in {body}")).to_owned();
        SiteTokens { access_token: text("access_token"), refresh_token: Some(text("refresh_token")), exp: self.now.plus(LIFE) }
    }

    /// Keeps tokens with a grant.
    pub async fn keep(&self, grant: &str, tokens: &SiteTokens) {
        let sealed = self.seal.seal(SITE, grant, &serde_json::to_vec(tokens).unwrap()).unwrap();
        self.store.put_credential(SITE, grant, &sealed).await.unwrap();
    }

    pub async fn begin_grant(&self, id: &str) {
        let grant = Grant {
            v: RECORD_VERSION,
            id: id.into(),
            client: "crm".into(),
            user: USER.into(),
            scopes: Scopes::parse("all").unwrap(),
            created: self.now,
            used: self.now,
            profile: Profile::default(),
            ended: None,
        };
        assert!(grants::begin(&*self.store, SITE, &grant).await.unwrap());
    }

    /// A grant with tokens that the site has just given, kept as if they ended at `exp`.
    pub async fn granted(&self, exp: Timestamp) -> SiteTokens {
        let tokens = SiteTokens { exp, ..self.sign_in().await };
        self.begin_grant(GRANT).await;
        self.keep(GRANT, &tokens).await;
        tokens
    }

    /// What is kept with a grant.
    pub async fn kept(&self, grant: &str) -> Option<SiteTokens> {
        let sealed = self.store.credential(SITE, grant).await.unwrap()?;
        Some(serde_json::from_slice(&self.seal.open(SITE, grant, &sealed).unwrap()).unwrap())
    }

    pub async fn grant(&self) -> Grant {
        grants::find(&*self.store, SITE, GRANT).await.unwrap().unwrap().value
    }

    /// The token that a gateway would show at `now`.
    pub async fn shown(&self, gateway: &KeptTokens, now: Timestamp) -> Result<String, Lost> {
        let opened = gateway.of(&self.holder(), now).await?;
        assert_eq!(opened.header(), format!("Bearer {}", opened.access_token()));
        assert!(opened.header().is_sensitive());
        Ok(opened.access_token().to_owned())
    }
}

pub fn site_client(client_id: &str) -> SiteClient {
    SiteClient {
        site: SiteId(0),
        name: SITE.into(),
        upstream: 0,
        frappe_site: http::HeaderValue::from_static("erp.test"),
        client_id: client_id.into(),
        client_secret: "gate-secret".into(),
    }
}

/// The upstreams of a worker before the server at `url`.
pub fn worker(url: &str) -> Arc<WorkerUpstreams> {
    let settings = Settings {
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        idle_max: 8,
        head_bytes_max: 8 * 1024,
        failures_max: 1000,
        rest: Duration::from_secs(60),
        check_interval: None,
        check_path: "/api/method/ping".to_owned(),
    };
    let servers = vec![ServerUrl::parse(url).unwrap()];
    Upstreams::new(vec![SiteServers { frappe_site: "erp.test".into(), servers, settings, ca: Vec::new() }]).unwrap().worker()
}

pub fn wall() -> Timestamp {
    Timestamp::from_unix(audit::now().as_secs())
}

/// Lets everything else run until `holds`, for a while.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::task::yield_now().await;
    }
}
