//! The parameters of an OAuth request: each at most once, one without a value as if it were not there (RFC 6749 sections 3.1 and 3.2).

use crate::oauth::error::OAuthError;
use crate::policy::query::Pairs;

/// The longest value that is looked at, in bytes. The longest honest one is a redirect URI or a list of scopes.
const VALUE_BYTES_MAX: usize = 8192;

/// Parameters as they were decoded, of a query or a form.
pub struct Parameters<'a>(&'a Pairs);

impl<'a> Parameters<'a> {
    pub fn new(pairs: &'a Pairs) -> Self {
        Self(pairs)
    }

    /// The value of `name`; `None` where there is none or it is empty.
    pub fn one(&self, name: &'static str) -> Result<Option<&'a str>, OAuthError> {
        let mut values = self.0.iter().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(OAuthError::request(format!("the parameter {name} stands more than once")));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(OAuthError::request(format!("the parameter {name} is too long")));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// The value of `name`, which must be there.
    pub fn required(&self, name: &'static str) -> Result<&'a str, OAuthError> {
        self.one(name)?.ok_or_else(|| OAuthError::request(format!("the parameter {name} is missing")))
    }

    /// Every value of `name`: only `resource` may stand more than once (RFC 8707 section 2).
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
    }
}
