//! The path of an API request: classify, authenticate, decide, admit, forward. One function, `Worker::answer`, holds it all.
//!
//! Whatever says no is a [`rejection::Rejection`]; whatever happens ends in one audit record, when the [`Exchange`] is dropped.

pub mod authenticate;
pub mod credential;
pub mod forward;
pub mod read;
pub mod refused;
pub mod rejection;
pub mod site;
pub mod site_tokens;
pub mod traceback;
pub mod upload;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::audit;
use crate::exchange::answer::{Reached, answer_with, own};
use crate::exchange::body::GateBody;
use crate::exchange::held::{Bodies, Held};
use crate::exchange::read::whole;
use crate::exchange::{Exchange, cors, rate};
use crate::gateway::credential::ClientKeys;
use crate::gateway::forward::Plan;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::Site;
use crate::gateway::site_tokens::KeptTokens;
use crate::limiter::{self, Addresses, Clock, Standing};
use crate::oauth::client::ClientRate;
use crate::policy::classify::{Body, Draft, Head};
use crate::policy::content_type::BodyKind;
use crate::policy::decision::{NamedScopes, Permit, Provisional};
use crate::policy::operation::Operation;
use crate::policy::quota::Quota;
use crate::policy::refusal::Refusal;
use crate::policy::token::TokenHash;
use crate::reply::Shape;
use crate::store::cached::{CachedStore, Live};
use crate::store::origins::Origins;
use crate::telemetry::Complaints;
use crate::upstream::{Via, WorkerUpstreams};

/// What all workers share.
pub struct Shared {
    pub store: Arc<CachedStore>,
    pub keys: Arc<ClientKeys>,
    pub site_tokens: Arc<KeptTokens>,
    pub origins: Arc<Origins>,
    pub limits: Limits,
    pub bodies: Arc<Bodies>,
    pub clock: Clock,
    pub complaints: Arc<Complaints>,
}

/// The first limits (DESIGN section 9); `None` is no limit.
pub struct Limits {
    pub client: Option<ClientLimit>,
    pub address: Option<Arc<Addresses>>,
    pub failed_authentications: Option<Arc<Addresses>>,
}

/// The limit of every client that has none of its own, and how answers tell it.
pub struct ClientLimit {
    quota: Quota,
    policy: HeaderValue,
}

impl ClientLimit {
    pub fn new(quota: Quota) -> Self {
        Self { quota, policy: rate::policy("client", &quota) }
    }
}

/// The gateway as one worker thread runs it.
pub struct Worker {
    pub shared: Arc<Shared>,
    pub upstreams: Arc<WorkerUpstreams>,
}

impl Worker {
    /// Answers one request of `site`, whatever it takes.
    pub async fn serve(&self, site: &Site, via: &Via, request: Request<Incoming>, mut exchange: Box<Exchange>) -> Response<GateBody> {
        let shape = Shape::of(request.uri().path());
        let is_head = request.method() == Method::HEAD;
        let page = cors::page(site.differs_by_origin(), request.headers());
        let answered = match *request.method() {
            Method::OPTIONS => self.options(site, request.headers(), page.as_ref(), &mut exchange).await,
            _ => self.answer(site, via, request, &mut exchange).await,
        };
        // Only now, so that a request that is turned away for coming too often asks the store for nothing.
        let origin = match page {
            Some(page) => {
                let may_ask = answered.as_ref().err().is_none_or(|rejection| !rejection.ends_all());
                self.lets_in(site, &page, may_ask).await.then_some(page)
            }
            None => None,
        };
        let mut response = match answered {
            Ok(reached) => own(reached, exchange, is_head),
            Err(rejection) => reject(rejection, &site.challenge, shape, exchange, is_head),
        };
        if site.differs_by_origin() {
            cors::allow(response.headers_mut(), origin);
        }
        response
    }

    /// Whether the pages of an origin may read what the site answers: the site says so, or one of its clients.
    async fn lets_in(&self, site: &Site, origin: &HeaderValue, may_ask: bool) -> bool {
        if site.origins.contains(origin) {
            return true;
        }
        let Some(origin) = cors::text(origin).filter(|_| site.client_origins) else { return false };
        if !may_ask {
            return Box::pin(self.shared.origins.remembered(site.id, origin)).await.unwrap_or(false);
        }
        match Box::pin(self.shared.origins.allowed(site.id, &site.name, origin)).await {
            Ok(allowed) => allowed,
            // The answer itself is as good as ever; a page that may not read it asks again.
            Err(error) => {
                self.shared.complaints.utter(&format!("the origins of clients cannot be looked up: {error}"));
                false
            }
        }
    }

    /// The path of a request. Every step's yes is the next one's ground; `?` is the only way out.
    async fn answer(&self, site: &Site, via: &Via, request: Request<Incoming>, exchange: &mut Exchange) -> Result<Reached, Rejection> {
        let (parts, body) = request.into_parts();
        if exchange.unrecordable() {
            return Err(Rejection::Unrecordable);
        }
        self.admit_address(exchange)?;
        let draft = site.rules.head(head_of(&parts, &body)?)?;
        let token = authenticate::bearer(&parts.headers)?;
        let mut live = self.authenticate(site, &token, exchange).await?;
        if let Some(BodyKind::Multipart(boundary)) = &draft.body {
            let boundary = boundary.clone();
            // Boxed, like all that few requests come to: room for it is not kept by every connection.
            return Box::pin(self.upload(site, via, (parts, body), &boundary, &token, &live, exchange)).await;
        }
        let mut held = self.shared.bodies.share();
        let bytes = self.body(site, &live, &draft, body, &mut held, exchange).await?;
        if bytes.is_some() {
            live = self.shared.live(site.id, &site.name, &token.hash(), audit::now(), Instant::now()).await?;
        }
        let kind = draft.body.clone();
        let classified = site.rules.finish(draft, bytes.as_ref().map_or(Body::None, |bytes| Body::Bytes(bytes)))?;
        exchange.classified(&classified.operation);
        let permit = decide(&site.scopes, &live, &classified.operation)?;
        let standing = self.admit_client(&live, exchange)?;
        let planned = Plan::new(classified, kind, bytes);
        let credential = self.credential(site, &live, &token).await?;
        if credential.waited {
            self.still_lives(site, token.hash()).await?;
        }
        self.forward(permit, site, via, planned, (parts.uri, parts.headers), credential, standing, exchange).await
    }

    /// Looks the token up once more, after something was waited for: nothing goes up on the word of a look-up that is older than the bound.
    async fn still_lives(&self, site: &Site, hash: TokenHash) -> Result<(), Rejection> {
        // Boxed, like all that few requests come to.
        Box::pin(self.shared.live(site.id, &site.name, &hash, audit::now(), Instant::now())).await.map(drop)
    }

    /// What may be asked, and by which pages: told to whoever wants to know.
    async fn options(
        &self,
        site: &Site,
        headers: &HeaderMap,
        page: Option<&HeaderValue>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        self.admit_address(exchange)?;
        exchange.allowed = true;
        exchange.reason = "options";
        let lets_in = match page {
            Some(page) => self.lets_in(site, page, true).await,
            None => false,
        };
        let (status, headers) = cors::options(headers, lets_in);
        Ok(Reached::Own(status, headers, Bytes::new()))
    }

    /// Reads a JSON or form body, but not for a token that could not do anything with it.
    async fn body(
        &self,
        site: &Site,
        live: &Live,
        draft: &Draft<'_>,
        body: Incoming,
        held: &mut Held,
        exchange: &mut Exchange,
    ) -> Result<Option<Bytes>, Rejection> {
        if draft.body.is_none() {
            return Ok(None);
        }
        self.foresee(site, live)?;
        let (most, time) = (site.bodies.body_bytes_max, site.bodies.body_timeout);
        Ok(Some(Box::pin(whole(body, most, time, held, &mut exchange.bytes_in)).await?))
    }

    /// Refuses a token that allows nothing at all before anything is read on its behalf.
    fn foresee(&self, site: &Site, live: &Live) -> Result<Provisional, Rejection> {
        site.scopes.foresee(&live.record.scopes).map_err(Rejection::from)
    }

    fn admit_address(&self, exchange: &Exchange) -> Result<(), Rejection> {
        match &self.shared.limits.address {
            Some(addresses) => {
                addresses.count(exchange.address, self.nanos(exchange.started)).map(drop).map_err(Rejection::LimitedByAddress)
            }
            None => Ok(()),
        }
    }

    /// Counts the request of a client, in the cell that lies with its record.
    fn admit_client(&self, live: &Live, exchange: &Exchange) -> Result<Option<Standing>, Rejection> {
        let Some(quota) = live.client.client().rate.map(quota_of).or(self.shared.limits.client.as_ref().map(|limit| limit.quota)) else {
            return Ok(None);
        };
        let standing = limiter::count(&live.client.cell, &quota, self.nanos(exchange.started)).map_err(Rejection::LimitedByClient)?;
        Ok(Some(standing))
    }
}

/// The answer to a request that ends here.
fn reject(rejection: Rejection, challenge: &str, shape: Shape, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
    exchange.reason = rejection.code();
    exchange.timed_out = rejection.timed_out();
    exchange.abandoned = rejection.abandoned();
    answer_with(rejection.into_reply(challenge), shape, exchange, is_head)
}

/// Whether the token allows the operation, and its client still does: what the operator takes from a client, its tokens lose (T175).
fn decide(scopes: &NamedScopes, live: &Live, operation: &Operation<'_>) -> Result<Permit, Refusal> {
    let client = live.client.client();
    if !client.scopes.all() {
        scopes.decide(&client.scopes, operation)?;
    }
    scopes.decide(&live.record.scopes, operation)
}

fn head_of<'a>(parts: &'a Parts, body: &Incoming) -> Result<Head<'a>, Rejection> {
    let has_body = !body.is_end_stream();
    let content_type = only(&parts.headers, &CONTENT_TYPE, "Content-Type")?;
    if has_body && parts.headers.contains_key(CONTENT_ENCODING) {
        return Err(Rejection::ContentEncoded);
    }
    Ok(Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        content_type: content_type.map(HeaderValue::as_bytes),
        has_body,
    })
}

/// The only header of that name; two of them are refused, since every reader picks another (T287).
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'a HeaderValue>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Rejection::HeaderRepeated(shown)) } else { Ok(value) }
}

fn quota_of(rate: ClientRate) -> Quota {
    Quota { requests: rate.requests, period: std::time::Duration::from_secs(u64::from(rate.seconds)), burst: rate.burst }
}

#[cfg(test)]
mod tests;
