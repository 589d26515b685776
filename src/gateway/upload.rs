//! The path of an upload, the one exception to "decide, then forward": its fields are judged while it streams through, and its last piece
//! waits for the judgement.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::audit;
use crate::exchange::answer::Reached;
use crate::exchange::{Exchange, Subject};
use crate::gateway::forward::{Plan, Upward};
use crate::gateway::read::{Judge, Upload};
use crate::gateway::rejection::{ANSWERED_EARLY, Rejection};
use crate::gateway::site::Site;
use crate::gateway::{Worker, decide};
use crate::limiter::Standing;
use crate::policy::classify::{Body, Head};
use crate::policy::content_type::BodyKind;
use crate::policy::decision::Provisional;
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::token::AccessToken;
use crate::reply::Shape;
use crate::store::cached::Live;
use crate::upstream::Via;
use crate::upstream::answer::Answer;
use crate::upstream::body::RequestBody;
use crate::upstream::error::UpstreamError;

impl Worker {
    /// A multipart body streams through; its fields are judged on the way, and its last piece waits for the judgement.
    #[expect(clippy::too_many_arguments, reason = "the judge needs what every step before it learnt")]
    pub(super) async fn upload(
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
        let learnt = Arc::new(Mutex::new(None));
        let told = learnt.clone();
        let judge: Judge = Box::new(move |fields| {
            Box::pin(async move {
                let live = shared.live(id, &name, &hash, audit::now(), Instant::now()).await?;
                let classified = rules.finish(rules.head(head.head())?, Body::Fields(fields))?;
                let subject = Subject::of(&classified.operation);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(subject);
                Ok(decide(&scopes, &live, &classified.operation)?)
            })
        });
        let (mut upload, verdict) = Upload::new(body, boundary, site.bodies, judge);
        exchange.upload = Some(verdict.counter());
        let begun = upload.begin().await;
        let learnt = move |exchange: &mut Exchange| {
            if let Some(subject) = learnt.lock().unwrap_or_else(PoisonError::into_inner).take() {
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
        };
        let upward = Upward { plan: &plan, via, uri: &uri, headers: &parts.headers, request_id: &exchange.request_id };
        let answer = self.send(site, upward, RequestBody::Stream(Box::pin(upload)), &credential.header).await?;
        let refused = verdict.refusal();
        let answer = match (answer, credential.kept) {
            (Ok(answer), Some(kept)) if refused.is_none() && answer.head.status == StatusCode::UNAUTHORIZED => {
                self.after_refusal(site, upward, None, (kept, exchange.token), answer).await.map(Ok)
            }
            (answer, _) => Ok(answer),
        };
        learnt(exchange);
        exchange.allowed = verdict.allowed();
        // A refusal on the way beats whatever the upstream said.
        if let Some(rejection) = refused {
            return Err(rejection);
        }
        let answer = answer?;
        self.uploaded(provisional, answer, (site, shape), standing, exchange).await
    }

    /// An answer to an upload counts only if the whole of it was allowed.
    async fn uploaded(
        &self,
        _: Provisional,
        answer: Result<Answer, UpstreamError>,
        (site, shape): (&Site, Shape),
        standing: Option<Standing>,
        exchange: &mut Exchange,
    ) -> Result<Reached, Rejection> {
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
