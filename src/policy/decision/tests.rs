//! Scopes against operations.

use super::{NamedScopes, slug, sufficient};
use crate::policy::classify::tests::{FORM, JSON, NONE, classify, rules};
use crate::policy::refusal::Reason;
use crate::policy::scope::Scopes;

fn named() -> NamedScopes {
    let scopes = |text: &str| Scopes::parse(text).expect("scopes");
    NamedScopes::new([
        ("crm".into(), scopes("read:lead write:lead call:my_app.crm.*")),
        ("reader".into(), scopes("read")),
        ("everything".into(), scopes("all")),
        ("outer".into(), scopes("crm pages")),
        ("itself".into(), scopes("itself read:note")),
        ("who".into(), scopes("openid")),
    ])
}

/// Method, target, content type, body; the scopes that allow it; those that do not. Several scopes in one text are those of one token.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);

/// Method, target, content type, body; the scopes that are named; the one in the challenge.
type Denied<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], &'a str);

fn allows(scopes: &str, method: &str, target: &str, content_type: &str, body: &str) -> bool {
    let (rules, scopes) = (rules(), Scopes::parse(scopes).expect(scopes));
    let read = classify(&rules, method, target, content_type, body.as_bytes())
        .unwrap_or_else(|refusal| panic!("{method} {target} {body}: {refusal}"));
    named().decide(&scopes, &read.operation).is_ok()
}

#[test]
#[rustfmt::skip]
fn scopes_allow_what_they_say_and_nothing_more() {
    const LIST: &str = "/api/resource/Lead";
    const ONE: &str = "/api/resource/Lead/x";
    const GET_LIST: &str = "/api/method/frappe.client.get_list";
    const MANY: &str = "/api/method/frappe.client.insert_many";
    let cases: &[Row<'_>] = &[
        ("GET", LIST, NONE, "",
            &["read", "all", "read:lead", "read:note read:lead", "crm", "reader", "everything", "openid read"],
            &["", "write", "delete", "write delete", "write:lead", "delete:lead", "read:note", "read:leads", "openid profile email", "call:frappe.*", "call:frappe.client.get_list", "outer", "itself", "who", "unknown"]),
        ("HEAD", ONE, NONE, "", &["read", "read:lead", "all"], &["write", "write:lead"]),
        ("POST", LIST, JSON, "{}", &["write", "all", "write:lead", "crm"], &["read", "delete", "read:lead", "read delete", "reader"]),
        ("PUT", ONE, JSON, "{}", &["write", "write:lead", "crm"], &["read", "delete:lead", "write:note"]),
        ("PATCH", "/api/v2/document/Lead/x", JSON, "{}", &["write", "write:lead"], &["read", "delete"]),
        ("DELETE", ONE, NONE, "", &["delete", "delete:lead", "all", "everything"], &["read", "write", "read write", "crm", "write:lead"]),
        ("GET", "/api/v2/doctype/Lead/meta", NONE, "", &["read", "read:lead"], &["read:doctype", "write:lead"]),
        ("GET", "/api/v2/doctype/Lead/count", NONE, "", &["read", "read:lead"], &["read:note"]),
        ("GET", "/api/resource/Sales%20Order", NONE, "", &["read:sales-order"], &["read:sales_order", "read:sales", "read:salesorder", "read:order"]),
        ("GET", "/api/resource/GSTR-1%20Log", NONE, "", &["read:gstr-1-log"], &["read:gstr-1"]),
        ("GET", "/api/resource/Gr%C3%96%C3%9Fe", NONE, "", &["read:größe"], &["read:grosse"]),

        // Functions, by what they do and to what.
        ("GET", "/api/method/frappe.client.get_list?doctype=Lead", NONE, "",
            &["read", "read:lead", "all", "crm", "call:frappe.client.get_list", "call:frappe.*", "call:frappe.client.*"],
            &["write", "write:lead", "read:note", "call:frappe.client.get", "call:frappe.client.get_list.*", "call:frappe", "call:client.*", "call:frappe.desk.*"]),
        ("POST", GET_LIST, JSON, r#"{"doctype":"Lead"}"#, &["read:lead"], &["write", "write:lead"]),
        ("POST", GET_LIST, JSON, r#"{"doctype":"Lead","parent":"Note"}"#, &["read", "read:lead read:note"], &["read:lead", "read:note"]),
        ("POST", MANY, JSON, r#"{"docs":[{"doctype":"Lead"},{"doctype":"Note"}]}"#, &["write", "write:lead write:note", "crm write:note"], &["write:lead", "write:note", "read", "write:lead read:note"]),
        ("POST", "/api/method/frappe.client.insert", FORM, r#"doc={"doctype":"Lead","parenttype":"Note"}"#, &["write:lead write:note"], &["write:lead", "write:note"]),
        ("POST", "/api/method/frappe.client.delete", FORM, "doctype=Lead&name=x", &["delete", "delete:lead", "all"], &["write", "write:lead", "read"]),
        ("POST", "/", FORM, "cmd=frappe.client.delete&doctype=Lead&name=x", &["delete", "delete:lead"], &["write", "read"]),
        ("GET", "/api/method/frappe.auth.get_logged_user", NONE, "", &["read", "all", "call:frappe.auth.get_logged_user"], &["write", "read:lead", "read:user", "openid"]),
        ("GET", "/api/method/frappe.desk.form.load.getdoc?doctype=Lead&name=x", NONE, "", &["read"], &["read:lead"]),
        ("POST", "/api/method/upload_file", FORM, "doctype=Lead", &["write", "write:file write:lead"], &["write:file", "write:lead"]),

        // A call is no effect: neither broad scope buys it.
        ("POST", "/api/method/my_app.crm.assign", JSON, "{}",
            &["all", "everything", "call:my_app.crm.assign", "call:my_app.*", "crm"],
            &["read", "write", "delete", "read write delete", "call:my_app.crm", "call:my_app.crm.assign_all", "call:my_app.crmx.*", "read:lead", "outer"]),
        ("GET", "/api/method/fake_api", NONE, "", &["call:fake_api", "all"], &["read", "call:fake_api.*", "call:fake"]),
        ("POST", "/api/method/frappe.core.doctype.sms_settings.sms_settings.send_sms", JSON, "{}", &["all", "call:frappe.*"], &["write", "read write delete"]),

        // What a list would see beside its own fields.
        ("GET", "/api/resource/Lead?filters=[[\"Note\",\"title\",\"=\",\"x\"]]", NONE, "", &["read", "read:lead read:note", "all"], &["read:lead", "read:lead write:note", "read:note"]),
        ("GET", "/api/resource/Lead?fields=[\"`tabNote`.`title`\"]", NONE, "", &["read", "read:lead read:note"], &["read:lead"]),
        ("GET", "/api/resource/Lead?order_by=`tabNote`.`title`", NONE, "", &["read", "read:lead read:note"], &["read:lead"]),
        ("GET", "/api/resource/Lead?group_by=`tabNote`.`title`", NONE, "", &["read", "read:lead read:note"], &["read:lead"]),
        ("GET", "/api/resource/Lead?or_filters=[[\"Note\",\"title\",\"=\",\"x\"]]", NONE, "", &["read"], &["read:lead"]),
        ("GET", "/api/resource/Lead?fields=[\"lead_owner.full_name\"]", NONE, "", &["read", "all", "reader"], &["read:lead", "read:lead read:user", "crm"]),
        ("GET", "/api/resource/Lead?filters={\"lead_owner.full_name\":\"x\"}", NONE, "", &["read"], &["read:lead"]),
        ("GET", "/api/resource/Lead?fields=[\"items.item_code\"]", NONE, "", &["read"], &["read:lead"]),
        ("GET", "/api/method/frappe.client.get_list?doctype=Lead&fields=[\"tabNote.title\"]", NONE, "", &["read", "read:lead read:note"], &["read:lead"]),
        ("PUT", ONE, JSON, r#"{"parenttype":"Note","parent":"y"}"#, &["write"], &["write:lead", "write:lead write:note"]),

        // Paths that the operator opened.
        ("GET", "/files/a.png", NONE, "", &["read", "reader", "all", "everything"], &["write", "read:file", "pages", "call:files", "openid"]),
        ("GET", "/about", NONE, "", &["pages", "read pages", "all"], &["read", "outer", "page", "crm"]),
    ];
    for (method, target, content_type, body, allowed, denied) in cases {
        for scopes in *allowed {
            assert!(allows(scopes, method, target, content_type, body), "`{scopes}` allows {method} {target} {body}");
        }
        for scopes in *denied {
            assert!(!allows(scopes, method, target, content_type, body), "`{scopes}` does not allow {method} {target} {body}");
        }
    }
}

#[test]
fn all_opens_nothing_that_is_forbidden() {
    // Refused before any scope is asked.
    for target in [
        "/api/resource/OAuth%20Bearer%20Token",
        "/api/method/frappe.client.get_password",
        "/api/method/login",
        "/api/resource/Lead?fields=[\"api_secret\"]",
    ] {
        assert!(classify(&rules(), "GET", target, NONE, b"").is_err(), "{target}");
    }
}

#[test]
fn a_denial_names_the_scopes_that_would_do() {
    #[rustfmt::skip]
    let cases: &[Denied<'_>] = &[
        ("GET", "/api/resource/Sales%20Order", NONE, "", &["read:sales-order", "read", "all"], "read"),
        ("DELETE", "/api/resource/Lead/x", NONE, "", &["delete:lead", "delete", "all"], "delete"),
        ("GET", "/api/resource/Lead?fields=[\"a.b\"]", NONE, "", &["read", "all"], "read"),
        ("GET", "/api/resource/Lead?order_by=`tabNote`.`a`", NONE, "", &["read", "all"], "read"),
        ("POST", "/api/method/frappe.client.delete", FORM, "doctype=Lead&name=x", &["delete:lead", "call:frappe.client.delete", "delete", "all"], "delete"),
        ("GET", "/api/method/ping", NONE, "", &["call:ping", "read", "all"], "read"),
        ("POST", "/api/method/my_app.x", JSON, "{}", &["call:my_app.x", "all"], "call:my_app.x"),
        ("GET", "/about", NONE, "", &["pages", "all"], "pages"),
    ];
    for (method, target, content_type, body, expected, needed) in cases {
        let rules = rules();
        let read = classify(&rules, method, target, content_type, body.as_bytes()).expect(target);
        let told = sufficient(&read.operation);
        assert_eq!(told, *expected, "{method} {target}");
        for scope in told {
            assert!(allows(&scope, method, target, content_type, body), "`{scope}` was named for {method} {target}");
        }
        let refusal = named().decide(&Scopes::parse("openid").expect("a scope"), &read.operation).expect_err(target);
        assert_eq!((refusal.reason, refusal.scope.as_deref()), (Reason::InsufficientScope, Some(*needed)), "{method} {target}");
    }
}

#[test]
fn a_body_is_read_only_for_scopes_that_could_allow_something() {
    let could = |scopes: &str| named().foresee(&Scopes::parse(scopes).expect(scopes)).is_ok();
    for scopes in ["read", "delete", "write", "all", "write:lead", "read:lead", "crm", "everything", "call:a.b", "openid read"] {
        assert!(could(scopes), "{scopes}");
    }
    for scopes in ["", "openid", "openid profile email", "who", "unknown"] {
        assert!(!could(scopes), "{scopes}");
    }
}

#[test]
fn slugs_are_frappes() {
    for (doctype, expected) in
        [("ToDo", "todo"), ("Sales Order", "sales-order"), ("GSTR-1 Log", "gstr-1-log"), ("e-Invoice Log", "e-invoice-log")]
    {
        assert_eq!(slug(doctype), expected);
    }
}
