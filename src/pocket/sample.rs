//! The rows that a new pocket ERP starts with. All names, addresses and secrets are invented.

use serde_json::{Value, json};

use crate::pocket::document::text;
use crate::pocket::site::Site;

const ITEMS: [(&str, &str, f64); 20] = [
    ("Oak Desk", "Furniture", 420.0),
    ("Oak Shelf", "Furniture", 180.0),
    ("Office Chair", "Furniture", 260.0),
    ("Standing Desk", "Furniture", 690.0),
    ("Filing Cabinet", "Furniture", 150.0),
    ("Desk Lamp", "Lighting", 45.0),
    ("Floor Lamp", "Lighting", 89.0),
    ("LED Panel", "Lighting", 62.5),
    ("Notebook A5", "Stationery", 3.2),
    ("Notebook A4", "Stationery", 4.8),
    ("Ballpoint Pen", "Stationery", 1.1),
    ("Fountain Pen", "Stationery", 24.0),
    ("Paper, 500 Sheets", "Stationery", 5.9),
    ("Toner, Black", "Consumables", 79.0),
    ("Toner, Colour", "Consumables", 119.0),
    ("27\" Monitor", "Electronics", 310.0),
    ("Keyboard", "Electronics", 58.0),
    ("Mouse", "Electronics", 29.0),
    ("Headset", "Electronics", 95.0),
    ("Docking Station", "Electronics", 199.0),
];

const LEADS: [(&str, &str, &str, &str); 8] = [
    ("Ana", "Ferreira", "Porto Papelaria", "Open"),
    ("Ben", "Okafor", "Lagos Office Supply", "Lead"),
    ("Chidi", "Eze", "Eze Interiors", "Replied"),
    ("Dana", "Levi", "Levi & Partners", "Opportunity"),
    ("Emil", "Novak", "Novak Schreinerei", "Open"),
    ("Fatma", "Demir", "Demir Ofis", "Interested"),
    ("Goro", "Tanaka", "Tanaka Trading", "Quotation"),
    ("Hana", "Svoboda", "Studio Svoboda", "Converted"),
];

const CUSTOMERS: [(&str, &str, &str); 5] = [
    ("Blue Harbour Ltd", "Company", "United Kingdom"),
    ("Casa Verde", "Company", "Portugal"),
    ("Nordlicht GmbH", "Company", "Germany"),
    ("Sato Design", "Partnership", "Japan"),
    ("Wanjiru Kamau", "Individual", "Kenya"),
];

/// Customer, item, quantity, submitted. The items are the last five, so that the others can be deleted in a demo.
const ORDERS: [(&str, &str, u32, bool); 5] = [
    ("Blue Harbour Ltd", "ITEM-0016", 4, true),
    ("Casa Verde", "ITEM-0017", 10, true),
    ("Nordlicht GmbH", "ITEM-0018", 10, false),
    ("Sato Design", "ITEM-0019", 2, false),
    ("Wanjiru Kamau", "ITEM-0020", 1, false),
];

pub(super) fn site() -> Site {
    let mut site = Site::default();
    let mut rows = Rows { site: &mut site, minutes: 0 };
    people(&mut rows);
    trade(&mut rows);
    secrets(&mut rows);
    site.set_password("Administrator", "admin");
    site.set_password("demo@example.com", "demo");
    site.set_password("sales@example.com", "sales");
    site
}

/// Adds rows one minute apart, so that the default order of a list is the same on every start.
struct Rows<'a> {
    site: &'a mut Site,
    minutes: u32,
}

impl Rows<'_> {
    fn add(&mut self, doctype: &str, values: Value) -> String {
        let values = values.as_object().expect("a sample row is written as an object");
        let row = self.site.insert("Administrator", doctype, values).expect("a sample row satisfies its doctype");
        let name = text(&row, "name").expect("an inserted row has a name").to_owned();
        self.minutes += 1;
        let time = format!("2026-01-05 {:02}:{:02}:00.000000", 8 + self.minutes / 60, self.minutes % 60);
        self.site.backdate(doctype, &name, &time);
        name
    }
}

fn people(rows: &mut Rows<'_>) {
    for role in ["System Manager", "Desk User", "Sales User"] {
        rows.add("Role", json!({"role_name": role}));
    }
    for (email, first_name, last_name, roles) in [
        ("Administrator", "Administrator", "", &["System Manager"][..]),
        ("Guest", "Guest", "", &[]),
        ("demo@example.com", "Demo", "User", &["System Manager", "Sales User"]),
        ("sales@example.com", "Sam", "Sales", &["Desk User", "Sales User"]),
    ] {
        let roles: Vec<Value> = roles.iter().map(|role| json!({"role": role})).collect();
        rows.add("User", json!({"email": email, "first_name": first_name, "last_name": last_name, "roles": roles}));
    }
}

fn trade(rows: &mut Rows<'_>) {
    for (number, (name, group, rate)) in (1..).zip(ITEMS) {
        let code = format!("ITEM-{number:04}");
        rows.add("Item", json!({"item_code": code, "item_name": name, "item_group": group, "standard_rate": rate}));
    }
    for (first_name, last_name, company, status) in LEADS {
        let email = format!("{}@example.org", first_name.to_lowercase());
        rows.add(
            "Lead",
            json!({
                "first_name": first_name, "last_name": last_name, "company_name": company, "status": status, "email_id": email,
                "lead_owner": "demo@example.com",
            }),
        );
    }
    for (name, customer_type, territory) in CUSTOMERS {
        rows.add("Customer", json!({"customer_name": name, "customer_type": customer_type, "territory": territory}));
    }
    for (customer, item, qty, submitted) in ORDERS {
        rows.add(
            "Sales Order",
            json!({
                "customer": customer, "transaction_date": "2026-01-05", "delivery_date": "2026-01-19",
                "docstatus": u8::from(submitted), "items": [{"item_code": item, "qty": qty}],
            }),
        );
    }
    for (description, priority) in [("Call Casa Verde back", "High"), ("Order toner", "Medium"), ("Water the plants", "Low")] {
        rows.add("ToDo", json!({"description": description, "priority": priority, "allocated_to": "demo@example.com"}));
    }
    rows.add("Note", json!({"title": "Welcome", "public": 1, "content": "This site lives in memory and forgets everything."}));
}

/// Rows of the doctypes that a gate keeps even from `all`; that they exist makes a leak visible.
fn secrets(rows: &mut Rows<'_>) {
    rows.add("System Settings", json!({"country": "Germany", "language": "en", "time_zone": "Etc/UTC"}));
    rows.add("Server Script", json!({"script_name": "nightly", "script_type": "Scheduler Event", "script": "pass"}));
    rows.add("OAuth Client", json!({"client_id": "pocketclient", "app_name": "Pocket App", "client_secret": "not-a-real-secret"}));
    rows.add(
        "OAuth Bearer Token",
        json!({
            "access_token": "not-a-real-access-token", "refresh_token": "not-a-real-refresh-token", "user": "Administrator",
            "client": "pocketclient", "scopes": "all openid", "expiration_time": "2026-01-05 09:00:00.000000",
            // It is there to be seen, not to be used: its refresh token stands in this file.
            "status": "Revoked",
        }),
    );
}
