//! Cuts Python tracebacks out of Frappe's error bodies: they name files, lines and sometimes values of the inside.

use serde_json::value::RawValue;

use crate::policy::json::members;

/// Error bodies up to this size are looked at; a longer one is replaced, since nobody can say what it holds.
pub const ERROR_BYTES_MAX: usize = 1024 * 1024;

/// Members of an error body that hold tracebacks (FACTS section 6).
const TRACEBACKS: [&str; 4] = ["exc", "exception", "_exc_source", "_debug_messages"];

/// The error body without its tracebacks, every other member byte for byte; `None` where there is nothing to cut.
pub fn cut(body: &[u8]) -> Option<Vec<u8>> {
    let found = members(body).ok()?;
    let is_cut = |key: &str, value: &RawValue| TRACEBACKS.contains(&key) || (key == "errors" && cut_each(value).is_some());
    if !found.iter().any(|(key, value)| is_cut(key, value)) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    out.push(b'{');
    for (key, value) in found.iter().filter(|(key, _)| !TRACEBACKS.contains(&key.as_str())) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(key.as_str()).to_string().as_bytes());
        out.push(b':');
        match (key == "errors").then(|| cut_each(value)).flatten() {
            Some(errors) => out.extend_from_slice(&errors),
            None => out.extend_from_slice(value.get().as_bytes()),
        }
    }
    out.push(b'}');
    Some(out)
}

/// The same for each object of v2's `errors`.
fn cut_each(errors: &RawValue) -> Option<Vec<u8>> {
    let errors: Vec<&RawValue> = serde_json::from_str(errors.get()).ok()?;
    let cuts: Vec<Option<Vec<u8>>> = errors.iter().map(|error| cut(error.get().as_bytes())).collect();
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

#[cfg(test)]
mod tests {
    use super::cut;

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
            assert_eq!(cut(body.as_bytes()).map(|cut| String::from_utf8_lossy(&cut).into_owned()).as_deref(), expected, "{body}");
        }
    }
}
