//! What the gateway knows of one site: its rules, its credential, its words to clients and upstreams.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::gateway::site_tokens::SiteClient;
use crate::policy::classify::Rules;
use crate::policy::decision::NamedScopes;
use crate::store::cached::SiteId;
use crate::upstream::headers::HeaderSet;

pub struct Site {
    pub id: SiteId,
    /// Its place among the upstreams.
    pub upstream: usize,
    pub name: Arc<str>,
    pub rules: Arc<Rules>,
    pub scopes: Arc<NamedScopes>,
    pub credential: Credential,
    /// `Host` and `X-Frappe-Site-Name` for the upstream.
    pub frappe_site: HeaderValue,
    pub extra_headers: HeaderSet,
    /// Origins whose pages may call the API, whatever the client.
    pub origins: Vec<HeaderValue>,
    /// Whether clients may have origins of their own: where they register here.
    pub client_origins: bool,
    pub keep_tracebacks: bool,
    /// The beginning of every `WWW-Authenticate`: scheme, realm and where the metadata is.
    pub challenge: String,
    pub bodies: BodyBounds,
}

impl Site {
    /// Whether what an answer says may depend on whose page asks.
    pub fn differs_by_origin(&self) -> bool {
        self.client_origins || !self.origins.is_empty()
    }
}

/// How the upstream learns the user.
pub enum Credential {
    /// The client's own token goes on.
    Forward,
    /// The site's own token of the user, kept with the grant; renewed as this client.
    Bearer(Arc<SiteClient>),
    /// The API key of the client, or else this one, of the site.
    ApiKey { of_site: HeaderValue },
}

/// What a client may send behind a head.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// Bytes of a JSON or form body.
    pub body_bytes_max: usize,
    /// Bytes of a multipart body.
    pub upload_bytes_max: u64,
    /// The whole of a JSON or form body; and the head start of a multipart body.
    pub body_timeout: Duration,
    /// Bytes a second that a multipart body must keep up with behind its head start.
    pub body_rate_min: u64,
}
