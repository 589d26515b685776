//! `[site.oauth]`: the gate as the OAuth provider of a site, and how its users sign in.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::check::site::{certificates, values};
use crate::config::checked::{NamedScope, OAuth, Registration, Secret, SignIn};
use crate::config::section::{Item, Section};
use crate::oauth::origin;
use crate::policy::scope::{Scope, Scopes};
use crate::policy::token::is_token68;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const ACCESS_TOKEN_LIFETIME: RangeInclusive<Duration> = Duration::from_secs(60)..=DAY;
const REFRESH_TOKEN_LIFETIME: RangeInclusive<Duration> = HOUR..=Duration::from_secs(365 * 86_400);

/// What Frappe is asked for: `all`, because what a token may do is decided here, and who signed in.
const SIGN_IN_SCOPE: &str = "all openid";

/// What a client gets at most that nobody looked at, unless the operator says otherwise.
const REGISTRATION_SCOPES: &str = "read";

/// The shortest initial access token, in characters: it is all that stands between the internet and a registration.
const REGISTRATION_TOKEN_MIN: usize = 32;

/// The longest client id and scope at Frappe, in characters: its own for the name of a document.
const CLIENT_ID_MAX: usize = 140;
const SIGN_IN_SCOPE_MAX: usize = 140;

/// What became of the section.
pub struct Read {
    /// Whether it is there at all.
    pub written: bool,
    /// Whether it says how users sign in, well or not.
    pub signs_in: bool,
    /// `None` where it is not there, or not right.
    pub settings: Option<OAuth>,
}

/// The section of `site`, which has these hosts. `sealed` says whether there is a key to seal with.
pub fn oauth(site: &Section<'_>, hosts: &[Item<Box<str>>], scopes: &[NamedScope], sealed: bool) -> Read {
    let written = site.has("oauth");
    site.section("oauth", |section| {
        if written && !section.has("issuer") {
            let host = hosts.first().map_or("erp.example.com", |host| &host.value);
            section.refuse("issuer", &format!("missing; write issuer = \"https://{host}\", where apps and browsers reach the gate"));
        }
        Read { written, signs_in: section.has("login_url"), settings: settings(section, hosts, scopes, sealed) }
    })
}

fn settings(section: &Section<'_>, hosts: &[Item<Box<str>>], scopes: &[NamedScope], sealed: bool) -> Option<OAuth> {
    let issuer = section.text("issuer", |text| issuer(text, hosts));
    let sign_in = sign_in(section, issuer.as_deref(), hosts, sealed);
    let pkce_for_all = section.text("require_pkce", |text| match text {
        "public" => Ok(false),
        "all" => Ok(true),
        _ => Err(format!("`{text}` is nobody; write \"public\" for clients without a secret, or \"all\"")),
    });
    let access_token_lifetime = section.time("access_token_lifetime", HOUR, &ACCESS_TOKEN_LIFETIME);
    let refresh_token_lifetime = section.time("refresh_token_lifetime", 30 * DAY, &REFRESH_TOKEN_LIFETIME);
    if refresh_token_lifetime < access_token_lifetime {
        section.refuse("refresh_token_lifetime", "is shorter than `access_token_lifetime`, so it would be of no use; write \"30d\"");
    }
    let registration = registration(section);
    let default_scopes = || Scopes::parse(REGISTRATION_SCOPES).expect("a built-in scope");
    let registration_scopes = section.text("registration_scopes", |text| granted(text, scopes)).unwrap_or_else(default_scopes);
    let client_documents = section.flag("client_documents", false);
    let client_document_networks = values(section, "client_document_networks", network);
    let client_document_ca = certificates(section, "client_document_ca_file");
    for key in ["client_document_networks", "client_document_ca_file"] {
        if section.has(key) && !section.empty(key) && !client_documents {
            section.warn(key, "has no effect, because no document is read; write client_documents = true, or remove it");
        }
    }
    Some(OAuth {
        issuer: issuer?,
        sign_in,
        pkce_for_all: pkce_for_all.unwrap_or(false),
        access_token_lifetime,
        refresh_token_lifetime,
        registration,
        registration_scopes,
        client_documents,
        client_document_networks,
        client_document_ca,
    })
}

/// The issuer is compared byte by byte by every client (RFC 8414 section 3.3), and every URL of the gate's own begins with it.
fn issuer(text: &str, hosts: &[Item<Box<str>>]) -> Result<Box<str>, String> {
    let example = hosts.first().map_or("erp.example.com", |host| &host.value);
    let remedy = format!("write it like \"https://{example}\"");
    if !text.starts_with("https://") || origin::check(text).is_err() {
        return Err(format!(
            "`{}` is not an https origin: `https://`, lower-case host, port unless it is 443, no path and no slash at its end; {remedy}",
            text.escape_debug()
        ));
    }
    if !hosts.iter().any(|host| *host.value == *origin::host(text)) {
        return Err(format!("`{text}` is none of the site's hosts, so no request for it would come here; {remedy}"));
    }
    Ok(text.into())
}

/// What the gate is to Frappe. Its three keys stand together or not at all.
fn sign_in(section: &Section<'_>, issuer: Option<&str>, hosts: &[Item<Box<str>>], sealed: bool) -> Option<SignIn> {
    let login_url = section.text("login_url", |text| login_url(text, issuer, hosts));
    let client_id = section.text("client_id", client_id);
    let secret = section.secret("client_secret", "client_secret_file");
    section.warn_if_written("client_secret", "client_secret_file");
    let scope = section.text("sign_in_scope", sign_in_scope);

    let has_secret = section.has("client_secret") || section.has("client_secret_file");
    let keys = [
        ("login_url", section.has("login_url"), "write login_url = \"https://frappe.example.com\", where browsers reach Frappe itself"),
        ("client_id", section.has("client_id"), "copy it from the OAuth Client that Frappe has for the gate"),
        ("client_secret_file", has_secret, "name a file with the secret of the OAuth Client that Frappe has for the gate"),
    ];
    if keys.iter().all(|(_, there, _)| !there) {
        if section.has("sign_in_scope") {
            section.warn("sign_in_scope", "has no effect, because nobody signs in; write login_url, client_id and client_secret_file");
        }
        return None;
    }
    for (key, _, remedy) in keys.iter().filter(|(_, there, _)| !there) {
        section.refuse(key, &format!("missing; login_url, client_id and client_secret_file stand together or not at all: {remedy}"));
    }
    if !sealed {
        section.refuse(
            "login_url",
            "needs a key that seals sign-ins, and there is none; run `openssl rand -hex 32 > /etc/scopegate/encryption-key` and name that \
             file by store.encryption_key_file",
        );
    }
    Some(SignIn { login_url: login_url?, client_id: client_id?, client_secret: secret?, scope: scope.unwrap_or(SIGN_IN_SCOPE.into()) })
}

fn login_url(text: &str, issuer: Option<&str>, hosts: &[Item<Box<str>>]) -> Result<Box<str>, String> {
    let remedy = "write it like \"https://frappe.example.com\"";
    if origin::check(text).is_err() {
        return Err(format!(
            "`{}` is not an origin: scheme, lower-case host, port unless it is the usual one, no path and no slash at its end; {remedy}",
            text.escape_debug()
        ));
    }
    if !text.starts_with("https://") && !origin::is_loopback(origin::host(text)) {
        return Err(format!("`{text}` would show passwords to the network; {remedy}"));
    }
    // Whichever host of the site it is: at the issuer's port the gate answers to all of them.
    let is_gate = |issuer: &str| hosts.iter().any(|host| issuer.replacen(origin::host(issuer), &host.value, 1) == text);
    if issuer.is_some_and(is_gate) {
        return Err(format!("`{text}` is the gate itself, and users sign in at Frappe; name the origin where browsers reach Frappe"));
    }
    Ok(text.into())
}

fn client_id(text: &str) -> Result<Box<str>, String> {
    if (1..=CLIENT_ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err(format!("`{}` is not the id of an OAuth client; copy it from the OAuth Client that Frappe has for the gate", text.escape_debug()))
}

/// RFC 6749 section 3.3, as one line that a browser carries.
fn sign_in_scope(text: &str) -> Result<Box<str>, String> {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if text.len() <= SIGN_IN_SCOPE_MAX && text.split(' ').all(word) {
        return Ok(text.into());
    }
    Err(format!("`{}` is no list of scopes; write \"{SIGN_IN_SCOPE}\"", text.escape_debug()))
}

fn registration(section: &Section<'_>) -> Registration {
    let kind = section.text("registration", |text| match text {
        "off" | "token" | "open" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a way to register; write \"off\", \"token\" or \"open\"")),
    });
    let token = section.secret("registration_token", "registration_token_file");
    section.warn_if_written("registration_token", "registration_token_file");
    let from_file = section.has("registration_token_file");
    let there = from_file || section.has("registration_token");
    if kind.is_none() && section.has("registration") {
        return Registration::Off;
    }
    match (kind.as_deref().unwrap_or("off"), token) {
        ("token", Some(token)) => {
            if !initial_access_token(&token) {
                let problem = format!(
                    "is shorter than {REGISTRATION_TOKEN_MIN} characters, or has some that a header cannot bear; make it with `openssl rand -hex 32`"
                );
                section.refuse(if from_file { "registration_token_file" } else { "registration_token" }, &problem);
            }
            Registration::Token(token)
        }
        ("token", None) => {
            if !there {
                section.refuse(
                    "registration_token_file",
                    "missing, and registration = \"token\" needs it; write one with `openssl rand -hex 32` into a file and name it here",
                );
            }
            Registration::Off
        }
        (other, _) => {
            if there {
                let key = if from_file { "registration_token_file" } else { "registration_token" };
                let problem =
                    format!("is never asked for, because `registration` is \"{other}\"; write registration = \"token\", or remove it");
                section.refuse(key, &problem);
            }
            if other == "open" { Registration::Open } else { Registration::Off }
        }
    }
}

/// The bearer shows it as a token (RFC 7591 section 3), and it is compared by its hash, so its randomness is all that it has.
fn initial_access_token(token: &Secret) -> bool {
    token.reveal().len() >= REGISTRATION_TOKEN_MIN && is_token68(token.reveal().as_bytes())
}

/// Scopes of which every name is explained.
fn granted(text: &str, scopes: &[NamedScope]) -> Result<Scopes, String> {
    let granted = Scopes::parse(text).map_err(|error| error.to_string())?;
    if granted.is_empty() {
        return Err(format!("is empty, so a client could do nothing; write \"{REGISTRATION_SCOPES}\""));
    }
    for scope in granted.narrow() {
        if let Scope::Named(name) = scope
            && !scopes.iter().any(|named| named.name == *name)
        {
            return Err(format!("there is no scope `{name}`; write [scope.{name}], or a built-in one like \"read\""));
        }
    }
    Ok(granted)
}

/// All of the internet would be no guard at all.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is neither an address nor a network; write it like \"10.0.0.5\" or \"10.0.0.0/24\""))?;
    if network.prefix_len() == 0 {
        return Err(format!("`{text}` is every address there is; name the network that the documents lie in, like \"10.0.0.0/24\""));
    }
    Ok(network.trunc())
}
