//! Answers on their way to the client: the upstream's, and every no of the gate's own, each with the exchange in its body.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{HeaderValue, Response, StatusCode};

use crate::exchange::Exchange;
use crate::exchange::body::GateBody;
use crate::reply::{Reply, Shape, X_REQUEST_ID};
use crate::upstream::answer::Answer;

/// An answer on its way: the head, and a body that is the gate's own or the upstream's.
pub enum Reached {
    Own(StatusCode, HeaderMap, Bytes),
    Upstream(Answer),
}

/// The answer with the exchange in its body.
pub fn own(reached: Reached, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
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

/// A no of the gate's own, written out.
pub fn answer_with(reply: Reply, shape: Shape, mut exchange: Box<Exchange>, is_head: bool) -> Response<GateBody> {
    exchange.refused = true;
    exchange.reason = reply.reason;
    let (status, headers, bytes) = reply.into_parts(shape);
    own(Reached::Own(status, headers, bytes), exchange, is_head)
}
