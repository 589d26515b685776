//! HTTP/2: the same right and wrong as over HTTP/1.1, and the rules that translation between the two must not lose (DESIGN section 10 rule 10).

use crate::support::exchange::exchange;
use crate::support::frames::{Met, ask};
use crate::support::http2::Http2;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::{forbidden, insufficient_scope, unauthorized};
use crate::support::wire::Wire;

#[test]
fn a_request_is_served_refused_and_challenged_as_over_http_1() {
    let upstream = Upstream::json(r#"{"data":[]}"#);
    let gate = Setup::new(&upstream).start();
    let bearer = |scope: &str| format!("Bearer {}", gate.token(scope));
    let (read, write, delete) = (bearer("read"), bearer("write"), bearer("delete"));
    let mut http2 = Http2::connect(&gate);
    let reply = http2.request("GET", "/api/resource/ToDo?limit_page_length=1", &[("authorization", &read)], b"");
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"data":[]}"#));
    let json = ("content-type", "application/json");
    let reply = http2.request("POST", "/api/resource/ToDo", &[("authorization", &write), json], br#"{"description":"x"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(http2.request("DELETE", "/api/resource/ToDo/x", &[("authorization", &delete)], b"").status, 200);
    insufficient_scope(&http2.request("GET", "/api/resource/ToDo", &[("authorization", &write)], b""));
    unauthorized(&http2.request("GET", "/api/resource/ToDo", &[], b""), None);
    unauthorized(&http2.request("GET", "/api/resource/ToDo", &[("authorization", "Bearer nosuch")], b""), Some("invalid_token"));
    let seen = upstream.requests();
    let lines: Vec<String> = seen.iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
    assert_eq!(lines, ["GET /api/resource/ToDo?limit_page_length=1", "POST /api/resource/ToDo", "DELETE /api/resource/ToDo/x"]);
    assert!(seen.iter().all(|seen| seen.header("host") == Some("fake.test")));
    assert_eq!(seen[1].body, br#"{"description":"x"}"#);
}

#[test]
fn every_bypass_is_refused_over_http_2_as_well() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let bearer = format!("Bearer {}", gate.token("all"));
    let mut http2 = Http2::connect(&gate);
    let cases = [
        "202-GET-cmd-on-resource",
        "205-GET-cmd-json-body",
        "206-GET-cmd-form-body",
        "209-GET-double-slash",
        "214-GET-method-encoded-slash",
        "218-GET-cmd-encoded-key",
        "224-GET-run_method-bulk_update",
        "229-GET-system_console",
        "251-POST-cmd-in-create",
        "252-POST-cmd-in-query",
        "256-POST-cmd-multipart",
        "258-POST-cmd-dup-json-key",
        "259-POST-cmd-json-escape",
        "271-DELETE-cmd-savedocs",
        "500-read-scope-reads-bearer-tokens",
    ];
    for case in cases {
        let recorded = exchange(case);
        let kind = recorded.request_header("content-type");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        forbidden(&http2.request(recorded.method(), recorded.target(), &headers, recorded.body().as_bytes()));
        upstream.assert_untouched();
    }
}

#[test]
fn a_hundred_streams_at_once_are_each_answered() {
    let upstream = Upstream::scripted(|seen, stream| {
        use std::io::Write;
        let body = format!("{{\"data\":\"{}\"}}", seen.target);
        let _ = stream.write_all(&crate::support::upstream::json_answer(200, &body));
        crate::support::upstream::Then::KeepOpen
    });
    let gate = Setup::new(&upstream).start();
    let targets: Vec<String> = (0..100).map(|number| format!("/api/resource/ToDo/{number}")).collect();
    let replies = Http2::connect(&gate).requests(&targets, &gate.token("read"));
    for (target, reply) in targets.iter().zip(&replies) {
        assert_eq!((reply.status, reply.json()["data"].as_str()), (200, Some(target.as_str())));
    }
}

#[test]
fn what_http_2_forbids_is_refused() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let bearer = format!("Bearer {}", gate.token("all"));
    let list = "/api/resource/ToDo";
    let good = [(":method", "GET"), (":scheme", "https"), (":authority", "fake.test"), (":path", list), ("authorization", bearer.as_str())];
    let with = |extra: &[(&'static str, &'static str)]| [&good[..], extra].concat();
    let instead = |name: &str, value: &'static str| good.map(|(key, old)| if key == name { (key, value) } else { (key, old) }).to_vec();
    let cases = [
        ("a connection field", with(&[("connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te other than trailers", with(&[("te", "deflate")])),
        ("an upper-case name", with(&[("X-Upper", "a")])),
        ("a space in a name", with(&[("x a", "b")])),
        ("a colon in a name", with(&[("x:a", "b")])),
        ("a line feed in a value", with(&[("x-a", "b\nc: d")])),
        ("a carriage return in a value", with(&[("x-a", "b\rc")])),
        ("NUL in a value", with(&[("x-a", "b\0c")])),
        ("another host", with(&[("host", "evil.test")])),
        ("two hosts", with(&[("host", "fake.test"), ("host", "evil.test")])),
        ("a pseudo field behind a field", with(&[(":path", "/api/method/logout")])),
        ("an unknown pseudo field", with(&[(":protocol", "websocket")])),
        ("a length that is not kept", with(&[("content-length", "5")])),
        ("another authority", instead(":authority", "evil.test")),
        ("userinfo in the authority", instead(":authority", "a@fake.test")),
        ("an empty path", instead(":path", "")),
        ("a path without a slash", instead(":path", "api/resource/ToDo")),
        ("a path with a space", instead(":path", "/api/resource/To Do")),
        ("a path with a line break", instead(":path", "/api/resource/ToDo HTTP/1.1\r\nX: y")),
        ("a path in absolute form", instead(":path", "https://evil.test/api/resource/ToDo")),
        // A fragment is cut off before anybody here sees it, so it is decided on and sent without.
        ("a method with a space", instead(":method", "GET /api")),
        ("CONNECT", instead(":method", "CONNECT")),
        ("TRACE", instead(":method", "TRACE")),
        ("a lower-case method", instead(":method", "get")),
        ("no method", good[1..].to_vec()),
        ("no path", [&good[..3], &good[4..]].concat()),
        ("two paths", [&good[..4], &[(":path", "/x")], &good[4..]].concat()),
        ("two credentials", [&good[..], &good[4..]].concat()),
    ];
    for (what, fields) in cases {
        match ask(&mut Wire::h2(&gate), 1, &fields, None) {
            Met::Answered(status) => assert!((400..500).contains(&status), "{what}: {status}"),
            Met::Cut => {}
        }
        upstream.assert_untouched();
    }
    assert_eq!(ask(&mut Wire::h2(&gate), 1, &good, None), Met::Answered(200));
    let (body, cookies) =
        ([&good[..], &[("content-type", "application/json")]].concat(), with(&[("cookie", "sid=a"), ("cookie", "user_id=b")]));
    let met = ask(&mut Wire::h2(&gate), 1, &body, Some(b"{\"cmd\":\"logout\"}"));
    assert!(matches!(met, Met::Answered(400..=499) | Met::Cut), "a body on GET: {met:?}");
    assert_eq!(ask(&mut Wire::h2(&gate), 1, &cookies, None), Met::Answered(200));
    assert!(upstream.requests().iter().all(|seen| seen.header("cookie").is_none()));
}

#[test]
fn the_statuses_of_refusals_are_those_of_http_1() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let bearer = format!("Bearer {}", gate.token("write"));
    let fields = |path: &'static str, bearer: &'static str| {
        [(":method", "GET"), (":scheme", "https"), (":authority", "fake.test"), (":path", path), ("authorization", bearer)]
    };
    let mut wire = Wire::h2(&gate);
    let list = "/api/resource/ToDo";
    assert_eq!(ask(&mut wire, 1, &fields(list, "Bearer nosuch"), None), Met::Answered(401));
    let narrow = [&fields(list, "")[..4], &[("authorization", bearer.as_str())]].concat();
    assert_eq!(ask(&mut wire, 3, &narrow, None), Met::Answered(403));
    let nowhere = [&fields("/api/nosuch", "")[..4], &[("authorization", bearer.as_str())]].concat();
    assert_eq!(ask(&mut wire, 5, &nowhere, None), Met::Answered(404));
    upstream.assert_untouched();
}
