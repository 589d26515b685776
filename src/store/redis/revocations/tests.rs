//! What only a Redis can show: damage, and data that goes back in time.

use redis::{Commands, Connection};

use crate::oauth::client::Client;
use crate::policy::token::TokenRecord;
use crate::store::contract::{PATIENCE, client, hash, later, redis as connect, token};
use crate::store::redis_server::RedisServer;
use crate::store::{ClientStore, TokenStore};

use super::*;

const MARKS: &str = "sg:{erp}:notbefore";
const LOG: &str = "sg:{erp}:revocations";

fn beside(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(second)
}

#[tokio::test]
async fn a_damaged_mark_is_an_error_and_never_none_and_a_revocation_mends_it() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    store.create_client("erp", &client("crm")).await.unwrap();
    for bad in ["", "soon", "-5", "1.5", "nan", "99999999999999999999999"] {
        for field in ["user:sam", "disabled:crm", "secret:crm"] {
            redis.hset::<_, _, _, ()>(MARKS, field, bad).unwrap();
            let subject = Subject::parse(field).unwrap();
            let error = store.mark("erp", &[subject]).await.expect_err(bad).0;
            assert!(error.contains("the marks of site erp are damaged") && error.contains("revoke anew"), "{bad}: {error}");
            assert!(store.marks("erp").await.is_err(), "{bad}");
            assert_eq!(store.client("erp", "crm").await.is_err(), subject.client().is_some(), "{field} {bad}");
            assert_eq!(store.clients("erp").await.is_err(), subject.client().is_some(), "{field} {bad}");
            redis.hdel::<_, _, ()>(MARKS, field).unwrap();
        }
    }
    for (number, bad) in ["", "soon", "x"].into_iter().enumerate() {
        redis.hset_multiple::<_, _, _, ()>(MARKS, &[("user:sam", bad), ("latest", bad), ("grant:g", bad)]).unwrap();
        let now = at(1_000 + number as u64);
        assert_eq!(store.revoke("erp", &[Subject::User("sam")], now).await.unwrap(), now, "{bad}");
        store.raise("erp", &[("grant:g".to_owned(), now)]).await.unwrap();
        assert_eq!(store.mark("erp", &[Subject::User("sam"), Subject::Latest, Subject::Grant("g")]).await.unwrap(), Some(now));
        assert_eq!(store.marks("erp").await.unwrap().len(), 3, "{bad}");
    }
    redis.del::<_, ()>(MARKS).unwrap();
    redis.set::<_, _, ()>(MARKS, "a text").unwrap();
    assert!(store.mark("erp", &[Subject::User("nobody")]).await.unwrap_err().0.contains("the marks of site erp"));
    assert!(store.revoke("erp", &[Subject::User("nobody")], at(1)).await.is_err());
}

#[tokio::test]
async fn a_foreign_entry_is_one_that_may_mean_anything() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    for (number, pairs) in
        [&["pardon", "crm"][..], &["mark", "client:crm"], &["token", "abc", "at", "1", "exp", "2"]].into_iter().enumerate()
    {
        redis::cmd("XADD").arg(LOG).arg("*").arg(pairs).query::<()>(&mut redis).unwrap();
        let entries = store.log("erp", None, 9).await.unwrap().unwrap();
        assert_eq!((entries.len(), &entries[number].entry), (number + 1, &Entry::Unknown));
        assert_eq!(store.log("erp", Some(&entries[number]), 9).await.unwrap(), Some(vec![]), "it is a place like any other");
    }
    redis.del::<_, ()>(LOG).unwrap();
    redis.set::<_, _, ()>(LOG, "a text").unwrap();
    assert!(store.log("erp", None, 9).await.unwrap_err().0.contains("the revocation log of site erp"));
}

#[tokio::test]
async fn a_log_that_was_deleted_or_emptied_has_lost_every_place() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let take_away: [redis::Cmd; 3] =
        [redis::Cmd::del(LOG), redis::cmd("XTRIM").arg(LOG).arg("MAXLEN").arg(0).to_owned(), redis::cmd("FLUSHALL").to_owned()];
    for command in take_away {
        store.announce("erp", &Entry::Begin).await.unwrap();
        let place = store.log("erp", None, 9).await.unwrap().unwrap().pop().unwrap();
        command.exec(&mut redis).unwrap();
        assert_eq!(store.log("erp", Some(&place), 9).await.unwrap(), None);
        assert_eq!(store.log("erp", None, 9).await.unwrap(), Some(vec![]));
        // Within the same millisecond it may even get the same place.
        store.announce("erp", &Entry::Client { id: "crm".into() }).await.unwrap();
        assert_eq!(store.log("erp", Some(&place), 9).await.unwrap(), None, "another log");
        redis.del::<_, ()>(LOG).unwrap();
    }
}

#[tokio::test]
async fn a_redis_that_goes_back_in_time_revives_nothing_in_a_process_that_knows_better() {
    let server = RedisServer::start();
    let store = connect(&server, PATIENCE).await;
    let mut redis = beside(&server);
    let record = TokenRecord { grant: Some("g".into()), ..token("crm", "read", later()) };
    for name in ["a", "b"] {
        store.put_token("erp", &hash(name), &record).await.unwrap();
    }
    let created = client("crm").created;
    for id in ["crm", "gone", "rotated"] {
        store.create_client("erp", &client(id)).await.unwrap();
    }
    let keys: Vec<String> = redis.keys("*").unwrap();
    let before: Vec<(String, Vec<u8>)> = keys
        .into_iter()
        .map(|key| {
            let dump = redis::cmd("DUMP").arg(&key).query(&mut redis).unwrap();
            (key, dump)
        })
        .collect();

    assert!(store.delete_token("erp", &hash("a")).await.unwrap());
    let everything = [Subject::Grant("g"), Subject::Disabled("crm"), Subject::Deleted("gone"), Subject::Secret("rotated")];
    store.revoke("erp", &everything, created.plus(9)).await.unwrap();
    store.delete_client("erp", "gone").await.unwrap();
    redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
    for (key, dump) in before {
        redis::cmd("RESTORE").arg(key).arg(0).arg(dump).exec(&mut redis).unwrap();
    }

    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), None);
    assert!(store.token("erp", &hash("b")).await.unwrap().is_some());
    assert_eq!(store.tokens_of("erp", "crm", 9).await.unwrap().len(), 1);
    for subject in everything {
        assert_eq!(store.mark("erp", &[subject]).await.unwrap(), Some(created.plus(9)), "{subject:?}");
    }
    assert_eq!(store.client("erp", "crm").await.unwrap(), Some(Client { enabled: false, ..client("crm") }));
    assert_eq!(store.client("erp", "gone").await.unwrap(), None);
    let rotated = store.client("erp", "rotated").await.unwrap().unwrap();
    assert!(rotated.secret != client("rotated").secret && !rotated.public());
    assert_eq!(store.clients("erp").await.unwrap().len(), 2);
    assert!(store.create_client("erp", &Client { created: created.plus(10), ..client("gone") }).await.unwrap(), "its id is free");
    // Revoked once more, it is told once more.
    assert!(!store.delete_token("erp", &hash("c")).await.unwrap());
    store.delete_token("erp", &hash("a")).await.unwrap();
    let last = store.log("erp", None, 9).await.unwrap().unwrap().pop().unwrap();
    assert!(matches!(last.entry, Entry::Token { hash: told, .. } if told == hash("a")), "{last:?}");
}
