//! What the OAuth endpoints know of one site.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::oauth::authorization::Rules;
use crate::outbound::Fetcher;
use crate::policy::coverage::Meanings;
use crate::policy::scope::Scopes;
use crate::policy::token::TokenHash;
use crate::store::cached::SiteId;

pub struct Issuer {
    pub site: SiteId,
    pub name: Arc<str>,
    /// The site's place among the upstreams.
    pub upstream: usize,
    /// `Host` and `X-Frappe-Site-Name` for the upstream.
    pub frappe_site: HeaderValue,
    /// The public origin, without a slash at its end: issuer, resource, and where every URL that is generated begins.
    pub url: Box<str>,
    pub sign_in: Option<SignIn>,
    pub pkce_for_all: bool,
    pub access_token_lifetime: Duration,
    pub refresh_token_lifetime: Duration,
    /// What the operator's names for scopes stand for, and what a person reads for them.
    pub meanings: Arc<Meanings>,
    pub titles: Arc<HashMap<Box<str>, String>>,
    pub registration: Registration,
    /// The widest scopes of a client that registered itself.
    pub registration_scopes: Scopes,
    /// Reads the documents of clients whose id is a URL; `None` where there are none.
    pub documents: Option<Arc<Fetcher>>,
    /// Whether the site's tokens are kept with each grant, for the credential `bearer`.
    pub keeps_site_tokens: bool,
    /// Origins whose pages may call the site's API, whatever the client.
    pub origins: Vec<HeaderValue>,
}

/// The gate as an OAuth client of the site. No `Debug`: it holds a secret.
pub struct SignIn {
    /// Where browsers reach Frappe, without a slash at its end.
    pub login_url: Box<str>,
    pub client_id: Box<str>,
    pub client_secret: Box<str>,
    /// What is asked for, like `all openid`.
    pub scope: Box<str>,
}

/// Whether clients may register themselves.
pub enum Registration {
    Off,
    /// With the token of this hash.
    Token(TokenHash),
    Open,
}

impl Issuer {
    /// What the rules of authorization requests need.
    pub fn rules(&self) -> Rules<'_> {
        Rules { pkce_for_all: self.pkce_for_all, meanings: &self.meanings, resource: &self.url }
    }

    /// A URL of the gate's own.
    pub fn url_of(&self, path: &str) -> String {
        [&self.url, path].concat()
    }
}
