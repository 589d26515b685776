//! `allow_sensitive`: the names that may stand there. A name that is not sensitive opens nothing, so it is a typing error.

use crate::config::report::alike;

/// Doctypes that are forbidden even to `all` (FACTS 2.4 rule 6): they hold credentials, or run what is written into them.
const DOCTYPES: [&str; 27] = [
    "Bulk Update",
    "Client Script",
    "Connected App",
    "Custom DocPerm",
    "Custom Field",
    "Custom Role",
    "Data Import",
    "DocPerm",
    "DocType",
    "Email Account",
    "Integration Request",
    "OAuth Authorization Code",
    "OAuth Bearer Token",
    "OAuth Client",
    "OAuth Provider Settings",
    "OAuth Settings",
    "Property Setter",
    "Role Profile",
    "Scheduled Job Type",
    "Server Script",
    "Social Login Key",
    "System Console",
    "System Settings",
    "Token Cache",
    "User",
    "User Permission",
    "Webhook",
];

/// RPCs that are forbidden even to `all`.
const RPCS: [&str; 4] = [
    "frappe.client.get_password",
    "frappe.core.doctype.user.user.generate_keys",
    "frappe.core.doctype.user.user.update_password",
    "frappe.desk.doctype.system_console.system_console.execute_code",
];

/// The name of a sensitive doctype or RPC, as Frappe writes it.
pub fn name(text: &str) -> Result<Box<str>, String> {
    let names = || DOCTYPES.into_iter().chain(RPCS);
    if names().any(|name| name == text) {
        return Ok(text.into());
    }
    let remedy = match alike(text, names()) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "remove it: what is not sensitive needs no leave".to_owned(),
    };
    Err(format!("`{text}` is not a sensitive doctype or function; {remedy}"))
}
