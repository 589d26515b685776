//! Browsers against the endpoints that users meet, with pocket ERP as the site: the whole way to a code, and the ways around it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::authserver::call::{Call, Note};
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::{Issuer, Registration, SignIn};
use crate::authserver::{Shared, answer, documents, page, session};
use crate::exchange::held::{Bodies, HELD_BYTES_MAX};
use crate::limiter::Clock;
use crate::oauth::client::{Client, Document, GrantType};
use crate::oauth::pkce;
use crate::oauth::records::{CODE_LIFETIME, CodeRecord, End, Grant, SiteTokens};
use crate::outbound::{self, Fetcher};
use crate::pocket::{self, Pocket};
use crate::policy::coverage::Meanings;
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::cached::{CachedStore, SiteId};
use crate::store::embedded::EmbeddedStore;
use crate::store::grants;
use crate::store::kept::{self, Kind, Set, Subject};
use crate::store::origins::Origins;
use crate::store::seal::SealKey;
use crate::store::{Backend, Settings, Store};
use crate::telemetry::Complaints;
use crate::upstream::{self, ServerUrl, SiteServers, Upstreams, WorkerUpstreams};

const SITE: &str = "erp";
const GATE: &str = "https://gate.example";
const ERP: &str = "https://erp.example";
const APP: &str = "https://app.example/cb";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A gate and its site.
struct House {
    issuer: Issuer,
    shared: Shared,
    upstreams: Arc<WorkerUpstreams>,
    pocket: Arc<Pocket>,
    erp: SocketAddr,
    now: Cell<u64>,
    _directory: TempDir,
}

/// What came back.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
    reason: &'static str,
    note: Note,
}

/// The cookies of one browser, at the gate and at the site.
#[derive(Default)]
struct Browser {
    gate: Vec<(String, String)>,
    erp: Vec<(String, String)>,
}

fn upstreams(server: &str) -> Arc<WorkerUpstreams> {
    let settings = upstream::Settings {
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        idle_max: 8,
        head_bytes_max: 8 * 1024,
        failures_max: 3,
        rest: Duration::from_secs(60),
        check_interval: None,
        check_path: "/api/method/ping".to_owned(),
    };
    let servers = vec![ServerUrl::parse(server).unwrap()];
    let site = SiteServers { frappe_site: "erp.example".into(), servers, settings, ca: Vec::new() };
    Upstreams::new(vec![site]).unwrap().worker()
}

impl House {
    async fn new(keeps_site_tokens: bool) -> Self {
        let redirect = format!("{GATE}/oauth/callback");
        let pocket = Pocket::sample().with_password("sam@example.com", "sam").with_password("lou@example.com", "lou").with_oauth_client(
            "gate",
            "secret",
            &[&redirect],
            "all openid",
            true,
        );
        let pocket = Arc::new(pocket);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let erp = listener.local_addr().unwrap();
        tokio::spawn(pocket::serve(listener, Arc::clone(&pocket), std::future::pending()));
        let upstreams = upstreams(&format!("http://{erp}"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&path).unwrap());
        let cache = Settings {
            backend: Backend::Embedded { path },
            lookup_timeout: Duration::from_secs(1),
            cache_entries_max: 100,
            revocation_bound: Duration::from_secs(1),
            serve_known: None,
        };
        let house = Self {
            issuer: Issuer {
                site: SiteId(0),
                name: SITE.into(),
                upstream: 0,
                frappe_site: HeaderValue::from_static("erp.example"),
                url: GATE.into(),
                sign_in: Some(SignIn {
                    login_url: ERP.into(),
                    client_id: "gate".into(),
                    client_secret: "secret".into(),
                    scope: "all openid".into(),
                }),
                pkce_for_all: false,
                access_token_lifetime: Duration::from_secs(3600),
                refresh_token_lifetime: Duration::from_secs(86_400),
                meanings: Arc::new(Meanings::from([("crm".into(), Scopes::parse("read:lead").unwrap())])),
                titles: Arc::new([("crm".into(), "Work with <your> customers".to_owned())].into()),
                registration: Registration::Off,
                registration_scopes: Scopes::parse("read").unwrap(),
                documents: None,
                keeps_site_tokens,
                origins: Vec::new(),
            },
            shared: Shared {
                memory: Arc::default(),
                cached: Arc::new(CachedStore::new(Arc::clone(&store), &cache)),
                origins: Arc::new(Origins::new(Arc::clone(&store), Duration::from_secs(1))),
                store,
                seal: Some(Arc::new(SealKey::from_hex(&SealKey::generate().unwrap()).unwrap())),
                bodies: Bodies::new(HELD_BYTES_MAX),
                clock: Clock::start(),
                complaints: Arc::new(Complaints::default()),
                addresses: None,
                failures: None,
            },
            upstreams,
            pocket,
            erp,
            // The store forgets by the clock of the machine.
            now: Cell::new(crate::audit::now().as_secs()),
            _directory: directory,
        };
        house.keep(house.app("app", "The App", true)).await;
        house
    }

    fn app(&self, id: &str, name: &str, secret: bool) -> Client {
        let created = Timestamp::from_unix(self.now.get() - 100);
        Client {
            secret: secret.then(|| TokenHash::of(b"app-secret")),
            redirect_uris: vec![APP.to_owned(), "http://127.0.0.1/cb".to_owned()],
            grant_types: vec![GrantType::AuthorizationCode],
            ..Client::new(id, name, Scopes::parse("all crm openid").unwrap(), created)
        }
    }

    async fn keep(&self, client: Client) {
        assert!(self.store().create_client(SITE, &client).await.unwrap());
    }

    async fn change(&self, client: Client) {
        assert!(self.store().update_client(SITE, &client).await.unwrap());
    }

    fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    fn pass(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.now.get())
    }

    async fn send(&self, browser: &mut Browser, method: Method, url: &str, form: Option<String>, more: &[(HeaderName, &str)]) -> Seen {
        let target = url.strip_prefix(GATE).unwrap_or(url);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        if !browser.gate.is_empty() {
            headers.insert(COOKIE, HeaderValue::from_str(&written(&browser.gate)).unwrap());
        }
        if form.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        for (name, value) in more {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let endpoint = Endpoint::of(path).unwrap();
        let mut call = Call {
            endpoint,
            issuer: &self.issuer,
            shared: &self.shared,
            upstream: self.upstreams.site(0),
            method: &method,
            query,
            headers: &headers,
            body: Bytes::from(form.unwrap_or_default()),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            now: self.now(),
            note: Note::default(),
        };
        let answer = match answer(&mut call).await {
            Ok(answer) => answer,
            Err(failure) => page::of_failure(&self.issuer, super::super::fail(&self.shared, &self.issuer, &failure), &failure),
        };
        for line in answer.headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            assert!(line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax") && line.starts_with("__Host-"), "{line}");
            keep(&mut browser.gate, line);
        }
        let expected = if answer.status == 303 { "no-referrer" } else { "same-origin" };
        assert_eq!(answer.headers[REFERRER_POLICY], expected, "{url}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{url}");
        Seen {
            status: answer.status.as_u16(),
            body: String::from_utf8(answer.body.to_vec()).unwrap(),
            headers: answer.headers,
            reason: answer.reason,
            note: call.note,
        }
    }

    async fn get(&self, browser: &mut Browser, url: &str) -> Seen {
        self.send(browser, Method::GET, url, None, &[]).await
    }

    async fn post(&self, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Seen {
        self.send(browser, Method::POST, path, Some(form(fields)), &[(ORIGIN, GATE)]).await
    }

    /// At the site, over the wire: the status, and where it leads.
    async fn at_erp(&self, browser: &mut Browser, method: &str, target: &str, body: &str) -> (u16, Option<String>) {
        let cookies = written(&browser.erp);
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: erp.example\r\nX-Forwarded-Proto: https\r\nConnection: close\r\nCookie: {cookies}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.erp).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let mut location = None;
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "set-cookie" => keep(&mut browser.erp, value),
                "location" => location = Some(value.to_owned()),
                _ => {}
            }
        }
        (head[9..12].parse().unwrap(), location)
    }

    async fn log_in(&self, browser: &mut Browser, user: &str) {
        let body = form(&[("usr", user), ("pwd", user.split('@').next().unwrap())]);
        let (status, _) = self.at_erp(browser, "POST", "/api/method/login", &body).await;
        assert_eq!(status, 200);
    }

    /// Follows Frappe's own redirects, from its `authorize` to the gate's callback.
    async fn through_erp(&self, browser: &mut Browser, seen: &Seen) -> String {
        let mut url = seen.to();
        assert_eq!((seen.status, seen.reason), (303, "sign_in"));
        for _ in 0..4 {
            let target = url.strip_prefix(ERP).unwrap_or(&url).to_owned();
            let (status, location) = self.at_erp(browser, "GET", &target, "").await;
            url = location.unwrap_or_else(|| panic!("{status} without a way on from {target}"));
            if url.starts_with(GATE) {
                return url;
            }
        }
        panic!("the site leads nowhere: {url}");
    }

    /// From the app's link to whatever comes after the sign-in.
    async fn sign_in(&self, browser: &mut Browser, url: &str) -> Seen {
        let seen = self.get(browser, url).await;
        let callback = self.through_erp(browser, &seen).await;
        let seen = self.get(browser, &callback).await;
        assert_eq!((seen.status, seen.reason), (303, "signed_in"), "{}", seen.body);
        self.get(browser, &seen.to()).await
    }

    async fn browser(&self, user: &str) -> Browser {
        let mut browser = Browser::default();
        self.log_in(&mut browser, user).await;
        browser
    }

    async fn code_of(&self, seen: &Seen) -> CodeRecord {
        assert_eq!((seen.status, seen.reason), (303, "code_issued"), "{}", seen.body);
        let id = TokenHash::of(seen.parameter("code").unwrap().as_bytes()).to_string();
        kept::load::<CodeRecord>(self.store(), SITE, Kind::Code, &id).await.unwrap().unwrap().value
    }

    async fn grants(&self, user: &str) -> Vec<Grant> {
        grants::of_user(self.store(), SITE, user).await.unwrap().into_iter().map(|kept| kept.value).collect()
    }

    async fn site_tokens(&self, grant: &str) -> Option<SiteTokens> {
        let sealed = self.store().credential(SITE, grant).await.unwrap()?;
        session::open(self.shared.seal.as_ref().unwrap(), SITE, grant, &sealed)
    }

    /// Whether the site still takes a token.
    async fn site_takes(&self, token: &str) -> bool {
        let mut stream = TcpStream::connect(self.erp).await.unwrap();
        let request = format!(
            "GET /api/method/frappe.auth.get_logged_user HTTP/1.1\r\nHost: erp.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.starts_with("HTTP/1.1 200")
    }
}

impl Seen {
    fn to(&self) -> String {
        self.headers[LOCATION].to_str().unwrap().to_owned()
    }

    /// A parameter of where it leads.
    fn parameter(&self, name: &str) -> Option<String> {
        let to = self.to();
        let pairs = Pairs::parse(to.split_once('?')?.1.as_bytes(), Reason::QueryInvalid).unwrap();
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    /// The ticket of the first form that leads to `action`.
    fn ticket(&self, action: &str) -> String {
        let form = self.body.split_once(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no such form: {}", self.body)).1;
        form.split_once("name=\"ticket\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
    }

    /// Back at the app with an error, `state` and `iss`.
    fn refused_at_app(&self, error: &str) {
        assert!(self.to().starts_with(APP), "{}", self.to());
        let told = ["error", "state", "iss", "code"].map(|name| self.parameter(name));
        assert_eq!(told, [Some(error.to_owned()), Some("x & y".to_owned()), Some(GATE.to_owned()), None]);
        assert_eq!((self.status, self.reason), (303, error));
    }

    fn asks(&self) {
        assert_eq!((self.status, self.reason), (200, "consent_asked"), "{}", self.body);
    }

    /// A page that says no, and leads nowhere.
    fn refuses(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.reason), (status, code), "{}", self.body);
        assert!(!self.headers.contains_key(LOCATION) && self.body.contains(&format!("<code>{code}</code>")), "{}", self.body);
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    Pairs::from_fields(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).write(&mut text);
    text
}

fn written(cookies: &[(String, String)]) -> String {
    cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn keep(cookies: &mut Vec<(String, String)>, line: &str) {
    let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
    cookies.retain(|(known, _)| known != name);
    if !line.contains("Max-Age=0") {
        cookies.push((name.to_owned(), value.to_owned()));
    }
}

/// The app's link, with these parameters besides the usual ones, or in their place.
fn link(other: &[(&str, &str)]) -> String {
    let challenge = pkce::challenge_of(VERIFIER);
    let usual = [
        ("client_id", "app"),
        ("redirect_uri", APP),
        ("response_type", "code"),
        ("scope", "read openid"),
        ("state", "x & y"),
        ("nonce", "n-0"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let kept = usual.iter().filter(|(name, _)| !other.iter().any(|(own, _)| own == name)).copied();
    let all: Vec<_> = kept.chain(other.iter().copied()).collect();
    format!("/oauth/authorize?{}", form(&all))
}

const ALLOW: (&str, &str) = ("decision", "allow");
const DENY: (&str, &str) = ("decision", "deny");

impl House {
    async fn decide(&self, browser: &mut Browser, page: &Seen, decision: (&str, &str)) -> Seen {
        self.post(browser, "/oauth/consent", &[("ticket", &page.ticket("/oauth/consent")), decision]).await
    }
}

#[tokio::test]
async fn a_user_signs_in_says_yes_and_the_app_gets_a_code() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    page.asks();
    for text in ["The App", "sam@example.com", "See every record that you can see", "Know who you are", "app.example"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert_eq!(
        page.headers["content-security-policy"],
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' \
         https://erp.example https://app.example"
    );
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert!(!page.body.contains("<script") && !page.body.contains(" style="), "{}", page.body);

    let seen = house.decide(&mut browser, &page, ALLOW).await;
    let code = house.code_of(&seen).await;
    assert_eq!([seen.parameter("state"), seen.parameter("iss")], [Some("x & y".to_owned()), Some(GATE.to_owned())]);
    assert_eq!((&*code.client, &*code.user, code.scopes.as_str()), ("app", "sam@example.com", "read openid"));
    assert_eq!((code.redirect_uri.as_deref(), code.nonce.as_deref()), (Some(APP), Some("n-0")));
    assert!(pkce::verifies(code.challenge.as_deref().unwrap(), VERIFIER));
    assert_eq!((code.iat, code.exp), (house.now(), house.now().plus(CODE_LIFETIME)));
    assert_eq!((seen.note.client.as_deref(), seen.note.user.as_deref()), (Some("app"), Some("sam@example.com")));

    let grants = house.grants("sam@example.com").await;
    assert_eq!((grants.len(), &*grants[0].id, grants[0].scopes.as_str()), (1, &*code.grant, "read openid"));
    assert!(grants[0].id.len() == 20 && grants[0].profile.email.as_deref() == Some("sam@example.com"));
    assert_eq!(house.store().members(SITE, Set::GrantsOfClient, "app").await.unwrap(), [grants[0].id.to_string()]);
    assert!(house.site_tokens(&grants[0].id).await.is_none(), "nothing of the site is kept that nobody needs");

    // The second time nobody is asked, and the grant is the same.
    let again = house.code_of(&house.get(&mut browser, &link(&[("scope", "read")])).await).await;
    assert_eq!((again.grant, again.scopes.as_str()), (code.grant, "read"));
}

#[tokio::test]
async fn frappes_paths_and_a_form_do_the_same() {
    let house = House::new(false).await;
    for path in ["authorize", "approve"] {
        let mut browser = house.browser("sam@example.com").await;
        let url = link(&[]).replace("/oauth/authorize", &format!("/api/method/frappe.integrations.oauth2.{path}"));
        house.sign_in(&mut browser, &url).await.asks();
        let (_, query) = url.split_once('?').unwrap();
        let posted = house.send(&mut browser, Method::POST, "/oauth/authorize", Some(query.to_owned()), &[]).await;
        posted.asks();
        let both = house.send(&mut browser, Method::POST, &url, Some(query.to_owned()), &[]).await;
        both.refuses(400, "invalid_request");
    }
}

#[tokio::test]
async fn more_scopes_are_asked_for_and_added() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[("scope", "read:lead")])).await;
    let first = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    let page = house.get(&mut browser, &link(&[("scope", "write:lead crm")])).await;
    page.asks();
    assert!(page.body.contains("Work with &#60;your&#62; customers"), "{}", page.body);
    let second = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    assert_eq!((&second.grant, second.scopes.as_str()), (&first.grant, "write:lead crm"));
    assert_eq!(house.grants("sam@example.com").await[0].scopes.as_str(), "read:lead write:lead", "crm is covered");
}

#[tokio::test]
async fn a_no_is_told_and_leaves_nothing() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    house.decide(&mut browser, &page, DENY).await.refused_at_app("access_denied");
    assert!(house.grants("sam@example.com").await.is_empty());
    for decision in [("decision", "Allow"), ("decision", ""), ("other", "allow")] {
        house.decide(&mut browser, &page, decision).await.refuses(400, "form_invalid");
    }
    let twice = [("ticket", page.ticket("/oauth/consent").leak() as &str), ALLOW, DENY];
    house.post(&mut browser, "/oauth/consent", &twice).await.refuses(400, "invalid_request");
    assert!(house.grants("sam@example.com").await.is_empty());
}

#[tokio::test]
async fn a_request_with_no_client_leads_nowhere() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let rows = [
        (link(&[("client_id", "nobody")]), "client_unknown"),
        (link(&[("client_id", "")]), "client_missing"),
        (link(&[]) + "&client_id=app", "client_missing"),
        (link(&[("client_id", "https://evil.example/app")]), "client_unknown"),
        (link(&[("redirect_uri", "https://evil.example/cb")]), "redirect_mismatch"),
        (link(&[("redirect_uri", "https://app.example/cb?x")]), "redirect_mismatch"),
        (link(&[("redirect_uri", "")]), "redirect_missing"),
        (link(&[]) + "&redirect_uri=x", "redirect_missing"),
        ("/oauth/authorize".to_owned(), "client_missing"),
    ];
    for (url, code) in rows {
        let seen = house.get(&mut browser, &url).await;
        seen.refuses(400, code);
        assert!(!seen.body.contains("evil"), "nothing that was sent is shown: {}", seen.body);
    }
    house.change(Client { enabled: false, ..house.app("app", "The App", true) }).await;
    house.get(&mut browser, &link(&[])).await.refuses(400, "client_unknown");
}

#[tokio::test]
async fn every_other_error_goes_back_to_the_app() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    for (field, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "invalid_request"),
        (("scope", "read:"), "invalid_scope"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("prompt", "none login"), "invalid_request"),
        (("resource", "https://other.example"), "invalid_target"),
        (("request", "x"), "request_not_supported"),
        (("max_age", "soon"), "invalid_request"),
    ] {
        house.get(&mut browser, &link(&[field])).await.refused_at_app(error);
    }
    // What a cookie cannot hold is refused before the user has to sign in.
    let long = "l".repeat(2000);
    let seen = house.get(&mut browser, &link(&[("nonce", &long), ("scope", &["read ", &"openid ".repeat(280)].concat())])).await;
    seen.refused_at_app("invalid_request");
}

#[tokio::test]
async fn prompt_decides_what_the_user_sees() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    house.get(&mut browser, &link(&[("prompt", "none")])).await.refused_at_app("login_required");
    let page = house.sign_in(&mut browser, &link(&[("prompt", "login")])).await;
    page.asks();
    house.get(&mut browser, &link(&[("prompt", "none")])).await.refused_at_app("consent_required");
    house.decide(&mut browser, &page, ALLOW).await;
    house.code_of(&house.get(&mut browser, &link(&[("prompt", "none")])).await).await;
    house.get(&mut browser, &link(&[("prompt", "consent")])).await.asks();
    house.sign_in(&mut browser, &link(&[("prompt", "login consent")])).await.asks();
    house.code_of(&house.sign_in(&mut browser, &link(&[("prompt", "login")])).await).await;
    house.pass(30);
    house.code_of(&house.get(&mut browser, &link(&[("max_age", "30")])).await).await;
    let renewed = house.code_of(&house.sign_in(&mut browser, &link(&[("max_age", "29")])).await).await;
    assert_eq!(renewed.auth_time, house.now());
    house.code_of(&house.sign_in(&mut browser, &link(&[("prompt", "login"), ("max_age", "0")])).await).await;
    house.pass(session::SESSION_LIFETIME);
    house.get(&mut browser, &link(&[("prompt", "none")])).await.refused_at_app("login_required");
}

#[tokio::test]
async fn an_app_that_anybody_can_play_is_asked_for_each_time() {
    let house = House::new(false).await;
    house.keep(house.app("native", "Native", false)).await;
    house.keep(Client { skip_consent: true, ..house.app("own", "Our own", true) }).await;
    let mut browser = house.browser("sam@example.com").await;
    let loopback = [("client_id", "native"), ("redirect_uri", "http://127.0.0.1:51004/cb")];
    let page = house.sign_in(&mut browser, &link(&loopback)).await;
    let seen = house.decide(&mut browser, &page, ALLOW).await;
    assert!(seen.to().starts_with("http://127.0.0.1:51004/cb?code="), "{}", seen.to());
    assert!(page.headers["content-security-policy"].to_str().unwrap().ends_with(" http://127.0.0.1:51004"));
    house.get(&mut browser, &link(&loopback)).await.asks();
    house.code_of(&house.get(&mut browser, &link(&[("client_id", "native")])).await).await;
    house.code_of(&house.get(&mut browser, &link(&[("client_id", "own")])).await).await;
}

#[tokio::test]
async fn a_state_is_worth_nothing_in_another_browser() {
    let house = House::new(false).await;
    let (mut attacker, mut victim) = (house.browser("lou@example.com").await, house.browser("sam@example.com").await);
    let seen = house.get(&mut attacker, &link(&[])).await;
    let callback = house.through_erp(&mut attacker, &seen).await;
    // The attacker would have the victim sign in as the attacker.
    house.get(&mut victim, &callback).await.refuses(400, "sign_in_unknown");
    let seen = house.get(&mut victim, &link(&[])).await;
    house.get(&mut victim, &callback).await.refuses(400, "sign_in_unknown");
    assert!(victim.gate.iter().all(|(name, _)| name.starts_with("__Host-sg-signin-")), "nobody is signed in");
    // A cookie under the name of another state is not believed.
    let own = house.through_erp(&mut victim, &seen).await;
    let stolen = attacker.gate[0].0.clone();
    let value = victim.gate[0].1.clone();
    let mut mixed = Browser { gate: vec![(stolen, value)], erp: Vec::new() };
    house.get(&mut mixed, &callback).await.refuses(400, "sign_in_unknown");
    assert_eq!(house.get(&mut victim, &own).await.reason, "signed_in");
}

#[tokio::test]
async fn a_callback_counts_once() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let seen = house.get(&mut browser, &link(&[])).await;
    let callback = house.through_erp(&mut browser, &seen).await;
    let before = Browser { gate: browser.gate.clone(), erp: Vec::new() };
    assert_eq!(house.get(&mut browser, &callback).await.reason, "signed_in");
    house.get(&mut browser, &callback).await.refuses(400, "sign_in_unknown");
    // Whoever has kept the cookie gets no further: Frappe's code is spent.
    let mut before = before;
    let seen = house.get(&mut before, &callback).await;
    seen.refuses(400, "sign_in_spent");
    assert!(seen.body.contains("href=\"/oauth/authorize?client_id=app"), "{}", seen.body);
    assert!(before.gate.is_empty(), "the cookie is gone");
}

#[tokio::test]
async fn a_sign_in_has_its_time() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let seen = house.get(&mut browser, &link(&[])).await;
    let callback = house.through_erp(&mut browser, &seen).await;
    house.pass(600);
    house.get(&mut browser, &callback).await.refuses(400, "sign_in_unknown");
}

#[tokio::test]
async fn a_callback_that_is_none_is_refused() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let seen = house.get(&mut browser, &link(&[])).await;
    let state = seen.parameter("state").unwrap();
    let cookies = browser.gate.clone();
    for (query, code) in [
        (String::new(), "sign_in_unknown"),
        ("code=x".to_owned(), "sign_in_unknown"),
        ("code=x&state=".to_owned(), "sign_in_unknown"),
        ("code=x&state=nosuch".to_owned(), "sign_in_unknown"),
        (format!("code=x&state={state}x"), "sign_in_unknown"),
        (format!("code=x&state={state}&state={state}"), "invalid_request"),
        (format!("code=x&state={}", "a".repeat(5000)), "sign_in_unknown"),
        (format!("state={state}"), "sign_in_spent"),
        (format!("code=forged&state={state}"), "sign_in_spent"),
    ] {
        browser.gate.clone_from(&cookies);
        house.get(&mut browser, &format!("/oauth/callback?{query}")).await.refuses(400, code);
        assert!(!browser.gate.iter().any(|(name, _)| name == "__Host-sg-session"), "{query}");
    }
}

#[tokio::test]
async fn frappes_no_is_the_users() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let seen = house.get(&mut browser, &link(&[])).await;
    let state = seen.parameter("state").unwrap();
    house.get(&mut browser, &format!("/oauth/callback?error=access_denied&state={state}")).await.refused_at_app("access_denied");
    // Without a state, as Frappe sends it.
    house.get(&mut browser, &link(&[])).await;
    house.get(&mut browser, "/oauth/callback?error=access_denied").await.refused_at_app("access_denied");
    assert!(browser.gate.is_empty());
    // Unless it is not clear which sign-in is meant.
    house.get(&mut browser, &link(&[])).await;
    house.get(&mut browser, &link(&[])).await;
    house.get(&mut browser, "/oauth/callback?error=access_denied").await.refuses(400, "sign_in_unknown");
    assert_eq!(browser.gate.len(), 2, "neither has ended");
}

#[tokio::test]
async fn a_browser_has_few_sign_ins_under_way() {
    let house = House::new(false).await;
    let mut browser = Browser::default();
    let mut states = Vec::new();
    for _ in 0..9 {
        house.pass(1);
        states.push(house.get(&mut browser, &link(&[])).await.parameter("state").unwrap());
        assert!(browser.gate.len() <= 4, "{:?}", browser.gate.len());
    }
    let names: Vec<_> = browser.gate.iter().map(|(name, _)| name.clone()).collect();
    let expected: Vec<_> =
        states[5..].iter().map(|state| format!("__Host-sg-signin-{}", &TokenHash::of(state.as_bytes()).to_string()[..8])).collect();
    assert_eq!(names, expected, "the latest");
    let long = "s".repeat(1500);
    for _ in 0..4 {
        house.get(&mut browser, &link(&[("state", &long)])).await;
        assert!(browser.gate.iter().map(|(_, value)| value.len()).sum::<usize>() <= 6 * 1024);
    }
    // Cookies that only look like ours are left alone.
    browser.gate.push(("__Host-sg-signin-zz; x".to_owned(), "y".to_owned()));
    assert_eq!(house.get(&mut browser, &link(&[])).await.status, 303);
}

#[tokio::test]
async fn the_site_may_be_away() {
    let mut house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let seen = house.get(&mut browser, &link(&[])).await;
    let callback = house.through_erp(&mut browser, &seen).await;
    let grants = house.get(&mut browser, "/oauth/grants").await;
    let second = house.through_erp(&mut browser, &grants).await;
    house.upstreams = upstreams("http://127.0.0.1:1");
    house.get(&mut browser, &callback).await.refused_at_app("temporarily_unavailable");
    let seen = house.get(&mut browser, &second).await;
    seen.refuses(503, "temporarily_unavailable");
    assert!(seen.body.contains("href=\"/oauth/grants\""));
}

#[tokio::test]
async fn a_sign_in_that_nobody_has_set_up_is_a_page() {
    let mut house = House::new(false).await;
    let mut browser = Browser::default();
    house.issuer.sign_in = None;
    for url in [&link(&[]), "/oauth/callback?code=x&state=y", "/oauth/grants"] {
        house.get(&mut browser, url).await.refuses(503, "sign_in_unconfigured");
    }
    for url in ["/oauth/consent", "/oauth/grants", "/oauth/signout"] {
        house.post(&mut browser, url, &[("ticket", "x"), ALLOW]).await.refuses(503, "sign_in_unconfigured");
    }
    house.get(&mut browser, "/oauth/consent").await.refuses(405, "method_not_allowed");
}

#[tokio::test]
async fn a_consent_of_another_session_is_asked_again_and_never_a_yes() {
    let house = House::new(false).await;
    let (mut sam, mut lou) = (house.browser("sam@example.com").await, house.browser("lou@example.com").await);
    let (page, other) = (house.sign_in(&mut sam, &link(&[])).await, house.sign_in(&mut lou, &link(&[])).await);
    let stale = |seen: &Seen| {
        assert_eq!((seen.status, seen.reason), (303, "consent_stale"));
        assert!(seen.to().starts_with(&format!("{GATE}/oauth/authorize?client_id=app&")), "{}", seen.to());
    };
    stale(&house.decide(&mut sam, &other, ALLOW).await);
    stale(&house.decide(&mut Browser::default(), &page, ALLOW).await);
    // Another sign-in in the same browser is another session.
    let again = house.sign_in(&mut sam, &link(&[("prompt", "login")])).await;
    stale(&house.decide(&mut sam, &page, ALLOW).await);
    house.pass(session::SESSION_LIFETIME);
    stale(&house.decide(&mut sam, &again, ALLOW).await);
    assert!(house.grants("sam@example.com").await.is_empty() && house.grants("lou@example.com").await.is_empty());
}

#[tokio::test]
async fn a_forged_ticket_is_none() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let ticket = page.ticket("/oauth/consent");
    let last = if ticket.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{last}", &ticket[..ticket.len() - 1]);
    let sign_out = page.ticket("/oauth/signout");
    for ticket in ["", "x", &changed, &ticket[1..], &format!("{ticket}AAAA"), &sign_out] {
        house.post(&mut browser, "/oauth/consent", &[("ticket", ticket), ALLOW]).await.refuses(400, "form_invalid");
        house.post(&mut browser, "/oauth/grants", &[("ticket", ticket)]).await.refuses(400, "form_invalid");
    }
    house.post(&mut browser, "/oauth/signout", &[("ticket", &ticket)]).await.refuses(400, "form_invalid");
    assert!(house.grants("sam@example.com").await.is_empty());
}

#[tokio::test]
async fn a_form_of_another_site_is_refused() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let fetch_site = HeaderName::from_static("sec-fetch-site");
    let rows: [&[(HeaderName, &str)]; 7] = [
        &[(ORIGIN, "https://evil.example")],
        &[(ORIGIN, "null")],
        &[(ORIGIN, "https://gate.example.evil.example")],
        &[(ORIGIN, "http://gate.example")],
        &[(ORIGIN, GATE), (ORIGIN, "https://evil.example")],
        &[(fetch_site.clone(), "cross-site")],
        &[(ORIGIN, GATE), (fetch_site.clone(), "same-site")],
    ];
    for headers in rows {
        for (path, action) in
            [("/oauth/consent", "/oauth/consent"), ("/oauth/signout", "/oauth/signout"), ("/oauth/grants", "/oauth/consent")]
        {
            let fields = form(&[("ticket", &page.ticket(action)), ALLOW]);
            house.send(&mut browser, Method::POST, path, Some(fields), headers).await.refuses(403, "form_foreign");
        }
    }
    let own = [(ORIGIN, GATE), (fetch_site, "same-origin")];
    let fields = form(&[("ticket", &page.ticket("/oauth/consent")), ALLOW]);
    house.code_of(&house.send(&mut browser, Method::POST, "/oauth/consent", Some(fields), &own).await).await;
}

#[tokio::test]
async fn a_client_that_is_switched_off_meanwhile_gets_nothing() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let seen = house.get(&mut browser, &link(&[("prompt", "login")])).await;
    let callback = house.through_erp(&mut browser, &seen).await;
    house.change(Client { enabled: false, ..house.app("app", "The App", true) }).await;
    house.decide(&mut browser, &page, ALLOW).await.refuses(400, "client_unknown");
    house.get(&mut browser, &callback).await.refuses(400, "client_unknown");
    // One that has lost the scope since is told so.
    let narrow = Client { scopes: Scopes::parse("openid").unwrap(), ..house.app("app", "The App", true) };
    house.change(narrow).await;
    house.decide(&mut browser, &page, ALLOW).await.refused_at_app("invalid_scope");
    assert!(house.grants("sam@example.com").await.is_empty());
}

#[tokio::test]
async fn a_yes_that_is_sent_twice_is_one_grant() {
    let house = House::new(true).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let first = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    let second = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    assert_eq!(first.grant, second.grant);
    assert_eq!(house.grants("sam@example.com").await.len(), 1);
}

#[tokio::test]
async fn each_grant_has_tokens_of_the_site_of_its_own() {
    let house = House::new(true).await;
    house.keep(house.app("second", "Second", true)).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let first = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    let tokens = house.site_tokens(&first.grant).await.unwrap();
    assert!(tokens.refresh_token.is_some() && house.site_takes(&tokens.access_token).await);
    // The same again needs no other tokens.
    house.code_of(&house.get(&mut browser, &link(&[])).await).await;
    // Another app does: the browser signs in anew.
    let url = link(&[("client_id", "second")]);
    assert!(house.get(&mut browser, &link(&[("client_id", "second"), ("prompt", "none")])).await.to().contains("error=consent_required"));
    let page = house.sign_in(&mut browser, &url).await;
    let second = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    let other = house.site_tokens(&second.grant).await.unwrap();
    assert_ne!(other.access_token, tokens.access_token);
    assert!(house.site_takes(&tokens.access_token).await, "the first has its own still");
    // A fresh sign-in brings the first grant fresh tokens.
    house.code_of(&house.sign_in(&mut browser, &link(&[("prompt", "login")])).await).await;
    assert_ne!(house.site_tokens(&first.grant).await.unwrap().access_token, tokens.access_token);
    // Tokens that no grant took end with the session.
    let page = house.sign_in(&mut browser, &link(&[("client_id", "second"), ("prompt", "login consent")])).await;
    let before = house.pocket.token_requests();
    house.post(&mut browser, "/oauth/signout", &[("ticket", &page.ticket("/oauth/signout"))]).await;
    assert_eq!(house.pocket.token_requests(), before);
    assert!(house.get(&mut browser, &link(&[])).await.reason == "sign_in");
}

#[tokio::test]
async fn an_operator_ends_sessions_and_grants() {
    let house = House::new(false).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let first = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    house.store().revoke(SITE, &[Subject::User("sam@example.com")], house.now()).await.unwrap();
    // The browser has to sign in again, and what comes then is newer than the revocation.
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let second = house.code_of(&house.decide(&mut browser, &page, ALLOW).await).await;
    assert_ne!(first.grant, second.grant);
    assert_eq!(second.iat, house.now().plus(1));
    grants::end(house.store(), SITE, &second.grant, End::Operator, house.now()).await.unwrap();
    house.get(&mut browser, &link(&[])).await.asks();
}

#[tokio::test]
async fn a_user_sees_and_withdraws_what_was_let_in() {
    let house = House::new(true).await;
    let (mut sam, mut lou) = (house.browser("sam@example.com").await, house.browser("lou@example.com").await);
    let page = house.sign_in(&mut sam, &link(&[])).await;
    let code = house.code_of(&house.decide(&mut sam, &page, ALLOW).await).await;
    let tokens = house.site_tokens(&code.grant).await.unwrap();
    let seen = house.get(&mut sam, "/oauth/grants").await;
    assert!(seen.status == 200 && seen.body.contains("The App") && seen.body.contains("See every record"), "{}", seen.body);
    let ticket = seen.ticket("/oauth/grants");

    // A link cannot claim what has not happened.
    let claimed = house.get(&mut sam, &format!("/oauth/grants?withdrawn={}", code.grant)).await;
    assert!(!claimed.body.contains("can no longer use"), "{}", claimed.body);

    // Nobody else can.
    let others = house.sign_in(&mut lou, "/oauth/grants").await;
    assert!(others.body.contains("No app has access"), "{}", others.body);
    assert_eq!(house.post(&mut lou, "/oauth/grants", &[("ticket", &ticket)]).await.reason, "form_stale");
    assert_eq!(house.post(&mut Browser::default(), "/oauth/grants", &[("ticket", &ticket)]).await.reason, "sign_in");
    assert!(house.grants("sam@example.com").await[0].ended.is_none());

    let seen = house.post(&mut sam, "/oauth/grants", &[("ticket", &ticket)]).await;
    assert_eq!((seen.to(), seen.reason), (format!("{GATE}/oauth/grants?withdrawn={}", code.grant), "withdrawn"));
    let seen = house.get(&mut sam, &seen.to()).await;
    assert!(
        seen.body.contains("<bdi>The App</bdi> can no longer use your account") && seen.body.contains("No app has access"),
        "{}",
        seen.body
    );
    let grant = house.grants("sam@example.com").await.remove(0);
    assert_eq!(grant.ended.unwrap().by, End::User);
    assert!(house.site_tokens(&code.grant).await.is_none() && !house.site_takes(&tokens.access_token).await);
    // Twice is once.
    assert_eq!(house.post(&mut sam, "/oauth/grants", &[("ticket", &ticket)]).await.reason, "withdrawn");
    // The app has to ask again; its tokens need another sign-in.
    house.sign_in(&mut sam, &link(&[])).await.asks();
}

#[tokio::test]
async fn not_you_ends_the_session_here() {
    let house = House::new(true).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[])).await;
    let seen = house.post(&mut browser, "/oauth/signout", &[("ticket", &page.ticket("/oauth/signout"))]).await;
    assert_eq!((seen.status, seen.reason), (200, "signed_out"));
    assert!(seen.body.contains("href=\"https://erp.example/?cmd=web_logout\" target=\"_blank\" rel=\"noopener noreferrer\""));
    assert!(seen.body.contains("href=\"/oauth/authorize?client_id=app&#38;"), "{}", seen.body);
    assert!(browser.gate.is_empty());
    assert_eq!(house.decide(&mut browser, &page, ALLOW).await.reason, "consent_stale");
    assert_eq!(house.get(&mut browser, &link(&[])).await.reason, "sign_in");
}

#[tokio::test]
async fn an_app_that_nobody_has_checked_says_so() {
    let mut house = House::new(false).await;
    let root = rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert.der().clone();
    let settings = outbound::Settings { extra_roots: vec![root], ..outbound::Settings::default() };
    house.issuer.documents = Some(Arc::new(Fetcher::new(settings).unwrap()));
    let url = "https://tool.example/client.json";
    // Fresh, so that nothing is fetched.
    let document = Some(Document { url: url.to_owned(), fresh_until: Timestamp::from_unix(u64::MAX) });
    let name = "<b>Bank</b> \u{202e}".to_owned();
    house.keep(Client { document, name, ..house.app(&documents::id_of(url), "", false) }).await;
    let mut browser = house.browser("sam@example.com").await;
    let page = house.sign_in(&mut browser, &link(&[("client_id", url), ("scope", "all")])).await;
    page.asks();
    for text in ["has checked this app", "tool.example", "<bdi>&#60;b&#62;Bank&#60;/b&#62;", "Full access"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
}

#[tokio::test]
async fn the_style_sheet_may_be_kept() {
    let house = House::new(false).await;
    let headers = HeaderMap::new();
    let mut call = Call {
        endpoint: Endpoint::Style,
        issuer: &house.issuer,
        shared: &house.shared,
        upstream: house.upstreams.site(0),
        method: &Method::GET,
        query: "",
        headers: &headers,
        body: Bytes::new(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: house.now(),
        note: Note::default(),
    };
    let answer = answer(&mut call).await.unwrap();
    assert_eq!(answer.headers[CONTENT_TYPE], "text/css; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "public, max-age=3600");
    let style = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"), "it asks nobody for anything");
}
