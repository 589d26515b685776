//! R17 to R20: sessions, logins, and documents and functions that give secrets away.

use super::{Stage, refused_or_harmless, refused_to_all};
use crate::support::exchange::exchange;
use crate::support::verdict::{forbidden, reason, unauthorized};
use crate::support::wire::{Wire, request};

#[test]
fn r17_a_login_never_reaches_the_upstream() {
    refused_to_all(&["308-login-GET", "309-cmd-login-anywhere"], &["read", "write", "all"]);
}

#[test]
fn r17_a_session_id_in_query_or_body_is_refused() {
    refused_to_all(&["162-sid-query-no-auth", "163-sid-query-plus-bearer-lou", "164-sid-json-body"], &["read write", "all"]);
}

#[test]
fn r17_a_session_cookie_is_no_credential_and_does_not_cross() {
    let stage = Stage::new();
    let reply = Wire::tls(&stage.gate).exchange(exchange("160-cookie-plus-invalid-bearer").as_recorded());
    unauthorized(&reply, Some("invalid_token"));
    for case in ["510-csrf-cookie-post-no-token", "512-csrf-cookie-post-with-token", "284-approve-session-forged-user_id"] {
        let reply = Wire::tls(&stage.gate).exchange(exchange(case).as_recorded());
        reason(&reply);
        assert!((400..500).contains(&reply.status), "`{case}`: {reply:?}");
    }
    stage.upstream.assert_untouched();
    let seen = stage.forwarded("161-cookie-sam-plus-valid-bearer-lou", "read");
    assert_eq!(seen.header("cookie"), None);
    stage.forwarded("511-csrf-cookie-plus-bearer-post", "write");
}

#[test]
fn r18_a_logout_is_refused() {
    refused_to_all(&["310-logout-GET", "540-HEAD-v2-logout"], &["read", "all"]);
}

#[test]
fn r19_documents_that_hold_secrets_are_refused() {
    let cases = ["500-read-scope-reads-bearer-tokens", "504-read-scope-oauth-client-secrets", "505-read-scope-auth-codes"];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn r19_documents_that_hold_secrets_are_refused_under_every_spelling() {
    let stage = Stage::new();
    let token = stage.gate.token("all");
    let spellings =
        ["OAuth%20Bearer%20Token", "oauth%20bearer%20token", "OAuth%20Bearer%20Token/", "O%41uth%20Bearer%20Token", "oauth-bearer-token"];
    let routes = ["/api/resource/", "/api/v1/resource/", "/api/v2/document/"];
    for route in routes {
        for spelling in spellings {
            let target = format!("{route}{spelling}");
            let reply = Wire::tls(&stage.gate).exchange(request("GET", &target, &token));
            forbidden(&reply);
        }
    }
    for target in ["/api/v2/doctype/OAuth%20Bearer%20Token/count", "/api/method/frappe.client.get_list?doctype=OAuth%20Bearer%20Token"] {
        let reply = Wire::tls(&stage.gate).exchange(request("GET", target, &token));
        forbidden(&reply);
    }
    stage.upstream.assert_untouched();
}

#[test]
fn r19_passwords_are_refused() {
    refused_to_all(&["503-read-scope-get_password"], &["read", "all"]);
}

#[test]
fn r19_api_keys_of_frappe_are_no_credential() {
    let stage = Stage::new();
    for case in ["149-apikey-token", "150-apikey-basic", "151-apikey-wrong", "152-basic-not-base64", "165-cookie-plus-apikey-other"] {
        let reply = Wire::tls(&stage.gate).exchange(exchange(case).as_recorded());
        reason(&reply);
        assert_eq!(reply.status, 401, "`{case}`: {reply:?}");
    }
    stage.upstream.assert_untouched();
}

#[test]
fn r20_backups_are_not_routed() {
    refused_to_all(&["305-backups-guest", "306-backups-sysman"], &["read", "all"]);
    let stage = Stage::new();
    let paths = [
        "/backups/..%2f..%2fsite_config.json",
        "/backups/%2e%2e/%2e%2e/site_config.json",
        "/private/backups/x.sql.gz",
        "/api/resource/../../backups/x.sql.gz",
    ];
    for path in paths {
        let reply = Wire::tls(&stage.gate).exchange(request("GET", path, &stage.gate.token("all")));
        forbidden(&reply);
    }
    stage.upstream.assert_untouched();
}

#[test]
fn files_and_pages_are_not_routed() {
    let cases = [
        "299-x-use-x-accel-redirect",
        "300-private-file-bearer",
        "302-private-file-xaccel",
        "303-private-file-traversal",
        "521-printview-bearer",
        "522-desk-redirect",
        "111-route-404",
    ];
    refused_to_all(&cases, &["read", "all"]);
}

#[test]
fn the_oauth_endpoints_of_frappe_are_not_reached_by_a_bearer() {
    let cases = [
        "281-approve-bearer-forged-user_id-cookie",
        "286-get_token-with-bearer-header",
        "280k-v1-method-alias-token-endpoint",
        "280l-v2-alias",
    ];
    refused_to_all(&cases, &["read write delete", "all"]);
}

#[test]
fn a_doctype_in_odd_spelling_is_refused_or_stays_what_it_is() {
    refused_or_harmless(&["280b-doctype-trailing-space"], "read");
    // In a path `+` is no space: Frappe knows no such doctype, and the gate must not make one that it knows out of it.
    let stage = Stage::new();
    let reply = stage.replay("280d-doctype-plus", "all");
    match stage.upstream.requests().first() {
        Some(seen) => assert!(!seen.target.contains("%20Settings/") && !seen.target.contains(' '), "{}", seen.target),
        None => forbidden(&reply),
    }
}
