//! Where one request ends and the next begins (DESIGN section 10 rule 1): whatever could be read in two ways is 400, and the connection ends.

use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wire::{Wire, json_request, request};

/// What stands behind `POST /api/resource/ToDo HTTP/1.1`, `Host` and `Authorization`: header fields, the empty line, a body.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("a length and a transfer encoding", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a transfer encoding and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("two lengths that differ", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    ("a list of lengths that differ", "Content-Length: 2, 3\r\n\r\n{}x"),
    ("a length with a sign", "Content-Length: +2\r\n\r\n{}"),
    ("a negative length", "Content-Length: -1\r\n\r\n{}"),
    ("a hexadecimal length", "Content-Length: 0x2\r\n\r\n{}"),
    ("a length with a space in it", "Content-Length: 2 0\r\n\r\n{}"),
    ("an empty length", "Content-Length:\r\n\r\n"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551618\r\n\r\n{}"),
    ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("two transfer encoding fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two transfer encoding fields, one unknown", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    ("gzip before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("identity", "Transfer-Encoding: identity\r\n\r\n"),
    ("a near miss", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
    ("an empty transfer encoding", "Transfer-Encoding:\r\n\r\n"),
    ("a space before the colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a space before the colon of a length", "Content-Length : 2\r\n\r\n{}"),
    ("a folded line", "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line by tab", "X-A: b\r\n\tc\r\n\r\n"),
    ("a bare line feed between fields", "X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a bare line feed at the end of the head", "X-A: b\r\n\n"),
    ("a bare carriage return in a value", "X-A: b\rTransfer-Encoding: chunked\r\n\r\n"),
    ("NUL in a value", "X-A: b\0c\r\n\r\n"),
    ("NUL in a name", "X-\0A: b\r\n\r\n"),
    ("a line without a colon", "X-A\r\n\r\n"),
    ("an empty name", ": b\r\n\r\n"),
    ("a name with a bracket", "X(A): b\r\n\r\n"),
];

#[test]
fn whatever_could_be_framed_in_two_ways_is_400_and_the_end_over_tls() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    for (what, rest) in AMBIGUOUS {
        let head = format!("POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n");
        bad_request(Wire::tls(&gate), what, &format!("{head}{rest}"));
    }
    upstream.assert_untouched();
}

#[test]
fn whatever_could_be_framed_in_two_ways_is_400_and_the_end_on_the_http_port() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for (what, rest) in AMBIGUOUS {
        bad_request(Wire::plain(&gate), what, &format!("POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n{rest}"));
    }
    upstream.assert_untouched();
}

#[test]
fn a_transfer_encoding_on_http_1_0_is_400() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let request = format!(
        "POST /api/resource/ToDo HTTP/1.0\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    bad_request(Wire::tls(&gate), "chunked on HTTP/1.0", &request);
    upstream.assert_untouched();
}

#[test]
fn a_request_line_that_is_not_one_is_refused() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let rest = format!("Host: fake.test\r\nAuthorization: Bearer {token}\r\n\r\n");
    let lines = [
        "GET /api/resource/ToDo",
        "GET  /api/resource/ToDo HTTP/1.1",
        "GET\t/api/resource/ToDo\tHTTP/1.1",
        "GET /api/resource/ToDo HTTP/1.1 ",
        "GET /api/resource/To Do HTTP/1.1",
        "GET /api/resource/ToDo HTTP/9.9",
        "GET /api/resource/ToDo HTTP/1.1\u{b}",
        "GET /api/resource/ToDo\0 HTTP/1.1",
        "GET api/resource/ToDo HTTP/1.1",
        "GET * HTTP/1.1",
        " GET /api/resource/ToDo HTTP/1.1",
        "G@T /api/resource/ToDo HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ];
    for line in lines {
        let mut wire = Wire::tls(&gate);
        wire.send(format!("{line}\r\n{rest}"));
        if let Some(reply) = wire.reply() {
            assert!((400..506).contains(&reply.status), "{line:?}: {reply:?}");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_second_request_in_a_body_stays_a_body() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("write");
    let smuggled = request("DELETE", "/api/resource/ToDo/x", &token);
    let body = serde_json::json!({ "description": smuggled }).to_string();
    let mut wire = Wire::tls(&gate);
    assert_eq!(wire.exchange(json_request("POST", "/api/resource/ToDo", &token, &body)).status, 200);
    assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &token)).status, 403, "the next request is the next request");
    assert_eq!(upstream.request().method, "POST");
}

#[test]
fn pipelined_requests_are_answered_in_order_each_by_its_own_right() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let (read, write) = (gate.token("read"), gate.token("write"));
    let mut wire = Wire::tls(&gate);
    wire.send(
        [
            request("GET", "/api/resource/ToDo/1", &read),
            request("GET", "/api/resource/ToDo/2", &write),
            json_request("PUT", "/api/resource/ToDo/3", &write, "{}"),
            json_request("PUT", "/api/resource/ToDo/4", &read, "{}"),
        ]
        .concat(),
    );
    let statuses: Vec<u16> = (0..4).map(|_| wire.reply().expect("four answers").status).collect();
    assert_eq!(statuses, [200, 403, 200, 403]);
    let targets: Vec<String> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/api/resource/ToDo/1", "/api/resource/ToDo/3"]);
}

#[test]
fn chunk_extensions_and_trailers_do_not_cross() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("write");
    let reply = Wire::tls(&gate).exchange(format!(
        "POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Trailer: X-Trailing\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         2;name=value\r\n{{}}\r\n0\r\nX-Trailing: yes\r\nAuthorization: Bearer other\r\n\r\n"
    ));
    if reply.status != 200 {
        assert_eq!(reply.status, 400, "passed without them, or refused: {reply:?}");
        upstream.assert_untouched();
        return;
    }
    let seen = upstream.request();
    let raw = String::from_utf8_lossy(&seen.raw);
    assert_eq!(seen.body, b"{}");
    assert!(!raw.contains("name=value") && !raw.to_lowercase().contains("trail") && !raw.contains("other"), "{raw}");
}

#[test]
fn a_broken_chunk_ends_the_connection_and_the_request() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("write");
    let bodies =
        ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "2 \n{}\n0\n\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"];
    for body in bodies {
        let mut wire = Wire::tls(&gate);
        wire.send(format!(
            "POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        if let Some(reply) = wire.reply() {
            assert!((400..500).contains(&reply.status), "{body:?}: {reply:?}");
            assert!(wire.closed(), "{body:?}: the rest cannot be read");
        }
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn an_answer_before_the_body_never_leaves_its_bytes_to_the_next_request() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let smuggled = request("GET", "/api/resource/ToDo/smuggled", &token);
    let mut wire = Wire::tls(&gate);
    // 403 can be said before the body is there; the body then is the request that the attacker wants.
    wire.send(format!(
        "POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    assert!((400..500).contains(&wire.reply().expect("an answer").status));
    wire.send(request("GET", "/api/resource/ToDo/real", &token));
    if let Some(reply) = wire.reply() {
        assert_eq!(reply.status, 200);
        assert_eq!(upstream.request().target, "/api/resource/ToDo/real");
    }
    assert!(upstream.requests().iter().all(|seen| !seen.target.contains("smuggled")));
}

fn bad_request(mut wire: Wire, what: &str, request: &str) {
    let reply = wire.exchange(request);
    assert_eq!(reply.status, 400, "{what}: {reply:?}");
    assert!(wire.closed(), "{what}: the connection ends");
}
