//! FACTS 2.2: what a `write` token, by POST or PUT, can delete.

use super::{Stage, refused, refused_for_want_of, refused_to_all};
use crate::support::wire::{Wire, json_request};

#[test]
fn w01_client_delete_by_post_needs_delete() {
    refused_for_want_of(&["250-POST-client.delete"], &["write", "read write"], "delete");
    let seen = Stage::new().forwarded("250-POST-client.delete", "delete");
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/api/method/frappe.client.delete"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON went upstream");
    assert_eq!(body, serde_json::json!({"doctype": "ToDo", "name": "pea5aaojdd"}));
}

#[test]
fn w02_cmd_in_a_create_body_is_refused() {
    refused_to_all(&["251-POST-cmd-in-create"], &["write", "all"]);
}

#[test]
fn w02_cmd_in_the_query_of_a_create_is_refused() {
    refused_to_all(&["252-POST-cmd-in-query"], &["write", "all"]);
}

#[test]
fn w02_cmd_in_any_json_content_type_is_refused() {
    refused_to_all(&["255-POST-json-vendor-ct", "286-POST-ct-case-params"], &["write", "all"]);
}

#[test]
fn w02_cmd_in_multipart_is_refused() {
    refused_to_all(&["256-POST-cmd-multipart"], &["write", "all"]);
}

#[test]
fn w02_a_repeated_json_key_is_refused() {
    refused_to_all(&["258-POST-cmd-dup-json-key"], &["write", "all"]);
}

#[test]
fn w02_an_escaped_json_key_is_refused() {
    refused_to_all(&["259-POST-cmd-json-escape"], &["write", "all"]);
}

#[test]
fn w02_two_content_types_are_refused() {
    refused_to_all(&["287-POST-dup-content-type"], &["write", "all"]);
}

#[test]
fn w02_cmd_in_a_chunked_body_is_refused() {
    refused_to_all(&["288-POST-chunked-cmd"], &["write", "all"]);
}

#[test]
fn w03_cmd_in_an_update_body_is_refused() {
    refused_to_all(&["253-PUT-cmd-body"], &["write", "all"]);
}

#[test]
fn w04_delete_items_by_post_is_refused_to_write() {
    refused(&["262-POST-delete_items"], &["write", "read write"]);
}

#[test]
fn w05_upload_file_never_calls_another_function() {
    refused_to_all(&["238-PUT-upload_file-remove_attach"], &["write", "all"]);
}

#[test]
fn w06_deleting_through_a_web_form_is_refused_to_write() {
    refused(&["263-POST-web_form-missing", "292w-webform-delete-POST", "293w-webform-delete-lowpriv-PUT"], &["write", "read write"]);
}

#[test]
fn w07_renaming_with_merge_is_refused_to_write() {
    refused(&["261-POST-rename-merge"], &["write", "read write"]);
}

#[test]
fn w08_rows_left_out_of_a_put_pass_with_write_as_documented() {
    // Inherent to PUT: without the schema, a child table cannot be told from any other list.
    let stage = Stage::new();
    let token = stage.gate.token("write");
    let reply = Wire::tls(&stage.gate).exchange(json_request("PUT", "/api/resource/Sales%20Order/SO-1", &token, r#"{"items":[]}"#));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(stage.upstream.request().body, br#"{"items":[]}"#);
}

#[test]
fn w08_the_roles_of_a_user_are_not_a_matter_of_write() {
    refused_to_all(&["264-PUT-child-rows"], &["write", "all"]);
}

#[test]
fn w09_a_post_on_a_document_is_refused() {
    refused_to_all(&["226b-POST-resource-doc-run_method", "226-POST-run_method-rename"], &["write", "all"]);
}

#[test]
fn w10_cancelling_is_not_a_read() {
    refused(&["267-POST-client.set_value-docstatus"], &["read"]);
}

#[test]
fn w11_keys_and_passwords_are_out_of_reach_of_write() {
    refused(&["236-POST-generate_keys", "235-GET-generate_keys", "506-write-scope-set-own-password"], &["write", "read write delete"]);
    let stage = Stage::new();
    for doctype in ["Server%20Script", "System%20Console", "Data%20Import", "server-script", "SERVER%20SCRIPT"] {
        let target = format!("/api/resource/{doctype}");
        let reply = Wire::tls(&stage.gate).exchange(json_request("POST", &target, &stage.gate.token("all"), r#"{"name":"x"}"#));
        super::forbidden(&reply);
    }
    stage.upstream.assert_untouched();
}

#[test]
fn w12_what_frappe_does_not_take_for_cmd_is_refused_all_the_same() {
    let cases = [
        "257-POST-cmd-no-content-type",
        "260-POST-cmd-utf16",
        "265-PATCH-v1-cmd",
        "283-POST-text-plain-json",
        "282-POST-json-string-body",
        "117-bad-json",
    ];
    refused_to_all(&cases, &["write", "all"]);
    refused(&["254-PUT-client.delete"], &["write"]);
}
