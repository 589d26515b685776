//! Whether the scopes of a token allow an operation. The only place that makes a [`Permit`].

use std::collections::HashMap;

use crate::policy::operation::{Operation, Target};
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::scope::{Effect, Scope, Scopes};

/// That an operation was allowed. Forwarding takes one, so that a request that was not decided on does not compile.
#[derive(Debug)]
pub struct Permit(());

/// That a token allows something at all, and may have a body read on its behalf. Not yet a [`Permit`]: a streamed upload gets one when all
/// its fields are known, and before its last byte goes.
#[derive(Debug)]
pub struct Provisional(());

/// What the operator's names for scopes mean: `[scope.crm] grants = [...]`.
#[derive(Clone, Debug, Default)]
pub struct NamedScopes(HashMap<Box<str>, Scopes>);

impl NamedScopes {
    pub fn new(named: impl IntoIterator<Item = (Box<str>, Scopes)>) -> Self {
        Self(named.into_iter().collect())
    }

    /// Whether `scopes` allow what the operation does.
    pub fn decide(&self, scopes: &Scopes, operation: &Operation<'_>) -> Result<Permit, Refusal> {
        if self.allow(scopes, operation) { Ok(Permit(())) } else { Err(insufficient(operation)) }
    }

    /// Refuses scopes that allow no operation whatever (identity alone, names that nobody configured) before a body is read.
    pub fn foresee(&self, scopes: &Scopes) -> Result<Provisional, Refusal> {
        let effects = [Effect::Read, Effect::Write, Effect::Delete];
        let useful = |scopes: &Scopes| {
            effects.into_iter().any(|effect| scopes.broad(effect))
                || scopes.narrow().iter().any(|scope| matches!(scope, Scope::Doctype(..) | Scope::Rpc(_) | Scope::RpcsBelow(_)))
        };
        if self.every(scopes).any(useful) {
            return Ok(Provisional(()));
        }
        let message = "the token's scopes allow no operation";
        Err(Refusal { scope: Some("write".into()), ..Refusal::new(Reason::InsufficientScope, message) })
    }

    fn allow(&self, scopes: &Scopes, operation: &Operation<'_>) -> bool {
        if self.every(scopes).any(Scopes::all) {
            return true;
        }
        match &operation.target {
            Target::Path { scope, .. } => {
                return Scope::parse(scope).is_ok_and(|scope| match scope {
                    Scope::All => false,
                    Scope::Broad(effect) => self.broad(scopes, effect),
                    Scope::Named(_) => scopes.narrow().contains(&scope),
                    Scope::Identity(_) | Scope::Doctype(..) | Scope::Rpc(_) | Scope::RpcsBelow(_) => {
                        self.every(scopes).any(|scopes| scopes.narrow().contains(&scope))
                    }
                });
            }
            Target::Rpc { name, .. } if self.every(scopes).any(|scopes| scopes.narrow().iter().any(|scope| calls(scope, name))) => {
                return true;
            }
            _ => {}
        }
        if operation.effect == Effect::Call {
            return false;
        }
        if self.broad(scopes, operation.effect) {
            return true;
        }
        // Narrow scopes: every doctype that it works on must be named, and every one that it would see.
        let mut doctypes = operation.doctypes().peekable();
        doctypes.peek().is_some()
            && !operation.reach.open
            && doctypes.all(|doctype| self.names(scopes, operation.effect, doctype))
            && operation.reach.doctypes.iter().all(|doctype| self.broad(scopes, Effect::Read) || self.names(scopes, Effect::Read, doctype))
    }

    fn broad(&self, scopes: &Scopes, effect: Effect) -> bool {
        self.every(scopes).any(|scopes| scopes.broad(effect))
    }

    fn names(&self, scopes: &Scopes, effect: Effect, doctype: &str) -> bool {
        self.every(scopes).any(|scopes| {
            scopes.narrow().iter().any(|scope| matches!(scope, Scope::Doctype(of, slug) if *of == effect && is_slug(slug, doctype)))
        })
    }

    /// The scopes themselves, and what the named ones among them stand for. A name within a name means nothing, so this ends.
    fn every<'s>(&'s self, scopes: &'s Scopes) -> impl Iterator<Item = &'s Scopes> {
        let named = scopes.narrow().iter().filter_map(|scope| match scope {
            Scope::Named(name) => self.0.get(name),
            _ => None,
        });
        std::iter::once(scopes).chain(named)
    }
}

fn calls(scope: &Scope, name: &str) -> bool {
    match scope {
        Scope::Rpc(rpc) => **rpc == *name,
        Scope::RpcsBelow(prefix) => name.starts_with(&**prefix),
        Scope::All | Scope::Broad(_) | Scope::Doctype(..) | Scope::Identity(_) | Scope::Named(_) => false,
    }
}

/// Whether `slug` is Frappe's route slug of `doctype`: lower case, spaces to `-`. Compared without building it.
fn is_slug(slug: &str, doctype: &str) -> bool {
    let letters = doctype.chars().map(|letter| if letter == ' ' { '-' } else { letter }).flat_map(char::to_lowercase);
    slug.chars().eq(letters)
}

/// Frappe's route slug of a doctype.
pub fn slug(doctype: &str) -> String {
    doctype.chars().map(|letter| if letter == ' ' { '-' } else { letter }).flat_map(char::to_lowercase).collect()
}

/// Scopes of which each alone would have allowed the operation, widest last.
pub fn sufficient(operation: &Operation<'_>) -> Vec<String> {
    let mut scopes = Vec::new();
    match &operation.target {
        Target::Path { scope, .. } => scopes.push((*scope).to_owned()),
        Target::Rpc { name, .. } => scopes.push(format!("call:{name}")),
        Target::Doctype { .. } | Target::Document { .. } => {}
    }
    if operation.effect != Effect::Call && !matches!(operation.target, Target::Path { .. }) {
        let names: Vec<&str> = operation.doctypes().collect();
        if let [doctype] = names.as_slice()
            && !operation.reach.open
            && operation.reach.doctypes.is_empty()
        {
            scopes.insert(0, format!("{}:{}", operation.effect.as_str(), slug(doctype)));
        }
        scopes.push(operation.effect.as_str().to_owned());
    }
    scopes.push("all".to_owned());
    scopes
}

fn insufficient(operation: &Operation<'_>) -> Refusal {
    let needed: Box<str> = match (&operation.target, operation.effect) {
        (Target::Path { scope, .. }, _) => (*scope).into(),
        (Target::Rpc { name, .. }, Effect::Call) => format!("call:{name}").into(),
        (_, effect) => effect.as_str().into(),
    };
    let message = format!("this needs one of the scopes {}", sufficient(operation).join(", "));
    Refusal { scope: Some(needed), ..Refusal::new(Reason::InsufficientScope, message) }
}

#[cfg(test)]
mod tests;
