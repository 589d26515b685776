//! Sends a request to a server of a site and brings the head of the answer.
//!
//! A request is tried at most twice: again only if nothing of it was sent, or if it is a GET or HEAD and the connection ended without an
//! answer. PUT and DELETE are idempotent by RFC 9110, but Frappe runs hooks, mails and queued jobs on each of them, so they are not sent
//! twice. A stream that has been read from is gone and never sent again. A request that timed out is not repeated: the server is at
//! work on it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep};

use crate::upstream::Site;
use crate::upstream::answer::{Answer, AnswerBody};
use crate::upstream::body::{Outflow, Progress, RequestBody};
use crate::upstream::connect::Connection;
use crate::upstream::error::{Phase, UpstreamError, with_cause};
use crate::upstream::headers::to_client;
use crate::upstream::health::Standing;
use crate::upstream::pool::{Lease, Pool};

/// A request as it goes up: decided on, canonical, its headers made by `headers::to_upstream`.
pub struct Outgoing<'a> {
    pub method: Method,
    pub target: PathAndQuery,
    /// Makes the headers, once for each try: once hyper has taken a head it is gone, and to copy every one of them for the few that are
    /// tried again would cost more than all that is done here besides.
    pub headers: &'a (dyn Fn() -> HeaderMap + Send + Sync),
    pub body: RequestBody,
}

/// The servers of one site, as one worker thread reaches them.
pub struct SiteUpstream {
    site: Arc<Site>,
    pools: Vec<Arc<Pool>>,
    /// Where the next look for the least busy server starts.
    turn: AtomicUsize,
}

impl SiteUpstream {
    pub(crate) fn new(site: Arc<Site>, pools: Vec<Arc<Pool>>) -> Self {
        Self { site, pools, turn: AtomicUsize::new(0) }
    }

    /// The answer of a server that is up to it. The head has passed `headers::to_client`.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<Answer, UpstreamError> {
        let started = Instant::now();
        let total_deadline = started + self.site.settings.total_timeout;
        let Outgoing { method, target, headers, body } = outgoing;
        let (body, progress) = Outflow::new(body);
        let repeatable = matches!(method, Method::GET | Method::HEAD);
        let spare = if repeatable { body.copy() } else { None };
        let assemble = |body| assemble(method.clone(), target.clone(), headers(), body);
        let course = Course { started, total_deadline, repeatable, progress: progress.as_deref() };

        let first = self.choose(started, None);
        let failed = match self.attempt(first, assemble(body), &course, Reuse::Pooled).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let request = match (failed.unsent, &failed.error) {
            (Some(unsent), _) => *unsent,
            (None, UpstreamError::Closed) => match spare {
                Some(body) => assemble(body),
                None => return Err(failed.error),
            },
            (None, _) => return Err(failed.error),
        };
        // A pooled connection that turned out dead says nothing about its server, a fresh one does.
        let second = if failed.reused { first } else { self.choose(Instant::now(), Some(first)) };
        if second == first && matches!(failed.error, UpstreamError::Connect(_) | UpstreamError::Tls(_) | UpstreamError::Timeout(_)) {
            return Err(failed.error);
        }
        self.attempt(second, request, &course, Reuse::Never).await.map_err(|failed| failed.error)
    }

    /// The least busy healthy server, or one that is due for its trial; else the one that has rested longest, because nothing is won by
    /// not asking. `except` is taken only where there is no other.
    fn choose(&self, now: Instant, except: Option<usize>) -> usize {
        if self.pools.len() == 1 {
            return 0;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let candidates =
            (0..self.pools.len()).map(|offset| start.wrapping_add(offset) % self.pools.len()).filter(|&index| Some(index) != except);
        let mut best: Option<(usize, usize)> = None;
        let mut rested: Option<(u64, usize)> = None;
        for index in candidates {
            let pool = &self.pools[index];
            let health = &pool.server.health;
            match health.standing(now) {
                Standing::Healthy => {
                    let busy = pool.outstanding();
                    if best.is_none_or(|(least, _)| busy < least) {
                        best = Some((busy, index));
                    }
                }
                Standing::Due if health.claim_trial(now, pool.server.settings.rest) => return index,
                Standing::Due | Standing::Resting => {
                    let since = health.since();
                    if rested.is_none_or(|(longest, _)| since < longest) {
                        rested = Some((since, index));
                    }
                }
            }
        }
        best.map(|(_, index)| index).or(rested.map(|(_, index)| index)).or(except).unwrap_or(0)
    }

    async fn attempt(&self, index: usize, request: Request<Outflow>, course: &Course<'_>, reuse: Reuse) -> Result<Answer, Failed> {
        let pool = &self.pools[index];
        let settings = &pool.server.settings;
        let lease = Lease::new(pool);
        let pooled = match reuse {
            Reuse::Pooled => take(pool, course).await,
            Reuse::Never => None,
        };
        let reused = pooled.is_some();
        let (mut connection, handed_over) = match pooled {
            Some(connection) => (connection, course.started),
            None => {
                let deadline = (Instant::now() + settings.connect_timeout).min(course.total_deadline);
                match Box::pin(pool.server.target.open(deadline)).await {
                    Ok(connection) => (connection, Instant::now()),
                    Err(_) if Instant::now() >= course.total_deadline => {
                        return Err(Failed { error: UpstreamError::Timeout(Phase::Total), unsent: None, reused });
                    }
                    Err(error) => {
                        pool.server.health.failed(Instant::now(), settings, &error);
                        return Err(Failed { error, unsent: Some(Box::new(request)), reused });
                    }
                }
            }
        };
        let result = exchange(&mut connection, request, course, handed_over, settings.first_byte_timeout).await;
        let now = Instant::now();
        let checked = result.and_then(|answer| match check_head(&answer) {
            Ok(()) => Ok(answer),
            Err(error) => Err(Failed { error, unsent: None, reused }),
        });
        let answer = match checked {
            Ok(answer) => answer,
            Err(failed) => {
                let failed = Failed { reused, ..failed };
                if failed.blames_server() {
                    pool.server.health.failed(now, settings, &failed.error);
                }
                return Err(failed);
            }
        };
        pool.server.health.succeeded(now);
        let (mut head, incoming) = answer.into_parts();
        // hyper would answer an HTTP/1.0 server in HTTP/1.0 from now on, and silently drop a body of unknown length.
        let keep = head.version == Version::HTTP_11;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        if head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        to_client(&mut head.headers, &self.site.inner_hosts);
        let body = AnswerBody::new(incoming, lease, connection, keep, settings.first_byte_timeout, course.total_deadline);
        Ok(Answer { head, body, waited: now - course.started })
    }

    #[cfg(test)]
    pub(crate) fn pool(&self, index: usize) -> &Arc<Pool> {
        &self.pools[index]
    }
}

/// What holds for a request over all its tries.
struct Course<'a> {
    started: Instant,
    total_deadline: Instant,
    repeatable: bool,
    /// Of a streamed body.
    progress: Option<&'a Progress>,
}

#[derive(Clone, Copy)]
enum Reuse {
    Pooled,
    /// What is in the pool may have died with what was just taken from it.
    Never,
}

struct Failed {
    error: UpstreamError,
    /// The request, where nothing of it was sent.
    unsent: Option<Box<Request<Outflow>>>,
    /// Whether it failed on a connection that had served before.
    reused: bool,
}

impl Failed {
    /// Whether this counts against the server. A pooled connection may end at any time, and a 101 or a failed upload is as much the
    /// doing of whoever asked.
    fn blames_server(&self) -> bool {
        match self.error {
            UpstreamError::Closed => !self.reused,
            UpstreamError::Connect(_) | UpstreamError::Tls(_) | UpstreamError::Malformed(_) => true,
            UpstreamError::Timeout(phase) => matches!(phase, Phase::Connect | Phase::FirstByte),
            UpstreamError::Upgrade | UpstreamError::Body(_) | UpstreamError::Truncated(_) => false,
        }
    }
}

fn assemble(method: Method, target: PathAndQuery, headers: HeaderMap, body: Outflow) -> Request<Outflow> {
    let mut request = Request::new(body);
    *request.headers_mut() = headers;
    if matches!(request.body(), Outflow::Empty) && matches!(method, Method::POST | Method::PUT | Method::PATCH) {
        // RFC 9110 section 8.6: hyper leaves it out, and some servers then wait for a body or answer 411.
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    request
}

/// A pooled connection. For a request that must not be sent twice, the sockets are heard out first: the server may have hung up without
/// the connection's task having been told, and then the request would be lost on it. Yielding lets the runtime ask the kernel.
async fn take(pool: &Pool, course: &Course<'_>) -> Option<Connection> {
    loop {
        let connection = pool.take(course.started)?;
        if course.repeatable {
            return Some(connection);
        }
        yield_now().await;
        if connection.is_ready() {
            return Some(connection);
        }
    }
}

/// Hands the request over and waits for the head of the answer.
async fn exchange(
    connection: &mut Connection,
    request: Request<Outflow>,
    course: &Course<'_>,
    handed_over: Instant,
    first_byte_timeout: Duration,
) -> Result<Response<Incoming>, Failed> {
    let mut wait = Wait { course, handed_over, first_byte_timeout };
    let Connection { sender, sleep, .. } = connection;
    sleep.as_mut().reset(wait.due(handed_over).min(course.total_deadline));
    let mut answer = pin!(sender.try_send_request(request));
    let result = poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending => wait.poll_overdue(sleep.as_mut(), context).map(Err),
    })
    .await;
    match result {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(mut failure)) => {
            let unsent = failure.take_message().map(Box::new);
            let error = if unsent.is_some() { UpstreamError::Closed } else { explain(failure.error(), course.progress) };
            Err(Failed { error, unsent, reused: false })
        }
        Err(phase) => Err(Failed { error: UpstreamError::Timeout(phase), unsent: None, reused: false }),
    }
}

/// How long the head of an answer is waited for.
struct Wait<'a> {
    course: &'a Course<'a>,
    handed_over: Instant,
    first_byte_timeout: Duration,
}

impl Wait<'_> {
    /// When the head is overdue. While a stream is still being sent, a whole wait lies ahead.
    fn due(&self, now: Instant) -> Instant {
        let sent = self.course.progress.map_or(self.handed_over, |progress| progress.ended().unwrap_or(now));
        sent.max(self.handed_over) + self.first_byte_timeout
    }

    fn poll_overdue(&mut self, mut sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Phase> {
        loop {
            ready!(sleep.as_mut().poll(context));
            let now = Instant::now();
            if now >= self.course.total_deadline {
                return Poll::Ready(Phase::Total);
            }
            let due = self.due(now);
            if now >= due {
                return Poll::Ready(Phase::FirstByte);
            }
            sleep.as_mut().reset(due.min(self.course.total_deadline));
        }
    }
}

fn explain(error: &hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    if let Some(failure) = progress.and_then(Progress::take_failure) {
        return UpstreamError::Body(failure);
    }
    if error.is_body_write_aborted() {
        return UpstreamError::Body("it ended before its announced length".into());
    }
    if error.is_parse() {
        return UpstreamError::Malformed(with_cause(error));
    }
    UpstreamError::Closed
}

/// Refuses heads that hyper accepts and that two readers may understand differently (RFC 9112 section 6.3), and a 101.
fn check_head<B>(answer: &Response<B>) -> Result<(), UpstreamError> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpstreamError::Upgrade);
    }
    let headers = answer.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || length.is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(UpstreamError::Malformed("more than one length, or one that is no number".to_owned()));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if length.is_some() || codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(UpstreamError::Malformed("a transfer coding beside a length, or other than `chunked`".to_owned()));
    }
    Ok(())
}
