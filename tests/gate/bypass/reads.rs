//! FACTS 2.1: what a `read` token, by GET or HEAD, can change. R17 to R20, which are about secrets and sessions, stand in `secrets`.

use super::{Stage, refused, refused_for_want_of, refused_or_harmless, refused_to_all};
use crate::support::exchange::exchange;
use crate::support::verdict::{reason, unauthorized};
use crate::support::wire::Wire;

#[test]
fn r01_a_get_that_deletes_is_refused() {
    refused(&["200-GET-delete_items", "274-GET-delete_items-lowpriv-denied"], &["read", "write"]);
}

#[test]
fn r02_cmd_in_the_query_of_any_other_path_is_refused() {
    refused_to_all(&["202-GET-cmd-on-resource", "203-GET-cmd-on-doc", "204-GET-cmd-on-v2"], &["read", "all"]);
}

#[test]
fn r02_cmd_on_the_bare_root_is_decided_on_as_the_rpc_it_names() {
    refused(&["201-GET-cmd-on-root"], &["read", "write"]);
}

#[test]
fn r02_cmd_on_the_bare_root_is_rewritten_to_its_method() {
    let stage = Stage::new();
    let token = stage.gate.token("read");
    let ask = |query: &str, token: &str| {
        Wire::tls(&stage.gate).exchange(format!("GET /?{query} HTTP/1.1\r\nHost: fake.test\r\nAuthorization: Bearer {token}\r\n\r\n"))
    };
    let query = "cmd=frappe.client.get_value&doctype=ToDo&fieldname=name";
    let reply = ask(query, &token);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = stage.upstream.request();
    assert_eq!(seen.target, "/api/method/frappe.client.get_value?doctype=ToDo&fieldname=name");
    let reply = ask(query, &stage.gate.token("write"));
    assert_eq!(reply.status, 403, "reading by cmd needs `read`: {}", reply.text());
    for query in [
        "cmd=login&usr=a&pwd=b",
        "cmd=logout",
        "cmd=frappe.auth.get_logged_user&cmd=logout",
        "cmd=logout&cmd=frappe.auth.get_logged_user",
        "cmd=",
        "cmd=frappe.auth.get_logged_user/x",
        "cmd=../resource/ToDo",
    ] {
        let reply = ask(query, &stage.gate.token("all"));
        reason(&reply);
        assert!((400..500).contains(&reply.status), "{query}: {reply:?}");
    }
    assert_eq!(stage.upstream.requests().len(), 1, "none of the refused ones");
}

#[test]
fn r03_a_get_with_a_body_is_refused() {
    let cases = ["205-GET-cmd-json-body", "206-GET-cmd-form-body", "207-GET-cmd-multipart-body", "281-GET-json-list-body"];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn r04_an_encoded_cmd_in_the_query_is_refused() {
    refused_to_all(&["218-GET-cmd-encoded-key"], &["read", "all"]);
}

#[test]
fn r05_cmd_repeated_in_the_query_is_refused() {
    refused_to_all(&["219-GET-cmd-dup-last", "219b-GET-cmd-dup-first"], &["read", "all"]);
}

#[test]
fn r05_cmd_in_both_query_and_form_is_refused() {
    refused_to_all(&["219c-POST-form-overrides-query-cmd"], &["write", "all"]);
}

#[test]
fn r05_a_repeated_harmless_key_never_means_two_things() {
    refused_or_harmless(&["280t-dup-param"], "read");
}

#[test]
fn r06_other_spellings_of_the_path_are_the_same_operation() {
    let cases = ["208-GET-percent-encoded-path", "211-GET-v1-prefix", "212-GET-v2-method", "216-GET-absolute-form"];
    refused(&cases, &["read", "write"]);
}

#[test]
fn r06_paths_that_frappe_would_repair_are_refused() {
    let cases = ["209-GET-double-slash", "214-GET-method-encoded-slash", "217-GET-fragment-in-target", "280q-triple-slash"];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn r06_anything_behind_a_method_name_is_refused() {
    refused_to_all(&["213-GET-method-trailing-path", "280m-method-trailing-junk"], &["read", "all"]);
}

#[test]
fn r06_an_encoded_slash_between_doctype_and_name_is_refused() {
    refused_to_all(&["280h-name-encoded-slash"], &["read", "all"]);
}

#[test]
fn r06n_paths_that_frappe_does_not_take_either_are_refused() {
    refused_to_all(&["210-GET-inner-double-slash", "215-GET-dotdot", "280i-double-encoded", "280p-null"], &["read", "all"]);
}

#[test]
fn r06n_a_semicolon_separates_nothing() {
    refused_or_harmless(&["220-GET-cmd-semicolon", "280n-semicolon"], "read");
}

#[test]
fn r07_a_get_that_updates_in_bulk_is_refused() {
    refused(&["221-GET-bulk_update", "275-GET-bulk_update-lowpriv"], &["read"]);
}

#[test]
fn r08_run_method_is_refused_wherever_it_stands() {
    let cases = [
        "224-GET-run_method-bulk_update",
        "224d-HEAD-run_method",
        "224e-GET-run_method-json-body",
        "225-GET-run_method-rename",
        "227-GET-run_method-add_comment",
    ];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn r09_methods_of_documents_on_v2_are_not_routed() {
    refused_to_all(&["224b-GET-v2-document-method", "224c-HEAD-v2-document-method", "228-GET-v2-doc-method-rename"], &["read", "all"]);
}

#[test]
fn r10_run_doc_method_is_refused_under_every_name() {
    let cases = [
        "222-GET-run_doc_method-dt",
        "222-GET-run_doc_method-docs",
        "223-GET-run_doc_method-docs",
        "223-GET-v2-run_doc_method",
        "223b-GET-v2-run_doc_method",
        "223c-GET-runserverobj",
    ];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn r11_the_system_console_is_refused() {
    refused_to_all(&["229-GET-system_console"], &["read", "all"]);
}

#[test]
fn r12_a_get_that_only_queues_work_is_refused() {
    refused(&["233-GET-enqueue-delete", "234-GET-execute_event-enqueue"], &["read"]);
}

#[test]
fn r13_a_server_script_is_refused_until_the_operator_names_its_effect() {
    refused(&["530-GET-server-script-api", "531-HEAD-server-script-api"], &["read", "read write delete"]);
}

#[test]
fn r13_a_made_up_method_is_refused() {
    refused_to_all(&["532-FOO-server-script-api", "266-foo-method"], &["read", "all"]);
}

#[test]
fn r14_upload_file_never_calls_another_function() {
    refused_to_all(&["237-GET-POST-only-via-upload_file"], &["read", "all"]);
}

#[test]
fn r15_reads_that_write_a_log_are_refused() {
    refused(&["231-GET-make_access_log"], &["read"]);
    refused_to_all(&["306-backups-sysman", "521-printview-bearer"], &["read", "all"]);
}

#[test]
fn r16_other_gets_that_commit_are_refused() {
    refused(&["230-GET-create_dashboard_settings"], &["read"]);
}

#[test]
fn r21_a_method_override_does_not_cross() {
    let seen = Stage::new().forwarded("241-GET-method-override-header", "read");
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/api/resource/ToDo/pea3127qua"));
    refused_to_all(&["242-POST-method-override"], &["write", "all"]);
}

#[test]
fn r22_head_is_a_read_on_read_routes_only() {
    refused(&["240-HEAD-delete_items", "540-HEAD-v2-logout"], &["read"]);
}

#[test]
fn r23_writes_that_a_get_would_roll_back_are_refused_all_the_same() {
    refused(&["273-GET-savedocs-create", "291w-webform-accept-GET"], &["read"]);
}

#[test]
fn r24_a_web_form_needs_a_token() {
    let stage = Stage::new();
    let reply = Wire::tls(&stage.gate).exchange(exchange("290w-webform-accept-guest-POST").as_recorded());
    unauthorized(&reply, None);
    stage.upstream.assert_untouched();
    refused(&["290w-webform-accept-guest-POST"], &["read", "delete"]);
}

#[test]
fn r25_script_name_and_its_kin_never_reach_the_upstream() {
    let cases = [
        "600-GET-hdr-SCRIPT_NAME",
        "601-GET-hdr-SCRIPT-NAME",
        "602-GET-hdr-Script_Name",
        "603-GET-hdr-Script-Name",
        "604-GET-hdr-PATH_INFO",
        "605-GET-hdr-PATH-INFO",
        "606-GET-hdr-X-Script-Name",
        "607-GET-hdr-X-Forwarded-Prefix",
        "610-GET-hdr-X-Original-URL",
        "611-GET-hdr-X-Rewrite-URL",
        "612-GET-hdr-X-Original-URI",
        "620-gunicorn21.2.0-hdr-SCRIPT_NAME",
        "621-gunicorn21.2.0-hdr-Script-Name",
        "622-gunicorn21.2.0-hdr-PATH_INFO",
        "624-gunicorn23.0.0-hdr-SCRIPT_NAME",
        "625-gunicorn23.0.0-hdr-Script-Name",
        "626-gunicorn23.0.0-hdr-PATH_INFO",
    ];
    refused_or_harmless(&cases, "read");
}

#[test]
fn scope_read_does_not_put_or_delete() {
    // T180 and T181: Frappe itself lets it.
    refused_for_want_of(&["180-read-scope-PUT"], &["read", "read delete"], "write");
    refused_for_want_of(&["181-read-scope-DELETE"], &["read", "read write"], "delete");
}
