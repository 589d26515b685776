//! What an answer must be to count as a document, and for how long it does.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use crate::outbound::error::FetchError;

/// Refuses everything but plain JSON with 200.
pub(crate) fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchError> {
    if status != StatusCode::OK {
        return Err(FetchError::Status(status));
    }
    // Nothing was asked to be compressed, and 32 KiB of it can be 32 MiB.
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(FetchError::ContentEncoding);
    }
    if is_json(headers) { Ok(()) } else { Err(FetchError::ContentType) }
}

/// `application/json` or `application/<more>+json`, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(text) = value.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(kind) = essence.strip_prefix("application/") else { return false };
    let stem = kind.strip_suffix("+json").unwrap_or(if kind == "json" { kind } else { "" });
    !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

/// How long the document counts (RFC 9111 section 4.2), never shorter than `FRESH_MIN` and never longer than `FRESH_MAX`: a server that
/// allows no caching must not have every step of a flow wait for it, and a client that lost its keys must not be trusted for a year.
pub(crate) fn fresh_for(headers: &HeaderMap) -> Duration {
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).map_or(0, seconds);
    let mut allowed: Option<u64> = None;
    for value in headers.get_all(CACHE_CONTROL) {
        // What cannot be read may have forbidden it.
        let Ok(text) = value.to_str() else { return FRESH_MIN };
        for directive in text.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return FRESH_MIN,
                // Of two that disagree, the shorter.
                "max-age" => allowed = Some(allowed.unwrap_or(u64::MAX).min(seconds(argument))),
                _ => {}
            }
        }
    }
    allowed.map_or(FRESH_DEFAULT, |allowed| Duration::from_secs(allowed.saturating_sub(age))).clamp(FRESH_MIN, FRESH_MAX)
}

/// RFC 9111 section 1.2.2: more than can be counted is a great many, and what is no number is none.
fn seconds(text: &str) -> u64 {
    let digits = text.trim().trim_matches('"');
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all { digits.parse().unwrap_or(u64::MAX) } else { 0 }
}

const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_DEFAULT: Duration = Duration::from_secs(60 * 60);
const FRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn types() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/oauth-client+json", "application/ld+json ;x=y"] {
            assert!(check(StatusCode::OK, &headers(&[("content-type", good)])).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/html",
            "text/json",
            "application/jsonp",
            "application/+json",
            "application/json, text/html",
            "application/x; y=+json",
            "application/json/x",
            "application/octet-stream",
            "application/ json",
            "json",
        ] {
            let error = check(StatusCode::OK, &headers(&[("content-type", bad)])).expect_err(bad);
            assert!(matches!(error, FetchError::ContentType), "{bad}: {error}");
        }
        assert!(check(StatusCode::OK, &HeaderMap::new()).is_err(), "no type");
        let mut two = headers(&[("content-type", "application/json")]);
        two.append(CONTENT_TYPE, "text/html".parse().expect("a value"));
        assert!(check(StatusCode::OK, &two).is_err(), "two types");
    }

    #[test]
    fn statuses_and_encodings() {
        for status in [201, 203, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 410, 429, 500, 503] {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = check(status, &headers(&[("content-type", "application/json")])).expect_err("not 200");
            assert!(matches!(error, FetchError::Status(found) if found == status), "{status}");
        }
        for encoding in ["gzip", "br", "identity", ""] {
            let error = check(StatusCode::OK, &headers(&[("content-type", "application/json"), ("content-encoding", encoding)]));
            assert!(matches!(error, Err(FetchError::ContentEncoding)), "{encoding}");
        }
    }

    #[test]
    fn freshness() {
        for (fields, want, why) in [
            (&[][..], 3600, "nothing said"),
            (&[("cache-control", "public")], 3600, "nothing said of time"),
            (&[("cache-control", "max-age=600")], 600, "said"),
            (&[("cache-control", "public, MAX-AGE=600, immutable")], 600, "in capitals"),
            (&[("cache-control", "max-age=\"600\"")], 600, "quoted"),
            (&[("cache-control", "max-age=0")], 60, "too short"),
            (&[("cache-control", "max-age=31536000")], 86400, "too long"),
            (&[("cache-control", "max-age=99999999999999999999999")], 86400, "beyond counting"),
            (&[("cache-control", "max-age=-1")], 60, "no number"),
            (&[("cache-control", "max-age=")], 60, "no number"),
            (&[("cache-control", "max-age=1h")], 60, "no number"),
            (&[("cache-control", "max-age=900, max-age=600")], 600, "two"),
            (&[("cache-control", "max-age=600, no-store")], 60, "forbidden"),
            (&[("cache-control", "No-Cache")], 60, "forbidden unless asked again"),
            (&[("cache-control", "private, no-cache=\"set-cookie\"")], 60, "forbidden in part"),
            (&[("cache-control", "max-age=600"), ("age", "200")], 400, "old already"),
            (&[("cache-control", "max-age=600"), ("age", "900")], 60, "stale already"),
            (&[("cache-control", "s-maxage=600")], 3600, "another's"),
        ] {
            assert_eq!(fresh_for(&headers(fields)), Duration::from_secs(want), "{why}: {fields:?}");
        }
    }
}
