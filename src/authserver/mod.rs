//! The OAuth 2 provider of a site: its endpoints, at Frappe's URLs and at short ones, and the pages that users see.
//!
//! Each handler reads a request, asks the rule books in `oauth/`, exchanges records in the store, and answers. Whatever happens ends in
//! one audit record, like every request.

pub mod asked;
pub mod authorize;
pub mod bearer;
pub mod call;
pub mod callback;
pub mod clients;
pub mod code;
pub mod consent;
pub mod cookies;
pub mod cors;
pub mod documents;
pub mod endpoint;
pub mod grants;
pub mod hosts;
pub mod introspect;
pub mod issue;
pub mod issuer;
pub mod keys;
pub mod memory;
pub mod metadata;
pub mod page;
pub mod random;
pub mod register;
pub mod revoke;
pub mod session;
pub mod signin;
pub mod signout;
pub mod throttle;
pub mod ticket;
pub mod token;
pub mod userinfo;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::audit;
use crate::authserver::call::{Answer, Call, Failure, Limit, Note};
use crate::authserver::cors::Pages;
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::authserver::memory::Memory;
use crate::exchange::Exchange;
use crate::exchange::answer::{Reached, own};
use crate::exchange::body::GateBody;
use crate::exchange::held::Bodies;
use crate::exchange::read::Unread;
use crate::exchange::{rate, read};
use crate::limiter::{Addresses, Clock};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::time::Timestamp;
use crate::store::Store;
use crate::store::cached::CachedStore;
use crate::store::origins::Origins;
use crate::store::seal::SealKey;
use crate::telemetry::Complaints;
use crate::upstream::{Via, WorkerUpstreams};

/// Bytes of a form or a registration.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Time for them to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client should wait before it asks again when the store is away, in seconds.
const AWAY_RETRY_SECONDS: u64 = 2;

/// What all workers share.
pub struct Shared {
    pub store: Arc<dyn Store>,
    pub cached: Arc<CachedStore>,
    pub origins: Arc<Origins>,
    /// `None` where the operator set none; then there is no sign-in.
    pub seal: Option<Arc<SealKey>>,
    pub bodies: Arc<Bodies>,
    pub clock: Clock,
    pub complaints: Arc<Complaints>,
    /// Requests from one address, whatever they ask for: the same cells as the gateway's.
    pub addresses: Option<Arc<Addresses>>,
    /// Failed authentications of one address: the same cells as the gateway's.
    pub failures: Option<Arc<Addresses>>,
    /// What outlives a reload.
    pub memory: Arc<Memory>,
}

/// The authorization server as one worker thread runs it.
pub struct Worker {
    pub shared: Arc<Shared>,
    pub upstreams: Arc<WorkerUpstreams>,
}

impl Worker {
    /// Answers one request to an endpoint of `issuer`, whatever it takes.
    pub async fn serve(
        &self,
        issuer: &Issuer,
        endpoint: Endpoint,
        _via: &Via,
        request: Request<Incoming>,
        mut exchange: Box<Exchange>,
    ) -> Response<GateBody> {
        let (parts, body) = request.into_parts();
        exchange.subject.endpoint(endpoint.name());
        let mut pages = Pages::known(issuer, endpoint, &parts.headers);
        let answered = async {
            if exchange.unrecordable() {
                return Err(Failure::Unrecordable);
            }
            let nanos = self.shared.clock.nanos(exchange.started);
            if let Some(addresses) = &self.shared.addresses {
                addresses.count(exchange.address, nanos).map_err(|too_many| Failure::Limited(Limit::Address, too_many))?;
            }
            // Behind the limit, since it asks the store; before everything else that can fail, since a page must be able to read why.
            pages = pages.clone().asked(&self.shared, issuer, endpoint, &parts.headers).await?;
            if parts.method == Method::OPTIONS && endpoint.is_for_pages() {
                return Ok(pages.options(endpoint, &parts.headers));
            }
            if let Some(answer) = hosts::moved(issuer, endpoint, &parts) {
                return Ok(answer);
            }
            let mut held = self.shared.bodies.share();
            let body = if parts.method == Method::POST {
                let read = read::whole(body, BODY_BYTES_MAX, BODY_TIMEOUT, &mut held, &mut exchange.bytes_in).await;
                read.map_err(|unread| match unread {
                    Unread::Full => OAuthError::new(ErrorCode::TemporarilyUnavailable, "too many bodies are on their way; try again"),
                    _ => OAuthError::request("the body is too large, too slow, or broke off"),
                })?
            } else {
                Bytes::new()
            };
            let mut call = Call {
                endpoint,
                issuer,
                shared: &self.shared,
                upstream: self.upstreams.site(issuer.upstream),
                method: &parts.method,
                query: parts.uri.query().unwrap_or_default(),
                headers: &parts.headers,
                body,
                address: exchange.address,
                now: Timestamp::from_unix(audit::now().as_secs()),
                note: Note::default(),
            };
            let answer = answer(&mut call).await;
            exchange.note(call.note.client, call.note.user, call.note.scopes, call.note.token);
            answer
        };
        let mut answer = match answered.await {
            Ok(answer) => answer,
            Err(failure) if endpoint.is_page() => page::of_failure(issuer, fail(&self.shared, issuer, &failure), &failure),
            Err(failure) => fail(&self.shared, issuer, &failure),
        };
        pages.tell(endpoint, &mut answer.headers);
        exchange.allowed = !answer.refused;
        exchange.refused = answer.refused;
        exchange.reason = answer.reason;
        own(Reached::Own(answer.status, answer.headers, answer.body), exchange, parts.method == Method::HEAD)
    }
}

/// The handler of each endpoint.
async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let allowed = call
        .endpoint
        .methods()
        .split(", ")
        .any(|method| method == call.method.as_str() || (method == "GET" && call.method == Method::HEAD));
    if !allowed && call.endpoint.is_page() {
        return Ok(page::method_not_allowed(call.issuer, call.endpoint));
    }
    if !allowed {
        return Ok(Answer::method_not_allowed(call.endpoint));
    }
    match call.endpoint {
        Endpoint::Authorize => Box::pin(authorize::answer(call)).await,
        Endpoint::Consent => Box::pin(consent::answer(call)).await,
        Endpoint::Callback => Box::pin(callback::answer(call)).await,
        Endpoint::Grants => Box::pin(grants::answer(call)).await,
        Endpoint::SignOut => Box::pin(signout::answer(call)).await,
        Endpoint::Style => Box::pin(page::answer(call)).await,
        Endpoint::Token => Box::pin(token::answer(call)).await,
        Endpoint::Revoke => Box::pin(revoke::answer(call)).await,
        Endpoint::Introspect => Box::pin(introspect::answer(call)).await,
        Endpoint::Userinfo => Box::pin(userinfo::answer(call)).await,
        Endpoint::Register => Box::pin(register::answer(call)).await,
        Endpoint::Jwks => Box::pin(keys::answer(call)).await,
        Endpoint::Metadata | Endpoint::ProtectedResource => Box::pin(metadata::answer(call)).await,
    }
}

/// The answer where a handler has none.
fn fail(shared: &Shared, issuer: &Issuer, failure: &Failure) -> Answer {
    match failure {
        Failure::OAuth(error) => Answer::error(error, &issuer.name),
        Failure::Store(error) => {
            shared.complaints.utter(&format!("the OAuth endpoints cannot ask the store: {error}"));
            let error = OAuthError::new(ErrorCode::TemporarilyUnavailable, "nothing can be issued or checked at the moment; try again");
            Answer::error(&error, &issuer.name).with(RETRY_AFTER, HeaderValue::from(AWAY_RETRY_SECONDS))
        }
        Failure::Unrecordable => {
            let error = OAuthError::new(ErrorCode::TemporarilyUnavailable, "the request cannot be put on record at the moment; try again");
            let answer = Answer::error(&error, &issuer.name).refused(audit::UNAVAILABLE);
            answer.with(RETRY_AFTER, HeaderValue::from(AWAY_RETRY_SECONDS))
        }
        Failure::Limited(limit, too_many) => {
            let error = OAuthError::new(ErrorCode::TemporarilyUnavailable, "too many requests; try again later");
            let mut answer = Answer::error(&error, &issuer.name).refused(limit.reason());
            answer.status = StatusCode::TOO_MANY_REQUESTS;
            rate::limited(&mut answer.headers, limit.name(), too_many);
            answer
        }
    }
}

impl Shared {
    /// The present instant, for limits.
    pub fn nanos(&self) -> u64 {
        self.clock.nanos(Instant::now())
    }
}

#[cfg(test)]
mod tests;
