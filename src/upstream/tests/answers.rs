//! What an upstream may answer with, and what is made of the rest.

use http_body::Body;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::peer::{Peer, Wire};
use super::*;
use crate::upstream::error::Phase;

/// A server that writes this after each request, then closes.
async fn writes(bytes: impl AsRef<[u8]> + Clone + Send + Sync + 'static) -> Peer {
    Peer::start(move |mut wire: Wire, _| {
        let bytes = bytes.clone();
        async move {
            wire.request().await;
            wire.write(&bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn bodies_arrive_whole_in_every_framing() {
    for (answer, want) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", "ok"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n", "ok"),
        ("HTTP/1.1 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ] {
        let peer = writes(answer).await;
        let worker = upstreams(&[peer.url()], settings()).worker();
        let got = get(worker.site(0)).await.expect(answer);
        assert_eq!(got.head.version, http::Version::HTTP_11);
        assert_eq!(text(got).await.expect(answer), want, "{answer}");
    }
}

#[tokio::test]
async fn a_truncated_body_never_looks_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfXX0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hexadecimal\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ] {
        let peer = writes(answer).await;
        let worker = upstreams(&[peer.url()], settings()).worker();
        let error = text(get(worker.site(0)).await.expect("a head")).await.expect_err(answer);
        assert!(matches!(error, UpstreamError::Truncated(_)), "{answer}: {error}");
        assert_eq!(worker.site(0).pool(0).idle_count(), 0);
        assert_eq!(peer.requests().len(), 1, "what has begun is not begun again");
    }
}

#[tokio::test]
async fn heads_that_are_no_http_are_refused_and_blamed_on_the_server() {
    let oversized = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(9 * 1024));
    let endless = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(100 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(101));
    for (answer, why) in [
        ("garbage\r\n\r\n", "no status line"),
        ("<html>hello</html>\r\n\r\n", "HTTP/0.9"),
        ("HTTP/2.0 200 OK\r\n\r\n", "another version"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", "no status"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no header"),
        ("HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", "a space before the colon"),
        ("HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n", "a folded line"),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", "NUL"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "two lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "a length twice"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "a list of lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "a signed length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", "an empty length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", "a length beyond all"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "length and chunks"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "a coding nobody undoes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nok", "chunked not last"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "chunked twice"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", "a coding of old"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "chunks in HTTP/1.0"),
        (&oversized, "a head beyond `head_bytes_max`"),
        (&endless, "a head without end"),
        (&many, "more than 100 fields"),
    ] {
        let peer = writes(answer.to_owned()).await;
        let upstreams = upstreams(&[peer.url()], settings());
        let worker = upstreams.worker();
        let error = get(worker.site(0)).await.err().expect(why);
        assert!(matches!(error, UpstreamError::Malformed(_)), "{why}: {error}");
        assert_eq!(error.status(), 502);
        assert_eq!(peer.requests().len(), 1, "{why}: not asked again");
        assert_eq!(upstreams.status()[0].failures, 1, "{why}");
    }
}

#[tokio::test]
async fn a_switch_of_protocols_is_refused() {
    let peer = writes("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let error = get(worker.site(0)).await.err().expect("no answer");
    assert!(matches!(error, UpstreamError::Upgrade), "{error}");
    assert_eq!(error.status(), 502);
}

#[tokio::test]
async fn frames_pass_before_the_answer_is_complete() {
    let (go, on_go) = oneshot::channel::<()>();
    let on_go = std::sync::Mutex::new(Some(on_go));
    let peer = Peer::start(move |mut wire: Wire, _| {
        let on_go = on_go.lock().expect("one thread").take();
        async move {
            wire.request().await;
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;
            on_go.expect("one connection").await.expect("the test goes on");
            wire.write("-last").await;
            wire.closed().await;
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let mut answer = get(worker.site(0)).await.expect("a head");
    assert_eq!(answer.body.size_hint().exact(), Some(10));
    let first = answer.body.frame().await.expect("a frame").expect("a good one");
    assert_eq!(first.into_data().expect("data"), "first");
    assert!(!answer.body.is_end_stream());
    assert_eq!(worker.site(0).pool(0).idle_count(), 0);
    go.send(()).expect("the script waits");
    assert_eq!(text(answer).await.expect("the rest"), "-last");
    assert_eq!(worker.site(0).pool(0).idle_count(), 1);
}

#[tokio::test]
async fn slow_servers_are_not_waited_for() {
    let short = Duration::from_millis(300);
    let long = Duration::from_secs(30);
    let mut cases = JoinSet::new();
    for (written, first_byte_timeout, total_timeout, want) in [
        ("", short, long, Phase::FirstByte),
        ("HTTP/1.1 200", short, long, Phase::FirstByte),
        ("HTTP/1.1 100 Continue\r\n\r\n", short, long, Phase::FirstByte),
        ("", long, short, Phase::Total),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", short, long, Phase::Gap),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", long, short, Phase::Total),
    ] {
        cases.spawn(async move {
            let peer = Peer::start(move |mut wire: Wire, _| async move {
                wire.request().await;
                wire.write(written).await;
                wire.closed().await;
            })
            .await;
            let worker = upstreams(&[peer.url()], Settings { first_byte_timeout, total_timeout, ..settings() }).worker();
            let start = std::time::Instant::now();
            let error = match get(worker.site(0)).await {
                Ok(answer) => text(answer).await.expect_err("half a body"),
                Err(error) => error,
            };
            assert!(matches!(error, UpstreamError::Timeout(phase) if phase == want), "{written:?}: {error}");
            assert_eq!(error.status(), 504);
            assert!(start.elapsed() >= short && start.elapsed() < long, "{written:?}");
            assert_eq!(peer.requests().len(), 1, "{written:?}: not asked again");
        });
    }
    cases.join_all().await;
}

#[tokio::test]
async fn pieces_of_an_answer_may_take_their_time_as_long_as_they_come() {
    let gap = Duration::from_millis(300);
    let peer = Peer::start(move |mut wire: Wire, _| async move {
        wire.request().await;
        wire.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
        for _ in 0..8 {
            tokio::time::sleep(gap / 6).await;
            wire.write("x").await;
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], Settings { first_byte_timeout: gap, ..settings() }).worker();
    assert_eq!(text(get(worker.site(0)).await.expect("a head")).await.expect("the body"), "xxxxxxxx");
}

#[tokio::test]
async fn a_head_answer_keeps_its_length_and_its_connection() {
    let peer = Peer::start(async |mut wire: Wire, _| {
        while wire.request().await.is_some() {
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    for _ in 0..2 {
        let answer = worker.site(0).send(outgoing(Method::HEAD, RequestBody::Empty)).await.expect("an answer");
        assert_eq!(answer.head.headers["content-length"], "1000");
        assert!(answer.body.is_end_stream());
        assert_eq!(text(answer).await.expect("no body"), "");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn an_answer_is_fit_for_the_client_when_it_is_handed_out() {
    let peer = writes(
        "HTTP/1.1 302 Whatever The Server Says\r\nServer: gunicorn\r\nSet-Cookie: sid=1\r\nLocation: http://erp.test/api/a\r\n\
         Connection: X-Inner\r\nX-Inner: 1\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let answer = get(worker.site(0)).await.expect("an answer");
    let mut names: Vec<_> = answer.head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-length", "content-type", "location", "x-content-type-options"]);
    assert_eq!(answer.head.headers["location"], "/api/a");
    assert!(answer.head.extensions.is_empty(), "the reason phrase is not passed on");
}
