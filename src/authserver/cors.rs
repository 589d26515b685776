//! Which pages of other origins may read what the endpoints answer (Fetch standard, section 3.3).
//!
//! Documents are for everyone. The rest is for the origins that the site or one of its clients names; no cookie is ever read there, so
//! that is about the page's own requests only.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::authserver::Shared;
use crate::authserver::call::Answer;
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::store::StoreError;

const ANYONE: HeaderValue = HeaderValue::from_static("*");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, accept, accept-language");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("www-authenticate, retry-after, ratelimit, ratelimit-policy, x-request-id");
/// Seconds for which a browser remembers a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The longest origin that is looked for, in bytes: a host name, and what stands around it.
const ORIGIN_BYTES_MAX: usize = 280;

/// Whether pages of the request's origin may read the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// No page, or of an origin that nobody named.
    None,
    Of(HeaderValue),
    Any,
}

impl Pages {
    /// What can be said without asking the store.
    pub fn known(issuer: &Issuer, endpoint: Endpoint, headers: &HeaderMap) -> Self {
        match endpoint {
            Endpoint::Jwks | Endpoint::Metadata | Endpoint::ProtectedResource => Self::Any,
            _ => match origin(endpoint, headers) {
                Some(origin) if issuer.origins.contains(origin) => Self::Of(origin.clone()),
                _ => Self::None,
            },
        }
    }

    /// What the clients of the site say, where the rest says nothing; remembered for a moment, since a stranger may ask for it with every
    /// request.
    pub async fn asked(self, shared: &Shared, issuer: &Issuer, endpoint: Endpoint, headers: &HeaderMap) -> Result<Self, StoreError> {
        let Some(origin) = origin(endpoint, headers).filter(|_| self == Self::None) else { return Ok(self) };
        let Some(text) = origin.to_str().ok().filter(|text| text.len() <= ORIGIN_BYTES_MAX) else { return Ok(self) };
        let allowed = shared.origins.allowed(issuer.site, &issuer.name, text).await?;
        Ok(if allowed { Self::Of(origin.clone()) } else { self })
    }

    /// Says so on an answer, whatever it is.
    pub fn tell(self, endpoint: Endpoint, headers: &mut HeaderMap) {
        if !endpoint.is_for_pages() {
            return;
        }
        let origin = match self {
            Self::Any => ANYONE,
            Self::Of(origin) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                origin
            }
            Self::None => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }

    /// The answer to `OPTIONS`: a preflight where the origin is let in, else what the endpoint takes.
    pub fn options(&self, endpoint: Endpoint, headers: &HeaderMap) -> Answer {
        let mut answer = Answer::new(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", Bytes::new()).because("options");
        let methods = HeaderValue::from_static(endpoint.methods());
        if headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) && *self != Self::None {
            answer.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            answer.headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            answer.headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            answer.headers.insert(ALLOW, methods);
        }
        answer
    }
}

/// The only origin, of a request to an endpoint that is for pages.
fn origin(endpoint: Endpoint, headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(ORIGIN).iter();
    let origin = values.next()?;
    (endpoint.is_for_pages() && values.next().is_none()).then_some(origin)
}
