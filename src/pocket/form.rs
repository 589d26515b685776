//! `form_dict`: the one flat dictionary that Frappe makes of a request's query and body before it looks at anything else.
//!
//! This is where the traps come from, and they are kept: a JSON body replaces the query (T205), a form value overrides the query (T219c),
//! the first of two equal keys wins in a query (T219b) and the last one in JSON (T258), and nobody asks for the HTTP method first.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use crate::pocket::fault::{Fault, Kind};
use crate::pocket::reply::Cookies;

/// What one request carries.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub args: Map<String, Value>,
    pub files: Vec<Upload>,
    /// The fields of an urlencoded or multipart body alone, werkzeug's `request.form`: the token endpoint looks at nothing else (T28).
    pub posted: Map<String, Value>,
    raw: Bytes,
}

/// One file of a multipart body; its bytes are counted and forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub field: String,
    pub file_name: String,
    pub bytes: usize,
}

impl Form {
    /// Reads a request the way `make_form_dict` does (FACTS section 5).
    pub fn read(query: &str, headers: &HeaderMap, body: Bytes) -> Result<Form, Fault> {
        // Two Content-Type headers: the last one counts (T287).
        let content_type = headers.get_all(CONTENT_TYPE).iter().next_back().and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let mut form = Form { raw: body, ..Form::default() };
        if !form.raw.is_empty() && is_json(&media_type) {
            form.read_json()?;
            return Ok(form);
        }
        form.extend_first_wins(pairs(query));
        if media_type == "application/x-www-form-urlencoded" {
            let fields = pairs(&String::from_utf8_lossy(&form.raw));
            form.override_with(fields);
        } else if media_type == "multipart/form-data"
            && let Some(boundary) = boundary(content_type)
        {
            let (fields, files) = multipart(&form.raw, &boundary);
            form.override_with(fields);
            form.files = files;
        }
        form.args.shift_remove("_");
        Ok(form)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.args.get(key).and_then(Value::as_str)
    }

    /// The argument as a whole number, sent as a number or as its digits.
    pub fn number(&self, key: &str) -> Option<i64> {
        match self.args.get(key)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The argument as Python's `sbool` reads it; `None` where it is absent or neither.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.args.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => Some(number.as_f64() != Some(0.0)),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "y" => Some(true),
                "0" | "false" | "no" | "n" | "" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The argument, decoded once more where it is a text that holds JSON. An empty text counts as absent.
    pub fn json(&self, key: &str) -> Option<Value> {
        match self.args.get(key)? {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))),
            value => Some(value.clone()),
        }
    }

    /// The document of a v1 create or update: `data`, else the raw body as JSON **whatever its Content-Type says** (T284), else the form.
    pub fn document(&self) -> Result<Map<String, Value>, Fault> {
        let parsed = match self.args.get("data") {
            None | Some(Value::Null) => serde_json::from_slice(&self.raw).ok(),
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            Some(value) => Some(value.clone()),
        };
        match parsed {
            None => Ok(self.args.clone()),
            Some(Value::Object(document)) => Ok(document),
            Some(_) => Err(Fault::bare(Kind::Type, "the document is not a JSON object")),
        }
    }

    fn read_json(&mut self) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(&self.raw);
        match serde_json::from_str(&text) {
            Ok(Value::Object(args)) => {
                self.args = args;
                self.args.shift_remove("_");
                Ok(())
            }
            // T281: a list becomes the argument `data`.
            Ok(list @ Value::Array(_)) => {
                self.args.insert("data".to_owned(), list);
                Ok(())
            }
            Ok(_) => Err(Fault::thrown(Kind::Validation, "Invalid request arguments").with_cookies(Cookies::None)),
            Err(_) => Err(Fault::bare(Kind::JsonDecode, decode_error(&text)).with_cookies(Cookies::None)),
        }
    }

    fn extend_first_wins(&mut self, pairs: Vec<(String, String)>) {
        for (key, value) in pairs {
            self.args.entry(key).or_insert(Value::String(value));
        }
    }

    fn override_with(&mut self, pairs: Vec<(String, String)>) {
        let mut fields = Form::default();
        fields.extend_first_wins(pairs);
        self.posted = fields.args.clone();
        self.args.append(&mut fields.args);
    }
}

/// Decodes `%41` once; a `%` that starts no escape stands for itself, as in Python's `unquote`.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|pair| Some((char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?)));
        match (first, escape) {
            (b'%', Some((high, low))) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query or an urlencoded body; `;` does not separate (T220).
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |piece: &str| percent_decoded(&piece.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// werkzeug's `is_json` (T255, T286).
fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Python's words for the two commonest mistakes (T117, T260); the position is right in the first.
fn decode_error(text: &str) -> String {
    match text.strip_prefix('{') {
        Some(rest) if !rest.trim_start().starts_with(['"', '}']) => {
            let column = 1 + rest.len() - rest.trim_start().len();
            format!("Expecting property name enclosed in double quotes: line 1 column {} (char {column})", column + 1)
        }
        _ => "Expecting value: line 1 column 1 (char 0)".to_owned(),
    }
}

fn boundary(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The fields and files of a multipart body. What does not look like a part is passed over, as werkzeug does with a preamble.
fn multipart(body: &[u8], boundary: &str) -> (Vec<(String, String)>, Vec<Upload>) {
    let delimiter = format!("--{boundary}");
    let mut fields = Vec::new();
    let mut files = Vec::new();
    for part in split_on(body, delimiter.as_bytes()).into_iter().skip(1) {
        let Some(head_end) = find(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&part[..head_end]);
        let content = &part[head_end + 4..];
        let content = content.strip_suffix(b"\r\n").unwrap_or(content);
        let Some(disposition) = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:")) else { continue };
        let Some(field) = parameter(disposition, "name") else { continue };
        match parameter(disposition, "filename") {
            Some(file_name) => files.push(Upload { field, file_name, bytes: content.len() }),
            None => fields.push((field, String::from_utf8_lossy(content).into_owned())),
        }
    }
    (fields, files)
}

fn parameter(disposition: &str, name: &str) -> Option<String> {
    disposition.split(';').skip(1).find_map(|piece| {
        let (key, value) = piece.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn split_on<'a>(mut body: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(body, delimiter) {
        parts.push(&body[..at]);
        body = &body[at + delimiter.len()..];
    }
    parts.push(body);
    parts
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, HeaderValue};
    use serde_json::{Value, json};

    use super::{Form, Upload, percent_decoded};

    const MULTIPART: &str = "--fakeboundary\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nfrappe.client.delete\r\n\
        --fakeboundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n\
        hello\r\n--fakeboundary--\r\n";

    fn read(query: &str, content_types: &[&'static str], body: &'static str) -> Result<Form, String> {
        let mut headers = HeaderMap::new();
        for value in content_types {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        Form::read(query, &headers, Bytes::from_static(body.as_bytes())).map_err(|fault| format!("{fault:?}"))
    }

    #[test]
    fn form_dict_reads_query_and_body_as_frappe_does() {
        let json = "application/json";
        let form = "application/x-www-form-urlencoded";
        for (why, query, content_types, body, expected) in [
            ("a plain query", "a=1&b=x+y", &[][..], "", json!({"a": "1", "b": "x y"})),
            ("T218: an encoded key name", "%63m%64=x", &[], "", json!({"cmd": "x"})),
            ("T219b: the first of two wins", "cmd=x&cmd=", &[], "", json!({"cmd": "x"})),
            ("T220: `;` is no separator", "x=1;cmd=y", &[], "", json!({"x": "1;cmd=y"})),
            ("T205: JSON replaces the query", "a=1", &[json], r#"{"cmd":"x"}"#, json!({"cmd": "x"})),
            ("T219c: the form overrides the query", "cmd=ping&a=1", &[form], "cmd=x", json!({"cmd": "x", "a": "1"})),
            ("T255: a vendor type is JSON", "", &["application/vnd.fake+json"], r#"{"a":1}"#, json!({"a": 1})),
            ("T258: the last JSON key wins", "", &[json], r#"{"a":"","a":"x"}"#, json!({"a": "x"})),
            ("T259: an escaped key", "", &[json], r#"{"c\u006dd":"x"}"#, json!({"cmd": "x"})),
            ("T281: a list becomes data", "", &[json], "[1]", json!({"data": [1]})),
            ("T286: case and parameters", "", &["Application/JSON ; charset=utf-8"], r#"{"a":1}"#, json!({"a": 1})),
            ("T287: the last Content-Type counts", "", &["text/plain", json], r#"{"a":1}"#, json!({"a": 1})),
            ("T257: no type, no arguments", "", &[], r#"{"cmd":"x"}"#, json!({})),
            ("T256: multipart", "", &["multipart/form-data; boundary=fakeboundary"], MULTIPART, json!({"cmd": "frappe.client.delete"})),
            ("no boundary, no fields", "", &["multipart/form-data"], MULTIPART, json!({})),
            ("the cache buster goes", "_=123&a=1", &[], "", json!({"a": "1"})),
        ] {
            let read = read(query, content_types, body).expect(why);
            assert_eq!(Value::Object(read.args), expected, "{why}");
        }
    }

    #[test]
    fn a_body_that_is_no_dictionary_is_a_fault_without_cookies() {
        for (body, error) in [
            ("{bad json", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("\u{feff}{}", "Expecting value: line 1 column 1 (char 0)"),
            ("\"abc\"", "Invalid request arguments"),
            ("7", "Invalid request arguments"),
        ] {
            let fault = read("", &["application/json"], body).expect_err(body);
            assert!(fault.contains(error) && fault.contains("cookies: Some(None)"), "{body}: {fault}");
        }
    }

    #[test]
    fn a_file_is_counted_and_forgotten() {
        let form = read("", &["multipart/form-data; boundary=\"fakeboundary\""], MULTIPART).expect("a readable form");
        assert_eq!(form.files, [Upload { field: "file".to_owned(), file_name: "a.txt".to_owned(), bytes: 5 }]);
    }

    #[test]
    fn the_document_comes_from_data_then_the_raw_body_then_the_form() {
        let form = "application/x-www-form-urlencoded";
        for (why, content_type, body, expected) in [
            ("T102", "application/json", r#"{"a":1}"#, Some(json!({"a": 1}))),
            ("T284: the raw body, whatever its type", "text/plain", r#"{"a":1}"#, Some(json!({"a": 1}))),
            ("T285: data=", form, "data=%7B%22a%22%3A1%7D", Some(json!({"a": 1}))),
            ("T104: a form", form, "a=x", Some(json!({"a": "x"}))),
            ("a list is no document", "application/json", "[1]", None),
        ] {
            let document = read("", &[content_type], body).expect(why).document().ok().map(Value::Object);
            assert_eq!(document, expected, "{why}");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        for (raw, decoded) in [("To%44o", "ToDo"), ("a%252Fb", "a%2Fb"), ("100%", "100%"), ("%zz", "%zz"), ("a+b", "a+b")] {
            assert_eq!(percent_decoded(raw), decoded);
        }
    }
}
