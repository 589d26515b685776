//! What a refusal looks like from outside, and what must hold for every one.

use serde_json::Value;

use super::wire::Reply;

/// The stable code of a refusal, after holding its answer to the contract: 4xx or 5xx, Frappe's error shape (`errors[]` on v2), a request id.
pub fn reason(reply: &Reply) -> String {
    assert!((400..600).contains(&reply.status), "refused, not answered: {reply:?} {}", reply.text());
    assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()), "a refusal has an X-Request-Id: {reply:?}");
    assert!(reply.all("set-cookie").is_empty(), "{reply:?}");
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/json"), "a refusal is JSON: {reply:?}");
    let body = reply.json();
    let error = body["errors"].get(0);
    match error {
        Some(error) => {
            assert!(error["type"].is_string() && error["message"].is_string(), "v2's error shape: {body}");
        }
        None => {
            assert!(body["exc_type"].is_string(), "Frappe's error shape: {body}");
            server_message(&body);
        }
    }
    let reason = body["reason"].as_str().or_else(|| error.and_then(|error| error["reason"].as_str()));
    let reason = reason.unwrap_or_else(|| panic!("a refusal has a reason: {body}"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-' || c == '.';
    assert!(!reason.is_empty() && reason.chars().all(plain), "a reason is a code: {reason:?}");
    reason.to_owned()
}

/// The text that a Frappe client shows: `_server_messages` is JSON in JSON in JSON.
fn server_message(body: &Value) -> String {
    let outer = body["_server_messages"].as_str().unwrap_or_else(|| panic!("_server_messages: {body}"));
    let list: Vec<String> = serde_json::from_str(outer).unwrap_or_else(|error| panic!("{error}: {outer}"));
    let message: Value = serde_json::from_str(list.first().expect("at least one message")).expect("a message is JSON");
    message["message"].as_str().unwrap_or_else(|| panic!("a message has a text: {message}")).to_owned()
}

/// A refusal of the request itself, whoever sends it: 4xx, but neither 401 nor the lack of a scope.
pub fn forbidden(reply: &Reply) {
    let reason = reason(reply);
    assert!((400..500).contains(&reply.status), "{reply:?} {}", reply.text());
    assert_ne!(reply.status, 401, "the token is good: {reply:?} {}", reply.text());
    assert_ne!(reason, "insufficient_scope", "no scope allows this: {}", reply.text());
}

/// 403 `insufficient_scope`, as RFC 6750 section 3.1 has it, and the scope that would do.
pub fn insufficient_scope(reply: &Reply) -> String {
    let reason = reason(reply);
    assert_eq!((reply.status, reason.as_str()), (403, "insufficient_scope"), "{reply:?} {}", reply.text());
    let challenge = reply.header("www-authenticate").unwrap_or_else(|| panic!("403 has a challenge: {reply:?}"));
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert_eq!(parameter(challenge, "error").as_deref(), Some("insufficient_scope"), "{challenge}");
    parameter(challenge, "scope").unwrap_or_else(|| panic!("the scope needed is named: {challenge}"))
}

/// 401 with `error`; `None` is a request without any credentials, which gets a challenge without an error code.
pub fn unauthorized(reply: &Reply, error: Option<&str>) {
    reason(reply);
    assert_eq!(reply.status, 401, "{reply:?} {}", reply.text());
    let challenge = reply.header("www-authenticate").unwrap_or_else(|| panic!("401 has a challenge: {reply:?}"));
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    assert_eq!(parameter(challenge, "error").as_deref(), error, "{challenge}");
}

/// One quoted parameter of a challenge.
pub fn parameter(challenge: &str, name: &str) -> Option<String> {
    let start = challenge.match_indices(&format!("{name}=\"")).find(|(at, _)| matches!(challenge.as_bytes()[at - 1], b' ' | b','))?;
    let value = &challenge[start.0 + start.1.len()..];
    value.split_once('"').map(|(value, _)| value.to_owned())
}
