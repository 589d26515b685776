//! Frappe's own OAuth 2 provider, as far as a client of the site meets it (FACTS section 3): sign-in, consent, codes, tokens.
//!
//! It is as loose as the real one, because a gate that relies on it must hold against that: no client is authenticated (T21, T32), a code
//! never expires (T327), a refreshed pair stays valid (T35, T36), and a code belongs to whomever a cookie names (T281).
//!
//! Clients, codes and tokens are rows of their doctypes, as in Frappe: who may read the rows may use them (T500, T504, T505).

use std::borrow::Cow;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::pocket::fault::Fault;
use crate::pocket::methods::Answer;

pub(super) mod client;
pub(super) mod endpoint;
pub(super) mod grant;
pub(super) mod openid;
pub(super) mod signin;
pub(super) mod token;

/// What the provider knows besides its rows. It is not rolled back.
#[derive(Default)]
pub(super) struct Provider {
    /// How far the site's clock is ahead of the machine's.
    ahead: SignedDuration,
    pub refreshes: u64,
    pub token_requests: u64,
}

impl Provider {
    pub fn now(&self) -> Timestamp {
        Timestamp::now().checked_add(self.ahead).unwrap_or(Timestamp::MAX)
    }

    pub fn advance(&mut self, seconds: u64) {
        let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.ahead = self.ahead.checked_add(seconds).unwrap_or(SignedDuration::MAX);
    }
}

/// An error of OAuth's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    error: &'static str,
    description: Cow<'static, str>,
}

/// Why an endpoint gave nothing.
pub(super) enum Refused {
    OAuth(Refusal),
    /// Not in the words of OAuth: Frappe's own exception got through (T26, T38).
    Frappe(Fault),
}

impl Refusal {
    fn new(error: &'static str) -> Refusal {
        Refusal { error, description: Cow::Borrowed("") }
    }

    fn described(error: &'static str, description: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { error, description: description.into() }
    }

    fn invalid_request(description: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::described("invalid_request", description)
    }

    /// As Frappe shows an error that was raised: everything about `authorize`, and what the token endpoint finds wrong before it looks at
    /// the grant (T16, T27).
    fn raised(self) -> Answer {
        Answer::body(StatusCode::BAD_REQUEST, json!({"description": self.description, "status_code": 400, "error": self.error}))
    }

    /// As RFC 6749 section 5.2 has it, but always with 400 (T20, T285).
    fn answered(self) -> Answer {
        let mut body = json!({"error": self.error});
        if !self.description.is_empty() {
            body["error_description"] = self.description.into();
        }
        Answer::body(StatusCode::BAD_REQUEST, body)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::OAuth(refusal)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Frappe(fault)
    }
}
