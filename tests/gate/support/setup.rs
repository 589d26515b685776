//! The config of a gate under test: everything on a free port, in a directory of its own, and what one test wants changed.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use toml::{Table, Value};

use super::certificate::Certificate;
use super::gate::Gate;
use super::redis::Redis;
use super::upstream::Upstream;

/// The site of the recordings: requests go out with the `Host` they were recorded with.
pub const SITE: &str = "fake.test";

/// What the gate presents to the upstream. It must appear there, and nowhere else.
pub const API_KEY: &str = "upstreamkey0001:upstreamsecret01";

pub struct Setup {
    pub dir: TempDir,
    pub certificate: Certificate,
    pub redis: Option<Redis>,
    /// How many files the gate may open, sockets among them; `None` for as many as the test itself.
    pub descriptors: Option<u32>,
    config: Table,
}

impl Setup {
    /// One site before `upstream`, tokens in a Redis of its own, every limit off.
    pub fn new(upstream: &Upstream) -> Self {
        Self::on(Redis::start(), &upstream.url())
    }

    pub fn on(redis: Redis, upstream: &str) -> Self {
        let mut setup = Self::redis_at(&redis.url(), upstream);
        setup.redis = Some(redis);
        setup
    }

    /// The same on a Redis that is somewhere else, or nowhere.
    pub fn redis_at(url: &str, upstream: &str) -> Self {
        Self::behind(&format!("kind = \"redis\"\nurl = \"{url}\""), upstream)
    }

    /// The same on a store that `section` describes, a `[store]` section without its heading.
    pub fn behind(section: &str, upstream: &str) -> Self {
        let mut setup = Self::bare(upstream);
        setup.merge(&format!("[store]\n{section}\nlookup_timeout = \"500ms\"\nrevocation_bound = \"1s\""));
        setup
    }

    /// The same on the embedded store.
    pub fn embedded(upstream: &Upstream) -> Self {
        Self::embedded_at(&upstream.url())
    }

    pub fn embedded_at(upstream: &str) -> Self {
        let mut setup = Self::bare(upstream);
        let path = setup.dir.path().join("store.redb");
        setup.merge(&format!("[store]\nkind = \"embedded\"\npath = {}", quoted(&path)));
        setup
    }

    fn bare(upstream: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let certificate = Certificate::write(dir.path(), "edge", &[SITE, "localhost"]);
        let at = |name: &str| quoted(&dir.path().join(name));
        let config = format!(
            r#"
            [listen]
            https = ["127.0.0.1:0"]
            http = ["127.0.0.1:0"]
            workers = 1
            [[tls.certificate]]
            cert_file = {cert}
            key_file = {key}
            [rate]
            client = "off"
            address = "off"
            failed_authentications = "off"
            [audit]
            output = "file"
            file = {audit}
            [metrics]
            listen = "127.0.0.1:0"
            [admin]
            socket = {admin}
            [log]
            level = "trace"
            [upstream]
            connect_timeout = "5s"
            check_interval = "off"
            [[site]]
            name = "{SITE}"
            hosts = ["{SITE}"]
            upstreams = ["{upstream}"]
            credential = "api-key"
            api_key = "{API_KEY}"
            "#,
            cert = quoted(&certificate.cert_file),
            key = quoted(&certificate.key_file),
            audit = at("audit.log"),
            admin = at("admin.sock"),
        );
        Self { dir, certificate, redis: None, descriptors: None, config: config.parse().expect("the test's config is TOML") }
    }

    /// Lays `text` over the config: tables are merged, everything else is replaced.
    pub fn config(mut self, text: &str) -> Self {
        self.merge(text);
        self
    }

    /// `[audit]`, with all its keys.
    pub fn audit(mut self, text: &str) -> Self {
        self.config.remove("audit");
        self.merge(&format!("[audit]\n{text}"));
        self
    }

    /// Lays `text` over the one site.
    pub fn site(mut self, text: &str) -> Self {
        let over: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
        let sites = self.config.get_mut("site").and_then(Value::as_array_mut).expect("the config has a site");
        merge(sites[0].as_table_mut().expect("a site is a table"), over);
        self
    }

    /// A second site, with all its keys.
    pub fn another_site(mut self, text: &str) -> Self {
        let site: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
        self.config.get_mut("site").and_then(Value::as_array_mut).expect("the config has a site").push(Value::Table(site));
        self
    }

    /// Another site like the first, with `text` over it.
    pub fn beside(mut self, text: &str) -> Self {
        let over: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
        let sites = self.config.get_mut("site").and_then(Value::as_array_mut).expect("the config has a site");
        let mut other = sites[0].clone();
        merge(other.as_table_mut().expect("a site is a table"), over);
        sites.push(other);
        self
    }

    /// The site passes the client's own token on.
    pub fn forwarding(self) -> Self {
        let mut setup = self.site("credential = \"forward\"");
        let sites = setup.config.get_mut("site").and_then(Value::as_array_mut).expect("the config has a site");
        sites[0].as_table_mut().expect("a site is a table").remove("api_key");
        setup
    }

    /// The site is shown the token that it gave the gate for the user.
    pub fn bearing(self) -> Self {
        let mut setup = self.site("credential = \"bearer\"");
        let sites = setup.config.get_mut("site").and_then(Value::as_array_mut).expect("the config has a site");
        sites[0].as_table_mut().expect("a site is a table").remove("api_key");
        setup
    }

    fn merge(&mut self, text: &str) {
        let over: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
        merge(&mut self.config, over);
    }

    pub fn audit_file(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// Writes the config down and says where.
    pub fn write(&self) -> PathBuf {
        let path = self.dir.path().join("scopegate.toml");
        fs::write(&path, self.config.to_string()).expect("the directory is ours");
        path
    }

    /// The gate may open this many files.
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    pub fn start(self) -> Gate {
        Gate::start(self)
    }
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    Value::String(path.to_str().expect("the path is UTF-8").to_owned()).to_string()
}
