//! Questions of the gate's own to a site: small, and answered in small, unlike what it passes on.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;

use crate::upstream::body::RequestBody;
use crate::upstream::error::UpstreamError;
use crate::upstream::send::{Outgoing, SiteUpstream};

/// Bytes of an answer. The largest honest one, a profile with its roles, takes a few thousand.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What is asked.
pub struct Question<'a> {
    /// What Frappe calls the site.
    pub frappe_site: &'a HeaderValue,
    pub path: &'static str,
    /// The complete `Authorization`, marked sensitive.
    pub authorization: Option<&'a HeaderValue>,
    /// Written out as a form; with one it is a POST, without a GET.
    pub form: Option<String>,
}

/// What was answered.
pub struct Heard {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Asks a server of the site. Nothing of any client's request goes along: no header, no cookie, no address.
pub async fn ask(upstream: &SiteUpstream, question: Question<'_>) -> Result<Heard, UpstreamError> {
    let Question { frappe_site, path, authorization, form } = question;
    let headers = || {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(HOST, frappe_site.clone());
        headers.insert(X_FRAPPE_SITE_NAME, frappe_site.clone());
        // URLs in answers follow it (T293), and the gate is reached by HTTPS, whatever the way to the site is.
        headers.insert(X_FORWARDED_PROTO, HTTPS);
        headers.insert(ACCEPT, APPLICATION_JSON);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if form.is_some() {
            headers.insert(CONTENT_TYPE, FORM);
        }
        headers
    };
    let (method, body) = match &form {
        Some(form) => (Method::POST, RequestBody::Full(Bytes::copy_from_slice(form.as_bytes()))),
        None => (Method::GET, RequestBody::Empty),
    };
    let answer = upstream.send(Outgoing { method, target: PathAndQuery::from_static(path), headers: &headers, body }).await?;
    let (status, mut incoming, mut body) = (answer.head.status, answer.body, BytesMut::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if body.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(UpstreamError::Truncated(format!("more than {ANSWER_BYTES_MAX} bytes came, and no more are read")));
        }
        body.extend_from_slice(&data);
    }
    Ok(Heard { status, body: body.freeze() })
}

const X_FRAPPE_SITE_NAME: HeaderName = HeaderName::from_static("x-frappe-site-name");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
