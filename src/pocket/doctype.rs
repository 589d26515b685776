//! The DocTypes of pocket ERP: fields, naming, who may touch them.
//!
//! A handful from ERPNext to play with, and a few of Frappe's own that a gate must never let through (tokens, clients, scripts):
//! they are here with invented rows so that a leak would show.

use serde_json::{Value, json};

/// One kind of document.
#[derive(Debug)]
pub(super) struct DocType {
    pub name: &'static str,
    pub module: &'static str,
    pub naming: Naming,
    pub shape: Shape,
    pub access: Access,
    pub renamable: bool,
    pub fields: &'static [Field],
}

/// How a new document gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Ten random characters.
    Random,
    /// `PREFIX-<year>-00001`.
    Series(&'static str),
    /// The value of one field.
    Field(&'static str),
}

/// What its documents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// Has the states draft, submitted and cancelled.
    Submittable,
    /// Its rows live inside their parents.
    Child,
    /// Has exactly one document, named like the doctype.
    Single,
}

/// Who may touch its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Every user may read, write and create; only a System Manager deletes.
    Users,
    /// System Managers only.
    Managers,
}

/// One column of a doctype, or one child table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub kind: FieldKind,
    pub required: bool,
    pub unique: bool,
    pub default: Option<&'static str>,
}

/// What a column holds; a link and a table name another doctype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    Data,
    Text,
    Date,
    Int,
    Check,
    Currency,
    Select(&'static [&'static str]),
    Link(&'static str),
    Table(&'static str),
}

/// The columns that every document has, before its own.
pub(super) const STANDARD_COLUMNS: [&str; 7] = ["name", "owner", "creation", "modified", "modified_by", "docstatus", "idx"];

/// The columns that tie a child row to its parent.
pub(super) const CHILD_COLUMNS: [&str; 3] = ["parent", "parentfield", "parenttype"];

impl DocType {
    /// Exact in case and spaces, as Frappe's lookup is (T280a, T280b).
    pub fn find(name: &str) -> Option<&'static DocType> {
        DOCTYPES.iter().find(|doctype| doctype.name == name)
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub fn has_column(&self, name: &str) -> bool {
        STANDARD_COLUMNS.contains(&name)
            || (self.shape == Shape::Child && CHILD_COLUMNS.contains(&name))
            || self.field(name).is_some_and(|field| !matches!(field.kind, FieldKind::Table(_)))
    }

    /// The child tables: field and doctype of their rows.
    pub fn tables(&self) -> impl Iterator<Item = (&'static Field, &'static DocType)> {
        self.fields.iter().filter_map(|field| match field.kind {
            FieldKind::Table(child) => Some((field, DocType::find(child)?)),
            _ => None,
        })
    }

    /// What `/api/v2/doctype/<doctype>/meta` shows.
    pub fn meta(&self) -> Value {
        let autoname = match self.naming {
            Naming::Random => "hash".to_owned(),
            Naming::Series(prefix) => format!("{prefix}-.YYYY.-.#####"),
            Naming::Field(field) => format!("field:{field}"),
        };
        json!({
            "name": self.name,
            "module": self.module,
            "autoname": autoname,
            "istable": u8::from(self.shape == Shape::Child),
            "issingle": u8::from(self.shape == Shape::Single),
            "is_submittable": u8::from(self.shape == Shape::Submittable),
            "allow_rename": u8::from(self.renamable),
            "fields": self.fields.iter().map(Field::meta).collect::<Vec<_>>(),
            "doctype": "DocType",
        })
    }
}

impl Field {
    fn meta(&self) -> Value {
        let (fieldtype, options) = match self.kind {
            FieldKind::Data => ("Data", String::new()),
            FieldKind::Text => ("Text Editor", String::new()),
            FieldKind::Date => ("Date", String::new()),
            FieldKind::Int => ("Int", String::new()),
            FieldKind::Check => ("Check", String::new()),
            FieldKind::Currency => ("Currency", String::new()),
            FieldKind::Select(choices) => ("Select", choices.join("\n")),
            FieldKind::Link(target) => ("Link", target.to_owned()),
            FieldKind::Table(child) => ("Table", child.to_owned()),
        };
        json!({
            "fieldname": self.name,
            "label": self.label,
            "fieldtype": fieldtype,
            "options": options,
            "reqd": u8::from(self.required),
            "unique": u8::from(self.unique),
            "default": self.default,
            "doctype": "DocField",
        })
    }

    const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    const fn unique(mut self) -> Field {
        self.unique = true;
        self
    }

    /// `Today` stands for the date of the day.
    const fn or(mut self, default: &'static str) -> Field {
        self.default = Some(default);
        self
    }
}

const fn field(name: &'static str, label: &'static str, kind: FieldKind) -> Field {
    Field { name, label, kind, required: false, unique: false, default: None }
}

const fn data(name: &'static str, label: &'static str) -> Field {
    field(name, label, FieldKind::Data)
}

const fn link(name: &'static str, label: &'static str, target: &'static str) -> Field {
    field(name, label, FieldKind::Link(target))
}

const fn select(name: &'static str, label: &'static str, choices: &'static [&'static str]) -> Field {
    field(name, label, FieldKind::Select(choices))
}

const fn doctype(name: &'static str, module: &'static str, naming: Naming, fields: &'static [Field]) -> DocType {
    DocType { name, module, naming, shape: Shape::Plain, access: Access::Users, renamable: false, fields }
}

impl DocType {
    const fn shape(mut self, shape: Shape) -> DocType {
        self.shape = shape;
        self
    }

    const fn managers_only(mut self) -> DocType {
        self.access = Access::Managers;
        self
    }

    const fn renamable(mut self) -> DocType {
        self.renamable = true;
        self
    }
}

pub(super) static DOCTYPES: &[DocType] = &[
    doctype("Item", "Stock", Naming::Field("item_code"), ITEM).renamable(),
    doctype("Lead", "CRM", Naming::Series("CRM-LEAD"), LEAD),
    doctype("Customer", "Selling", Naming::Field("customer_name"), CUSTOMER).renamable(),
    doctype("Sales Order", "Selling", Naming::Series("SAL-ORD"), SALES_ORDER).shape(Shape::Submittable),
    doctype("Sales Order Item", "Selling", Naming::Random, SALES_ORDER_ITEM).shape(Shape::Child),
    doctype("ToDo", "Desk", Naming::Random, TODO),
    doctype("Note", "Desk", Naming::Random, NOTE),
    doctype("Comment", "Core", Naming::Random, COMMENT),
    doctype("File", "Core", Naming::Random, FILE),
    doctype("User", "Core", Naming::Field("email"), USER).managers_only(),
    doctype("Has Role", "Core", Naming::Random, HAS_ROLE).shape(Shape::Child),
    doctype("Role", "Core", Naming::Field("role_name"), ROLE).managers_only().renamable(),
    doctype("System Settings", "Core", Naming::Random, SYSTEM_SETTINGS).shape(Shape::Single).managers_only(),
    doctype("Server Script", "Core", Naming::Field("script_name"), SERVER_SCRIPT).managers_only(),
    doctype("OAuth Client", "Integrations", Naming::Field("client_id"), OAUTH_CLIENT).managers_only(),
    doctype("OAuth Bearer Token", "Integrations", Naming::Field("access_token"), OAUTH_BEARER_TOKEN).managers_only(),
    doctype("OAuth Authorization Code", "Integrations", Naming::Field("authorization_code"), OAUTH_AUTHORIZATION_CODE).managers_only(),
];

const ITEM: &[Field] = &[
    data("item_code", "Item Code").required(),
    data("item_name", "Item Name"),
    data("item_group", "Item Group").or("Products"),
    data("stock_uom", "Default Unit of Measure").or("Nos"),
    field("standard_rate", "Standard Selling Rate", FieldKind::Currency).or("0"),
    field("is_stock_item", "Maintain Stock", FieldKind::Check).or("1"),
    field("disabled", "Disabled", FieldKind::Check).or("0"),
    field("description", "Description", FieldKind::Text),
];

const LEAD_STATES: &[&str] =
    &["Lead", "Open", "Replied", "Opportunity", "Quotation", "Lost Quotation", "Interested", "Converted", "Do Not Contact"];

const LEAD: &[Field] = &[
    data("first_name", "First Name"),
    data("last_name", "Last Name"),
    data("lead_name", "Full Name").required(),
    data("company_name", "Organization Name"),
    data("email_id", "Email"),
    data("mobile_no", "Mobile No"),
    data("source", "Source"),
    data("territory", "Territory"),
    select("status", "Status", LEAD_STATES).or("Lead"),
    link("lead_owner", "Lead Owner", "User"),
];

const CUSTOMER: &[Field] = &[
    data("customer_name", "Customer Name").required(),
    select("customer_type", "Customer Type", &["Company", "Individual", "Partnership"]).required().or("Company"),
    data("customer_group", "Customer Group").or("Commercial"),
    data("territory", "Territory").or("All Territories"),
    data("email_id", "Email Id"),
    data("mobile_no", "Mobile No"),
    field("disabled", "Disabled", FieldKind::Check).or("0"),
];

const SALES_ORDER_STATES: &[&str] = &["Draft", "On Hold", "To Deliver and Bill", "Completed", "Cancelled", "Closed"];

const SALES_ORDER: &[Field] = &[
    link("customer", "Customer", "Customer").required(),
    data("customer_name", "Customer Name"),
    select("order_type", "Order Type", &["Sales", "Maintenance", "Shopping Cart"]).or("Sales"),
    field("transaction_date", "Date", FieldKind::Date).required().or("Today"),
    field("delivery_date", "Delivery Date", FieldKind::Date),
    data("currency", "Currency").or("EUR"),
    field("total_qty", "Total Quantity", FieldKind::Currency).or("0"),
    field("grand_total", "Grand Total", FieldKind::Currency).or("0"),
    select("status", "Status", SALES_ORDER_STATES).or("Draft"),
    field("items", "Items", FieldKind::Table("Sales Order Item")).required(),
];

const SALES_ORDER_ITEM: &[Field] = &[
    link("item_code", "Item Code", "Item").required(),
    data("item_name", "Item Name"),
    field("qty", "Quantity", FieldKind::Currency).required().or("1"),
    data("uom", "UOM").or("Nos"),
    field("rate", "Rate", FieldKind::Currency).or("0"),
    field("amount", "Amount", FieldKind::Currency).or("0"),
];

const TODO: &[Field] = &[
    select("status", "Status", &["Open", "Closed", "Cancelled"]).or("Open"),
    select("priority", "Priority", &["High", "Medium", "Low"]).or("Medium"),
    field("date", "Due Date", FieldKind::Date).or("Today"),
    link("allocated_to", "Allocated To", "User"),
    field("description", "Description", FieldKind::Text).required(),
    data("reference_type", "Reference Type"),
    data("reference_name", "Reference Name"),
];

const NOTE: &[Field] = &[
    data("title", "Title").required().unique(),
    field("public", "Public", FieldKind::Check).or("0"),
    field("content", "Content", FieldKind::Text),
];

const COMMENT: &[Field] = &[
    select("comment_type", "Comment Type", &["Comment", "Like", "Info", "Label", "Workflow", "Created", "Deleted"]).or("Comment"),
    data("comment_email", "Comment Email"),
    field("published", "Published", FieldKind::Check).or("0"),
    field("seen", "Seen", FieldKind::Check).or("0"),
    data("reference_doctype", "Reference Document Type"),
    data("reference_name", "Reference Name"),
    field("content", "Content", FieldKind::Text),
];

const FILE: &[Field] = &[
    data("file_name", "File Name"),
    field("is_private", "Is Private", FieldKind::Check).or("0"),
    data("file_url", "File URL"),
    field("file_size", "File Size", FieldKind::Int).or("0"),
    data("folder", "Folder").or("Home"),
    data("attached_to_doctype", "Attached To DocType"),
    data("attached_to_name", "Attached To Name"),
];

const USER: &[Field] = &[
    field("enabled", "Enabled", FieldKind::Check).or("1"),
    data("email", "Email").required(),
    data("first_name", "First Name").required(),
    data("last_name", "Last Name"),
    data("full_name", "Full Name"),
    data("username", "Username").unique(),
    data("time_zone", "Time Zone").or("Etc/UTC"),
    data("api_key", "API Key"),
    field("roles", "Roles Assigned", FieldKind::Table("Has Role")),
];

const HAS_ROLE: &[Field] = &[link("role", "Role", "Role").required()];

const ROLE: &[Field] = &[
    data("role_name", "Role Name").required(),
    field("desk_access", "Desk Access", FieldKind::Check).or("1"),
    field("disabled", "Disabled", FieldKind::Check).or("0"),
];

const SYSTEM_SETTINGS: &[Field] = &[
    data("country", "Country"),
    data("language", "Language"),
    data("time_zone", "Time Zone"),
    field("allow_error_traceback", "Show Traceback", FieldKind::Check).or("1"),
];

const SERVER_SCRIPT: &[Field] = &[
    data("script_name", "Script Name").required(),
    select("script_type", "Script Type", &["DocType Event", "Scheduler Event", "Permission Query", "API"]).required().or("API"),
    data("api_method", "API Method"),
    field("script", "Script", FieldKind::Text).required(),
];

const OAUTH_CLIENT: &[Field] = &[
    data("client_id", "App Client ID").required(),
    data("app_name", "App Name").required(),
    data("client_secret", "App Client Secret"),
    field("scopes", "Scopes", FieldKind::Text).or("all openid"),
    field("redirect_uris", "Redirect URIs", FieldKind::Text),
    data("default_redirect_uri", "Default Redirect URI"),
    select("response_type", "Response Type", &["Code", "Token"]).or("Code"),
    field("skip_authorization", "Skip Authorization", FieldKind::Check).or("0"),
];

const OAUTH_BEARER_TOKEN: &[Field] = &[
    data("access_token", "Access Token").required(),
    data("refresh_token", "Refresh Token"),
    link("user", "User", "User"),
    link("client", "Client", "OAuth Client"),
    field("scopes", "Scopes", FieldKind::Text),
    data("expiration_time", "Expiration time"),
    field("expires_in", "Expires In", FieldKind::Int),
    select("status", "Status", &["Active", "Revoked"]).or("Active"),
];

const OAUTH_AUTHORIZATION_CODE: &[Field] = &[
    data("authorization_code", "Authorization Code").required(),
    link("client", "Client", "OAuth Client"),
    link("user", "User", "User"),
    field("scopes", "Scopes", FieldKind::Text),
    data("redirect_uri_bound_to_authorization_code", "Redirect URI Bound To Auth Code"),
    data("expiration_time", "Expiration time"),
    data("nonce", "nonce"),
    data("code_challenge", "Code Challenge"),
    select("code_challenge_method", "Code challenge method", &["s256", "plain"]),
    select("validity", "Validity", &["Valid", "Invalid"]).or("Valid"),
];
