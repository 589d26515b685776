//! The path of an API request: classify, authenticate, decide, admit, forward. One function, `Worker::answer`, holds it all.
//!
//! Whatever says no is a [`rejection::Rejection`]; whatever happens ends in one audit record, when the [`exchange::Exchange`] is dropped.

pub mod authenticate;
pub mod body;
pub mod cors;
pub mod credential;
pub mod exchange;
pub mod held;
pub mod read;
pub mod rejection;
pub mod site;
pub mod traceback;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::audit::{self, AuditLog};
use crate::gateway::body::GateBody;
use crate::gateway::credential::ClientKeys;
use crate::gateway::exchange::Exchange;
use crate::gateway::held::{Bodies, Held};
use crate::gateway::read::{Judge, Upload, Verdict};
use crate::gateway::rejection::{ANSWERED_EARLY, RATE_LIMIT, RATE_LIMIT_POLICY, Rejection, policy_field, seconds_up};
use crate::gateway::site::Site;
use crate::gateway::traceback::Look;
use crate::limiter::{self, Addresses, Clock, Standing};
use crate::oauth::client::ClientRate;
use crate::policy::classify::{Body, Classified, Draft, Head};
use crate::policy::content_type::BodyKind;
use crate::policy::decision::{NamedScopes, Permit, Provisional};
use crate::policy::operation::Operation;
use crate::policy::quota::Quota;
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::token::AccessToken;
use crate::reply::{Reply, Shape, X_REQUEST_ID};
use crate::store::cached::{CachedStore, Live};
use crate::telemetry::WorkerCounters;
use crate::upstream::answer::Answer;
use crate::upstream::body::RequestBody;
use crate::upstream::error::UpstreamError;
use crate::upstream::headers::{RequestHeaders, to_upstream};
use crate::upstream::send::Outgoing;
use crate::upstream::{Via, WorkerUpstreams};

/// What all workers share.
pub struct Shared {
    pub store: Arc<CachedStore>,
    pub keys: Arc<ClientKeys>,
    pub limits: Limits,
    pub bodies: Arc<Bodies>,
    pub clock: Clock,
    /// When the operator was last told that something is away, in nanoseconds of `clock`.
    pub complained: Arc<AtomicU64>,
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
        Self { quota, policy: policy_value(&quota) }
    }
}

/// The gateway as one worker thread runs it.
pub struct Worker {
    pub shared: Arc<Shared>,
    pub log: Arc<AuditLog>,
    pub counters: Arc<WorkerCounters>,
    pub upstreams: Arc<WorkerUpstreams>,
}

/// An answer on its way: the head, and a body that is the gate's own or the upstream's.
enum Reached {
    Own(StatusCode, HeaderMap, Bytes),
    Upstream(Answer),
}

impl Worker {
    /// Answers one request of `site`, whatever it takes.
    pub async fn serve(&self, site: &Site, via: &Via, request: Request<Incoming>, mut exchange: Box<Exchange>) -> Response<GateBody> {
        let shape = Shape::of(request.uri().path());
        let is_head = request.method() == Method::HEAD;
        let origin = cors::origin(site, request.headers());
        let answered = match *request.method() {
            Method::OPTIONS => self.options(request.headers(), origin.as_ref(), &mut exchange),
            _ => self.answer(site, via, request, &mut exchange).await,
        };
        let mut response = match answered {
            Ok(reached) => own(reached, exchange, is_head),
            Err(rejection) => reject(rejection, &site.challenge, shape, exchange, is_head),
        };
        cors::allow(response.headers_mut(), site, origin);
        response
    }

    /// The path of a request. Every step's yes is the next one's ground; `?` is the only way out.
    async fn answer(&self, site: &Site, via: &Via, request: Request<Incoming>, exchange: &mut Exchange) -> Result<Reached, Rejection> {
        let (parts, body) = request.into_parts();
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
        let outgoing = Plan::new(classified, kind, bytes);
        let credential = self.credential(site, &live, &token).await?;
        self.forward(permit, site, via, outgoing, (parts.uri, parts.headers), credential, standing, exchange).await
    }

    /// What may be asked, and by which pages: told to whoever wants to know.
    fn options(&self, headers: &HeaderMap, origin: Option<&HeaderValue>, exchange: &mut Exchange) -> Result<Reached, Rejection> {
        self.admit_address(exchange)?;
        exchange.allowed = true;
        exchange.reason = "options";
        let (status, headers) = cors::options(headers, origin);
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
        Box::pin(read::whole(body, &site.bodies, held, &mut exchange.bytes_in)).await.map(Some)
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

    #[expect(clippy::too_many_arguments, reason = "the last step needs what every step before it learnt")]
    async fn forward(
        &self,
        _: Permit,
        site: &Site,
        via: &Via,
        plan: Plan,
        (uri, headers): (http::Uri, HeaderMap),
        credential: HeaderValue,
        standing: Option<Standing>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        exchange.allowed = true;
        let shape = Shape::of(uri.path());
        let answer = self.send(site, via, plan, (&uri, &headers), &credential, &exchange.request_id).await??;
        self.passed_on(site, shape, answer, standing, exchange).await
    }

    /// Sends what is planned. What the client sent serves to make the headers, and for nothing else.
    async fn send(
        &self,
        site: &Site,
        via: &Via,
        plan: Plan,
        (uri, headers): (&http::Uri, &HeaderMap),
        credential: &HeaderValue,
        request_id: &HeaderValue,
    ) -> Result<Result<Answer, UpstreamError>, Rejection> {
        let target = plan.target(uri).ok_or_else(|| Refusal::new(Reason::PathInvalid, "the path cannot be asked for"))?;
        let content_type = plan.content_type.as_ref();
        let ours =
            RequestHeaders { site: &site.frappe_site, via, request_id, credential, extra_allowed: &site.extra_headers, content_type };
        let outgoing = Outgoing { method: plan.method, target, headers: &|| to_upstream(headers, &ours), body: plan.body };
        Ok(self.upstreams.site(site.upstream).send(outgoing).await)
    }

    /// A multipart body streams through; its fields are judged on the way, and its last piece waits for the judgement.
    #[expect(clippy::too_many_arguments, reason = "the judge needs what every step before it learnt")]
    async fn upload(
        &self,
        site: &Site,
        via: &Via,
        (parts, body): (Parts, Incoming),
        boundary: &str,
        token: &AccessToken,
        live: &Arc<Live>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        let provisional = self.foresee(site, live)?;
        if body.size_hint().lower() > site.bodies.upload_bytes_max {
            return Err(Rejection::BodyTooLarge(site.bodies.upload_bytes_max));
        }
        let standing = self.admit_client(live, exchange)?;
        let credential = self.credential(site, live, token).await?;
        let (rules, scopes, head) = (site.rules.clone(), site.scopes.clone(), OwnedHead::of(&parts));
        let (shared, id, name, hash) = (self.shared.clone(), site.id, site.name.clone(), token.hash());
        let learnt = Arc::new(std::sync::Mutex::new(None));
        let told = learnt.clone();
        let judge: Judge = Box::new(move |fields| {
            Box::pin(async move {
                let live = shared.live(id, &name, &hash, audit::now(), Instant::now()).await?;
                let classified = rules.finish(rules.head(head.head())?, Body::Fields(fields))?;
                let subject = exchange::Subject::of(&classified.operation);
                *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(subject);
                Ok(decide(&scopes, &live, &classified.operation)?)
            })
        });
        let (mut upload, verdict) = Upload::new(body, boundary, site.bodies, judge);
        exchange.upload = Some(verdict.clone());
        let begun = upload.begin().await;
        let learnt = move |exchange: &mut Exchange| {
            if let Some(subject) = learnt.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                exchange.subject = subject;
            }
        };
        if let Err(rejection) = begun {
            learnt(exchange);
            return Err(rejection);
        }
        let uri = canonical(site, &parts)?;
        let shape = Shape::of(uri.path());
        let plan = Plan {
            method: parts.method,
            path: None,
            query: uri.query().map(str::to_owned),
            content_type: HeaderValue::from_str(&BodyKind::Multipart(boundary.into()).to_content_type()).ok(),
            body: RequestBody::Stream(Box::pin(upload)),
        };
        let answer = self.send(site, via, plan, (&uri, &parts.headers), &credential, &exchange.request_id).await?;
        learnt(exchange);
        self.uploaded(provisional, &verdict, answer, (site, shape), standing, exchange).await
    }

    /// An answer to an upload counts only if the whole of it was allowed; a refusal on the way beats whatever the upstream said.
    async fn uploaded(
        &self,
        _: Provisional,
        verdict: &Verdict,
        answer: Result<Answer, UpstreamError>,
        (site, shape): (&Site, Shape),
        standing: Option<Standing>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        if let Some(rejection) = verdict.refusal() {
            return Err(rejection);
        }
        exchange.allowed = verdict.allowed();
        let answer = answer?;
        if !exchange.allowed && answer.head.status.is_success() {
            return Err(Rejection::AnsweredEarly);
        }
        let reached = self.passed_on(site, shape, answer, standing, exchange).await;
        if !exchange.allowed {
            exchange.reason = ANSWERED_EARLY;
        }
        reached
    }

    /// The answer as the client gets it.
    async fn passed_on(
        &self,
        site: &Site,
        shape: Shape,
        mut answer: Answer,
        standing: Option<Standing>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        exchange.upstream = Some(answer.waited);
        exchange.reason = "ok";
        if let Some(standing) = standing {
            let policy = match &self.shared.limits.client {
                Some(limit) if limit.quota == standing.quota => limit.policy.clone(),
                _ => policy_value(&standing.quota),
            };
            answer.head.headers.insert(RATE_LIMIT_POLICY, policy);
            answer.head.headers.insert(RATE_LIMIT, standing_value(&standing));
        }
        let is_error = answer.head.status.is_client_error() || answer.head.status.is_server_error();
        if is_error && !site.keep_tracebacks && traceback::may_hold_one(&answer.head.headers) && !answer.body.is_end_stream() {
            return Box::pin(without_traceback(answer, shape)).await;
        }
        Ok(Reached::Upstream(answer))
    }
}

/// Whether the token allows the operation, and its client still does: what the operator takes from a client, its tokens lose (T175).
fn decide(scopes: &NamedScopes, live: &Live, operation: &Operation<'_>) -> Result<Permit, Refusal> {
    let client = live.client.client();
    if !client.scopes.all() {
        scopes.decide(&client.scopes, operation)?;
    }
    scopes.decide(&live.record.scopes, operation)
}

/// What was decided to send.
struct Plan {
    method: Method,
    path: Option<String>,
    query: Option<String>,
    content_type: Option<HeaderValue>,
    body: RequestBody,
}

impl Plan {
    fn new(classified: Classified<'_>, kind: Option<BodyKind>, bytes: Option<Bytes>) -> Self {
        let body = match (classified.body, bytes) {
            (Some(rewritten), _) => RequestBody::Full(Bytes::from(rewritten)),
            (None, Some(bytes)) => RequestBody::Full(bytes),
            (None, None) => RequestBody::Empty,
        };
        let content_type = kind.map(|kind| match kind {
            BodyKind::Json => HeaderValue::from_static("application/json"),
            BodyKind::Form | BodyKind::Multipart(_) => HeaderValue::from_static("application/x-www-form-urlencoded"),
        });
        let method = match classified.verb {
            crate::policy::operation::Verb::Get => Method::GET,
            crate::policy::operation::Verb::Head => Method::HEAD,
            crate::policy::operation::Verb::Post => Method::POST,
            crate::policy::operation::Verb::Put => Method::PUT,
            crate::policy::operation::Verb::Patch => Method::PATCH,
            crate::policy::operation::Verb::Delete => Method::DELETE,
        };
        Self { method, path: classified.path, query: classified.query, content_type, body }
    }

    /// The request target. A path that was canonical as it came is not built again.
    fn target(&self, uri: &http::Uri) -> Option<PathAndQuery> {
        match (&self.path, &self.query) {
            (None, None) if uri.query().is_none() => uri.path_and_query().cloned(),
            (path, None) => PathAndQuery::try_from(path.as_deref().unwrap_or(uri.path())).ok(),
            (path, Some(query)) => {
                let path = path.as_deref().unwrap_or(uri.path());
                let mut target = String::with_capacity(path.len() + 1 + query.len());
                target.push_str(path);
                target.push('?');
                target.push_str(query);
                PathAndQuery::try_from(target).ok()
            }
        }
    }
}

/// The head of an upload, for the judge, who outlives the request's own.
struct OwnedHead {
    method: Method,
    uri: http::Uri,
    content_type: Option<HeaderValue>,
}

impl OwnedHead {
    fn of(parts: &Parts) -> Self {
        Self { method: parts.method.clone(), uri: parts.uri.clone(), content_type: parts.headers.get(CONTENT_TYPE).cloned() }
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: self.uri.query(),
            content_type: self.content_type.as_ref().map(HeaderValue::as_bytes),
            has_body: true,
        }
    }
}

/// The target of an upload, rebuilt: its path and query are known before its fields are.
fn canonical(site: &Site, parts: &Parts) -> Result<http::Uri, Rejection> {
    let head = OwnedHead::of(parts);
    let draft = site.rules.head(head.head())?;
    draft.target().parse().map_err(|_| Refusal::new(Reason::PathInvalid, "the path cannot be asked for").into())
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

/// `RateLimit-Policy` of an answer.
fn policy_value(quota: &Quota) -> HeaderValue {
    HeaderValue::from_str(&policy_field("client", quota)).unwrap_or(HeaderValue::from_static("\"client\""))
}

/// `RateLimit` of an answer: it differs from answer to answer, so it is put together without the formatter.
fn standing_value(standing: &Standing) -> HeaderValue {
    // A burst may be larger than the quota, of which no more than all can be left.
    let remaining = standing.remaining.min(standing.quota.requests);
    let (mut r, mut t) = (itoa::Buffer::new(), itoa::Buffer::new());
    let text = ["\"client\";r=", r.format(remaining), ";t=", t.format(seconds_up(standing.reset))].concat();
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"client\""))
}

/// Reads an error body and cuts what tells of the inside. One that cannot be looked at is replaced.
async fn without_traceback(answer: Answer, shape: Shape) -> Result<Reached, Rejection> {
    let (mut head, mut body) = (answer.head, answer.body);
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Ok(replaced(head, shape));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > traceback::ERROR_BYTES_MAX {
            return Ok(replaced(head, shape));
        }
    }
    let bytes = match traceback::look(&bytes) {
        Look::Clean => bytes,
        Look::Cut(rest) => rest,
        Look::Unreadable => return Ok(replaced(head, shape)),
    };
    head.headers.remove(CONTENT_LENGTH);
    Ok(Reached::Own(head.status, head.headers, Bytes::from(bytes)))
}

/// An error with a body of ours; what the head says of the error itself, such as `Retry-After`, stays.
fn replaced(mut head: http::response::Parts, shape: Shape) -> Reached {
    let (status, headers, body) = Reply::new(head.status, "upstream_error", "the site answered with an error").into_parts(shape);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG] {
        head.headers.remove(name);
    }
    head.headers.extend(headers);
    Reached::Own(status, head.headers, body)
}

/// The answer with the exchange in its body.
fn own(reached: Reached, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
    let (status, mut headers, body) = match reached {
        Reached::Own(status, headers, bytes) => (status, headers, Ok(bytes)),
        Reached::Upstream(answer) => (answer.head.status, answer.head.headers, Err(answer.body)),
    };
    exchange.status = status.as_u16();
    headers.insert(X_REQUEST_ID, exchange.request_id.clone());
    let body = match body {
        // Nobody would read the bytes of an answer to HEAD, and the exchange would look broken off.
        Ok(bytes) if is_head => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            GateBody::own(Bytes::new(), exchange)
        }
        Ok(bytes) => GateBody::own(bytes, exchange),
        Err(body) => GateBody::upstream(body, exchange),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer to a request that ends here.
pub fn reject(rejection: Rejection, challenge: &str, shape: Shape, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
    exchange.reason = rejection.code();
    exchange.timed_out = rejection.timed_out();
    exchange.abandoned = rejection.abandoned();
    answer_with(rejection.into_reply(challenge), shape, exchange, is_head)
}

/// A no of the gate's own, written out.
pub fn answer_with(reply: Reply, shape: Shape, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
    exchange.refused = true;
    exchange.reason = reply.reason;
    let (status, headers, bytes) = reply.into_parts(shape);
    own(Reached::Own(status, headers, bytes), exchange, is_head)
}

impl Shared {
    /// Tells the operator that something is away, once a second at most: a store that is down is asked thousands of times.
    pub fn complain(&self, what: &str) {
        const INTERVAL: u64 = 1_000_000_000;
        let now = self.clock.nanos(Instant::now());
        let last = self.complained.load(Ordering::Relaxed);
        if now >= last.saturating_add(INTERVAL) && self.complained.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::error!("{what}");
        }
    }
}
