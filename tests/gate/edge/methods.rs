//! Methods and routes that are not served (DESIGN section 10 rule 4): the shape of 404 and 405.

use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::{forbidden, reason};
use crate::support::wire::{Wire, json_request, request};

#[test]
fn methods_outside_the_list_are_refused_in_any_case() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let methods = [
        "TRACE", "PROPFIND", "FOO", "get", "Get", "post", "delete", "LINK", "COPY", "MOVE", "MKCOL", "SEARCH", "QUERY", "PRI", "PURGE",
        "DEBUG", "TRACK",
    ];
    for method in methods {
        for target in ["/api/resource/ToDo", "/api/method/frappe.auth.get_logged_user"] {
            let reply = Wire::tls(&gate).exchange(request(method, target, &token));
            assert!(matches!(reply.status, 400 | 404 | 405 | 501), "{method} {target}: {reply:?}");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_method_that_a_route_does_not_have_is_405_with_those_it_has() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let cases = [
        ("DELETE", "/api/resource/ToDo"),
        ("PUT", "/api/resource/ToDo"),
        ("PATCH", "/api/resource/ToDo"),
        ("PATCH", "/api/resource/ToDo/x"),
        ("POST", "/api/resource/ToDo/x"),
        ("POST", "/api/v2/document/ToDo/x"),
        ("DELETE", "/api/v2/document/ToDo"),
        ("POST", "/api/v2/doctype/ToDo/count"),
        ("PUT", "/api/method/frappe.client.delete"),
    ];
    for (method, target) in cases {
        let reply = Wire::tls(&gate).exchange(json_request(method, target, &token, if method == "DELETE" { "" } else { "{}" }));
        forbidden(&reply);
        assert!(matches!(reply.status, 403..=405), "{method} {target}: {reply:?}");
        if reply.status == 405 {
            assert!(reply.header("allow").is_some_and(|allow| !allow.contains(method)), "{method} {target}: {reply:?}");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_path_that_is_no_route_is_404_in_the_shape_of_frappe() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let paths = [
        "/",
        "/api",
        "/api/",
        "/api/resource",
        "/api/resource/",
        "/api/nosuch",
        "/api/v3/resource/ToDo",
        "/api/v2/resource/ToDo",
        "/api/v1/document/ToDo",
        "/api/v2/doctype/ToDo",
        "/api/v2/doctype/ToDo/drop",
        "/api/method",
        "/api/method/",
        "/API/resource/ToDo",
        "/app",
        "/login",
        "/files/x.txt",
        "/private/files/x.txt",
        "/printview",
        "/socket.io/",
        "/assets/x.js",
        "/.well-known/openid-configuration",
        "/metrics",
        "/admin",
    ];
    for path in paths {
        let reply = Wire::tls(&gate).exchange(request("GET", path, &token));
        forbidden(&reply);
        assert!(matches!(reply.status, 400 | 403 | 404), "{path}: {reply:?}");
        assert_eq!(reply.header("location"), None, "{path}");
    }
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/nosuch", &token));
    assert_eq!((reply.status, reply.json()["exc_type"].as_str()), (404, Some("DoesNotExistError")));
    let reply = Wire::tls(&gate).exchange(request("GET", "/api/v2/nosuch", &token));
    assert_eq!((reply.status, reply.json()["errors"][0]["type"].as_str()), (404, Some("DoesNotExistError")));
    upstream.assert_untouched();
}

#[test]
fn a_route_that_the_operator_opens_passes_with_its_scope() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).site("route = [{ path = \"/files/\", methods = [\"GET\"], scope = \"read\" }]").start();
    let ask = |method: &str, target: &str, scope: &str| Wire::tls(&gate).exchange(request(method, target, &gate.token(scope)));
    assert_eq!(ask("GET", "/files/a.txt", "read").status, 200);
    assert_eq!(upstream.request().target, "/files/a.txt");
    for (method, target, scope) in [
        ("GET", "/files/a.txt", "write"),
        ("POST", "/files/a.txt", "all"),
        ("GET", "/files/../backups/x", "all"),
        ("GET", "/files/%2e%2e/backups/x", "all"),
        ("GET", "/files/..%2fbackups/x", "all"),
        ("GET", "/files/a.txt?cmd=logout", "all"),
        ("GET", "/files", "delete"),
    ] {
        let reply = ask(method, target, scope);
        reason(&reply);
        assert!((400..500).contains(&reply.status), "{method} {target}: {reply:?}");
    }
    assert_eq!(upstream.requests().len(), 1);
}
