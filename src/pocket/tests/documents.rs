//! The life of documents: the shapes of success, and what the doctypes refuse.

use serde_json::{Value, json};

use super::{FORM, JSON, MANAGER, SELLER, ask, exists, json_of, pocket, todo};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_todo_lives_as_recorded() {
    let pocket = pocket();
    let created = json_of(&ask(&pocket, "POST", "/api/resource/ToDo", &[SELLER, JSON], r#"{"description": "fake é"}"#), 200);
    let columns = [
        "name",
        "owner",
        "creation",
        "modified",
        "modified_by",
        "docstatus",
        "idx",
        "status",
        "priority",
        "date",
        "description",
        "doctype",
    ];
    assert_eq!(keys(&created["data"]), columns, "T102: 200, columns in Frappe's order, nothing that is empty");
    assert_eq!((&created["data"]["owner"], &created["data"]["status"]), (&json!("sales@example.com"), &json!("Open")));
    let name = created["data"]["name"].as_str().expect("a name").to_owned();
    assert_eq!((name.len(), created["data"]["creation"].as_str().map(str::len)), (10, Some(26)));

    let path = format!("/api/resource/ToDo/{name}");
    let read = ask(&pocket, "GET", &path, &[MANAGER], "");
    assert!(read.body.contains(r#""description":"fake \u00e9""#), "Python escapes what is not ASCII: {}", read.body);
    for (case, method, path, headers, body, description) in [
        ("T103: JSON", "PUT", path.clone(), vec![MANAGER, JSON], r#"{"description": "a"}"#, "a"),
        ("T104: a form", "PUT", path.clone(), vec![MANAGER, FORM], "description=b+b", "b b"),
        ("the Python client", "PUT", path.clone(), vec![MANAGER, FORM], "data=%7B%22description%22%3A+%22c%22%7D", "c"),
        ("T123: PATCH on v2", "PATCH", format!("/api/v2/document/ToDo/{name}"), vec![MANAGER, JSON], r#"{"description": "d"}"#, "d"),
        ("T129: the v1 alias", "PUT", format!("/api/v1/resource/ToDo/{name}/"), vec![MANAGER, JSON], r#"{"description": "e"}"#, "e"),
        (
            "T280g: a name has no case",
            "GET",
            path.to_uppercase().replace("/API/RESOURCE/TODO", "/api/resource/ToDo"),
            vec![MANAGER],
            "",
            "e",
        ),
        ("T280h: %2F in the path", "GET", path.replace("ToDo/", "ToDo%2F"), vec![MANAGER], "", "e"),
    ] {
        let reply = json_of(&ask(&pocket, method, &path, &headers, body), 200);
        assert_eq!(reply["data"]["description"], description, "{case}");
    }

    let stale = r#"{"description": "x", "modified": "2000-01-01 00:00:00.000000"}"#;
    let refused = json_of(&ask(&pocket, "PUT", &path, &[MANAGER, JSON], stale), 417);
    assert_eq!(refused["exc_type"], "TimestampMismatchError", "T415");
    let deleted = ask(&pocket, "DELETE", &path, &[MANAGER], "");
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (202, r#"{"data":"ok"}"#), "T108");
    assert_eq!(ask(&pocket, "GET", &path, &[MANAGER], "").status, 404, "T109");
}

#[test]
fn creation_names_and_checks_by_doctype() {
    for (case, doctype, body, status, expected) in [
        ("the lead of the demo", "Lead", r#"{"lead_name":"OAuth Lead","email_id":"oauth@test.com"}"#, 200, r#""name":"CRM-LEAD-2"#),
        ("a lead by first name", "Lead", r#"{"first_name":"Ida","last_name":"Lund"}"#, 200, r#""lead_name":"Ida Lund""#),
        ("a nameless lead", "Lead", r#"{"email_id":"x@test.com"}"#, 417, "Value missing for Lead: Full Name"),
        ("an item by code", "Item", r#"{"item_code":"X-1","standard_rate":"12.5","disabled":true}"#, 200, r#""standard_rate":12.5"#),
        ("a name with a slash", "Item", r#"{"item_code":"A/B"}"#, 200, r#""name":"A/B""#),
        ("no code", "Item", "{}", 417, "Item Code is required"),
        ("a code that is taken", "Item", r#"{"item_code":"item-0001"}"#, 409, "already exists"),
        ("a list for a text", "Item", r#"{"item_code":"X","description":[1]}"#, 417, "Value for Description cannot be a list"),
        ("markup in a name", "Item", r#"{"item_code":"<b>"}"#, 417, "not a valid name"),
        ("no such customer", "Sales Order", r#"{"customer":"Nobody","items":[{"item_code":"ITEM-0001"}]}"#, 417, "LinkValidationError"),
        ("no such item", "Sales Order", r#"{"customer":"Casa Verde","items":[{"item_code":"X"}]}"#, 417, "Row #1: Item Code: X"),
        ("no rows", "Sales Order", r#"{"customer":"Casa Verde"}"#, 417, "Data missing in table"),
        ("rows that are none", "Sales Order", r#"{"customer":"Casa Verde","items":[1]}"#, 417, "must be a list of objects"),
        ("a title that is taken", "Note", r#"{"title":"welcome"}"#, 417, "UniqueValidationError"),
        ("a child on its own", "Sales Order Item", r#"{"item_code":"ITEM-0001"}"#, 417, "takes no more rows"),
        ("no such doctype", "Nothing Here", "{}", 500, "frappe.core.doctype.nothing_here"),
        ("a list for a document", "ToDo", "[1]", 500, "TypeError"),
    ] {
        let target = format!("/api/resource/{}", doctype.replace(' ', "%20"));
        let reply = ask(&pocket(), "POST", &target, &[MANAGER, JSON], body);
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        assert!(reply.body.contains(expected), "{case}: {}", reply.body);
    }
}

#[test]
fn an_order_is_computed_submitted_and_cancelled() {
    let pocket = pocket();
    let body =
        r#"{"customer": "Casa Verde", "items": [{"item_code": "ITEM-0001", "qty": 2}, {"item_code": "ITEM-0002", "qty": 1, "rate": 100}]}"#;
    let created = json_of(&ask(&pocket, "POST", "/api/resource/Sales%20Order", &[MANAGER, JSON], body), 200);
    let order = &created["data"];
    assert_eq!((&order["grand_total"], &order["status"], &order["customer_name"]), (&json!(940.0), &json!("Draft"), &json!("Casa Verde")));
    assert_eq!((&order["items"][1]["idx"], &order["items"][1]["parent"]), (&json!(2), &order["name"]));
    let path = format!("/api/resource/Sales%20Order/{}", order["name"].as_str().expect("a name"));

    let item = json_of(&ask(&pocket, "DELETE", "/api/resource/Item/ITEM-0001", &[MANAGER], ""), 417);
    assert_eq!(item["exc_type"], "LinkExistsError", "an item in an order stays");

    for (case, method, body, status, expected) in [
        ("cancel a draft", "POST", r#"{"run_method":"cancel"}"#, 417, "Cannot change docstatus from 0 (Draft) to 2 (Cancelled)"),
        ("a method that is not whitelisted", "POST", r#"{"run_method":"db_set"}"#, 403, "is not whitelisted"),
        ("fewer rows: W8, the rest is gone", "PUT", r#"{"items":[{"item_code":"ITEM-0003","qty":1}]}"#, 200, r#""total_qty":1.0"#),
        ("submit", "POST", r#"{"run_method":"submit"}"#, 200, r#""docstatus":1"#),
        ("edit what is submitted", "PUT", r#"{"delivery_date":"2026-02-02"}"#, 417, "after submission"),
        ("delete what is submitted", "DELETE", "", 417, "You must Cancel it first"),
        ("back to draft", "PUT", r#"{"docstatus":0}"#, 417, "to 0 (Draft)"),
        ("cancel", "PUT", r#"{"docstatus":2}"#, 200, r#""status":"Cancelled""#),
        ("delete what is cancelled", "DELETE", "", 202, "ok"),
    ] {
        let reply = ask(&pocket, method, &path, &[MANAGER, JSON], body);
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        assert!(reply.body.contains(expected), "{case}: {}", reply.body);
    }
    let name = todo(&pocket);
    let submitted =
        ask(&pocket, "POST", "/api/method/frappe.client.cancel", &[MANAGER, JSON], &json!({"doctype": "ToDo", "name": name}).to_string());
    assert!(
        submitted.body.contains("DocstatusTransitionError") && !submitted.body.contains("_server_messages"),
        "T267: {}",
        submitted.body
    );
}

#[test]
fn renaming_moves_links_and_merging_deletes() {
    let pocket = pocket();
    let rename = |doctype: &str, old: &str, new: &str, merge: bool| {
        let body = json!({"doctype": doctype, "old_name": old, "new_name": new, "merge": merge}).to_string();
        ask(&pocket, "POST", "/api/method/frappe.client.rename_doc", &[MANAGER, JSON], &body)
    };
    let renamed = rename("Item", "ITEM-0016", "MON-27", false);
    assert_eq!(
        renamed.body,
        r#"{"message":"MON-27","_server_messages":"[\"{\\\"message\\\": \\\"Document renamed from <strong>ITEM-0016</strong> to <strong>MON-27</strong>\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"green\\\", \\\"alert\\\": 1}\"]"}"#,
        "T261"
    );
    let orders = "/api/resource/Sales%20Order?filters=%5B%5B%22Sales%20Order%20Item%22,%22item_code%22,%22%3D%22,%22MON-27%22%5D%5D";
    assert_eq!(json_of(&ask(&pocket, "GET", orders, &[MANAGER], ""), 200)["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(rename("Item", "ITEM-0001", "ITEM-0002", true).status, 200);
    assert!(!exists(&pocket, "Item", "ITEM-0001"), "W7: a merge deletes");
    for (case, refused) in [
        ("a name that is taken", rename("Item", "ITEM-0003", "ITEM-0004", false)),
        ("a merge into nothing", rename("Item", "ITEM-0003", "NOSUCH", true)),
        ("T226: not allowed to be renamed", rename("ToDo", &todo(&pocket), "x", false)),
    ] {
        assert_eq!(refused.status, 417, "{case}: {}", refused.body);
    }
}

#[test]
fn functions_answer_in_their_shapes() {
    let pocket = pocket();
    let name = todo(&pocket);
    let doc = json!({"doctype": "ToDo", "name": name, "description": "saved"});
    let note = json!({"doctype": "Note", "title": "One"});
    let order = "SAL-ORD";
    let draft = json_of(&ask(&pocket, "GET", "/api/resource/Sales%20Order?filters=%7B%22docstatus%22:0%7D", &[MANAGER], ""), 200);
    let draft = draft["data"][0]["name"].as_str().expect("a draft order").to_owned();
    assert!(draft.starts_with(order));
    for (function, args, expected) in [
        ("ping", json!({}), json!("pong")),
        ("frappe.client.get_count", json!({"doctype": "Item", "filters": {"item_group": "Lighting"}}), json!(3)),
        (
            "frappe.client.get_value",
            json!({"doctype": "Item", "fieldname": "item_name", "filters": "ITEM-0001"}),
            json!({"item_name": "Oak Desk"}),
        ),
        ("frappe.client.get_value", json!({"doctype": "Item", "fieldname": "[\"name\"]", "filters": "{\"name\":\"x\"}"}), json!({})),
        ("frappe.client.get_single_value", json!({"doctype": "System Settings", "field": "language"}), json!("en")),
        (
            "frappe.client.get_list",
            json!({"doctype": "Lead", "limit_page_length": 1, "fields": ["first_name"]}),
            json!([{"first_name": "Hana"}]),
        ),
        ("frappe.client.has_permission", json!({"doctype": "Item", "docname": "ITEM-0001"}), json!({"has_permission": true})),
        (
            "frappe.client.bulk_update",
            json!({"docs": [{"doctype": "ToDo", "docname": name, "priority": "Low"}]}),
            json!({"failed_docs": []}),
        ),
        (
            "frappe.desk.search.search_link",
            json!({"doctype": "Item", "txt": "0001"}),
            json!([{"value": "ITEM-0001", "description": "Oak Desk"}]),
        ),
        ("frappe.auth.get_logged_user", json!({}), json!("demo@example.com")),
    ] {
        let reply = json_of(&ask(&pocket, "POST", &format!("/api/method/{function}/"), &[MANAGER, JSON], &args.to_string()), 200);
        assert_eq!(reply, json!({"message": expected}), "{function}");
    }
    for (function, args, pointer, expected) in [
        ("frappe.client.get", json!({"doctype": "Item", "filters": {"item_name": "Oak Shelf"}}), "/message/name", "ITEM-0002"),
        ("frappe.client.save", json!({"doc": doc}), "/message/description", "saved"),
        (
            "frappe.client.set_value",
            json!({"doctype": "ToDo", "name": name, "fieldname": "status", "value": "Closed"}),
            "/message/status",
            "Closed",
        ),
        ("frappe.client.insert", json!({"doc": note.to_string()}), "/message/title", "One"),
        ("frappe.client.submit", json!({"doclist": {"doctype": "Sales Order", "name": draft}}), "/message/status", "To Deliver and Bill"),
        ("frappe.client.cancel", json!({"doctype": "Sales Order", "name": draft}), "/message/status", "Cancelled"),
        ("run_doc_method", json!({"dt": "ToDo", "dn": name, "method": "add_comment", "text": "x"}), "/docs/0/name", name.as_str()),
        ("frappe.desk.form.load.getdoc", json!({"doctype": "ToDo", "name": name}), "/docs/0/name", name.as_str()),
    ] {
        let reply = json_of(&ask(&pocket, "POST", &format!("/api/method/{function}"), &[MANAGER, JSON], &args.to_string()), 200);
        assert_eq!(reply.pointer(pointer), Some(&json!(expected)), "{function}: {reply}");
    }
    let v2 = ask(&pocket, "GET", "/api/v2/method/frappe.ping", &[], "");
    assert_eq!(v2.body, r#"{"data":"pong"}"#, "v2 calls it data");
    let deleted =
        ask(&pocket, "POST", "/api/method/frappe.client.delete", &[MANAGER, JSON], &json!({"doctype": "ToDo", "name": name}).to_string());
    assert_eq!(deleted.body, "{}", "T250: a function without a value");
}

#[test]
fn many_documents_are_inserted_together_or_not_at_all() {
    let pocket = pocket();
    let insert = |docs: Value| ask(&pocket, "POST", "/", &[MANAGER, FORM], &format!("cmd=frappe.client.insert_many&docs={docs}"));
    let good = json!({"doctype": "Item", "item_code": "MANY-1"});
    assert_eq!(insert(json!([good])).body, r#"{"message":["MANY-1"]}"#);
    let half = insert(json!([{"doctype": "Item", "item_code": "MANY-2"}, {"doctype": "Item"}]));
    assert_eq!(half.status, 417);
    assert!(!exists(&pocket, "Item", "MANY-2"), "the first is rolled back with the second");
    assert_eq!(insert(Value::Array(vec![good; 201])).status, 417, "more than Frappe takes");
}

#[test]
fn an_upload_becomes_a_file() {
    let multipart = (http::header::CONTENT_TYPE, "multipart/form-data; boundary=b");
    let body = "--b\r\nContent-Disposition: form-data; name=\"is_private\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; \
        filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n";
    let reply = json_of(&ask(&pocket(), "POST", "/api/method/upload_file", &[MANAGER, multipart], body), 200);
    let file = &reply["message"];
    assert_eq!((&file["file_url"], &file["file_size"], &file["is_private"]), (&json!("/private/files/a.txt"), &json!(5), &json!(1)));
    assert_eq!(ask(&pocket(), "POST", "/api/method/upload_file", &[MANAGER, FORM], "").status, 417, "nothing to upload");
}
