//! The HTTP port, which refuses tokens and redirects the rest, and the ports that are not for clients.

use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::reason;
use crate::support::wire::{Wire, request};

#[test]
fn a_token_over_plain_http_is_403_and_never_redirected() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let requests = [
        request("GET", "/api/resource/ToDo", &token),
        request("POST", "/api/resource/ToDo", &token),
        "GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: token a:b\r\n\r\n".to_owned(),
        format!("GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nauthorization: {token}\r\n\r\n"),
        format!("GET /api/resource/ToDo?access_token={token} HTTP/1.1\r\nHost: fake.test\r\n\r\n"),
        format!("GET /api/resource/ToDo?%61ccess_token={token} HTTP/1.1\r\nHost: fake.test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\r\n"),
    ];
    for request in requests {
        let reply = Wire::plain(&gate).exchange(&request);
        reason(&reply);
        assert_eq!(reply.status, 403, "{request}: {reply:?}");
        assert_eq!(reply.header("location"), None, "{request}");
        assert!(!reply.text().contains(&token), "nothing the client sent is echoed");
    }
    upstream.assert_untouched();
}

#[test]
fn plain_http_without_a_token_is_redirected_to_the_site() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for host in ["fake.test", "FAKE.test", "fake.test:8080"] {
        let reply = Wire::plain(&gate).exchange(format!("GET /api/resource/ToDo?a=b HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(matches!(reply.status, 301 | 302 | 307 | 308), "{host}: {reply:?}");
        let location = reply.header("location").expect("a redirect has a location");
        assert!(location.starts_with("https://fake.test") && location.ends_with("/api/resource/ToDo?a=b"), "{host}: {location}");
    }
    upstream.assert_untouched();
}

#[test]
fn a_redirect_goes_only_where_the_config_says() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let hosts = ["evil.test", "fake.test.evil.test", "evil.test:443", "fake.test@evil.test", "127.0.0.1", ""];
    for host in hosts {
        let reply = Wire::plain(&gate).exchange(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let location = reply.header("location").unwrap_or_default();
        assert!(!location.contains("evil") && !location.contains("127.0.0.1"), "{host}: {location}");
    }
    // A target must not become the host of the redirect either.
    for target in ["//evil.test/x", "http://evil.test/x", "/\\evil.test/x", "/%0d%0aX-A:%20b"] {
        let reply = Wire::plain(&gate).exchange(format!("GET {target} HTTP/1.1\r\nHost: fake.test\r\n\r\n"));
        let location = reply.header("location").unwrap_or("https://fake.test/");
        assert!(location.starts_with("https://fake.test/") || location.starts_with("https://fake.test:"), "{target}: {location}");
        assert_eq!(reply.header("x-a"), None, "{target}");
    }
}

#[test]
fn plain_http_on_the_https_port_and_tls_on_the_http_port_harm_nobody() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut wire = Wire::plain_to(gate.https());
    wire.send(request("GET", "/api/resource/ToDo", &token));
    let answer = wire.rest();
    assert!(!answer.windows(4).any(|window| window == b"HTTP") || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    let mut wire = Wire::plain(&gate);
    wire.send([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0, b'\r', b'\n', b'\r', b'\n']);
    let answer = wire.rest();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
    upstream.assert_untouched();
    assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200, "it still serves");
}

#[test]
fn health_and_metrics_are_on_their_own_port_and_nowhere_else() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    let metrics = gate.ready.metrics.expect("metrics have a port");
    for path in ["/livez", "/readyz", "/metrics"] {
        let reply = Wire::plain_to(metrics).exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let reply = Wire::tls(&gate).exchange(request("GET", path, &token));
        reason(&reply);
        assert_eq!(reply.status, 404, "{path} is not for clients");
    }
    let text = Wire::plain_to(metrics).exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").text();
    assert!(text.contains("# TYPE") && text.contains("# EOF"), "{text}");
    assert!(!text.contains(&token));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_gate_behind_a_proxy_believes_the_proxy_and_nobody_else() {
    let upstream = Upstream::json("{}");
    let listen = "[listen]\nbehind_proxy = [\"127.0.0.1:0\"]\ntrusted_proxies = ";
    let ask = |trusted: &str| {
        let gate = Setup::new(&upstream).config(&format!("{listen}{trusted}")).start();
        let token = gate.token("read");
        let mut wire = Wire::plain_to(gate.ready.behind_proxy[0]);
        wire.send(format!(
            "GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\
             X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n"
        ));
        let reply = wire.try_reply().ok().flatten();
        (reply, gate)
    };
    let (reply, _gate) = ask("[\"127.0.0.1/32\"]");
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    // The last element is what the trusted proxy saw; the one before it is what its client claimed.
    assert_eq!(upstream.request().header("x-forwarded-for"), Some("203.0.113.7"));
    let (reply, _gate) = ask("[\"192.0.2.0/24\"]");
    assert!(reply.is_none(), "plain HTTP from someone who is not the proxy is not even listened to: {reply:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn the_whole_of_a_site_is_redirected_to_its_root() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let root = format!("https://fake.test:{}/", gate.https().port());
    for (line, location) in
        [("OPTIONS *", root.clone()), ("GET http://fake.test", root.clone()), ("GET http://fake.test?a=b", root + "?a=b")]
    {
        let reply = Wire::plain(&gate).exchange(format!("{line} HTTP/1.1\r\nHost: fake.test\r\n\r\n"));
        assert_eq!((reply.status, reply.header("location")), (308, Some(location.as_str())), "{line}");
    }
}
