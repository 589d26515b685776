//! What an answer says of a rate: the `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers) and `Retry-After`.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limiter::{Standing, TooMany};
use crate::policy::quota::Quota;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `"client";q=100;w=60`.
pub fn policy(name: &str, quota: &Quota) -> HeaderValue {
    let text = format!("\"{name}\";q={};w={}", quota.requests, seconds_up(quota.period));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"rate\""))
}

/// Says how much of the client's quota is left. It differs from answer to answer, so it is put together without the formatter.
pub fn standing(headers: &mut HeaderMap, policy: HeaderValue, standing: &Standing) {
    // A burst may be larger than the quota, of which no more than all can be left.
    let remaining = standing.remaining.min(standing.quota.requests);
    let (mut r, mut t) = (itoa::Buffer::new(), itoa::Buffer::new());
    let text = ["\"client\";r=", r.format(remaining), ";t=", t.format(seconds_up(standing.reset))].concat();
    headers.insert(RATE_LIMIT_POLICY, policy);
    headers.insert(RATE_LIMIT, HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"client\"")));
}

/// Says that the quota called `name` is used up, and when to come back.
pub fn limited(headers: &mut HeaderMap, name: &str, too_many: &TooMany) {
    let seconds = seconds_up(too_many.retry_after);
    let left = HeaderValue::from_str(&format!("\"{name}\";r=0;t={seconds}"));
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(RATE_LIMIT_POLICY, policy(name, &too_many.quota));
    headers.insert(RATE_LIMIT, left.unwrap_or(HeaderValue::from_static("\"rate\"")));
}

/// Whole seconds, rounded up, at least one.
fn seconds_up(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}
