//! One request to an OAuth endpoint, and what its handler says to it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::authserver::Shared;
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::limiter::TooMany;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::{Store, StoreError};
use crate::upstream::send::SiteUpstream;

/// A request, its body read.
pub struct Call<'a> {
    pub endpoint: Endpoint,
    pub issuer: &'a Issuer,
    pub shared: &'a Shared,
    /// The site itself, for what the gate asks as a client of it.
    pub upstream: &'a SiteUpstream,
    pub method: &'a Method,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub address: IpAddr,
    pub now: Timestamp,
    /// For the audit record.
    pub note: Note,
}

/// What the audit record says of a call.
#[derive(Default)]
pub struct Note {
    pub client: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub scopes: Option<Box<str>>,
    pub token: Option<TokenHash>,
}

impl<'a> Call<'a> {
    pub fn store(&self) -> &'a dyn Store {
        &*self.shared.store
    }

    /// The parameters of the query.
    pub fn query_pairs(&self) -> Result<Pairs, OAuthError> {
        Pairs::parse(self.query.as_bytes(), Reason::QueryInvalid).map_err(|_| OAuthError::request("the query cannot be read"))
    }

    /// The parameters of a form, which is the only kind of body that is read, and beside which no query may stand (T28, T29; RFC 6749
    /// section 3.2 and 2.3.1: never in the URL).
    pub fn form_pairs(&self) -> Result<Pairs, OAuthError> {
        if !self.query.is_empty() {
            return Err(OAuthError::request("parameters belong into the body, not into the URL"));
        }
        let content_type = self.only(&CONTENT_TYPE)?.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError::request("the body must be application/x-www-form-urlencoded"));
        }
        Pairs::parse(&self.body, Reason::BodyInvalid).map_err(|_| OAuthError::request("the form cannot be read"))
    }

    /// The only `Authorization` header.
    pub fn authorization(&self) -> Result<Option<&'a str>, OAuthError> {
        self.only(&AUTHORIZATION)
    }

    /// The only header of that name, as text.
    pub fn only(&self, name: &HeaderName) -> Result<Option<&'a str>, OAuthError> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(OAuthError::request("a header stands more than once"));
        }
        value.to_str().map(Some).map_err(|_| OAuthError::request("a header is not visible ASCII"))
    }
}

/// What a handler says.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For audit lines and metrics; stable.
    pub reason: &'static str,
    /// Whether it is a no.
    pub refused: bool,
}

/// Why a handler has no answer of its own.
#[derive(Debug)]
pub enum Failure {
    OAuth(OAuthError),
    /// Nobody knows: 503, never a guess.
    Store(StoreError),
    Limited(Limit, TooMany),
    /// The audit log cannot be written, and the operator rather serves nothing than what is not on record.
    Unrecordable,
}

/// What was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests of the address.
    Address,
    /// Credentials from the address that were none.
    FailedAuthentications,
    /// Failures to be the client.
    Client,
    /// Registrations from the address.
    Registrations,
    /// Documents of clients that the address has had fetched.
    Documents,
}

impl Limit {
    /// As the `RateLimit` fields call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::FailedAuthentications => "failed-authentications",
            Self::Client => "client-authentications",
            Self::Registrations => "registrations",
            Self::Documents => "client-documents",
        }
    }

    /// Stable; for audit lines and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Address => "rate_address",
            Self::FailedAuthentications => "rate_failed_authentications",
            Self::Client => "rate_client_authentications",
            Self::Registrations => "rate_registrations",
            Self::Documents => "rate_client_documents",
        }
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Answer {
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self { status, headers, body: body.into(), reason: "served", refused: false }.no_store()
    }

    /// JSON, `no-store` (RFC 6749 section 5.1).
    pub fn json(value: &impl Serialize) -> Self {
        // What is written here are structs and values of our own, which have no maps with odd keys and nothing else that could fail.
        Self::new(StatusCode::OK, "application/json", serde_json::to_vec(value).unwrap_or_default())
    }

    /// An error in the form of RFC 6749 section 5.2. `basic` says that the client used the `Authorization` header.
    pub fn error(error: &OAuthError, realm: &str) -> Self {
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let body = json!({"error": error.code.as_str(), "error_description": error.description});
        let mut answer = Self::new(status, "application/json", body.to_string()).refused(error.code.as_str());
        if error.code == ErrorCode::InvalidClient {
            // RFC 6749 section 5.2 and RFC 9110 section 15.5.2: a 401 comes with a challenge.
            let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""));
            answer.headers.insert(WWW_AUTHENTICATE, challenge.unwrap_or(HeaderValue::from_static("Basic")));
        }
        answer
    }

    /// 303, so that what comes next is a GET without the form (RFC 9700 section 4.12).
    pub fn redirect(to: &str) -> Self {
        let mut answer = Self::new(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
        match HeaderValue::from_str(to) {
            Ok(location) => {
                answer.headers.insert(LOCATION, location);
                answer
            }
            // What goes into a location is registered or generated, and encoded.
            Err(_) => Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..answer }.refused("server_error"),
        }
    }

    pub fn method_not_allowed(endpoint: Endpoint) -> Self {
        let body = json!({"error": "invalid_request", "error_description": format!("this endpoint takes {}", endpoint.methods())});
        let mut answer = Self::new(StatusCode::METHOD_NOT_ALLOWED, "application/json", body.to_string()).refused("method_not_allowed");
        answer.headers.insert(ALLOW, HeaderValue::from_static(endpoint.methods()));
        answer
    }

    pub fn refused(self, reason: &'static str) -> Self {
        Self { reason, refused: true, ..self }
    }

    pub fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// A document that anybody may keep for a while.
    pub fn public(mut self) -> Self {
        self.headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        self.headers.remove(PRAGMA);
        self
    }

    fn no_store(mut self) -> Self {
        self.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        self
    }
}
