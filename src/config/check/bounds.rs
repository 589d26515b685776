//! `[bounds]` and `[rate]`: how much a peer may take, and how often. Each bound has a least and a most beyond which it is a mistake.

use std::time::Duration;

use crate::config::checked::{BodyBounds, Rate, Rates};
use crate::config::quantity::{GIB, KIB, MIB, Pace};
use crate::config::section::Section;
use crate::listener::Bounds;

const MOMENT: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The most requests at once that a rate may allow.
const BURST_MAX: u64 = 1_000_000;

pub fn bounds(section: &Section<'_>) -> (Bounds, BodyBounds) {
    let seconds = Duration::from_secs;
    let bounds = Bounds {
        // hyper's HTTP/1 reader wants a buffer of at least 8 KiB.
        header_bytes_max: section.memory("header_bytes_max", 32 * KIB, 8 * KIB..=MIB),
        header_count_max: section.whole("header_count_max", 100, 16..=1000) as usize,
        // The `http` crate reads targets below 64 KiB.
        target_bytes_max: section.memory("target_bytes_max", 16 * KIB, 256..=32 * KIB),
        handshake_timeout: section.time("handshake_timeout", seconds(10), &(MOMENT..=2 * MINUTE)),
        header_timeout: section.time("header_timeout", seconds(10), &(MOMENT..=2 * MINUTE)),
        idle_timeout: section.time("idle_timeout", seconds(75), &(MOMENT..=HOUR)),
        write_timeout: section.time("write_timeout", seconds(30), &(MOMENT..=10 * MINUTE)),
        write_rate_min: section.size("write_rate_min", KIB, 1..=MIB),
        connections_max: section.whole("connections_max", 10_000, 1..=1_000_000) as usize,
        connections_per_address_max: section.whole("connections_per_address_max", 1000, 1..=1_000_000) as usize,
        h2_streams_max: section.whole("h2_streams_max", 128, 1..=1000) as u32,
        drain_timeout: section.time("drain_timeout", seconds(30), &(Duration::ZERO..=HOUR)),
    };
    if bounds.target_bytes_max > bounds.header_bytes_max {
        section.refuse("target_bytes_max", "is more than `header_bytes_max`, which counts the target as well; lower it");
    }
    let body = BodyBounds {
        body_bytes_max: section.memory("body_bytes_max", 4 * MIB, KIB..=64 * MIB),
        upload_bytes_max: section.size("upload_bytes_max", 25 * MIB, KIB..=10 * GIB),
        body_timeout: section.time("body_timeout", seconds(30), &(MOMENT..=HOUR)),
        body_rate_min: section.size("body_rate_min", KIB, 1..=MIB),
    };
    (bounds, body)
}

pub fn rates(section: &Section<'_>) -> Rates {
    Rates {
        client: rate(section, "client", "client_burst", 6000, 1000),
        address: rate(section, "address", "address_burst", 6000, 1000),
        failed_authentications: rate(section, "failed_authentications", "failed_authentications_burst", 30, 10),
    }
}

/// `requests` a minute and `burst` unless written otherwise. A burst that was not written is never more than the rate itself.
fn rate(section: &Section<'_>, key: &'static str, burst_key: &'static str, requests: u32, burst: u32) -> Option<Rate> {
    let pace = section.pace(key, Pace { requests, period: MINUTE });
    let written = section.whole_if_any(burst_key, 1..=BURST_MAX).map(|burst| burst as u32);
    pace.map(|Pace { requests, period }| Rate { requests, period, burst: written.unwrap_or(burst.min(requests)) })
}
