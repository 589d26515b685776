//! CORS is answered at the gate, for the origins that the site allows and for no other.

use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, json_answer};
use crate::support::wire::{Reply, Wire};

const ALLOWED: &str = "https://app.example.test";

/// Asks with `origin`, by `lines` that stand between it and the end of the head.
fn ask(gate: &crate::support::gate::Gate, method: &str, origin: &str, lines: &str) -> Reply {
    Wire::tls(gate).exchange(format!("{method} /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nOrigin: {origin}\r\n{lines}\r\n"))
}

const PREFLIGHT: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization, content-type\r\n";

fn allowed(reply: &Reply) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(ALLOWED), "{reply:?}");
    assert!(reply.all("vary").iter().any(|vary| vary.to_ascii_lowercase().contains("origin")), "{reply:?}");
    assert_ne!(reply.header("access-control-allow-credentials"), Some("true"), "a bearer needs no cookies");
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_at_the_gate_without_a_token() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).site(&format!("cors_origins = [\"{ALLOWED}\"]")).start();
    let reply = ask(&gate, "OPTIONS", ALLOWED, PREFLIGHT);
    assert!(matches!(reply.status, 200 | 204), "{reply:?}");
    allowed(&reply);
    let lower = |name: &str| reply.header(name).unwrap_or_default().to_ascii_lowercase();
    assert!(lower("access-control-allow-methods").contains("put"), "{reply:?}");
    let headers = lower("access-control-allow-headers");
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{reply:?}");
    upstream.assert_untouched();
}

#[test]
fn an_origin_that_is_not_allowed_gets_no_cors_fields() {
    let upstream = Upstream::answering(json_answer(200, "{}"));
    let origins = [
        "https://evil.test",
        "http://app.example.test",
        "https://app.example.test.evil.test",
        "https://app.example.test:8443",
        "https://APP.example.test/",
        "null",
        "*",
    ];
    for config in [format!("cors_origins = [\"{ALLOWED}\"]"), "cors_origins = []".to_owned()] {
        let gate = Setup::new(&upstream).site(&config).start();
        let bearer = format!("Authorization: Bearer {}\r\n", gate.token("read"));
        for origin in origins {
            for (method, lines) in [("OPTIONS", PREFLIGHT), ("GET", &bearer)] {
                let reply = ask(&gate, method, origin, lines);
                assert!(reply.all("access-control-allow-origin").is_empty(), "{method} from {origin}: {reply:?}");
            }
        }
    }
}

#[test]
fn answers_and_errors_can_be_read_by_an_allowed_origin() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nContent-Length: 2\r\n\r\n{}"
            .to_vec(),
    );
    let gate = Setup::new(&upstream).site(&format!("cors_origins = [\"{ALLOWED}\"]")).start();
    let expected = [(format!("Authorization: Bearer {}\r\n", gate.token("read")), 200), (String::new(), 401)];
    for (lines, status) in expected {
        let reply = ask(&gate, "GET", ALLOWED, &lines);
        assert_eq!(reply.status, status);
        allowed(&reply);
    }
    let reply = ask(&gate, "GET", ALLOWED, &format!("Authorization: Bearer {}\r\n", gate.token("write")));
    assert_eq!(reply.status, 403);
    allowed(&reply);
    let exposed = reply.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(exposed.contains("x-request-id") && exposed.contains("www-authenticate"), "a page can read why: {reply:?}");
}

#[test]
fn options_without_an_origin_tells_nothing_and_reaches_nobody() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for case in ["107-options", "544-OPTIONS-bad-bearer", "545-OPTIONS-good-bearer"] {
        let reply = Wire::tls(&gate).exchange(crate::support::exchange::exchange(case).as_recorded());
        assert!(reply.status < 500, "`{case}`: {reply:?}");
        assert!(reply.all("access-control-allow-origin").is_empty(), "`{case}`");
    }
    upstream.assert_untouched();
}
