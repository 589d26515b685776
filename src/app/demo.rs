//! `scopegate demo`: the whole of it on one machine with nothing installed. Pocket ERP behind a gate that is its OAuth provider, with a
//! certificate, a store, a client and tokens of its own, in a directory that is gone when it ends; and the app that users let in.

mod callback;
mod directory;
mod guide;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use data_encoding::HEXLOWER;
use socket2::{Domain, Protocol, Socket, Type};

use crate::admin::message::{NewClient, NewToken, SecretText};
use crate::admin::operations::Admin;
use crate::app::demo::callback::Callback;
use crate::app::demo::directory::Directory;
use crate::app::demo::guide::{Guide, Tokens};
use crate::app::{App, Failure};
use crate::pocket::{self, Pocket};
use crate::store::seal::SealKey;
use crate::telemetry;

const SITE: &str = "demo";
const CLIENT: &str = "demo-app";
/// What the gate is at pocket ERP.
const GATE_CLIENT: &str = "scopegate";
/// Somebody whom [`Pocket::sample`] knows.
const USER: &str = "demo@example.com";
const PASSWORD: &str = "demo";
/// What each token may do that is there from the start.
const SCOPES: [&str; 4] = ["read", "read write", "read write delete", "all"];
/// Seconds that these live: a working day.
const TOKEN_SECONDS: u64 = 8 * 3600;

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// 0 picks a free one; so for the others.
    pub port: u16,
    pub http_port: u16,
    pub upstream_port: u16,
    pub app_port: u16,
    /// One line for scripts instead of the guide.
    pub json: bool,
}

/// Runs until it is told to stop.
pub fn run(options: DemoOptions) -> Result<(), Failure> {
    let dir = Directory::create()?;
    let secrets = Secrets::new()?;
    let ca_file = dir.certificates()?;
    let (erp, erp_address) = listen("pocket ERP", options.upstream_port, "--upstream-port")?;
    let (door, app_address) = listen("the demo app", options.app_port, "--app-port")?;
    let reserved = Reserved::port(options.port)?;
    let base_url = match reserved.port {
        443 => "https://localhost".to_owned(),
        port => format!("https://localhost:{port}"),
    };
    let text = config_text(dir.path(), &base_url, reserved.port, options.http_port, erp_address, &secrets);
    let (config, _) = crate::config::parse(&text, "demo", std::iter::empty()).map_err(Failure::config)?;
    telemetry::start_logging(config.log.level, false);
    let app = App::build(config, None).map_err(|failure| Failure {
        // The configuration that it blames is none that anybody can change.
        message: format!("{}\nother ports are taken by --port and --http-port; 0 picks a free one", failure.message),
        ..failure
    })?;
    drop(reserved);
    let redirect_uri = format!("http://{app_address}/callback");
    let (client_secret, tokens) = app.control.block_on(seed(&app.admin.1, &redirect_uri, &secrets))?;
    let pocket = Pocket::sample().with_key(&secrets.key, &secrets.secret, USER).with_password(USER, PASSWORD).with_oauth_client(
        GATE_CLIENT,
        &secrets.client_secret,
        &[&format!("{base_url}/oauth/callback")],
        "all openid",
        true,
    );
    let addresses = app.addresses();
    let guide = Guide {
        http_url: format!("http://localhost:{}", port_of(&addresses, "http")),
        base_url,
        ca_file,
        upstream_url: format!("http://{erp_address}"),
        metrics: addresses["metrics"].as_str().unwrap_or_default().to_owned(),
        redirect_uri,
        state: secrets.state,
        client_secret,
        tokens,
    };
    let (stop, pocket) = (app.running.drain.clone(), Arc::new(pocket));
    app.control.spawn(async move {
        match tokio::net::TcpListener::from_std(erp) {
            Ok(listener) => pocket::serve(listener, pocket, async move { stop.wait().await }).await,
            Err(error) => tracing::error!(%error, "pocket ERP is not served"),
        }
    });
    app.control.spawn(callback::serve(door, Callback::of(&guide)));
    let text = if options.json { guide.line() } else { guide.text() };
    let mut out = std::io::stdout().lock();
    // A reader that went away is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    drop(out);
    app.run()
}

fn listen(who: &str, port: u16, option: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .map_err(|error| Failure::failed(format!("{who} cannot listen on port {port}: {error}; pick another with {option}")))?;
    listener.set_nonblocking(true).map_err(Failure::failed)?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    Ok((listener, address))
}

/// A free port that the kernel gives to nobody else until the gate has it: the issuer names it, so it is known before the gate is built.
struct Reserved {
    port: u16,
    /// `None` where somebody has chosen the port.
    _socket: Option<Socket>,
}

impl Reserved {
    fn port(chosen: u16) -> Result<Self, Failure> {
        if chosen != 0 {
            return Ok(Self { port: chosen, _socket: None });
        }
        let reserve = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            // The gate's own socket has the same option, and two such may share a port of which at most one listens (socket(7)).
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            let port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
            std::io::Result::Ok(Self { port, _socket: Some(socket) })
        };
        reserve().map_err(|error| Failure::failed(format!("no port is free: {error}; choose one with --port")))
    }
}

/// What the gate and pocket ERP know of each other, and what nobody else may guess.
struct Secrets {
    /// The API key by which tokens act that no user signed in for.
    key: String,
    secret: String,
    /// The gate's, as an OAuth client of pocket ERP.
    client_secret: String,
    encryption_key: String,
    /// What the app tells its own sign-ins by.
    state: String,
}

impl Secrets {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            key: random::<16>()?,
            secret: random::<16>()?,
            client_secret: random::<16>()?,
            encryption_key: SealKey::generate().map_err(Failure::failed)?,
            state: random::<8>()?,
        })
    }
}

/// So many random bytes, hexadecimal.
fn random<const BYTES: usize>() -> Result<String, Failure> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("the system gives no random bytes"))?;
    Ok(HEXLOWER.encode(&bytes))
}

fn config_text(dir: &Path, base_url: &str, port: u16, http_port: u16, erp: SocketAddr, secrets: &Secrets) -> String {
    let path = |name: &str| toml::Value::from(dir.join(name).display().to_string());
    format!(
        r#"
[listen]
https = ["127.0.0.1:{port}"]
http = ["127.0.0.1:{http_port}"]

[[tls.certificate]]
cert_file = {cert}
key_file = {key_file}

[bounds]
drain_timeout = "5s"

[store]
kind = "embedded"
path = {store}
encryption_key = "{encryption_key}"

[audit]
output = "file"
file = {audit}

[metrics]
listen = "127.0.0.1:0"

[admin]
socket = {socket}

[log]
level = "warn"

[[site]]
name = "{SITE}"
hosts = ["localhost", "127.0.0.1"]
upstreams = ["http://{erp}"]
credential = "bearer"

[site.oauth]
issuer = "{base_url}"
login_url = "http://{erp}"
client_id = "{GATE_CLIENT}"
client_secret = "{client_secret}"
"#,
        cert = path("server.pem"),
        key_file = path("server.key"),
        store = path("store.redb"),
        encryption_key = secrets.encryption_key,
        audit = path("audit.log"),
        socket = path("admin.sock"),
        client_secret = secrets.client_secret,
    )
}

/// The demo app as a client, and a token for each of [`SCOPES`]: the secret of the one, and the others in their order.
async fn seed(admin: &Admin, redirect_uri: &str, secrets: &Secrets) -> Result<(SecretText, Tokens), Failure> {
    let unheard = || Failure::failed("a secret was made and not shown");
    let new = NewClient {
        name: "Demo app".to_owned(),
        client_id: Some(CLIENT.to_owned()),
        scopes: "all openid".to_owned(),
        redirect_uris: vec![redirect_uri.to_owned()],
        api_key: Some(SecretText::new(format!("{}:{}", secrets.key, secrets.secret))),
        ..NewClient::default()
    };
    let client = admin.create_client(SITE, new).await.map_err(|error| Failure::failed(error.message))?;
    let mut tokens = Tokens::new();
    for scope in SCOPES {
        let expires_in = Some(TOKEN_SECONDS);
        let new = NewToken { client_id: CLIENT.to_owned(), user: USER.to_owned(), scope: scope.to_owned(), expires_in, register: None };
        let issued = admin.issue_token(SITE, new).await.map_err(|error| Failure::failed(error.message))?;
        tokens.push((scope, issued.access_token.ok_or_else(unheard)?));
    }
    Ok((client.client_secret.ok_or_else(unheard)?, tokens))
}

fn port_of(addresses: &serde_json::Value, entrance: &str) -> String {
    let address = addresses[entrance][0].as_str().unwrap_or_default();
    address.rsplit_once(':').map_or_else(String::new, |(_, port)| port.to_owned())
}
