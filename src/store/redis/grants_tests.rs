//! The exact keys of the OAuth provider, and the rights that they take.

use redis::{Commands, Connection};

use crate::oauth::client::{Client, Document, GrantType, PreviousSecret};
use crate::oauth::records::{CodeRecord, End, Grant, Profile, RefreshRecord, Session};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::RECORD_VERSION;
use crate::store::contract::{PATIENCE, client, hash, redis as connect};
use crate::store::kept::{self, Kind, RecordStore, RevocationStore, Set, Subject, digest_id};
use crate::store::presence::{Gateway, PresenceStore};
use crate::store::redis::RedisStore;
use crate::store::redis::tests::told;
use crate::store::redis_server::RedisServer;
use crate::store::{ClientStore, RedisUrl, grants};

const SITE: &str = "erp.example.com";

const ISSUED: Timestamp = Timestamp::from_unix(4_102_440_000);
const LATER: Timestamp = Timestamp::from_unix(4_102_444_800);

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}

fn grant(id: &str) -> Grant {
    Grant {
        v: RECORD_VERSION,
        id: id.into(),
        client: "crm".into(),
        user: "user@example.com".into(),
        scopes: scopes("read openid"),
        created: ISSUED,
        used: ISSUED.plus(60),
        profile: Profile { name: Some("Sam".to_owned()), ..Profile::default() },
        ended: None,
    }
}

/// Every kind of record, set and mark, once.
async fn fill(store: &RedisStore) {
    let registered = Client {
        previous_secret: Some(PreviousSecret { hash: hash("old secret"), until: LATER }),
        redirect_uris: vec!["https://crm.example.com/callback".to_owned()],
        grant_types: GrantType::ALL.to_vec(),
        default_scopes: Some(scopes("read")),
        skip_consent: true,
        origins: vec!["https://crm.example.com".to_owned()],
        user: Some("etl@example.com".into()),
        document: Some(Document { url: "https://crm.example.com/client.json".to_owned(), fresh_until: LATER }),
        self_registered: true,
        ..client("crm")
    };
    store.enter(SITE, Set::ClientsOfOrigin, &digest_id("https://crm.example.com"), "crm").await.unwrap();
    assert!(store.create_client(SITE, &registered).await.unwrap());
    assert!(grants::begin(store, SITE, &grant("g-1")).await.unwrap());
    assert!(grants::begin(store, SITE, &grant("g-2")).await.unwrap());
    grants::end(store, SITE, "g-2", End::Operator, LATER).await.unwrap();
    let code = CodeRecord {
        v: RECORD_VERSION,
        client: "crm".into(),
        user: "user@example.com".into(),
        grant: "g-1".into(),
        scopes: scopes("read openid"),
        redirect_uri: Some("https://crm.example.com/callback".to_owned()),
        challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned()),
        nonce: Some("n-0S6_WzA2Mj".to_owned()),
        auth_time: ISSUED,
        iat: ISSUED,
        exp: ISSUED.plus(60),
        spent: Some(ISSUED.plus(2)),
        issued: None,
    };
    assert!(kept::create(store, SITE, Kind::Code, &hash("code").to_string(), &code, Some(LATER)).await.unwrap());
    let refresh = RefreshRecord {
        v: RECORD_VERSION,
        client: "crm".into(),
        user: "user@example.com".into(),
        grant: "g-1".into(),
        scopes: scopes("read openid"),
        iat: ISSUED,
        exp: LATER,
        spent: None,
    };
    let id = hash("refresh").to_string();
    assert!(kept::create(store, SITE, Kind::Refresh, &id, &refresh, Some(LATER)).await.unwrap());
    let read = kept::load::<RefreshRecord>(store, SITE, Kind::Refresh, &id).await.unwrap().unwrap();
    let spent = read.value.spend(ISSUED.plus(9), "c2VhbGVk".to_owned());
    assert!(kept::swap(store, SITE, Kind::Refresh, &id, &read, &spent, Some(LATER)).await.unwrap());
    let session = Session {
        v: RECORD_VERSION,
        user: "user@example.com".into(),
        profile: Profile { email: Some("user@example.com".to_owned()), ..Profile::default() },
        iat: ISSUED,
        exp: LATER,
        site_tokens: None,
    };
    assert!(kept::create(store, SITE, Kind::Session, &hash("cookie").to_string(), &session, Some(LATER)).await.unwrap());
    store.raise(SITE, &[(Subject::Client("shop").field(), ISSUED)]).await.unwrap();
    store.raise(SITE, &[(Subject::User("ann@example.com").field(), ISSUED)]).await.unwrap();
}

fn beside(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

#[tokio::test]
async fn the_stored_format_is_public() {
    let server = RedisServer::start();
    fill(&connect(&server, PATIENCE).await).await;
    let mut redis = beside(&server);
    let mut keys: Vec<String> = redis.keys("*").unwrap();
    keys.sort();
    let mut seen = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut redis).unwrap();
        let expires: i64 = redis::cmd("EXPIRETIME").arg(&key).query(&mut redis).unwrap();
        let value = match &*kind {
            "string" => redis.get::<_, String>(&key).unwrap(),
            "set" => {
                let mut members: Vec<String> = redis.smembers(&key).unwrap();
                members.sort();
                format!("{members:?}")
            }
            "hash" => {
                let mut fields: Vec<(String, String)> = redis.hgetall(&key).unwrap();
                fields.sort();
                format!("{fields:?}")
            }
            "stream" => told(&mut redis, &key),
            other => panic!("{key} is a {other}"),
        };
        seen.push_str(&format!("{key}\n  {kind} {expires} {value}\n"));
    }
    assert_eq!(seen, GOLDEN);
}

const GOLDEN: &str = r#"sg:erp.example.com:client-grants:crm
  set -1 ["g-1", "g-2"]
sg:erp.example.com:client:crm
  string -1 {"v":1,"id":"crm","name":"The crm app","scopes":"read write","enabled":true,"created":1600000000,"secret":"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b","previous_secret":{"hash":"f8ee85f59a75fdb3a3fbf0941423f26a65a8ed0a5f6d7ff832acd8edf5635499","until":4102444800},"redirect_uris":["https://crm.example.com/callback"],"grant_types":["authorization_code","refresh_token","client_credentials"],"default_scopes":"read","skip_consent":true,"origins":["https://crm.example.com"],"user":"etl@example.com","document":{"url":"https://crm.example.com/client.json","fresh_until":4102444800},"self_registered":true}
sg:erp.example.com:clients
  set -1 ["crm"]
sg:erp.example.com:code:5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b
  string 4102444800 {"v":1,"client":"crm","user":"user@example.com","grant":"g-1","scopes":"read openid","redirect_uri":"https://crm.example.com/callback","challenge":"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM","nonce":"n-0S6_WzA2Mj","auth_time":4102440000,"iat":4102440000,"exp":4102440060,"spent":4102440002}
sg:erp.example.com:grant:g-1
  string -1 {"v":1,"id":"g-1","client":"crm","user":"user@example.com","scopes":"read openid","created":4102440000,"used":4102440060,"profile":{"name":"Sam"}}
sg:erp.example.com:grant:g-2
  string 4105036800 {"v":1,"id":"g-2","client":"crm","user":"user@example.com","scopes":"read openid","created":4102440000,"used":4102440060,"profile":{"name":"Sam"},"ended":{"at":4102444800,"by":"operator"}}
sg:erp.example.com:origin-clients:6e3dc7030a11f5975eae423257d284736ed34df4529bc4c851541d5a6029187b
  set -1 ["crm"]
sg:erp.example.com:refresh:d6cc0a088c07683c65cd266860cab8d94b3a1937b17420d9da30ca299c09fb77
  string 4102444800 {"v":1,"client":"crm","user":"user@example.com","grant":"g-1","scopes":"read openid","iat":4102440000,"exp":4102444800,"spent":{"at":4102440009,"answer":"c2VhbGVk"}}
sg:erp.example.com:session:d7e83e28a04b537e64424546b14caf9b67bad2f28dabce68116e0d372319fa00
  string 4102444800 {"v":1,"user":"user@example.com","profile":{"email":"user@example.com"},"iat":4102440000,"exp":4102444800}
sg:erp.example.com:user-grants:b4c9a289323b21a01c3e940f150eb9b8c542587f1abfd8f0e1cc1ffc5e475514
  set -1 ["g-1", "g-2"]
sg:{erp.example.com}:notbefore
  hash -1 [("client:shop", "4102440000"), ("grant:g-2", "4102444800"), ("user:ann@example.com", "4102440000")]
sg:{erp.example.com}:revocations
  stream -1 ["client crm", "mark grant:g-2 at 4102444800", "mark client:shop at 4102440000", "mark user:ann@example.com at 4102440000"]
"#;

#[tokio::test]
async fn the_rights_of_deploy_are_enough_and_needed() {
    let users = include_str!("../../../deploy/redis/users.acl");
    let line = users.lines().find(|line| line.starts_with("user scopegate ")).expect("the file has the line");
    let rights: Vec<&str> = line.split(' ').skip(2).collect();

    let server = RedisServer::start();
    let mut redis = beside(&server);
    let connect = async |user: &str| {
        let url = format!("{}?user={user}&pass=PASSWORD", server.socket_url());
        RedisStore::connect(&RedisUrl(url.into()), "sg", PATIENCE).await.unwrap()
    };
    redis::cmd("ACL").arg("SETUSER").arg("scopegate").arg(&rights).query::<()>(&mut redis).unwrap();
    let store = connect("scopegate").await;
    fill(&store).await;
    assert_eq!(grants::of_user(&store, SITE, "user@example.com").await.unwrap().len(), 2);
    assert_eq!(grants::mark_of(&store, SITE, "shop", "ann@example.com", Some("g-2")).await.unwrap(), Some(LATER));
    store.leave(SITE, Set::GrantsOfClient, "crm", "g-2").await.unwrap();
    assert!(store.delete_record(SITE, Kind::Grant, "g-2").await.unwrap());

    let gateway = Gateway::here();
    store.present(SITE, &gateway).await.unwrap();
    store.acknowledge(SITE, &["a".into()], &gateway).await.unwrap();
    assert_eq!(store.gateways(SITE).await.unwrap().len(), 1);
    assert_eq!(store.acknowledged(SITE, "a").await.unwrap().len(), 1);
    store.absent(SITE, &gateway).await.unwrap();

    // Nor can one of the rights of the provider or of the follower be left out.
    for missing in ["+eval", "+hget", "+hset", "+hmget", "+time", "+expire", "+zremrangebyrank"] {
        assert!(rights.contains(&missing), "{missing}");
        let fewer: Vec<&str> = rights.iter().copied().filter(|word| *word != missing).collect();
        redis::cmd("ACL").arg("SETUSER").arg("fewer").arg("reset").arg(&fewer).query::<()>(&mut redis).unwrap();
        let store = connect("fewer").await;
        let marked = store.raise(SITE, &[(Subject::User("ann@example.com").field(), LATER)]).await;
        let read = store.mark(SITE, &[Subject::User("ann@example.com")]).await;
        let lives = store.present(SITE, &gateway).await;
        assert!(marked.is_err() || read.is_err() || lives.is_err(), "{missing} is needed");
    }
}
