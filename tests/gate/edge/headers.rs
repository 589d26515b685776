//! What crosses in header fields: an allow-list and our own upstream, nothing internal downstream (DESIGN section 4, section 10 rules 5 and 6).

use std::io::Write;

use crate::support::exchange::exchange;
use crate::support::setup::{API_KEY, Setup};
use crate::support::upstream::{Seen, Then, Upstream};
use crate::support::verdict::reason;
use crate::support::wire::{Wire, json_request};

/// Each of these, from a client, changes something in Frappe, in gunicorn or in a proxy between.
const UNWANTED: &[(&str, &str)] = &[
    ("Cookie", "sid=abc; user_id=Administrator"),
    ("Forwarded", "for=203.0.113.7;host=evil.test"),
    ("Frappe-Authorization-Source", "User"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Keep-Alive", "timeout=1000"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("Proxy-Connection", "keep-alive"),
    ("Remote-Addr", "203.0.113.7"),
    ("SCRIPT_NAME", "/api"),
    ("Script-Name", "/api"),
    ("TE", "trailers, deflate"),
    ("Trailer", "Authorization"),
    ("Upgrade", "h2c"),
    ("X-Accel-Redirect", "/private"),
    ("X-Client-IP", "203.0.113.7"),
    ("X-Frappe-CSRF-Token", "abc"),
    ("X-Frappe-Cmd", "logout"),
    ("X-Frappe-Request-Id", "abc"),
    ("X-HTTP-Method", "DELETE"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-URL", "/api/method/logout"),
    ("X-Real-IP", "203.0.113.7"),
    ("X-Rewrite-URL", "/api/method/logout"),
    ("X-Unheard-Of", "x"),
    ("X-Use-X-Accel-Redirect", "1"),
    ("X_Forwarded_For", "203.0.113.7"),
    ("X_Frappe_Site_Name", "other.test"),
];

/// Each of these is set by the gate, whatever the client says.
const OURS: &[(&str, &str)] = &[
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Proto", "http"),
    ("X-Frappe-Site-Name", "other.test"),
];

/// Sends a read with `fields` added, and gives what went upstream.
fn forwarded(fields: &str) -> Seen {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let reply = Wire::tls(&gate)
        .exchange(format!("GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = upstream.request();
    assert!(!String::from_utf8_lossy(&seen.raw).contains(&token), "the token stays at the gate: {seen:#?}");
    seen
}

fn fields(list: &[(&str, &str)]) -> String {
    list.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

#[test]
fn nothing_unwanted_goes_upstream() {
    let seen = forwarded(&fields(UNWANTED));
    for (name, value) in UNWANTED {
        let found = seen.headers.iter().find(|(key, sent)| key.eq_ignore_ascii_case(name) && sent == value);
        assert!(found.is_none(), "`{name}` went upstream: {seen:#?}");
    }
    for (name, _) in &seen.headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "`{name}` went upstream");
    }
}

#[test]
fn what_the_gate_says_of_itself_is_not_the_clients_to_say() {
    for fields in [fields(OURS), fields(OURS).repeat(2), fields(OURS).to_lowercase()] {
        let seen = forwarded(&fields);
        assert_eq!(seen.header("host"), Some("fake.test"));
        assert_eq!(seen.header("x-frappe-site-name"), Some("fake.test"));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("authorization"), Some(format!("token {API_KEY}").as_str()));
        let text = String::from_utf8_lossy(&seen.raw).into_owned();
        assert!(!text.contains("evil") && !text.contains("other.test") && !text.contains("203.0.113.7"), "{text}");
    }
}

#[test]
fn a_connection_field_cannot_remove_what_is_ours() {
    let named = "Connection: close, Authorization, Host, X-Forwarded-For, X-Forwarded-Proto, X-Frappe-Site-Name, Accept, X-Request-Id\r\n";
    let seen = forwarded(&format!("{named}Accept: application/json\r\n"));
    for name in ["authorization", "host", "x-forwarded-for", "x-forwarded-proto", "x-frappe-site-name"] {
        assert!(seen.header(name).is_some(), "`{name}` is missing: {seen:#?}");
    }
    let seen = forwarded("Connection: User-Agent\r\nUser-Agent: hop\r\n");
    assert_ne!(seen.header("user-agent"), Some("hop"), "what Connection names is for this hop only");
}

#[test]
fn what_frappe_may_know_goes_upstream() {
    let seen = forwarded("Accept: application/json\r\nAccept-Language: de\r\nUser-Agent: test/1\r\nIf-None-Match: \"x\"\r\n");
    assert_eq!(seen.header("accept-language"), Some("de"));
    assert_eq!(seen.header("user-agent"), Some("test/1"));
    assert_eq!(seen.header("if-none-match"), Some("\"x\""));
    assert_eq!(seen.header("accept"), Some("application/json"));
}

#[test]
fn an_html_error_page_is_never_asked_for() {
    // T417: Frappe answers in HTML wherever `Accept` begins with `text`.
    for accept in ["text/html", "text/plain, application/json", "TEXT/*;q=0.5"] {
        let seen = forwarded(&format!("Accept: {accept}\r\n"));
        let accept = seen.header("accept").unwrap_or("application/json");
        assert!(accept.starts_with("application/json"), "{accept}");
    }
}

#[test]
fn a_header_that_the_config_adds_goes_upstream_and_another_site_name_is_believed_from_the_config_only() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).site("request_headers = [\"X-Warehouse\"]\nfrappe_site = \"inner.test\"").start();
    let token = gate.token("read");
    let reply = Wire::tls(&gate).exchange(format!(
        "GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\nX-Warehouse: north\r\nX-Other: x\r\n\r\n"
    ));
    assert_eq!(reply.status, 200);
    let seen = upstream.request();
    assert_eq!(seen.header("x-warehouse"), Some("north"));
    assert_eq!(seen.header("x-other"), None);
    assert_eq!((seen.header("host"), seen.header("x-frappe-site-name")), (Some("inner.test"), Some("inner.test")));
}

#[test]
fn a_token_is_passed_on_only_where_the_config_says_forward() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).forwarding().start();
    let token = gate.token("read");
    let reply = Wire::tls(&gate).exchange(exchange("134-scheme-upper").with_token("qVDYd9GfM7aE8ZKSKxo3ndMGjCjeKJ", &token));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.request().header("authorization"), Some(format!("Bearer {token}").as_str()), "rewritten with one space");
}

#[test]
fn internal_fields_of_an_answer_stay_inside() {
    let internal = "Set-Cookie: sid=Guest; Path=/\r\nSet-Cookie: user_id=Guest\r\nX-Accel-Redirect: /private/x\r\nX-Frappe-Request-Id: inner\r\n\
                    Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nServer: gunicorn\r\nX-Powered-By: Python\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                    Refresh: 0; url=http://evil.test\r\nStrict-Transport-Security: max-age=0\r\n";
    let upstream = Upstream::scripted(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"a\"\r\n{internal}Content-Length: 2\r\n\r\n{{}}");
        let _ = stream.write_all(head.as_bytes());
        Then::Close
    });
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(exchange("100-list").with_bearer(&gate.token("read")));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("etag"), Some("\"a\""));
    for name in ["set-cookie", "x-accel-redirect", "keep-alive", "proxy-authenticate", "x-hop", "x-frappe-request-id"] {
        assert!(reply.all(name).is_empty(), "`{name}` came out: {reply:?}");
    }
    assert!(!reply.all("server").contains(&"gunicorn"), "{reply:?}");
}

#[test]
fn every_answer_has_a_request_id_of_the_gates_own() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let reply = Wire::tls(&gate).exchange(format!(
            "GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\nX-Request-Id: mine\r\n\r\n"
        ));
        let id = reply.header("x-request-id").expect("an id").to_owned();
        assert_ne!(id, "mine", "an id that a client chose would let it write the audit log");
        assert!(ids.insert(id), "an id is given once");
    }
}

#[test]
fn one_host_that_is_a_site_and_nothing_else() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let ask =
        |line: &str, hosts: &str| Wire::tls(&gate).exchange(format!("{line} HTTP/1.1\r\n{hosts}Authorization: Bearer {token}\r\n\r\n"));
    let get = "GET /api/resource/ToDo";
    let refused = [
        (get, ""),
        (get, "Host: fake.test\r\nHost: fake.test\r\n"),
        (get, "Host: fake.test\r\nHost: evil.test\r\n"),
        (get, "Host: evil.test\r\n"),
        (get, "Host:\r\n"),
        (get, "Host: fake.test, fake.test\r\n"),
        (get, "Host: fake.test/x\r\n"),
        (get, "Host: a@fake.test\r\n"),
        (get, "Host: fake.test:x\r\n"),
        (get, "Host: fake.test:99999\r\n"),
        (get, "Host: fake test\r\n"),
        (get, "Host: 127.0.0.1\r\n"),
        ("GET https://evil.test/api/resource/ToDo", "Host: fake.test\r\n"),
        ("GET https://fake.test/api/resource/ToDo", "Host: evil.test\r\n"),
        ("GET https://a@fake.test/api/resource/ToDo", "Host: fake.test\r\n"),
        ("GET ftp://fake.test/api/resource/ToDo", "Host: fake.test\r\n"),
        ("CONNECT fake.test:443", "Host: fake.test:443\r\n"),
    ];
    for (line, hosts) in refused {
        let reply = ask(line, hosts);
        assert!((400..500).contains(&reply.status), "{line} {hosts:?}: {reply:?}");
    }
    upstream.assert_untouched();
    for (line, hosts) in [(get, "Host: FAKE.test\r\n"), (get, "Host: fake.test:8443\r\n")] {
        assert_eq!(ask(line, hosts).status, 200, "{line} {hosts:?}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.header("host") == Some("fake.test")));
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    let upstream = Upstream::json("{}");
    let gate =
        Setup::new(&upstream).config("[bounds]\nheader_bytes_max = \"8KiB\"\nheader_count_max = 50\ntarget_bytes_max = \"4KiB\"").start();
    let token = gate.token("read");
    let ask = |target: &str, fields: &str| {
        Wire::tls(&gate).exchange(format!("GET {target} HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"))
    };
    let list = "/api/resource/ToDo";
    assert_eq!(ask(list, &"X-A: b\r\n".repeat(40)).status, 200);
    let large = [
        (list.to_owned(), format!("X-A: {}\r\n", "b".repeat(9000))),
        (list.to_owned(), "X-A: b\r\n".repeat(60)),
        (format!("{list}?filters={}", "x".repeat(5000)), String::new()),
        (format!("{list}/{}", "x".repeat(5000)), String::new()),
    ];
    for (target, fields) in large {
        let reply = ask(&target, &fields);
        assert!(matches!(reply.status, 400 | 414 | 431), "{reply:?}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn expect_continue_is_answered_before_the_body_and_not_passed_on() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("write");
    let mut wire = Wire::tls(&gate);
    let request = json_request("POST", "/api/resource/ToDo", &token, "{}").replacen("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1);
    let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
    wire.send(format!("{head}\r\n\r\n"));
    let interim = wire.read(b"HTTP/1.1 100 Continue\r\n\r\n".len()).expect("an interim answer");
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(body);
    assert_eq!(wire.reply().expect("an answer").status, 200);
    assert_eq!(upstream.request().header("expect"), None);
    let reply = Wire::tls(&gate).exchange(request.replace("100-continue", "a-miracle"));
    assert!(matches!(reply.status, 200 | 417), "{reply:?}");
    if reply.status == 417 {
        reason(&reply);
    }
}

#[test]
fn a_client_cannot_take_the_content_type_from_under_a_body() {
    // Without it Frappe would not read as JSON what was decided on as JSON.
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let whole = json_request("POST", "/api/resource/ToDo", &gate.token("write"), r#"{"description":"x"}"#);
    let request = whole.replace("Content-Length", "Connection: content-type, content-length\r\nContent-Length");
    assert_eq!(Wire::tls(&gate).exchange(request).status, 200);
    assert_eq!(upstream.request().header("content-type"), Some("application/json"));
}
