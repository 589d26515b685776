//! A gate that is the OAuth provider of pocket ERP, and the people and apps that use it: over HTTPS, with cookies, redirects and forms as a
//! browser has them, but without a browser.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use scopegate::oauth::pkce;
use scopegate::pocket::{self, Pocket};
use scopegate::policy::query::Pairs;
use scopegate::policy::refusal::Reason;
use serde_json::Value;
use tokio::sync::oneshot;

use super::gate::Gate;
use super::redis::Redis;
use super::setup::{SITE, Setup};
use super::wire::{Reply, Wire};

/// What the gate is at Frappe.
pub const GATE_CLIENT: &str = "gate-at-frappe";
pub const GATE_SECRET: &str = "gate-secret-at-frappe-0001";

/// A user of pocket ERP, and how it signs in.
pub const USER: &str = "demo@example.com";
pub const PASSWORD: &str = "demo";

pub const ISSUER: &str = "https://fake.test";

/// Where apps are sent back to.
pub const CALLBACK: &str = "https://app.example/callback";

pub const FRAPPE: &str = "/api/method/frappe.integrations.oauth2.";

/// Pocket ERP, served by a thread of the test.
pub struct Frappe {
    pub pocket: Arc<Pocket>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Frappe {
    pub fn start() -> Self {
        let pocket =
            Pocket::sample().with_oauth_client(GATE_CLIENT, GATE_SECRET, &[&format!("{ISSUER}/oauth/callback")], "all openid", true);
        Self::serving(pocket)
    }

    pub fn serving(pocket: Pocket) -> Self {
        let pocket = Arc::new(pocket);
        let served = Arc::clone(&pocket);
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket option");
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes it");
                pocket::serve(listener, served, async move { drop(stopped.await) }).await;
            });
        });
        Self { pocket, address, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Frappe {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A gate with an `[oauth]` section, on either store.
pub struct Provider {
    pub gate: Gate,
    pub frappe: Frappe,
}

/// A registered app.
#[derive(Clone, Debug)]
pub struct App {
    pub id: String,
    /// `None` for a public one.
    pub secret: Option<String>,
}

impl Provider {
    /// With its records in a Redis of its own, and the site's tokens kept with each grant.
    pub fn on_redis() -> Self {
        Self::with("")
    }

    /// The same on the embedded store.
    pub fn embedded() -> Self {
        let frappe = Frappe::start();
        let setup = Setup::embedded_at(&frappe.url());
        Self::begin(setup, frappe, "")
    }

    /// On Redis, with more keys for `[site.oauth]`.
    pub fn with(oauth: &str) -> Self {
        let frappe = Frappe::start();
        let setup = Setup::on(Redis::start(), &frappe.url());
        Self::begin(setup, frappe, oauth)
    }

    /// On Redis, with `config` laid over the whole.
    pub fn configured(config: &str) -> Self {
        let frappe = Frappe::start();
        let setup = Setup::on(Redis::start(), &frappe.url()).config(config);
        Self::begin(setup, frappe, "")
    }

    /// The same on each store.
    pub fn on_each(test: impl Fn(Self)) {
        test(Self::embedded());
        test(Self::on_redis());
    }

    pub fn begin(setup: Setup, frappe: Frappe, oauth: &str) -> Self {
        Self { gate: Self::setup(setup, &frappe, oauth).start(), frappe }
    }

    /// The config of such a gate.
    pub fn setup(setup: Setup, frappe: &Frappe, oauth: &str) -> Setup {
        let key = BASE64URL_NOPAD.encode(&[7; 24]).replace(['-', '_'], "a");
        let key: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        let setup = setup.bearing().config(&format!("[store]\nencryption_key = \"{key}\""));
        setup.site(&format!(
            "[oauth]\nissuer = \"{ISSUER}\"\nlogin_url = \"{}\"\nclient_id = \"{GATE_CLIENT}\"\nclient_secret = \"{GATE_SECRET}\"\n{oauth}",
            frappe.url()
        ))
    }

    /// Registers an app by the command line.
    pub fn app(&self, id: &str, scopes: &str, more: &[&str]) -> App {
        let common = ["client", "create", "--site", SITE, "--id", id, "--name", "Sales Dashboard", "--scopes", scopes, "--json"];
        let created = self.gate.cli_json(&[&common[..], more].concat());
        let secret = created["client_secret"].as_str().map(str::to_owned);
        if let Some(secret) = &secret {
            self.gate.keep_secret(secret);
        }
        App { id: id.to_owned(), secret }
    }

    /// An app with a secret that signs users in and comes back to [`CALLBACK`].
    pub fn confidential(&self, id: &str, scopes: &str) -> App {
        self.app(id, scopes, &["--redirect-uri", CALLBACK])
    }

    /// The same without a secret.
    pub fn public(&self, id: &str, scopes: &str) -> App {
        self.app(id, scopes, &["--redirect-uri", CALLBACK, "--public"])
    }

    /// Sends bytes to the gate, over HTTPS.
    pub fn exchange(&self, request: &str) -> Reply {
        Wire::tls(&self.gate).exchange(request)
    }

    pub fn get(&self, target: &str) -> Reply {
        self.exchange(&format!("GET {target} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"))
    }

    /// Posts a form, with more header lines (each ending in CRLF).
    pub fn post_with(&self, target: &str, headers: &str, form: &[(&str, &str)]) -> Reply {
        let body = encoded(form);
        self.exchange(&format!(
            "POST {target} HTTP/1.1\r\nHost: {SITE}\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    pub fn post(&self, target: &str, form: &[(&str, &str)]) -> Reply {
        self.post_with(target, "", form)
    }

    /// Posts to the token endpoint as `app`, its secret in the body as in Frappe's guide.
    pub fn token(&self, app: &App, form: &[(&str, &str)]) -> Reply {
        let mut whole = vec![("client_id", app.id.as_str())];
        whole.extend(app.secret.as_deref().map(|secret| ("client_secret", secret)));
        whole.extend_from_slice(form);
        self.post("/oauth/token", &whole)
    }

    /// An API request with a token.
    pub fn api(&self, method: &str, target: &str, token: &str, json: Option<&str>) -> Reply {
        let body = json.unwrap_or_default();
        let kind = if json.is_some() { "Content-Type: application/json\r\n" } else { "" };
        let length = if json.is_some() { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        self.exchange(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: Bearer {token}\r\n{kind}{length}Connection: close\r\n\r\n{body}"
        ))
    }

    /// Redeems a code with the usual redirect URI, and PKCE by [`VERIFIER`] where the app is public.
    pub fn redeem(&self, app: &App, code: &str) -> Reply {
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
        if app.secret.is_none() {
            form.push(("code_verifier", VERIFIER));
        }
        self.token(app, &form)
    }

    /// The whole flow of a new person: sign in, allow, redeem. Gives the answer of the token endpoint.
    pub fn tokens(&self, app: &App, scope: &str) -> Value {
        let mut person = Person::new(self);
        let code = person.allow(app, scope);
        let reply = self.redeem(app, &code);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let tokens = reply.json();
        for name in ["access_token", "refresh_token"] {
            if let Some(secret) = tokens[name].as_str() {
                self.gate.keep_secret(secret);
            }
        }
        tokens
    }
}

/// The PKCE verifier of public apps, and its challenge.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The target of an authorization request.
pub fn authorize(app: &App, scope: &str, more: &[(&str, &str)]) -> String {
    let challenge = pkce::challenge_of(VERIFIER);
    let mut parameters =
        vec![("response_type", "code"), ("client_id", app.id.as_str()), ("redirect_uri", CALLBACK), ("scope", scope), ("state", "xyz")];
    if app.secret.is_none() {
        parameters.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    parameters.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    // A value of nothing leaves the parameter out.
    parameters.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    format!("/oauth/authorize?{}", encoded(&parameters))
}

/// `Authorization: Basic`, as a header line.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{id}:{secret}").as_bytes()))
}

/// `application/x-www-form-urlencoded`.
pub fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(text, "{}{}={}", if index == 0 { "" } else { "&" }, escaped(name), escaped(value));
    }
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The value of a parameter in the query of a URL, decoded.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let pairs = Pairs::parse(query.as_bytes(), Reason::QueryInvalid).ok()?;
    pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// What a person's browser has come to: the last answer, and where it came from.
#[derive(Clone)]
pub struct Page {
    pub url: String,
    pub reply: Reply,
}

impl Page {
    pub fn location(&self) -> &str {
        self.reply.header("location").unwrap_or_else(|| panic!("no redirect: {} {}", self.reply.status, self.reply.text()))
    }

    /// The value of the hidden field `name` of the only form.
    pub fn field(&self, name: &str) -> String {
        self.field_of("", name)
    }

    /// The same of the first form that goes to `action`.
    pub fn field_of(&self, action: &str, name: &str) -> String {
        let text = self.reply.text();
        let to = |form: &&str| form.split('>').next().is_some_and(|tag| tag.contains(&format!("action=\"{action}")));
        let text = text.split("<form").skip(1).find(to).unwrap_or_else(|| panic!("no form to `{action}` in {text}"));
        let named = |tag: &str| tag.contains(&format!("name=\"{name}\"")) || tag.contains(&format!("name={name} "));
        let tag = text.split("<input").skip(1).find(|tag| tag.split('>').next().is_some_and(named));
        let value = tag.and_then(|tag| tag.split('>').next()?.split("value=\"").nth(1)?.split('"').next());
        let value = value.unwrap_or_else(|| panic!("no field `{name}` in {text}"));
        value.replace("&amp;", "&").replace("&#38;", "&").replace("&quot;", "\"").replace("&#34;", "\"").replace("&#x2f;", "/")
    }
}

/// What a person's browser finds: a gate, over TLS, and Frappe.
pub trait World {
    fn issuer(&self) -> &str;
    fn frappe_url(&self) -> String;
    fn gate(&self) -> Wire;
    /// Must not turn up in a log.
    fn keep_secret(&self, secret: &str);
}

impl World for Provider {
    fn issuer(&self) -> &str {
        ISSUER
    }

    fn frappe_url(&self) -> String {
        self.frappe.url()
    }

    fn gate(&self) -> Wire {
        Wire::tls(&self.gate)
    }

    fn keep_secret(&self, secret: &str) {
        self.gate.keep_secret(secret);
    }
}

/// Somebody with a browser: a jar of cookies for each host.
pub struct Person<'p> {
    world: &'p dyn World,
    pub jars: BTreeMap<String, BTreeMap<String, String>>,
    /// Every answer, in order: the steps between two pages as well.
    pub seen: Vec<Page>,
}

impl<'p> Person<'p> {
    pub fn new(world: &'p dyn World) -> Self {
        Self { world, jars: BTreeMap::new(), seen: Vec::new() }
    }

    /// One request, without following where it leads.
    pub fn ask(&mut self, method: &str, url: &str, headers: &str, form: Option<&[(&str, &str)]>) -> Page {
        let (scheme, rest) = url.split_once("://").unwrap_or_else(|| panic!("`{url}` is not absolute"));
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let jar = self.jars.entry(authority.to_owned()).or_default();
        let cookies = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let cookies = if cookies.is_empty() { cookies } else { format!("Cookie: {cookies}\r\n") };
        let body = form.map(encoded);
        let kind = body
            .as_ref()
            .map_or(String::new(), |body| format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len()));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/html\r\n{cookies}{headers}{kind}Connection: close\r\n\r\n{}",
            body.unwrap_or_default()
        );
        let mut wire = match scheme {
            "https" => self.world.gate(),
            _ => Wire::plain_to(authority.parse().expect("Frappe is at an address")),
        };
        let reply = wire.exchange(request);
        for cookie in reply.all("set-cookie") {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            if value.is_empty() || attributes.to_ascii_lowercase().contains("max-age=0") {
                jar.remove(name.trim());
            } else {
                jar.insert(name.trim().to_owned(), value.to_owned());
            }
        }
        let page = Page { url: url.to_owned(), reply };
        self.seen.push(page.clone());
        page
    }

    pub fn get(&mut self, url: &str) -> Page {
        self.ask("GET", url, "", None)
    }

    /// A page of the gate's.
    pub fn open(&mut self, target: &str) -> Page {
        self.get(&format!("{}{target}", self.world.issuer()))
    }

    pub fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Page {
        self.ask("POST", url, &format!("Origin: {}\r\n", origin(url)), Some(form))
    }

    /// Goes where a page leads, as long as that is the gate or Frappe.
    pub fn follow(&mut self, mut page: Page) -> Page {
        for _ in 0..10 {
            let Some(location) = page.reply.header("location") else { return page };
            let next = if location.starts_with('/') { format!("{}{location}", origin(&page.url)) } else { location.to_owned() };
            if origin(&next) != self.world.issuer() && origin(&next) != self.world.frappe_url() {
                return page;
            }
            page = self.get(&next);
        }
        panic!("round and round: {}", page.url);
    }

    /// Follows to Frappe's sign-in page and signs in there; comes back to what the gate shows then.
    pub fn sign_in(&mut self, page: Page) -> Page {
        self.sign_in_as(page, USER, PASSWORD)
    }

    pub fn sign_in_as(&mut self, page: Page, user: &str, password: &str) -> Page {
        let page = self.follow(page);
        if !page.url.contains("/login") {
            return page;
        }
        let target = page.field("redirect-to");
        let url = format!("{}/login", self.world.frappe_url());
        let page = self.post(&url, &[("usr", user), ("pwd", password), ("redirect-to", &target)]);
        self.follow(page)
    }

    /// Opens an authorization request and signs in if that is asked for: the consent page, or where the browser is sent.
    pub fn begin(&mut self, target: &str) -> Page {
        let page = self.open(target);
        self.sign_in(page)
    }

    /// Answers the consent page.
    pub fn answer(&mut self, consent: &Page, decision: &str) -> Page {
        assert_eq!(consent.reply.status, 200, "{}", consent.reply.text());
        let ticket = consent.field_of("/oauth/consent", "ticket");
        self.post(&format!("{}/oauth/consent", self.world.issuer()), &[("ticket", &ticket), ("decision", decision)])
    }

    /// Signs in, says yes, and gives the code that the app gets.
    pub fn allow(&mut self, app: &App, scope: &str) -> String {
        self.allow_with(&authorize(app, scope, &[]))
    }

    /// The same for any authorization request. Who has said yes to as much before may not be asked again.
    pub fn allow_with(&mut self, target: &str) -> String {
        let page = self.begin(target);
        let page = if page.reply.header("location").is_some() { page } else { self.answer(&page, "allow") };
        let location = page.location();
        assert!(location.starts_with(CALLBACK), "{location}");
        let code = parameter(location, "code").unwrap_or_else(|| panic!("no code in {location}"));
        self.world.keep_secret(&code);
        code
    }
}

/// The status and the error of a JSON answer.
pub fn error(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// What a page says is wrong, which sends the browser nowhere.
pub fn reason(reply: &Reply) -> String {
    let html = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    assert!(html && reply.header("location").is_none() && reply.status >= 400, "no page: {reply:?} {}", reply.text());
    let text = reply.text();
    text.split("<code>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_else(|| panic!("no reason in {text}")).to_owned()
}

/// What a redirect tells the app at [`CALLBACK`], each parameter once.
pub fn told(reply: &Reply) -> BTreeMap<String, String> {
    told_at(CALLBACK, reply)
}

/// The same of an app somewhere else.
pub fn told_at(uri: &str, reply: &Reply) -> BTreeMap<String, String> {
    let location = reply.header("location").unwrap_or_else(|| panic!("no redirect: {} {}", reply.status, reply.text()));
    let query = location.strip_prefix(uri).and_then(|rest| rest.strip_prefix(['?', '&'])).unwrap_or_else(|| panic!("{location}"));
    let pairs = Pairs::parse(query.as_bytes(), Reason::QueryInvalid).unwrap_or_else(|_| panic!("{location}"));
    let mut told = BTreeMap::new();
    for (name, value) in pairs.iter() {
        assert!(told.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is there twice: {location}");
    }
    told
}

fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_else(|| panic!("`{url}` is not absolute"));
    format!("{scheme}://{}", &rest[..rest.find(['/', '?']).unwrap_or(rest.len())])
}
