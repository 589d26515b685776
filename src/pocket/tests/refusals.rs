//! Errors, byte for byte as recorded with tracebacks off, once the two keys of the traceback are cut and the random ids are named.

use serde_json::Value;

use super::{FORM, JSON, MANAGER, SELLER, ask, pocket};
use crate::pocket::reply::{Cookies, Reply, Spacing, python_json};
use http::header::AUTHORIZATION;

/// The body without its traceback, ids replaced.
fn recorded_form(reply: &Reply) -> String {
    let mut body: Value = serde_json::from_str(&reply.body).expect("a JSON body");
    let object = body.as_object_mut().expect("an object");
    object.shift_remove("exception");
    object.shift_remove("exc");
    if let Some(error) = object.get_mut("errors").and_then(|errors| errors[0].as_object_mut()) {
        error.shift_remove("exception");
    }
    let mut text = python_json(&body, Spacing::Compact);
    const MARK: &str = "__frappe_exc_id\\\\\\\": \\\\\\\"";
    if let Some(at) = text.find(MARK) {
        text.replace_range(at + MARK.len()..at + MARK.len() + 56, "ID");
    }
    text
}

#[test]
fn errors_have_the_recorded_shapes() {
    let bogus = r#"{"status": "Bogus", "description": "x"}"#;
    let bad = (AUTHORIZATION, "Bearer nosuch");
    for (case, method, target, headers, body, status, expected) in [
        ("T400", "GET", "/api/resource/ToDo", vec![bad.clone()], "", 401, r#"{"exc_type":"AuthenticationError"}"#),
        (
            "T401",
            "GET",
            "/api/resource/ToDo",
            vec![],
            "",
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"User <strong>Guest</strong> does not have doctype access via role permission for document <strong>ToDo</strong>\\\", \\\"title\\\": \\\"Message\\\"}\"]","_error_message":"No permission for ToDo"}"#,
        ),
        (
            "T402",
            "GET",
            "/api/method/frappe.auth.get_logged_user",
            vec![],
            "",
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"<details><summary>You are not permitted to access this resource.</summary>Function <strong>frappe.auth.get_logged_user</strong> is not whitelisted.</details>\\\", \\\"title\\\": \\\"Method Not Allowed\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T403",
            "GET",
            "/api/resource/ToDo/nosuch",
            vec![MANAGER],
            "",
            404,
            r#"{"exc_type":"DoesNotExistError","_server_messages":"[\"{\\\"message\\\": \\\"ToDo nosuch not found\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T404",
            "GET",
            "/api/resource/Server%20Script",
            vec![SELLER],
            "",
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"User <strong>sales@example.com</strong> does not have doctype access via role permission for document <strong>Server Script</strong>\\\", \\\"title\\\": \\\"Message\\\"}\"]","_error_message":"No permission for Server Script"}"#,
        ),
        (
            "T405",
            "POST",
            "/api/resource/ToDo",
            vec![MANAGER, JSON],
            bogus,
            417,
            r#"{"exc_type":"ValidationError","_server_messages":"[\"{\\\"message\\\": \\\" Status cannot be \\\\\\\"Bogus\\\\\\\". It should be one of \\\\\\\"Open\\\\\\\", \\\\\\\"Closed\\\\\\\", \\\\\\\"Cancelled\\\\\\\"\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T406",
            "POST",
            "/api/resource/Note",
            vec![MANAGER, JSON],
            "{}",
            417,
            r#"{"exc_type":"MandatoryError","_server_messages":"[\"{\\\"message\\\": \\\"Error: Value missing for Note: Title\\\", \\\"title\\\": \\\"Message\\\"}\"]"}"#,
        ),
        (
            "T407",
            "POST",
            "/api/resource/Role",
            vec![MANAGER, JSON],
            r#"{"role_name": "System Manager"}"#,
            409,
            r#"{"exc_type":"DuplicateEntryError","_server_messages":"[\"{\\\"message\\\": \\\"Role <strong>System Manager</strong> already exists\\\", \\\"title\\\": \\\"Duplicate Name\\\", \\\"indicator\\\": \\\"red\\\"}\"]"}"#,
        ),
        ("T408", "POST", "/api/resource/ToDo", vec![MANAGER, JSON], "{bad", 500, r#"{"exc_type":"JSONDecodeError"}"#),
        ("T409", "GET", "/api/v2/document/ToDo", vec![bad], "", 401, r#"{"errors":[{"type":"AuthenticationError"}]}"#),
        (
            "T410",
            "GET",
            "/api/v2/document/Server%20Script",
            vec![SELLER],
            "",
            403,
            r#"{"errors":[{"type":"PermissionError","message":"User <strong>sales@example.com</strong> does not have doctype access via role permission for document <strong>Server Script</strong>","title":"Message"}]}"#,
        ),
        (
            "T411",
            "GET",
            "/api/v2/document/ToDo/nosuch",
            vec![MANAGER],
            "",
            404,
            r#"{"errors":[{"type":"DoesNotExistError","message":"ToDo nosuch not found","title":"Message","indicator":"red"}]}"#,
        ),
        (
            "T412",
            "POST",
            "/api/v2/document/ToDo",
            vec![MANAGER, JSON],
            bogus,
            417,
            r#"{"errors":[{"type":"ValidationError","message":" Status cannot be \"Bogus\". It should be one of \"Open\", \"Closed\", \"Cancelled\"","title":"Message","indicator":"red"}]}"#,
        ),
        (
            "T413",
            "GET",
            "/api/resource/ToDo?fields=%5B%22nosuchfield%22%5D",
            vec![MANAGER],
            "",
            417,
            r#"{"exc_type":"DataError","_server_messages":"[\"{\\\"message\\\": \\\"Field not permitted in query: nosuchfield\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T414",
            "GET",
            "/api/method/frappe.nosuch.method",
            vec![MANAGER],
            "",
            417,
            r#"{"exc_type":"ValidationError","_server_messages":"[\"{\\\"message\\\": \\\"Failed to get method for command frappe.nosuch.method with No module named 'frappe.nosuch'\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        ("T105: PATCH on v1", "PATCH", "/api/resource/ToDo/x", vec![MANAGER, JSON], "{}", 404, r#"{"exc_type":"DoesNotExistError"}"#),
        ("T111: no route", "GET", "/api/nosuch", vec![MANAGER], "", 404, r#"{"exc_type":"DoesNotExistError"}"#),
        ("T210: an inner double slash", "GET", "/api//method/ping", vec![], "", 404, r#"{"exc_type":"DoesNotExistError"}"#),
        ("T110: no such doctype", "GET", "/api/resource/NoSuchDocType/x", vec![MANAGER], "", 500, r#"{"exc_type":"ImportError"}"#),
        ("T280a: doctype in lower case", "GET", "/api/resource/todo", vec![MANAGER], "", 500, r#"{"exc_type":"ProgrammingError"}"#),
        ("T280d: + is no space", "GET", "/api/resource/System+Settings/x", vec![MANAGER], "", 500, r#"{"exc_type":"ImportError"}"#),
        ("T242: POST on a name", "POST", "/api/resource/Item/ITEM-0001", vec![MANAGER, FORM], "a=b", 500, r#"{"exc_type":"KeyError"}"#),
        ("T219: doctype beside the path", "GET", "/api/resource/ToDo?doctype=ToDo", vec![MANAGER], "", 500, r#"{"exc_type":"TypeError"}"#),
        (
            "T280i: a doctype that is not there",
            "GET",
            "/api/resource/ToDo%252Fx",
            vec![MANAGER],
            "",
            404,
            r#"{"exc_type":"DoesNotExistError","_server_messages":"[\"{\\\"message\\\": \\\"DocType ToDo%2Fx not found\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T113",
            "PUT",
            "/api/resource/User/demo%40example.com",
            vec![SELLER, JSON],
            r#"{"first_name": "x"}"#,
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"User <strong>sales@example.com</strong> does not have doctype access via role permission for document <strong>User</strong><br>User <strong>sales@example.com</strong> does not have access to this document: User - demo@example.com\\\", \\\"title\\\": \\\"Message\\\"}\"]","_error_message":"Insufficient Permission for User (<strong>write</strong>)"}"#,
        ),
        (
            "T182",
            "DELETE",
            "/api/resource/Item/ITEM-0001",
            vec![SELLER],
            "",
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"Not allowed via controller permission check<br>User <strong>sales@example.com</strong> does not have access to this document: Item - ITEM-0001\\\", \\\"title\\\": \\\"Message\\\"}\", \"{\\\"message\\\": \\\"User not allowed to delete Item: ITEM-0001\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
        (
            "T239: not with GET",
            "GET",
            "/api/method/frappe.client.delete?doctype=Item&name=ITEM-0001",
            vec![MANAGER],
            "",
            403,
            r#"{"exc_type":"PermissionError","_server_messages":"[\"{\\\"message\\\": \\\"Not permitted\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\", \\\"raise_exception\\\": 1, \\\"__frappe_exc_id\\\": \\\"ID\\\"}\"]"}"#,
        ),
    ] {
        let reply = ask(&pocket(), method, target, &headers, body);
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        assert_eq!(recorded_form(&reply), expected, "{case}");
    }
}

#[test]
fn a_traceback_goes_with_every_error_but_404() {
    for (case, target, body, exception) in [
        ("T114", "/api/resource/ToDo", r#"{"status":"x","description":"x"}"#, "frappe.exceptions.ValidationError:  Status cannot be"),
        (
            "T117",
            "/api/resource/ToDo",
            "{bad json",
            "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("T110", "/api/resource/NoSuchDocType", "{}", "Error: No module named 'frappe.core.doctype.nosuchdoctype'"),
    ] {
        let reply = ask(&pocket(), "POST", target, &[MANAGER, JSON], body);
        let parsed: Value = serde_json::from_str(&reply.body).expect("a JSON body");
        assert!(parsed["exception"].as_str().is_some_and(|text| text.starts_with(exception)), "{case}: {}", reply.body);
        let traces: Vec<String> = serde_json::from_str(parsed["exc"].as_str().expect("exc is a text")).expect("of JSON");
        assert!(traces[0].starts_with("Traceback (most recent call last):\n") && traces[0].contains(exception), "{case}: {traces:?}");
    }
    let missing = ask(&pocket(), "GET", "/api/resource/ToDo/nosuch", &[MANAGER], "");
    assert!(!missing.body.contains("\"exc\"") && !missing.body.contains("exception\""), "{}", missing.body);
}

#[test]
fn cookies_go_with_errors_as_recorded() {
    for (case, method, target, headers, body, cookies) in [
        ("T401: a guest", "GET", "/api/resource/ToDo", vec![], "", Cookies::Guest),
        ("T403: a token leaves the session a guest's", "GET", "/api/resource/ToDo/x", vec![MANAGER], "", Cookies::Guest),
        ("T130: a bad token", "GET", "/api/resource/ToDo", vec![(AUTHORIZATION, "Bearer x")], "", Cookies::Cleared),
        ("T117: no session yet", "POST", "/api/resource/ToDo", vec![MANAGER, JSON], "{bad", Cookies::None),
        ("T282: likewise", "POST", "/api/resource/ToDo", vec![MANAGER, JSON], "\"abc\"", Cookies::None),
        ("T542: a page of werkzeug's", "TRACE", "/api/resource/ToDo", vec![MANAGER], "", Cookies::None),
        ("T544: OPTIONS asks nobody", "OPTIONS", "/api/resource/ToDo", vec![(AUTHORIZATION, "Bearer x")], "", Cookies::None),
    ] {
        assert_eq!(ask(&pocket(), method, target, &headers, body).cookies, cookies, "{case}");
    }
}
