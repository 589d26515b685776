//! From a decision to the upstream and back: the request built anew, the answer made fit for the client.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::exchange::answer::Reached;
use crate::exchange::{Exchange, rate};
use crate::gateway::Worker;
use crate::gateway::credential::Shown;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::Site;
use crate::gateway::traceback::{self, Look};
use crate::limiter::Standing;
use crate::policy::classify::Classified;
use crate::policy::content_type::BodyKind;
use crate::policy::decision::Permit;
use crate::policy::refusal::{Reason, Refusal};
use crate::reply::{Reply, Shape};
use crate::upstream::Via;
use crate::upstream::answer::Answer;
use crate::upstream::body::RequestBody;
use crate::upstream::error::UpstreamError;
use crate::upstream::headers::{RequestHeaders, to_upstream};
use crate::upstream::send::Outgoing;

/// What was decided to send, all but the body.
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) path: Option<String>,
    pub(super) query: Option<String>,
    pub(super) content_type: Option<HeaderValue>,
}

/// A request on its way up, all but its body and its credential. What the client sent serves to make the headers, and for nothing else.
#[derive(Clone, Copy)]
pub(super) struct Upward<'a> {
    pub(super) plan: &'a Plan,
    pub(super) via: &'a Via,
    pub(super) uri: &'a http::Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) request_id: &'a HeaderValue,
}

impl Plan {
    pub(super) fn new(classified: Classified<'_>, kind: Option<BodyKind>, bytes: Option<Bytes>) -> (Self, RequestBody) {
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
        (Self { method, path: classified.path, query: classified.query, content_type }, body)
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

impl Worker {
    #[expect(clippy::too_many_arguments, reason = "the last step needs what every step before it learnt")]
    pub(super) async fn forward(
        &self,
        _: Permit,
        site: &Site,
        via: &Via,
        (plan, body): (Plan, RequestBody),
        (uri, headers): (http::Uri, HeaderMap),
        credential: Shown,
        standing: Option<Standing>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
        exchange.allowed = true;
        let shape = Shape::of(uri.path());
        let upward = Upward { plan: &plan, via, uri: &uri, headers: &headers, request_id: &exchange.request_id };
        let spare = if credential.kept.is_some() { copy(&body) } else { None };
        let mut answer = self.send(site, upward, body, &credential.header).await??;
        if let Some(kept) = credential.kept.filter(|_| answer.head.status == StatusCode::UNAUTHORIZED) {
            // Boxed, like all that few requests come to.
            answer = Box::pin(self.after_refusal(site, upward, spare, (kept, exchange.token), answer)).await?;
        }
        self.passed_on(site, shape, answer, standing, exchange).await
    }

    /// Sends what is planned.
    pub(super) async fn send(
        &self,
        site: &Site,
        upward: Upward<'_>,
        body: RequestBody,
        credential: &HeaderValue,
    ) -> Result<Result<Answer, UpstreamError>, Rejection> {
        let Upward { plan, via, uri, headers, request_id } = upward;
        let target = plan.target(uri).ok_or_else(|| Refusal::new(Reason::PathInvalid, "the path cannot be asked for"))?;
        let content_type = plan.content_type.as_ref();
        let ours =
            RequestHeaders { site: &site.frappe_site, via, request_id, credential, extra_allowed: &site.extra_headers, content_type };
        let outgoing = Outgoing { method: plan.method.clone(), target, headers: &|| to_upstream(headers, &ours), body };
        Ok(self.upstreams.site(site.upstream).send(outgoing).await)
    }

    /// The answer as the client gets it.
    pub(super) async fn passed_on(
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
                _ => rate::policy("client", &standing.quota),
            };
            rate::standing(&mut answer.head.headers, policy, &standing);
        }
        let is_error = answer.head.status.is_client_error() || answer.head.status.is_server_error();
        if is_error && !site.keep_tracebacks && traceback::may_hold_one(&answer.head.headers) && !answer.body.is_end_stream() {
            return Box::pin(without_traceback(answer, shape)).await;
        }
        Ok(Reached::Upstream(answer))
    }
}

/// The same body once more, where it is held.
fn copy(body: &RequestBody) -> Option<RequestBody> {
    match body {
        RequestBody::Empty => Some(RequestBody::Empty),
        RequestBody::Full(bytes) => Some(RequestBody::Full(bytes.clone())),
        RequestBody::Stream(_) => None,
    }
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
