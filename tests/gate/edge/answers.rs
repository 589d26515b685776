//! The shape of the gate's own answers, compared as text that a person can read.

use serde_json::json;

use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::{parameter, reason};
use crate::support::wire::{Wire, request};

#[test]
fn a_refusal_for_want_of_a_scope_names_the_operation_and_the_scope() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(request("DELETE", "/api/resource/Sales%20Order/SO-1", &gate.token("read write")));
    assert_eq!(reason(&reply), "insufficient_scope");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert_eq!(parameter(challenge, "error").as_deref(), Some("insufficient_scope"));
    let scope = parameter(challenge, "scope").expect("the scope needed");
    assert!(scope.split(' ').any(|scope| scope == "delete"), "{scope}");
    assert!(parameter(challenge, "error_description").is_some_and(|text| !text.is_empty()), "{challenge}");
    assert_eq!(reply.json()["exc_type"], json!("PermissionError"));
}

#[test]
fn a_refusal_is_surfaced_as_one_by_clients_that_look_for_exc() {
    // The Python client raises only where the body has an `exc`; without it a refusal would look like an answer of `None`.
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for (target, scope) in [("/api/resource/ToDo", "write"), ("/api/nosuch", "read"), ("/api/resource/OAuth%20Client", "all")] {
        let reply = Wire::tls(&gate).exchange(request("GET", target, &gate.token(scope)));
        let body = reply.json();
        let exc = body["exc"].as_str().unwrap_or_else(|| panic!("exc: {body}"));
        let list: Vec<String> = serde_json::from_str(exc).expect("exc is a JSON list in a string");
        assert!(!list.is_empty() && !exc.contains("Traceback"), "{exc}");
    }
}

#[test]
fn refusals_are_not_kept_by_caches() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for token in [gate.token("write"), gate.unknown_token()] {
        let reply = Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token));
        let cache = reply.header("cache-control").unwrap_or_default();
        assert!(cache.contains("no-store"), "{reply:?}");
    }
}

#[test]
fn what_the_gate_says_in_v2_is_in_the_shape_of_v2() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/v2/document/ToDo", &gate.token("write")));
    let body = reply.json();
    assert_eq!(body["errors"][0]["type"], json!("PermissionError"), "{body}");
    assert!(body.get("exc_type").is_none(), "{body}");
}

#[test]
fn a_page_is_never_answered_even_where_one_is_asked_for() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for token in [gate.token("write"), gate.unknown_token()] {
        let reply =
            Wire::tls(&gate).exchange(request("GET", "/api/resource/ToDo", &token).replace("\r\n\r\n", "\r\nAccept: text/html\r\n\r\n"));
        reason(&reply);
    }
}

#[test]
fn certificates_are_picked_by_name() {
    use crate::support::certificate::{Certificate, shown};
    let upstream = Upstream::json("{}");
    let setup = Setup::new(&upstream);
    let second = Certificate::write(setup.dir.path(), "second", &["other.test"]);
    let first = setup.certificate.clone();
    let entry = |certificate: &Certificate| {
        format!("[[tls.certificate]]\ncert_file = {:?}\nkey_file = {:?}\n", certificate.cert_file, certificate.key_file)
    };
    let gate = setup.config(&(entry(&first) + &entry(&second))).start();
    for (host, certificate) in [("fake.test", &first), ("localhost", &first), ("other.test", &second), ("nosuch.test", &first)] {
        assert_eq!(shown(gate.https(), host), Some(certificate.der().to_vec()), "{host}");
    }
}
