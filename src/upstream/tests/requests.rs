//! What goes up, and when.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

use super::peer::{Peer, Wire};
use super::*;
use crate::upstream::body::BoxBody;
use crate::upstream::error::{BoxError, Phase};

/// A body that comes frame by frame out of a channel.
struct Fed {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>,
    length: Option<u64>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.frames.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

fn fed(length: Option<u64>) -> (Feed, RequestBody) {
    let (feed, frames) = mpsc::unbounded_channel();
    let body: BoxBody = Box::pin(Fed { frames, length });
    (feed, RequestBody::Stream(body))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn answer_one(mut wire: Wire, _: usize) {
    if wire.request().await.is_some() {
        wire.answer("ok").await;
    }
}

#[tokio::test]
async fn framing_is_written_from_the_body_that_is_sent() {
    let peer = Peer::start(answer_one).await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let head = |method: &str, extra: &str| format!("{method} /api/resource/ToDo?limit=1 HTTP/1.1\r\nhost: erp.test\r\n{extra}\r\n");
    let frames = || [data("ab"), data("c")];
    let stream = |length, frames: VecDeque<_>| {
        let (feed, body) = fed(length);
        frames.into_iter().for_each(|frame| feed.send(frame).expect("the body is there"));
        body
    };
    let trailers = Ok(Frame::trailers(HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static("sid=1"))])));
    let with_trailers = VecDeque::from_iter(frames().into_iter().chain([trailers]));
    for (method, body, want) in [
        (Method::GET, RequestBody::Empty, head("GET", "")),
        (Method::DELETE, RequestBody::Empty, head("DELETE", "")),
        (Method::POST, RequestBody::Empty, head("POST", "content-length: 0\r\n")),
        (Method::PUT, RequestBody::Full(Bytes::from_static(b"abc")), head("PUT", "content-length: 3\r\n") + "abc"),
        (Method::POST, stream(Some(3), frames().into()), head("POST", "content-length: 3\r\n") + "abc"),
        (Method::POST, stream(None, frames().into()), head("POST", "transfer-encoding: chunked\r\n") + "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (Method::POST, stream(None, with_trailers), head("POST", "transfer-encoding: chunked\r\n") + "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
    ] {
        text(worker.site(0).send(outgoing(method, body)).await.expect("an answer")).await.expect("a body");
        assert_eq!(peer.requests().last(), Some(&want));
    }
}

#[tokio::test]
async fn a_body_goes_up_while_it_comes_in() {
    let (got, on_got) = oneshot::channel::<String>();
    let got = std::sync::Mutex::new(Some(got));
    let peer = Peer::start(move |mut wire: Wire, _| {
        let got = got.lock().expect("one thread").take();
        async move {
            let begun = wire.read_until(b"first").await.expect("a beginning");
            got.expect("one connection").send(begun).expect("the test waits");
            wire.read_until(b"0\r\n\r\n").await.expect("an end");
            wire.answer("ok").await;
            wire.closed().await;
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let (feed, body) = fed(None);
    feed.send(data("first")).expect("the body is there");
    let feeding = async {
        on_got.await.expect("the beginning arrives before the end is there");
        feed.send(data("last")).expect("the body is there");
        drop(feed);
    };
    let (answer, ()) = tokio::join!(worker.site(0).send(outgoing(Method::POST, body)), feeding);
    assert_eq!(text(answer.expect("an answer")).await.expect("a body"), "ok");
    assert_eq!(worker.site(0).pool(0).idle_count(), 1);
}

#[tokio::test]
async fn a_body_that_fails_fails_the_request_and_never_ends_well_upstream() {
    for length in [None, Some(100)] {
        let (ended, on_ended) = oneshot::channel::<Option<String>>();
        let ended = std::sync::Mutex::new(Some(ended));
        let peer = Peer::start(move |mut wire: Wire, _| {
            let ended = ended.lock().expect("one thread").take();
            async move {
                let request = wire.request().await;
                ended.expect("one connection").send(request).expect("the test waits");
            }
        })
        .await;
        let upstreams = upstreams(&[peer.url()], settings());
        let worker = upstreams.worker();
        let (feed, body) = fed(length);
        feed.send(data("{\"cmd\":")).expect("the body is there");
        feed.send(Err("the parameter `cmd` is not taken".into())).expect("the body is there");
        let error = worker.site(0).send(outgoing(Method::POST, body)).await.err().expect("no answer");
        let UpstreamError::Body(why) = &error else { panic!("{error}") };
        assert_eq!(why.to_string(), "the parameter `cmd` is not taken");
        assert_eq!(on_ended.await.expect("the script tells"), None, "the request never became complete");
        assert_eq!(upstreams.status()[0].failures, 0, "no fault of the server");
    }
}

#[tokio::test]
async fn a_body_shorter_than_announced_fails_the_request() {
    let peer = Peer::start(answer_one).await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let (feed, body) = fed(Some(100));
    feed.send(data("short")).expect("the body is there");
    drop(feed);
    let error = worker.site(0).send(outgoing(Method::POST, body)).await.err().expect("no answer");
    assert!(matches!(error, UpstreamError::Body(_)), "{error}");
    assert_eq!(peer.requests(), [""; 0]);
}

#[tokio::test]
async fn a_stream_that_was_read_from_is_never_sent_again() {
    let peer = Peer::start(async |mut wire: Wire, _| drop(wire.read_until(b"first").await)).await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let (feed, body) = fed(None);
    feed.send(data("first")).expect("the body is there");
    let error = worker.site(0).send(outgoing(Method::POST, body)).await.err().expect("no answer");
    assert!(matches!(error, UpstreamError::Closed), "{error}");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_not_read_from_survives_a_dead_server() {
    let peer = Peer::start(answer_one).await;
    let dead = servers::refusing().await;
    let worker = upstreams(&[dead, peer.url()], settings()).worker();
    for _ in 0..3 {
        let (feed, body) = fed(Some(3));
        feed.send(data("abc")).expect("the body is there");
        text(worker.site(0).send(outgoing(Method::POST, body)).await.expect("an answer")).await.expect("a body");
    }
    assert_eq!(peer.requests().len(), 3);
}

#[tokio::test]
async fn the_wait_for_the_first_byte_begins_when_a_streamed_body_has_been_sent() {
    let first_byte_timeout = Duration::from_millis(80);
    let peer = Peer::start(async |mut wire: Wire, _| {
        wire.request().await;
        wire.closed().await;
    })
    .await;
    let worker = upstreams(&[peer.url()], Settings { first_byte_timeout, ..settings() }).worker();
    let (feed, body) = fed(None);
    let start = std::time::Instant::now();
    let feeding = async {
        for _ in 0..6 {
            tokio::time::sleep(first_byte_timeout / 2).await;
            feed.send(data("x")).expect("nobody gave up");
        }
        drop(feed);
        start.elapsed()
    };
    let (answer, fed_after) = tokio::join!(worker.site(0).send(outgoing(Method::POST, body)), feeding);
    let error = answer.err().expect("no answer");
    assert!(matches!(error, UpstreamError::Timeout(Phase::FirstByte)), "{error}");
    assert!(start.elapsed() >= fed_after + first_byte_timeout - Duration::from_millis(5));
}

#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let peer = Peer::start(async |mut wire: Wire, _| {
        wire.read_until(b"first").await;
        wire.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        wire.closed().await;
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let (feed, body) = fed(None);
    feed.send(data("first")).expect("the body is there");
    let answer = worker.site(0).send(outgoing(Method::POST, body)).await.expect("an answer");
    assert_eq!(answer.head.status, 413);
    assert_eq!(text(answer).await.expect("a body"), "big");
    assert_eq!(worker.site(0).pool(0).idle_count(), 0, "half a request is still on that connection");
    eventually("the client's body is let go", || feed.is_closed()).await;
}
