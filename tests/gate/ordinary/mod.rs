//! The traffic that must pass: each ordinary recorded exchange is sent again through the gate to a stand-in that answers with the recorded bytes.
//! With the right scope the client gets what Frappe said and Frappe gets what the client asked; with the wrong one neither hears of the other.

mod limits;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::exchange::{Exchange, exchange, recorded};
use crate::support::gate::Gate;
use crate::support::setup::{API_KEY, Setup};
use crate::support::upstream::{Seen, Then, Upstream};
use crate::support::verdict::insufficient_scope;
use crate::support::wire::{Reply, Wire};

/// A case, a scope that is enough, and scopes that are not.
type Case = (&'static str, &'static str, &'static [&'static str]);

const NOT_READ: &[&str] = &["write", "delete", "write delete", "read:note", "openid profile email"];
const NOT_WRITE: &[&str] = &["read", "delete", "read delete", "write:role", "openid"];
const NOT_DELETE: &[&str] = &["read", "write", "read write", "delete:note", "openid"];

const READS: &[Case] = &[
    ("100-list", "read", NOT_READ),
    ("101-read", "read:todo", NOT_READ),
    ("106-head", "read", NOT_READ),
    ("120-v2-list", "read", NOT_READ),
    ("121-v2-read", "read:todo", NOT_READ),
    ("128-v2-meta", "read", NOT_READ),
    ("129-v1-prefix", "read", NOT_READ),
    ("161-cookie-sam-plus-valid-bearer-lou", "read", &["write", "delete"]),
    ("280c-doctype-percent", "read:todo", NOT_READ),
    ("280e-trailing-slash", "read", NOT_READ),
    ("280f-doctype-slash", "read", NOT_READ),
    ("280g-name-uppercase", "read", NOT_READ),
    ("541-HEAD-v1-list", "read", NOT_READ),
];

const WRITES: &[Case] = &[
    ("102-create", "write", NOT_WRITE),
    ("103-update-put", "write:todo", NOT_WRITE),
    ("104-update-put-form", "write", NOT_WRITE),
    ("122-v2-create", "write", NOT_WRITE),
    ("123-v2-patch", "write:todo", NOT_WRITE),
    ("180-read-scope-PUT", "write", NOT_WRITE),
    ("285-POST-form-data-key", "write", NOT_WRITE),
    ("511-csrf-cookie-plus-bearer-post", "write", NOT_WRITE),
    ("513-csrf-bearer-only-post", "write", NOT_WRITE),
];

const DELETES: &[Case] =
    &[("108-delete", "delete", NOT_DELETE), ("124-v2-delete", "delete:todo", NOT_DELETE), ("181-read-scope-DELETE", "delete", NOT_DELETE)];

/// Functions that read nothing of a doctype.
const CALLS: &[Case] = &[
    ("133-scheme-lower", "read", &["write", "delete"]),
    ("134-scheme-upper", "read", &["write", "delete"]),
    ("173-disabled-user-bearer", "call:frappe.auth.get_logged_user", &["write", "call:frappe.auth.get_logged_user_roles"]),
    ("176-client-roles-restricted", "call:frappe.auth.*", &["write", "call:frappe.aut.*"]),
];

/// What Frappe says no to is passed on as it said it, less its tracebacks.
const ERRORS: &[Case] = &[
    ("109-read-404", "read", &["write"]),
    ("110-read-404-doctype", "read", &["write"]),
    ("114-validation-417", "write", &["read"]),
    ("115-mandatory-417", "write", &["read"]),
    ("125-v2-404", "read", &["write"]),
    ("182-forbidden-delete-403", "delete", &["write"]),
    ("280a-doctype-lowercase", "read", &["write"]),
    ("403-notb-404", "read", &["write"]),
    ("405-notb-417", "write", &["read"]),
    ("406-notb-mandatory-417", "write", &["read"]),
    ("411-notb-v2-404", "read", &["write"]),
    ("412-notb-v2-417", "write", &["read"]),
    ("413-notb-list-bad-field", "read", &["write"]),
    ("415-notb-timestamp-mismatch", "write", &["read"]),
    ("421-rate-limited-429-api", "read", &["write"]),
];

/// Ordinary to Frappe, and not passed on, with the reason.
const EXCLUDED: &[(&str, &str)] = &[
    ("105-patch-v1", "PATCH is routed on v2 only; the gate answers"),
    ("107-options", "OPTIONS is answered at the gate"),
    ("111-route-404", "not a route; the gate answers 404 itself"),
    ("112-forbidden-403", "Server Script is sensitive"),
    ("113-forbidden-403-write", "writing User is sensitive"),
    ("117-bad-json", "a body that cannot be read cannot be judged"),
    ("118-list-guest", "no token: 401 at the gate"),
    ("119-method-guest", "no token: 401 at the gate"),
    ("126-v2-403", "Server Script is sensitive"),
    ("127-v2-invalid-token", "a bad token: 401 at the gate"),
    ("280b-doctype-trailing-space", "no doctype ends in a space; may be refused"),
    ("280d-doctype-plus", "System Settings is sensitive; and `+` is no space in a path"),
    ("280h-name-encoded-slash", "an encoded slash in the path"),
    ("280i-double-encoded", "double encoding in the path"),
    ("280k-v1-method-alias-token-endpoint", "an OAuth endpoint of Frappe"),
    ("280l-v2-alias", "an OAuth endpoint of Frappe"),
    ("280m-method-trailing-junk", "something behind a method name"),
    ("280n-semicolon", "a semicolon in a name may be refused; see bypass"),
    ("280p-null", "NUL in the path"),
    ("280q-triple-slash", "double slashes in the path"),
    ("280t-dup-param", "a repeated key may be refused; see bypass"),
    ("404-notb-403-user", "Server Script is sensitive"),
    ("407-notb-409", "writing Role is sensitive"),
    ("408-notb-500", "a body that cannot be read cannot be judged"),
    ("409-notb-v2-401", "a bad token: 401 at the gate"),
    ("410-notb-v2-403", "Server Script is sensitive"),
    ("414-notb-method-unknown", "a function that nobody declared"),
];

#[test]
fn reads_pass_unharmed_with_read_alone() {
    replay_all(READS);
}

#[test]
fn writes_pass_unharmed_with_write_alone() {
    replay_all(WRITES);
}

#[test]
fn deletes_pass_unharmed_with_delete_alone() {
    replay_all(DELETES);
}

#[test]
fn calls_pass_unharmed_by_their_effect_or_their_name() {
    replay_all(CALLS);
}

#[test]
fn errors_of_frappe_pass_without_their_tracebacks() {
    replay_all(ERRORS);
}

#[test]
fn everything_passes_with_all() {
    let stage = Stage::new();
    for (case, _, _) in [READS, WRITES, DELETES, CALLS, ERRORS].concat() {
        stage.passes(exchange(case), "all");
    }
}

#[test]
fn a_named_scope_grants_what_it_lists_and_no_more() {
    let upstream = Upstream::json(r#"{"data":[]}"#);
    let gate = Setup::new(&upstream)
        .config("[scope.tasks]\ntitle = \"See and add to your tasks\"\ngrants = [\"read:todo\", \"write:todo\"]")
        .start();
    let token = gate.token("tasks");
    let ask = |case: &str| Wire::tls(&gate).exchange(exchange(case).with_bearer(&token));
    for case in ["100-list", "102-create", "103-update-put", "120-v2-list"] {
        assert_eq!(ask(case).status, 200, "`{case}`");
    }
    for case in ["108-delete", "115-mandatory-417"] {
        insufficient_scope(&ask(case));
    }
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn a_function_of_the_operators_own_app_passes_by_its_declared_effect() {
    let upstream = Upstream::json(r#"{"message":"done"}"#);
    let gate = Setup::new(&upstream).config("[[rpc]]\nname = \"fake_api\"\neffect = \"read\"").start();
    let ask = |scope: &str| Wire::tls(&gate).exchange(exchange("530-GET-server-script-api").with_bearer(&gate.token(scope)));
    assert_eq!(ask("read").text(), r#"{"message":"done"}"#);
    insufficient_scope(&ask("write delete"));
    assert_eq!(upstream.request().target, "/api/method/fake_api");
}

#[test]
fn no_ordinary_case_is_left_out() {
    assert_eq!(recorded(), 342);
    let told: BTreeSet<&str> = [READS, WRITES, DELETES, CALLS, ERRORS].concat().iter().map(|(case, _, _)| *case).collect();
    let excluded: BTreeSet<&str> = EXCLUDED.iter().map(|(case, _)| *case).collect();
    assert_eq!(told.intersection(&excluded).count(), 0);
    let text = include_str!("../../frappe/exchanges.json");
    let cases = text.lines().filter_map(|line| line.strip_prefix(r#"{"case":""#)?.split_once('"')).map(|(case, _)| case);
    let ordinary = |case: &&str| {
        let number: u32 = case.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a case begins with its number");
        matches!(number, 100..=129 | 133 | 134 | 403..=415 | 513 | 541) || case.starts_with("280")
    };
    for case in cases.filter(ordinary) {
        assert!(told.contains(case) || excluded.contains(case), "`{case}` is neither replayed nor excluded with a reason");
    }
}

fn replay_all(cases: &[Case]) {
    let stage = Stage::new();
    for (case, right, wrong) in cases {
        let exchange = exchange(case);
        stage.passes(exchange, right);
        for scopes in *wrong {
            stage.lacks(exchange, scopes);
        }
    }
}

/// A gate before a stand-in whose answer is set anew for each case.
struct Stage {
    upstream: Upstream,
    answer: Arc<Mutex<Vec<u8>>>,
    gate: Gate,
}

impl Stage {
    fn new() -> Self {
        let answer = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&answer);
        let upstream = Upstream::scripted(move |_, stream| {
            let _ = stream.write_all(&kept.lock().expect("no one panics with it"));
            Then::Close
        });
        let gate = Setup::new(&upstream).start();
        Self { upstream, answer, gate }
    }

    fn passes(&self, exchange: &Exchange, scopes: &str) {
        *self.answer.lock().expect("no one panics with it") = exchange.answer();
        let before = self.upstream.requests().len();
        let reply = Wire::tls(&self.gate).exchange(exchange.with_bearer(&self.gate.token(scopes)));
        unharmed(exchange, &reply, scopes);
        let requests = self.upstream.requests();
        assert_eq!(requests.len(), before + 1, "`{}` goes upstream once", exchange.case);
        faithful(exchange, &requests[before]);
    }

    fn lacks(&self, exchange: &Exchange, scopes: &str) {
        let before = self.upstream.connections();
        let reply = Wire::tls(&self.gate).exchange(exchange.with_bearer(&self.gate.token(scopes)));
        match exchange.method() {
            "HEAD" => assert_eq!(reply.status, 403, "`{}` with `{scopes}`", exchange.case),
            _ => {
                insufficient_scope(&reply);
            }
        }
        assert_eq!(self.upstream.connections(), before, "`{}` with `{scopes}` reached the upstream", exchange.case);
    }
}

/// The client got what Frappe said.
fn unharmed(exchange: &Exchange, reply: &Reply, scopes: &str) {
    let case = &exchange.case;
    assert_eq!(reply.status, exchange.status(), "`{case}` with `{scopes}`: {}", reply.text());
    assert!(reply.all("set-cookie").is_empty(), "`{case}`: {reply:?}");
    assert!(reply.header("x-request-id").is_some(), "`{case}`: {reply:?}");
    assert_eq!(reply.header("content-type"), exchange.answer_header("content-type"), "`{case}`");
    if let Some(value) = exchange.answer_header("retry-after") {
        assert_eq!(reply.header("retry-after"), Some(value), "`{case}`");
    }
    // Frappe counts microseconds for the whole site; limits are the gate's to tell.
    assert_eq!(reply.header("x-ratelimit-limit"), None, "`{case}`");
    if exchange.method() == "HEAD" {
        assert_eq!(reply.header("content-length"), exchange.answer_header("content-length"), "`{case}`");
        return;
    }
    let said = exchange.answer_body();
    if !String::from_utf8_lossy(said).contains("Traceback") {
        assert_eq!(reply.text(), String::from_utf8_lossy(said), "`{case}`");
        return;
    }
    assert!(!reply.text().contains("Traceback") && !reply.text().contains("apps/frappe"), "`{case}` leaks a traceback: {}", reply.text());
    let said: Value = serde_json::from_slice(said).expect("Frappe speaks JSON");
    assert_eq!(untraced(reply.json()), untraced(said), "`{case}`");
}

/// A body without what is cut out of it.
fn untraced(mut body: Value) -> Value {
    let cut = |object: &mut serde_json::Map<String, Value>| {
        for key in ["exc", "exception", "_exc_source"] {
            object.remove(key);
        }
    };
    body.as_object_mut().into_iter().for_each(cut);
    body["errors"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(cut);
    body
}

/// Frappe got what the client asked, with our credential.
fn faithful(exchange: &Exchange, seen: &Seen) {
    let case = &exchange.case;
    assert_eq!(seen.method, exchange.method(), "`{case}`");
    let (asked, sent) = (split(exchange.target()), split(&seen.target));
    assert_eq!(sent.0.trim_end_matches('/'), asked.0.trim_end_matches('/'), "`{case}` went upstream as {}", seen.target);
    assert_eq!(sent.1, asked.1, "`{case}` went upstream as {}", seen.target);
    assert_eq!(seen.header("authorization"), Some(format!("token {API_KEY}").as_str()), "`{case}`");
    assert_eq!(seen.header("host"), Some("fake.test"), "`{case}`");
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "`{case}`");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "`{case}`");
    assert_eq!(seen.header("cookie"), None, "`{case}`");
    let sent = String::from_utf8_lossy(&seen.body);
    match serde_json::from_str::<Value>(exchange.body()) {
        Ok(asked) => assert_eq!(serde_json::from_str::<Value>(&sent).expect("JSON went upstream"), asked, "`{case}`"),
        Err(_) => assert_eq!(pairs(&sent), pairs(exchange.body()), "`{case}`"),
    }
}

/// The decoded path and the decoded query of a target.
fn split(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (decode(path), pairs(query))
}

fn pairs(form: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    form.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).expect("two hexadecimal digits");
                let (high, low) = (digit(), digit());
                u8::try_from(high * 16 + low).expect("two hexadecimal digits")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
