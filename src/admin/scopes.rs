//! Which scopes an operator may hand out: words that mean something here, and never more than the client may have.

use crate::admin::error::{AdminError, Code};
use crate::policy::coverage::{Meanings, covers};
use crate::policy::scope::{Scope, Scopes};
use crate::wording::alike;

/// The words that need no explanation.
const BUILTIN: [&str; 7] = ["read", "write", "delete", "all", "openid", "profile", "email"];

/// Reads scopes that are to be granted: at least one, every name among them explained.
pub fn parse(text: &str, grants: &Meanings) -> Result<Scopes, AdminError> {
    let scopes = Scopes::parse(text).map_err(|error| AdminError::new(Code::ScopeInvalid, error.0))?;
    if scopes.is_empty() {
        return Err(AdminError::new(Code::ScopeInvalid, "there is no scope; give at least one, like `read` or `read:sales-order`"));
    }
    for scope in scopes.narrow() {
        if let Scope::Named(name) = scope
            && !grants.contains_key(name)
        {
            return Err(unknown(name, grants));
        }
    }
    Ok(scopes)
}

/// Refuses what `allowed` does not cover.
pub fn check_within(wanted: &Scopes, allowed: &Scopes, client: &str, grants: &Meanings) -> Result<(), AdminError> {
    let beyond: Vec<&str> = wanted.words().filter(|word| !covers(allowed, word, grants)).collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let beyond = beyond.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    Err(AdminError::new(
        Code::ScopeTooWide,
        format!(
            "client `{client}` may have `{allowed}`, which does not cover {beyond}; ask for less, or let it have more by \
             `scopegate client update {client} --scopes`"
        ),
    ))
}

fn unknown(name: &str, grants: &Meanings) -> AdminError {
    let known = || BUILTIN.into_iter().chain(grants.keys().map(|name| &**name));
    let remedy = match alike(name, known()) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("write `[scope.{name}]` into the config, or use read, write, delete, all, or a narrow one like `read:lead`"),
    };
    AdminError::new(Code::ScopeUnknown, format!("nothing says what the scope `{name}` allows; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Meanings {
        [("crm", "read:lead write:lead"), ("reports", "read"), ("quotes", "call:my_app.* read:quotation")]
            .map(|(name, scopes)| (Box::from(name), Scopes::parse(scopes).expect("a test's scopes")))
            .into()
    }

    #[test]
    fn a_token_gets_no_more_than_its_client_has() {
        for (allowed, wanted, covered) in [
            ("all", "all", true),
            ("all", "read write delete crm call:a.b openid", true),
            ("read write delete", "all", false),
            ("read", "read", true),
            ("read", "read:lead", true),
            ("read", "read reports", true),
            ("read", "write", false),
            ("read", "write:lead", false),
            ("read", "crm", false),
            ("read write", "crm", true),
            ("read", "call:a.b", false),
            ("read write delete", "call:a.b", false),
            ("read write delete", "openid", false),
            ("read:lead", "read", false),
            ("read:lead", "read:lead", true),
            ("read:lead", "read:leads", false),
            ("read:lead", "write:lead", false),
            ("crm", "crm", true),
            ("crm", "read:lead", true),
            ("crm", "read", false),
            ("crm", "delete:lead", false),
            ("read:lead write:lead", "crm", true),
            ("reports", "read:anything", true),
            ("reports", "write:anything", false),
            ("reports write", "crm", true),
            ("call:my_app.*", "call:my_app.api.quote", true),
            ("call:my_app.*", "call:my_app.api.*", true),
            ("call:my_app.*", "call:my_app_two.api", false),
            ("call:my_app.*", "call:my.*", false),
            ("call:my_app.api.*", "call:my_app.*", false),
            ("call:my_app.api.quote", "call:my_app.api.*", false),
            ("call:my_app.*", "read", false),
            ("quotes", "call:my_app.x", true),
            ("quotes", "reports", false),
            ("openid", "openid", true),
            ("openid", "profile", false),
            ("read", "read write", false),
        ] {
            let read = |text| parse(text, &grants()).unwrap_or_else(|error| panic!("{text}: {error}"));
            let answer = check_within(&read(wanted), &read(allowed), "app", &grants());
            assert_eq!(answer.is_ok(), covered, "{wanted} for a client with {allowed}: {answer:?}");
        }
    }

    #[test]
    fn what_is_too_wide_is_named() {
        let read = |text| parse(text, &grants()).expect("scopes");
        let error = check_within(&read("read write call:a.b"), &read("read"), "app", &grants()).expect_err("too wide");
        assert_eq!(error.code, Code::ScopeTooWide);
        assert!(error.message.contains("`read`, which does not cover `write`, `call:a.b`; "), "{error}");
    }

    #[test]
    fn names_that_nobody_explained_are_refused() {
        for (text, code, told) in [
            ("", Code::ScopeInvalid, "at least one"),
            ("  ", Code::ScopeInvalid, "at least one"),
            ("raed", Code::ScopeUnknown, "did you mean `read`?"),
            ("read crn", Code::ScopeUnknown, "did you mean `crm`?"),
            ("warehouse", Code::ScopeUnknown, "`[scope.warehouse]`"),
            ("All", Code::ScopeUnknown, "`all`"),
            ("read:Lead", Code::ScopeInvalid, "lower case"),
            ("raed:lead", Code::ScopeInvalid, "before `:`"),
            ("call:", Code::ScopeInvalid, "dotted name"),
            ("read,write", Code::ScopeUnknown, "`read,write`"),
            ("a\"b", Code::ScopeInvalid, "not a scope"),
        ] {
            let error = parse(text, &grants()).expect_err(text);
            assert_eq!(error.code, code, "{text}: {error}");
            assert!(error.message.contains(told), "{text}: {error}");
        }
    }
}
