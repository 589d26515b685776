//! FACTS 2.3: what a `delete` token, by DELETE, can write.

use super::{refused, refused_to_all};

#[test]
fn s23_a_delete_that_updates_in_bulk_is_refused() {
    refused(&["270-DELETE-bulk_update"], &["delete", "read delete"]);
}

#[test]
fn s23_a_delete_with_a_body_is_refused() {
    refused_to_all(&["271-DELETE-cmd-savedocs"], &["delete", "all"]);
}
