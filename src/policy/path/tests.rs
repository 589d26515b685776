//! Paths that are read, and paths that are refused.

use proptest::prelude::*;

use super::{is_doctype, is_rpc_name, parse};
use crate::policy::refusal::Reason::{self, DocumentMethod, PathInvalid, RouteUnknown};

/// What was read, in a form that a table can hold.
fn read(raw: &str) -> Result<String, Reason> {
    parse(raw).map(|route| format!("{route:?}")).map_err(|refusal| refusal.reason)
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    #[rustfmt::skip]
    let cases: &[(&str, &str, Reason)] = &[
        // R6: what reached other code on a running site.
        ("T208: a letter of a route word encoded", "/api/%6dethod/frappe.client.get_list", RouteUnknown),
        ("T208: a dot of the name encoded", "/api/method/frappe%2Eclient%2Eget_list", RouteUnknown),
        ("T208: the first word encoded, which an opened `/` would let through", "/%61pi/method/frappe.client.delete", RouteUnknown),
        ("T209: two slashes in front", "//api/method/frappe.client.get_list", PathInvalid),
        ("T210: two slashes within", "/api//method/frappe.client.get_list", PathInvalid),
        ("T212, W: v2 has a method of a doctype's controller", "/api/v2/method/ToDo/delete", RouteUnknown),
        ("T213, T280m: Frappe cuts what follows the name", "/api/method/frappe.client.get_list/anything/resource/ToDo", RouteUnknown),
        ("T213 with v1", "/api/v1/method/ping/x", RouteUnknown),
        ("T214: encoded slashes make a route", "/api%2Fmethod%2Fping", PathInvalid),
        ("T214: in lower case", "/api%2fmethod%2fping", PathInvalid),
        ("T215: a dot segment", "/api/resource/../method/ping", PathInvalid),
        ("T215: encoded dots", "/api/resource/%2e%2e/method/ping", PathInvalid),
        ("T215: half encoded dots", "/api/resource/.%2E/method/ping", PathInvalid),
        ("T215: a single dot", "/api/./resource/ToDo", PathInvalid),
        ("T215: dots at the end", "/api/resource/ToDo/..", PathInvalid),
        ("T216: absolute form is not a path", "http://fake.test/api/method/ping", PathInvalid),
        ("T217: a raw fragment", "/api/method/ping#/api/resource/ToDo", PathInvalid),
        ("T280a-q: a query is not a path", "/api/resource/ToDo?x=1", PathInvalid),
        ("T280q: three slashes", "///api/resource/ToDo/x", PathInvalid),
        ("T280e: two trailing slashes", "/api/resource/ToDo//", PathInvalid),
        ("T280b: a trailing space", "/api/resource/ToDo%20", RouteUnknown),
        ("T280b: a leading space", "/api/resource/%20ToDo", RouteUnknown),
        ("T280d: `+` is no space in a path", "/api/resource/System+Settings/System%20Settings", RouteUnknown),
        ("T280h: an encoded slash splits the doctype", "/api/resource/ToDo%2Fx", PathInvalid),
        ("T280i: encoded twice", "/api/resource/ToDo%252Fx", PathInvalid),
        ("T280i: a dot segment encoded twice", "/api/resource/%252e%252e/x", PathInvalid),
        ("T280i: encoded twice in a name", "/api/resource/ToDo/a%2541", PathInvalid),
        ("T280n: a parameter behind the doctype", "/api/resource/ToDo;x=1", RouteUnknown),
        ("T280p: NUL", "/api/resource/ToDo/x%00", PathInvalid),
        ("T280p: NUL behind the doctype", "/api/resource/ToDo%00", PathInvalid),
        ("a line break, for a log or a header", "/api/resource/ToDo/a%0d%0aX:%20y", PathInvalid),
        ("DEL", "/api/resource/ToDo/%7F", PathInvalid),
        ("a C1 control", "/api/resource/ToDo/%C2%85", PathInvalid),
        ("a backslash, which some take for a slash", "/api\\method\\ping", PathInvalid),
        ("an encoded backslash", "/api/resource/ToDo%5Cx", PathInvalid),
        ("a raw space", "/api/resource/Sales Order", PathInvalid),
        ("a raw tab", "/api/resource/To\tDo", PathInvalid),
        ("a raw letter beyond ASCII", "/api/resource/Größe", PathInvalid),
        ("a raw NUL", "/api/resource/\0", PathInvalid),
        ("`%` without digits", "/api/resource/ToDo/100%", PathInvalid),
        ("`%` with one digit", "/api/resource/ToDo/%4", PathInvalid),
        ("`%` with other letters", "/api/resource/ToDo/%u0041", PathInvalid),
        ("`%` with a sign", "/api/resource/ToDo/%+1", PathInvalid),
        ("not UTF-8", "/api/resource/ToDo/%ff", PathInvalid),
        ("an overlong slash", "/api/resource/ToDo/%c0%af", PathInvalid),
        ("a surrogate", "/api/resource/ToDo/%ed%a0%80", PathInvalid),
        ("half a character", "/api/resource/ToDo/%c3", PathInvalid),
        ("nothing", "", PathInvalid),
        ("no slash in front", "api/resource/ToDo", PathInvalid),
        ("authority form", "fake.test:443", PathInvalid),
        ("asterisk form", "*", PathInvalid),
        // Routes that Frappe has not, or that lead elsewhere.
        ("T111", "/api/nosuch", RouteUnknown),
        ("no doctype", "/api/resource", RouteUnknown),
        ("no doctype, with its slash", "/api/resource/", RouteUnknown),
        ("no name of an RPC", "/api/method/", RouteUnknown),
        ("an API of the future", "/api/v3/document/ToDo", RouteUnknown),
        ("v1's word in v2", "/api/v2/resource/ToDo", RouteUnknown),
        ("v2's word in v1", "/api/v1/document/ToDo", RouteUnknown),
        ("v2's word without a version", "/api/document/ToDo", RouteUnknown),
        ("meta is v2's", "/api/doctype/ToDo/meta", RouteUnknown),
        ("neither meta nor count", "/api/v2/doctype/ToDo", RouteUnknown),
        ("something else of a doctype", "/api/v2/doctype/ToDo/fields", RouteUnknown),
        ("something behind meta", "/api/v2/doctype/ToDo/meta/count", RouteUnknown),
        ("a doctype with a slash", "/api/v2/doctype/To/Do/count", RouteUnknown),
        ("the version twice", "/api/v1/v1/resource/ToDo", RouteUnknown),
        ("a route word in capitals: no effect in Frappe", "/api/Resource/ToDo", RouteUnknown),
        ("a doctype no one can create: a quote", "/api/resource/To'Do", RouteUnknown),
        ("a doctype no one can create: a backtick, for SQL", "/api/resource/ToDo%60", RouteUnknown),
        ("a doctype with a joiner in it", "/api/resource/To%E2%80%8BDo", RouteUnknown),
        ("an RPC with an empty part", "/api/method/frappe..client", RouteUnknown),
        ("an RPC that ends in a dot", "/api/method/frappe.client.", RouteUnknown),
        ("an RPC with a hyphen", "/api/method/frappe.client.get-list", RouteUnknown),
        ("an RPC with a parameter", "/api/method/ping;x=1", RouteUnknown),
        ("an RPC with `+`", "/api/method/ping+", RouteUnknown),
        // Methods of documents.
        ("T224b", "/api/v2/document/ToDo/x/method/rename", DocumentMethod),
        ("T224b with its slash", "/api/v2/document/ToDo/x/method/rename/", DocumentMethod),
        ("T224b on a name with slashes", "/api/v2/document/ToDo/a/b/method/rename", DocumentMethod),
        ("T224b, encoded", "/api/v2/document/ToDo/x/m%65thod/rename", DocumentMethod),
        ("newer Frappe copies a document", "/api/v2/document/ToDo/x/copy", DocumentMethod),
    ];
    for (why, raw, reason) in cases {
        assert_eq!(read(raw), Err(*reason), "{why}: {raw}");
    }
    let long = format!("/api/resource/ToDo/{}", "x".repeat(561));
    assert_eq!(read(&long), Err(PathInvalid), "a name longer than Frappe keeps");
    let long = format!("/api/resource/{}", "x".repeat(561));
    assert_eq!(read(&long), Err(RouteUnknown), "a doctype longer than Frappe keeps");
}

#[test]
fn what_clients_send_is_read() {
    #[rustfmt::skip]
    let cases: &[(&str, &str)] = &[
        ("/", "Root"),
        ("/api/resource/ToDo", r#"Doctype { api: Bare, doctype: "ToDo" }"#),
        // T280f.
        ("/api/resource/ToDo/", r#"Doctype { api: Bare, doctype: "ToDo" }"#),
        ("/api/v1/resource/ToDo", r#"Doctype { api: V1, doctype: "ToDo" }"#),
        ("/api/v2/document/ToDo", r#"Doctype { api: V2, doctype: "ToDo" }"#),
        // T280c.
        ("/api/resource/To%44o", r#"Doctype { api: Bare, doctype: "ToDo" }"#),
        ("/api/resource/Sales%20Order", r#"Doctype { api: Bare, doctype: "Sales Order" }"#),
        ("/api/resource/GSTR-1%20Log", r#"Doctype { api: Bare, doctype: "GSTR-1 Log" }"#),
        ("/api/resource/Gr%C3%B6%c3%9fe", r#"Doctype { api: Bare, doctype: "Größe" }"#),
        ("/api/resource/ToDo/pak2hpj3uf", r#"Document { api: Bare, doctype: "ToDo", name: "pak2hpj3uf" }"#),
        // T280e.
        ("/api/resource/ToDo/x/", r#"Document { api: Bare, doctype: "ToDo", name: "x" }"#),
        ("/api/v1/resource/ToDo/x", r#"Document { api: V1, doctype: "ToDo", name: "x" }"#),
        ("/api/v2/document/ToDo/x", r#"Document { api: V2, doctype: "ToDo", name: "x" }"#),
        ("/api/resource/Sales%20Invoice/SINV/2024/001", r#"Document { api: Bare, doctype: "Sales Invoice", name: "SINV/2024/001" }"#),
        ("/api/resource/Item/50%25%20wool", r#"Document { api: Bare, doctype: "Item", name: "50% wool" }"#),
        ("/api/resource/Item/what%3F", r#"Document { api: Bare, doctype: "Item", name: "what?" }"#),
        ("/api/resource/Item/%23%201", r##"Document { api: Bare, doctype: "Item", name: "# 1" }"##),
        ("/api/resource/Item/a+b;c=d&e", r#"Document { api: Bare, doctype: "Item", name: "a+b;c=d&e" }"#),
        ("/api/resource/User/sam.fake%40example.test", r#"Document { api: Bare, doctype: "User", name: "sam.fake@example.test" }"#),
        ("/api/resource/Item/%E2%82%AC%20%F0%9F%A6%80", r#"Document { api: Bare, doctype: "Item", name: "€ 🦀" }"#),
        ("/api/resource/Item/...", r#"Document { api: Bare, doctype: "Item", name: "..." }"#),
        ("/api/resource/Item/.hidden", r#"Document { api: Bare, doctype: "Item", name: ".hidden" }"#),
        // Methods of documents are v2's; in v1 these are names.
        ("/api/resource/ToDo/x/method/rename", r#"Document { api: Bare, doctype: "ToDo", name: "x/method/rename" }"#),
        ("/api/resource/ToDo/x/copy", r#"Document { api: Bare, doctype: "ToDo", name: "x/copy" }"#),
        ("/api/v2/document/ToDo/method/x", r#"Document { api: V2, doctype: "ToDo", name: "method/x" }"#),
        ("/api/v2/document/ToDo/copy", r#"Document { api: V2, doctype: "ToDo", name: "copy" }"#),
        ("/api/v2/document/ToDo/a/method/b/c", r#"Document { api: V2, doctype: "ToDo", name: "a/method/b/c" }"#),
        ("/api/v2/doctype/Sales%20Order/meta", r#"Meta { doctype: "Sales Order" }"#),
        ("/api/v2/doctype/ToDo/count/", r#"Count { doctype: "ToDo" }"#),
        ("/api/method/ping", r#"Rpc { api: Bare, name: "ping" }"#),
        ("/api/method/frappe.client.get_list/", r#"Rpc { api: Bare, name: "frappe.client.get_list" }"#),
        ("/api/v1/method/ping", r#"Rpc { api: V1, name: "ping" }"#),
        ("/api/v2/method/ping", r#"Rpc { api: V2, name: "ping" }"#),
        ("/files/a%20b.png", r#"Other { path: "/files/a b.png" }"#),
        // Not Frappe's `/api/`, which it compares exactly.
        ("/API/method/ping", r#"Other { path: "/API/method/ping" }"#),
        ("/api", r#"Other { path: "/api" }"#),
        ("/apis/x", r#"Other { path: "/apis/x" }"#),
    ];
    for (raw, expected) in cases {
        assert_eq!(read(raw).as_deref(), Ok(*expected), "{raw}");
    }
}

#[test]
fn one_spelling_goes_upstream() {
    #[rustfmt::skip]
    let cases: &[(&str, &str)] = &[
        ("/api/resource/To%44o/", "/api/resource/ToDo"),
        ("/api/resource/Item/%41%c3%b6%2B", "/api/resource/Item/A%C3%B6+"),
        ("/api/resource/Item/a\"<b>^`{|}", "/api/resource/Item/a%22%3Cb%3E%5E%60%7B%7C%7D"),
        ("/api/resource/Item/50%25%20wool", "/api/resource/Item/50%25%20wool"),
        ("/api/v2/method/ping/", "/api/v2/method/ping"),
        ("/api/v2/doctype/Sales%20Order/meta/", "/api/v2/doctype/Sales%20Order/meta"),
        ("/files/%61/", "/files/a/"),
    ];
    for (raw, expected) in cases {
        assert_eq!(parse(raw).expect(raw).to_path(), *expected, "{raw}");
    }
}

#[test]
fn names_are_those_frappe_lets_people_choose() {
    for name in ["ToDo", "Sales Order", "GSTR-1 Log", "DocType", "Größe", "A"] {
        assert!(is_doctype(name), "{name}");
    }
    for name in ["", " ", "ToDo ", " ToDo", "To/Do", "To.Do", "ToDo`", "To\0Do", "To\u{a0}Do", "ToDo\n", "`tabUser`", "User;", "User--'"] {
        assert!(!is_doctype(name), "{name:?}");
    }
    for name in ["ping", "frappe.client.get_list", "_x.y1"] {
        assert!(is_rpc_name(name), "{name}");
    }
    for name in ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a%2eb", "pïng", "a-b"] {
        assert!(!is_rpc_name(name), "{name:?}");
    }
}

/// Pieces that have meant something to somebody.
pub(in crate::policy) fn nasty_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "/", "api", "/api/", "v1/", "v2/", "resource", "document", "doctype", "method", "/method/", "ToDo", "Sales%20Order", "meta", "count",
            "ping", "frappe.client.get_list", ".", "..", "%2e", "%2F", "%5c", "%00", "%25", "%2541", "%", "%C3%B6", "%ff", "+", ";x=1", "copy", "~",
        ])
        .prop_map(str::to_owned),
        1 => "[!-~]{0,6}",
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
        1 => any::<char>().prop_map(String::from),
    ];
    let head =
        prop::sample::select(vec!["", "/", "/api/resource/", "/api/v2/document/ToDo/", "/api/method/", "/api/resource/ToDo/", "/files/"]);
    (head, prop::collection::vec(piece, 0..6)).prop_map(|(head, pieces)| format!("{head}{}", pieces.concat()))
}

proptest! {
    #[test]
    fn no_path_panics(raw in any::<String>()) {
        let _ = parse(&raw);
        let _ = parse(&format!("/api/resource/{raw}"));
    }

    #[test]
    fn what_is_accepted_reads_the_same_again(raw in nasty_path()) {
        if let Ok(route) = parse(&raw) {
            let path = route.to_path();
            let again = parse(&path);
            prop_assert_eq!(again.as_ref(), Ok(&route), "{} -> {}", raw, path);
            prop_assert_eq!(again.expect("compared").to_path(), path.clone(), "one spelling only");
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", path);
        }
    }

    #[test]
    fn encoding_any_letter_of_a_name_changes_nothing(name in "[A-Za-z0-9 ~äß€-]{1,12}", at in any::<u64>(), lower in any::<bool>()) {
        prop_assume!(name.trim() == name);
        let spell = |which: u64| -> String {
            name.bytes().enumerate().map(|(index, byte)| match (byte.is_ascii_alphanumeric(), which >> (index % 64) & 1, lower) {
                (true, 0, _) => char::from(byte).to_string(),
                (_, _, true) => format!("%{byte:02x}"),
                _ => format!("%{byte:02X}"),
            }).collect()
        };
        let (one, other) = (format!("/api/resource/Item/{}", spell(0)), format!("/api/resource/Item/{}", spell(at)));
        prop_assert_eq!(parse(&one), parse(&other));
    }
}
