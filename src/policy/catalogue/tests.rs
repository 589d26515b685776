//! The catalogue, held against Frappe's own list of whitelisted functions.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use crate::policy::catalogue::{Catalogue, DoctypeAt, Methods, Rpc};
use crate::policy::scope::Effect;
use crate::policy::sensitive::{Protection, protection, rpc_forbidden};

/// What a scan of Frappe 15.44 says of its whitelisted functions; the effects are a heuristic.
#[derive(Deserialize)]
struct Whitelisted {
    path: String,
    methods: String,
    direct_effects: Vec<String>,
}

fn whitelist() -> BTreeMap<String, Whitelisted> {
    let all: Vec<Whitelisted> = serde_json::from_str(include_str!("../../../tests/frappe/whitelist.json")).expect("the list is JSON");
    all.into_iter().map(|function| (function.path.clone(), function)).collect()
}

/// Shorthands and what they stand for; `None` for what v15 no longer has.
const SHORTHANDS: [(&str, Option<&str>); 4] = [
    ("ping", Some("frappe.ping")),
    ("version", None),
    ("upload_file", Some("frappe.handler.upload_file")),
    ("download_file", Some("frappe.handler.download_file")),
];

fn methods_of(function: &Whitelisted) -> Methods {
    ["GET", "POST", "PUT", "DELETE"]
        .into_iter()
        .filter(|method| function.methods.contains(method))
        .filter_map(Methods::named)
        .fold(Methods::NONE, |all, one| all | one)
}

#[test]
fn every_entry_is_a_function_of_frappe_called_as_frappe_lets_it() {
    let (whitelist, catalogue) = (whitelist(), Catalogue::builtin());
    assert!(catalogue.entries().count() >= 120, "{}", catalogue.entries().count());
    for rpc in catalogue.entries() {
        let path = match SHORTHANDS.iter().find(|(name, _)| *name == rpc.name) {
            Some((_, None)) => continue,
            Some((_, Some(path))) => path,
            None => rpc.name.as_ref(),
        };
        let function = whitelist.get(path).unwrap_or_else(|| panic!("{} is no whitelisted function", rpc.name));
        assert!(rpc.methods != Methods::NONE, "{}", rpc.name);
        assert!(methods_of(function).contain(rpc.methods), "{}: Frappe takes {:?}, not {:?}", rpc.name, methods_of(function), rpc.methods);
    }
}

/// Reads that the scan takes for more, and why they are reads.
const READS_AFTER_ALL: [(&str, &str); 2] = [
    ("frappe.desk.search.search_widget", "the scan took `insert` on a list of fields for a document's"),
    ("frappe.core.api.file.get_files_in_folder", "the scan took `insert` on a list of files for a document's"),
];

#[test]
fn no_effect_is_less_than_what_the_scan_saw() {
    let (whitelist, catalogue) = (whitelist(), Catalogue::builtin());
    let excused = |name: &str| READS_AFTER_ALL.iter().any(|(excused, _)| *excused == name);
    for rpc in catalogue.entries() {
        let Some(function) = whitelist.get(rpc.name.as_ref()) else { continue };
        let saw = |effects: &[&str]| function.direct_effects.iter().any(|effect| effects.contains(&effect.as_str()));
        match rpc.effect {
            Effect::Read => assert!(
                !saw(&["write", "delete", "commit", "enqueue", "ddl", "mail", "http", "fs"]) || excused(&rpc.name),
                "{} reads, but: {:?}",
                rpc.name,
                function.direct_effects
            ),
            Effect::Write => assert!(!saw(&["delete"]), "{} writes, but deletes", rpc.name),
            Effect::Delete | Effect::Call => {}
        }
    }
    for (name, why) in READS_AFTER_ALL {
        assert!(catalogue.find(name).is_some(), "{name} needs no excuse ({why})");
    }
}

#[test]
fn only_reads_go_through_by_get() {
    for rpc in Catalogue::builtin().entries() {
        assert_eq!(rpc.methods.allow("GET"), rpc.effect == Effect::Read, "{}", rpc.name);
        assert!(!rpc.methods.allow("DELETE") || rpc.effect == Effect::Delete, "{}", rpc.name);
        assert!(!rpc.methods.allow("HEAD") && !rpc.methods.allow("PATCH") && !rpc.methods.allow("get"), "{}", rpc.name);
    }
}

#[test]
fn nothing_forbidden_has_an_entry() {
    for rpc in Catalogue::builtin().entries() {
        assert!(!rpc_forbidden(&rpc.name), "{}", rpc.name);
        for doctype in &rpc.fixed {
            let closed = match rpc.effect {
                Effect::Read => protection(doctype) == Protection::Forbidden,
                Effect::Write | Effect::Delete | Effect::Call => protection(doctype) != Protection::None,
            };
            assert!(!closed, "{} works on {doctype}", rpc.name);
        }
    }
}

#[test]
fn an_argument_has_one_meaning() {
    for rpc in Catalogue::builtin().entries() {
        let places = rpc.doctypes.iter().chain(&rpc.optional).map(DoctypeAt::argument);
        let arguments: Vec<&str> =
            places.chain(rpc.query.iter().map(|at| at.argument())).chain(rpc.refused_args.iter().map(|name| name.as_ref())).collect();
        let different: HashSet<&str> = arguments.iter().copied().collect();
        assert_eq!(different.len(), arguments.len(), "{}: {arguments:?}", rpc.name);
    }
}

#[test]
fn the_bypasses_of_the_facts_are_closed() {
    let catalogue = Catalogue::builtin();
    for (name, why) in [
        ("frappe.client.get_password", "T503: tells a secret"),
        ("frappe.client.get_js", "reads files, and is deprecated"),
        ("run_doc_method", "R10: runs any method of any document"),
        ("runserverobj", "T223c: its alias"),
        ("frappe.handler.run_doc_method", "R10"),
        ("login", "R17: makes a session"),
        ("logout", "R18"),
        ("frappe.desk.doctype.system_console.system_console.execute_code", "R11: runs SQL"),
        ("frappe.core.doctype.user.user.generate_keys", "T236: a permanent secret"),
        ("frappe.website.doctype.web_form.web_form.delete", "W6: deletes without permission"),
        ("frappe.website.doctype.web_form.web_form.accept", "R24: writes without a token"),
        ("frappe.model.mapper.make_mapped_doc", "runs the function that it is told"),
        ("frappe.desk.treeview.get_all_nodes", "runs the function that it is told"),
        ("frappe.desk.form.linked_with.get", "names the tokens that link to a user"),
        ("uploadfile", "runs the function that it is told"),
        ("frappe.share.set_permission", "adds a share or deletes it, as its value says"),
        ("frappe.desk.form.document_follow.update_follow", "adds or deletes, as its value says"),
        ("frappe.Client.get_list", "Python's names have a case"),
        ("frappe.client.get_list ", "no trimming"),
        ("frappe.client.get_list.junk", "R6: exact names only"),
        ("frappe.client", "a prefix is no name"),
        ("", "nothing"),
    ] {
        assert!(catalogue.find(name).is_none(), "{name}: {why}");
    }
    for (name, effect, methods) in [
        ("frappe.client.get_list", Effect::Read, "GET POST"),
        ("frappe.desk.reportview.delete_items", Effect::Delete, "POST DELETE"),
        ("frappe.client.delete", Effect::Delete, "POST DELETE"),
        ("frappe.desk.form.utils.remove_attach", Effect::Delete, "POST DELETE"),
        ("frappe.client.set_value", Effect::Write, "POST PUT"),
        ("frappe.desk.form.save.savedocs", Effect::Write, "POST PUT"),
        ("frappe.client.cancel", Effect::Write, "POST PUT"),
        ("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs", Effect::Write, "POST PUT"),
        ("upload_file", Effect::Write, "POST PUT"),
        ("frappe.core.doctype.sms_settings.sms_settings.send_sms", Effect::Call, "POST"),
    ] {
        let rpc = catalogue.find(name).unwrap_or_else(|| panic!("{name} has no entry"));
        assert_eq!((rpc.effect, rpc.methods.names().collect::<Vec<_>>().join(" ").as_str()), (effect, methods), "{name}");
    }
}

#[test]
fn what_turns_a_function_into_another_is_refused() {
    let catalogue = Catalogue::builtin();
    for (name, argument) in [
        ("upload_file", "method"),
        ("frappe.handler.upload_file", "method"),
        ("frappe.client.rename_doc", "merge"),
        ("frappe.rename_doc", "merge"),
        ("frappe.rename_doc", "force"),
        ("frappe.model.rename_doc.update_document_title", "merge"),
        ("frappe.desk.search.search_link", "query"),
        ("frappe.desk.search.search_widget", "query"),
        ("frappe.desk.form.assign_to.add", "ignore_permissions"),
        ("frappe.desk.form.assign_to.add", "args"),
        ("frappe.desk.query_report.run", "custom_columns"),
        ("frappe.desk.doctype.dashboard_chart.dashboard_chart.get", "chart"),
        ("frappe.model.workflow.get_transitions", "workflow"),
        ("frappe.utils.print_format.download_pdf", "doc"),
        ("frappe.core.doctype.communication.email.make", "attachments"),
    ] {
        assert!(catalogue.find(name).is_some_and(|rpc| rpc.refuses(argument)), "{name}?{argument}=");
        assert!(catalogue.find(name).is_some_and(|rpc| !rpc.refuses("doctype")), "{name}");
    }
}

#[test]
fn narrow_scopes_stop_where_the_arguments_do_not_tell() {
    let catalogue = Catalogue::builtin();
    for (name, narrow) in [
        ("frappe.client.get_list", true),
        ("frappe.client.insert", true),
        ("upload_file", true),
        ("frappe.desk.form.utils.update_comment", true),
        ("ping", false),
        ("frappe.auth.get_logged_user", false),
        ("frappe.desk.query_report.run", false),
        ("frappe.desk.form.load.getdoc", false),
        ("frappe.utils.global_search.search", false),
        ("frappe.desk.notifications.get_open_count", false),
    ] {
        assert_eq!(catalogue.find(name).map(Rpc::narrow), Some(narrow), "{name}");
    }
}

#[test]
fn the_operators_entries_are_checked_and_win() {
    let quote = || Rpc::new("my_app.api.quote", Effect::Call, Methods::POST);
    let catalogue = Catalogue::builtin()
        .with(vec![quote(), Rpc::new("frappe.client.get_list", Effect::Call, Methods::POST)])
        .expect("both may be added");
    assert_eq!(catalogue.find("my_app.api.quote"), Some(&quote()));
    assert_eq!(catalogue.find("frappe.client.get_list").map(|rpc| rpc.effect), Some(Effect::Call));

    for (entries, error) in [
        (vec![quote(), quote()], "RPC `my_app.api.quote` has two entries: remove one"),
        (
            vec![Rpc::new("my_app.api.quote", Effect::Read, Methods::NONE)],
            "RPC `my_app.api.quote` has no HTTP method: name at least one of GET, POST, PUT and DELETE",
        ),
        (
            vec![Rpc::new("run_doc_method", Effect::Call, Methods::POST)],
            "RPC `run_doc_method` cannot be let through: it would sign in, sign out or run any other method; remove its entry",
        ),
        (
            vec![Rpc::new("login", Effect::Call, Methods::POST)],
            "RPC `login` cannot be let through: it would sign in, sign out or run any other method; remove its entry",
        ),
        (vec![Rpc::new("", Effect::Call, Methods::POST)], "`` is no RPC: write its dotted name, as in `my_app.api.quote`"),
        (vec![Rpc::new("my_app.*", Effect::Call, Methods::POST)], "`my_app.*` is no RPC: write its dotted name, as in `my_app.api.quote`"),
        (
            vec![Rpc::new("my_app..a", Effect::Call, Methods::POST)],
            "`my_app..a` is no RPC: write its dotted name, as in `my_app.api.quote`",
        ),
        (vec![Rpc::new("a.b/c", Effect::Call, Methods::POST)], "`a.b/c` is no RPC: write its dotted name, as in `my_app.api.quote`"),
    ] {
        assert_eq!(Catalogue::builtin().with(entries).err().as_deref(), Some(error));
    }
}

#[test]
fn methods_are_a_set() {
    let some = Methods::GET | Methods::POST;
    assert!(some.allow("GET") && some.allow("POST") && !some.allow("PUT") && !some.allow("FOO") && !some.allow(""));
    assert_eq!(format!("{some:?}"), r#"{"GET", "POST"}"#);
    assert!(some.contain(Methods::NONE) && some.contain(Methods::GET) && !Methods::GET.contain(some));
}
