//! `scopegate demo`: pocket ERP behind a gate, by one command and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::gate::Process;
use crate::support::signal;
use crate::support::verdict::{forbidden, insufficient_scope, unauthorized};
use crate::support::wire::{Reply, Wire};

pub struct Demo {
    /// The line it prints.
    pub ready: Value,
    process: Process,
}

impl Demo {
    pub fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
        command.args(["demo", "--json", "--port", "0", "--http-port", "0"]);
        let mut process = Process::spawn(command);
        let line = process.first_line();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", process.end_now()));
        Self { ready, process }
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("`{key}` in {}", self.ready))
    }

    fn token(&self, scope: &str) -> &str {
        self.ready["tokens"][scope].as_str().unwrap_or_else(|| panic!("a token with `{scope}` in {}", self.ready))
    }

    fn ask(&self, line: &str, scope: &str, rest: &str) -> Reply {
        let (host, address) = place(self.text("base_url"));
        let bearer = self.token(scope);
        let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n{rest}");
        Wire::tls_to(address, host.split(':').next().expect("a host"), Path::new(self.text("ca_file"))).exchange(request)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        signal(self.process.pid, "TERM");
        let status = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the demo ended with {status} and logged:\n{}", self.process.log());
            return;
        }
        assert!(status.success(), "{status}: {}", self.process.log());
        for token in self.ready["tokens"].as_object().expect("tokens").values().filter_map(Value::as_str) {
            assert!(!self.process.log().contains(token), "a token is in the log");
        }
    }
}

/// The authority of a URL, and where it leads on this machine.
fn place(url: &str) -> (&str, SocketAddr) {
    let authority = url.split("://").nth(1).expect("a URL").trim_end_matches('/');
    let port = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    (authority, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
fn the_demo_serves_by_scope() {
    let demo = Demo::start();
    let json = |body: &str| format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let list = demo.ask("GET /api/resource/Item?limit_page_length=3", "read", "\r\n");
    assert_eq!((list.status, list.json()["data"].as_array().map(Vec::len)), (200, Some(3)), "{}", list.text());
    let lead = r#"{"lead_name":"Ida","first_name":"Ida"}"#;
    let created = demo.ask("POST /api/resource/Lead", "read write", &json(lead));
    assert_eq!(created.status, 200, "{}", created.text());
    let name = created.json()["data"]["name"].as_str().expect("a name").to_owned();
    insufficient_scope(&demo.ask("POST /api/resource/Lead", "read", &json(lead)));
    insufficient_scope(&demo.ask(&format!("DELETE /api/resource/Lead/{name}"), "read write", "\r\n"));
    assert_eq!(demo.ask(&format!("DELETE /api/resource/Lead/{name}"), "read write delete", "\r\n").status, 202);
    forbidden(&demo.ask("GET /api/resource/Item?cmd=frappe.desk.reportview.delete_items&doctype=Item&items=[]", "all", "\r\n"));
    forbidden(&demo.ask("GET /api/resource/OAuth%20Bearer%20Token", "all", "\r\n"));
    let kept = demo.ask("GET /api/method/frappe.client.get_count?doctype=Item", "read", "\r\n");
    assert_eq!(kept.json()["message"], 20, "nothing was deleted: {}", kept.text());
}

#[test]
fn the_demo_challenges_a_bad_token_and_refuses_tokens_on_its_http_port() {
    let demo = Demo::start();
    let (host, address) = place(demo.text("base_url"));
    let request = format!("GET /api/resource/Item HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer nosuch\r\n\r\n");
    let name = host.split(':').next().expect("a host");
    unauthorized(&Wire::tls_to(address, name, Path::new(demo.text("ca_file"))).exchange(request), Some("invalid_token"));
    let (host, address) = place(demo.text("http_url"));
    let token = demo.token("read");
    let reply = Wire::plain_to(address)
        .exchange(format!("GET /api/resource/Item HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"));
    assert_eq!(reply.status, 403, "{}", reply.text());
}
