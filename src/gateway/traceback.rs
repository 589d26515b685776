//! Cuts Python tracebacks out of Frappe's error bodies: they name files, lines and sometimes values of the inside.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memmem;
use serde_json::value::RawValue;

use crate::policy::json::members;

/// Error bodies up to this size are looked at; a longer one is replaced, since nobody can say what it holds.
pub const ERROR_BYTES_MAX: usize = 1024 * 1024;

/// Members of an error body that hold tracebacks (FACTS section 6).
const TRACEBACKS: [&str; 4] = ["exc", "exception", "_exc_source", "_debug_messages"];

/// How every Python traceback begins, in pages as well, but for what may be marked up around it.
const FIRST_LINE: &[u8] = b"(most recent call last)";

/// What an error body is.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Clean,
    /// It without its tracebacks.
    Cut(Vec<u8>),
    /// Nobody can say what a client would find in it.
    Unreadable,
}

/// Whether an error of this type is one that a person or a Frappe client reads.
pub fn may_hold_one(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.as_bytes().to_ascii_lowercase();
    kind.starts_with(b"text/") || memmem::find(&kind, b"json").is_some()
}

/// Looks at an error body. What is no JSON to us may be some to a client (`NaN`, a byte order mark), so it passes only where it does not
/// begin like some.
pub fn look(body: &[u8]) -> Look {
    if let Ok(found) = members(body) {
        return cut(&found).map_or(Look::Clean, Look::Cut);
    }
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    if text.starts_with(b"{") || memmem::find(text, FIRST_LINE).is_some() { Look::Unreadable } else { Look::Clean }
}

/// The object of these members without its tracebacks, every other member byte for byte; `None` where there is nothing to cut.
fn cut(found: &[(String, &RawValue)]) -> Option<Vec<u8>> {
    let errors = found.iter().find(|(key, _)| key == "errors").and_then(|(_, errors)| cut_each(errors));
    if errors.is_none() && !holds_one(found) {
        return None;
    }
    Some(written(found, errors.as_deref()))
}

/// The same for each object of v2's `errors`. They do not nest: an upstream that nests them could otherwise overrun the stack.
fn cut_each(errors: &RawValue) -> Option<Vec<u8>> {
    let errors: Vec<&RawValue> = serde_json::from_str(errors.get()).ok()?;
    let cut = |error: &RawValue| members(error.get().as_bytes()).ok().filter(|found| holds_one(found)).map(|found| written(&found, None));
    let cuts: Vec<Option<Vec<u8>>> = errors.iter().map(|error| cut(error)).collect();
    if cuts.iter().all(Option::is_none) {
        return None;
    }
    let mut out = vec![b'['];
    for (index, (error, cut)) in errors.iter().zip(&cuts).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(cut.as_deref().unwrap_or(error.get().as_bytes()));
    }
    out.push(b']');
    Some(out)
}

fn holds_one(found: &[(String, &RawValue)]) -> bool {
    found.iter().any(|(key, _)| TRACEBACKS.contains(&key.as_str()))
}

/// The object without its tracebacks, with other `errors` where they were cut.
fn written(found: &[(String, &RawValue)], errors: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (key, value) in found.iter().filter(|(key, _)| !TRACEBACKS.contains(&key.as_str())) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(key.as_str()).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(errors.filter(|_| key == "errors").unwrap_or(value.get().as_bytes()));
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    use super::{Look, look, may_hold_one};

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        let rows: [(&str, &[u8], Look); 11] = [
            ("NaN", br#"{"a":NaN,"exc":"t"}"#, Look::Unreadable),
            ("something behind it", br#"{"exc":"t"} x"#, Look::Unreadable),
            ("a byte order mark", b"\xef\xbb\xbf {\"exc\":\"t\"}", Look::Unreadable),
            ("not UTF-8", b"{\"a\":\"\xff\",\"exc\":\"t\"}", Look::Unreadable),
            ("half a surrogate in a key", br#"{"\ud800":1,"exc":"t"}"#, Look::Unreadable),
            ("cut short", br#"{"exc":"t"#, Look::Unreadable),
            ("a page", b"<b>Traceback <em>(most recent call last)</em></b>", Look::Unreadable),
            ("a page without one", b"<h1>Internal Server Error</h1>", Look::Clean),
            ("text", b"upstream request timeout", Look::Clean),
            ("a list", br#"["exc"]"#, Look::Clean),
            ("a text", br#""Traceback""#, Look::Clean),
        ];
        for (what, body, expected) in rows {
            assert_eq!(look(body), expected, "{what}");
        }
        assert_eq!(look(br#"{"exc":"t","a":1}"#), Look::Cut(br#"{"a":1}"#.to_vec()));
    }

    #[test]
    fn errors_in_errors_take_neither_the_stack_nor_the_day() {
        let body = r#"{"errors":["#.repeat(60_000) + &"]}".repeat(60_000);
        assert_eq!(look(body.as_bytes()), Look::Clean);
    }

    #[test]
    fn what_people_and_clients_read_is_looked_at() {
        let rows = [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/problem+json"), true),
            (Some("text/html"), true),
            (Some("application/pdf"), false),
            (Some("image/png"), false),
        ];
        for (kind, expected) in rows {
            let headers: HeaderMap = kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))).into_iter().collect();
            assert_eq!(may_hold_one(&headers), expected, "{kind:?}");
        }
    }

    #[test]
    fn tracebacks_go_and_everything_else_stays_byte_for_byte() {
        let cases: [(&str, Option<&str>); 7] = [
            (r#"{"exc_type":"AuthenticationError"}"#, None),
            (r#"{"exception":"x","exc_type":"E","exc":"[\"Traceback\"]"}"#, Some(r#"{"exc_type":"E"}"#)),
            (r#"{"a":1.50,"exc":"t","_exc_source":"app","b":"\u00e9"}"#, Some(r#"{"a":1.50,"b":"\u00e9"}"#)),
            (r#"{"errors":[{"type":"E","exception":"t"},{"type":"F"}]}"#, Some(r#"{"errors":[{"type":"E"},{"type":"F"}]}"#)),
            (r#"{"errors":[{"type":"E"}]}"#, None),
            ("<html>exc</html>", None),
            (r#"["exc"]"#, None),
        ];
        for (body, expected) in cases {
            let expected = expected.map_or(Look::Clean, |rest| Look::Cut(rest.into()));
            assert_eq!(look(body.as_bytes()), expected, "{body}");
        }
    }
}
