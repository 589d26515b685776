//! Lists as a client asks for them.

use serde_json::{Value, json};

use super::{MANAGER, SELLER, ask, json_of, pocket};

/// Encodes a query value that may be JSON.
fn encoded(value: &Value) -> String {
    let text = if let Value::String(text) = value { text.clone() } else { value.to_string() };
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn list(path: &str, query: &[(&str, Value)]) -> crate::pocket::reply::Reply {
    let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    ask(&pocket(), "GET", &format!("{path}?{}", query.join("&")), &[MANAGER], "")
}

#[test]
fn pages_orders_and_columns() {
    let item = "/api/resource/Item";
    let order = "/api/resource/Sales%20Order";
    for (case, path, query, expected) in [
        (
            "T100",
            item,
            vec![("fields", json!(["name", "item_name"])), ("limit_page_length", json!(2))],
            json!([{"name": "ITEM-0020", "item_name": "Docking Station"}, {"name": "ITEM-0019", "item_name": "Headset"}]),
        ),
        ("T120: limit, v2", "/api/v2/document/Item", vec![("limit", json!(1))], json!([{"name": "ITEM-0020"}])),
        ("a second page", item, vec![("limit_start", json!(1)), ("limit", json!(1))], json!([{"name": "ITEM-0019"}])),
        ("beyond the end", item, vec![("limit_start", json!(99))], json!([])),
        ("an order", item, vec![("order_by", json!("standard_rate asc")), ("limit", json!(1))], json!([{"name": "ITEM-0011"}])),
        (
            "an order as the desk sends it",
            order,
            vec![("order_by", json!("`tabSales Order`.`grand_total` desc")), ("limit", json!(1)), ("fields", json!(["grand_total"]))],
            json!([{"grand_total": 1240.0}]),
        ),
        ("two orders", item, vec![("order_by", json!("item_group desc, name")), ("limit", json!(1))], json!([{"name": "ITEM-0009"}])),
        ("lists, not dictionaries", item, vec![("as_dict", json!(0)), ("limit", json!(1))], json!([["ITEM-0020"]])),
        (
            "a dictionary as filter",
            item,
            vec![("filters", json!({"item_group": "Lighting", "standard_rate": [">", 60]}))],
            json!([{"name": "ITEM-0008"}, {"name": "ITEM-0007"}]),
        ),
        (
            "or_filters",
            item,
            vec![("or_filters", json!([["name", "=", "ITEM-0001"], ["name", "=", "ITEM-0002"]])), ("order_by", json!("name"))],
            json!([{"name": "ITEM-0001"}, {"name": "ITEM-0002"}]),
        ),
        (
            "through a link",
            order,
            vec![("fields", json!(["customer.territory as land"])), ("filters", json!({"customer": "Sato Design"}))],
            json!([{"land": "Japan"}]),
        ),
        (
            "into a child table",
            order,
            vec![("fields", json!(["items.item_code"])), ("filters", json!({"customer": "Sato Design"}))],
            json!([{"item_code": "ITEM-0019"}]),
        ),
        (
            "groups",
            item,
            vec![
                ("fields", json!(["item_group", "count(name) as n"])),
                ("group_by", json!("item_group")),
                ("order_by", json!("item_group")),
                ("limit", json!(2)),
            ],
            json!([{"item_group": "Consumables", "n": 2}, {"item_group": "Electronics", "n": 5}]),
        ),
        ("a count alone", item, vec![("fields", json!(["count(*) as n"]))], json!([{"n": 20}])),
    ] {
        assert_eq!(json_of(&list(path, &query), 200)["data"], expected, "{case}");
    }
}

#[test]
fn the_default_page_is_twenty_and_zero_is_all() {
    let pocket = pocket();
    for number in 0..3 {
        let body = format!("{{\"item_code\":\"NEW-{number}\"}}");
        ask(&pocket, "POST", "/api/resource/Item", &[MANAGER, super::JSON], &body);
    }
    for (query, rows) in [("", 20), ("?limit_page_length=0", 23), ("?limit_page_length=1&limit_page_length=3", 1), ("?limit=x", 20)] {
        let reply = json_of(&ask(&pocket, "GET", &format!("/api/resource/Item{query}"), &[MANAGER], ""), 200);
        assert_eq!(reply["data"].as_array().map(Vec::len), Some(rows), "{query}");
    }
    let count = json_of(&ask(&pocket, "GET", "/api/v2/doctype/Item/count", &[MANAGER], ""), 200);
    assert_eq!(count, json!({"data": 23}), "T128");
    let meta = json_of(&ask(&pocket, "GET", "/api/v2/doctype/Sales%20Order/meta", &[MANAGER], ""), 200);
    assert_eq!((&meta["data"]["name"], &meta["data"]["is_submittable"]), (&json!("Sales Order"), &json!(1)));
}

#[test]
fn every_column_is_a_star_in_the_python_client() {
    let reply = json_of(&list("/api/resource/Customer", &[("fields", json!("\"*\"")), ("limit_page_length", json!(1))]), 200);
    assert_eq!((&reply["data"][0]["customer_name"], &reply["data"][0]["owner"]), (&json!("Wanjiru Kamau"), &json!("Administrator")));
}

#[test]
fn what_a_list_refuses() {
    for (case, query, status, expected) in [
        ("a column that is not there", vec![("fields", json!(["secret"]))], 417, "Field not permitted in query: secret"),
        ("an expression", vec![("fields", json!(["sleep(1)"]))], 417, "Field not permitted"),
        ("another table", vec![("fields", json!(["`tabUser`.`name`"]))], 417, "Field not permitted"),
        ("an order that is none", vec![("order_by", json!("name; drop table x"))], 417, "Field not permitted"),
        ("a group that is none", vec![("group_by", json!("x"))], 417, "Field not permitted"),
        ("a filter on nothing", vec![("filters", json!([["x", "=", 1]]))], 500, "Unknown column"),
        ("an operator", vec![("filters", json!([["name", "regexp", "x"]]))], 417, "Operator must be one of"),
    ] {
        let reply = list("/api/resource/Item", &query);
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        assert!(reply.body.contains(expected), "{case}: {}", reply.body);
    }
    for (case, target, status) in [
        ("users are for managers", "/api/resource/User", 403),
        ("child rows need a parent", "/api/method/frappe.client.get_list?doctype=Sales%20Order%20Item", 403),
        ("and get one", "/api/method/frappe.client.get_list?doctype=Sales%20Order%20Item&parent=Sales%20Order", 200),
        ("but not any", "/api/method/frappe.client.get_list?doctype=Sales%20Order%20Item&parent=User", 403),
    ] {
        assert_eq!(ask(&pocket(), "GET", target, &[SELLER], "").status.as_u16(), status, "{case}");
    }
}
