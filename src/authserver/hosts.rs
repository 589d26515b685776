//! A site may have several hosts, and an issuer has one: users are met there, since the cookies of a sign-in, which Frappe ends at the
//! issuer, must be set where they are read.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method};

use crate::authserver::call::Answer;
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::authserver::page;
use crate::oauth::origin;

/// A parameter that says that the browser was sent here already: a proxy in front that writes a `Host` of its own would have it sent for ever.
const MOVED: &str = "sg_moved=1";

/// Sends a browser to the issuer's host that begins at another one of the site's; `None` where it is there, or where nothing begins.
pub fn moved(issuer: &Issuer, endpoint: Endpoint, parts: &Parts) -> Option<Answer> {
    let begins = matches!(endpoint, Endpoint::Authorize | Endpoint::Grants) && matches!(parts.method, Method::GET | Method::HEAD);
    let query = parts.uri.query().unwrap_or_default();
    if !begins || is_issuers(issuer, parts) || query.split('&').any(|pair| pair == MOVED) {
        return None;
    }
    let joint = if query.is_empty() { "" } else { "&" };
    let to = format!("{}{}?{query}{joint}{MOVED}", issuer.url, parts.uri.path());
    Some(page::redirect(&to).because("host_other"))
}

fn is_issuers(issuer: &Issuer, parts: &Parts) -> bool {
    let named = parts.headers.get(HOST).map(HeaderValue::as_bytes).and_then(|host| Authority::try_from(host).ok());
    // One that cannot be read has led to the site all the same.
    let Some(asked) = named.as_ref().or(parts.uri.authority()) else { return true };
    asked.host().eq_ignore_ascii_case(origin::host(&issuer.url))
}
