//! JSON that is read, and JSON that two readers could read differently.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Json, SCAN_MAX, VALUES_MAX, without_member};

#[test]
fn what_python_reads_otherwise_is_refused() {
    #[rustfmt::skip]
    let cases: &[(&str, &[u8])] = &[
        ("T258: the last of two equal keys wins there", br#"{"cmd":"","cmd":"x"}"#),
        ("T259: equal once unescaped", br#"{"cmd":"","c\u006dd":"x"}"#),
        ("equal keys deeper down", br#"{"doc":{"doctype":"Lead","doctype":"User"}}"#),
        ("equal keys in a list", br#"[{"a":1,"a":2}]"#),
        ("equal empty keys", br#"{"":1,"":2}"#),
        ("NaN, which Python reads", br#"{"a":NaN}"#),
        ("Infinity, likewise", br#"{"a":-Infinity}"#),
        ("a number beyond all", br#"{"a":1e999}"#),
        ("half a surrogate pair, likewise", br#"{"a":"\ud800"}"#),
        ("half a pair in a key", br#"{"\udc00":1}"#),
        ("not UTF-8", b"{\"a\":\"\xff\"}"),
        ("a surrogate in UTF-8", b"{\"a\":\"\xed\xa0\x80\"}"),
        ("T260: UTF-16", b"\xff\xfe{\0}\0"),
        ("UTF-16 without a mark, which json.loads detects in bytes", b"{\0}\0"),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("a control character in a text", b"{\"a\":\"\n\"}"),
        ("T117", b"{bad json"),
        ("single quotes", b"{'a':1}"),
        ("a comma too many", br#"{"a":1,}"#),
        ("a comment", b"{/**/}"),
        ("something behind", b"{} {}"),
        ("NUL behind", b"{}\0"),
        ("a leading zero", b"[01]"),
        ("a plus", b"[+1]"),
        ("another white space", b"{\x0c}"),
        ("another space, in UTF-8", b"\xc2\xa0{}"),
        ("nothing", b""),
        ("white space", b"  "),
    ];
    for (why, bytes) in cases {
        assert!(Json::parse(bytes).is_err(), "{why}: {}", bytes.escape_ascii());
    }
    for depth in [200, 100_000] {
        assert!(Json::parse("[".repeat(depth).as_bytes()).is_err(), "{depth} deep");
        assert!(Json::parse(("[".repeat(depth) + &"]".repeat(depth)).as_bytes()).is_err(), "{depth} deep");
    }
}

#[test]
fn what_clients_send_is_read() {
    let text = |text: &str| Json::Text(text.to_owned().into());
    #[rustfmt::skip]
    let cases: &[(&str, Json<'_>)] = &[
        (" {} ", Json::Object(vec![])),
        ("\t[1,-1,1.5,18446744073709551615,true,null]\r\n", Json::Array(vec![Json::Integer(1), Json::Integer(-1), Json::Number, Json::Number, Json::Bool(true), Json::Null])),
        (r#""\u00e4\ud83e\udd80\n""#, text("ä🦀\n")),
        (r#"{"c\u006dd":"x"}"#, Json::Object(vec![("cmd".into(), text("x"))])),
        (r#"{"a":{"a":1},"b":{"a":2}}"#, Json::Object(vec![
            ("a".into(), Json::Object(vec![("a".into(), Json::Integer(1))])),
            ("b".into(), Json::Object(vec![("a".into(), Json::Integer(2))])),
        ])),
        (r#"{"a":1,"A":2}"#, Json::Object(vec![("a".into(), Json::Integer(1)), ("A".into(), Json::Integer(2))])),
    ];
    for (raw, tree) in cases {
        assert_eq!(Json::parse(raw.as_bytes()).as_ref(), Ok(tree), "{raw}");
    }
}

#[test]
fn equal_keys_are_found_in_small_objects_and_in_large_ones() {
    for size in [1, SCAN_MAX - 1, SCAN_MAX, SCAN_MAX + 1, 1000] {
        let keys = |last: usize| {
            let members: Vec<_> = (0..size).chain([last]).map(|key| format!("\"k{key}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Json::parse(keys(size).as_bytes()).is_ok(), "{size} different keys");
        assert!(Json::parse(keys(0).as_bytes()).is_err(), "the first of {size} keys again");
        assert!(Json::parse(keys(size - 1).as_bytes()).is_err(), "the last of {size} keys again");
    }
}

#[test]
fn an_error_tells_the_place_and_nothing_that_stood_there() {
    let error = Json::parse(b"{\n\"secret\": hunter2}").expect_err("not JSON");
    assert_eq!(error, "not JSON, at line 2 column 11");
    let error = Json::parse(br#"{"secret":1,"secret":2}"#).expect_err("equal keys");
    assert!(error.starts_with("a key stands twice") && !error.contains("secret"), "{error}");
}

#[test]
fn a_huge_document_is_bounded_and_takes_linear_time() {
    let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
    assert!(Json::parse(many.as_bytes()).is_err(), "more values than are read");
    let members: Vec<_> = (0..200_000).map(|key| format!("\"{key}\":0")).collect();
    let started = Instant::now();
    assert!(Json::parse(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?} for 200 000 keys in one object", started.elapsed());
}

#[test]
fn taking_a_member_out_leaves_the_bytes_of_the_others() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, &str)] = &[
        ("alone", r#"{"cmd":"x"}"#, "{}"),
        ("among others", r#"{ "a" : 1.50 , "cmd":"x", "b": [ 1e2 ,"\u00e4"] }"#, r#"{"a":1.50,"b":[ 1e2 ,"\u00e4"]}"#),
        ("escaped", r#"{"c\u006dd":"x","docs":"[]"}"#, r#"{"docs":"[]"}"#),
        ("deeper down it stays", r#"{"doc":{"cmd":1}}"#, r#"{"doc":{"cmd":1}}"#),
        ("it is not there", r#"{"a":"\"cmd\":"}"#, r#"{"a":"\"cmd\":"}"#),
    ];
    for (why, raw, expected) in cases {
        let out = without_member(raw.as_bytes(), "cmd").expect(why);
        assert_eq!(String::from_utf8_lossy(&out), *expected, "{why}");
    }
}

/// JSON texts with what the two readers could differ about.
pub(in crate::policy) fn nasty_json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        3 => prop::sample::select(vec![
            r#""a""#, r#""\u0061""#, r#""cmd""#, r#""c\u006dd""#, r#""""#, r#""\ud83e\udd80""#, r#""\ud800""#, r#""\u0000""#, r#""\/""#, "\"ä\"", "\"\u{7f}\"", r#""\n""#,
        ])
        .prop_map(str::to_owned),
        1 => "\"[ !#-\\[\\]-~äß€]{0,4}\"",
    ];
    let number = prop::sample::select(vec![
        "0",
        "-0",
        "1",
        "-1",
        "1.0",
        "1e5",
        "1E-5",
        "9223372036854775808",
        "1e400",
        "01",
        "NaN",
        "-Infinity",
        ".5",
        "1.",
    ]);
    let leaf = prop_oneof![
        string.clone(),
        number.prop_map(str::to_owned),
        prop::sample::select(vec!["true", "false", "null", "True"]).prop_map(str::to_owned)
    ];
    let space = prop::sample::select(vec!["", "", "", " ", "\n", "\t\r", "\u{a0}", "\u{c}"]);
    let tree = leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((string.clone(), inner), 0..5).prop_map(|members| format!(
                "{{{}}}",
                members.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(", ")
            )),
        ]
    });
    (space.clone(), tree, space).prop_map(|(before, tree, after)| format!("{before}{tree}{after}"))
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
        let _ = Json::parse(&bytes);
        let _ = Json::parse(text.as_bytes());
        let _ = without_member(text.as_bytes(), "a");
    }

    #[test]
    fn escaping_any_letter_of_a_key_changes_nothing(key in "[a-z_]{1,8}", which in any::<u8>()) {
        let spelled: String =
            key.bytes().enumerate().map(|(at, byte)| if which >> at & 1 == 1 { format!("\\u{byte:04x}") } else { char::from(byte).to_string() }).collect();
        let (one, other) = (format!("{{\"{key}\":1}}"), format!("{{\"{spelled}\":1}}"));
        prop_assert_eq!(Json::parse(one.as_bytes()), Json::parse(other.as_bytes()));
        let both = format!("{{\"{key}\":1,\"{spelled}\":1}}");
        prop_assert!(Json::parse(both.as_bytes()).is_err());
    }
}
