//! Whether scopes cover others: what a client may have bounds what it may ask for.

use std::collections::HashMap;

use crate::policy::scope::{Effect, Scope, Scopes};

/// What the operator's names for scopes stand for: `[scope.crm] grants = [...]`.
pub type Meanings = HashMap<Box<str>, Scopes>;

/// Whether `allowed` lets its bearer do all that `word` would.
pub fn covers(allowed: &Scopes, word: &str, meanings: &Meanings) -> bool {
    if allowed.all() || allowed.words().any(|own| own == word) {
        return true;
    }
    let wide = || std::iter::once(allowed).chain(allowed.narrow().iter().filter_map(|scope| meaning(scope, meanings)));
    match Scope::parse(word) {
        Ok(Scope::Named(name)) => meanings.get(&name).is_some_and(|granted| granted.words().all(|word| covers_plain(wide, word))),
        Ok(_) => covers_plain(wide, word),
        Err(_) => false,
    }
}

/// The same for a word that is no configured name, over the scopes that `wide` gives: a name within a name means nothing.
fn covers_plain<'s, I: Iterator<Item = &'s Scopes>>(wide: impl Fn() -> I, word: &str) -> bool {
    let Ok(wanted) = Scope::parse(word) else { return false };
    let broad = |effect: Effect| wide().any(|scopes| scopes.broad(effect));
    let narrow = |covering: &dyn Fn(&Scope) -> bool| wide().any(|scopes| scopes.all() || scopes.narrow().iter().any(covering));
    match &wanted {
        Scope::All => wide().any(Scopes::all),
        Scope::Broad(effect) => broad(*effect),
        Scope::Doctype(effect, _) => broad(*effect) || narrow(&|own| *own == wanted),
        Scope::Rpc(name) => narrow(&|own| *own == wanted || matches!(own, Scope::RpcsBelow(prefix) if name.starts_with(&**prefix))),
        Scope::RpcsBelow(below) => narrow(&|own| matches!(own, Scope::RpcsBelow(prefix) if below.starts_with(&**prefix))),
        Scope::Identity(_) | Scope::Named(_) => narrow(&|own| *own == wanted),
    }
}

fn meaning<'m>(scope: &Scope, meanings: &'m Meanings) -> Option<&'m Scopes> {
    match scope {
        Scope::Named(name) => meanings.get(name),
        Scope::All | Scope::Broad(_) | Scope::Doctype(..) | Scope::Rpc(_) | Scope::RpcsBelow(_) | Scope::Identity(_) => None,
    }
}
