//! `[[site]]`: a Frappe site, where its servers are, and what it lets through.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::check::rpc::methods;
use crate::config::check::{header, oauth, sensitive, upstream};
use crate::config::checked::{Credential, NamedScope, Route, Secret, Site};
use crate::config::section::{Item, Section};
use crate::config::written::Origin;
use crate::oauth::origin;
use crate::oauth::origin::HOST_BYTES_MAX;
use crate::policy::scope::Scope;
use crate::upstream::{ServerUrl, Settings};

/// What a route may neither be, nor contain, nor lie below: what the policy or the gate itself answers, and what hands out the
/// database's password (FACTS R20).
const CLOSED: [&str; 5] = ["/api/", "/oauth/", "/.well-known/", "/backups/", "/private/backups/"];

/// A site, with the hosts as they were written, for telling which site has one already.
struct Read {
    site: Site,
    name: Origin,
    hosts: Vec<Item<Box<str>>>,
}

/// Every `[[site]]`; at least one. No name and no host stands twice.
pub fn sites(root: &Section<'_>, defaults: &Settings, scopes: &[NamedScope]) -> Vec<Site> {
    // A key that is there and wrong has been told of.
    let places = root.places();
    let sealed = places.has("store.encryption_key") || places.has("store.encryption_key_file");
    let read = root.sections("site", |section| site(section, defaults, scopes, sealed));
    if !root.has("site") {
        root.refuse("site", "missing, so there is nothing to guard; write [[site]] with name = \"erp.example.com\" and upstreams");
    }
    let mut names: HashMap<String, &str> = HashMap::new();
    let mut hosts: HashMap<&str, &str> = HashMap::new();
    for Read { site, name, hosts: of_site } in &read {
        if names.insert(site.name.to_ascii_lowercase(), &site.name).is_some() {
            root.refuse_at(name, "site.name", &format!("`{}` is there twice; give each site a name of its own", site.name));
        }
        for host in of_site {
            if let Some(other) = hosts.insert(&host.value, &site.name) {
                let problem = format!("`{}` belongs to site `{other}` already; a host leads to one site", host.value);
                root.refuse_at(&host.origin, "site.hosts", &problem);
            }
        }
    }
    read.into_iter().map(|read| read.site).collect()
}

fn site(section: &Section<'_>, defaults: &Settings, scopes: &[NamedScope], sealed: bool) -> Option<Read> {
    let name = section.text("name", site_name);
    let hosts = hosts(section, name.as_deref());
    let servers = servers(section);
    let settings = section.section("upstream", |upstream| upstream::settings(upstream, defaults));
    let oauth = oauth::oauth(section, &hosts, scopes, sealed);
    let credential = credential(section, &oauth);
    let frappe_site = section.text("frappe_site", site_name).or_else(|| hosts.first().map(|host| host.value.clone()));
    let upstream_ca = authorities(section, &servers);
    let cors_origins = values(section, "cors_origins", cors_origin);
    let allow_sensitive = values(section, "allow_sensitive", sensitive::name);
    let request_headers = values(section, "request_headers", header::extra);
    let keep_tracebacks = section.flag("keep_tracebacks", false);
    let routes = section.sections("route", |route| self::route(route, scopes));

    if !section.has("name") {
        section.refuse("name", "missing; write name = \"erp.example.com\", as in the directory `sites` of the bench");
    }
    for name in &allow_sensitive {
        section.warn("allow_sensitive", &format!("`{name}` is open to every token whose scope covers it"));
    }
    let site = Site {
        name: (&*name?).into(),
        hosts: hosts.iter().map(|host| host.value.clone()).collect(),
        servers,
        upstream: settings,
        credential: credential?,
        frappe_site: frappe_site?,
        upstream_ca,
        cors_origins,
        allow_sensitive,
        request_headers,
        keep_tracebacks,
        routes,
        oauth: oauth.settings,
    };
    Some(Read { site, name: section.origin_of("name"), hosts })
}

/// The hosts as written, or else the name of the site, if it is one.
fn hosts(section: &Section<'_>, name: Option<&str>) -> Vec<Item<Box<str>>> {
    let written = section.texts("hosts", host);
    if let Some(hosts) = written {
        if section.empty("hosts") {
            section.refuse("hosts", "is empty, so no request could reach the site; write hosts = [\"erp.example.com\"]");
        }
        return hosts;
    }
    match name.map(host) {
        Some(Ok(value)) => vec![Item { value, origin: section.origin_of("name") }],
        Some(Err(_)) => {
            section.refuse("hosts", "missing, and the site's name is no host; write hosts = [\"erp.example.com\"]");
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn servers(section: &Section<'_>) -> Vec<ServerUrl> {
    let items = section.texts("upstreams", upstream::server).unwrap_or_default();
    if !section.has("upstreams") {
        section.refuse("upstreams", "missing; write upstreams = [\"http://127.0.0.1:8000\"], where gunicorn listens");
    }
    let mut servers: Vec<ServerUrl> = Vec::new();
    for Item { value, origin } in items {
        if servers.contains(&value) {
            section.refuse_at(&origin, "upstreams", &format!("`{}:{}` is there twice; keep one", value.host, value.port));
        }
        servers.push(value);
    }
    if section.empty("upstreams") {
        section.refuse("upstreams", "is empty, so nothing answers for the site; write upstreams = [\"http://127.0.0.1:8000\"]");
    }
    servers
}

fn credential(section: &Section<'_>, oauth: &oauth::Read) -> Option<Credential> {
    let kind = section.text("credential", |text| match text {
        "api-key" | "forward" | "bearer" => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is not a credential; write \"api-key\", \"bearer\" for the user's own token with [site.oauth], or \"forward\" where \
             Frappe knows the clients' tokens"
        )),
    });
    let key = section.secret("api_key", "api_key_file");
    section.warn_if_written("api_key", "api_key_file");
    let (written, from_file) = (section.has("api_key"), section.has("api_key_file"));
    if let Some(kind @ ("forward" | "bearer")) = kind.as_deref()
        && (written || from_file)
    {
        let problem = format!("is \"{kind}\", so the API key is never sent; remove the key, or write credential = \"api-key\"");
        section.refuse("credential", &problem);
    }
    match (kind.as_deref(), key) {
        (Some("forward"), _) => {
            if oauth.written {
                section.refuse(
                    "credential",
                    "is \"forward\", but Frappe knows nothing of the tokens that [site.oauth] issues; write \"bearer\", which sends the \
                     user's own token of Frappe, or \"api-key\"",
                );
            }
            Some(Credential::Forward)
        }
        (Some("bearer"), _) => {
            if !oauth.signs_in {
                section.refuse(
                    "credential",
                    "is \"bearer\", so users must sign in at Frappe; write [site.oauth] with issuer, login_url, client_id and \
                     client_secret_file, or credential = \"api-key\"",
                );
            }
            Some(Credential::Bearer)
        }
        (_, Some(key)) if api_key(&key) => Some(Credential::ApiKey(key)),
        (_, Some(_)) => {
            let problem = "is not an API key of Frappe; write `key:secret`, both from User > Settings > API Access";
            section.refuse(if from_file { "api_key_file" } else { "api_key" }, problem);
            None
        }
        (_, None) if written || from_file => None,
        (_, None) => {
            section.refuse(
                "api_key_file",
                "missing, and credential = \"api-key\" needs it; name a file that holds `key:secret` of a Frappe user",
            );
            None
        }
    }
}

/// Whether it is `key:secret` and can stand in a header.
fn api_key(secret: &Secret) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    secret.reveal().split_once(':').is_some_and(|(key, secret)| part(key) && part(secret) && !secret.contains(':'))
}

fn authorities(section: &Section<'_>, servers: &[ServerUrl]) -> Vec<CertificateDer<'static>> {
    let read = certificates(section, "upstream_ca_file");
    if section.has("upstream_ca_file") && !servers.iter().any(|server| server.tls) {
        section.warn("upstream_ca_file", "has no effect, because no upstream is an https URL");
    }
    read
}

/// The certificates in the file that `key` names; none where it is not there.
pub fn certificates(section: &Section<'_>, key: &'static str) -> Vec<CertificateDer<'static>> {
    let Some(pem) = section.contents(key) else { return Vec::new() };
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if read.is_empty() {
        section.refuse(key, "holds no certificate in PEM; name a file with -----BEGIN CERTIFICATE-----");
    }
    read
}

fn route(section: &Section<'_>, scopes: &[NamedScope]) -> Option<Route> {
    let path = section.text("path", route_path);
    let methods = methods(section, &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]);
    let scope = section.text("scope", |text| route_scope(text, scopes));
    if !section.has("path") {
        section.refuse("path", "missing; write path = \"/files/\"");
    }
    if !section.has("scope") {
        section.refuse("scope", "missing; write scope = \"read\", what a token needs for this path");
    }
    Some(Route { path: path?.into(), methods: methods.unwrap_or_else(|| vec![Method::GET, Method::HEAD]), scope: scope? })
}

fn route_path(text: &str) -> Result<String, String> {
    let path = upstream::path(text)?;
    let below = |path: &str| format!("{}/", path.trim_end_matches('/')).to_ascii_lowercase();
    let clash =
        CLOSED.iter().find(|closed| below(&path).starts_with(**closed) || (path.ends_with('/') && closed.starts_with(&below(&path))));
    match clash {
        Some(&"/api/") => Err(format!("`{text}` reaches into `/api/`, which goes through the policy; open functions by [[rpc]] instead")),
        Some(closed) => Err(format!("`{text}` reaches into `{closed}`, which is never opened; write a narrower path, like \"/files/\"")),
        None => Ok(path),
    }
}

fn route_scope(text: &str, scopes: &[NamedScope]) -> Result<Scope, String> {
    let scope = Scope::parse(text).map_err(|error| error.to_string())?;
    match &scope {
        Scope::Named(name) if !scopes.iter().any(|named| named.name == *name) => {
            Err(format!("there is no scope `{name}`; write [scope.{name}], or a built-in one like \"read\""))
        }
        Scope::Identity(_) | Scope::RpcsBelow(_) => Err(format!("`{text}` opens no path; write a scope like \"read\"")),
        _ => Ok(scope),
    }
}

/// A list of which each value stands once.
pub fn values<T: PartialEq>(section: &Section<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let mut values = Vec::new();
    for item in section.texts(key, parse).unwrap_or_default() {
        if values.contains(&item.value) {
            section.refuse_at(&item.origin, key, "has a value twice; keep one");
        }
        values.push(item.value);
    }
    values
}

/// The name of a site, which is part of keys in the store and of a header.
fn site_name(text: &str) -> Result<Box<str>, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if plain && !text.is_empty() && text.len() <= HOST_BYTES_MAX && !text.starts_with('.') {
        return Ok(text.into());
    }
    Err(format!("`{text}` is not the name of a site; write letters, digits, `-`, `.` and `_`, like \"erp.example.com\""))
}

/// A host as a request names it, in lower case and without its port.
fn host(text: &str) -> Result<Box<str>, String> {
    let remedy = "write it like \"erp.example.com\"";
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| format!("`{text}` is not an IPv6 address in brackets; {remedy}"))?;
        return Ok(format!("[{address}]").into());
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("`{text}` is a URL; name the host only: {remedy}"));
    }
    if text.contains(':') {
        return Err(format!("`{text}` has a port; a host is matched whatever the port: {remedy}"));
    }
    if text.contains('*') {
        return Err(format!("`{text}` is a pattern; write every host by its name, like \"erp.example.com\""));
    }
    if origin::is_name(text) {
        return Ok(text.to_ascii_lowercase().into());
    }
    Err(format!("`{text}` is not a host; {remedy} (international names in their xn-- form)"))
}

/// An origin exactly as a browser sends it, since it is compared byte by byte.
fn cors_origin(text: &str) -> Result<Box<str>, String> {
    origin::check(text).map(|()| text.into())
}
