//! `[[rpc]]` and `[scope.…]`: what the operator's own apps do, and the scopes that the operator named.

use http::Method;

use crate::config::check::sensitive::{IMPOSSIBLE, rpc_name};
use crate::config::checked::{NamedScope, RpcEntry, Site};
use crate::config::section::{Item, Section};
use crate::policy::scope::{Effect, Scope, Scopes};
use crate::policy::sensitive::{rpc_forbidden, rpc_impossible};
use crate::wording::alike;

/// Every `[[rpc]]`. No name stands twice for one site.
pub fn rpcs(root: &Section<'_>, sites: &[Site]) -> Vec<RpcEntry> {
    let read = root.sections("rpc", |section| {
        let origin = section.origin_of("name");
        rpc(section, sites).map(|value| Item { value, origin })
    });
    for (index, Item { value: entry, origin }) in read.iter().enumerate() {
        let shared = |other: &RpcEntry| {
            other.name == entry.name
                && (other.sites.is_empty() || entry.sites.is_empty() || other.sites.iter().any(|site| entry.sites.contains(site)))
        };
        if read[..index].iter().any(|other| shared(&other.value)) {
            root.refuse_at(origin, "rpc.name", &format!("`{}` is there twice; keep one of the two", entry.name));
        }
    }
    read.into_iter().map(|item| item.value).collect()
}

fn rpc(section: &Section<'_>, sites: &[Site]) -> Option<RpcEntry> {
    let name = section.text("name", |text| open_rpc(text, sites));
    let effect = section.text("effect", |text| match text {
        "read" => Ok(Effect::Read),
        "write" => Ok(Effect::Write),
        "delete" => Ok(Effect::Delete),
        "call" => Ok(Effect::Call),
        _ => Err(format!("`{text}` is not an effect; write \"read\", \"write\", \"delete\", or \"call\" for what is none of them")),
    });
    let methods = methods(section, &[Method::GET, Method::POST, Method::PUT, Method::DELETE]);
    let doctype = section.text("doctype", argument);
    let document = section.text("document", argument);
    let documents = section.text("documents", argument);
    let sites = section.texts("sites", |text| known_site(text, sites)).unwrap_or_default();

    if !section.has("name") {
        section.refuse("name", "missing; write name = \"my_app.api.quote\"");
    }
    if !section.has("effect") {
        section.refuse("effect", "missing; say what the function does: \"read\", \"write\", \"delete\" or \"call\"");
    }
    let effect = effect?;
    let sites = sites.into_iter().map(|item| item.value).collect();
    Some(RpcEntry { name: name?, effect, methods: methods.unwrap_or_else(|| usual_methods(effect)), doctype, document, documents, sites })
}

/// What a function of an effect is usually called by. Frappe takes back what a GET wrote, so writing by GET has to be asked for.
fn usual_methods(effect: Effect) -> Vec<Method> {
    match effect {
        Effect::Read | Effect::Call => vec![Method::GET, Method::POST],
        Effect::Write => vec![Method::POST, Method::PUT],
        Effect::Delete => vec![Method::POST, Method::DELETE],
    }
}

/// `methods`, each of them one of `allowed`; `None` where it is not there.
pub fn methods(section: &Section<'_>, allowed: &[Method]) -> Option<Vec<Method>> {
    let read = |text: &str| {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let method = allowed.iter().find(|method| method.as_str() == text).cloned();
        method.ok_or_else(|| format!("`{text}` is not one of the methods {}, in capitals", names.join(", ")))
    };
    let mut methods = Vec::new();
    for item in section.texts("methods", read)? {
        if methods.contains(&item.value) {
            section.refuse_at(&item.origin, "methods", &format!("`{}` is there twice; keep one", item.value));
        }
        methods.push(item.value);
    }
    if section.empty("methods") {
        section.refuse("methods", "is empty, so nothing could call it; write methods = [\"GET\"], or remove the key");
    }
    Some(methods)
}

/// `[scope.name]`.
pub fn scope(name: &str, section: &Section<'_>) -> Option<NamedScope> {
    let title = section.text("title", |text| {
        if text.trim().is_empty() {
            Err("is empty; say what the scope allows, in words for a person".to_owned())
        } else {
            Ok(text.to_owned())
        }
    });
    let grants = section.texts("grants", |text| match Scope::parse(text) {
        Ok(Scope::Named(_)) => {
            Err(format!("`{text}` is not a built-in scope; write scopes like \"read:lead\" (a named scope grants no other)"))
        }
        Ok(scope) => Ok(scope.to_string()),
        Err(error) => Err(error.to_string()),
    });
    if !section.has("title") {
        section.refuse("title", "missing; write title = \"Work with your leads\"");
    }
    if !section.has("grants") {
        section.refuse("grants", "missing; write grants = [\"read:lead\", \"write:lead\"]");
    }
    if !scope_name(name) {
        let problem =
            format!("`{name}` cannot be the name of a scope; use lower-case letters, digits, `-`, `_` and `.`, and no built-in scope");
        section.refuse_at(section.origin(), "", &problem);
        return None;
    }
    let words: Vec<String> = grants?.into_iter().map(|item| item.value).collect();
    if section.empty("grants") {
        section.refuse("grants", "is empty, so the scope would allow nothing; write grants = [\"read:lead\"]");
    }
    match Scopes::parse(&words.join(" ")) {
        Ok(grants) => Some(NamedScope { name: name.into(), title: title?, grants }),
        Err(error) => {
            section.refuse("grants", &error.to_string());
            None
        }
    }
}

/// Whether an operator may give this name to a scope: built-in words parse as something else than a name.
fn scope_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
    let reserved = ["call", "none", "offline_access", "address", "phone"].contains(&name);
    plain && !reserved && matches!(Scope::parse(name), Ok(Scope::Named(_)))
}

/// The dotted name of a function, or the plain name of a Server Script. A sensitive one needs a site that allows it.
fn open_rpc(text: &str, sites: &[Site]) -> Result<Box<str>, String> {
    if text.ends_with(".*") {
        return Err(format!("`{text}` is a prefix; write one entry for each function, because each has an effect of its own"));
    }
    if !rpc_name(text) {
        return Err(format!("`{text}` is not the name of a function; write it like \"my_app.api.quote\""));
    }
    if rpc_impossible(text) {
        return Err(format!("`{text}` {IMPOSSIBLE}; remove the entry"));
    }
    if rpc_forbidden(text) && !sites.iter().any(|site| site.allow_sensitive.iter().any(|name| **name == *text)) {
        return Err(format!("`{text}` is sensitive and stays closed; remove the entry, or name it in `allow_sensitive` of a site as well"));
    }
    Ok(text.into())
}

/// The name of an argument of a function.
fn argument(text: &str) -> Result<Box<str>, String> {
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts_well && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(text.into());
    }
    Err(format!("`{text}` is not the name of an argument; write the name that the Python function uses, like \"doctype\""))
}

fn known_site(text: &str, sites: &[Site]) -> Result<Box<str>, String> {
    if sites.iter().any(|site| *site.name == *text) {
        return Ok(text.into());
    }
    let remedy = match alike(text, sites.iter().map(|site| &*site.name)) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "write the `name` of a `[[site]]`".to_owned(),
    };
    Err(format!("there is no site `{text}`; {remedy}"))
}
