//! The upstream is not trusted either (DESIGN section 10 rule 11): what it does wrong is 502 or 504, once, and never another client's answer.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::setup::Setup;
use crate::support::upstream::{Then, Upstream, json_answer, refusing, watching_the_end};
use crate::support::verdict::reason;
use crate::support::wire::{Reply, Wire, json_request, request};

/// What a client gets of an upstream that answers `answer` and closes.
fn through(answer: &'static [u8]) -> std::io::Result<Option<Reply>> {
    let upstream = Upstream::answering(answer.to_vec());
    let gate = Setup::new(&upstream).start();
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &gate.token("read")));
    let reply = wire.try_reply();
    assert_eq!(gate.stop().audit.len(), 1, "one request, one record");
    reply
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    let answers: [&[u8]; 15] = [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ];
    for answer in answers {
        let reply = through(answer).expect("a whole answer").expect("an answer");
        reason(&reply);
        assert_eq!(reply.status, 502, "{}: {reply:?}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn a_head_beyond_its_bound_is_502() {
    let upstream = Upstream::scripted(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..4000 {
            let _ = stream.write_all(format!("X-{}: {}\r\n", "a".repeat(10), "b".repeat(20)).as_bytes());
        }
        let _ = stream.write_all(b"Content-Length: 0\r\n\r\n");
        Then::Close
    });
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &gate.token("read")));
    reason(&reply);
    assert_eq!(reply.status, 502);
}

#[test]
fn a_truncated_body_never_looks_complete() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"da",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"dat\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"d",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ];
    for answer in answers {
        // Otherwise nothing at all came, or a beginning and then the end of the connection.
        if let Ok(Some(reply)) = through(answer) {
            assert_eq!(reply.status, 502, "{}: {reply:?}", String::from_utf8_lossy(answer));
        }
    }
}

#[test]
fn interim_answers_and_answers_without_a_length_are_read_as_http_has_them() {
    let reply = through(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("whole").expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
    let reply = through(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":1}").expect("whole").expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"data":1}"#));
    let reply = through(b"HTTP/1.1 204 No Content\r\n\r\n").expect("whole").expect("an answer");
    assert_eq!(reply.status, 204);
}

#[test]
fn stray_bytes_behind_an_answer_never_answer_another_client() {
    let upstream = Upstream::scripted(|seen, stream| {
        let mut answer = json_answer(200, &format!("{{\"data\":\"{}\"}}", seen.target));
        answer.extend(json_answer(200, r#"{"data":"stray"}"#));
        let _ = stream.write_all(&answer);
        Then::KeepOpen
    });
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    for number in 0..8 {
        let target = format!("/api/resource/ToDo/{number}");
        let reply = wire.exchange(request("GET", &target, &token));
        assert_eq!((reply.status, reply.json()["data"].as_str()), (200, Some(target.as_str())));
    }
}

#[test]
fn an_upstream_that_is_not_there_is_502() {
    let (_socket, address) = refusing();
    let gate = Setup::on(crate::support::redis::Redis::start(), &format!("http://{address}")).start();
    let token = gate.token("read");
    for _ in 0..3 {
        let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token));
        reason(&reply);
        assert!(matches!(reply.status, 502 | 503), "{reply:?}");
    }
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/v2/document/ToDo", &token));
    assert!(reply.json()["errors"][0]["type"].is_string(), "{}", reply.text());
}

#[test]
fn another_server_takes_over_where_nothing_was_sent() {
    let (_socket, address) = refusing();
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).site(&format!("upstreams = [\"http://{address}\", \"{}\"]", upstream.url())).start();
    let token = gate.token("read write");
    for _ in 0..6 {
        assert_eq!(Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
        assert_eq!(Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", &token, "{}")).status, 200);
    }
    assert_eq!(upstream.requests().len(), 12);
}

#[test]
fn a_write_is_never_sent_twice() {
    let upstream = Upstream::scripted(|_, _| Then::Close);
    let other = Upstream::json("{}");
    let gate = Setup::new(&upstream).site(&format!("upstreams = [\"{}\"]", upstream.url())).start();
    let token = gate.token("write delete");
    let reply = Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", &token, r#"{"a":1}"#));
    reason(&reply);
    assert_eq!(reply.status, 502, "{reply:?}");
    assert_eq!(upstream.requests().len(), 1, "it may have been done");
    other.assert_untouched();
}

#[test]
fn a_kept_connection_that_the_upstream_closed_costs_no_request() {
    // gunicorn closes idle connections when it likes; what is sent into that is sent again only if it is safe, or on a new connection.
    let served = AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |_, stream| {
        let _ = stream.write_all(&json_answer(200, "{}"));
        match served.fetch_add(1, Ordering::Relaxed) % 2 {
            // Says nothing about closing, and closes.
            0 => Then::Close,
            _ => Then::KeepOpen,
        }
    });
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    for _ in 0..20 {
        assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    }
}

#[test]
fn connections_to_an_upstream_that_keeps_them_are_used_again() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    for _ in 0..10 {
        assert_eq!(wire.exchange(request("GET", "/api/resource/ToDo", &token)).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_client_that_goes_away_ends_its_request_upstream() {
    let (upstream, told) = watching_the_end();
    let gate = Setup::new(&upstream).start();
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &gate.token("read")));
    upstream.wait_for(1);
    wire.abandon();
    told.recv_timeout(crate::support::DEADLINE).expect("the upstream connection ends");
    assert_eq!(gate.stop().audit.len(), 1, "abandoned, and on record");
}

#[test]
fn an_upload_streams_and_an_early_answer_comes_through() {
    let upstream = Upstream::scripted(|_, stream| {
        let _ = stream.write_all(&json_answer(200, r#"{"message":{}}"#));
        Then::Close
    });
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let file = "x".repeat(6 * 1024 * 1024);
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"is_private\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n{file}\r\n--b--\r\n"
    );
    let head = |length: usize| {
        format!(
            "POST /api/method/upload_file HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let reply = Wire::tls(&gate).exchange(head(body.len()) + &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = upstream.request();
    let sent = String::from_utf8_lossy(&seen.body);
    assert!(sent.contains(&file), "{} bytes arrived", sent.len());
    // The forbidden key stands at the very end, when most of the upload has already been passed on: the last byte must not follow.
    let bad = body.replace("--b--\r\n", "--b\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nlogout\r\n--b--\r\n");
    let reply = Wire::tls(&gate).exchange(head(bad.len()) + &bad);
    reason(&reply);
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert_eq!(upstream.requests().len(), 1, "no second upload was completed");
}

#[test]
fn an_upload_beyond_its_bound_is_413_and_not_completed() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nupload_bytes_max = \"1MiB\"").start();
    let token = gate.token("all");
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let head = "POST /api/method/upload_file HTTP/1.1\r\nHost: fake.test\r\nContent-Type: multipart/form-data; boundary=b\r\n";
    let mut wire = Wire::tls(&gate);
    wire.send(format!("{head}Authorization: Bearer {token}\r\nContent-Length: 3000000\r\n\r\n{part}"));
    let reply = wire.reply().expect("an answer");
    reason(&reply);
    assert_eq!(reply.status, 413, "{reply:?}");
    let mut wire = Wire::tls(&gate);
    wire.send(format!("{head}Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{part}\r\n", part.len()));
    let chunk = format!("{:x}\r\n{}\r\n", 65536, "x".repeat(65536));
    for _ in 0..40 {
        wire.send(&chunk);
    }
    if let Ok(Some(reply)) = wire.try_reply() {
        assert_eq!(reply.status, 413, "{reply:?}");
    }
    assert!(upstream.requests().is_empty(), "no upload was completed");
}

#[test]
fn an_upstream_by_https_is_checked_against_its_authority() {
    let upstream = Upstream::json("{}");
    // A plain server where TLS is expected: the handshake fails, and nothing is said in clear.
    let url = upstream.url().replace("http://", "https://");
    let gate = Setup::new(&upstream).site(&format!("upstreams = [\"{url}\"]")).config("[upstream]\nconnect_timeout = \"500ms\"").start();
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &gate.token("read")));
    reason(&reply);
    assert!(matches!(reply.status, 502 | 504), "{reply:?}");
    assert!(upstream.requests().is_empty());
}

#[test]
fn no_traceback_gets_out_however_an_error_is_written() {
    const TRACEBACK: &str = r#"Traceback (most recent call last): File "/home/frappe/inside.py""#;
    let error = serde_json::json!({"exc_type": "E", "exc": [TRACEBACK], "exception": "inside.py"}).to_string();
    let rows: [(&str, &str, String, &str); 9] = [
        ("compressed, whoever asked for that", "Content-Type: application/json\r\nContent-Encoding: gzip", error.clone(), ""),
        ("Python's NaN", "Content-Type: application/json", error.replacen('{', r#"{"qty":NaN,"#, 1), ""),
        ("something behind it", "Content-Type: application/json", format!("{error}\n-- "), ""),
        ("a byte order mark", "Content-Type: application/json", format!("\u{feff}{error}"), ""),
        ("another kind of JSON", "Content-Type: application/problem+json", error.clone(), ""),
        ("no type", "X-A: b", error.clone(), ""),
        ("JSON called text", "Content-Type: text/plain", error.clone(), ""),
        ("a page", "Content-Type: text/html; charset=utf-8", format!("<pre>{TRACEBACK}</pre>"), ""),
        ("on v2", "Content-Type: application/json\r\nContent-Encoding: br", error.clone(), "/v2"),
    ];
    for (what, fields, body, v2) in rows {
        let head = format!("HTTP/1.1 417 X\r\n{fields}\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n", body.len());
        let upstream = Upstream::answering((head + &body).into_bytes());
        let gate = Setup::new(&upstream).start();
        let target = if v2.is_empty() { "/api/resource/ToDo" } else { "/api/v2/document/ToDo" };
        let reply = Wire::tls(&gate).exchange(request("GET", target, &gate.token("read")));
        assert!(!reply.text().contains("inside.py"), "{what}: {}", reply.text());
        assert_eq!((reply.status, reply.header("content-encoding"), reply.header("retry-after")), (417, None, Some("7")), "{what}");
        assert_eq!(reply.json()["errors"].is_array(), !v2.is_empty(), "{what}: {}", reply.text());
    }
}

#[test]
fn errors_without_a_traceback_pass_as_they_are() {
    let bodies = [("text/html", "<h1>Internal Server Error</h1>"), ("application/json", r#"["E"]"#), ("application/json", "")];
    for (kind, body) in bodies {
        let answer = format!("HTTP/1.1 500 X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let upstream = Upstream::answering(answer.into_bytes());
        let gate = Setup::new(&upstream).start();
        let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &gate.token("read")));
        assert_eq!((reply.status, reply.header("content-type"), reply.text().as_str()), (500, Some(kind), body));
    }
}
