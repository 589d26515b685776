//! The shape of a line, held to its golden file.

use super::*;
use crate::audit::chain::Chain;

pub fn record() -> AuditRecord<'static> {
    AuditRecord {
        began: Duration::new(1_795_000_000, 120_003_000),
        request_id: "0123456789abcdef01234567",
        site: Some("erp.example.com"),
        address: "192.0.2.7",
        client: Some("crm"),
        user: Some("ann@example.com"),
        token: Some("9f86d081884c7d65"),
        scopes: Some("read write"),
        method: Some("GET"),
        effect: Some("read"),
        doctype: Some("Sales Order"),
        name: Some("SO-\"1\"\n\u{e9}"),
        rpc: None,
        allowed: true,
        reason: "ok",
        status: 200,
        outcome: Outcome::Served,
        bytes_in: 0,
        bytes_out: 1023,
        total: Duration::from_micros(1234),
        upstream: Some(Duration::from_micros(1100)),
    }
}

#[test]
fn a_line_has_its_fixed_shape() {
    let mut line = Vec::new();
    record().write(&mut line);
    let refused = AuditRecord {
        site: None,
        client: None,
        user: None,
        token: None,
        scopes: None,
        effect: None,
        doctype: None,
        name: None,
        allowed: false,
        reason: "host_unknown",
        status: 404,
        outcome: Outcome::Refused,
        upstream: None,
        ..record()
    };
    refused.write(&mut line);
    let mut sealed = Vec::new();
    let mut chain = Chain::new("0a1b2c3d4e5f".into(), None);
    line.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| chain.seal(line, &mut sealed));
    let text = String::from_utf8(sealed).expect("a line is UTF-8");
    assert_eq!(text, include_str!("../../../tests/golden/audit.jsonl"));
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON");
    }
}

#[test]
fn no_text_makes_a_line_of_any_length() {
    let (long, escaped) = ("é".repeat(100_000), "\u{1}".repeat(100_000));
    let mut line = Vec::new();
    AuditRecord { name: Some(&long), doctype: Some(&escaped), rpc: Some(&escaped), method: Some(&long), ..record() }.write(&mut line);
    assert!(line.len() < 32 * 1024, "{}", line.len());
    let text = String::from_utf8(line).expect("a line is UTF-8");
    let value: serde_json::Value = serde_json::from_str(&format!("{text}}}")).expect("a line is JSON");
    assert_eq!(value["name"].as_str().map(str::len), Some(TEXT_BYTES_MAX + "…".len()));
}

#[test]
fn times_are_utc_to_the_microsecond() {
    let cases = [
        (0, 0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999Z"),
        (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
        (1_709_251_200, 0, "2024-03-01T00:00:00.000000Z"),
        (4_102_444_799, 0, "2099-12-31T23:59:59.000000Z"),
    ];
    for (seconds, nanos, expected) in cases {
        let mut line = Vec::new();
        write_time(Duration::new(seconds, nanos), &mut line);
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }
}
