//! How this crate answers HTTP by itself: in the shape of Frappe's errors, so that Frappe's clients understand them.
//!
//! v1: `exc_type`, `_server_messages` (JSON in JSON, FACTS section 6), `exception` and `exc`, the last because the common Python client
//! raises on nothing else; v2: `errors[]`. Both carry `reason`, our own stable code.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which of Frappe's two error shapes a client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    V1,
    V2,
}

impl Shape {
    /// The shape that Frappe itself would use for a raw path.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/api/v2/") { Self::V2 } else { Self::V1 }
    }
}

/// A no, ready to be written.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub reason: &'static str,
    /// One safe sentence.
    pub message: String,
    pub headers: HeaderMap,
}

impl Reply {
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), headers: HeaderMap::new() }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Head and body, `no-store`.
    pub fn into_parts(self, shape: Shape) -> (StatusCode, HeaderMap, Bytes) {
        let body = self.body(shape);
        let mut headers = self.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        (self.status, headers, body)
    }

    fn body(&self, shape: Shape) -> Bytes {
        let kind = exc_type(self.status);
        let title = title(self.status);
        let value = match shape {
            Shape::V1 => {
                let message = json!({"message": self.message, "title": title, "indicator": "red", "raise_exception": 1});
                let exception = format!("frappe.exceptions.{kind}: {}", self.message);
                json!({
                    "exc_type": kind,
                    "exception": exception,
                    "exc": json!([exception]).to_string(),
                    "_server_messages": json!([message.to_string()]).to_string(),
                    "_error_message": self.message,
                    "reason": self.reason,
                })
            }
            Shape::V2 => json!({
                "errors": [{"type": kind, "message": self.message, "title": title, "indicator": "red", "reason": self.reason}],
                "reason": self.reason,
            }),
        };
        Bytes::from(value.to_string())
    }
}

/// Frappe's exception for a status (FACTS section 6), and names in its manner where it has none.
fn exc_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "AuthenticationError",
        403 | 405 => "PermissionError",
        404 => "DoesNotExistError",
        408 => "RequestTimeoutError",
        413 | 414 | 431 => "RequestTooLargeError",
        429 => "TooManyRequestsError",
        502 => "BadGatewayError",
        503 => "ServiceUnavailableError",
        504 => "GatewayTimeoutError",
        _ => "ValidationError",
    }
}

fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "Not Authenticated",
        403 | 405 => "Not Permitted",
        404 => "Not Found",
        429 => "Too Many Requests",
        500.. => "Not Available",
        _ => "Invalid Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_has_frappes_shape() {
        let reply = || Reply::new(StatusCode::FORBIDDEN, "insufficient_scope", "this needs \"read\"");
        let (status, headers, body) = reply().into_parts(Shape::V1);
        assert_eq!(status, 403);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["exc_type"], "PermissionError");
        assert_eq!(body["reason"], "insufficient_scope");
        let messages: Vec<String> = serde_json::from_str(body["_server_messages"].as_str().expect("text")).expect("a list in a text");
        let message: serde_json::Value = serde_json::from_str(&messages[0]).expect("an object in a text");
        assert_eq!(message["message"], "this needs \"read\"");
        let exc: Vec<String> = serde_json::from_str(body["exc"].as_str().expect("text")).expect("a list in a text");
        assert_eq!(exc, ["frappe.exceptions.PermissionError: this needs \"read\""]);

        let (_, _, body) = reply().into_parts(Shape::V2);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["errors"][0]["type"], "PermissionError");
        assert_eq!(body["errors"][0]["message"], "this needs \"read\"");
    }

    #[test]
    fn the_shape_follows_the_path() {
        assert_eq!(Shape::of("/api/v2/document/ToDo"), Shape::V2);
        assert_eq!(Shape::of("/api/resource/ToDo"), Shape::V1);
        assert_eq!(Shape::of("//api/v2/"), Shape::V1);
    }
}
