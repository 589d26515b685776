//! The fields of an audit record that tests look at, by the names the record gives them.

use serde_json::Value;

/// The record of the request that was answered with this id.
pub fn of<'a>(records: &'a [Value], request_id: &str) -> &'a Value {
    let mut found = records.iter().filter(|record| record["request_id"] == request_id);
    let record = found.next().unwrap_or_else(|| panic!("no audit record for request {request_id}: {records:#?}"));
    assert!(found.next().is_none(), "two audit records for request {request_id}");
    record
}
