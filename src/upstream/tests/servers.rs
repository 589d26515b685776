//! Several servers: choice, rest and recovery.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::peer::{Peer, Wire};
use super::*;
use crate::upstream::health::watch;

/// The URL of a port on which nobody listens.
pub(super) async fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("a bound listener"))
}

async fn answer_all(mut wire: Wire, _: usize) {
    while wire.request().await.is_some() {
        wire.answer("ok").await;
    }
}

#[tokio::test]
async fn one_server_of_two_being_down_is_not_noticed_by_clients() {
    let peer = Peer::start(answer_all).await;
    let upstreams = upstreams(&[refusing().await, peer.url()], settings());
    let worker = upstreams.worker();
    for _ in 0..10 {
        text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
        text(post(worker.site(0)).await.expect("an answer")).await.expect("a body");
    }
    assert_eq!(peer.requests().len(), 20, "each came once");
    let status = upstreams.status();
    assert_eq!((status[0].healthy, status[0].failures, status[1].healthy), (false, 3, true), "it rests and is asked no more");
    assert!(upstreams.is_reachable(0));
}

#[tokio::test]
async fn servers_that_all_rest_are_asked_all_the_same() {
    let upstreams = upstreams(&[refusing().await, refusing().await], settings());
    let worker = upstreams.worker();
    for _ in 0..10 {
        let error = get(worker.site(0)).await.err().expect("nobody listens");
        assert!(matches!(error, UpstreamError::Connect(_)), "{error}");
        assert_eq!(error.status(), 502);
    }
    assert!(!upstreams.is_reachable(0));
    assert!(upstreams.status().iter().all(|server| server.failures == 10), "{:?}", upstreams.status());
}

#[tokio::test]
async fn a_lone_server_is_asked_once_when_it_refuses_and_comes_back_by_itself() {
    let url = refusing().await;
    let upstreams = upstreams(std::slice::from_ref(&url), Settings { failures_max: 1, ..settings() });
    let worker = upstreams.worker();
    get(worker.site(0)).await.err().expect("nobody listens");
    assert_eq!(upstreams.status()[0].failures, 1);
    assert!(!upstreams.is_reachable(0));
    let listener = TcpListener::bind(url.trim_start_matches("http://")).await.expect("the port is still free");
    let _peer = Peer::listen(listener, None, answer_all);
    text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
    assert!(upstreams.is_reachable(0));
}

#[tokio::test]
async fn a_server_that_rested_is_tried_by_one_request_and_comes_back() {
    let url = refusing().await;
    let other = Peer::start(answer_all).await;
    let upstreams = upstreams(&[url.clone(), other.url()], Settings { failures_max: 1, rest: Duration::ZERO, ..settings() });
    let worker = upstreams.worker();
    for _ in 0..4 {
        text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
    }
    assert!(!upstreams.status()[0].healthy);
    let listener = TcpListener::bind(url.trim_start_matches("http://")).await.expect("the port is still free");
    let back = Peer::listen(listener, None, answer_all);
    let start = std::time::Instant::now();
    while !upstreams.status()[0].healthy {
        assert!(start.elapsed() < Duration::from_secs(10), "not back within ten seconds");
        text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
    }
    assert!(!back.requests().is_empty());
}

#[tokio::test]
async fn the_least_busy_server_is_chosen_and_equals_take_turns() {
    let slow = Peer::start(async |mut wire: Wire, _| {
        wire.request().await;
        wire.closed().await;
    })
    .await;
    let quick = Peer::start(answer_all).await;
    let worker = upstreams(&[slow.url(), quick.url()], settings()).worker();
    let site = worker.site(0);
    let quick_ones = async {
        eventually("the slow one is busy", || slow.requests().len() == 1).await;
        for _ in 0..4 {
            text(get(site).await.expect("an answer")).await.expect("a body");
        }
    };
    tokio::select! {
        _ = get(site) => panic!("the slow one does not answer"),
        () = quick_ones => {}
    }
    assert_eq!((slow.requests().len(), quick.requests().len()), (1, 4));

    let (first, second) = (Peer::start(answer_all).await, Peer::start(answer_all).await);
    let worker = upstreams(&[first.url(), second.url()], settings()).worker();
    for _ in 0..6 {
        text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 3));
}

#[tokio::test]
async fn checks_put_a_failing_server_to_rest_and_bring_it_back() {
    let failing = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&failing);
    let peer = Peer::start(move |mut wire: Wire, _| {
        let failing = seen.load(Ordering::SeqCst);
        async move {
            wire.request().await;
            let status = if failing { "503 Maintenance" } else { "404 Not Found" };
            wire.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let checked = Settings { check_interval: Some(Duration::from_millis(1)), ..settings() };
    let upstreams = upstreams(&[peer.url()], checked);
    let (stop, on_stop) = oneshot::channel::<()>();
    let watching = tokio::spawn(watch(Arc::clone(&upstreams), async { drop(on_stop.await) }));
    eventually("it rests", || !upstreams.is_reachable(0)).await;
    assert!(peer.requests().len() >= 3, "not before three bad checks");
    let want = "GET /api/method/ping HTTP/1.1\r\nhost: erp.test\r\nx-frappe-site-name: erp.test\r\naccept: application/json\r\n\
                user-agent: scopegate-check\r\nconnection: close\r\n\r\n";
    assert_eq!(peer.requests()[0], want);

    let worker = upstreams.worker();
    assert_eq!(get(worker.site(0)).await.expect("asked all the same").head.status, 503);
    assert!(!upstreams.is_reachable(0), "an answer is not a good check");

    failing.store(false, Ordering::SeqCst);
    eventually("it is back: below 500 is healthy", || upstreams.is_reachable(0)).await;
    stop.send(()).expect("the watch goes on until told");
    watching.await.expect("the watch ends");
}

#[tokio::test]
async fn sites_of_one_bench_share_its_connections_and_health() {
    let peer = Peer::start(answer_all).await;
    let site = |name: &str, settings: Settings| SiteServers {
        frappe_site: name.into(),
        servers: vec![ServerUrl::parse(&peer.url()).expect("a URL")],
        settings,
        ca: Vec::new(),
    };
    let other = Settings { idle_max: 1, ..settings() };
    let sites = vec![site("a.test", settings()), site("b.test", settings()), site("c.test", other)];
    let upstreams = Upstreams::new(sites).expect("good sites");
    let worker = upstreams.worker();
    for index in [0, 1, 2, 1, 0] {
        text(get(worker.site(index)).await.expect("an answer")).await.expect("a body");
    }
    assert_eq!(peer.connections(), 2, "other settings are another server");
    assert_eq!(upstreams.status().len(), 2);
}

#[tokio::test]
async fn names_are_looked_up_and_unknown_ones_are_told() {
    let peer = Peer::start(answer_all).await;
    let by_name = format!("http://localhost:{}", peer.address.port());
    let worker = upstreams(&[by_name], settings()).worker();
    text(get(worker.site(0)).await.expect("an answer")).await.expect("a body");

    let worker = upstreams(&["http://no-such-host.invalid".to_owned()], settings()).worker();
    let error = get(worker.site(0)).await.err().expect("no such host");
    assert!(matches!(error, UpstreamError::Connect(_)), "{error}");
}

#[test]
fn a_site_without_servers_is_refused() {
    let site = SiteServers { frappe_site: "erp.test".into(), servers: Vec::new(), settings: settings(), ca: Vec::new() };
    let error = Upstreams::new(vec![site]).err().expect("no servers");
    assert_eq!(error.to_string(), "site `erp.test` has no upstream server; give it at least one");
}

#[tokio::test]
async fn a_connect_that_hangs_is_given_up_and_the_other_server_asked() {
    // A listener whose queue is full takes no further connection.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into()).expect("a free port");
    socket.listen(0).expect("it listens");
    let hanging = socket.local_addr().expect("bound").as_socket().expect("an address");
    let fillers = [(); 4].map(|()| {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        filler.set_nonblocking(true).expect("a socket");
        let _ = filler.connect(&hanging.into());
        filler
    });
    let peer = Peer::start(answer_all).await;
    let quick = Settings { connect_timeout: Duration::from_millis(250), ..settings() };
    let worker = upstreams(&[format!("http://{hanging}"), peer.url()], quick).worker();
    let asked = AtomicUsize::new(0);
    for _ in 0..4 {
        text(post(worker.site(0)).await.expect("an answer")).await.expect("a body");
        asked.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(peer.requests().len(), asked.into_inner());
    drop(fillers);
}
