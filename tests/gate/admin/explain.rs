//! `explain`, as it stands on a screen.

use crate::support::setup::SITE;

use super::{refused, run, setup, stdout, with_config};

#[test]
fn it_explains_by_the_built_in_rules_where_there_is_no_config() {
    let output = run(&["explain", "GET", "/api/resource/Sales Order", "--scope", "read:lead"], "", &[]);
    assert_eq!(
        stdout(&output),
        "\
request     GET /api/resource/Sales%20Order
would       read Sales Order
upstream    GET /api/resource/Sales%20Order
allowed by  read:sales-order, read or all
token       read:lead
decision    denied: 403 insufficient_scope, this needs one of the scopes read:sales-order, read, all
"
    );
}

#[test]
fn it_explains_a_body_and_the_operators_own_function_without_certificates_or_store() {
    let setup = setup().config(
        r#"
        [[rpc]]
        name = "my_app.api.quote"
        effect = "read"
        document = "doc"
        [scope.sales]
        title = "See quotations"
        grants = ["read:quotation"]
        [store]
        path = "/nosuch/store.redb"
        "#,
    );
    let config = setup.write();
    for file in [&setup.certificate.cert_file, &setup.certificate.key_file] {
        std::fs::remove_file(file).expect("the directory is ours");
    }
    let call = ["explain", "POST", "/api/method/my_app.api.quote", "--body", "-", "--scope", "sales"];
    let output = with_config(&config, &call, r#"{"doc": {"doctype": "Quotation"}}"#);
    assert_eq!(
        stdout(&output),
        format!(
            "\
request     POST /api/method/my_app.api.quote
body        application/json
site        {SITE}
function    my_app.api.quote: read, by GET or POST
would       read Quotation by my_app.api.quote
upstream    POST /api/method/my_app.api.quote
allowed by  read:quotation, call:my_app.api.quote, read or all
token       sales
decision    allowed by sales
"
        )
    );
}

#[test]
fn a_url_leads_to_its_site() {
    let setup = setup();
    let config = setup.write();
    let url = format!("https://{SITE}:8443/api/resource/Lead?cmd=x");
    let told = stdout(&with_config(&config, &["explain", "GET", &url], ""));
    assert!(told.contains(&format!("site      {SITE}\n")) && told.contains("parameter_forbidden"), "{told}");
    refused(&with_config(&config, &["explain", "GET", "https://other.test/api"], ""), 1, &["other.test", "--site"]);
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let setup = setup();
    let config = setup.write();
    let path = "/api/resource/Lead";
    refused(&with_config(&config, &["explain", "GET", path, "--site", "nosuch"], ""), 1, &["nosuch", SITE]);
    refused(&with_config(&config, &["explain", "GET", path, "--scope", "read:Lead"], ""), 2, &["lower case"]);
    refused(&with_config(&config, &["explain", "POST", path, "--body", "/nosuch/file"], ""), 1, &["/nosuch/file"]);
    refused(&run(&["explain", "GET", path, "--config", "/nosuch/config.toml"], "", &[]), 78, &["/nosuch/config.toml"]);
    refused(&run(&["explain", "GET"], "", &[]), 2, &["PATH"]);
}
