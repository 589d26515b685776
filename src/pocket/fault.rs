//! Everything pocket ERP refuses, in Frappe's exact shapes: `exc_type` and `_server_messages` on v1, `errors[]` on v2.
//!
//! The site behaves as with `allow_error_traceback` on, Frappe's default, so that `exception` and `exc` are there to be cut by a gate.

use std::fmt::Write as _;

use aws_lc_rs::rand;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::pocket::reply::{Cookies, Reply, Spacing, python_json};

/// Which exception Frappe would have raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Authentication,
    Permission,
    DoesNotExist,
    DuplicateEntry,
    Validation,
    Mandatory,
    LinkValidation,
    LinkExists,
    UniqueValidation,
    TimestampMismatch,
    DocstatusTransition,
    Data,
    JsonDecode,
    Key,
    Type,
    Attribute,
    Import,
    Programming,
    Operational,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Kind::Authentication => StatusCode::UNAUTHORIZED,
            Kind::Permission => StatusCode::FORBIDDEN,
            Kind::DoesNotExist => StatusCode::NOT_FOUND,
            Kind::DuplicateEntry => StatusCode::CONFLICT,
            Kind::Validation
            | Kind::Mandatory
            | Kind::LinkValidation
            | Kind::LinkExists
            | Kind::UniqueValidation
            | Kind::TimestampMismatch
            | Kind::DocstatusTransition
            | Kind::Data => StatusCode::EXPECTATION_FAILED,
            Kind::JsonDecode | Kind::Key | Kind::Type | Kind::Attribute | Kind::Import | Kind::Programming | Kind::Operational => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The module and class as a Python traceback names them.
    fn python_name(self) -> &'static str {
        match self {
            Kind::Authentication => "frappe.exceptions.AuthenticationError",
            Kind::Permission => "frappe.exceptions.PermissionError",
            Kind::DoesNotExist => "frappe.exceptions.DoesNotExistError",
            Kind::DuplicateEntry => "frappe.exceptions.DuplicateEntryError",
            Kind::Validation => "frappe.exceptions.ValidationError",
            Kind::Mandatory => "frappe.exceptions.MandatoryError",
            Kind::LinkValidation => "frappe.exceptions.LinkValidationError",
            Kind::LinkExists => "frappe.exceptions.LinkExistsError",
            Kind::UniqueValidation => "frappe.exceptions.UniqueValidationError",
            Kind::TimestampMismatch => "frappe.exceptions.TimestampMismatchError",
            Kind::DocstatusTransition => "frappe.exceptions.DocstatusTransitionError",
            Kind::Data => "frappe.exceptions.DataError",
            Kind::JsonDecode => "json.decoder.JSONDecodeError",
            Kind::Key => "KeyError",
            Kind::Type => "TypeError",
            Kind::Attribute => "AttributeError",
            // Recorded as `Error: No module named ...`, with `ImportError` as the type only (T110).
            Kind::Import => "ImportError",
            Kind::Programming => "pymysql.err.ProgrammingError",
            Kind::Operational => "pymysql.err.OperationalError",
        }
    }

    fn exc_type(self) -> &'static str {
        let name = self.python_name();
        name.rsplit_once('.').map_or(name, |(_, class)| class)
    }
}

/// One refusal, as the exception and the messages that Frappe would have left.
#[derive(Debug, Clone)]
pub(super) struct Fault(Box<Raised>);

/// Behind a box, so that a `Result` stays small.
#[derive(Debug, Clone)]
struct Raised {
    kind: Kind,
    /// What stands after the class in the last line of the traceback; empty for an exception without text.
    text: String,
    messages: Vec<Value>,
    error_message: Option<String>,
    /// Set as `message` in the body: what a failed login says.
    login_message: Option<&'static str>,
    cookies: Option<Cookies>,
}

impl Fault {
    /// An exception that was raised bare, without a message for the user.
    pub fn bare(kind: Kind, text: impl Into<String>) -> Fault {
        let text = text.into();
        Fault(Box::new(Raised { kind, text, messages: Vec::new(), error_message: None, login_message: None, cookies: None }))
    }

    /// `frappe.throw(text)`: the exception and a red message of the same text.
    pub fn thrown(kind: Kind, text: impl Into<String>) -> Fault {
        Fault::titled(kind, "Message", text)
    }

    pub fn titled(kind: Kind, title: &str, text: impl Into<String>) -> Fault {
        let text = text.into();
        let message = json!({"message": text, "title": title, "indicator": "red", "raise_exception": 1, "__frappe_exc_id": random_hex()});
        let mut fault = Fault::bare(kind, text);
        fault.0.messages.push(message);
        fault
    }

    pub fn with_message(mut self, message: Value) -> Fault {
        self.0.messages.push(message);
        self
    }

    pub fn with_error_message(mut self, text: impl Into<String>) -> Fault {
        self.0.error_message = Some(text.into());
        self
    }

    /// The cookies of this refusal, where they are not those of the request's session.
    pub fn with_cookies(mut self, cookies: Cookies) -> Fault {
        self.0.cookies = Some(cookies);
        self
    }

    /// A wrong password (T02): refused before there is a session, so no cookie is set.
    pub fn bad_login() -> Fault {
        let mut fault = Fault::bare(Kind::Authentication, "").with_cookies(Cookies::None);
        fault.0.login_message = Some("Invalid login credentials");
        fault
    }

    /// A credential that is not known (T130): the session cookies are erased.
    pub fn bad_credential() -> Fault {
        Fault::bare(Kind::Authentication, "").with_cookies(Cookies::Cleared)
    }

    /// A path that no route knows (T111): no message.
    pub fn no_route() -> Fault {
        Fault::bare(Kind::DoesNotExist, "")
    }

    pub fn not_found(doctype: &str, name: &str) -> Fault {
        Fault::thrown(Kind::DoesNotExist, format!("{doctype} {name} not found"))
    }

    /// A list that the user may not see (T401, T404).
    pub fn list_forbidden(user: &str, doctype: &str) -> Fault {
        Fault::bare(Kind::Permission, "")
            .with_message(json!({"message": no_role(user, doctype), "title": "Message"}))
            .with_error_message(format!("No permission for {doctype}"))
    }

    /// A document that the user may not read, write or create (T113).
    pub fn document_forbidden(user: &str, doctype: &str, name: &str, permission: &str) -> Fault {
        let mut text = no_role(user, doctype);
        if !name.is_empty() {
            let _ = write!(text, "<br>User <strong>{user}</strong> does not have access to this document: {doctype} - {name}");
        }
        Fault::bare(Kind::Permission, "")
            .with_message(json!({"message": text, "title": "Message"}))
            .with_error_message(format!("Insufficient Permission for {doctype} (<strong>{permission}</strong>)"))
    }

    /// A document that the user may not delete (T182).
    pub fn delete_forbidden(user: &str, doctype: &str, name: &str) -> Fault {
        let reason = format!(
            "Not allowed via controller permission check<br>User <strong>{user}</strong> does not have access to this document: {doctype} - {name}"
        );
        let mut fault = Fault::thrown(Kind::Permission, format!("User not allowed to delete {doctype}: {name}"));
        fault.0.messages.insert(0, json!({"message": reason, "title": "Message"}));
        fault
    }

    /// A whitelisted function called by a guest (T402).
    pub fn not_whitelisted(function: &str) -> Fault {
        let text = format!(
            "<details><summary>You are not permitted to access this resource.</summary>Function <strong>{function}</strong> is not whitelisted.</details>"
        );
        Fault::titled(Kind::Permission, "Method Not Allowed", text)
    }

    /// A function called with an HTTP method that it does not take (T239, T240).
    pub fn not_permitted() -> Fault {
        Fault::thrown(Kind::Permission, "Not permitted")
    }

    /// A doctype whose controller cannot be imported, because there is no such doctype (T110).
    pub fn no_doctype_module(doctype: &str) -> Fault {
        let module = doctype.to_lowercase().replace([' ', '-'], "_");
        Fault::bare(Kind::Import, format!("No module named 'frappe.core.doctype.{module}'"))
    }

    pub fn messages(&self) -> &[Value] {
        &self.0.messages
    }

    /// The answer on v1 routes and outside `/api`.
    pub fn into_v1(self, session: Cookies) -> Reply {
        let mut body = Map::new();
        if let Some(message) = self.0.login_message {
            body.insert("message".to_owned(), message.into());
        }
        // Frappe never shows the traceback of a 404 (T109).
        let traced = self.0.kind != Kind::DoesNotExist;
        if traced {
            body.insert("exception".to_owned(), self.exception_line().into());
        }
        body.insert("exc_type".to_owned(), self.0.kind.exc_type().into());
        if traced {
            let traceback = python_json(&json!([self.traceback()]), Spacing::Spaced);
            body.insert("exc".to_owned(), traceback.into());
        }
        if !self.0.messages.is_empty() {
            body.insert("_server_messages".to_owned(), server_messages(&self.0.messages));
        }
        if let Some(text) = self.0.error_message {
            body.insert("_error_message".to_owned(), text.into());
        }
        Reply::json(self.0.kind.status(), &Value::Object(body)).with_cookies(self.0.cookies.unwrap_or(session))
    }

    /// The answer on `/api/v2` routes: the last message belongs to the exception, earlier ones stand beside it.
    pub fn into_v2(mut self, session: Cookies) -> Reply {
        let mut error = Map::new();
        error.insert("type".to_owned(), self.0.kind.exc_type().into());
        if self.0.kind != Kind::DoesNotExist {
            error.insert("exception".to_owned(), self.traceback().into());
        }
        let own = self.0.messages.pop();
        for key in ["message", "title", "indicator"] {
            if let Some(value) = own.as_ref().and_then(|message| message.get(key)) {
                error.insert(key.to_owned(), value.clone());
            }
        }
        let mut body = json!({"errors": [error]});
        if !self.0.messages.is_empty() {
            body["messages"] = self.0.messages.into();
        }
        Reply::json(self.0.kind.status(), &body).with_cookies(self.0.cookies.unwrap_or(session))
    }

    /// The page that a browser gets in place of JSON (T417).
    pub fn into_page(self, session: Cookies) -> Reply {
        let (title, text) = match self.0.kind {
            Kind::Authentication => ("Session Expired", "Your session has expired, please login again to continue."),
            Kind::Permission => ("Not Permitted", "You do not have enough permissions to access this resource."),
            _ => ("Server Error", "There was an error building this page."),
        };
        Reply::page(self.0.kind.status(), title, text).with_cookies(self.0.cookies.unwrap_or(session))
    }

    /// The last line of the traceback.
    pub fn exception_line(&self) -> String {
        let name = if self.0.kind == Kind::Import { "Error" } else { self.0.kind.python_name() };
        if self.0.text.is_empty() { name.to_owned() } else { format!("{name}: {}", self.0.text) }
    }

    fn traceback(&self) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"apps/frappe/frappe/app.py\", line 114, in application\n    \
             response = frappe.api.handle(request)\n               ^^^^^^^^^^^^^^^^^^^^^^^^^^\n{}\n",
            self.exception_line()
        )
    }
}

/// `_server_messages`: a JSON list of JSON texts, as one text.
pub(super) fn server_messages(messages: &[Value]) -> Value {
    let texts: Vec<Value> = messages.iter().map(|message| python_json(message, Spacing::Spaced).into()).collect();
    python_json(&Value::Array(texts), Spacing::Spaced).into()
}

/// 56 hexadecimal digits, the length of Frappe's session and exception ids.
pub(super) fn random_hex() -> String {
    random_bytes::<28>().iter().fold(String::with_capacity(56), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Ten characters, as in the names that Frappe makes up for documents.
pub(super) fn random_name() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    random_bytes::<10>().iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the random source of the operating system, once seeded, does not fail");
    bytes
}

fn no_role(user: &str, doctype: &str) -> String {
    format!("User <strong>{user}</strong> does not have doctype access via role permission for document <strong>{doctype}</strong>")
}
