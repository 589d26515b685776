//! The same through the socket: every operation, every kind of error, and requests that no command of ours sends.

use ::http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::admin::door::running;
use crate::admin::error::{AdminError, Code};
use crate::admin::http;
use crate::admin::message::{ClientChange, GrantListQuery, GrantState, Own, Rotation, TokenRef, TokenState};
use crate::admin::remote::Remote;
use crate::admin::socket::bind;
use crate::oauth::client::GrantType;
use crate::oauth::records::End;
use crate::store::copy::each;
use crate::store::export::{Entry, Item, PAGE_ENTRIES_MAX};
use crate::store::kept::{Kind, Set};

struct Gate {
    room: Room,
    remote: Remote,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Gate {
    fn start() -> Self {
        let room = Room::new();
        let path = room.directory.path().join("admin.sock");
        let listener = bind(&path).expect("a free path");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(http::serve(listener, Arc::clone(&room.admin), async move { drop(stopped.await) }));
        Self { remote: Remote::new(&path), room, stop, serving }
    }

    fn path(&self) -> std::path::PathBuf {
        self.room.directory.path().join("admin.sock")
    }

    /// One exchange as any program could have it.
    async fn raw(&self, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> (StatusCode, Value) {
        let stream = UnixStream::connect(self.path()).await.expect("the gate answers");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let request =
            ::http::Request::builder().method(method).uri(path).header("host", "x").body(Full::new(body.into())).expect("a request");
        let answered = async move {
            let response = sender.send_request(request).await.expect("an answer");
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
        };
        tokio::join!(answered, connection).0
    }
}

#[tokio::test]
async fn every_operation_goes_through_the_socket() {
    let gate = Gate::start();
    let remote = &gate.remote;
    let new = NewClient {
        rate: Some(crate::oauth::client::ClientRate { requests: 600, seconds: 60, burst: 10 }),
        api_key: Some(SecretText::new("key:secret")),
        ..new_client("crm", "read write")
    };
    let created = remote.create_client(ERP, &new).await.expect("a new client");
    assert!(created.client_secret.is_some() && created.client.rate == new.rate);
    assert_eq!(remote.client(ERP, "crm").await.expect("it is there"), created.client);
    assert_eq!(remote.clients(ERP).await.expect("a list").clients.len(), 1);

    let issued = remote.issue_token(ERP, &new_token("crm", "read")).await.expect("a token");
    let token = TokenRef::Token(issued.access_token.clone().expect("it is new"));
    assert_eq!(remote.inspect_token(ERP, &token).await.expect("it is there").state, Some(TokenState::Live));
    let registered = remote.issue_token(ERP, &register("crm", "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123")).await.expect("a token");
    let listed = remote.tokens(ERP, &list("crm", Some(1))).await.expect("a list");
    assert_eq!((listed.tokens.len(), listed.more), (1, true));

    assert!(!remote.disable_client(ERP, "crm").await.expect("it is there").enabled);
    assert!(!gate.room.lives(&issued.hash).await);
    assert!(remote.enable_client(ERP, "crm").await.expect("it is there").enabled);
    assert!(gate.room.lives(&issued.hash).await);
    assert!(remote.revoke_token(ERP, &token).await.expect("it is there").revoked);
    assert!(!gate.room.lives(&issued.hash).await);
    let change =
        ClientChange { scopes: Some("read".to_owned()), rate: Some(Own::Drop), api_key: Some(Own::Drop), ..ClientChange::default() };
    let updated = remote.update_client(ERP, "crm", &change).await.expect("it is there");
    assert_eq!((updated.scopes.as_str(), updated.rate, updated.own_api_key), ("read", None, Some(false)));
    let change = ClientChange { api_key: Some(Own::Set(SecretText::new("key:secret"))), ..ClientChange::default() };
    assert_eq!(remote.update_client(ERP, "crm", &change).await.expect("it is there").own_api_key, Some(true));
    let rotated = remote.rotate_secret(ERP, "crm", Rotation::default()).await.expect("it has a secret");
    assert_ne!(rotated.client_secret, created.client_secret);
    assert!(gate.room.lives(&registered.hash).await);
    assert!(remote.revoke_client(ERP, "crm").await.expect("it is there").revoked);
    assert!(!gate.room.lives(&registered.hash).await);
    assert!(remote.delete_client(ERP, "crm").await.expect("it is there").deleted);
    assert_eq!(remote.status().await.expect("a status")["store"]["kind"], "embedded");
}

#[tokio::test]
async fn grants_and_users_go_through_the_socket() {
    let gate = Gate::start();
    let remote = &gate.remote;
    let new = NewClient {
        redirect_uris: vec!["https://a.example/cb".to_owned()],
        grant_types: GrantType::ALL.to_vec(),
        default_scopes: Some("read".to_owned()),
        skip_consent: true,
        origins: vec!["https://a.example".to_owned()],
        user: Some(USER.to_owned()),
        ..new_client("crm", "read write")
    };
    let created = remote.create_client(ERP, &new).await.expect("a new client");
    assert_eq!((&created.client.redirect_uris, &created.client.grant_types), (&new.redirect_uris, &new.grant_types));
    assert_eq!((&created.client.default_scopes, created.client.skip_consent), (&new.default_scopes, true));
    assert_eq!((&created.client.origins, &created.client.user), (&new.origins, &new.user));
    let change = ClientChange {
        redirect_uris: Some(Vec::new()),
        grant_types: Some(Vec::new()),
        default_scopes: Some(Own::Drop),
        skip_consent: Some(false),
        origins: Some(Vec::new()),
        user: Some(Own::Drop),
        ..ClientChange::default()
    };
    let updated = remote.update_client(ERP, "crm", &change).await.expect("it is there");
    assert!(updated.redirect_uris.is_empty() && updated.grant_types.is_empty() && updated.origins.is_empty());
    assert_eq!((updated.default_scopes, updated.skip_consent, updated.user), (None, false, None));
    let rotation = Rotation { overlap: Some(60), revoke_tokens: true };
    let rotated = remote.rotate_secret(ERP, "crm", rotation).await.expect("it has a secret");
    assert!(rotated.client.previous_secret_until.is_some());

    let user = "sam & ann+1@example.com#%";
    for (id, user) in [("g-1", USER), ("g-2", user)] {
        gate.room.grant(id, "crm", user, Timestamp::from_unix(4_102_444_800)).await;
    }
    let query =
        |client: Option<&str>, user: Option<&str>| GrantListQuery { client: client.map(str::to_owned), user: user.map(str::to_owned) };
    for (query, count) in [
        (query(Some("crm"), None), 2),
        (query(None, Some(user)), 1),
        (query(Some("crm"), Some(user)), 1),
        (query(Some("crm"), Some("sam")), 0),
    ] {
        assert_eq!(remote.grants(ERP, &query).await.expect("a list").grants.len(), count, "{query:?}");
    }
    let shown = remote.grant(ERP, "g-1").await.expect("it is there");
    assert_eq!((shown.state, shown.site_token), (GrantState::Live, Some(true)));
    let revoked = remote.revoke_grant(ERP, "g-1").await.expect("it is there");
    assert_eq!((revoked.state, revoked.ended.map(|ended| ended.by)), (GrantState::Ended, Some(End::Operator)));
    let revoked = remote.revoke_user(ERP, user).await.expect("a user");
    assert_eq!((revoked.user.as_str(), revoked.grants), (user, 1));

    for id in ["nosuch", "a/b", "..", "%2e"] {
        let admin = &gate.room.admin;
        assert_eq!(remote.grant(ERP, id).await.expect_err(id), admin.grant(ERP, id).await.expect_err(id));
        assert_eq!(remote.revoke_grant(ERP, id).await.expect_err(id), admin.revoke_grant(ERP, id).await.expect_err(id));
    }
    assert_eq!(remote.grants(ERP, &query(None, None)).await.expect_err("whose?").code, Code::RequestInvalid);
}

#[tokio::test]
async fn an_error_is_the_same_on_both_sides() {
    let gate = Gate::start();
    let (remote, admin) = (&gate.remote, &gate.room.admin);
    gate.room.client("crm", "read").await;
    assert_eq!(
        remote.create_client(ERP, &new_client("crm", "read")).await.expect_err("taken"),
        admin.create_client(ERP, new_client("crm", "read")).await.expect_err("taken")
    );
    assert_eq!(
        remote.issue_token(ERP, &new_token("crm", "write")).await.expect_err("too wide"),
        admin.issue_token(ERP, new_token("crm", "write")).await.expect_err("too wide")
    );
    for id in ["nosuch", "a b", "../clients", "a/b", "ü?#%2F"] {
        assert_eq!(remote.client(ERP, id).await.expect_err(id), admin.client(ERP, id).await.expect_err(id));
        assert_eq!(remote.tokens(ERP, &list(id, None)).await.expect_err(id), admin.tokens(ERP, &list(id, None)).await.expect_err(id));
    }
    for site in ["nosuch", "a/b", "..", "erp.example.com/clients"] {
        assert_eq!(remote.clients(site).await.expect_err(site), admin.clients(site).await.expect_err(site));
    }
}

#[tokio::test]
async fn what_no_command_sends_is_refused() {
    let gate = Gate::start();
    let clients = format!("/v1/sites/{ERP}/clients");
    let revoke = format!("/v1/sites/{ERP}/tokens/revoke");
    let tokens = format!("/v1/sites/{ERP}/tokens");
    let (grants, users) = (format!("/v1/sites/{ERP}/grants"), format!("/v1/sites/{ERP}/users/revoke"));
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(http::BODY_BYTES_MAX));
    let unknown = r#"{"name":"x","scopes":"read","enabled":true}"#;
    for (method, path, body, status, code) in [
        (Method::GET, "/", "", 404, "route_unknown"),
        (Method::GET, "/v2/status", "", 404, "route_unknown"),
        (Method::POST, "/v1/status", "", 404, "route_unknown"),
        (Method::POST, "/v1/store/export", "", 404, "route_unknown"),
        (Method::GET, "/v1/store/import", "", 404, "route_unknown"),
        (Method::PUT, &clients, "{}", 404, "route_unknown"),
        (Method::POST, &clients, "", 400, "request_invalid"),
        (Method::POST, &clients, "s3cret", 400, "request_invalid"),
        (Method::POST, &clients, "[\"s3cret\"]", 400, "request_invalid"),
        (Method::POST, &clients, "{}", 400, "request_invalid"),
        (Method::POST, &clients, unknown, 400, "request_invalid"),
        (Method::POST, &clients, &long, 400, "request_invalid"),
        (Method::PATCH, &format!("{clients}/crm"), r#"{"enabled":true}"#, 400, "request_invalid"),
        (Method::PATCH, &format!("{clients}/crm"), r#"{"api_key":"s3cret"}"#, 400, "request_invalid"),
        (Method::PATCH, &format!("{clients}/crm"), "{}", 404, "client_unknown"),
        (Method::POST, &revoke, "{}", 400, "request_invalid"),
        (Method::POST, &revoke, r#"{"token":"s3cret","hash":"s3cret"}"#, 400, "request_invalid"),
        (Method::POST, &revoke, r#"{"token":7}"#, 400, "request_invalid"),
        (Method::GET, &tokens, "", 400, "request_invalid"),
        (Method::GET, &format!("{tokens}?client=a&limit=-1"), "", 400, "request_invalid"),
        (Method::GET, &format!("{tokens}?client=a&client=b"), "", 400, "request_invalid"),
        (Method::POST, &clients, r#"{"name":"x","scopes":"read","grant_types":["implicit"]}"#, 400, "request_invalid"),
        (Method::POST, &clients, r#"{"name":"x","scopes":"read","redirect_uris":"https://a.example/cb"}"#, 400, "request_invalid"),
        (Method::POST, &clients, r#"{"name":"x","scopes":"read","redirect_uris":["app:/cb"]}"#, 400, "redirect_uri_invalid"),
        (Method::POST, &clients, r#"{"name":"x","scopes":"read","secret":"s3cret"}"#, 400, "request_invalid"),
        (Method::POST, &format!("{clients}/crm/rotate-secret"), r#"{"secret":"s3cret"}"#, 400, "request_invalid"),
        (Method::POST, &format!("{clients}/crm/rotate-secret"), r#"{"overlap":-1}"#, 400, "request_invalid"),
        (Method::POST, &format!("{clients}/crm/rotate-secret"), r#"{"overlap":2592001}"#, 400, "overlap_invalid"),
        (Method::POST, &format!("{clients}/crm/rotate-secret"), "", 404, "client_unknown"),
        (Method::GET, &grants, "", 400, "request_invalid"),
        (Method::GET, &format!("{grants}?user=a&user=b"), "", 400, "request_invalid"),
        (Method::GET, &format!("{grants}?client=nosuch"), "", 404, "client_unknown"),
        (Method::GET, &format!("{grants}?everyone=1"), "", 400, "request_invalid"),
        (Method::GET, &format!("{grants}/nosuch"), "", 404, "grant_unknown"),
        (Method::DELETE, &format!("{grants}/nosuch"), "", 404, "route_unknown"),
        (Method::POST, &format!("{grants}/nosuch/revoke"), "", 404, "grant_unknown"),
        (Method::POST, &users, "", 400, "request_invalid"),
        (Method::POST, &users, r#"{"user":"a","client":"b"}"#, 400, "request_invalid"),
        (Method::POST, &users, r#"{"user":" "}"#, 400, "user_invalid"),
        (Method::GET, "/v1/sites/nosuch/grants?user=a", "", 404, "site_unknown"),
        (Method::GET, "/v1/sites/nosuch/clients", "", 404, "site_unknown"),
        (Method::POST, &tokens, r#"{"client_id":"nosuch","user":"u","scope":"read"}"#, 404, "client_unknown"),
        (Method::POST, &revoke, &format!("{{\"hash\":\"{}\"}}", "ab".repeat(32)), 404, "token_unknown"),
    ] {
        let (answered, error) = gate.raw(method.clone(), path, body.to_owned()).await;
        assert_eq!((answered.as_u16(), error["error"].as_str()), (status, Some(code)), "{method} {path}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn where_no_gate_answers_the_door_is_elsewhere() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("admin.sock");
    assert!(running(&path).await.expect("nothing is there").is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a free path"));
    assert!(running(&path).await.expect("nobody answers").is_none());
    let gate = Gate::start();
    assert!(running(&gate.path()).await.expect("it answers").is_some());
    let gone = Remote::new(&path).status().await.expect_err("nobody answers");
    assert_eq!(gone.code, Code::Gate);
}

#[tokio::test]
async fn what_is_no_gate_is_said_to_be_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("admin.sock");
    let listener = bind(&path).expect("a free path");
    let serving = tokio::spawn(async move {
        for answer in
            ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "hello\r\n\r\n", ""]
        {
            let (mut stream, _) = listener.accept().await.expect("the test asks");
            let mut head = [0; 16];
            tokio::io::AsyncReadExt::read(&mut stream, &mut head).await.expect("the test asks");
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.expect("the test listens");
        }
    });
    for _ in 0..4 {
        assert_eq!(Remote::new(&path).status().await.expect_err("no gate").code, Code::Gate);
    }
    serving.await.expect("it ends by itself");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let gate = Gate::start();
    gate.remote.status().await.expect("a status");
    let path = gate.path();
    gate.stop.send(()).expect("it is still serving");
    gate.serving.await.expect("it ends");
    assert!(running(&path).await.expect("nobody answers").is_none());
    bind(&path).expect("the next gate takes the place");
}

/// The entries that come through the socket, and how the export ended.
async fn exported(remote: &Remote) -> (Vec<Entry>, Result<u64, AdminError>) {
    let mut found = Vec::new();
    let ended = each(&async |pages| remote.export(pages).await, async |page| {
        found.extend(page);
        Ok(())
    })
    .await;
    (found, ended)
}

#[tokio::test]
async fn a_whole_store_goes_through_the_socket() {
    let gate = Gate::start();
    assert!(matches!(exported(&gate.remote).await, (found, Ok(0)) if found.is_empty()));
    gate.room.client("crm", "read").await;
    gate.room.grant("g-1", "crm", USER, Timestamp::from_unix(5)).await;
    // More than a page, so more than one line.
    for number in 0..9_u64 {
        gate.room.put(&TokenHash::of(&number.to_be_bytes()), "crm", 1, 4_102_444_800).await;
    }
    let marks = (0..PAGE_ENTRIES_MAX).map(|number| Item::Mark { subject: format!("user:u{number}"), at: Timestamp::from_unix(1) });
    gate.room.store.import(marks.map(|item| Entry::new(ERP, item)).collect()).await.expect("the store answers");
    let (found, ended) = exported(&gate.remote).await;
    assert_eq!((ended, found.len()), (Ok(0), 1 + 9 + 1 + 1 + 2 + PAGE_ENTRIES_MAX));
    let (pages, mut here) = tokio::sync::mpsc::channel(99);
    gate.room.store.export(pages).await.expect("the store answers");
    let mut expected = Vec::new();
    while let Ok(page) = here.try_recv() {
        expected.extend(page);
    }
    assert_eq!(found, expected);

    // Whoever has enough lets go, and the gate goes on.
    let failed = each(&async |pages| gate.remote.export(pages).await, async |_| Err::<(), _>(AdminError::new(Code::Store, "full"))).await;
    assert_eq!(failed.expect_err("the target was full").code, Code::Store);
    gate.remote.status().await.expect("a status");
}

#[tokio::test]
async fn an_export_that_breaks_off_or_cannot_be_read_is_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("admin.sock");
    let listener = bind(&path).expect("a free path");
    let page = "{\"page\":[{\"site\":\"erp\",\"item\":{\"mark\":{\"subject\":\"user:a\",\"at\":1}}}]}\n";
    let told = "{\"error\":{\"error\":\"store\",\"message\":\"client crm has a record that cannot be read\"}}\n";
    let rows = [
        (page.to_owned(), 1, Code::Gate, "ends too early"),
        (format!("{page}{told}"), 1, Code::Store, "client crm"),
        (format!("{page}hello\n"), 0, Code::Gate, "another version"),
        (String::new(), 0, Code::Gate, "ends too early"),
    ];
    let answers: Vec<String> = rows
        .iter()
        .map(|(body, ..)| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        // Cut off in the middle of what was announced.
        .chain([format!("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{page}")])
        .collect();
    let serving = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("the test asks");
            let mut head = [0; 16];
            tokio::io::AsyncReadExt::read(&mut stream, &mut head).await.expect("the test asks");
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.expect("the test listens");
        }
    });
    for (body, count, code, word) in rows {
        let (found, ended) = exported(&Remote::new(&path)).await;
        let error = ended.expect_err("not whole");
        assert_eq!((found.len(), error.code), (count, code), "{body}");
        assert!(error.message.contains(word), "{error}");
    }
    let (_, ended) = exported(&Remote::new(&path)).await;
    assert_eq!(ended.expect_err("cut off").code, Code::Gate);
    serving.await.expect("it ends by itself");
}

#[tokio::test]
async fn an_export_of_damaged_data_says_so_through_the_socket() {
    let gate = Gate::start();
    gate.room.store.enter(ERP, Set::GrantsOfClient, "crm", "g").await.expect("the store answers");
    gate.room.store.create_record(ERP, Kind::Grant, "g", b"{}", None).await.expect("the store answers");
    let (found, ended) = exported(&gate.remote).await;
    assert_eq!((found.len(), ended), (2, Ok(0)), "what a record says is judged by whoever takes it");
    assert!(found.iter().any(|entry| entry.check().is_err()));
}
