//! The traps that a gate must close, sprung here without one: each row must really be gone, so that a test of the gate proves something.

use super::{FORM, JSON, MANAGER, ask, exists, json_of, pocket, todo};
use http::HeaderName;
use http::header::CONTENT_TYPE;

/// One way to delete the ToDo that `VICTIM` stands for.
type Trap = (&'static str, &'static str, &'static str, &'static [(HeaderName, &'static str)], &'static str);

const QUERY: &str = "doctype=ToDo&items=%5B%22VICTIM%22%5D";
const MULTIPART: (HeaderName, &str) = (CONTENT_TYPE, "multipart/form-data; boundary=fake");
const VENDOR: (HeaderName, &str) = (CONTENT_TYPE, "application/vnd.fake+json");
const PLAIN: (HeaderName, &str) = (CONTENT_TYPE, "text/plain");
const ITEMS_JSON: &str = r#"{"cmd": "frappe.desk.reportview.delete_items", "doctype": "ToDo", "items": "[\"VICTIM\"]"}"#;
const DELETE_JSON: &str = r#"{"cmd": "frappe.client.delete", "doctype": "ToDo", "name": "VICTIM"}"#;
const MULTIPART_BODY: &str = "--fake\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\nfrappe.client.delete\r\n--fake\r\n\
    Content-Disposition: form-data; name=\"doctype\"\r\n\r\nToDo\r\n--fake\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nVICTIM\r\n--fake--\r\n";

fn spring(trap: &Trap) -> (u16, bool) {
    let (_, method, target, headers, body) = trap;
    let pocket = pocket();
    let victim = todo(&pocket);
    let target = target.replace("QUERY", QUERY).replace("VICTIM", &victim);
    let headers: Vec<_> = [MANAGER].iter().chain(headers.iter()).cloned().collect();
    let reply = ask(&pocket, method, &target, &headers, &body.replace("VICTIM", &victim));
    (reply.status.as_u16(), exists(&pocket, "ToDo", &victim))
}

#[test]
fn every_trap_deletes() {
    let traps: &[Trap] = &[
        ("T200", "GET", "/api/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T201", "GET", "/?cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T202", "GET", "/api/resource/ToDo?cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T203", "GET", "/api/resource/ToDo/VICTIM?cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T204", "GET", "/api/v2/document/ToDo?cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T205", "GET", "/api/resource/ToDo", &[JSON], ITEMS_JSON),
        ("T206", "GET", "/api/resource/ToDo", &[FORM], "cmd=frappe.desk.reportview.delete_items&doctype=ToDo&items=%5B%22VICTIM%22%5D"),
        ("T208", "GET", "/api/%6dethod/frappe%2Edesk%2Ereportview%2Edelete_items?QUERY", &[], ""),
        ("T209", "GET", "//api/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T211", "GET", "/api/v1/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T212", "GET", "/api/v2/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T213", "GET", "/api/method/frappe.desk.reportview.delete_items/anything/resource/ToDo?QUERY", &[], ""),
        ("T214", "GET", "/api%2Fmethod%2Ffrappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T218", "GET", "/api/resource/ToDo?%63m%64=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T219b", "GET", "/api/resource/ToDo?cmd=frappe.desk.reportview.delete_items&cmd=&QUERY", &[], ""),
        ("T219c", "POST", "/api/resource/ToDo?cmd=frappe.ping", &[FORM], "cmd=frappe.client.delete&doctype=ToDo&name=VICTIM"),
        ("T250", "POST", "/api/method/frappe.client.delete", &[JSON], r#"{"doctype": "ToDo", "name": "VICTIM"}"#),
        ("T251", "POST", "/api/resource/ToDo", &[JSON], DELETE_JSON),
        ("T252", "POST", "/api/resource/ToDo?cmd=frappe.client.delete&doctype=ToDo&name=VICTIM", &[FORM], "description=x"),
        ("T253", "PUT", "/api/resource/ToDo/VICTIM", &[JSON], ITEMS_JSON),
        ("T255", "POST", "/api/resource/ToDo", &[VENDOR], DELETE_JSON),
        ("T256", "POST", "/api/resource/ToDo", &[MULTIPART], MULTIPART_BODY),
        ("T258", "POST", "/api/resource/ToDo", &[JSON], r#"{"cmd":"","cmd":"frappe.client.delete","doctype":"ToDo","name":"VICTIM"}"#),
        ("T259", "POST", "/api/resource/ToDo", &[JSON], r#"{"c\u006dd":"frappe.client.delete","doctype":"ToDo","name":"VICTIM"}"#),
        ("T262", "POST", "/api/method/frappe.desk.reportview.delete_items", &[JSON], r#"{"doctype": "ToDo", "items": "[\"VICTIM\"]"}"#),
        ("T287", "POST", "/api/resource/ToDo", &[PLAIN, JSON], DELETE_JSON),
        ("T238", "PUT", "/api/method/upload_file?method=frappe.client.delete&doctype=ToDo&name=VICTIM", &[], ""),
        ("T181", "DELETE", "/api/resource/ToDo/VICTIM", &[], ""),
        ("T124", "DELETE", "/api/v2/document/ToDo/VICTIM", &[], ""),
        ("T280g: names have no case", "DELETE", "/api/resource/ToDo/VICTIM%00/", &[], ""),
    ];
    for trap in traps {
        let (status, still_there) = spring(trap);
        assert!((200..300).contains(&status) && !still_there, "{}: {status}", trap.0);
    }
}

#[test]
fn what_did_nothing_on_a_real_site_does_nothing_here() {
    let traps: &[Trap] = &[
        ("T210: an inner double slash", "GET", "/api//method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T215: dots are not resolved", "GET", "/api/resource/../method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T219: the first cmd is empty", "GET", "/api/resource/ToDo?cmd=&cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T220: ; does not separate", "GET", "/api/resource/ToDo?x=1;cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T239: not with GET", "GET", "/api/method/frappe.client.delete?doctype=ToDo&name=VICTIM", &[], ""),
        ("T240: not with HEAD", "HEAD", "/api/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("T254: not with PUT", "PUT", "/api/method/frappe.client.delete", &[JSON], r#"{"doctype": "ToDo", "name": "VICTIM"}"#),
        ("T257: no Content-Type", "POST", "/api/resource/ToDo", &[], DELETE_JSON),
        ("T265: not with PATCH", "PATCH", "/api/resource/ToDo", &[JSON], ITEMS_JSON),
        ("T266: nor with FOO", "FOO", "/api/resource/ToDo?cmd=frappe.desk.reportview.delete_items&QUERY", &[], ""),
        ("T283: text/plain", "POST", "/api/resource/ToDo", &[PLAIN], DELETE_JSON),
        ("an API in upper case", "GET", "/API/method/frappe.desk.reportview.delete_items?QUERY", &[], ""),
        ("a GET that does not commit", "GET", "/api/method/upload_file?method=frappe.client.delete&doctype=ToDo&name=VICTIM", &[], ""),
    ];
    for trap in traps {
        let (status, still_there) = spring(trap);
        assert!(still_there, "{}: {status}", trap.0);
    }
}

#[test]
fn other_effects_than_the_method_says() {
    let pocket = pocket();
    let victim = todo(&pocket);
    let bulk = "frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs?doctype=ToDo&action=update";
    for (case, method, description) in [("T221", "GET", "changed by GET"), ("T270", "DELETE", "changed by DELETE")] {
        let data = format!("%7B%22description%22%3A%22{}%22%7D", description.replace(' ', "+"));
        let target = format!("/api/method/{bulk}&docnames=%5B%22{victim}%22%5D&data={data}");
        assert_eq!(ask(&pocket, method, &target, &[MANAGER], "").body, r#"{"message":[]}"#, "{case}");
        let read = json_of(&ask(&pocket, "GET", &format!("/api/resource/ToDo/{victim}"), &[MANAGER], ""), 200);
        assert_eq!(read["data"]["description"], description, "{case}");
    }

    let save = r#"{"cmd": "frappe.desk.form.save.savedocs", "doc": "{\"doctype\": \"ToDo\", \"name\": \"new-todo-1\", \"description\": \"created\", \"__islocal\": 1}", "action": "Save"}"#;
    let reply = json_of(&ask(&pocket, "DELETE", "/api/resource/ToDo/nosuch", &[MANAGER, JSON], save), 200);
    let created = reply["docs"][0]["name"].as_str().expect("a name");
    assert!(exists(&pocket, "ToDo", created), "T271: a DELETE creates");

    let comment = format!("/api/resource/ToDo/{victim}?run_method=add_comment&text=hello");
    for (case, method, kept) in [("T227: a GET answers and rolls back", "GET", false), ("T226b: a POST is no update", "POST", true)] {
        let reply = json_of(&ask(&pocket, method, &comment, &[MANAGER], ""), 200);
        assert_eq!(reply["data"]["content"], "hello", "{case}");
        let name = reply["data"]["name"].as_str().expect("a name");
        assert_eq!(exists(&pocket, "Comment", name), kept, "{case}");
    }

    let secret = "/api/method/frappe.client.get_password?doctype=User&name=demo@example.com&fieldname=api_secret";
    assert_eq!(ask(&pocket, "GET", secret, &[MANAGER], "").body, r#"{"message":"not-a-real-secret"}"#, "T503");
    let tokens = ask(&pocket, "GET", "/api/resource/OAuth%20Bearer%20Token?fields=%5B%22refresh_token%22%5D", &[MANAGER], "");
    assert_eq!(tokens.body, r#"{"data":[{"refresh_token":"not-a-real-refresh-token"}]}"#, "T500");
}
