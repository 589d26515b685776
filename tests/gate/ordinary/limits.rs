//! Bodies and names at their bounds: what must still pass, and what is refused for its size.

use std::io::Write;

use crate::support::setup::Setup;
use crate::support::upstream::{Then, Upstream, json_answer};
use crate::support::verdict::reason;
use crate::support::wire::{Wire, json_request, request};

const MIB: usize = 1024 * 1024;

#[test]
fn a_json_body_of_four_mebibytes_passes_and_one_byte_more_is_413() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("write");
    let body = |size: usize| format!(r#"{{"description":"{}"}}"#, "x".repeat(size - r#"{"description":""}"#.len()));
    let full = body(4 * MIB);
    assert_eq!(full.len(), 4 * MIB);
    let reply = Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", &token, &full));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.request().body, full.as_bytes());
    let reply = Wire::tls(&gate).exchange(json_request("POST", "/api/resource/ToDo", &token, &body(4 * MIB + 1)));
    reason(&reply);
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_chunked_body_is_bounded_like_any_other() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).config("[bounds]\nbody_bytes_max = \"64KiB\"").start();
    let token = gate.token("write");
    let mut wire = Wire::tls(&gate);
    wire.send(format!(
        "POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    // The gate may answer and close long before the end; what is sent after that is lost.
    for _ in 0..32 {
        wire.send(&chunk);
    }
    let reply = wire.reply().expect("an answer");
    reason(&reply);
    assert_eq!(reply.status, 413, "{reply:?}");
    upstream.assert_untouched();
}

#[test]
fn a_large_answer_streams_through_whole() {
    let body = "0123456789abcdef".repeat(MIB / 2);
    let (served, length) = (body.clone(), body.len());
    let upstream = Upstream::scripted(move |_, stream| {
        let _ = stream.write_all(&json_answer(200, &served));
        Then::KeepOpen
    });
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &gate.token("read")));
    assert_eq!((reply.status, reply.body.len()), (200, length));
    assert_eq!(reply.body, body.as_bytes());
}

#[test]
fn names_keep_their_exact_bytes() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    // As the client writes it, and the decoded name that must arrive.
    let names = [
        ("SO-2026-00001", "SO-2026-00001"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%E6%B5%8B%E8%AF%95", "测试"),
        ("caf%C3%A9", "café"),
        ("cafe%CC%81", "cafe\u{301}"),
        ("A/B/C", "A/B/C"),
        ("a%26b%3Dc", "a&b=c"),
        ("what%3F", "what?"),
        ("no.%231", "no.#1"),
        ("%22quoted%22", "\"quoted\""),
        ("x@example.test", "x@example.test"),
        ("...", "..."),
    ];
    for (written, meant) in names {
        let before = upstream.requests().len();
        let reply = Wire::tls(&gate).exchange(request("GET", &format!("/api/resource/Item/{written}"), &token));
        assert_eq!(reply.status, 200, "{written}: {}", reply.text());
        let target = upstream.requests()[before].target.clone();
        let name = target.strip_prefix("/api/resource/Item/").unwrap_or_else(|| panic!("{written} went upstream as {target}"));
        assert_eq!(super::decode(name), meant, "{written} went upstream as {target}");
    }
}
