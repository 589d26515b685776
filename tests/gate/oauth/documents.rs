//! Clients whose id is the URL of the document that describes them (Client ID Metadata Documents).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::certificate::Certificate;
use crate::support::gate::Gate;
use crate::support::provider::{App, CALLBACK, Frappe, Person, Provider, authorize};
use crate::support::redis::Redis;
use crate::support::setup::Setup;

/// An HTTPS server of one document.
struct Documents {
    address: SocketAddr,
    certificate: Certificate,
    body: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

impl Documents {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let certificate = Certificate::write(dir.path(), "documents", &["localhost"]);
        let key = PrivateKeyDer::from_pem_file(&certificate.key_file).expect("just written");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der()], key).expect("they fit");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (body, asked) = (Arc::new(Mutex::new(Value::Null)), Arc::new(AtomicUsize::new(0)));
        let (served, counted) = (Arc::clone(&body), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let connection = ServerConnection::new(Arc::clone(&config)).expect("the config is complete");
                let mut stream = StreamOwned::new(connection, stream);
                let mut head = [0; 4096];
                if stream.read(&mut head).is_err() {
                    continue;
                }
                let text = served.lock().expect("no one panics with it").to_string();
                let length = text.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                );
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { address, certificate, body, asked, _dir: dir }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/app/client.json", self.address.port())
    }

    fn describe(&self, change: impl FnOnce(&mut Value)) {
        let mut document = json!({
            "client_id": self.url(),
            "client_name": "Agent of Ida",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
            "scope": "read",
        });
        change(&mut document);
        *self.body.lock().expect("no one panics with it") = document;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn provider(&self, more: &str) -> Provider {
        let ca = self.certificate.cert_file.display();
        let frappe = Frappe::start();
        let setup = Setup::on(Redis::start(), &frappe.url());
        let oauth = format!("client_documents = true\nregistration_scopes = \"read write\"\nclient_document_ca_file = \"{ca}\"\n{more}");
        Provider::begin(setup, frappe, &oauth)
    }

    fn app(&self) -> App {
        App { id: self.url(), secret: None }
    }
}

/// What is wrong with a document.
type Change = fn(&mut Value);

const LOCAL: &str = "client_document_networks = [\"127.0.0.0/8\", \"::1/128\"]";

/// The clients that the gate keeps.
fn kept(gate: &Gate) -> usize {
    gate.cli_json(&["client", "list", "--site", "fake.test", "--json"])["clients"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_client_described_by_a_document_gets_tokens_within_what_such_clients_may_have() {
    let documents = Documents::start();
    documents.describe(|_| {});
    let provider = documents.provider(LOCAL);
    let before = kept(&provider.gate);
    let app = documents.app();

    let mut person = Person::new(&provider);
    let consent = person.begin(&authorize(&app, "read", &[]));
    let text = consent.reply.text();
    assert!(text.contains("Agent of Ida") && text.contains("localhost"), "{text}");
    let page = person.answer(&consent, "allow");
    let code = crate::support::provider::parameter(page.location(), "code").expect("a code");
    provider.gate.keep_secret(&code);
    let reply = provider.redeem(&app, &code);
    assert_eq!((reply.status, reply.json()["scope"].as_str()), (200, Some("read")), "{}", reply.text());
    let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
    provider.gate.keep_secret(&token);
    assert_eq!(provider.api("GET", "/api/resource/Item", &token, None).status, 200);
    assert_eq!(provider.api("DELETE", "/api/resource/Item/x", &token, None).status, 403);

    // It is read once while it is fresh, and kept like every client; under its URL only.
    assert_eq!((documents.asked(), kept(&provider.gate)), (1, before + 1));
    let listed = provider.gate.cli_json(&["client", "list", "--site", "fake.test", "--json"]);
    let inner = listed["clients"]
        .as_array()
        .expect("a list")
        .iter()
        .find_map(|client| client["client_id"].as_str().filter(|id| id.starts_with("doc-")));
    let inner = App { id: inner.expect("it is there").to_owned(), secret: None };
    assert_eq!(person.open(&authorize(&inner, "read", &[])).reply.status, 400);
    // An operator's word outlives the document's.
    provider.gate.cli_json(&["client", "disable", &inner.id, "--site", "fake.test", "--json"]);
    assert_eq!(person.open(&authorize(&app, "read", &[])).reply.status, 400);
    crate::support::eventually("the token is refused", || provider.api("GET", "/api/resource/Item", &token, None).status == 401);
}

#[test]
fn a_document_that_is_no_good_makes_no_client() {
    let documents = Documents::start();
    let provider = documents.provider(LOCAL);
    let before = kept(&provider.gate);
    let bad: [(&str, Change); 6] = [
        ("another id", |document| document["client_id"] = json!("https://localhost/other.json")),
        ("no redirect URI", |document| document["redirect_uris"] = json!([])),
        ("a script for a redirect URI", |document| document["redirect_uris"] = json!(["javascript:alert(1)"])),
        ("a secret", |document| document["client_secret"] = json!("hush")),
        ("a scope beyond what such clients may have", |document| document["scope"] = json!("delete")),
        ("no object", |document| *document = json!([])),
    ];
    for (what, change) in bad {
        documents.describe(change);
        let mut person = Person::new(&provider);
        let page = person.open(&authorize(&documents.app(), "read", &[]));
        assert!(page.reply.status >= 400 && page.reply.header("location").is_none(), "{what}: {}", page.reply.text());
        assert!(page.reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{what}");
        assert!(!page.reply.text().contains("hush") && !page.reply.text().contains("alert(1)"), "{what}");
    }
    assert_eq!(kept(&provider.gate), before, "nothing is stored");
    // A token request fetches nothing.
    let asked = documents.asked();
    documents.describe(|_| {});
    let reply = provider.redeem(&documents.app(), "no-such-code");
    assert_eq!((reply.status, reply.json()["error"].as_str(), documents.asked()), (401, Some("invalid_client"), asked));
}

#[test]
fn a_client_document_is_never_fetched_from_a_private_address() {
    let documents = Documents::start();
    documents.describe(|_| {});
    let provider = documents.provider("");
    let mut person = Person::new(&provider);
    let port = documents.address.port();
    for id in [
        documents.url(),
        format!("https://127.0.0.1:{port}/app/client.json"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        format!("https://[::1]:{port}/app/client.json"),
        "https://localhost/app/client.json".to_owned(),
        "http://app.example/client.json".to_owned(),
        "https://app.example/../client.json".to_owned(),
    ] {
        let page = person.open(&authorize(&App { id: id.clone(), secret: None }, "read", &[]));
        assert!(page.reply.status >= 400 && page.reply.header("location").is_none(), "{id}: {}", page.reply.status);
    }
    assert_eq!(documents.asked(), 0, "not one connection was made");
}

#[test]
fn a_client_that_is_disabled_while_its_document_is_read_stays_disabled() {
    let documents = Documents::start();
    documents.describe(|_| {});
    let provider = documents.provider(LOCAL);
    let target = authorize(&documents.app(), "read", &[]);
    assert_eq!(Person::new(&provider).open(&target).reply.status, 303, "to the sign-in");
    let redis = provider.gate.redis();
    let key = redis.keys().into_iter().find(|key| key.contains(":client:doc-")).expect("it is kept");
    let mut record = redis.get(&key);
    record["document"]["fresh_until"] = json!(1);
    redis.put(&key, &record);
    record["enabled"] = json!(false);
    // Its owner takes his time, and an operator has enough of him meanwhile.
    thread::scope(|scope| {
        let (ready, begin) = std::sync::mpsc::channel();
        let (documents, record, key) = (&documents, &record, &key);
        scope.spawn(move || {
            let held = documents.body.lock().expect("no one panics with it");
            ready.send(()).expect("the test waits");
            crate::support::eventually("the document is asked for", || documents.asked() == 2);
            redis.put(key, record);
            drop(held);
        });
        begin.recv().expect("the thread runs");
        assert_eq!(Person::new(&provider).open(&target).reply.status, 400);
    });
    assert_eq!(redis.get(&key)["enabled"], false);
}
