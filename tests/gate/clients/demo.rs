//! `scopegate demo`: pocket ERP behind a gate, by one command and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gate::Process;
use crate::support::provider::{Page, Person, World, parameter};
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
        let mut process = Process::spawn(command(&["--json"]));
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
        let secrets = [&self.ready["tokens"], &self.ready["app"]["client_secret"]];
        for secret in secrets.into_iter().flat_map(|kept| kept.as_object().map_or_else(|| vec![kept], |map| map.values().collect())) {
            let secret = secret.as_str().expect("a secret is text");
            assert!(!self.process.log().contains(secret), "a secret is in the log");
        }
    }
}

/// The demo on free ports.
fn command(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    command.args(["demo", "--port", "0", "--http-port", "0"]).args(more);
    command
}

/// The authority of a URL, and where it leads on this machine.
pub fn place(url: &str) -> (&str, SocketAddr) {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a URL");
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

/// What somebody finds who follows what the demo prints.
struct Printed {
    text: String,
    ca_file: PathBuf,
    process: Process,
}

impl Printed {
    fn start() -> Self {
        let mut process = Process::spawn(command(&[]));
        process.line_with("Ctrl-C ends it");
        let text = process.output();
        let after = |word: &str| text.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()).map(PathBuf::from);
        Self { ca_file: after("--cacert ").expect("curl is told of a certificate"), text, process }
    }

    fn word_after(&self, start: &str) -> &str {
        self.text
            .split(start)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("`{start}` in {}", self.text))
    }

    /// The commands, in their order.
    fn commands(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("   ")).filter(|line| line.starts_with("curl ")).collect()
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        signal(self.process.pid, "TERM");
        let status = self.process.wait();
        if !std::thread::panicking() {
            assert!(status.success() && !self.ca_file.exists(), "{status}: {}", self.process.log());
        }
    }
}

impl World for Printed {
    fn issuer(&self) -> &str {
        self.word_after("scopegate demo: ")
    }

    fn frappe_url(&self) -> String {
        self.word_after("guards pocket ERP at ").to_owned()
    }

    fn gate(&self) -> Wire {
        Wire::tls_to(place(self.issuer()).1, "localhost", &self.ca_file)
    }

    fn keep_secret(&self, secret: &str) {
        assert!(!self.process.log().contains(secret), "a secret is in the log");
    }
}

/// What a shell makes of a printed command.
fn sh(command: &str, variables: &BTreeMap<&str, String>) -> String {
    let run = Command::new("sh").args(["-c", command]).envs(variables).output().expect("sh is there");
    assert!(run.status.success(), "{command}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("it answers text")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Signs in as the guide says and answers the question: the app's page.
fn app_page(demo: &Printed, decision: &str) -> Page {
    let url = demo.text.lines().map(str::trim).find(|line| line.starts_with("https://") && line.contains("authorize?")).expect("a link");
    let (user, password) = (demo.word_after("Sign in as "), demo.word_after("with the password ").trim_end_matches(','));
    let mut person = Person::new(demo);
    let begun = person.get(url);
    let consent = person.sign_in_as(begun, user, password);
    assert!(consent.reply.text().contains("Demo app"), "{}", consent.reply.text());
    let sent = person.answer(&consent, decision);
    let location = sent.location().to_owned();
    assert_eq!(parameter(&location, "iss").as_deref(), Some(demo.issuer()));
    person.get(&location)
}

#[test]
fn the_printed_flow_works_as_it_is_printed() {
    let demo = Printed::start();
    let page = app_page(&demo, "allow");
    let html = page.reply.text();
    assert_eq!(page.reply.status, 200, "{html}");
    let policy = page.reply.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !html.contains("<script"), "{policy}");
    let command = html.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next()).expect("a command").replace("&#34;", "\"");

    // The page's line is the printed one, with the code in it.
    let commands = demo.commands();
    let code = parameter(&page.url, "code").expect("a code");
    assert_eq!(command, commands[0].replace("$CODE", &code));
    let tokens = parsed(&sh(&command, &BTreeMap::new()));
    assert_eq!((&tokens["token_type"], &tokens["scope"], &tokens["expires_in"]), (&json!("Bearer"), &json!("read write"), &json!(3600)));
    let secret = |name: &str, tokens: &Value| {
        let secret = tokens[name].as_str().unwrap_or_else(|| panic!("`{name}` in {tokens}")).to_owned();
        demo.keep_secret(&secret);
        secret
    };
    let variables = BTreeMap::from([("TOKEN", secret("access_token", &tokens)), ("REFRESH", secret("refresh_token", &tokens))]);
    let run = |at: usize| sh(commands[at], &variables);
    let items = parsed(&run(1));
    assert!(items["data"].as_array().is_some_and(|rows| !rows.is_empty()), "{items}");
    let lead = parsed(&run(2));
    assert_eq!((&lead["data"]["lead_name"], &lead["data"]["owner"]), (&json!("OAuth Lead"), &json!("demo@example.com")), "{lead}");
    let next = parsed(&run(3));
    assert_ne!(secret("access_token", &next), variables["TOKEN"]);
    secret("refresh_token", &next);
    assert_eq!(run(4), "{}");
    eventually("the token is revoked", || run(1).contains("AuthenticationError"));

    // And what needs no browser.
    assert_eq!(parsed(&run(5))["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(parsed(&run(6))["data"]["lead_name"], "OAuth Lead");
    for (at, status) in [(7, "HTTP/2 403"), (8, "HTTP/2 401"), (9, "HTTP/2 400")] {
        let answer = run(at).replace("HTTP/1.1", "HTTP/2");
        assert!(answer.starts_with(status), "{}: {answer}", commands[at]);
    }
    assert_eq!(commands.len(), 10);
}

#[test]
fn the_demos_app_is_told_of_a_no() {
    let demo = Printed::start();
    let page = app_page(&demo, "deny");
    assert!(page.reply.status == 200 && page.reply.text().contains("access_denied"), "{}", page.reply.text());
    // What did not begin at the printed link counts for nothing there.
    let stale = page.url.replace("state=", "state=x");
    let again = Person::new(&demo).get(&stale);
    assert!(again.reply.status == 400 && !again.reply.text().contains("access_denied"), "{}", again.reply.text());
}

#[test]
fn the_demo_says_for_scripts_what_a_person_is_told() {
    let demo = Demo::start();
    let base = demo.text("base_url");
    let app = &demo.ready["app"];
    let redirect_uri = app["redirect_uri"].as_str().expect("a redirect URI");
    assert!(redirect_uri.starts_with("http://127.0.0.1:") && redirect_uri.ends_with("/callback"), "{redirect_uri}");
    assert_eq!(app["client_id"], "demo-app");
    assert_eq!(demo.ready["login"], json!({"user": "demo@example.com", "password": "demo"}));
    for (key, name) in [("authorize_url", "authorize?"), ("token_url", "get_token"), ("revoke_url", "revoke_token")] {
        assert!(demo.text(key).starts_with(&format!("{base}/api/method/frappe.integrations.oauth2.{name}")), "{}", demo.text(key));
    }
    assert_eq!(parameter(demo.text("authorize_url"), "redirect_uri").as_deref(), Some(redirect_uri));
    let (host, address) = place(base);
    let document = Wire::tls_to(address, "localhost", Path::new(demo.text("ca_file")))
        .exchange(format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    assert_eq!(document.json()["issuer"], *base);
}
