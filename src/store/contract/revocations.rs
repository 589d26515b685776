//! Marks and the log of revocations, and clients as their marks leave them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::oauth::client::{Client, PreviousSecret};
use crate::policy::time::Timestamp;
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::contract::{PATIENCE, client, embedded, hash, later, redis, token};
use crate::store::kept::Subject;
use crate::store::ledger::Ended;
use crate::store::log::{ENTRIES_MAX, Entry, Logged};
use crate::store::redis_server::RedisServer;
use crate::store::{Store, wall_clock};

contract! {
    a_revocation_comes_after_what_it_must_and_after_nothing_else
    one_revocation_of_several_bears_one_second
    of_many_revocations_at_once_no_two_of_clients_and_users_bear_one_second
    a_raise_brings_marks_up_and_never_down
    all_marks_are_told_whatever_they_are_of
    the_log_is_read_on_from_any_place_and_in_pages
    a_place_that_holds_another_entry_is_gone
    a_place_that_was_trimmed_away_is_gone
    every_change_enters_what_it_takes_back_and_nothing_else
    a_client_is_as_its_marks_leave_it
    the_id_of_a_deleted_client_is_free_though_its_record_was_left_behind
    what_a_store_writes_its_ledger_knows
    revocations_of_sites_share_nothing
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(second)
}

async fn revoke(store: &Arc<dyn Store>, subjects: &[Subject<'_>], second: u64) -> u64 {
    store.revoke("erp", subjects, at(second)).await.unwrap().unix()
}

async fn mark(store: &Arc<dyn Store>, subject: Subject<'_>) -> Option<u64> {
    store.mark("erp", &[subject]).await.unwrap().map(Timestamp::unix)
}

/// What the log has; all of it page by page, because a read has a time limit and a busy machine is slow.
async fn log(store: &Arc<dyn Store>, from: Option<&Logged>, limit: usize) -> Option<Vec<Logged>> {
    let mut found = store.log("erp", from, limit.min(PAGE)).await.unwrap()?;
    while let Some(last) = found.last().filter(|_| limit == ALL) {
        let more = store.log("erp", Some(last), PAGE).await.unwrap()?;
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    Some(found)
}

const PAGE: usize = 1_000;

const ALL: usize = 100_000;

async fn a_revocation_comes_after_what_it_must_and_after_nothing_else(store: Arc<dyn Store>) {
    use Subject::{Client, Deleted, Disabled, Enabled, Grant, Latest, Secret, User};
    for (subject, sent, given, why) in [
        (Client("crm"), 100, 100, "the first"),
        (Client("crm"), 100, 101, "the same again"),
        (Client("crm"), 50, 102, "by a clock that is behind"),
        (Client("shop"), 100, 103, "another client"),
        (User("sam"), 100, 104, "a user after clients"),
        (Client("crm"), 104, 105, "a client after users"),
        (User("kim"), 200, 200, "later than all"),
        (User("sam"), 200, 201, "the latest, whoever had it"),
        (Grant("g"), 100, 100, "a grant is alone"),
        (Grant("g"), 100, 101, "but for itself"),
        (Grant("h"), 100, 100, "another grant"),
        (Disabled("crm"), 100, 100, "of its state, not of what was issued"),
        (Enabled("crm"), 100, 101, "enabled in the second in which it was disabled"),
        (Disabled("crm"), 100, 102, "and disabled again"),
        (Disabled("crm"), 90, 103, "and again"),
        (Enabled("crm"), 90, 104, "and enabled by a clock that is behind"),
        (Enabled("shop"), 100, 100, "another client's state"),
        (Secret("crm"), 110, 110, "a secret"),
        (Secret("crm"), 110, 111, "the next one"),
        (Deleted("crm"), 100, 112, "a deletion, after all that was said of the client"),
        (Deleted("crm"), 100, 113, "the next one's"),
        (Disabled("crm"), 100, 114, "the next client of that id is disabled"),
        (Deleted("crm"), 100, 115, "and deleted"),
        (Enabled("crm"), 100, 116, "and enabled again"),
        (Deleted("shop"), 90, 90, "not after it was enabled"),
        (Latest, 150, 202, "none but what is later"),
        (Client("crm"), 150, 203, "and whoever comes behind it"),
    ] {
        assert_eq!(revoke(&store, &[subject], sent).await, given, "{subject:?} {sent}: {why}");
        assert_eq!(mark(&store, subject).await, Some(given), "{subject:?} {sent}: {why}");
    }
    assert_eq!(mark(&store, Latest).await, Some(203));
    assert_eq!(mark(&store, Client("shop")).await, Some(103), "what others did leaves it alone");
    let odd = User("a b\n:{}\u{e4}\u{1f600} client:crm");
    assert_eq!(revoke(&store, &[odd], 900).await, 900);
    assert_eq!((mark(&store, odd).await, mark(&store, Client("crm")).await), (Some(900), Some(203)));
}

async fn one_revocation_of_several_bears_one_second(store: Arc<dyn Store>) {
    revoke(&store, &[Subject::Deleted("crm")], 500).await;
    revoke(&store, &[Subject::Grant("g")], 700).await;
    let deletion = [Subject::Client("crm"), Subject::Deleted("crm")];
    assert_eq!(revoke(&store, &deletion, 100).await, 501, "after each of them");
    for subject in deletion.into_iter().chain([Subject::Latest]) {
        assert_eq!(mark(&store, subject).await, Some(501), "{subject:?}");
    }
    let all = [Subject::User("sam"), Subject::Grant("g"), Subject::Client("shop"), Subject::Disabled("shop")];
    assert_eq!(revoke(&store, &all, 100).await, 701);
    for subject in all {
        assert_eq!(mark(&store, subject).await, Some(701), "{subject:?}");
    }
    assert_eq!(mark(&store, Subject::Client("crm")).await, Some(501));
    assert_eq!(revoke(&store, &[], 9).await, 9, "none is none");
    assert_eq!(revoke(&store, &[Subject::Grant("h")], 9).await, 9);
}

async fn of_many_revocations_at_once_no_two_of_clients_and_users_bear_one_second(store: Arc<dyn Store>) {
    const EACH: usize = 12;
    let mut racers = JoinSet::new();
    for number in 0..3 * EACH {
        let store = Arc::clone(&store);
        racers.spawn(async move {
            let name = format!("n-{number}");
            let subject = match number % 3 {
                0 => Subject::Client("crm"),
                1 => Subject::Client(&name),
                _ => Subject::User(&name),
            };
            let given = revoke(&store, &[subject], 1_000).await;
            assert!(mark(&store, subject).await >= Some(given), "{subject:?}");
            given
        });
    }
    let seconds: BTreeSet<u64> = racers.join_all().await.into_iter().collect();
    assert_eq!(seconds, (1_000..1_000 + 3 * EACH as u64).collect(), "each has its own");
    let entries = log(&store, None, ALL).await.unwrap();
    assert_eq!(entries.len(), 6 * EACH, "a mark and the latest, each with its entry");

    let mut racers = JoinSet::new();
    for number in 0..EACH {
        let store = Arc::clone(&store);
        let subject = if number % 2 == 0 { Subject::Disabled("crm") } else { Subject::Enabled("crm") };
        racers.spawn(async move { revoke(&store, &[subject], 50).await });
    }
    let seconds: BTreeSet<u64> = racers.join_all().await.into_iter().collect();
    assert_eq!(seconds, (50..50 + EACH as u64).collect(), "it is always known which came last");
}

async fn a_raise_brings_marks_up_and_never_down(store: Arc<dyn Store>) {
    let raise = async |marks: &[(&str, u64)]| {
        let marks: Vec<_> = marks.iter().map(|(field, second)| ((*field).to_owned(), at(*second))).collect();
        store.raise("erp", &marks).await.unwrap();
    };
    raise(&[]).await;
    raise(&[("client:crm", 100), ("user:sam", 50), ("latest", 70), ("disabled:crm", 0)]).await;
    raise(&[("client:crm", 99), ("user:sam", 51), ("latest", 70)]).await;
    for (subject, stands) in [
        (Subject::Client("crm"), Some(100)),
        (Subject::User("sam"), Some(51)),
        (Subject::Latest, Some(70)),
        (Subject::Disabled("crm"), Some(0)),
        (Subject::Enabled("crm"), None),
    ] {
        assert_eq!(mark(&store, subject).await, stands, "{subject:?}");
    }
    raise(&[("grant:g", 1), ("grant:g", 9), ("grant:g", 5)]).await;
    assert_eq!(mark(&store, Subject::Grant("g")).await, Some(9), "the same one more than once");
    // It moves nothing on: a revocation does not come after a raise of another.
    assert_eq!(revoke(&store, &[Subject::Client("shop")], 80).await, 80);
    let many: Vec<_> = (0..1_201).map(|number| (Subject::Grant(&format!("many-{number}")).field(), at(number))).collect();
    store.raise("erp", &many).await.unwrap();
    for number in [0, 499, 500, 999, 1_000, 1_200] {
        assert_eq!(mark(&store, Subject::Grant(&format!("many-{number}"))).await, Some(number));
    }
}

async fn all_marks_are_told_whatever_they_are_of(store: Arc<dyn Store>) {
    assert_eq!(store.marks("erp").await.unwrap(), []);
    revoke(&store, &[Subject::Client("crm"), Subject::Deleted("crm")], 100).await;
    // A later build marks what this one does not know. It is kept, told and copied like any other.
    let foreign = [("device:7".to_owned(), at(5)), ("odd".to_owned(), at(6)), ("user:a:b {}\n".to_owned(), at(7))];
    store.raise("erp", &foreign).await.unwrap();
    let many: Vec<_> = (0..1_100).map(|number| (Subject::User(&format!("u-{number}")).field(), at(1_000 + number))).collect();
    store.raise("erp", &many).await.unwrap();
    let mut expected: Vec<_> = many.into_iter().chain(foreign).collect();
    expected.extend(["client:crm", "deleted:crm", "latest"].map(|field| (field.to_owned(), at(100))));
    expected.sort();
    // The store may tell one twice.
    let told: BTreeSet<_> = store.marks("erp").await.unwrap().into_iter().collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
}

async fn the_log_is_read_on_from_any_place_and_in_pages(store: Arc<dyn Store>) {
    assert_eq!(log(&store, None, 10).await, Some(vec![]), "nobody has written to it");
    for number in 0..12 {
        store.announce("erp", &Entry::Wait { name: number.to_string().into() }).await.unwrap();
    }
    let names = |entries: &[Logged]| {
        let name = |logged: &Logged| match &logged.entry {
            Entry::Wait { name } => name.to_string(),
            other => panic!("{other:?}"),
        };
        entries.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let all = log(&store, None, ALL).await.unwrap();
    assert_eq!(names(&all), "0 1 2 3 4 5 6 7 8 9 10 11");
    assert_eq!(all.iter().map(|logged| &logged.place).collect::<BTreeSet<_>>().len(), 12, "each has a place of its own");
    for (limit, expected) in [(0, ""), (1, "0"), (11, "0 1 2 3 4 5 6 7 8 9 10"), (12, "0 1 2 3 4 5 6 7 8 9 10 11"), (13, &*names(&all))] {
        assert_eq!(names(&log(&store, None, limit).await.unwrap()), expected, "{limit}");
    }
    for (from, limit, expected) in [
        (0, 0, ""),
        (0, 3, "1 2 3"),
        (0, 11, "1 2 3 4 5 6 7 8 9 10 11"),
        (8, 2, "9 10"),
        (8, 3, "9 10 11"),
        (8, 4, "9 10 11"),
        (10, 1, "11"),
        (11, 0, ""),
        (11, 9, ""),
    ] {
        assert_eq!(names(&log(&store, Some(&all[from]), limit).await.unwrap()), expected, "{from} {limit}");
    }
    store.announce("erp", &Entry::Wait { name: "12".into() }).await.unwrap();
    assert_eq!(names(&log(&store, Some(&all[11]), 9).await.unwrap()), "12", "the end is a place to go on from");
}

async fn a_place_that_holds_another_entry_is_gone(store: Arc<dyn Store>) {
    store.announce("erp", &Entry::Begin).await.unwrap();
    revoke(&store, &[Subject::Grant("g")], 100).await;
    let all = log(&store, None, ALL).await.unwrap();
    let [begin, marked] = &all[..] else { panic!("{all:?}") };
    for entry in [
        Entry::Begin,
        Entry::Unknown,
        Entry::Mark { subject: "grant:g".into(), at: at(101) },
        Entry::Mark { subject: "grant:h".into(), at: at(100) },
        Entry::Client { id: "g".into() },
    ] {
        let other = Logged { entry, ..marked.clone() };
        assert_eq!(log(&store, Some(&other), 9).await, None, "{other:?}");
    }
    assert_eq!(log(&store, Some(&Logged { place: begin.place.clone(), ..marked.clone() }), 9).await, None);
    assert_eq!(log(&store, Some(&Logged { place: "99999999999999".into(), ..marked.clone() }), 9).await, None, "never written");
    assert_eq!(store.log("erp2", Some(marked), 9).await.unwrap(), None, "the log of another site");
    assert_eq!(log(&store, Some(marked), 9).await, Some(vec![]));
}

async fn a_place_that_was_trimmed_away_is_gone(store: Arc<dyn Store>) {
    store.announce("erp", &Entry::Begin).await.unwrap();
    let first = log(&store, None, 1).await.unwrap().remove(0);
    let fill = async |from: u64, count: u64| {
        let marks: Vec<_> = (from..from + count).map(|number| (Subject::Grant("g").field(), at(number))).collect();
        store.raise("erp", &marks).await.unwrap();
    };
    fill(1, ENTRIES_MAX - 1).await;
    assert_eq!(log(&store, Some(&first), ALL).await.map(|entries| entries.len() as u64), Some(ENTRIES_MAX - 1), "it is full");
    // About as many as it may have: whole nodes of them are trimmed at once.
    fill(ENTRIES_MAX, 300).await;
    assert_eq!(log(&store, Some(&first), ALL).await, None);
    let left = log(&store, None, ALL).await.unwrap();
    assert!((ENTRIES_MAX..=ENTRIES_MAX + 200).contains(&(left.len() as u64)), "{}", left.len());
    assert_eq!(left.last().unwrap().entry, Entry::Mark { subject: "grant:g".into(), at: at(ENTRIES_MAX + 299) });
    assert_eq!(log(&store, Some(&left[0]), ALL).await.unwrap().len(), left.len() - 1, "the oldest that is left");
}

/// Reads what was entered since.
struct Told<'s> {
    store: &'s Arc<dyn Store>,
    place: Option<Logged>,
}

impl Told<'_> {
    async fn since(&mut self) -> Vec<String> {
        let entries = log(self.store, self.place.as_ref(), ALL).await.unwrap();
        self.place = entries.last().cloned().or(self.place.take());
        entries.into_iter().map(|logged| logged.entry.write().join(" ")).collect()
    }
}

async fn every_change_enters_what_it_takes_back_and_nothing_else(store: Arc<dyn Store>) {
    let mut told = Told { store: &store, place: None };
    let (a, b, c) = (hash("a"), hash("b"), hash("c"));
    // Issued by a clock that is ahead, so that the second of its end is the test's own.
    let iat = later();
    let (at_iat, exp) = (iat.unix(), iat.plus(60));
    let record = TokenRecord { iat, ..token("crm", "read", exp) };
    let entry = |hash: &TokenHash| format!("token {hash} at {at_iat} exp {}", exp.unix());

    store.put_token("erp", &a, &record).await.unwrap();
    store.put_token("erp", &b, &record).await.unwrap();
    assert_eq!(told.since().await, [""; 0], "what is new takes nothing back");
    store.put_token("erp", &a, &record).await.unwrap();
    assert_eq!(told.since().await, [""; 0], "the same once more");
    let wider = TokenRecord { scopes: token("crm", "all", exp).scopes, ..record.clone() };
    store.put_token("erp", &a, &wider).await.unwrap();
    assert_eq!(told.since().await, [format!("look {a}")], "another under the same hash");
    assert!(store.delete_token("erp", &a).await.unwrap());
    assert_eq!(told.since().await, [entry(&a)]);
    assert!(!store.delete_token("erp", &a).await.unwrap());
    assert!(!store.delete_token("erp", &c).await.unwrap());
    assert_eq!(told.since().await, [""; 0], "there was none");

    let ended = Ended { at: iat, exp };
    store.end_tokens("erp", &[]).await.unwrap();
    store.end_tokens("erp", &[(a, ended), (b, ended), (c, ended)]).await.unwrap();
    assert_eq!(told.since().await, [entry(&b)], "the one that was there");
    store.end_tokens("erp", &[(a, ended), (b, ended), (c, ended)]).await.unwrap();
    assert_eq!(told.since().await, [""; 0]);
    assert_eq!(store.token("erp", &b).await.unwrap(), None);

    assert!(!store.update_client("erp", &client("crm")).await.unwrap());
    assert_eq!(told.since().await, [""; 0]);
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    assert_eq!(told.since().await, ["client crm"], "whoever looked for it in vain must look again");
    assert!(!store.create_client("erp", &client("crm")).await.unwrap());
    assert_eq!(told.since().await, [""; 0]);
    assert!(store.update_client("erp", &client("crm")).await.unwrap());
    assert_eq!(told.since().await, ["client crm"]);
    assert!(store.delete_client("erp", "crm").await.unwrap());
    assert_eq!(told.since().await, ["client crm"]);
    assert!(!store.delete_client("erp", "crm").await.unwrap());
    assert_eq!(told.since().await, [""; 0]);

    for (subjects, expected) in [
        (&[][..], &[][..]),
        (&[Subject::Client("crm")], &["mark client:crm at 100", "mark latest at 100"]),
        (&[Subject::User("a b")], &["mark user:a b at 101", "mark latest at 101"]),
        (&[Subject::Client("crm"), Subject::Deleted("crm")], &["mark client:crm at 102", "mark deleted:crm at 102", "mark latest at 102"]),
        (&[Subject::Grant("g")], &["mark grant:g at 100"]),
        (&[Subject::Disabled("crm")], &["mark disabled:crm at 103"]),
        (&[Subject::Enabled("crm")], &["mark enabled:crm at 104"]),
        (&[Subject::Secret("crm")], &["mark secret:crm at 100"]),
    ] {
        revoke(&store, subjects, 100).await;
        assert_eq!(told.since().await, expected, "{subjects:?}");
    }
    let raise = async |marks: &[(&str, u64)]| {
        let marks: Vec<_> = marks.iter().map(|(field, second)| ((*field).to_owned(), at(*second))).collect();
        store.raise("erp", &marks).await.unwrap();
    };
    raise(&[("client:crm", 102), ("latest", 1), ("grant:g", 99)]).await;
    assert_eq!(told.since().await, [""; 0], "they stand already");
    raise(&[("client:crm", 102), ("grant:g", 101), ("new:x", 3)]).await;
    assert_eq!(told.since().await, ["mark grant:g at 101", "mark new:x at 3"]);

    store.announce("erp", &Entry::Wait { name: "w".into() }).await.unwrap();
    store.put_credential("erp", "crm", b"sealed").await.unwrap();
    for hash in [&a, &b] {
        store.token("erp", hash).await.unwrap();
    }
    store.client("erp", "crm").await.unwrap();
    assert_eq!(told.since().await, ["wait w"], "nobody else has a word here");
}

async fn a_client_is_as_its_marks_leave_it(store: Arc<dyn Store>) {
    let created = client("crm").created;
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    assert!(store.create_client("erp", &client("shop")).await.unwrap());
    let found = async || {
        let found = store.client("erp", "crm").await.unwrap();
        let listed = store.clients("erp").await.unwrap();
        assert_eq!(listed.iter().find(|client| &*client.id == "crm"), found.as_ref(), "it is listed as it is found");
        assert_eq!(listed.last(), Some(&client("shop")), "no mark of another changes it");
        found
    };
    let enabled = async || found().await.unwrap().enabled;

    for (subject, lives) in [
        (Subject::Disabled("crm"), false),
        (Subject::Disabled("crm"), false),
        (Subject::Enabled("crm"), true),
        (Subject::Enabled("crm"), true),
        (Subject::Disabled("crm"), false),
        (Subject::Client("crm"), false),
    ] {
        revoke(&store, &[subject], 100).await;
        assert_eq!(enabled().await, lives, "{subject:?}");
    }
    assert!(store.update_client("erp", &client("crm")).await.unwrap());
    assert!(!enabled().await, "a record that says otherwise enables nothing");
    revoke(&store, &[Subject::Enabled("crm")], 100).await;
    assert_eq!(found().await, Some(client("crm")));
    assert!(store.update_client("erp", &Client { enabled: false, ..client("crm") }).await.unwrap());
    revoke(&store, &[Subject::Enabled("crm")], 100).await;
    assert!(!enabled().await, "a mark enables no record that is disabled");

    // Rotated: the mark names the second of the new secret, and a record from before it is worth nothing.
    let previous = PreviousSecret { hash: hash("secret"), until: later() };
    let rotated =
        Client { secret: Some(hash("new")), secret_since: Some(created.plus(10)), previous_secret: Some(previous), ..client("crm") };
    assert!(store.update_client("erp", &rotated).await.unwrap());
    revoke(&store, &[Subject::Secret("crm")], created.plus(10).unix()).await;
    assert_eq!(found().await, Some(rotated.clone()));
    let again = Client { secret_since: Some(created.plus(9)), ..rotated.clone() };
    for old in [client("crm"), again] {
        assert!(store.update_client("erp", &old).await.unwrap());
        let left = found().await.unwrap();
        assert!(!left.public() && left.secret != old.secret && left.previous_secret.is_none(), "{left:?}");
    }
    let public = Client { secret: None, ..client("crm") };
    assert!(store.update_client("erp", &public).await.unwrap());
    assert_eq!(found().await, Some(public), "it never had one");
    assert!(store.update_client("erp", &rotated).await.unwrap());
    assert_eq!(found().await, Some(rotated.clone()));

    // Deleted: whatever was created until then, and nothing that comes after it.
    store.raise("erp", &[("deleted:crm".to_owned(), at(created.unix() - 1))]).await.unwrap();
    assert_eq!(found().await, Some(rotated), "it was created since");
    revoke(&store, &[Subject::Deleted("crm")], created.unix()).await;
    assert_eq!(found().await, None);
    assert!(store.delete_client("erp", "crm").await.unwrap());
    assert!(store.create_client("erp", &client("crm")).await.unwrap(), "its id is free again");
    assert_eq!(found().await, None, "though not for one that claims to be older");
    assert!(store.delete_client("erp", "crm").await.unwrap());
    let new = Client { created: created.plus(20), ..client("crm") };
    assert!(store.create_client("erp", &new).await.unwrap());
    assert_eq!(found().await, Some(new));

    // What was said of one client is not said of the next that has its id.
    for subject in [Subject::Disabled("crm"), Subject::Secret("crm"), Subject::Deleted("crm")] {
        revoke(&store, &[subject], created.plus(30).unix()).await;
    }
    assert_eq!(found().await, None);
    assert!(store.delete_client("erp", "crm").await.unwrap());
    let deleted = mark(&store, Subject::Deleted("crm")).await.unwrap();
    let next = Client { created: at(deleted + 1), ..client("crm") };
    assert!(store.create_client("erp", &next).await.unwrap());
    assert_eq!(found().await, Some(next));
    revoke(&store, &[Subject::Disabled("crm")], created.unix()).await;
    assert!(!enabled().await, "it is disabled itself");
}

async fn the_id_of_a_deleted_client_is_free_though_its_record_was_left_behind(store: Arc<dyn Store>) {
    let created = client("crm").created;
    assert!(store.create_client("erp", &client("crm")).await.unwrap());
    assert!(!store.create_client("erp", &Client { created: created.plus(60), ..client("crm") }).await.unwrap(), "it is there");
    // The mark, and then the gate that was to delete the record was killed.
    revoke(&store, &[Subject::Deleted("crm")], created.plus(30).unix()).await;
    let mut racers = JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&store);
        let new = Client { name: format!("app {number}"), created: created.plus(60), ..client("crm") };
        racers.spawn(async move { store.create_client("erp", &new).await.unwrap().then_some(new) });
    }
    let created: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(created, store.clients("erp").await.unwrap());
    assert_eq!(created.len(), 1);
    assert!(store.delete_client("erp", "crm").await.unwrap());
    assert_eq!(store.clients("erp").await.unwrap(), []);
}

async fn what_a_store_writes_its_ledger_knows(store: Arc<dyn Store>) {
    let known = store.ledger().site("erp");
    revoke(&store, &[Subject::User("sam")], 100).await;
    revoke(&store, &[Subject::User("sam")], 100).await;
    assert_eq!(known.mark(&[Subject::User("sam")]), Some(at(101)));
    assert_eq!(known.mark(&[Subject::Latest]), Some(at(101)));
    store.raise("erp", &[("disabled:crm".to_owned(), at(7)), ("later-build".to_owned(), at(8))]).await.unwrap();
    assert_eq!(known.mark(&[Subject::Disabled("crm")]), Some(at(7)));

    let (now, old) = (wall_clock(), token("crm", "read", later()));
    store.put_token("erp", &hash("a"), &old).await.unwrap();
    store.put_token("erp", &hash("b"), &old).await.unwrap();
    assert_eq!((known.ended(&hash("a")), known.voids(&hash("a"), &old)), (None, false));
    store.delete_token("erp", &hash("a")).await.unwrap();
    assert!(known.ended(&hash("a")) >= Some(now));
    assert!(known.voids(&hash("a"), &old));
    store.end_tokens("erp", &[(hash("b"), Ended { at: now, exp: old.exp })]).await.unwrap();
    assert_eq!(known.ended(&hash("b")), Some(now));
    // What comes back with its old date is still revoked, wherever it is looked for.
    store.put_token("erp", &hash("a"), &old).await.unwrap();
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), None);
    assert_eq!(store.tokens_of("erp", "crm", 9).await.unwrap(), []);
    let new = TokenRecord { iat: wall_clock().plus(1), ..old };
    store.put_token("erp", &hash("a"), &new).await.unwrap();
    assert_eq!(store.token("erp", &hash("a")).await.unwrap(), Some(new));
    // And a mark is never earlier than it was known to be.
    known.raise(Subject::Grant("g"), at(500));
    assert_eq!(mark(&store, Subject::Grant("g")).await, Some(500));
    assert_eq!(store.marks("erp").await.unwrap().len(), 4, "all marks are those that the store has");
}

async fn revocations_of_sites_share_nothing(store: Arc<dyn Store>) {
    assert!(store.create_client("erp2", &client("crm")).await.unwrap());
    revoke(&store, &[Subject::Client("crm"), Subject::Deleted("crm"), Subject::Disabled("crm")], 2_000_000_000).await;
    for other in ["er", "erp2", "ERP", "erp.example.com"] {
        assert_eq!(store.mark(other, &[Subject::Client("crm"), Subject::Latest]).await.unwrap(), None, "{other}");
        assert_eq!(store.marks(other).await.unwrap(), [], "{other}");
        assert_eq!(store.ledger().site(other).marks(), [], "{other}");
    }
    let told: Vec<_> = store.log("erp2", None, 9).await.unwrap().unwrap().into_iter().map(|logged| logged.entry).collect();
    assert_eq!(told, [Entry::Client { id: "crm".into() }]);
    assert_eq!(store.client("erp2", "crm").await.unwrap(), Some(client("crm")));
    let given = store.revoke("erp2", &[Subject::Client("crm")], at(100)).await.unwrap();
    assert_eq!(given, at(100), "the latest of another site moves nothing on");
    for bad in ["", "erp:token", "a b", "{erp}", "erp\n"] {
        assert!(store.revoke(bad, &[Subject::Client("crm")], at(1)).await.is_err(), "{bad:?}");
        assert!(store.marks(bad).await.is_err(), "{bad:?}");
        assert!(store.log(bad, None, 1).await.is_err(), "{bad:?}");
        assert!(store.announce(bad, &Entry::Begin).await.is_err(), "{bad:?}");
        assert!(store.end_tokens(bad, &[(hash("a"), Ended { at: at(1), exp: at(2) })]).await.is_err(), "{bad:?}");
    }
}
