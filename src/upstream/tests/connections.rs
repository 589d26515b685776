//! Reuse, retry, and what never reaches the wrong request.

use tokio::sync::{mpsc, oneshot};

use super::peer::{Peer, Wire};
use super::*;

async fn answer_all(mut wire: Wire, nth: usize) {
    while wire.request().await.is_some() {
        wire.answer(&format!("connection {nth}")).await;
    }
}

#[tokio::test]
async fn one_connection_serves_requests_that_follow_each_other() {
    let peer = Peer::start(answer_all).await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    for _ in 0..5 {
        assert_eq!(text(get(worker.site(0)).await.expect("an answer")).await.expect("a body"), "connection 0");
        assert_eq!(text(post(worker.site(0)).await.expect("an answer")).await.expect("a body"), "connection 0");
    }
    assert_eq!(peer.connections(), 1);
    assert_eq!(worker.site(0).pool(0).idle_count(), 1);
    assert_eq!(worker.site(0).pool(0).outstanding(), 0);
}

#[tokio::test]
async fn a_server_that_closes_each_time_serves_well_and_is_not_blamed() {
    // As gunicorn's sync workers do.
    let peer = Peer::start(async |mut wire: Wire, _| {
        wire.request().await;
        wire.write("HTTP/1.1 200 OK\r\nServer: gunicorn\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let upstreams = upstreams(&[peer.url()], settings());
    let worker = upstreams.worker();
    for _ in 0..5 {
        assert_eq!(text(get(worker.site(0)).await.expect("an answer")).await.expect("a body"), "ok");
        assert_eq!(text(post(worker.site(0)).await.expect("an answer")).await.expect("a body"), "ok");
        assert_eq!(worker.site(0).pool(0).idle_count(), 0);
    }
    assert_eq!(peer.connections(), 10);
    assert_eq!(peer.requests().len(), 10);
    assert_eq!(upstreams.status()[0].failures, 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_even_for_a_post() {
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let (closed, mut on_closed) = mpsc::unbounded_channel();
        let peer = Peer::start(move |mut wire: Wire, nth| {
            let closed = closed.clone();
            async move {
                wire.request().await;
                wire.answer(&format!("connection {nth}")).await;
                drop(wire);
                closed.send(()).expect("the test waits");
            }
        })
        .await;
        let upstreams = upstreams(&[peer.url()], settings());
        let worker = upstreams.worker();
        for nth in 0..3 {
            let answer = worker.site(0).send(outgoing(method.clone(), RequestBody::Empty)).await.expect("an answer");
            assert_eq!(text(answer).await.expect("a body"), format!("connection {nth}"), "{method}");
            on_closed.recv().await.expect("the script tells");
        }
        assert_eq!(peer.requests().len(), 3, "{method}");
        assert_eq!(upstreams.status()[0].failures, 0);
    }
}

#[tokio::test]
async fn a_get_whose_connection_dies_is_sent_once_more() {
    let peer = Peer::start(async |mut wire: Wire, nth| {
        wire.request().await;
        if nth == 1 {
            wire.answer("second").await;
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    assert_eq!(text(get(worker.site(0)).await.expect("an answer")).await.expect("a body"), "second");
    assert_eq!(peer.requests().len(), 2);
    assert_eq!(peer.requests()[0], peer.requests()[1]);
}

#[tokio::test]
async fn two_tries_are_all() {
    let peer = Peer::start(async |mut wire: Wire, _| drop(wire.request().await)).await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    let error = get(worker.site(0)).await.err().expect("no answer");
    assert!(matches!(error, UpstreamError::Closed), "{error}");
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn what_may_change_something_is_never_sent_twice() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for requests_before in [0, 1] {
            let peer = Peer::start(move |mut wire: Wire, _| async move {
                for _ in 0..requests_before {
                    wire.request().await;
                    wire.answer("ok").await;
                }
                wire.request().await;
            })
            .await;
            let worker = upstreams(&[peer.url()], settings()).worker();
            for _ in 0..requests_before {
                text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
            }
            let body = RequestBody::Full(Bytes::from_static(b"{}"));
            let error = worker.site(0).send(outgoing(method.clone(), body)).await.err().expect("no answer");
            assert!(matches!(error, UpstreamError::Closed), "{method}: {error}");
            let sent = peer.requests().iter().filter(|request| request.starts_with(method.as_str())).count();
            assert_eq!(sent, 1, "{method} after {requests_before}");
            assert_eq!(peer.connections(), 1, "{method} after {requests_before}");
        }
    }
}

#[tokio::test]
async fn stray_bytes_never_answer_another_request() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (first, stray, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", EVIL, "a second answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "x", "a longer body than announced"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", EVIL, "after the last chunk"),
        ("HTTP/1.1 204 No Content\r\n\r\n", EVIL, "a body where there is none"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n", EVIL, "a body of the announced length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", EVIL, "after an empty body"),
    ] {
        // In one segment with the answer, and later, on the idle connection.
        for together in [true, false] {
            let (go, on_go) = oneshot::channel::<()>();
            let (done, on_done) = oneshot::channel::<()>();
            let signals = std::sync::Mutex::new(Some((on_go, done)));
            let peer = Peer::start(move |mut wire: Wire, nth| {
                let signals = if nth == 0 { signals.lock().expect("one thread").take() } else { None };
                async move {
                    wire.request().await;
                    let Some((on_go, done)) = signals else { return wire.answer("good").await };
                    if together {
                        wire.write([first, stray].concat()).await;
                    } else {
                        wire.write(first).await;
                        let _ = on_go.await;
                        wire.write(stray).await;
                    }
                    let _ = done.send(());
                    while wire.request().await.is_some() {
                        wire.answer("wrong connection").await;
                    }
                }
            })
            .await;
            let worker = upstreams(&[peer.url()], settings()).worker();
            text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
            let _ = go.send(());
            on_done.await.expect("the script has written");
            let answer = post(worker.site(0)).await.expect("an answer");
            assert_eq!(text(answer).await.expect("a body"), "good", "{why}, together: {together}");
        }
    }
}

#[tokio::test]
async fn connections_that_must_not_be_reused_are_not() {
    for (first, why) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "it says so"),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "it says so in a second line"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0"),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 would have us send no chunks"),
    ] {
        let peer = Peer::start(move |mut wire: Wire, _| async move {
            wire.request().await;
            wire.write(first).await;
            wire.closed().await;
        })
        .await;
        let worker = upstreams(&[peer.url()], settings()).worker();
        for _ in 0..2 {
            assert_eq!(text(get(worker.site(0)).await.expect("an answer")).await.expect("a body"), "ok", "{why}");
        }
        assert_eq!(peer.connections(), 2, "{why}");
    }
}

#[tokio::test]
async fn idle_connections_are_few_and_go_after_a_while() {
    let peer = Peer::start(answer_all).await;
    let worker = upstreams(&[peer.url()], Settings { idle_max: 2, idle_timeout: Duration::from_millis(400), ..settings() }).worker();
    let site = worker.site(0);
    let answers = tokio::join!(get(site), get(site), get(site));
    let outstanding = site.pool(0).outstanding();
    for answer in [answers.0, answers.1, answers.2] {
        text(answer.expect("an answer")).await.expect("a body");
    }
    assert_eq!((outstanding, peer.connections()), (3, 3));
    assert_eq!((site.pool(0).outstanding(), site.pool(0).idle_count()), (0, 2));
    eventually("idle connections go", || site.pool(0).idle_count() == 0).await;
    text(get(site).await.expect("an answer")).await.expect("a body");
    assert_eq!(peer.connections(), 4);
    eventually("and again", || site.pool(0).idle_count() == 0).await;
}

#[tokio::test]
async fn an_answer_or_a_wait_that_is_given_up_ends_its_connection() {
    let (closed, mut on_closed) = mpsc::unbounded_channel();
    let peer = Peer::start(move |mut wire: Wire, nth| {
        let closed = closed.clone();
        async move {
            wire.request().await;
            if nth == 0 {
                wire.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            }
            wire.closed().await;
            closed.send(nth).expect("the test waits");
        }
    })
    .await;
    let worker = upstreams(&[peer.url()], settings()).worker();
    drop(get(worker.site(0)).await.expect("a head"));
    assert_eq!(on_closed.recv().await, Some(0));
    let waiting = post(worker.site(0));
    tokio::select! {
        biased;
        _ = waiting => panic!("nobody answers"),
        () = eventually("the request arrives", || peer.requests().len() == 2) => {}
    }
    assert_eq!(on_closed.recv().await, Some(1));
    assert_eq!(worker.site(0).pool(0).outstanding(), 0);
}

/// The server's last word is with the kernel, and this thread has not been told when the next request comes.
#[tokio::test]
async fn news_that_nobody_has_read_yet_is_heard_before_a_post_is_risked() {
    use std::io::{Read, Write};
    use std::sync::mpsc::channel;

    for last_word in ["", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let ((go, on_go), (said, on_said)) = (channel(), channel());
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let (mut first, _) = listener.accept().expect("a connection");
            assert_ne!(first.read(&mut buffer).expect("a request"), 0);
            first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the gate listens");
            on_go.recv().expect("the test goes on");
            first.write_all(last_word.as_bytes()).expect("the gate listens");
            first.shutdown(std::net::Shutdown::Write).expect("it is open");
            said.send(()).expect("the test waits");
            let (mut second, _) = listener.accept().expect("a connection");
            assert_ne!(second.read(&mut buffer).expect("a request"), 0);
            second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").expect("the gate listens");
            assert_eq!(first.read(&mut buffer).unwrap_or(0), 0, "nothing more came on the first connection");
        });
        let worker = upstreams(&[url], settings()).worker();
        text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
        assert_eq!(worker.site(0).pool(0).idle_count(), 1);
        // Blocking is the point: the runtime must not look at its sockets in between.
        go.send(()).expect("the server waits");
        on_said.recv().expect("the server goes on");
        assert_eq!(text(post(worker.site(0)).await.expect("an answer")).await.expect("a body"), "good", "{last_word:?}");
        server.join().expect("the server saw what it should");
    }
}
