//! What the readers accept means the same to Python, which is what reads it behind the gate.
//!
//! One `python3` reads every case; it needs nothing but its standard library. What only we refuse is no difference that matters: nobody
//! acts on it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::policy::json::Json;
use crate::policy::json::tests::nasty_json;
use crate::policy::multipart::Scanner;
use crate::policy::multipart::tests::nasty_multipart;
use crate::policy::path::tests::nasty_path;
use crate::policy::path::{self, Route};
use crate::policy::query::Pairs;
use crate::policy::query::tests::nasty_form;
use crate::policy::refusal::Reason;

const REFERENCE: &str = include_str!("tests/reference.py");

/// Cases of each kind.
const CASES: usize = 2500;

/// What Python makes of each case.
fn python(cases: &[(&str, Vec<u8>)]) -> Vec<Value> {
    let mut child = Command::new("python3")
        .args(["-I", "-c", REFERENCE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 cannot be started: install the distribution's package `python3` (3.10 or later)");
    let mut input = String::new();
    for (kind, raw) in cases {
        writeln!(input, "{}", json!([kind, hex(raw)])).expect("a String takes every text");
    }
    let mut stdin = child.stdin.take().expect("it was piped");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("python3 ends");
    writer.join().expect("the writer ends").expect("python3 reads every case");
    assert!(output.status.success(), "python3 ended with {}; the reference needs python3 3.10 or later", output.status);
    let answers: Vec<Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), cases.len(), "an answer for each case");
    answers
}

/// What we make of a case, in Python's words; `None` where we refuse.
fn ours(kind: &str, raw: &[u8]) -> Option<Value> {
    match kind {
        "path" => Some(route(&path::parse(std::str::from_utf8(raw).ok()?).ok()?)),
        "form" => Some(Pairs::parse(raw, Reason::QueryInvalid).ok()?.iter().map(|(name, value)| json!([name, value])).collect()),
        "json" => Some(tree(&Json::parse(raw).ok()?)),
        "multipart" => {
            let mut scanner = Scanner::new("b0");
            scanner.push(raw).ok()?;
            let fields = scanner.finish().ok()?;
            Some(fields.into_iter().map(|field| json!([field.name, field.value.map(|value| hex(value.as_bytes()))])).collect())
        }
        _ => unreachable!("kinds are those of this file"),
    }
}

fn route(route: &Route<'_>) -> Value {
    match route {
        Route::Doctype { doctype, .. } => json!(["doctype", doctype, null]),
        Route::Document { doctype, name, .. } => json!(["document", doctype, name]),
        Route::Meta { doctype } => json!(["meta", doctype, null]),
        Route::Count { doctype } => json!(["count", doctype, null]),
        Route::Rpc { name, .. } => json!(["rpc", null, name]),
        Route::Root => json!(["other", null, "/"]),
        Route::Other { path } => json!(["other", null, path]),
    }
}

fn tree(json: &Json<'_>) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => json!(value),
        Json::Integer(value) => json!({ "integer": value.to_string() }),
        Json::Number => json!({ "number": true }),
        Json::Text(text) => json!(text),
        Json::Array(items) => json!({ "array": items.iter().map(tree).collect::<Value>() }),
        Json::Object(members) => json!({ "object": members.iter().map(|(key, value)| json!([key, tree(value)])).collect::<Value>() }),
    }
}

/// Python keeps the integers that we do not decide on.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| same(one, other))
        }
        (Value::Object(ours), Value::Object(theirs)) if ours.contains_key("number") => {
            theirs.contains_key("number") || theirs.contains_key("integer")
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len() && ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|other| same(value, other)))
        }
        (ours, theirs) => ours == theirs,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    })
}

/// Cases that generation would seldom find.
fn chosen() -> Vec<(&'static str, Vec<u8>)> {
    let paths = [
        "/api/method/x/",
        "/api/v2/document/ToDo/method/x",
        "/api/v2/document/ToDo/a/method/b/c",
        "/api/resource/ToDo/a/b/",
        "/api/v1/resource/x/",
    ];
    let forms = ["a=%F0%9F%A6%80", "a=1;b=2", "a%3Db=c", "%=%&%%=%25", "a=\u{2028}"];
    let texts = [
        r#"{"a":[{"b":{"c":"\u0000"}}]}"#,
        r#"["\ud83e\udd80","\u00e9"]"#,
        "\"\u{2028}\"",
        "[1.0, 10000000000000000000000, -0]",
        "{\"\u{feff}\":1}",
    ];
    let of = |kind, texts: &[&str]| texts.iter().map(|text| (kind, text.as_bytes().to_vec())).collect::<Vec<_>>();
    [of("path", &paths), of("form", &forms), of("json", &texts)].concat()
}

#[test]
fn what_is_accepted_means_the_same_to_python() {
    let mut runner = TestRunner::deterministic();
    let mut generate = |kind, strategy: &dyn Fn(&mut TestRunner) -> Vec<u8>| -> Vec<(&'static str, Vec<u8>)> {
        (0..CASES).map(|_| (kind, strategy(&mut runner))).collect()
    };
    let mut cases = chosen();
    cases.extend(generate("path", &|runner| sample(&nasty_path(), runner).into_bytes()));
    cases.extend(generate("form", &|runner| sample(&nasty_form(), runner).into_bytes()));
    cases.extend(generate("json", &|runner| sample(&nasty_json(), runner).into_bytes()));
    cases.extend(generate("multipart", &|runner| sample(&nasty_multipart(), runner)));

    let answers = python(&cases);
    let mut accepted = std::collections::BTreeMap::new();
    for ((kind, raw), theirs) in cases.iter().zip(&answers) {
        let Some(ours) = ours(kind, raw) else { continue };
        *accepted.entry(*kind).or_insert(0) += 1;
        assert!(
            theirs.get("read").is_some_and(|theirs| same(&ours, theirs)),
            "{kind} `{}`: we read {ours}, Python {theirs}",
            raw.escape_ascii()
        );
    }
    // A reader that refuses everything would agree with anybody.
    for kind in ["path", "form", "json", "multipart"] {
        let count = accepted.get(kind).copied().unwrap_or(0);
        assert!(count > CASES / 10, "only {count} of {CASES} cases of {kind} were accepted");
    }
}

fn sample<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).expect("no strategy here filters").current()
}
