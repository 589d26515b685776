//! The body of a request on its way up.
//!
//! Trailers never go up. A stream that fails fails the whole request, so that no server takes a part for the whole.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::upstream::error::BoxError;

/// A body that is read while it is sent.
pub type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// What goes up after the head.
pub enum RequestBody {
    Empty,
    Full(Bytes),
    Stream(BoxBody),
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A [`RequestBody`] as hyper polls it.
pub(crate) enum Outflow {
    Empty,
    Full(Bytes),
    Stream { body: BoxBody, progress: Arc<Progress> },
}

/// What the sending of a stream has come to, told by the connection's task to the request's.
#[derive(Default)]
pub(crate) struct Progress {
    ended: OnceLock<Instant>,
    failure: Mutex<Option<BoxError>>,
}

impl Progress {
    /// When the last byte was handed over; `None` while there are more.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }

    pub(crate) fn take_failure(&self) -> Option<BoxError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(&self) {
        self.ended.get_or_init(Instant::now);
    }
}

impl Outflow {
    /// The body, and for a stream what it has come to.
    pub(crate) fn new(body: RequestBody) -> (Self, Option<Arc<Progress>>) {
        match body {
            RequestBody::Empty => (Self::Empty, None),
            RequestBody::Full(bytes) => (Self::Full(bytes), None),
            RequestBody::Stream(body) => {
                let progress = Arc::new(Progress::default());
                if body.is_end_stream() {
                    progress.end();
                }
                (Self::Stream { body, progress: Arc::clone(&progress) }, Some(progress))
            }
        }
    }
}

impl Outflow {
    /// The same once more; `None` for what cannot be had twice.
    pub(crate) fn copy(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream { .. } => None,
        }
    }
}

impl Body for Outflow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Self::Stream { body, progress } => loop {
                match ready!(body.as_mut().poll_frame(context)) {
                    Some(Ok(frame)) if frame.is_data() => {
                        if body.is_end_stream() {
                            progress.end();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(failure)) => {
                        *progress.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                        return Poll::Ready(Some(Err("the body of the request failed".into())));
                    }
                    None => {
                        progress.end();
                        return Poll::Ready(None);
                    }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}
