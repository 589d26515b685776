//! A whole gate around the gateway, less the listener: requests go through hyper, as they do in earnest.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::scene::{GRANT, LIFE, SITE, Scene, USER};
use crate::audit::{self, Audit, OnFull, Output};
use crate::exchange::held::Bodies;
use crate::exchange::{Books, Exchange};
use crate::gateway::credential::ClientKeys;
use crate::gateway::site::{BodyBounds, Credential, Site};
use crate::gateway::{Limits, Shared, Worker};
use crate::limiter::{Addresses, Clock};
use crate::oauth::client::Client;
use crate::policy::catalogue::Catalogue;
use crate::policy::classify::Rules;
use crate::policy::decision::NamedScopes;
use crate::policy::quota::Quota;
use crate::policy::scope::Scopes;
use crate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::cached::{CachedStore, SiteId};
use crate::store::origins::Origins;
use crate::store::{Backend, Settings};
use crate::telemetry::{Complaints, WorkerCounters};
use crate::upstream::headers::HeaderSet;
use crate::upstream::{Via, WorkerUpstreams};

/// The token of an app whose user has signed in, and of one that nobody has signed in for.
pub const APP: &str = "app-token";
pub const MACHINE: &str = "machine-token";

pub struct Gate {
    worker: Arc<Worker>,
    site: Arc<Site>,
    books: Arc<Books>,
}

impl Gate {
    /// Before the site of the scene, whose client `crm` has both tokens.
    pub async fn before(scene: &Scene) -> Self {
        Self::with(scene, &scene.upstreams, Credential::Bearer(scene.site.clone()), None).await
    }

    pub async fn with(scene: &Scene, upstreams: &Arc<WorkerUpstreams>, credential: Credential, limit: Option<Quota>) -> Self {
        let client = Client::new("crm", "CRM", Scopes::parse("all").unwrap(), scene.now);
        assert!(scene.store.create_client(SITE, &client).await.unwrap());
        for (token, grant) in [(APP, Some(GRANT.into())), (MACHINE, None)] {
            let (user, scopes) = (USER.into(), Scopes::parse("all").unwrap());
            let exp = scene.now.plus(10 * LIFE);
            let record = TokenRecord { v: RECORD_VERSION, client: "crm".into(), user, scopes, grant, iat: scene.now, exp };
            scene.store.put_token(SITE, &TokenHash::of(token.as_bytes()), &record).await.unwrap();
        }
        // Small enough that what a grant's end voids is found void at once.
        let revocation_bound = Duration::from_nanos(1);
        let settings = Settings {
            backend: Backend::Embedded { path: "unused".into() },
            lookup_timeout: Duration::from_secs(20),
            cache_entries_max: 1000,
            revocation_bound: Duration::from_secs(3600),
            serve_known: None,
        };
        let shared = Shared {
            store: Arc::new(CachedStore::new(scene.store.clone(), &settings)),
            keys: Arc::new(ClientKeys::new(scene.store.clone(), Some(scene.seal.clone()), revocation_bound, None)),
            site_tokens: Arc::new(scene.gateway(revocation_bound)),
            origins: Arc::new(Origins::new(scene.store.clone(), revocation_bound)),
            limits: Limits { client: None, address: limit.map(|quota| Arc::new(Addresses::new(quota))), failed_authentications: None },
            bodies: Bodies::new(1 << 20),
            clock: Clock::start(),
            complaints: Arc::<Complaints>::default(),
        };
        let site = Site {
            id: SiteId(0),
            upstream: 0,
            name: SITE.into(),
            rules: Arc::new(Rules { catalogue: Catalogue::builtin(), opened: Vec::new(), paths: Vec::new() }),
            scopes: Arc::new(NamedScopes::new([])),
            credential,
            frappe_site: HeaderValue::from_static("erp.test"),
            extra_headers: HeaderSet::parse(&[] as &[&str]).unwrap(),
            origins: vec![HeaderValue::from_static("https://own.example.com")],
            client_origins: true,
            keep_tracebacks: false,
            challenge: "Bearer realm=\"erp\"".to_owned(),
            bodies: BodyBounds {
                body_bytes_max: 1 << 16,
                upload_bytes_max: 1 << 20,
                body_timeout: Duration::from_secs(20),
                body_rate_min: 1,
            },
        };
        let log =
            Audit::open(&audit::Settings { output: Output::Off, on_full: OnFull::Count, queue_bytes_max: 1 << 20, chain_key: None }, 1)
                .unwrap()
                .log(0);
        let books = Arc::new(Books { log, counters: Arc::new(WorkerCounters::default()) });
        Self { worker: Arc::new(Worker { shared: Arc::new(shared), upstreams: upstreams.clone() }), site: Arc::new(site), books }
    }

    /// A token, a method and a path; the body is JSON unless a header says otherwise.
    pub async fn ask(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "erp.test");
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() && headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let (worker, site, books) = (self.worker.clone(), self.site.clone(), self.books.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (worker, site, books) = (worker.clone(), site.clone(), books.clone());
            async move {
                let address = HeaderValue::from_static("192.0.2.1");
                let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
                let via = Via { client: address.clone(), secure: true };
                let id = HeaderValue::from_static("id");
                let exchange = Exchange::begin(books, id, ip, address, Some(request.method().clone()));
                Ok::<_, std::convert::Infallible>(worker.serve(&site, &via, request, Box::new(exchange)).await)
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, &[], "").await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, and the gate's own reason where it is the gate's own no.
    pub fn reason(&self) -> (u16, String) {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        (self.status, body["reason"].as_str().unwrap_or_default().to_owned())
    }
}

/// A site that is told what to say to a method, a path and an `Authorization`, and remembers what it was asked.
pub struct Script {
    pub url: String,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub async fn start(answer: fn(method: &str, path: &str, authorization: &str) -> (u16, &'static str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (head, body) = request.into_parts();
                    let authorization = head.headers.get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
                    told.lock().unwrap().push(format!("{} {} {authorization}", head.method, head.uri.path()));
                    let (status, text) = answer(head.method.as_str(), head.uri.path(), authorization);
                    async move {
                        let _ = body.collect().await;
                        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
                        Ok::<_, std::convert::Infallible>(response)
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, asked }
    }

    /// How often it was asked that.
    pub fn times(&self, asked: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.starts_with(asked)).count()
    }
}
