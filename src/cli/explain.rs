//! `explain`: what a request would do, which scopes allow it, and what is decided. Pure rules: nothing is sent, no store is asked.

mod explanation;

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::app::Failure;
use crate::cli::administer::Shown;
use crate::cli::explain::explanation::{Decision, Does, Explanation, Function, Sent, Told};
use crate::cli::{EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE, Explain, administer, input};
use crate::config::checked::{Config, Site};
use crate::config::quantity::MIB;
use crate::config::rules::{named_scopes, rules_of};
use crate::policy::catalogue::Catalogue;
use crate::policy::classify::{Body, Head, Rules};
use crate::policy::content_type::BodyKind;
use crate::policy::decision::{NamedScopes, sufficient};
use crate::policy::multipart::Scanner;
use crate::policy::path::{self, Route};
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::scope::{Scope, Scopes};

/// The largest body that is read here, in bytes.
const BODY_BYTES_MAX: u64 = 64 * MIB;

/// A JSON or form body, in bytes, where no config says.
const PARSED_BYTES_MAX: usize = 4 * MIB as usize;

pub fn run(asked: &Explain) -> Result<(), Failure> {
    let (host, target) = split_url(&asked.path);
    let world = World::of(asked, host)?;
    let body = asked.body.as_deref().map(|file| input::read(file, BODY_BYTES_MAX)).transpose()?;
    let content_type = body.as_deref().map(|bytes| asked.content_type.clone().unwrap_or_else(|| guessed_type(bytes).to_owned()));
    let scopes = asked.scope.as_deref().map(Scopes::parse).transpose();
    let scopes = scopes.map_err(|error| Failure { exit: EXIT_USAGE, message: error.0 })?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (as_sent(path), Some(as_sent(query))),
        None => (as_sent(target), None),
    };
    let request = Request {
        method: &asked.method,
        path: &path,
        query: query.as_deref(),
        content_type: content_type.as_deref(),
        body: body.as_deref(),
    };
    let explanation = world.explain(&request, scopes.as_ref());
    Shown::new(&explanation, |style| explanation.to_text(style)).print(asked.json)
}

/// The rules that are asked.
struct World {
    site: Option<String>,
    rules: Rules,
    named: NamedScopes,
    known_names: Vec<Box<str>>,
    parsed_bytes_max: usize,
}

struct Request<'r> {
    method: &'r str,
    path: &'r str,
    query: Option<&'r str>,
    content_type: Option<&'r str>,
    body: Option<&'r [u8]>,
}

impl World {
    /// Those of the config, or, where there is none in the usual place and none was asked for, those that are built in.
    fn of(asked: &Explain, host: Option<&str>) -> Result<Self, Failure> {
        let file = asked.config.path();
        if asked.config.named().is_none() && asked.site.is_none() && !file.exists() {
            return Ok(Self::builtin());
        }
        let (config, _) = asked.config.load()?;
        let site = site(&config, asked.site.as_deref(), host, file)?;
        let rules = rules_of(&config, site).map_err(|message| Failure { exit: EXIT_CONFIG, message })?;
        Ok(Self {
            site: Some(site.name.to_string()),
            rules,
            named: named_scopes(&config),
            known_names: config.scopes.iter().map(|scope| scope.name.clone()).collect(),
            parsed_bytes_max: config.body.body_bytes_max,
        })
    }

    fn builtin() -> Self {
        Self {
            site: None,
            rules: Rules { catalogue: Catalogue::builtin(), opened: Vec::new(), paths: Vec::new() },
            named: NamedScopes::default(),
            known_names: Vec::new(),
            parsed_bytes_max: PARSED_BYTES_MAX,
        }
    }

    fn explain(&self, request: &Request<'_>, scopes: Option<&Scopes>) -> Explanation {
        let target = request.query.map_or_else(|| request.path.to_owned(), |query| format!("{}?{query}", request.path));
        let mut explanation = Explanation {
            site: self.site.clone(),
            method: request.method.to_owned(),
            target,
            content_type: request.content_type.map(str::to_owned),
            function: self.function(request.path),
            scope: scopes.map(ToString::to_string),
            unexplained: scopes.map(|scopes| self.unexplained(scopes)).unwrap_or_default(),
            ..Explanation::default()
        };
        if let Err(refusal) = self.classify(request, scopes, &mut explanation) {
            // What was not understood is refused whoever asks; what was, is denied to this token.
            explanation.decision = Some(if explanation.operation.is_some() { Decision::Deny } else { Decision::Refuse });
            explanation.refusal =
                Some(Told { reason: refusal.reason.code(), status: refusal.reason.status(), message: refusal.message.into() });
        }
        explanation
    }

    fn classify(&self, request: &Request<'_>, scopes: Option<&Scopes>, explanation: &mut Explanation) -> Result<(), Refusal> {
        let draft = self.rules.head(Head {
            method: request.method,
            path: request.path,
            query: request.query,
            content_type: request.content_type.map(str::as_bytes),
            has_body: request.body.is_some(),
        })?;
        let body = match (&draft.body, request.body) {
            (Some(BodyKind::Multipart(boundary)), Some(bytes)) => {
                let mut scanner = Scanner::new(boundary);
                scanner.push(bytes)?;
                Body::Fields(scanner.finish()?)
            }
            (Some(_), Some(bytes)) if bytes.len() > self.parsed_bytes_max => {
                let message = format!("a JSON or form body has {} bytes at most", self.parsed_bytes_max);
                return Err(Refusal::new(Reason::BodyTooLarge, message));
            }
            (Some(_), Some(bytes)) => Body::Bytes(bytes),
            _ => Body::None,
        };
        let classified = self.rules.finish(draft, body)?;
        let operation = &classified.operation;
        explanation.operation = Some(Does::of(operation));
        explanation.upstream = Some(Sent {
            method: classified.verb.as_str(),
            target: {
                let path = classified.path.as_deref().unwrap_or(request.path);
                classified.query.as_deref().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
            },
            body_rewritten: classified.body.is_some_and(|body| Some(body.as_slice()) != request.body),
        });
        explanation.scopes = sufficient(operation);
        if let Some(scopes) = scopes {
            self.named.decide(scopes, operation)?;
            explanation.decision = Some(Decision::Allow);
            let alone = |word: &&str| Scopes::parse(word).is_ok_and(|word| self.named.decide(&word, operation).is_ok());
            explanation.by = scopes.words().filter(alone).map(str::to_owned).collect();
        }
        Ok(())
    }

    /// What the catalogue has for the function that the path names.
    fn function(&self, path: &str) -> Option<Function> {
        let Ok(Route::Rpc { name, .. }) = path::parse(path) else { return None };
        let rpc = self.rules.catalogue.find(name)?;
        let named_in = rpc.doctypes.iter().chain(&rpc.optional).map(|place| place.argument().to_owned()).collect();
        Some(Function {
            name: name.to_owned(),
            effect: rpc.effect.as_str(),
            methods: rpc.methods.names().map(str::to_owned).collect(),
            doctype_in: named_in,
        })
    }

    fn unexplained(&self, scopes: &Scopes) -> Vec<String> {
        let names = scopes.narrow().iter().filter_map(|scope| match scope {
            Scope::Named(name) if !self.known_names.contains(name) => Some(name.to_string()),
            _ => None,
        });
        names.collect()
    }
}

fn site<'c>(config: &'c Config, named: Option<&str>, host: Option<&str>, file: PathBuf) -> Result<&'c Site, Failure> {
    let of_host = host.filter(|_| named.is_none()).map(|host| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(host, |(name, _)| name);
        let found = config.sites.iter().find(|site| site.hosts.iter().any(|own| own.eq_ignore_ascii_case(name)));
        found.ok_or_else(|| format!("no site of `{}` has the host `{name}`; name one with --site", file.display()))
    });
    let found = match of_host {
        Some(found) => found,
        None => {
            let name = administer::site(config, named, &file)?;
            config.sites.iter().find(|site| *site.name == *name).ok_or_else(|| {
                let names: Vec<&str> = config.sites.iter().map(|site| &*site.name).collect();
                format!("`{}` has no site `{name}`; it has {}", file.display(), names.join(", "))
            })
        }
    };
    found.map_err(|message| Failure { exit: EXIT_FAILED, message })
}

/// The authority of a whole URL, and its path with query; what is no URL is a path.
fn split_url(text: &str) -> (Option<&str>, &str) {
    let Some(rest) = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)) else { return (None, text) };
    rest.find('/').map_or((Some(rest), "/"), |at| (Some(&rest[..at]), &rest[at..]))
}

/// What a person types as a client would send it: spaces, quotes and letters beyond ASCII as `%XX`, everything else as it stands.
fn as_sent(text: &str) -> String {
    let mut sent = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{|}".contains(&byte) {
            sent.push(char::from(byte));
        } else {
            let _ = write!(sent, "%{byte:02X}");
        }
    }
    sent
}

fn guessed_type(body: &[u8]) -> &'static str {
    match body.trim_ascii_start().first() {
        Some(b'{' | b'[' | b'"') => "application/json",
        _ => "application/x-www-form-urlencoded",
    }
}

#[cfg(test)]
mod tests;
