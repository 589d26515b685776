//! What a real Frappe v15 was asked and answered: the recorded exchanges, by case number.
//!
//! Two recordings are not byte for byte what went over the wire, and are restored here: case 260 (UTF-16) was kept as text, and the
//! tracebacks in answers had paths cut out of them after `Content-Length` was written.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// One recorded exchange.
#[derive(Deserialize)]
pub struct Exchange {
    pub case: String,
    #[serde(default)]
    request: Option<Request>,
    #[serde(default)]
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

static EXCHANGES: LazyLock<BTreeMap<String, Exchange>> = LazyLock::new(|| {
    let all: Vec<Exchange> = serde_json::from_str(include_str!("../../frappe/exchanges.json")).expect("the recordings are JSON");
    all.into_iter().map(|exchange| (exchange.case.clone(), exchange)).collect()
});

/// The exchange of a case, by its full name such as `200-GET-delete_items`.
pub fn exchange(case: &str) -> &'static Exchange {
    EXCHANGES.get(case).unwrap_or_else(|| panic!("there is no recorded case `{case}`"))
}

/// How many there are.
pub fn recorded() -> usize {
    EXCHANGES.len()
}

impl Exchange {
    fn request(&self) -> &Request {
        self.request.as_ref().unwrap_or_else(|| panic!("case `{}` records no request", self.case))
    }

    fn response(&self) -> &Response {
        self.response.as_ref().unwrap_or_else(|| panic!("case `{}` records no answer", self.case))
    }

    pub fn method(&self) -> &str {
        &self.request().method
    }

    pub fn target(&self) -> &str {
        &self.request().target
    }

    pub fn body(&self) -> &str {
        self.request().body.as_deref().unwrap_or_default()
    }

    pub fn request_header(&self, name: &str) -> Option<&str> {
        self.request().headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.response().status
    }

    pub fn answer_body(&self) -> &[u8] {
        self.response().body.as_deref().unwrap_or_default().as_bytes()
    }

    pub fn answer_header(&self, name: &str) -> Option<&str> {
        self.response().headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The request as it was recorded, byte for byte.
    pub fn as_recorded(&self) -> Vec<u8> {
        self.bytes(self.request().headers.clone())
    }

    /// The recorded request with our own bearer in place of the recorded one; where it carried none, ours is added. Everything else,
    /// cookies included, stays.
    pub fn with_bearer(&self, token: &str) -> Vec<u8> {
        let mut headers = self.request().headers.clone();
        match headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            Some((_, value)) => *value = format!("Bearer {token}"),
            None => headers.insert(1, ("Authorization".into(), format!("Bearer {token}"))),
        }
        self.bytes(headers)
    }

    /// The recorded request with the recorded token, wherever it stands, replaced by ours: the odd spellings around it stay.
    pub fn with_token(&self, recorded: &str, token: &str) -> Vec<u8> {
        let swap = |(name, value): &(String, String)| (name.clone(), value.replace(recorded, token));
        self.bytes(self.request().headers.iter().map(swap).collect())
    }

    fn bytes(&self, headers: Vec<(String, String)>) -> Vec<u8> {
        let request = self.request();
        let body = self.body_bytes();
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
        for (name, value) in &headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            // Header values were recorded as Latin-1.
            bytes.extend(value.chars().map(|c| u8::try_from(u32::from(c)).expect("a header value is Latin-1")));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let chunked = headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked");
        match chunked {
            true => bytes.extend(chunks(&body)),
            false => bytes.extend(body),
        }
        bytes
    }

    fn body_bytes(&self) -> Vec<u8> {
        match self.case.as_str() {
            "260-POST-cmd-utf16" => utf16(r#"{"cmd": "frappe.client.delete", "doctype": "ToDo", "name": "peajmv8vli"}"#),
            _ => self.body().as_bytes().to_vec(),
        }
    }

    /// The recorded answer as bytes on a connection that closes behind it, as gunicorn's sync workers close theirs.
    pub fn answer(&self) -> Vec<u8> {
        let response = self.response();
        let body = self.answer_body();
        let mut bytes = format!("HTTP/1.1 {} {}\r\n", response.status, response.reason).into_bytes();
        for (name, value) in &response.headers {
            let value = match name.as_str() {
                "Content-Length" if self.method() != "HEAD" => body.len().to_string(),
                "Transfer-Encoding" => continue,
                _ => value.clone(),
            };
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }
}

/// `body` as two chunks and the last.
fn chunks(body: &[u8]) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    let mut bytes = Vec::new();
    for part in [first, second] {
        bytes.extend(format!("{:x}\r\n", part.len()).bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Little-endian with a byte order mark, as Python's `utf-16` writes it.
fn utf16(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xfe];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}
