//! Uploads stream: what becomes of those that end early, by whoever's doing, and what is written down of them.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gate::{CLIENT, Gate, USER};
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::{Then, Upstream, json_answer};
use crate::support::wire::{Reply, Wire, json_request, request};

/// More than is read ahead, so that the upstream hears of it before it is whole.
const LARGE: usize = 300_000;

fn body(file_bytes: usize) -> String {
    let file = "x".repeat(file_bytes);
    format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{file}\r\n--b--\r\n")
}

fn upload(target: &str, token: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: {SITE}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends all of an upload but its end.
fn beginning(gate: &Gate, wire: &mut Wire) {
    let whole = upload("/api/method/upload_file", &gate.token("write"), &body(LARGE));
    wire.send(&whole[..whole.len() - 100]);
}

/// What a client gets, and what is on record, of an upload that the upstream answers when it has only seen its head.
fn answered_early(answer: Vec<u8>) -> (Reply, Value) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let upstream = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the gate connects");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(0);
            let last = head.len() - 1;
            stream.read_exact(&mut head[last..]).expect("a head");
        }
        stream.write_all(&answer).expect("the gate reads");
        stream
    });
    let gate = Setup::on(crate::support::redis::Redis::start(), &upstream).start();
    let mut wire = Wire::tls(&gate);
    beginning(&gate, &mut wire);
    let reply = wire.reply().expect("an answer");
    assert_eq!(reply.header("connection"), Some("close"), "what is left of the body is no request");
    drop(wire);
    drop(server.join().expect("it does not panic"));
    let mut records = gate.stop().audit;
    assert_eq!(records.len(), 1, "{records:#?}");
    (reply, records.remove(0))
}

#[test]
fn the_query_of_an_upload_goes_with_it() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let target = "/api/method/upload_file?doctype=ToDo&docname=T%201";
    for size in [10, LARGE] {
        let reply = Wire::tls(&gate).exchange(upload(target, &gate.token("write"), &body(size)));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let targets: Vec<String> = upstream.requests().into_iter().map(|seen| seen.target.replace('+', "%20")).collect();
    assert_eq!(targets, [target, target]);
}

#[test]
fn success_before_the_end_is_no_success() {
    let (reply, record) = answered_early(json_answer(200, "{}"));
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (502, Some("upstream_early")), "{}", reply.text());
    assert_eq!((&record["decision"], &record["outcome"]), (&"refuse".into(), &"refused".into()), "{record}");
}

#[test]
fn an_error_before_the_end_reaches_the_client_and_is_on_record_as_one() {
    let (reply, record) = answered_early(json_answer(413, r#"{"exc_type":"E"}"#));
    assert_eq!((reply.status, reply.text().as_str()), (413, r#"{"exc_type":"E"}"#));
    let told = [&record["decision"], &record["reason"], &record["outcome"]];
    assert_eq!(told, ["refuse", "upstream_early", "served"], "{record}");
    assert!(record["bytes_in"].as_u64().is_some_and(|bytes| bytes > 0), "{record}");
}

#[test]
fn an_upload_that_its_client_abandons_is_on_record() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let mut wire = Wire::tls(&gate);
    beginning(&gate, &mut wire);
    upstream.connections();
    wire.abandon();
    let record = gate.audit_of(1).remove(0);
    assert_eq!(record["outcome"], "abandoned", "{record}");
    assert!(record["bytes_in"].as_u64().is_some_and(|bytes| bytes > 0), "{record}");
    assert_eq!(gate.stop().audit.len(), 1);
    assert!(upstream.requests().is_empty(), "a part was never the whole");
}

#[test]
fn a_token_that_is_revoked_while_the_body_is_on_its_way_does_not_get_through() {
    let upstream = Upstream::scripted(|seen, stream| {
        let _ = stream.write_all(&json_answer(200, "{}"));
        if seen.method == "GET" { Then::KeepOpen } else { Then::Close }
    });
    let gate = Setup::new(&upstream).start();
    for large in
        [upload("/api/method/upload_file", "TOKEN", &body(LARGE)), json_request("POST", "/api/resource/ToDo", "TOKEN", "{\"a\":1}")]
    {
        let token = gate.token("read write");
        let whole = large.replace("TOKEN", &token);
        let (first, last) = whole.split_at(whole.len() - 5);
        let mut wire = Wire::tls(&gate);
        wire.send(first);
        let probe = || Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token)).status;
        assert_eq!(probe(), 200);
        gate.put_token(&token, &json!({"v": 1, "client": CLIENT, "user": USER, "scopes": "read write", "iat": 1, "exp": 2}));
        eventually("the token is refused", || probe() == 401);
        wire.send(last);
        assert_eq!(wire.reply().expect("an answer").status, 401);
    }
    assert!(upstream.requests().iter().all(|seen| seen.method == "GET"), "{:?}", upstream.requests());
}
