//! Headers that cross the gate, and those that do not.

use super::*;

const CREDENTIAL: &str = "Bearer gate";
static SITE: HeaderValue = HeaderValue::from_static("erp.test");
static AUTHORIZATION_SENT: HeaderValue = HeaderValue::from_static(CREDENTIAL);
static BODY_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// Header lines, as they were written.
fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).expect("a test's name"), HeaderValue::from_str(value).expect("a test's value"));
    }
    map
}

fn lines(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

fn values<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    map.get_all(name).iter().map(|value| value.to_str().expect("a test's value")).collect()
}

fn ours<'a>(via: &'a Via, request_id: &'a HeaderValue, extra: &'a HeaderSet, body: bool) -> RequestHeaders<'a> {
    RequestHeaders {
        site: &SITE,
        via,
        request_id,
        credential: &AUTHORIZATION_SENT,
        extra_allowed: extra,
        content_type: body.then_some(&BODY_TYPE),
    }
}

fn via() -> Via {
    Via { client: HeaderValue::from_static("203.0.113.7"), secure: true }
}

fn sent(client: &[(&str, &str)], extra: &[&str], body: bool) -> HeaderMap {
    let (via, id) = (via(), HeaderValue::from_static("r-1"));
    to_upstream(&map(client), &ours(&via, &id, &HeaderSet::parse(extra).expect("allowed"), body))
}

#[test]
fn a_plain_request_goes_up_with_our_headers_and_nothing_else() {
    let got = sent(
        &[("accept", "application/json"), ("authorization", "Bearer theirs"), ("host", "api.example.com"), ("user-agent", "c/1")],
        &[],
        false,
    );
    let mut got = lines(&got);
    got.sort();
    let want = [
        ("accept", "application/json"),
        ("authorization", CREDENTIAL),
        ("host", "erp.test"),
        ("user-agent", "c/1"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-frappe-site-name", "erp.test"),
        ("x-request-id", "r-1"),
    ];
    assert_eq!(got, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

/// Each row: a header of the client's, its value, and why it must not reach the upstream as it is.
const NEVER_PASSES: &[(&str, &str, &str)] = &[
    ("authorization", "token key:secret", "section 1.4: an API key beside the Bearer"),
    ("authorization", "Basic a2V5OnNlY3JldA==", "R19: the same as Basic"),
    ("cookie", "sid=1; user_id=Administrator", "T160, T281: a session beside the Bearer, a forged user"),
    ("host", "other.test", "T292, T298: the tenant"),
    ("x-frappe-site-name", "other.test", "T290: the tenant, against Host"),
    ("x_frappe_site_name", "other.test", "T291, T623, T627: the same where gunicorn 21 reads underscores"),
    ("script_name", "/api/resource/ToDo", "R25, T620, T624: gunicorn serves another path"),
    ("script-name", "/api/resource/ToDo", "T621, T625"),
    ("path_info", "/api/method/x", "T604, T622, T626"),
    ("x-script-name", "/api", "T606"),
    ("x-forwarded-prefix", "/api", "T607"),
    ("x-original-url", "/api/method/x", "T610"),
    ("x-rewrite-url", "/api/method/x", "T611"),
    ("x-original-uri", "/api/method/x", "T612"),
    ("x-forwarded-for", "127.0.0.1", "T296: the first element is believed"),
    ("x-forwarded-proto", "http", "T294: gunicorn believes it from loopback"),
    ("x-forwarded-host", "evil.test", "T295"),
    ("x-forwarded-port", "1", "rule 7"),
    ("forwarded", "for=127.0.0.1", "rule 7"),
    ("x-real-ip", "127.0.0.1", "rule 7"),
    ("remote-addr", "127.0.0.1", "T296b: believed without X-Forwarded-For"),
    ("x-use-x-accel-redirect", "1", "T299, T302: empties private files and shows their path"),
    ("frappe-authorization-source", "User", "T289: chooses the doctype that is searched"),
    ("x-frappe-csrf-token", "x", "rule 7"),
    ("x-frappe-cmd", "login", "rule 7"),
    ("x-http-method-override", "DELETE", "R21, T241"),
    ("x-http-method", "DELETE", "R21, T242"),
    ("x-method-override", "DELETE", "R21"),
    ("x-request-id", "theirs", "audit lines must be ours"),
    ("connection", "close", "hop-by-hop"),
    ("keep-alive", "timeout=1", "hop-by-hop"),
    ("te", "trailers", "hop-by-hop"),
    ("trailer", "x", "hop-by-hop"),
    ("transfer-encoding", "chunked", "framing is written anew"),
    ("content-length", "5", "framing is written anew"),
    ("upgrade", "websocket", "DESIGN section 10 rule 6"),
    ("http2-settings", "AAMAAABkAAQAAP__", "DESIGN section 10 rule 6"),
    ("proxy-authorization", "Basic eA==", "hop-by-hop"),
    ("expect", "100-continue", "answered by the listener"),
    ("content-encoding", "gzip", "would hide parameters"),
    ("accept-encoding", "gzip", "answers are passed on as they come"),
    ("referer", "https://a/?token=x", "may carry a secret"),
    ("x-custom", "1", "not on the list"),
];

#[test]
fn headers_that_an_upstream_would_believe_never_pass() {
    for (name, value, why) in NEVER_PASSES {
        let got = sent(&[(name, value)], &[], true);
        assert!(!values(&got, name).contains(value), "{name}: {value} ({why})");
    }
}

#[test]
fn no_config_can_let_through_what_an_upstream_would_believe() {
    let fine = ["referer", "x-custom"];
    for (name, _, why) in NEVER_PASSES.iter().filter(|(name, ..)| !fine.contains(name)) {
        assert!(HeaderSet::parse(&[name]).is_err(), "{name} ({why})");
        assert!(HeaderSet::parse(&[name.to_ascii_uppercase()]).is_err(), "{name} in capitals ({why})");
    }
    for name in ["", "x custom", "x:custom", "x-ümlaut", "x-custom\r\n", "x.custom", "x_custom"] {
        assert!(HeaderSet::parse(&[name]).is_err(), "{name:?}");
    }
}

#[test]
fn headers_that_config_names_pass_every_line_of_them() {
    let got =
        sent(&[("x-custom", "1"), ("x-custom", "2"), ("idempotency-key", "k"), ("x-other", "3")], &["X-Custom", "Idempotency-Key"], false);
    assert_eq!(values(&got, "x-custom"), ["1", "2"]);
    assert_eq!(values(&got, "idempotency-key"), ["k"]);
    assert_eq!(values(&got, "x-other"), [""; 0]);
}

#[test]
fn accept_is_json_unless_the_client_asks_for_something_that_frappe_reads_as_json_too() {
    let rows: &[(&[&str], &[&str], &str)] = &[
        (&[], &["application/json"], "absent"),
        (&["text/html"], &["application/json"], "T417: HTML otherwise"),
        (&["TEXT/plain, */*"], &["application/json"], "any case"),
        (&[" text/html"], &["application/json"], "leading space"),
        (&["text/html", "image/png"], &["application/json"], "the first line counts, and all go"),
        (&["*/*"], &["*/*"], "kept"),
        (&["application/pdf", "text/html"], &["application/pdf", "text/html"], "kept, both lines"),
        (&["application/json, text/plain, */*"], &["application/json, text/plain, */*"], "what axios sends"),
    ];
    for (client, want, why) in rows {
        let client: Vec<_> = client.iter().map(|value| ("accept", *value)).collect();
        assert_eq!(values(&sent(&client, &[], false), "accept"), *want, "{why}");
    }
}

#[test]
fn a_content_type_goes_with_a_body_only_and_once() {
    assert_eq!(values(&sent(&[("content-type", "application/json")], &[], true), "content-type"), ["application/json"]);
    assert_eq!(values(&sent(&[("content-type", "application/json")], &[], false), "content-type"), [""; 0]);
    let twice = sent(&[("content-type", "application/json"), ("content-type", "text/plain")], &[], true);
    assert_eq!(values(&twice, "content-type"), ["application/json"], "T288: Frappe reads the last of two");
}

#[test]
fn what_connection_names_goes_but_never_what_is_ours() {
    let client = [
        ("connection", "keep-alive, If-None-Match"),
        ("connection", "X-Forwarded-For, X-Frappe-Site-Name,Authorization , host,, @"),
        ("if-none-match", "\"1\""),
        ("user-agent", "c/1"),
    ];
    let got = sent(&client, &[], false);
    assert_eq!(values(&got, "if-none-match"), [""; 0]);
    assert_eq!(values(&got, "user-agent"), ["c/1"]);
    assert_eq!(values(&got, "x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(values(&got, "x-frappe-site-name"), ["erp.test"]);
    assert_eq!(values(&got, "authorization"), [CREDENTIAL]);
    assert_eq!(values(&got, "host"), ["erp.test"]);
    assert_eq!(values(&got, "connection"), [""; 0]);
}

#[test]
fn the_upstream_hears_of_the_client_from_us_alone() {
    for (address, secure, proto) in [("2001:db8::1", false, "http"), ("192.0.2.1", true, "https")] {
        let via = Via { client: HeaderValue::from_static(address), secure };
        let id = HeaderValue::from_static("r");
        let got = to_upstream(&HeaderMap::new(), &ours(&via, &id, &HeaderSet::default(), false));
        assert_eq!(values(&got, "x-forwarded-for"), [address]);
        assert_eq!(values(&got, "x-forwarded-proto"), [proto]);
    }
}

fn answered(upstream: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(upstream);
    to_client(&mut headers, &InnerHosts::new(["erp.test", "127.0.0.1", "::1"]));
    headers
}

#[test]
fn headers_of_an_answer_that_stay_inside() {
    for (name, value, why) in [
        ("set-cookie", "sid=x; HttpOnly", "R17: a session that works without a token"),
        ("server", "gunicorn/22.0.0", "how the inside is built"),
        ("via", "1.1 inner", "how the inside is built"),
        ("x-powered-by", "x", "how the inside is built"),
        ("x-page-name", "login", "section 6"),
        ("x-from-cache", "True", "section 6"),
        ("x-frappe-request-id", "1", "section 6"),
        ("x-frappe-anything", "1", "internal"),
        ("x-accel-redirect", "/protected/private/files/a", "T302: a path on the server"),
        ("x-accel-expires", "1", "speaks to the proxy"),
        ("x-sendfile", "/a", "speaks to the proxy"),
        ("x-ratelimit-limit", "1000000", "section 6: in microseconds"),
        ("x-ratelimit-remaining", "1", "section 6"),
        ("ratelimit-policy", "1", "limits are the gate's"),
        ("ratelimit-remaining", "1", "limits are the gate's"),
        ("access-control-allow-origin", "*", "CORS is answered at the gate"),
        ("access-control-allow-credentials", "true", "CORS is answered at the gate"),
        ("www-authenticate", "Bearer resource_metadata=\"http://inner\"", "section 7: challenges are the gate's"),
        ("alt-svc", "h3=\":443\"", "would lead round the gate"),
        ("strict-transport-security", "max-age=1", "the gate speaks TLS, not the upstream"),
        ("connection", "close", "hop-by-hop"),
        ("keep-alive", "timeout=5", "hop-by-hop"),
        ("transfer-encoding", "chunked", "hop-by-hop"),
        ("trailer", "x-sum", "trailers do not pass"),
        ("upgrade", "h2c", "DESIGN section 10 rule 6"),
        ("proxy-authenticate", "Basic", "hop-by-hop"),
    ] {
        assert_eq!(values(&answered(&[(name, value)]), name), [""; 0], "{name} ({why})");
    }
    let named = answered(&[("connection", "x-inner, close"), ("x-inner", "1"), ("x-app", "2")]);
    assert_eq!(values(&named, "x-inner"), [""; 0], "named in Connection");
    assert_eq!(values(&named, "x-app"), ["2"]);
}

#[test]
fn headers_of_an_answer_that_pass() {
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "12"),
        ("content-disposition", "attachment; filename=a.pdf"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("etag", "\"1\""),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("retry-after", "5"),
        ("x-app-version", "1"),
        ("link", "</a>; rel=next"),
    ] {
        assert_eq!(values(&answered(&[(name, value)]), name), [value], "{name}");
    }
}

#[test]
fn an_answer_that_says_nothing_about_caches_is_kept_by_none() {
    assert_eq!(values(&answered(&[]), "cache-control"), ["private, no-store"]);
    assert_eq!(values(&answered(&[("cache-control", "public, max-age=60")]), "cache-control"), ["public, max-age=60"]);
    assert_eq!(values(&answered(&[("x-content-type-options", "x")]), "x-content-type-options"), ["nosniff"]);
}

#[test]
fn a_location_never_names_an_inner_host() {
    for (location, want) in [
        ("/api/resource/ToDo?a=1", &["/api/resource/ToDo?a=1"][..]),
        ("../list", &["../list"]),
        ("http://erp.test/api/x?y=1", &["/api/x?y=1"]),
        ("https://ERP.test:8000/api", &["/api"]),
        ("http://127.0.0.1:8000", &["/"]),
        ("http://[::1]:8000/a", &["/a"]),
        ("https://pay.example.com/checkout", &["https://pay.example.com/checkout"]),
        ("//erp.test/api", &[]),
        ("//elsewhere/api", &[]),
        ("HTTP://x@erp.test.:8000//elsewhere", &[]),
        ("list?after=2", &["list?after=2"]),
        ("/api?next=http://a", &["/api?next=http://a"]),
        ("http:erp.test", &[]),
        ("javascript:alert(1)", &[]),
        ("/\\elsewhere", &[]),
        ("/\t/elsewhere", &[]),
        ("\\\\erp.test\\a", &[]),
    ] {
        assert_eq!(values(&answered(&[("location", location)]), "location"), want, "{location}");
    }
}
