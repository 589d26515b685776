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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::refusal::Reason;

    #[test]
    fn each_stands_once_and_means_nothing_without_a_value() {
        let long = format!("a=1&long={}&b=", "x".repeat(VALUE_BYTES_MAX + 1));
        let rows = [
            ("", "a", Ok(None)),
            ("a=", "a", Ok(None)),
            ("a", "a", Ok(None)),
            ("a=1", "a", Ok(Some("1"))),
            ("A=1", "a", Ok(None)),
            ("a=+", "a", Ok(Some(" "))),
            ("b=2&a=1", "a", Ok(Some("1"))),
            ("%61=1", "a", Ok(Some("1"))),
            ("a=1&a=1", "a", Err(())),
            ("a=1&a=", "a", Err(())),
            ("a&a", "a", Err(())),
            ("a=1&%61=2", "a", Err(())),
            (&long, "a", Ok(Some("1"))),
            (&long, "long", Err(())),
        ];
        for (form, name, expected) in rows {
            let pairs = Pairs::parse(form.as_bytes(), Reason::BodyInvalid).expect("a form");
            let parameters = Parameters::new(&pairs);
            assert_eq!(parameters.one(name).map_err(drop), expected, "{form:.40}");
            assert_eq!(parameters.required(name).ok(), expected.ok().flatten(), "{form:.40}");
        }
        let pairs = Pairs::parse(b"r=1&r=&r=2&x=3", Reason::BodyInvalid).expect("a form");
        assert_eq!(Parameters::new(&pairs).all("r").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_refusal_names_the_parameter_and_not_its_value() {
        let pairs = Pairs::parse(b"code=canary&code=canary", Reason::BodyInvalid).expect("a form");
        let error = Parameters::new(&pairs).one("code").expect_err("twice").to_string();
        assert_eq!(error, "invalid_request: the parameter code stands more than once");
    }
}
