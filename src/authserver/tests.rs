//! The endpoints that apps call, each request given to `answer` directly, against real stores.

mod documents;
mod lost;
mod races;
mod registering;
mod revoking;
mod tokens;

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;

use data_encoding::BASE64;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use serde_json::Value;

use crate::authserver::issuer::{Registration, SignIn};
use crate::oauth::client::{Client, GrantType};
use crate::oauth::pkce;
use crate::oauth::records::{CODE_KEPT, CODE_LIFETIME, CodeRecord, Grant, Profile};
use crate::policy::quota::Quota;
use crate::policy::scope::Scopes;
use crate::policy::token::{RECORD_VERSION, TokenHash};
use crate::store::cached::SiteId;
use crate::store::embedded::EmbeddedStore;
use crate::store::kept::{self, Kind};
use crate::store::redis::RedisStore;
use crate::store::redis_server::RedisServer;
use crate::store::{Backend, RedisUrl, Settings, grants};
use crate::upstream::{ServerUrl, SiteServers, Upstreams};

use super::*;

/// The site.
const ERP: &str = "erp.example.com";
const URL: &str = "https://erp.example.com";
const USER: &str = "sam@example.com";

/// What every secret has in it, so that an answer can be searched for them.
const CANARY: &str = "canary";
const SECRET: &str = "secret-canary";
const CODE: &str = "code-canary";
const VERIFIER: &str = "verifier-canary-verifier-canary-verifier-canary";
const CALLBACK: &str = "https://app.example.com/cb";

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store, and the endpoints of one site on it.
struct Bench {
    shared: Shared,
    issuer: Issuer,
    upstreams: Arc<WorkerUpstreams>,
    now: Timestamp,
    /// What ends with the test.
    _end: Box<dyn Any + Send + Sync>,
}

/// A request.
#[derive(Clone)]
struct Asked {
    endpoint: Endpoint,
    method: Method,
    query: String,
    headers: HeaderMap,
    body: String,
    address: IpAddr,
    /// Seconds after the bench was made.
    later: u64,
}

/// What came back.
struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
    reason: &'static str,
}

impl Bench {
    fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = EmbeddedStore::open(&directory.path().join("store.redb")).expect("a store");
        Self::on(Arc::new(store), directory)
    }

    async fn redis() -> Self {
        let server = RedisServer::start();
        let store = RedisStore::connect(&RedisUrl(server.url().as_str().into()), "sg", PATIENCE).await.expect("a store");
        Self::on(Arc::new(store), server)
    }

    fn on(store: Arc<dyn Store>, end: impl Any + Send + Sync) -> Self {
        let settings = Settings {
            backend: Backend::Embedded { path: "unused".into() },
            lookup_timeout: PATIENCE,
            cache_entries_max: 1000,
            // Nothing grows old during a test: what changes is forgotten by name.
            revocation_bound: Duration::from_secs(3600),
            serve_known: None,
        };
        let quota = |requests| Quota { requests, period: Duration::from_secs(60), burst: requests };
        let shared = Shared {
            cached: Arc::new(CachedStore::new(store.clone(), &settings)),
            // Nothing is remembered.
            origins: Arc::new(Origins::new(store.clone(), Duration::from_nanos(1))),
            store,
            seal: Some(Arc::new(SealKey::from_hex(&"5a".repeat(32)).expect("a key"))),
            bodies: Bodies::new(1 << 20),
            clock: Clock::start(),
            complaints: Arc::default(),
            addresses: None,
            failures: Some(Arc::new(Addresses::new(quota(40)))),
            memory: Arc::default(),
        };
        let servers = SiteServers {
            frappe_site: ERP.into(),
            servers: vec![ServerUrl::parse("http://127.0.0.1:1").expect("a URL")],
            settings: crate::upstream::tests::settings(),
            ca: Vec::new(),
        };
        let issuer = Issuer {
            site: SiteId(0),
            name: ERP.into(),
            upstream: 0,
            frappe_site: HeaderValue::from_static(ERP),
            url: URL.into(),
            sign_in: Some(SignIn {
                login_url: "https://frappe.example.com".into(),
                client_id: "gate".into(),
                client_secret: SECRET.into(),
                scope: "all openid".into(),
            }),
            pkce_for_all: false,
            access_token_lifetime: Duration::from_secs(3600),
            refresh_token_lifetime: Duration::from_secs(30 * 86_400),
            meanings: Arc::default(),
            titles: Arc::new(HashMap::new()),
            registration: Registration::Off,
            registration_scopes: scopes("read write openid"),
            documents: None,
            keeps_site_tokens: false,
            origins: vec![HeaderValue::from_static("https://desk.example.com")],
        };
        let upstreams = Upstreams::new(vec![servers]).expect("a site").worker();
        Self { shared, issuer, upstreams, now: Timestamp::from_unix(audit::now().as_secs()), _end: Box::new(end) }
    }

    /// The answer to a request.
    async fn ask(&self, asked: Asked) -> Told {
        let mut call = Call {
            endpoint: asked.endpoint,
            issuer: &self.issuer,
            shared: &self.shared,
            upstream: self.upstreams.site(0),
            method: &asked.method,
            query: &asked.query,
            headers: &asked.headers,
            body: asked.body.into(),
            address: asked.address,
            now: self.now.plus(asked.later),
            note: Note::default(),
        };
        let answer = match answer(&mut call).await {
            Ok(answer) => answer,
            Err(failure) => fail(&self.shared, &self.issuer, &failure),
        };
        assert_eq!(answer.refused, answer.status.as_u16() >= 400, "{}", answer.reason);
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        Told { status: answer.status.as_u16(), headers: answer.headers, text, reason: answer.reason }
    }

    fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    /// Registers a client that may do everything: confidential, if it has a secret.
    async fn client(&self, id: &str, secret: Option<&str>) -> Client {
        let client = Client {
            secret: secret.map(|secret| TokenHash::of(secret.as_bytes())),
            redirect_uris: vec![CALLBACK.to_owned()],
            grant_types: GrantType::ALL.to_vec(),
            ..Client::new(id, "An app", scopes("read write openid email"), self.now)
        };
        self.add(client).await
    }

    async fn add(&self, client: Client) -> Client {
        assert!(self.store().create_client(ERP, &client).await.expect("the store"));
        client
    }

    /// A grant of [`USER`] to the client.
    async fn grant(&self, client: &Client, id: &str, allowed: &str) -> Grant {
        let profile = Profile { name: Some("Sam Fake".to_owned()), ..Profile::default() };
        let grant = Grant {
            v: RECORD_VERSION,
            id: id.into(),
            client: client.id.clone(),
            user: USER.into(),
            scopes: scopes(allowed),
            created: self.now,
            used: self.now,
            profile,
            ended: None,
        };
        assert!(grants::begin(self.store(), ERP, &grant).await.expect("the store"));
        grant
    }

    /// A code under it.
    async fn code(&self, grant: &Grant, text: &str, change: impl FnOnce(&mut CodeRecord)) {
        let mut record = CodeRecord {
            v: RECORD_VERSION,
            client: grant.client.clone(),
            user: grant.user.clone(),
            grant: grant.id.clone(),
            scopes: grant.scopes.clone(),
            redirect_uri: Some(CALLBACK.to_owned()),
            challenge: Some(pkce::challenge_of(VERIFIER)),
            nonce: None,
            auth_time: self.now,
            iat: self.now,
            exp: self.now.plus(CODE_LIFETIME),
            spent: None,
            issued: None,
        };
        change(&mut record);
        let id = TokenHash::of(text.as_bytes()).to_string();
        assert!(kept::create(self.store(), ERP, Kind::Code, &id, &record, Some(record.iat.plus(CODE_KEPT))).await.expect("the store"));
    }

    /// A client `crm` with a secret, and [`CODE`] for it.
    async fn ready(&self, allowed: &str) -> (Client, Grant) {
        let client = self.client("crm", Some(SECRET)).await;
        let grant = self.grant(&client, "grant-1", allowed).await;
        self.code(&grant, CODE, |_| {}).await;
        (client, grant)
    }

    /// The tokens that the code gives.
    async fn redeemed(&self) -> Value {
        let told = self.ask(redemption()).await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.json()
    }

    /// Whether the gateway would let the token in.
    async fn lives(&self, token: &str) -> bool {
        let hash = TokenHash::of(token.as_bytes());
        let found = self.shared.cached.find(SiteId(0), ERP, &hash, self.now).await.expect("the store");
        matches!(found, crate::store::cached::Lookup::Live(_))
    }

    async fn ended(&self, grant: &str) -> Option<crate::oauth::records::End> {
        grants::find(self.store(), ERP, grant).await.expect("the store").expect("the grant").value.ended.map(|ended| ended.by)
    }
}

impl Asked {
    fn new(endpoint: Endpoint, method: Method) -> Self {
        let (query, headers, body) = (String::new(), HeaderMap::new(), String::new());
        Self { endpoint, method, query, headers, body, address: [192, 0, 2, 1].into(), later: 0 }
    }

    fn get(endpoint: Endpoint) -> Self {
        Self::new(endpoint, Method::GET)
    }

    /// A form.
    fn post(endpoint: Endpoint, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut body = String::new();
        crate::policy::query::Pairs::from_fields(fields).write(&mut body);
        Self { body, ..Self::new(endpoint, Method::POST).with(CONTENT_TYPE, "application/x-www-form-urlencoded") }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).expect("a header"));
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Bearer {token}"))
    }

    fn basic(self, id: &str, secret: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Basic {}", BASE64.encode(format!("{id}:{secret}").as_bytes())))
    }

    /// One more field.
    fn and(mut self, name: &str, value: &str) -> Self {
        self.body.push_str(&format!("&{name}={}", value.replace(' ', "+").replace('/', "%2F").replace(':', "%3A")));
        self
    }

    /// Without a field.
    fn without(mut self, name: &str) -> Self {
        let fields = self.body.split('&').filter(|field| field.split('=').next() != Some(name));
        self.body = fields.collect::<Vec<_>>().join("&");
        self
    }

    fn later(self, later: u64) -> Self {
        Self { later, ..self }
    }

    fn from(self, last: u8) -> Self {
        Self { address: [192, 0, 2, last].into(), ..self }
    }
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn error(&self) -> String {
        let body = self.json();
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        if !error.is_empty() {
            let description = body["error_description"].as_str().expect("a sentence");
            // RFC 6749 section 5.2.
            assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{description}");
            assert!(!self.text.contains(CANARY), "{}", self.text);
        }
        error
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// The redemption of [`CODE`] as it should be.
fn redemption() -> Asked {
    Asked::post(
        Endpoint::Token,
        &[
            ("grant_type", "authorization_code"),
            ("code", CODE),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("client_id", "crm"),
            ("client_secret", SECRET),
        ],
    )
}

fn refreshing(token: &str) -> Asked {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "crm"), ("client_secret", SECRET)];
    Asked::post(Endpoint::Token, &fields)
}

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).expect("scopes")
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}
