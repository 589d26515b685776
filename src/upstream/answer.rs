//! What a server answered: the head, and a body that streams through.
//!
//! No frame is kept: what arrives is handed on. A body that breaks off is an error and not an end, so that the client's connection is
//! cut and nothing incomplete looks complete. Trailers are dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::upstream::connect::Connection;
use crate::upstream::error::{Phase, UpstreamError, with_cause};
use crate::upstream::pool::Lease;

/// An answer whose head has passed `headers::to_client`.
pub struct Answer {
    pub head: Parts,
    pub body: AnswerBody,
    /// From the start of forwarding to the head of the answer.
    pub waited: Duration,
}

/// The body of an answer. Dropped before its end, it ends the connection.
pub struct AnswerBody {
    incoming: Incoming,
    /// `None` once the answer has ended.
    held: Option<Held>,
    gap_timeout: Duration,
    total_deadline: Instant,
    /// Since when the next frame is waited for.
    waiting_since: Option<Instant>,
}

struct Held {
    lease: Lease,
    connection: Connection,
    /// Whether the connection may carry another request after this answer.
    keep: bool,
}

impl AnswerBody {
    pub(crate) fn new(
        incoming: Incoming,
        lease: Lease,
        connection: Connection,
        keep: bool,
        gap_timeout: Duration,
        total_deadline: Instant,
    ) -> Self {
        let held = Some(Held { lease, connection, keep });
        let mut body = Self { incoming, held, gap_timeout, total_deadline, waiting_since: None };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    fn end(&mut self) {
        if let Some(Held { lease, connection, keep: true }) = self.held.take() {
            lease.give_back(connection);
        }
    }

    /// Pending until the wait for the next frame has been too long.
    ///
    /// The timer is only ever moved when it goes off: it still stands where the wait for the head, or for an earlier frame, has put it.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<Phase> {
        let Some(held) = &mut self.held else { return Poll::Pending };
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let gap_deadline = since + self.gap_timeout;
        loop {
            ready!(held.connection.sleep.as_mut().poll(context));
            let now = Instant::now();
            if now >= self.total_deadline {
                return Poll::Ready(Phase::Total);
            }
            if now >= gap_deadline {
                return Poll::Ready(Phase::Gap);
            }
            held.connection.sleep.as_mut().reset(gap_deadline.min(self.total_deadline));
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    self.waiting_since = None;
                    if self.incoming.is_end_stream() {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    self.held = None;
                    return Poll::Ready(Some(Err(UpstreamError::Truncated(with_cause(&error)))));
                }
                Poll::Ready(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let phase = ready!(self.poll_overdue(context));
                    self.held = None;
                    return Poll::Ready(Some(Err(UpstreamError::Timeout(phase))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
