//! `scopegate demo`: the whole of it on one machine with nothing installed. Pocket ERP behind a gate with a certificate, a store, a client and
//! tokens of its own, in a directory that is gone when it ends.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::app::{App, Failure};
use crate::audit;
use crate::oauth::client::Client;
use crate::pocket::{self, Pocket};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, RECORD_VERSION, TOKEN_BYTES, TokenRecord};
use crate::store::Store;
use crate::telemetry;

const SITE: &str = "demo";
const CLIENT: &str = "demo-app";
const USER: &str = "demo@example.com";
/// What each token may do.
const SCOPES: [&str; 4] = ["read", "read write", "read write delete", "all"];
/// Seconds that the tokens live: a working day.
const TOKEN_SECONDS: u64 = 8 * 3600;

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// 0 picks a free one; so for the others.
    pub port: u16,
    pub http_port: u16,
    pub upstream_port: u16,
    /// One line for scripts instead of the guide.
    pub json: bool,
}

/// Runs until it is told to stop.
pub fn run(options: DemoOptions) -> Result<(), Failure> {
    let dir = Directory::create()?;
    let key = Secrets::new()?;
    let ca_file = dir.certificates()?;
    let erp = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.upstream_port))).map_err(|error| {
        Failure::failed(format!("pocket ERP cannot listen on port {}: {error}; pick another with --upstream-port", options.upstream_port))
    })?;
    erp.set_nonblocking(true).map_err(Failure::failed)?;
    let erp_address = erp.local_addr().map_err(Failure::failed)?;
    let (config, _) =
        crate::config::parse(&config_text(&dir.0, options, erp_address, &key), "demo", std::iter::empty()).map_err(Failure::config)?;
    telemetry::start_logging(config.log.level, false);
    let app = App::build(config, None).map_err(|failure| Failure {
        // The configuration that it blames is none that anybody can change.
        message: format!("{}\nother ports are taken by --port and --http-port; 0 picks a free one", failure.message),
        ..failure
    })?;
    let tokens = app.control.block_on(seed(&*app.running.store))?;
    let pocket = Arc::new(Pocket::sample().with_key(&key.key, &key.secret, USER));
    let stop = app.running.drain.clone();
    app.control.spawn(async move {
        match tokio::net::TcpListener::from_std(erp) {
            Ok(listener) => pocket::serve(listener, pocket, async move { stop.wait().await }).await,
            Err(error) => tracing::error!(%error, "pocket ERP is not served"),
        }
    });
    let addresses = app.addresses();
    let guide = Guide {
        base_url: format!("https://localhost:{}", port_of(&addresses, "https")),
        http_url: format!("http://localhost:{}", port_of(&addresses, "http")),
        ca_file,
        upstream_url: format!("http://{erp_address}"),
        metrics: addresses["metrics"].as_str().unwrap_or_default().to_owned(),
        tokens,
    };
    let text = if options.json { guide.line() } else { guide.text() };
    let mut out = std::io::stdout().lock();
    // A reader that went away is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    drop(out);
    app.run()
}

/// A directory of this process's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self, Failure> {
        let mut name = [0; 8];
        SystemRandom::new().fill(&mut name).map_err(|_| Failure::failed("the system gives no random bytes"))?;
        let path = std::env::temp_dir().join(format!("scopegate-demo-{}", HEXLOWER.encode(&name)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::failed(format!("cannot make the directory `{}`: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", path.display())))?;
        Ok(path)
    }

    /// A certificate authority of the demo's own, and a certificate for this machine that it signed. Its key is thrown away.
    fn certificates(&self) -> Result<PathBuf, Failure> {
        let failed = |error: rcgen::Error| Failure::failed(format!("no certificate: {error}"));
        let named = |name: &str, names: &[&str]| -> Result<CertificateParams, rcgen::Error> {
            let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            Ok(params)
        };
        let mut authority = named("scopegate demo authority", &[]).map_err(failed)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().map_err(failed)?;
        let authority_cert = authority.self_signed(&authority_key).map_err(failed)?;
        let issuer = Issuer::new(authority, authority_key);
        let mut leaf = named("scopegate demo", &["localhost", "127.0.0.1", "::1"]).map_err(failed)?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate().map_err(failed)?;
        let leaf_cert = leaf.signed_by(&leaf_key, &issuer).map_err(failed)?;
        self.write("server.pem", &leaf_cert.pem())?;
        self.write("server.key", &leaf_key.serialize_pem())?;
        self.write("ca.pem", &authority_cert.pem())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the demo's directory is left behind");
        }
    }
}

/// The API key with which the gate speaks to pocket ERP.
struct Secrets {
    key: String,
    secret: String,
}

impl Secrets {
    fn new() -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("the system gives no random bytes"))?;
        Ok(Self { key: HEXLOWER.encode(&bytes[..16]), secret: HEXLOWER.encode(&bytes[16..]) })
    }
}

fn config_text(dir: &Path, options: DemoOptions, erp: SocketAddr, key: &Secrets) -> String {
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
credential = "api-key"
api_key = "{api_key}:{api_secret}"
"#,
        port = options.port,
        http_port = options.http_port,
        cert = path("server.pem"),
        key_file = path("server.key"),
        store = path("store.redb"),
        audit = path("audit.log"),
        socket = path("admin.sock"),
        api_key = key.key,
        api_secret = key.secret,
    )
}

/// A client, and a token for each of [`SCOPES`], in their order.
async fn seed(store: &dyn Store) -> Result<Vec<AccessToken>, Failure> {
    let now = Timestamp::from_unix(audit::now().as_secs());
    let scopes = |text: &str| Scopes::parse(text).map_err(Failure::failed);
    let client = Client::new(CLIENT, "Demo app", scopes("all")?, now);
    store.create_client(SITE, &client).await.map_err(Failure::failed)?;
    let mut tokens = Vec::new();
    for text in SCOPES {
        let mut random = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| Failure::failed("the system gives no random bytes"))?;
        let token = AccessToken::from_random(random);
        let record = TokenRecord {
            v: RECORD_VERSION,
            client: CLIENT.into(),
            user: USER.into(),
            scopes: scopes(text)?,
            grant: None,
            iat: now,
            exp: now.plus(TOKEN_SECONDS),
        };
        store.put_token(SITE, &token.hash(), &record).await.map_err(Failure::failed)?;
        tokens.push(token);
    }
    Ok(tokens)
}

fn port_of(addresses: &serde_json::Value, entrance: &str) -> String {
    let address = addresses[entrance][0].as_str().unwrap_or_default();
    address.rsplit_once(':').map_or_else(String::new, |(_, port)| port.to_owned())
}

/// What is printed.
struct Guide {
    base_url: String,
    http_url: String,
    ca_file: PathBuf,
    upstream_url: String,
    metrics: String,
    tokens: Vec<AccessToken>,
}

impl Guide {
    fn line(&self) -> String {
        let tokens: serde_json::Map<String, serde_json::Value> =
            SCOPES.iter().zip(&self.tokens).map(|(scopes, token)| ((*scopes).to_owned(), token.reveal().into())).collect();
        let line = json!({
            "base_url": self.base_url,
            "http_url": self.http_url,
            "ca_file": self.ca_file,
            "upstream_url": self.upstream_url,
            "tokens": tokens,
        });
        format!("{line}\n")
    }

    fn text(&self) -> String {
        let [read, write, _, all] = [0, 1, 2, 3].map(|at| self.tokens.get(at).map_or("", AccessToken::reveal));
        let (base, ca) = (&self.base_url, self.ca_file.display());
        let curl = |token: &str, rest: &str| format!("curl -sS --cacert {ca} -H 'Authorization: Bearer {token}' {rest}");
        let steps = [
            (
                "Read: a `read` token lists what it may see.",
                curl(
                    read,
                    &format!("-G --data-urlencode 'fields=[\"name\",\"item_name\"]' -d limit_page_length=3 {base}/api/resource/Item"),
                ),
            ),
            (
                "Create: a `read write` token adds a Lead.",
                curl(
                    write,
                    &format!(
                        "-H 'Content-Type: application/json' -d '{{\"lead_name\":\"OAuth Lead\",\"email_id\":\"oauth@test.com\"}}' {base}/api/resource/Lead"
                    ),
                ),
            ),
            (
                "403: a `read` token may not delete. Frappe itself would let it.",
                curl(read, &format!("-i -X DELETE {base}/api/resource/Item/ITEM-0001")),
            ),
            ("401: nobody issued this token.", curl("not-a-token", &format!("-i {base}/api/resource/Item"))),
            (
                "The `cmd` trick: a list request that would delete. Refused, even to `all`.",
                curl(
                    all,
                    &format!(
                        "-i -G -d cmd=frappe.desk.reportview.delete_items -d doctype=Item --data-urlencode 'items=[\"ITEM-0001\"]' {base}/api/resource/Item"
                    ),
                ),
            ),
        ];
        let mut text = format!(
            "scopegate demo: {base} guards pocket ERP at {}\n\nTokens (8 hours):\n  read               {read}\n  read write         {write}\n  all                {all}\n",
            self.upstream_url
        );
        for (index, (what, command)) in steps.iter().enumerate() {
            text.push_str(&format!("\n{}. {what}\n   {command}\n", index + 1));
        }
        text.push_str(&format!(
            "\nMetrics: http://{}/metrics   Audit log: {}\nCtrl-C ends it and removes everything.\n",
            self.metrics,
            self.ca_file.with_file_name("audit.log").display()
        ));
        text
    }
}
