//! Redis as a real process: killed, stopped, restarted; and the exact keys.

use std::thread;
use std::time::Instant;

use redis::{Commands, Connection};

use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::store::RedisUrl;
use crate::store::contract::{PATIENCE, client, hash, later, redis as connect, token};
use crate::store::export::{Entry, Item, PortableStore};
use crate::store::kept::Set;
use crate::store::redis_server::RedisServer;

use super::*;

/// The budget where it is what a test is about, and how much later than it an answer may come on a busy machine.
const BUDGET: Duration = Duration::from_millis(50);
const SLACK: Duration = Duration::from_millis(950);

fn beside(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

/// Asks until there is an answer; whatever the store says meanwhile, it must not say that the token is unknown.
async fn recovered(store: &RedisStore, name: &str) -> Option<TokenRecord> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.token("erp", &hash(name)).await {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_from_an_unreachable_redis() {
    let server = RedisServer::start();
    for (user, told) in [("nosuch:pass-canary@", "does not let this user in"), ("", "")] {
        let url = server.url().replacen("redis://", &format!("redis://{user}"), 1);
        let error = RedisStore::connect(&RedisUrl(url.as_str().into()), "sg", BUDGET).await.err().map(|error| error.0).unwrap_or_default();
        assert!(error.contains(told) && error.is_empty() == told.is_empty(), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn the_stored_format_is_public() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let exp = Timestamp::from_unix(4_102_444_800);
    let record = TokenRecord { grant: Some("g-1".into()), ..token("crm", "read write:sales-order", exp) };
    store.put_token("erp.example.com", &hash("a"), &record).await.unwrap();
    let record = token("crm", "all", exp);
    store.put_token("erp.example.com", &hash("b"), &record).await.unwrap();
    store.create_client("erp.example.com", &client("crm")).await.unwrap();
    store.put_credential("erp.example.com", "crm", b"\x01sealed").await.unwrap();

    let mut redis = beside(&server);
    let mut keys: Vec<String> = redis.keys("*").unwrap();
    keys.sort();
    let mut seen = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut redis).unwrap();
        let expires: i64 = redis::cmd("EXPIRETIME").arg(&key).query(&mut redis).unwrap();
        let value = match &*kind {
            "string" => String::from_utf8(redis.get::<_, Vec<u8>>(&key).unwrap()).unwrap().escape_debug().to_string().replace("\\\"", "\""),
            "set" => format!("{:?}", redis.smembers::<_, Vec<String>>(&key).unwrap()),
            "stream" => told(&mut redis, &key),
            "zset" => format!("{:?}", redis.zrange_withscores::<_, Vec<(String, u64)>>(&key, 0, -1).unwrap()),
            other => panic!("{key} is a {other}"),
        };
        seen.push_str(&format!("{key}\n  {kind} {expires} {value}\n"));
    }
    assert_eq!(seen, GOLDEN);
}

/// The entries of a stream, without their ids.
pub(super) fn told(redis: &mut redis::Connection, key: &str) -> String {
    let entries: Vec<(String, Vec<String>)> = redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(redis).unwrap();
    format!("{:?}", entries.into_iter().map(|(_, pairs)| pairs.join(" ")).collect::<Vec<_>>())
}

const GOLDEN: &str = r#"sg:erp.example.com:client-tokens:crm
  zset -1 [("3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d", 4102444800), ("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", 4102444800)]
sg:erp.example.com:client:crm
  string -1 {"v":1,"id":"crm","name":"The crm app","scopes":"read write","enabled":true,"created":1600000000,"secret":"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}
sg:erp.example.com:clients
  set -1 ["crm"]
sg:erp.example.com:credential:crm
  string -1 \u{1}sealed
sg:erp.example.com:token:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d
  string 4102445400 {"v":1,"client":"crm","user":"user@example.com","scopes":"all","iat":1700000000,"exp":4102444800}
sg:erp.example.com:token:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb
  string 4102445400 {"v":1,"client":"crm","user":"user@example.com","scopes":"read write:sales-order","grant":"g-1","iat":1700000000,"exp":4102444800}
sg:{erp.example.com}:revocations
  stream -1 ["client crm"]
"#;

#[tokio::test]
async fn a_token_that_another_tool_minted_is_read() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let json = r#"{"exp": 4102444800, "iat": 1, "scopes": "read", "user": "é@example.com", "client": "crm", "v": 1, "note": "by hand"}"#;
    beside(&server).set::<_, _, ()>(format!("sg:erp:token:{}", hash("a")), json).unwrap();
    let record = store.token("erp", &hash("a")).await.unwrap().unwrap();
    assert_eq!((&*record.user, &record.scopes), ("é@example.com", &Scopes::parse("read").unwrap()));
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_that_names_the_key_and_never_no_token() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let key = format!("sg:erp:token:{}", hash("a"));
    for bad in ["", "garbage", r#"{"v":2}"#, "\u{0}"] {
        redis.set::<_, _, ()>(&key, bad).unwrap();
        let error = store.token("erp", &hash("a")).await.unwrap_err().0;
        assert!(error.contains(&hash("a").fingerprint()) && !error.contains(&hash("a").to_string()), "{error}");
    }
    redis.del::<_, ()>(&key).unwrap();
    redis.lpush::<_, _, ()>(&key, "a list").unwrap();
    let error = store.token("erp", &hash("a")).await.unwrap_err().0;
    assert!(error.contains("WRONGTYPE") && error.contains(&hash("a").fingerprint()), "{error}");

    redis.set::<_, _, ()>("sg:erp:client:crm", "garbage").unwrap();
    assert!(store.client("erp", "crm").await.unwrap_err().0.contains("client crm of site erp"));
    redis.sadd::<_, _, ()>("sg:erp:clients", "crm").unwrap();
    assert!(store.clients("erp").await.is_err());
    redis.sadd::<_, _, ()>("sg:erp2:clients", "a:b").unwrap();
    assert!(store.clients("erp2").await.is_err(), "an id that reaches into another key is not followed");
    redis.zadd::<_, _, _, ()>("sg:erp:client-tokens:crm", "no hash", later().unix()).unwrap();
    assert!(store.tokens_of("erp", "crm", 9).await.is_err());
}

#[tokio::test]
async fn an_index_may_name_what_is_gone() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    for number in 0..300 {
        redis.zadd::<_, _, _, ()>("sg:erp:client-tokens:crm", hash(&format!("ghost {number}")).to_string(), later().unix() - 9).unwrap();
    }
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let found = store.tokens_of("erp", "crm", 5).await.unwrap();
    assert_eq!(found.into_iter().map(|(hash, _)| hash).collect::<Vec<_>>(), [hash("a")]);

    redis.sadd::<_, _, ()>("sg:erp:clients", "ghost").unwrap();
    store.create_client("erp", &client("crm")).await.unwrap();
    assert_eq!(store.clients("erp").await.unwrap(), [client("crm")]);

    // Expired entries go with the next token.
    redis.zadd::<_, _, _, ()>("sg:erp:client-tokens:crm", hash("old").to_string(), 1000).unwrap();
    store.put_token("erp", &hash("b"), &token("crm", "read", later())).await.unwrap();
    assert_eq!(redis.zscore::<_, _, Option<u64>>("sg:erp:client-tokens:crm", hash("old").to_string()).unwrap(), None);
}

#[tokio::test]
async fn a_stopped_redis_is_an_error_within_the_budget_and_comes_back_by_itself() {
    let server = RedisServer::start();
    let store = connect(&server, BUDGET).await;
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    server.suspend();
    // Through both of its phases: the connection is open and silent, then given up.
    let deadline = Instant::now() + PATIENCE;
    let mut refused_at_once = 0;
    while refused_at_once < 50 {
        let asked = Instant::now();
        let answer = store.token("erp", &hash("a")).await;
        assert!(asked.elapsed() < BUDGET + SLACK, "{:?}", asked.elapsed());
        let error = answer.expect_err("a stopped server answers nothing").0;
        refused_at_once += u32::from(error.contains("is not connected"));
        assert!(asked < deadline, "{error}");
        tokio::task::yield_now().await;
    }
    server.resume();
    let resumed = Instant::now();
    assert!(recovered(&store, "a").await.is_some());
    assert!(resumed.elapsed() < Duration::from_secs(5), "{:?}", resumed.elapsed());
}

#[tokio::test]
async fn a_redis_that_is_killed_and_restarted_is_found_again() {
    let mut server = RedisServer::start();
    let store = connect(&server, BUDGET).await;
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    server.kill();
    for _ in 0..20 {
        let asked = Instant::now();
        store.token("erp", &hash("a")).await.expect_err("nobody is there");
        assert!(asked.elapsed() < BUDGET + SLACK, "{:?}", asked.elapsed());
    }
    assert!(store.ping().await.is_err());
    assert!(store.put_token("erp", &hash("b"), &token("crm", "read", later())).await.is_err());
    server.restart();
    let restarted = Instant::now();
    assert_eq!(recovered(&store, "a").await, None, "it came back empty");
    assert!(restarted.elapsed() < Duration::from_secs(5), "{:?}", restarted.elapsed());
    store.put_token("erp", &hash("b"), &token("crm", "read", later())).await.unwrap();
    assert!(store.token("erp", &hash("b")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_that_breaks_costs_a_look_up_time_and_no_error() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let mut redis = beside(&server);
    for _ in 0..5 {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query::<()>(&mut redis).unwrap();
        assert!(store.token("erp", &hash("a")).await.unwrap().is_some());
    }
}

#[test]
fn one_store_serves_every_runtime_and_outlives_all_but_its_own() {
    let server = RedisServer::start();
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = control.block_on(connect(&server, PATIENCE));
    control.block_on(store.put_token("erp", &hash("a"), &token("crm", "read", later()))).unwrap();
    let mut redis = beside(&server);
    for _ in 0..3 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    for _ in 0..50 {
                        assert!(worker.block_on(store.token("erp", &hash("a"))).unwrap().is_some());
                    }
                });
            }
        });
        // The loss is noticed by a worker that is gone a moment later; the new connection must not go with it.
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query::<()>(&mut redis).unwrap();
    }
}

#[tokio::test]
async fn a_socket_and_a_user_with_the_fewest_rights_suffice() {
    let server = RedisServer::start();
    let mut redis = beside(&server);
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("gate").arg("on").arg(">pass:word").arg("resetkeys").arg("~sg:*").arg("resetchannels").arg("-@all");
    for command in COMMANDS {
        user.arg(format!("+{command}"));
    }
    user.query::<()>(&mut redis).unwrap();
    let url = format!("{}?user=gate&pass=pass%3Aword", server.socket_url());
    let store = RedisStore::connect(&RedisUrl(url.into()), "sg", PATIENCE).await.unwrap();
    store.ping().await.unwrap();
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    assert!(store.token("erp", &hash("a")).await.unwrap().is_some());
    assert_eq!(store.tokens_of("erp", "crm", 9).await.unwrap().len(), 1);
    assert!(store.delete_token("erp", &hash("a")).await.unwrap());
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    assert!(store.update_client("erp", &client("crm")).await.unwrap());
    assert_eq!(store.clients("erp").await.unwrap().len(), 1);
    assert!(store.delete_client("erp", "crm").await.unwrap());

    let other = RedisUrl(format!("{}?user=gate&pass=pass%3Aword", server.socket_url()).into());
    let elsewhere = RedisStore::connect(&other, "other", PATIENCE).await.unwrap();
    let error = elsewhere.token("erp", &hash("a")).await.unwrap_err().0;
    assert!(error.contains("NoPerm"), "{error}");
    let wrong = RedisUrl(format!("{}?user=gate&pass=pass-canary", server.socket_url()).into());
    let error = RedisStore::connect(&wrong, "sg", PATIENCE).await.err().unwrap().0;
    assert!(error.contains("authentication failed") && !error.contains("canary"), "{error}");
}

/// What the gate's user must be allowed.
const COMMANDS: [&str; 13] =
    ["ping", "get", "set", "del", "zadd", "zrem", "zremrangebyscore", "zrangebyscore", "sadd", "srem", "smembers", "hmget", "xadd"];

#[tokio::test]
async fn a_start_without_redis_fails() {
    let mut server = RedisServer::start();
    server.kill();
    let error = RedisStore::connect(&RedisUrl(server.url().into()), "sg", BUDGET).await.err().unwrap().0;
    assert!(error.contains("127.0.0.1:") && error.contains("cannot be reached"), "{error}");
    server.restart();
    for prefix in ["", "a:b", "sg{", &"x".repeat(33)] {
        assert!(RedisStore::connect(&RedisUrl(server.url().into()), prefix, BUDGET).await.is_err(), "{prefix:?}");
    }
}

#[tokio::test]
async fn an_export_sees_its_prefix_only_and_counts_what_it_does_not_know() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let mut redis = beside(&server);
    // Of others: another prefix, one that begins alike, and what is no text.
    for key in ["other:erp:client:crm", "sg2:erp:client:crm", "sgerp:client:crm"] {
        redis.set::<_, _, ()>(key, "{}").unwrap();
    }
    for key in [&b"sg:erp:cats:tom"[..], b"sg:{erp}:revocations-of-a-later-build", b"sg:\xff\xfe", b"sg:erp"] {
        redis.set::<_, _, ()>(key, "?").unwrap();
    }
    let (pages, mut exported) = tokio::sync::mpsc::channel(9);
    assert_eq!(store.export(pages).await.unwrap(), 4);
    let entries: Vec<_> = std::iter::from_fn(|| exported.try_recv().ok()).flatten().collect();
    assert_eq!(entries.iter().map(|entry| entry.name()).collect::<Vec<_>>(), [token_name("erp", &hash("a"))]);
}

#[tokio::test]
async fn an_export_of_damaged_data_is_an_error_that_names_it() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let token_key = format!("sg:erp:token:{}", hash("a"));
    let rows: [(&str, redis::Cmd, &str); 7] = [
        (&token_key, redis::Cmd::set(&token_key, "{}"), "token"),
        ("sg:erp:client:crm", redis::Cmd::set("sg:erp:client:crm", r#"{"v":9}"#), "client crm"),
        ("sg:erp:client:crm", redis::Cmd::sadd("sg:erp:client:crm", "a"), "sg:erp:client:crm"),
        ("sg:erp:client-grants:crm", redis::Cmd::sadd("sg:erp:client-grants:crm", "a:b"), "a:b"),
        ("sg:erp:client-grants:crm", redis::Cmd::set("sg:erp:client-grants:crm", "a"), "sg:erp:client-grants:crm"),
        ("sg:{erp}:notbefore", redis::Cmd::hset("sg:{erp}:notbefore", "user:sam", "soon"), "the marks of site erp"),
        ("sg:{erp}:notbefore", redis::Cmd::hset("sg:{erp}:notbefore", "sam", 5), "the marks of site erp"),
    ];
    for (key, damage, named) in rows {
        damage.exec(&mut redis).unwrap();
        let (pages, _exported) = tokio::sync::mpsc::channel(9);
        let error = store.export(pages).await.expect_err(key).0;
        assert!(error.contains(named), "{key}: {error}");
        redis.del::<_, ()>(key).unwrap();
    }
}

/// The line of the runbook, on top of the gate's own rights.
#[tokio::test]
async fn the_rights_that_the_runbook_gives_for_a_copy_are_enough_and_needed() {
    let runbook = include_str!("../../../deploy/RUNBOOK.md");
    let users = include_str!("../../../deploy/redis/users.acl");
    let line = |text: &'static str, begins: &str| text.lines().find(|line| line.starts_with(begins)).expect("the line is there");
    let gate: Vec<&str> = line(users, "user scopegate ").split(' ').skip(2).collect();
    let copy: Vec<&str> = line(runbook, "ACL SETUSER scopegate +").split(' ').skip(3).collect();

    let server = RedisServer::start();
    let mut redis = beside(&server);
    let mut connect = async |rights: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg("copy").arg("reset").arg(&gate).arg(rights).query::<()>(&mut redis).unwrap();
        let url = format!("{}?user=copy&pass=PASSWORD", server.socket_url());
        RedisStore::connect(&RedisUrl(url.into()), "sg", PATIENCE).await.unwrap()
    };
    let store = connect(&copy).await;
    let mark = Item::Mark { subject: "user:sam".to_owned(), at: Timestamp::from_unix(5) };
    let member = Item::Member { set: Set::GrantsOfClient, of: "crm".to_owned(), member: "g".to_owned() };
    let items =
        [Item::Client(Box::new(client("crm"))), Item::Token { hash: hash("a"), record: token("crm", "read", later()) }, mark, member];
    store.import(items.map(|item| Entry::new("erp", item)).to_vec()).await.unwrap();
    let export = async |store: &RedisStore| {
        let (pages, mut exported) = tokio::sync::mpsc::channel(9);
        store.export(pages).await.map(|_| std::iter::from_fn(|| exported.try_recv().ok()).flatten().count())
    };
    assert_eq!(export(&store).await.unwrap(), 4);
    assert_eq!(copy.len(), 3);
    for missing in &copy {
        let fewer: Vec<&str> = copy.iter().copied().filter(|word| word != missing).collect();
        let error = export(&connect(&fewer).await).await.expect_err(missing).0;
        assert!(error.contains("NoPerm"), "{missing}: {error}");
    }
}
