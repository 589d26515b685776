//! Arguments as Frappe would see them, and those that it would see differently.

use super::{Arguments, Source, Value};
use crate::policy::json::Json;
use crate::policy::multipart::Field;
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;

fn arguments<'a>(query: &str, body: Source<'a>) -> Arguments<'a> {
    Arguments { query: Pairs::parse(query.as_bytes(), Reason::QueryInvalid).expect("a query"), body }
}

fn json(text: &str) -> Source<'_> {
    Source::json(text.as_bytes()).expect("an object")
}

fn form(text: &str) -> Source<'_> {
    Source::form(text.as_bytes()).expect("a form")
}

fn read(arguments: &Arguments<'_>, name: &str) -> Result<Option<String>, &'static str> {
    arguments.text(name).map(|text| text.map(|text| text.into_owned())).map_err(|refusal| refusal.reason.code())
}

#[test]
fn an_argument_is_read_where_frappe_looks_for_it_and_stands_once() {
    let file = || Source::multipart(vec![Field { name: "doctype".into(), value: None }]);
    let field = || Source::multipart(vec![Field { name: "doctype".into(), value: Some("Lead".into()) }]);
    type Case<'a> = (&'a str, &'a str, Source<'a>, Result<Option<&'a str>, &'a str>);
    let cases: [Case<'_>; 14] = [
        ("the query alone", "doctype=Lead", Source::None, Ok(Some("Lead"))),
        ("nowhere", "a=b", Source::None, Ok(None)),
        ("a JSON body", "", json(r#"{"doctype":"Lead"}"#), Ok(Some("Lead"))),
        ("an escape in the key", "", json(r#"{"doct\u0079pe":"Lead"}"#), Ok(Some("Lead"))),
        ("null is nothing", "", json(r#"{"doctype":null}"#), Ok(None)),
        ("a form", "", form("doctype=Lead"), Ok(Some("Lead"))),
        ("a form beside a query that says something else", "a=b", form("doctype=Lead"), Ok(Some("Lead"))),
        ("a field of a multipart body", "", field(), Ok(Some("Lead"))),
        ("twice in the query: the first wins at Frappe (T219)", "doctype=Lead&doctype=User", Source::None, Err("parameter_repeated")),
        ("twice in a form", "", form("doctype=Lead&doctype=User"), Err("parameter_repeated")),
        ("in query and form: the form wins (T219c)", "doctype=Lead", form("doctype=User"), Err("parameter_repeated")),
        ("in query and JSON", "doctype=Lead", json(r#"{"doctype":"User"}"#), Err("parameter_repeated")),
        ("in the query beside JSON, where it is dropped (T205)", "doctype=Lead", json("{}"), Err("parameter_invalid")),
        ("a file of that name", "", file(), Err("parameter_invalid")),
    ];
    for (why, query, body, expected) in cases {
        assert_eq!(read(&arguments(query, body), "doctype"), expected.map(|text| text.map(str::to_owned)), "{why}");
    }
    for other in [r#"{"doctype":1}"#, r#"{"doctype":["Lead"]}"#, r#"{"doctype":{"a":1}}"#, r#"{"doctype":true}"#] {
        assert_eq!(read(&arguments("", json(other)), "doctype"), Err("parameter_invalid"), "{other}");
    }
}

#[test]
fn keys_that_change_what_frappe_does_are_refused_wherever_they_stand() {
    let bodies: [fn(&str) -> Source<'static>; 4] = [
        |key| Source::form(format!("a=1&{key}=x").as_bytes()).expect("a form"),
        |key| Source::Json(Json::Object(vec![("a".into(), Json::Null), (key.to_owned().into(), Json::Null)])),
        |key| Source::multipart(vec![Field { name: key.into(), value: Some("x".into()) }]),
        |key| Source::multipart(vec![Field { name: key.into(), value: None }]),
    ];
    for key in ["cmd", "run_method", "sid", "usr", "pwd", "expand", "expand_links", "access_token"] {
        assert!(arguments(&format!("a=1&{key}="), Source::None).check_keys(false).is_err(), "{key} in the query");
        for body in bodies {
            assert!(arguments("", body(key)).check_keys(false).is_err(), "{key} in {:?}", body(key));
        }
    }
    for key in ["CMD", "cmd ", "command", "side", "user", "password", "token"] {
        assert_eq!(arguments(&format!("{}=1", key.replace(' ', "+")), Source::None).check_keys(false), Ok(()), "`{key}` is another word");
    }
    assert_eq!(arguments("cmd=ping", Source::None).check_keys(true), Ok(()), "on `/` it is the RPC's name");
    assert!(arguments("cmd=ping&sid=x", Source::None).check_keys(true).is_err());
}

#[test]
fn text_that_looks_like_json_is_read_strictly_and_other_text_is_text() {
    let kind = |text: &str| {
        Value::Text(text)
            .tree("a", |tree| {
                Ok(match tree {
                    Json::Text(_) => "text",
                    Json::Array(_) => "array",
                    Json::Object(_) => "object",
                    _ => "other",
                })
            })
            .map_err(|refusal| refusal.reason.code())
    };
    let cases = [
        ("name", Ok("text")),
        ("", Ok("text")),
        ("name, owner", Ok("text")),
        (r#"["name"]"#, Ok("array")),
        (r#" {"a": 1} "#, Ok("object")),
        (r#""name""#, Ok("text")),
        ("[NaN]", Err("parameter_invalid")),
        (r#"{"a":1,"a":2}"#, Err("parameter_invalid")),
        (r#"["name""#, Err("parameter_invalid")),
    ];
    for (text, expected) in cases {
        assert_eq!(kind(text), expected, "{text}");
    }
}
