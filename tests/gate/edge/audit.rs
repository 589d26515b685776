//! Every request ends in exactly one audit record, whatever became of it.

use crate::support::audit;
use crate::support::gate::{CLIENT, USER, token_key};
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::Upstream;
use crate::support::wire::{Wire, json_request, request};

#[test]
fn each_request_is_one_record_with_what_was_decided_and_why() {
    let upstream = Upstream::json(r#"{"data":[]}"#);
    let gate = Setup::new(&upstream).start();
    let (read, unknown) = (gate.token("read"), gate.unknown_token());
    let requests = [
        (request("GET", "/api/resource/ToDo", &read), 200),
        (json_request("POST", "/api/resource/ToDo", &read, "{}"), 403),
        (request("GET", "/api/resource/ToDo?cmd=logout", &read), 400),
        (request("GET", "/api/resource/ToDo", &unknown), 401),
        (format!("GET /api/resource/ToDo HTTP/1.1\r\nHost: {SITE}\r\n\r\n"), 401),
        (request("GET", "/api/nosuch", &read), 404),
    ];
    let mut ids = Vec::new();
    for (request, status) in &requests {
        let reply = Wire::tls(&gate).exchange(request);
        assert_eq!(reply.status / 100, status / 100, "{request}: {reply:?}");
        ids.push((reply.header("x-request-id").expect("an id").to_owned(), reply.status));
    }
    let key = token_key(&read);
    let fingerprint = &key[key.len() - 64..][..16];
    let records = gate.stop().audit;
    assert_eq!(records.len(), requests.len(), "{records:#?}");
    for (id, status) in &ids {
        assert_eq!(audit::of(&records, id)["status"], *status);
    }
    let served = audit::of(&records, &ids[0].0);
    assert_eq!((served["site"].as_str(), served["client"].as_str(), served["user"].as_str()), (Some(SITE), Some(CLIENT), Some(USER)));
    assert_eq!(served["token"].as_str(), Some(fingerprint), "{served}");
    let refused = audit::of(&records, &ids[1].0);
    assert_eq!(refused["reason"], "insufficient_scope", "{refused}");
    assert_eq!(refused["user"], USER, "a refusal says whose it was");
}

#[test]
fn requests_on_one_connection_are_a_record_each() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut wire = Wire::tls(&gate);
    for _ in 0..25 {
        wire.exchange(request("GET", "/api/resource/ToDo", &token));
    }
    let mut http2 = crate::support::http2::Http2::connect(&gate);
    let targets: Vec<String> = (0..25).map(|number| format!("/api/resource/ToDo/{number}")).collect();
    http2.requests(&targets, &token);
    // Nobody reads its goodbye, so that the gate would wait for it to be taken.
    drop(http2);
    assert_eq!(gate.stop().audit.len(), 50);
}

#[test]
fn a_request_that_its_client_abandons_is_on_record() {
    let (upstream, held) = Upstream::held();
    let gate = Setup::new(&upstream).start();
    let mut wire = Wire::tls(&gate);
    wire.send(request("GET", "/api/resource/ToDo", &gate.token("read")));
    upstream.wait_for(1);
    wire.abandon();
    let records = gate.audit_of(1);
    assert_eq!(records[0]["user"], USER, "{records:#?}");
    drop(held);
    assert_eq!(gate.stop().audit.len(), 1);
}

#[test]
fn a_request_whose_body_is_never_sent_is_on_record() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let mut wire = Wire::tls(&gate);
    let whole = json_request("POST", "/api/resource/ToDo", &gate.token("write"), r#"{"description":"x"}"#);
    wire.send(&whole[..whole.len() - 3]);
    wire.abandon();
    let record = gate.audit_of(1).remove(0);
    assert_eq!((&record["outcome"], &record["bytes_in"]), (&"abandoned".into(), &16.into()), "{record}");
    assert_eq!(gate.stop().audit.len(), 1);
    upstream.assert_untouched();
}

#[test]
fn refusals_of_the_http_port_are_on_record_too() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    assert_eq!(Wire::plain(&gate).exchange(request("GET", "/api/resource/ToDo", &gate.token("read"))).status, 403);
    assert_eq!(gate.stop().audit.len(), 1);
}

#[test]
fn no_client_can_write_a_line_of_its_own() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let targets =
        ["/api/resource/ToDo/a%0a%7B%22forged%22%3Atrue%7D", "/api/resource/%22%2C%22forged%22%3A%22x", "/api/resource/ToDo/%E2%80%A8x"];
    for target in targets {
        Wire::tls(&gate).exchange(request("GET", target, &token));
    }
    let records = gate.stop().audit;
    assert_eq!(records.len(), targets.len());
    assert!(records.iter().all(|record| record.get("forged").is_none()), "{records:#?}");
}

#[test]
fn what_was_no_request_has_no_method_on_record() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for head in ["CONNECT fake.test:443 HTTP/1.1\r\nHost: fake.test:443\r\n\r\n", "DELETE /x HTTP/1.1\r\nHost : fake.test\r\n\r\n"] {
        assert!(Wire::tls(&gate).exchange(head).status >= 400);
    }
    for record in gate.stop().audit {
        assert!(record["method"].is_null(), "{record}");
    }
}

#[test]
fn an_answer_to_options_is_allowed_and_served() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    Wire::tls(&gate).exchange("OPTIONS /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n\r\n");
    let records = gate.stop().audit;
    assert_eq!((&records[0]["decision"], &records[0]["outcome"]), (&"allow".into(), &"served".into()), "{records:#?}");
}
