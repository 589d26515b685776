//! From a checked configuration to what is served: sites, upstreams and limits, built whole and exchanged whole.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderValue;
use ipnet::IpNet;
use tokio::runtime::Handle;

use crate::audit::AuditLog;
use crate::authserver;
use crate::authserver::issuer::{Issuer, Registration, SignIn};
use crate::authserver::memory::Memory;
use crate::config::checked::{self, Config, Rate};
use crate::config::rules::{named_scopes, rules_of};
use crate::exchange::Books;
use crate::exchange::held::Bodies;
use crate::gateway::credential::ClientKeys;
use crate::gateway::site::{BodyBounds, Credential, Site};
use crate::gateway::site_tokens::{KeptTokens, SiteClient};
use crate::gateway::{ClientLimit, Limits, Shared, Worker};
use crate::limiter::{Addresses, Clock};
use crate::listener::drain::Drain;
use crate::outbound::error::StartError;
use crate::outbound::{self, Fetcher};
use crate::policy::decision::NamedScopes;
use crate::policy::quota::Quota;
use crate::policy::token::TokenHash;
use crate::router::Table;
use crate::store::cached::{CachedStore, SiteId};
use crate::store::origins::Origins;
use crate::store::seal::SealKey;
use crate::telemetry::{Complaints, WorkerCounters};
use crate::upstream::credential::ApiKey;
use crate::upstream::headers::HeaderSet;
use crate::upstream::{SiteServers, Upstreams, health};

/// The number of each site, by name: it outlives reloads, because cached tokens bear it.
#[derive(Default)]
pub struct Registry(HashMap<Arc<str>, SiteId>);

impl Registry {
    /// The number of a site, old or new.
    fn register(&mut self, name: &Arc<str>) -> SiteId {
        let next = SiteId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        *self.0.entry(name.clone()).or_insert(next)
    }

    /// The number of a site that was registered.
    pub fn id(&self, name: &str) -> SiteId {
        self.0.get(name).copied().unwrap_or(SiteId(u32::MAX))
    }
}

/// What lives on when the configuration is read again.
pub struct Ingredients {
    pub store: Arc<CachedStore>,
    pub keys: Arc<ClientKeys>,
    pub site_tokens: Arc<KeptTokens>,
    pub origins: Arc<Origins>,
    pub seal: Option<Arc<SealKey>>,
    pub bodies: Arc<Bodies>,
    pub clock: Clock,
    pub complaints: Arc<Complaints>,
    pub memory: Arc<Memory>,
}

/// Everything that one reading of the configuration says about what is served.
pub struct Generation {
    hosts: Arc<HashMap<Box<str>, Arc<Site>, RandomState>>,
    pub names: Vec<Arc<str>>,
    pub upstreams: Arc<Upstreams>,
    issuers: Arc<HashMap<SiteId, Arc<Issuer>, RandomState>>,
    shared: Arc<Shared>,
    authserver: Arc<authserver::Shared>,
    trusted_proxies: Arc<[IpNet]>,
    pub https_port: Option<u16>,
    /// Ends the health checks.
    end: Drain,
}

impl Generation {
    /// Builds it; `before` is what it takes the place of. The error names what is wrong with the configuration.
    pub fn new(
        config: &Config,
        https_port: Option<u16>,
        registry: &mut Registry,
        ingredients: &Ingredients,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let servers = config.sites.iter().map(servers_of).collect();
        let upstreams = Upstreams::new(servers).map_err(|error| error.to_string())?;
        let scopes = Arc::new(named_scopes(config));
        let mut hosts = HashMap::with_hasher(RandomState::default());
        let mut issuers = HashMap::with_hasher(RandomState::default());
        for (upstream, site) in config.sites.iter().enumerate() {
            let built = Arc::new(site_of(config, site, upstream, registry.register(&site.name), &scopes)?);
            if let Some(oauth) = &site.oauth {
                issuers.insert(built.id, Arc::new(issuer_of(config, site, &built, oauth)?));
            }
            for host in &site.hosts {
                hosts.insert(host.clone(), built.clone());
            }
        }
        let shared = Shared {
            store: ingredients.store.clone(),
            keys: ingredients.keys.clone(),
            site_tokens: ingredients.site_tokens.clone(),
            origins: ingredients.origins.clone(),
            limits: limits_of(&config.rates, before.map(|before| &before.shared.limits)),
            bodies: ingredients.bodies.clone(),
            clock: ingredients.clock,
            complaints: ingredients.complaints.clone(),
        };
        let authserver = authserver::Shared {
            store: ingredients.store.store().clone(),
            cached: ingredients.store.clone(),
            origins: ingredients.origins.clone(),
            seal: ingredients.seal.clone(),
            bodies: ingredients.bodies.clone(),
            clock: ingredients.clock,
            complaints: ingredients.complaints.clone(),
            addresses: shared.limits.address.clone(),
            failures: shared.limits.failed_authentications.clone(),
            memory: ingredients.memory.clone(),
        };
        Ok(Self {
            issuers: Arc::new(issuers),
            authserver: Arc::new(authserver),
            hosts: Arc::new(hosts),
            names: config.sites.iter().map(|site| site.name.clone()).collect(),
            upstreams,
            shared: Arc::new(shared),
            trusted_proxies: config.listen.trusted_proxies.clone().into(),
            https_port,
            end: Drain::new(),
        })
    }

    /// The table of one worker thread, with connections to the upstreams of its own.
    pub fn table(&self, log: Arc<AuditLog>, counters: Arc<WorkerCounters>) -> Table {
        let upstreams = self.upstreams.worker();
        Table {
            hosts: self.hosts.clone(),
            issuers: self.issuers.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            https_port: self.https_port,
            worker: Worker { shared: self.shared.clone(), upstreams: upstreams.clone() },
            authserver: authserver::Worker { shared: self.authserver.clone(), upstreams },
            books: Arc::new(Books { log, counters }),
        }
    }

    /// Starts the health checks.
    pub fn watch(&self, control: &Handle) {
        let end = self.end.clone();
        control.spawn(health::watch(self.upstreams.clone(), async move { end.wait().await }));
    }

    /// Ends them; requests that are under way go on with what they have.
    pub fn stop(&self) {
        self.end.begin();
    }
}

fn servers_of(site: &checked::Site) -> SiteServers {
    SiteServers {
        frappe_site: site.frappe_site.clone(),
        servers: site.servers.clone(),
        settings: site.upstream.clone(),
        ca: site.upstream_ca.clone(),
    }
}

fn site_of(config: &Config, site: &checked::Site, upstream: usize, id: SiteId, scopes: &Arc<NamedScopes>) -> Result<Site, String> {
    let wrong = |what: &str| format!("site `{}`: {what}", site.name);
    let frappe_site = HeaderValue::from_str(&site.frappe_site).map_err(|_| wrong("`frappe_site` cannot stand in a header"))?;
    let credential = match &site.credential {
        checked::Credential::Forward => Credential::Forward,
        checked::Credential::Bearer => {
            let sign_in = site.oauth.as_ref().and_then(|oauth| oauth.sign_in.as_ref());
            let sign_in = sign_in.ok_or_else(|| wrong("`credential = \"bearer\"` needs the sign-in of [site.oauth]"))?;
            Credential::Bearer(Arc::new(SiteClient {
                site: id,
                name: site.name.clone(),
                upstream,
                frappe_site: frappe_site.clone(),
                client_id: sign_in.client_id.clone(),
                client_secret: sign_in.client_secret.reveal().into(),
            }))
        }
        checked::Credential::ApiKey(key) => {
            let key = ApiKey::parse(key.reveal()).map_err(|error| wrong(&error.to_string()))?;
            Credential::ApiKey { of_site: key.header() }
        }
    };
    let origins = site.cors_origins.iter().map(|origin| HeaderValue::from_str(origin));
    Ok(Site {
        id,
        upstream,
        name: site.name.clone(),
        rules: Arc::new(rules_of(config, site).map_err(|error| wrong(&error))?),
        scopes: scopes.clone(),
        credential,
        frappe_site,
        extra_headers: HeaderSet::parse(&site.request_headers).map_err(|error| wrong(&error))?,
        origins: origins.collect::<Result<_, _>>().map_err(|_| wrong("an origin cannot stand in a header"))?,
        client_origins: site.oauth.is_some(),
        keep_tracebacks: site.keep_tracebacks,
        challenge: challenge_of(site),
        bodies: BodyBounds {
            body_bytes_max: config.body.body_bytes_max,
            upload_bytes_max: config.body.upload_bytes_max,
            body_timeout: config.body.body_timeout,
            body_rate_min: config.body.body_rate_min,
        },
    })
}

/// How a 401 of the site begins: with where an app finds out who issues its tokens, if that is the gate (RFC 9728 section 5.1).
fn challenge_of(site: &checked::Site) -> String {
    let mut challenge = format!("Bearer realm=\"{}\"", site.name);
    if let Some(oauth) = &site.oauth {
        challenge.push_str(&format!(", resource_metadata=\"{}/.well-known/oauth-protected-resource\"", oauth.issuer));
    }
    challenge
}

/// The site as its own OAuth provider.
fn issuer_of(config: &Config, checked: &checked::Site, site: &Site, oauth: &checked::OAuth) -> Result<Issuer, String> {
    let sign_in = oauth.sign_in.as_ref().map(|sign_in| SignIn {
        login_url: sign_in.login_url.clone(),
        client_id: sign_in.client_id.clone(),
        client_secret: sign_in.client_secret.reveal().into(),
        scope: sign_in.scope.clone(),
    });
    let registration = match &oauth.registration {
        checked::Registration::Off => Registration::Off,
        checked::Registration::Token(token) => Registration::Token(TokenHash::of(token.reveal().as_bytes())),
        checked::Registration::Open => Registration::Open,
    };
    Ok(Issuer {
        site: site.id,
        name: site.name.clone(),
        upstream: site.upstream,
        frappe_site: site.frappe_site.clone(),
        url: oauth.issuer.clone(),
        sign_in,
        pkce_for_all: oauth.pkce_for_all,
        access_token_lifetime: oauth.access_token_lifetime,
        refresh_token_lifetime: oauth.refresh_token_lifetime,
        meanings: Arc::new(config.scopes.iter().map(|scope| (scope.name.clone(), scope.grants.clone())).collect()),
        titles: Arc::new(config.scopes.iter().map(|scope| (scope.name.clone(), scope.title.clone())).collect()),
        registration,
        registration_scopes: oauth.registration_scopes.clone(),
        documents: documents_of(oauth).map_err(|error| format!("site `{}`: {error}", site.name))?,
        keeps_site_tokens: matches!(checked.credential, checked::Credential::Bearer),
        origins: site.origins.clone(),
    })
}

/// What reads the documents of clients whose id is a URL, where the operator wants any.
fn documents_of(oauth: &checked::OAuth) -> Result<Option<Arc<Fetcher>>, StartError> {
    if !oauth.client_documents {
        return Ok(None);
    }
    let settings =
        outbound::Settings { extra_roots: oauth.client_document_ca.clone(), allow_networks: oauth.client_document_networks.clone() };
    Fetcher::new(settings).map(|fetcher| Some(Arc::new(fetcher)))
}

fn limits_of(rates: &checked::Rates, before: Option<&Limits>) -> Limits {
    Limits {
        client: rates.client.map(quota_of).map(ClientLimit::new),
        address: addresses_of(rates.address, before.and_then(|before| before.address.as_ref())),
        failed_authentications: addresses_of(
            rates.failed_authentications,
            before.and_then(|before| before.failed_authentications.as_ref()),
        ),
    }
}

/// Under the same quota the cells of before count on: a reload forgives nobody.
fn addresses_of(rate: Option<Rate>, before: Option<&Arc<Addresses>>) -> Option<Arc<Addresses>> {
    let quota = quota_of(rate?);
    match before {
        Some(before) if *before.quota() == quota => Some(before.clone()),
        _ => Some(Arc::new(Addresses::new(quota))),
    }
}

fn quota_of(rate: Rate) -> Quota {
    Quota { requests: rate.requests, period: rate.period, burst: rate.burst }
}
