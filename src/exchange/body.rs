//! The body of an answer, with the exchange it belongs to.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::exchange::Exchange;
use crate::upstream::answer::AnswerBody;
use crate::upstream::error::{BoxError, UpstreamError};

/// An answer that is the gate's own, or passes by from the upstream. When it is dropped, the exchange ends.
pub struct GateBody {
    source: Source,
    exchange: Option<Box<Exchange>>,
}

enum Source {
    Own(Bytes),
    Upstream(AnswerBody),
}

impl GateBody {
    pub fn own(bytes: Bytes, exchange: Box<Exchange>) -> Self {
        Self { source: Source::Own(bytes), exchange: Some(exchange) }
    }

    pub fn upstream(body: AnswerBody, exchange: Box<Exchange>) -> Self {
        Self { source: Source::Upstream(body), exchange: Some(exchange) }
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Own(bytes) if bytes.is_empty() => None,
            Source::Own(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Source::Upstream(body) => match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            },
        };
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => exchange.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(error)) => {
                    exchange.timed_out |= matches!(error, UpstreamError::Timeout(_));
                    exchange.reason = error.code();
                    this.exchange = None;
                }
                None => {}
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for GateBody {
    fn drop(&mut self) {
        let complete = self.is_end_stream();
        if let Some(exchange) = &mut self.exchange {
            exchange.complete = complete;
        }
    }
}
