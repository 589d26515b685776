//! What fields and filters would see.

use crate::policy::classify::tests::{JSON, NONE, classify, rules};

/// What a list of Leads with these arguments would see beside its own fields: doctypes, `any` for what only the schema knows, or a code.
fn seen(query: &str) -> String {
    let rules = rules();
    let target = format!("/api/resource/Lead?{query}");
    tell(classify(&rules, "GET", &target, NONE, b""))
}

fn tell(read: Result<super::super::classify::Classified<'_>, super::super::refusal::Refusal>) -> String {
    match read {
        Err(refusal) => refusal.reason.code().to_owned(),
        Ok(read) => {
            let any = read.operation.reach.open.then(|| "any".to_owned());
            read.operation.reach.doctypes.iter().cloned().chain(any).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
#[rustfmt::skip]
fn a_query_shows_what_it_sees() {
    let cases: &[(&str, &str, &str)] = &[
        // Its own fields.
        ("fields", r#"fields=["name","customer_name"]"#, ""),
        ("all of them", r#"fields=["*"]"#, ""),
        ("a text of fields", "fields=name,status", ""),
        ("a count", r#"fields=["count(name) as n"]"#, ""),
        ("its own table", r#"fields=["`tabLead`.`name`","`tabLead`.status as s"]"#, ""),
        ("an order", "order_by=modified desc, `tabLead`.`name` asc", ""),
        ("a group", "group_by=status", ""),
        ("filters by object", r#"filters={"status":"Open","name":["like","%25a.b%25"],"creation":[">","2024-01-01 00:00:00.000"]}"#, ""),
        ("filters by list", r#"filters=[["status","=","Open"],["Lead","email","in",["a@b.example","c"]]]"#, ""),
        ("a value is no field", r#"filters=[["notes","like","%25password from User.api_key; `x%25"]]"#, ""),
        ("a list of values is none", r#"filters={"name":["in",["a.b","token","`tabUser"]]}"#, ""),
        ("the name of one document", "filters=LEAD-2024.001", ""),
        ("nothing", "filters=&fields=&order_by=", ""),
        ("null", "filters=null&fields=null", ""),
        ("empty lists", "filters=[]&or_filters={}&fields=[]", ""),
        ("a missing operator", r#"filters=[["Lead","status",null,"Open"]]"#, ""),
        ("groups of conditions, as in v16", r#"filters=[["status","=","Open"],"and",[["a","=",1],"or",["b","=","x.y"]]]"#, ""),
        ("functions of v16", r#"fields=[{"SUM":"amount","as":"total"}]"#, ""),
        ("a decimal number", r#"fields=["amount * 1.5 as a"]"#, ""),
        ("a column whose name begins like a table", "fields=[\"table_no\",\"`tab_order`\",\"tabular\"]&order_by=`tabLead`.`table_no`", ""),

        // Other doctypes.
        ("another table", r#"fields=["`tabUser`.`email`"]"#, "User"),
        ("without quotes", r#"fields=["tabUser.email"]"#, "User"),
        ("with a blank before the dot", r#"fields=["`tabUser` .`email`","tabNote . name"]"#, "User Note"),
        ("within a function", r#"fields=["max(`tabUser`.`email`) as m"]"#, "User"),
        ("PostgreSQL's quotes", r#"fields=["\"tabUser\".\"email\""]"#, "User"),
        ("PostgreSQL's quotes and a blank", r#"fields=["\"tabSales Order\".\"name\""]"#, "Sales any"),
        ("JSON escapes", r#"fields=["\u0060tab\u0055ser\u0060.name"]"#, "User"),
        ("in the order", "order_by=`tabUser`.`email` desc", "User"),
        ("in the group", "group_by=`tabSales Order`.`status`", "Sales Order"),
        ("in a filter", r#"filters=[["Sales Order","status","=","Open"]]"#, "Sales Order"),
        ("in an or-filter", r#"or_filters=[["Sales Order","status","=","Open"]]"#, "Sales Order"),
        ("in a filter's key", r#"filters={"`tabUser`.`email`":"x"}"#, "User"),
        ("in a flat filter", r#"filters=["Sales Order","status","=","Open"]"#, "Sales Order"),
        ("deep within groups", r#"filters=[[[["Note","title","=","x"]]]]"#, "Note"),
        ("more values than are used", r#"filters=[["Note","title","=","x",false]]"#, "Note"),
        ("an operator of an app", r#"filters=[["Note","posting_date","fiscal year","2024"]]"#, "Note"),
        ("each once", r#"filters=[["Note","a","=",1],["Note","b","=",1],["Lead","c","=",1],["Item","c","=",1]]"#, "Note Item"),
        ("a value written like a column", r#"filters=[["status","=","`tabNote`.`title`"]]"#, "Note"),
        ("JSON in a JSON text", r#"filters="[[\"Note\",\"title\",\"=\",\"x\"]]""#, "parameter_invalid"),
        ("with JSON's white space", "filters=%20%0A[[\"Note\",\"title\",\"=\",\"x\"]]%20", "Note"),

        // What only the schema can tell.
        ("over a link", r#"fields=["lead_owner.full_name"]"#, "any"),
        ("over a link, named", r#"fields=["lead_owner.full_name as owner"]"#, "any"),
        ("over a link, quoted", r#"fields=["`lead_owner`.`full_name`"]"#, "any"),
        ("rows of a table", r#"fields=["items.item_code"]"#, "any"),
        ("rows of a table as in v16", r#"fields=["name",{"items":["item_code"]}]"#, "any"),
        ("in the order", "order_by=lead_owner.full_name", "any"),
        ("in a filter", r#"filters=[["lead_owner.full_name","=","x"]]"#, "any"),
        ("in a filter's key", r#"filters={"lead_owner.full_name":"x"}"#, "any"),

        // Swapped, which Frappe allows: filters where fields stand, fields where filters stand.
        ("fields in the place of filters", r#"filters=["name","lead_owner.full_name"]&fields=[["status","=","Open"]]"#, "any"),
        ("with something empty, which Frappe drops", r#"filters=["name","lead_owner.full_name",[]]"#, "any"),
        ("with two of them", r#"filters=["name","status","lead_owner.full_name",[],{}]"#, "name any"),
        ("with null", r#"filters=["name",null,"lead_owner.full_name"]"#, "any"),
        ("a text of fields", r#"filters="name,lead_owner.full_name"&fields=[["status","=","Open"]]"#, "any"),
        ("a plain text of fields", r#"filters=name,lead_owner.full_name&fields={"status":"Open"}"#, "any"),
        ("filters in the place of fields", r#"fields=[["Note","title","=","x"]]"#, "Note"),
        ("filters by object in the place of fields", r#"fields={"lead_owner.full_name":"x"}"#, "any"),

        // SQL, which Frappe looks for in a few spellings.
        ("a condition that is SQL", r#"filters=["exists(select 1)"]"#, "parameter_invalid"),
        ("SQL among conditions", r#"filters=[["a","=",1],"1=1 union all"]"#, "parameter_invalid"),
        ("a column of another table among conditions", r#"filters=[["a","=",1],"`tabNote`.`title` = 1"]"#, "Note"),
        ("from behind a function", r#"fields=["count(*) from `tabUser` #"]"#, "parameter_invalid"),
        ("from, without quotes", r#"fields=["max(email) from tabUser"]"#, "parameter_invalid"),
        ("from, in other letters", r#"fields=["max(email) FrOm tabUser"]"#, "parameter_invalid"),
        ("a subquery in brackets", r#"fields=["(select name)"]"#, "parameter_invalid"),
        ("a subquery over two lines, where patterns stop", "fields=[\"a,\\n(select name)\"]", "parameter_invalid"),
        ("a comment between", r#"fields=["`tabUser`/**/.`email`"]"#, "parameter_invalid"),
        ("two statements", "order_by=name; drop", "parameter_invalid"),
        ("a table without a dot", r#"fields=["count(tabUser)"]"#, "User"),
        ("a backtick alone", r#"fields=["`name"]"#, "parameter_invalid"),
        ("no JSON", r#"fields=["name""#, "parameter_invalid"),
        ("a key twice", r#"filters={"a":1,"a":2}"#, "parameter_invalid"),
        ("fields twice", r#"fields=["name"]&fields=["owner"]"#, "parameter_repeated"),
        ("a doctype that is none", r#"filters=[["User`","name","=","x"]]"#, "parameter_invalid"),
        ("a doctype that is empty", r#"filters=[["","name","=","x"]]"#, "parameter_invalid"),

        // Protected ones, for everybody.
        ("a protected doctype's table", r#"fields=["`tabOAuth Client`.`name`"]"#, "doctype_forbidden"),
        ("by a filter", r#"filters=[["OAuth Client","name","=","x"]]"#, "doctype_forbidden"),
        ("by a filter in other letters", r#"filters=[["oauth_client","name","=","x"]]"#, "doctype_forbidden"),
        ("by the order", "order_by=`tabServer Script`.`script`", "doctype_forbidden"),
        ("a bare table of Frappe", r#"fields=["`tab__Auth`.`x`"]"#, "doctype_forbidden"),
    ];
    for (why, query, expected) in cases {
        assert_eq!(seen(query), *expected, "{why}: {query}");
    }
}

#[test]
#[rustfmt::skip]
fn a_secret_field_is_neither_read_nor_compared() {
    let cases: &[(&str, &str)] = &[
        ("named", r#"fields=["api_secret"]"#),
        ("in other letters", r#"fields=["API_Secret"]"#),
        ("in letters that fold", "fields=[\"api_%E2%84%AAey\"]"),
        ("quoted", r#"fields=["`api_key`"]"#),
        ("escaped", r#"fields=["api\u005fkey"]"#),
        ("in a list written as text", "fields=name,api_key"),
        ("of a table", r#"fields=["`tabUser`.`reset_password_key`"]"#),
        ("over a link", r#"fields=["owner.api_key"]"#),
        ("in a function", r#"fields=["max(api_key) as name"]"#),
        ("in a function of v16", r#"fields=[{"MAX":"api_key"}]"#),
        ("by its ending", r#"fields=["webhook_secret"]"#),
        ("by the order, one comparison at a time", "order_by=api_key"),
        ("by a group", "group_by=api_key"),
        ("by a filter", r#"filters={"api_key":["like","a%25"]}"#),
        ("by a filter's list", r#"filters=[["api_key","like","a%25"]]"#),
        ("by a filter with its doctype", r#"filters=[["Lead","api_key","like","a%25"]]"#),
        ("by a filter with no doctype", r#"filters=[[null,"api_key","like","a%25"]]"#),
        ("by a filter of two", r#"filters=[["api_key","a"]]"#),
        ("by a flat filter", r#"filters=["api_key","like","a%25"]"#),
        ("by an or-filter", r#"or_filters=[["api_key","like","a%25"]]"#),
        ("in the place of filters", r#"filters=["name","api_key"]"#),
        ("in the place of filters, hidden", r#"filters=["name","status","api_key",[]]"#),
        ("as a text in the place of filters", r#"filters=name,api_key&fields=[["a","=",1]]"#),
        ("behind nothing", r#"filters=["name","status",null,"api_key"]"#),
        ("among conditions", r#"filters=[["a","=",1],"api_key like 'a%25'"]"#),
        ("the session", r#"fields=["sid"]"#),
    ];
    for (why, query) in cases {
        assert_eq!(seen(query), "field_forbidden", "{why}: {query}");
    }
}

#[test]
#[rustfmt::skip]
fn functions_are_read_as_lists_are() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("get_list", "frappe.client.get_list", r#"{"doctype":"Lead","filters":[["Note","title","=","x"]]}"#, "Note"),
        ("filters as a JSON text", "frappe.client.get_list", r#"{"doctype":"Lead","filters":"[[\"Note\",\"title\",\"=\",\"x\"]]"}"#, "Note"),
        ("get_value", "frappe.client.get_value", r#"{"doctype":"Lead","fieldname":["name","lead_owner.full_name"]}"#, "any"),
        ("get_value of a secret", "frappe.client.get_value", r#"{"doctype":"User","fieldname":"api_key"}"#, "field_forbidden"),
        ("get_value by a secret", "frappe.client.get_value", r#"{"doctype":"User","fieldname":"name","filters":{"api_key":["like","a%"]}}"#, "field_forbidden"),
        ("get_single_value of a secret", "frappe.client.get_single_value", r#"{"doctype":"Selling Settings","field":"access_token"}"#, "field_forbidden"),
        ("get_count by a secret, which asks no permission", "frappe.client.get_count", r#"{"doctype":"User","filters":{"api_key":["like","a%"]}}"#, "field_forbidden"),
        ("a name that is filters", "frappe.client.get", r#"{"doctype":"User","name":{"api_key":["like","a%"]}}"#, "field_forbidden"),
        ("the same of another function", "frappe.client.has_permission", r#"{"doctype":"User","docname":{"reset_password_key":"x"}}"#, "field_forbidden"),
        ("a name", "frappe.client.get", r#"{"doctype":"User","name":"sam@b.example"}"#, ""),
        ("a name that is a number", "frappe.client.get", r#"{"doctype":"ToDo","name":17}"#, ""),
        ("statistics of a secret", "frappe.desk.reportview.get_stats", r#"{"doctype":"User","stats":"[\"api_key\"]"}"#, "field_forbidden"),
        ("an operator's argument", "my_app.api.quote", r#"{"doctype":"Lead","columns":["`tabNote`.`title`"]}"#, "Note"),
        ("a function without an entry", "my_app.api.other", r#"{"filters":[["OAuth Client","name","=","x"]]}"#, "doctype_forbidden"),
        ("a write has free text there", "frappe.client.set_value", r#"{"doctype":"ToDo","name":"x","fieldname":"{\"description\":\"select a token from a.b\"}"}"#, ""),
    ];
    for (why, name, body, expected) in cases {
        let rules = rules();
        let target = format!("/api/method/{name}");
        assert_eq!(tell(classify(&rules, "POST", &target, JSON, body.as_bytes())), *expected, "{why}: {body}");
    }
    let rules = rules();
    let count = |query: &str| tell(classify(&rules, "GET", &format!("/api/v2/doctype/Lead/count?{query}"), NONE, b""));
    assert_eq!(count("parent_doctype=Note"), "Note");
    assert_eq!(count("filters={\"lead_owner.x\":1}"), "any");
    assert_eq!(count("aggregate_on_doctype=OAuth+Client"), "doctype_forbidden");
    assert_eq!(count("aggregate_on_field=api_key"), "field_forbidden");
    assert_eq!(count("run=0"), "parameter_forbidden");
    assert_eq!(count("user_settings={}"), "parameter_forbidden");
}
