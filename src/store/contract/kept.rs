//! The records, sets and marks of the OAuth endpoints, and what rests on them.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::oauth::client::Client;
use crate::oauth::records::{ENDED_KEPT, End, Grant, Profile};
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;
use crate::policy::token::RECORD_VERSION;
use crate::store::contract::{PATIENCE, client, embedded, later, redis};
use crate::store::kept::{self, Kind, Set, Subject, digest_id};
use crate::store::redis_server::RedisServer;
use crate::store::{Store, StoreError, grants, origins, wall_clock};

const KINDS: [Kind; 6] = [Kind::Code, Kind::Refresh, Kind::Grant, Kind::Session, Kind::Keys, Kind::Lease];
const SETS: [Set; 3] = [Set::GrantsOfUser, Set::GrantsOfClient, Set::ClientsOfOrigin];

contract! {
    a_record_is_created_once_and_exchanged_only_while_it_stands
    of_a_hundred_that_exchange_a_record_one_wins
    of_a_hundred_that_create_a_record_one_wins
    an_expired_record_is_as_good_as_none
    an_exchange_says_how_long_a_record_lives
    kinds_and_sites_of_records_share_nothing
    sets_are_sets
    marks_never_move_back
    names_of_records_that_could_forge_a_key_are_refused
    many_expired_records_are_no_burden
    what_is_too_large_or_damaged_is_an_error
    a_grant_is_found_by_its_user_and_its_client
    a_grant_ends_once_and_with_all_that_was_issued
    the_page_of_an_origin_is_let_in_by_a_client_that_names_it
}

fn erp(store: &Arc<dyn Store>) -> Records {
    Records(Arc::clone(store), "erp")
}

/// The records of one site.
#[derive(Clone)]
struct Records(Arc<dyn Store>, &'static str);

impl Records {
    async fn get(&self, kind: Kind, id: &str) -> Option<String> {
        self.0.record(self.1, kind, id).await.unwrap().map(|json| String::from_utf8(json).unwrap())
    }

    async fn create(&self, kind: Kind, id: &str, json: &str, expires: Option<Timestamp>) -> bool {
        self.0.create_record(self.1, kind, id, json.as_bytes(), expires).await.unwrap()
    }

    async fn swap(&self, kind: Kind, id: &str, old: &str, new: &str, expires: Option<Timestamp>) -> bool {
        self.0.swap_record(self.1, kind, id, old.as_bytes(), new.as_bytes(), expires).await.unwrap()
    }

    async fn delete(&self, kind: Kind, id: &str) -> bool {
        self.0.delete_record(self.1, kind, id).await.unwrap()
    }
}

async fn a_record_is_created_once_and_exchanged_only_while_it_stands(store: Arc<dyn Store>) {
    for expires in [None, Some(later())] {
        let erp = erp(&store);
        assert_eq!(erp.get(Kind::Code, "a").await, None);
        assert!(!erp.swap(Kind::Code, "a", "", "{}", expires).await, "there is none");
        assert!(!erp.delete(Kind::Code, "a").await);
        assert!(erp.create(Kind::Code, "a", r#"{"one":"\u00fc\n"}"#, expires).await);
        assert!(!erp.create(Kind::Code, "a", "{}", expires).await, "its id is taken");
        assert_eq!(erp.get(Kind::Code, "a").await.as_deref(), Some(r#"{"one":"\u00fc\n"}"#));
        for old in ["", "{}", r#"{"one":"\u00fc\n"} "#, r#"{"One":"\u00fc\n"}"#] {
            assert!(!erp.swap(Kind::Code, "a", old, "{}", expires).await, "{old}");
        }
        assert!(erp.swap(Kind::Code, "a", r#"{"one":"\u00fc\n"}"#, "two", expires).await);
        assert!(!erp.swap(Kind::Code, "a", r#"{"one":"\u00fc\n"}"#, "three", expires).await, "it is another one now");
        assert!(erp.swap(Kind::Code, "a", "two", "two", expires).await, "the same once more");
        assert_eq!(erp.get(Kind::Code, "a").await.as_deref(), Some("two"));
        assert!(erp.delete(Kind::Code, "a").await);
        assert!(!erp.delete(Kind::Code, "a").await);
        assert!(!erp.swap(Kind::Code, "a", "two", "four", expires).await, "what was deleted does not come back");
        assert_eq!(erp.get(Kind::Code, "a").await, None);
    }
}

/// Runs `attempt` a hundred times at once; the numbers of those who won.
async fn winners<F: Future<Output = bool> + Send + 'static>(attempt: impl Fn(usize) -> F) -> Vec<usize> {
    let mut racers = JoinSet::new();
    for number in 0..100 {
        let attempt = attempt(number);
        racers.spawn(async move { attempt.await.then_some(number) });
    }
    racers.join_all().await.into_iter().flatten().collect()
}

async fn of_a_hundred_that_exchange_a_record_one_wins(store: Arc<dyn Store>) {
    let erp = erp(&store);
    assert!(erp.create(Kind::Refresh, "a", "old", Some(later())).await);
    let won = winners(|number| {
        let erp = erp.clone();
        async move { erp.swap(Kind::Refresh, "a", "old", &number.to_string(), Some(later())).await }
    });
    let won = won.await;
    assert_eq!(won.len(), 1);
    assert_eq!(erp.get(Kind::Refresh, "a").await, Some(won[0].to_string()));
}

async fn of_a_hundred_that_create_a_record_one_wins(store: Arc<dyn Store>) {
    let erp = erp(&store);
    let won = winners(|number| {
        let erp = erp.clone();
        async move { erp.create(Kind::Keys, "signing", &number.to_string(), None).await }
    });
    let won = won.await;
    assert_eq!(won.len(), 1);
    assert_eq!(erp.get(Kind::Keys, "signing").await, Some(won[0].to_string()));
}

async fn an_expired_record_is_as_good_as_none(store: Arc<dyn Store>) {
    let erp = erp(&store);
    for (number, past) in [0, 1, 1_700_000_000, wall_clock().unix()].into_iter().enumerate() {
        let (id, past) = (format!("id-{number}"), Some(Timestamp::from_unix(past)));
        assert!(erp.create(Kind::Code, &id, "old", past).await);
        assert_eq!(erp.get(Kind::Code, &id).await, None, "{past:?}");
        assert!(!erp.swap(Kind::Code, &id, "old", "new", Some(later())).await, "{past:?}");
        assert!(!erp.delete(Kind::Code, &id).await, "{past:?}");
        assert!(erp.create(Kind::Code, &id, "old", past).await, "its id is free again");
        assert!(erp.create(Kind::Code, &id, "new", Some(later())).await, "its id is free again");
        assert_eq!(erp.get(Kind::Code, &id).await.as_deref(), Some("new"));
    }
}

async fn an_exchange_says_how_long_a_record_lives(store: Arc<dyn Store>) {
    let erp = erp(&store);
    let (past, far) = (Some(Timestamp::from_unix(5)), Some(Timestamp::from_unix(u64::MAX)));
    for (before, after, lives) in [
        (Some(later()), past, false),
        (None, past, false),
        (Some(later()), None, true),
        (None, far, true),
        (far, Some(later()), true),
        (None, None, true),
    ] {
        assert!(erp.create(Kind::Grant, "g", "one", before).await);
        assert!(erp.swap(Kind::Grant, "g", "one", "two", after).await);
        // What its earlier expiry would have swept.
        assert!(erp.create(Kind::Code, "other", "x", past).await);
        assert_eq!(erp.get(Kind::Grant, "g").await.is_some(), lives, "{before:?} {after:?}");
        assert_eq!(erp.delete(Kind::Grant, "g").await, lives);
    }
}

async fn kinds_and_sites_of_records_share_nothing(store: Arc<dyn Store>) {
    for (number, kind) in KINDS.into_iter().enumerate() {
        assert!(erp(&store).create(kind, "a", &number.to_string(), None).await, "{kind:?}");
    }
    for (number, kind) in KINDS.into_iter().enumerate() {
        assert_eq!(erp(&store).get(kind, "a").await, Some(number.to_string()), "{kind:?}");
        assert_eq!(erp(&store).get(kind, "A").await, None);
    }
    for set in SETS {
        store.enter("erp", set, "a", "member").await.unwrap();
    }
    for subject in [Subject::Client("a"), Subject::User("a"), Subject::Grant("a")] {
        store.raise("erp", &[(subject.field(), later())]).await.unwrap();
    }
    for site in ["er", "erp2", "ERP", "erp.example.com"] {
        let other = Records(Arc::clone(&store), site);
        for kind in KINDS {
            assert_eq!(other.get(kind, "a").await, None, "{site}");
            assert!(!other.swap(kind, "a", "0", "x", None).await);
            assert!(!other.delete(kind, "a").await);
        }
        for set in SETS {
            assert_eq!(store.members(site, set, "a").await.unwrap(), Vec::<String>::new());
            store.leave(site, set, "a", "member").await.unwrap();
        }
        assert_eq!(store.mark(site, &[Subject::Client("a"), Subject::User("a"), Subject::Grant("a")]).await.unwrap(), None);
    }
    for set in SETS {
        assert_eq!(store.members("erp", set, "a").await.unwrap(), ["member"]);
    }
}

async fn sets_are_sets(store: Arc<dyn Store>) {
    for set in SETS {
        assert_eq!(store.members("erp", set, "of").await.unwrap(), Vec::<String>::new());
        store.leave("erp", set, "of", "a").await.unwrap();
        for member in ["c", "a", "B", "a~1", "a", "b"] {
            store.enter("erp", set, "of", member).await.unwrap();
        }
        store.enter("erp", set, "of2", "z").await.unwrap();
        assert_eq!(store.members("erp", set, "of").await.unwrap(), ["B", "a", "a~1", "b", "c"], "in their order, each once");
        store.leave("erp", set, "of", "a").await.unwrap();
        store.leave("erp", set, "of", "a").await.unwrap();
        assert_eq!(store.members("erp", set, "of").await.unwrap(), ["B", "a~1", "b", "c"]);
        assert_eq!(store.members("erp", set, "of2").await.unwrap(), ["z"]);
        assert_eq!(store.members("erp", set, "o").await.unwrap(), Vec::<String>::new());
    }
}

async fn marks_never_move_back(store: Arc<dyn Store>) {
    let at = Timestamp::from_unix;
    let mark = async |subjects: &[Subject<'_>]| store.mark("erp", subjects).await.unwrap().map(Timestamp::unix);
    assert_eq!(mark(&[]).await, None);
    assert_eq!(mark(&[Subject::User("sam@example.com")]).await, None);
    for (sent, stands) in [(100, 100), (99, 100), (100, 100), (0, 100), (101, 101), (9, 101), (1_000, 1_000), (999, 1_000)] {
        store.raise("erp", &[(Subject::User("sam@example.com").field(), at(sent))]).await.unwrap();
        assert_eq!(mark(&[Subject::User("sam@example.com")]).await, Some(stands), "{sent}");
    }
    // A user's name may be anything; it is no other subject's.
    for user in ["SAM@example.com", "sam", "", "client:crm", "grant:1"] {
        assert_eq!(mark(&[Subject::User(user)]).await, None, "{user}");
    }
    store.raise("erp", &[(Subject::User("a b\n:\u{e4}{}").field(), at(7))]).await.unwrap();
    assert_eq!(mark(&[Subject::User("a b\n:\u{e4}{}")]).await, Some(7));
    store.raise("erp", &[(Subject::Client("crm").field(), at(2_000))]).await.unwrap();
    let both = [Subject::Grant("none"), Subject::Client("crm"), Subject::User("sam@example.com")];
    assert_eq!(mark(&both).await, Some(2_000), "the latest of them");
    assert_eq!(mark(&[both[0], both[2]]).await, Some(1_000));

    let won = winners(|number| {
        let store = Arc::clone(&store);
        async move { store.raise("erp", &[(Subject::Grant("g").field(), at(5_000 + number as u64))]).await.is_ok() }
    });
    assert_eq!(won.await.len(), 100);
    assert_eq!(mark(&[Subject::Grant("g")]).await, Some(5_099), "whatever the order they came in");
}

async fn names_of_records_that_could_forge_a_key_are_refused(store: Arc<dyn Store>) {
    for bad in ["", "erp:code", "a b", "{erp}", "a\n", "\u{e9}", "*", "a/b", "a\0"] {
        for kind in KINDS {
            for (site, id) in [(bad, "a"), ("erp", bad)] {
                assert!(store.record(site, kind, id).await.is_err(), "{bad:?}");
                assert!(store.create_record(site, kind, id, b"{}", None).await.is_err());
                assert!(store.swap_record(site, kind, id, b"{}", b"{}", None).await.is_err());
                assert!(store.delete_record(site, kind, id).await.is_err());
            }
        }
        for set in SETS {
            for (site, of, member) in [(bad, "a", "a"), ("erp", bad, "a"), ("erp", "a", bad)] {
                assert!(store.enter(site, set, of, member).await.is_err(), "{bad:?}");
                assert!(store.leave(site, set, of, member).await.is_err());
            }
            assert!(store.members(bad, set, "a").await.is_err());
            assert!(store.members("erp", set, bad).await.is_err());
        }
        assert!(store.raise(bad, &[(Subject::Client("crm").field(), later())]).await.is_err());
        assert!(store.mark(bad, &[Subject::Client("crm")]).await.is_err());
    }
    assert!(store.record("erp", Kind::Code, &"a".repeat(65)).await.is_err());
    let longest = digest_id("anything");
    assert!(store.record("erp", Kind::Code, &longest).await.is_ok());
}

async fn many_expired_records_are_no_burden(store: Arc<dyn Store>) {
    let erp = erp(&store);
    for number in 0..150 {
        assert!(erp.create(Kind::Code, &format!("old-{number}"), "x", Some(Timestamp::from_unix(1_000 + number))).await);
    }
    for number in 0..5 {
        assert!(erp.create(Kind::Code, &format!("new-{number}"), "x", Some(later())).await);
    }
    for number in 0..150 {
        assert_eq!(erp.get(Kind::Code, &format!("old-{number}")).await, None);
    }
    for number in 0..5 {
        assert_eq!(erp.get(Kind::Code, &format!("new-{number}")).await.as_deref(), Some("x"));
    }
}

async fn what_is_too_large_or_damaged_is_an_error(store: Arc<dyn Store>) {
    let large = grant("g", "crm", &"u".repeat(70_000), 1);
    assert!(kept::create(&*store, "erp", Kind::Grant, "g", &large, None).await.is_err());
    assert_eq!(erp(&store).get(Kind::Grant, "g").await, None);
    for (number, damaged) in ["", "{", "null", "{}", r#"{"v":2}"#, r#"{"v":1,"user":"canary"}"#].into_iter().enumerate() {
        let id = format!("g-{number}");
        assert!(erp(&store).create(Kind::Grant, &id, damaged, None).await);
        let error = grants::find(&*store, "erp", &id).await.expect_err(damaged).0;
        assert!(error.contains(&id) && error.contains("erp") && !error.contains("canary"), "{error}");
    }
}

fn grant(id: &str, client: &str, user: &str, created: u64) -> Grant {
    Grant {
        v: RECORD_VERSION,
        id: id.into(),
        client: client.into(),
        user: user.into(),
        scopes: Scopes::parse("read").unwrap(),
        created: Timestamp::from_unix(created),
        used: Timestamp::from_unix(created),
        profile: Profile::default(),
        ended: None,
    }
}

async fn ids(found: Result<Vec<kept::Kept<Grant>>, StoreError>) -> String {
    found.unwrap().iter().map(|grant| &*grant.value.id).collect::<Vec<_>>().join(" ")
}

async fn a_grant_is_found_by_its_user_and_its_client(store: Arc<dyn Store>) {
    let (sam, kim) = ("sam@example.com", "kim o'neil \u{e4}");
    for (id, client, user, created) in [("a", "crm", sam, 10), ("b", "shop", sam, 30), ("c", "crm", kim, 20), ("d", "crm", sam, 10)] {
        assert!(grants::begin(&*store, "erp", &grant(id, client, user, created)).await.unwrap(), "{id}");
        assert!(!grants::begin(&*store, "erp", &grant(id, client, user, 99)).await.unwrap(), "{id}: its id is taken");
    }
    assert_eq!(ids(grants::of_user(&*store, "erp", sam).await).await, "b a d", "newest first");
    assert_eq!(ids(grants::of_user(&*store, "erp", kim).await).await, "c");
    assert_eq!(ids(grants::of_user(&*store, "erp", "nobody").await).await, "");
    assert_eq!(ids(grants::of_client(&*store, "erp", "crm").await).await, "c a d");
    assert_eq!(ids(grants::of_client(&*store, "erp2", "crm").await).await, "");
    // Entered, but never written: passed over, and not forgotten, since it may be about to be written.
    store.enter("erp", Set::GrantsOfClient, "crm", "e").await.unwrap();
    assert_eq!(ids(grants::of_client(&*store, "erp", "crm").await).await, "c a d");
    assert!(store.members("erp", Set::GrantsOfClient, "crm").await.unwrap().contains(&"e".to_owned()));
}

async fn a_grant_ends_once_and_with_all_that_was_issued(store: Arc<dyn Store>) {
    let now = wall_clock();
    let begun = Grant { created: now, used: now.plus(40), ..grant("a", "crm", "sam@example.com", 0) };
    assert!(grants::begin(&*store, "erp", &begun).await.unwrap());
    store.put_credential("erp", "a", b"sealed").await.unwrap();
    assert!(grants::find_live(&*store, "erp", "a").await.unwrap().is_some());

    let ended = grants::end(&*store, "erp", "a", End::User, now).await.unwrap().unwrap().ended.unwrap();
    assert_eq!((ended.by, ended.at), (End::User, now));
    assert_eq!(store.mark("erp", &[Subject::Grant("a")]).await.unwrap(), Some(now.plus(40)), "all that a faster clock issued");
    assert_eq!(store.credential("erp", "a").await.unwrap(), None);
    assert!(grants::find_live(&*store, "erp", "a").await.unwrap().is_none());
    let again = grants::end(&*store, "erp", "a", End::Reuse, now.plus(9)).await.unwrap().unwrap().ended.unwrap();
    assert_eq!((again.by, again.at), (End::User, now), "it ended once");
    assert!(grants::end(&*store, "erp", "none", End::User, now).await.unwrap().is_none());
    assert_eq!(ids(grants::of_user(&*store, "erp", "sam@example.com").await).await, "a", "still listed");

    let old = Grant { ended: None, ..grant("b", "crm", "sam@example.com", 5) };
    assert!(grants::begin(&*store, "erp", &old).await.unwrap());
    let long_ago = Timestamp::from_unix(now.unix() - ENDED_KEPT / 2 - 60);
    grants::end(&*store, "erp", "b", End::Operator, long_ago).await.unwrap();
    assert_eq!(ids(grants::of_client(&*store, "erp", "crm").await).await, "a", "forgotten");

    for (id, subject) in [("c", Subject::Client("crm")), ("d", Subject::User("sam@example.com")), ("e", Subject::Grant("e"))] {
        let begun = Grant { created: now, used: now, ..grant(id, "crm", "sam@example.com", 0) };
        assert!(grants::begin(&*store, id, &begun).await.unwrap());
        store.raise(id, &[(subject.field(), now)]).await.unwrap();
        assert!(grants::find_live(&*store, id, id).await.unwrap().is_none(), "{subject:?}");
    }
}

async fn the_page_of_an_origin_is_let_in_by_a_client_that_names_it(store: Arc<dyn Store>) {
    let origin = "https://app.example.com";
    let allowed = async |origin: &str| origins::allowed(&*store, "erp", origin).await.unwrap();
    let app = Client { origins: vec![origin.to_owned(), "http://localhost:3000".to_owned()], ..client("app") };
    assert!(!allowed(origin).await);
    origins::enter(&*store, "erp", &app).await.unwrap();
    assert!(!allowed(origin).await, "nobody is there yet");
    assert!(store.create_client("erp", &app).await.unwrap());
    for (origin, expected) in [
        (origin, true),
        ("http://localhost:3000", true),
        ("http://localhost:3001", false),
        ("https://APP.example.com", false),
        ("https://app.example.com/", false),
        ("http://app.example.com", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(allowed(origin).await, expected, "{origin}");
    }
    assert!(!origins::allowed(&*store, "erp2", origin).await.unwrap());
    assert!(store.update_client("erp", &Client { enabled: false, ..app.clone() }).await.unwrap());
    assert!(!allowed(origin).await, "disabled");
    let fewer = Client { origins: vec!["http://localhost:3000".to_owned()], ..app.clone() };
    assert!(store.update_client("erp", &fewer).await.unwrap());
    assert!(!allowed(origin).await, "no longer named");
    origins::leave(&*store, "erp", &app, Some(&fewer)).await.unwrap();
    assert_eq!(store.members("erp", Set::ClientsOfOrigin, &digest_id(origin)).await.unwrap(), Vec::<String>::new());
    assert!(allowed("http://localhost:3000").await);
    origins::leave(&*store, "erp", &fewer, None).await.unwrap();
    assert!(!allowed("http://localhost:3000").await);
}
