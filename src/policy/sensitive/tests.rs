//! What is closed, in whatever spelling.

use proptest::prelude::{any, proptest};
use unicode_normalization::UnicodeNormalization;

use crate::policy::sensitive::Protection::{Forbidden, NoWrite, None as Open};
use crate::policy::sensitive::doctypes::PROTECTED;
use crate::policy::sensitive::rpcs::{FORBIDDEN, FORBIDDEN_BELOW};
use crate::policy::sensitive::{FOLDED_MAX, fold, protection, rpc_forbidden, rpc_impossible, same_doctype, secret_field};

#[test]
fn the_tables_can_be_searched() {
    assert!(PROTECTED.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(FORBIDDEN.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(FORBIDDEN_BELOW.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(FORBIDDEN_BELOW.iter().all(|prefix| prefix.ends_with('.')));
    for (name, wanted) in PROTECTED {
        assert!(name.len() < FOLDED_MAX, "{name}");
        assert_eq!(fold(name).as_deref(), Some(*name));
        assert_eq!(protection(name), *wanted, "{name}");
    }
}

#[test]
fn doctypes_are_protected_by_what_they_hold() {
    for (doctype, wanted, why) in [
        ("OAuth Bearer Token", Forbidden, "T500, R19: live tokens"),
        ("OAuth Client", Forbidden, "T504: client secrets"),
        ("OAuth Authorization Code", Forbidden, "T505: live codes"),
        ("Token Cache", Forbidden, "FACTS 2.4 rule 6"),
        ("Connected App", Forbidden, "FACTS 2.4 rule 6"),
        ("Social Login Key", Forbidden, "FACTS 2.4 rule 6"),
        ("Server Script", Forbidden, "R13: runs code"),
        ("System Console", Forbidden, "R11: runs code"),
        ("Bulk Update", Forbidden, "R8: writes any doctype"),
        ("Data Import", Forbidden, "writes any doctype"),
        ("Scheduled Job Type", Forbidden, "T234: runs methods"),
        ("System Settings", Forbidden, "decides on sign-in"),
        ("Email Account", Forbidden, "a password"),
        ("Email Queue", Forbidden, "mails with links that reset a password"),
        ("Integration Request", Forbidden, "requests with their credentials"),
        ("Deleted Document", Forbidden, "every field of what was deleted"),
        ("DefaultValue", Forbidden, "the second factor"),
        ("Webhook Header", Forbidden, "a child is as closed as its parent"),
        ("User", NoWrite, "W11, T236, T506: passwords, keys, roles"),
        ("Has Role", NoWrite, "T264: roles of a user, saved on their own"),
        ("Role", NoWrite, "privileges"),
        ("Custom DocPerm", NoWrite, "privileges"),
        ("User Permission", NoWrite, "privileges"),
        ("DocType", NoWrite, "schema, permissions"),
        ("Custom Field", NoWrite, "schema"),
        ("Property Setter", NoWrite, "schema"),
        ("Report", NoWrite, "SQL and scripts"),
        ("Print Format", NoWrite, "templates read every table"),
        ("Notification", NoWrite, "conditions and templates"),
        ("Workflow", NoWrite, "conditions"),
        ("Version", NoWrite, "evidence"),
        ("Activity Log", NoWrite, "evidence"),
        ("Lead", Open, ""),
        ("ToDo", Open, ""),
        ("Sales Order", Open, ""),
        ("Sales Invoice Item", Open, ""),
        ("Item", Open, ""),
        ("Customer", Open, ""),
        ("Contact", Open, ""),
        ("Employee", Open, ""),
        ("GL Entry", Open, ""),
        ("Stock Entry", Open, ""),
        ("Salary Slip", Open, ""),
        ("C-Form", Open, ""),
        ("POS Closing Entry Taxes", Open, ""),
        ("Process Statement Of Accounts", Open, ""),
        ("Terms and Conditions", Open, ""),
        ("File", Open, ""),
        ("Comment", Open, ""),
        ("Communication", Open, ""),
        ("Event", Open, ""),
        ("Note", Open, ""),
        ("DocShare", Open, ""),
        ("User Group", Open, "a name that begins like a protected one"),
        ("Report Item", Open, "likewise"),
        ("Usernames", Open, "likewise"),
        ("Übersicht", Open, "other alphabets"),
        ("販売 注文", Open, "other alphabets"),
        ("A Doctype With A Name Longer Than Every Protected One Is Open", Open, "beyond the buffer"),
    ] {
        assert_eq!(protection(doctype), wanted, "{doctype}: {why}");
    }
}

#[test]
fn no_spelling_gets_around_the_protection() {
    for (doctype, why) in [
        ("OAUTH BEARER TOKEN", "case"),
        ("oauth bearer token", "case"),
        (" OAuth Bearer Token", "space before"),
        ("OAuth Bearer Token   ", "T145: the collation pads"),
        ("OAuth  Bearer\tToken", "space within"),
        ("OAuth\u{a0}Bearer\u{a0}Token", "no-break space"),
        ("OAuth\u{3000}Bearer\u{2009}Token", "other spaces"),
        ("OAuth_Bearer_Token", "as Frappe scrubs it"),
        ("oauth-bearer-token", "as a route"),
        ("OAuth\u{2010}Bearer\u{2212}Token", "other dashes"),
        ("O\u{200b}Auth Bearer To\u{ad}ken\u{feff}", "no width"),
        ("OAuth Béarer Tökèn", "accents"),
        ("OAuth Bea\u{301}rer Token", "accents of their own"),
        ("ＯＡｕｔｈ　Ｂｅａｒｅｒ　Ｔｏｋｅｎ", "full width"),
        ("𝐎𝐀𝐮𝐭𝐡 𝐁𝐞𝐚𝐫𝐞𝐫 𝐓𝐨𝐤𝐞𝐧", "mathematical"),
        ("OAuth Bearer To\u{212a}en", "the Kelvin sign"),
        ("OAuth Bearer Tøken", "stroke"),
        ("ⓞauth bearer token", "circled"),
        ("SYSTEM SETTİNGS", "dotted capital"),
        ("system settıngs", "dotless"),
        ("Token Cache\0", "T280p: NUL weighs nothing, and no name has one"),
        ("Sy\u{17f}tem Con\u{17f}ole", "long s"),
        ("Webhook Headeŕ", "accent"),
        ("__Auth", "password hashes: a name with `__` is a bare table"),
        (" __Auth", "likewise"),
        ("__UserSettings", "likewise"),
        ("\u{ff3f}\u{ff3f}Auth", "likewise, in full width"),
        ("Sessions", "session ids"),
        ("Singles", "every settings page"),
        ("", "nothing"),
        ("  ", "nothing"),
        ("\u{200b}", "nothing to see"),
        ("ToDo` where 1=1 -- ", "SQL"),
        ("ToDo`, `tabOAuth Bearer Token", "SQL"),
        ("{\"doctype\": \"User\"}", "a document for a name"),
        ("[\"User\"]", "a list for a name"),
        ("User;", "no name"),
        ("User%00", "no name"),
        ("User\\", "no name"),
        ("User\u{7f}", "no name"),
        ("a/b", "no name"),
        ("ÜToDo`", "no name, and not ASCII"),
    ] {
        assert_eq!(protection(doctype), Forbidden, "{doctype:?}: {why}");
    }
    for doctype in ["user", "USER", " User ", "Usér", "Ｕｓｅｒ", "us\u{200d}er", "Has_Role", "has role", "HAS-ROLE"] {
        assert_eq!(protection(doctype), NoWrite, "{doctype:?}");
    }
    assert_eq!(protection(&"x".repeat(10_000)), Forbidden);
    assert_eq!(protection(&format!("User{}", " ".repeat(100))), NoWrite);
    assert_eq!(protection(&"é".repeat(10_000)), Forbidden);
}

#[test]
fn exceptions_are_found_in_any_spelling() {
    for (one, other, same) in [
        ("Email Account", "email-account", true),
        ("Email Account", "EMAIL ACCOUNT ", true),
        ("Email Account", "Emáil Account", true),
        ("Email Account", "Email Accounts", false),
        ("Email Account", "EmailAccount", false),
        ("__Auth", "__Auth", false),
        ("", "", false),
    ] {
        assert_eq!(same_doctype(one, other), same, "{one:?} {other:?}");
    }
}

proptest! {
    /// The fast path and the thorough one agree.
    #[test]
    fn ascii_is_folded_as_the_rest_is(name in "[ -~\t]{0,70}") {
        let thorough = fold(&name).map_or(Forbidden, |folded| {
            PROTECTED.iter().find(|(protected, _)| *protected == folded).map_or(Open, |(_, protection)| *protection)
        });
        assert_eq!(protection(&name), thorough);
    }

    /// No text makes it panic, and composing or decomposing it changes nothing.
    #[test]
    fn any_text_is_judged(name in any::<String>()) {
        let composed: String = name.nfc().collect();
        let decomposed: String = name.nfd().collect();
        assert_eq!(protection(&composed), protection(&decomposed));
        secret_field(&name);
        rpc_forbidden(&name);
    }
}

#[test]
fn secrets_are_known_by_name() {
    for field in [
        "api_key",
        "api_secret",
        "API_SECRET",
        "client_secret",
        "access_token",
        "refresh_token",
        "password",
        "new_password",
        "reset_password_key",
        "otp_secret",
        "webhook_secret",
        "indexing_refresh_token",
        "app_secret_key",
        "secret_access_key",
        "authorization_code",
        "indexing_authorization_code",
        "owner.api_key",
        "`tabUser`.`api_key`",
        "`tabUser`.`api_secret` as name",
        "max(api_secret) as m",
        "name,api_secret",
        "modified desc, api_key asc",
        "sam@example.com_otpsecret",
        "api\u{5f}\u{212a}ey",
        "ａｐｉ＿ｋｅｙ",
        "[\"name\",\"api_key\"]",
    ] {
        assert!(secret_field(field), "{field}");
    }
    for field in [
        "",
        "name",
        "*",
        "modified desc",
        "item_code",
        "key_account",
        "secretary",
        "tokens_used",
        "token_type",
        "email",
        "count(*) as total",
        "`tabLead`.`lead_name`",
        "territory.parent_territory",
        "last_password_reset_date",
        "keyword",
        "monkey",
        "größe",
    ] {
        assert!(!secret_field(field), "{field}");
    }
}

#[test]
fn forbidden_functions_are_forbidden_under_every_name() {
    for name in [
        "frappe.client.get_password",
        "run_doc_method",
        "runserverobj",
        "login",
        "logout",
        "uploadfile",
        "frappe.handler.run_doc_method",
        "frappe.api.v2.run_doc_method",
        "my_app.api.run_doc_method",
        "my_app.api.get_password",
        "frappe.core.doctype.user.user.generate_keys",
        "frappe.core.doctype.user.user.update_password",
        "frappe.core.doctype.user.user.impersonate",
        "frappe.integrations.oauth2.get_token",
        "frappe.integrations.oauth2.approve",
        "frappe.integrations.oauth2_logins.login_via_google",
        "frappe.integrations.oauth2.register_client",
        "frappe.www.login.login_via_key",
        "frappe.twofactor.reset_otp_secret",
        "frappe.utils.backups.get_backup_encryption_key",
        "frappe.utils.backups.fetch_latest_backups",
        "frappe.desk.doctype.system_console.system_console.execute_code",
        "frappe.core.doctype.server_script.server_script.enabled",
        "frappe.core.doctype.data_import.data_import.form_start_import",
        "frappe.core.doctype.data_export.exporter.export_data",
        "frappe.core.doctype.scheduled_job_type.scheduled_job_type.execute_event",
        "frappe.core.doctype.deleted_document.deleted_document.restore",
        "frappe.core.page.permission_manager.permission_manager.add",
        "frappe.custom.doctype.custom_field.custom_field.rename_fieldname",
        "frappe.model.mapper.make_mapped_doc",
        "frappe.desk.treeview.get_all_nodes",
        "frappe.website.doctype.web_form.web_form.delete",
        "frappe.www.third_party_apps.delete_client",
        "frappe.recorder.export_data",
        "frappe.utils.print_format.report_to_pdf",
    ] {
        assert!(rpc_forbidden(name), "{name}");
    }
    for name in [
        "",
        "ping",
        "upload_file",
        "frappe.client.get_list",
        "frappe.core.doctype.communication.email.make",
        "frappe.core.doctype.username.x",
        "frappe.integrationsx.y",
        "my_app.integrations.oauth2.x",
        "my_app.api.login",
        "frappe.desk.reportview.get",
    ] {
        assert!(!rpc_forbidden(name), "{name}");
    }
    for name in ["login", "logout", "web_logout", "run_doc_method", "runserverobj", "frappe.handler.logout"] {
        assert!(rpc_impossible(name), "{name}");
    }
    assert!(!rpc_impossible("frappe.client.get_password"), "a site may open it");
}
