//! The body of an upload, watched while it streams by.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::exchange::read::Unread;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::BodyBounds;
use crate::policy::decision::Permit;
use crate::policy::multipart::{Field, Scanner};
use crate::upstream::error::BoxError;

/// Bytes of a multipart body that are read before anything of it goes on.
const READ_AHEAD: usize = 64 * 1024;

/// Judges the fields of a multipart body once all are known. Only its yes lets the last piece go.
pub type Judge = Box<dyn FnOnce(Vec<Field>) -> Judgement + Send>;

/// What takes its time because the token is looked up again: an upload may outlive it.
pub type Judgement = Pin<Box<dyn Future<Output = Result<Permit, Rejection>> + Send>>;

/// What became of an upload: told to the request, which answers for it.
#[derive(Clone, Default)]
pub struct Verdict(Arc<Mutex<Ruling>>, Arc<AtomicU64>);

#[derive(Default)]
enum Ruling {
    /// Not all fields are known.
    #[default]
    Open,
    Allowed,
    Refused(Option<Rejection>),
}

impl Verdict {
    /// Why the upload was refused, if it was.
    pub fn refusal(&self) -> Option<Rejection> {
        match &mut *self.lock() {
            Ruling::Refused(rejection) => rejection.take(),
            Ruling::Open | Ruling::Allowed => None,
        }
    }

    /// Whether the whole of it was allowed.
    pub fn allowed(&self) -> bool {
        matches!(*self.lock(), Ruling::Allowed)
    }

    /// Counts the bytes of the body that have come.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.1.clone()
    }

    fn allow(&self) {
        *self.lock() = Ruling::Allowed;
    }

    fn refuse(&self, rejection: Rejection) {
        *self.lock() = Ruling::Refused(Some(rejection));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ruling> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A multipart body on its way through: one piece behind, so that the upstream never has the whole of what is not decided on.
pub struct Upload {
    body: Incoming,
    scanner: Option<Scanner>,
    judge: Option<Judge>,
    judgement: Option<Judgement>,
    verdict: Verdict,
    /// Pieces that were looked at but not let go.
    ahead: VecDeque<Bytes>,
    ended: bool,
    received: u64,
    bounds: BodyBounds,
    began: Instant,
    deadline: Pin<Box<Sleep>>,
    hint: SizeHint,
}

impl Upload {
    pub fn new(body: Incoming, boundary: &str, bounds: BodyBounds, judge: Judge) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let began = Instant::now();
        let upload = Self {
            // Told once: what was read ahead is no longer in `body`, but still to come.
            hint: body.size_hint(),
            body,
            scanner: Some(Scanner::new(boundary)),
            judge: Some(judge),
            judgement: None,
            verdict: verdict.clone(),
            ahead: VecDeque::new(),
            ended: false,
            received: 0,
            bounds,
            began,
            deadline: Box::pin(tokio::time::sleep_until(began + bounds.body_timeout)),
        };
        (upload, verdict)
    }

    /// Reads the beginning, up to `READ_AHEAD`: a body that is short, as most forms are, is judged before the upstream hears of it.
    pub async fn begin(&mut self) -> Result<(), Rejection> {
        let mut ahead = 0;
        while !self.ended && ahead < READ_AHEAD {
            let piece = poll_fn(|context| self.poll_piece(context)).await?;
            let Some(piece) = piece else { break };
            ahead += piece.len();
            self.ahead.push_back(piece);
        }
        Ok(())
    }

    fn fail(&mut self, rejection: Rejection) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.verdict.refuse(rejection);
        self.ahead.clear();
        self.ended = true;
        Poll::Ready(Some(Err("the upload was refused".into())))
    }

    /// The next piece, looked at; `None` at the end of the body, which sets `ended`.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Rejection>> {
        if let Some(judgement) = &mut self.judgement {
            let _permit: Permit = ready!(judgement.as_mut().poll(context))?;
            self.judgement = None;
            self.verdict.allow();
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => {
                    ready!(self.deadline.as_mut().poll(context));
                    let due = self.due();
                    if due <= Instant::now() {
                        return Poll::Ready(Err(Rejection::BodySlow));
                    }
                    self.deadline.as_mut().reset(due);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Unread::ended_by(&error).into())),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers go no further.
                    let Ok(piece) = frame.into_data() else { continue };
                    if !piece.is_empty() {
                        self.look(&piece)?;
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return Poll::Ready(self.end().map(|()| None));
                }
            }
        }
    }

    /// Looks at a piece, and once the closing boundary is there, at the whole.
    fn look(&mut self, piece: &Bytes) -> Result<(), Rejection> {
        self.received += piece.len() as u64;
        self.verdict.1.store(self.received, Ordering::Relaxed);
        if self.received > self.bounds.upload_bytes_max {
            return Err(Rejection::BodyTooLarge(self.bounds.upload_bytes_max));
        }
        let Some(scanner) = &mut self.scanner else { return Err(Rejection::BodyBroken) };
        scanner.push(piece)?;
        if scanner.complete()
            && let Some(judge) = self.judge.take()
        {
            self.judgement = Some(judge(scanner.fields().to_vec()));
        }
        Ok(())
    }

    /// The body must have ended where its closing boundary was.
    fn end(&mut self) -> Result<(), Rejection> {
        let scanner = self.scanner.take().ok_or(Rejection::BodyBroken)?;
        scanner.finish()?;
        Ok(())
    }

    /// When the body must have ended, or have sent more: a head start, and then so many bytes a second.
    fn due(&self) -> Instant {
        let earned = self.received / self.bounds.body_rate_min.max(1);
        self.began + self.bounds.body_timeout + Duration::from_secs(earned)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            // The newest piece stays until another one, or the judgement, lets it go.
            if this.ahead.len() > 1 || this.ended {
                return Poll::Ready(this.ahead.pop_front().map(|piece| Ok(Frame::data(piece))));
            }
            match ready!(this.poll_piece(context)) {
                Ok(Some(piece)) => this.ahead.push_back(piece),
                Ok(None) => {}
                Err(rejection) => return this.fail(rejection),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
