//! Followers, driven round by round where the order matters, and left to themselves where time does.

mod model;

use std::sync::atomic::Ordering;

use redis::{Commands, Connection};
use tokio::task::yield_now;

use crate::oauth::client::{Client, ClientRate};
use crate::policy::token::{TokenHash, TokenRecord};
use crate::store::cached::{Lookup, Unknown};
use crate::store::contract::{PATIENCE, client, hash, later, redis as connect, token};
use crate::store::kept::RevocationStore;
use crate::store::ledger::Terms;
use crate::store::log::ENTRIES_MAX;
use crate::store::redis_server::RedisServer;
use crate::store::watched::Watched;
use crate::store::{Backend, Settings, TokenStore};

use super::*;

const SITE: SiteId = SiteId(3);
const HOUR: Duration = Duration::from_secs(3600);
/// Between the two of a log and its marks.
const MARKS: &str = "sg:{erp}:notbefore";
const LOG: &str = "sg:{erp}:revocations";

/// A gateway: what it knows, and its follower, which a test drives.
struct Gate {
    store: Arc<dyn Store>,
    cached: Arc<CachedStore>,
    following: Following,
}

impl Gate {
    fn new(store: Arc<dyn Store>, settings: &Settings) -> Self {
        // Whoever has to wait has come too early: nothing here goes on by itself.
        store.ledger().follow(Terms { bound: settings.revocation_bound, patience: Duration::from_millis(1) });
        let cached = Arc::new(CachedStore::new(Arc::clone(&store), settings));
        Self { following: Following::new(Arc::clone(&cached), SITE, "erp", Gateway::here()), store, cached }
    }

    async fn on(server: &RedisServer) -> Self {
        Self::new(Arc::new(connect(server, PATIENCE).await), &settings(HOUR))
    }

    /// In touch.
    async fn started(server: &RedisServer) -> Self {
        let mut gate = Self::on(server).await;
        gate.catch_up().await;
        gate
    }

    async fn round(&mut self) -> Round {
        self.following.round().await.unwrap()
    }

    async fn catch_up(&mut self) {
        for _ in 0..3 {
            if self.round().await == Round::Complete {
                return;
            }
        }
        panic!("it does not catch up");
    }

    /// As if the time had passed in which others write back what they know.
    fn settle(&mut self) {
        assert!(self.following.settles_at.take().is_some(), "it waits for nobody");
    }

    async fn find(&self, name: &str) -> Result<Lookup, StoreError> {
        self.cached.find(SITE, "erp", &hash(name), wall_clock()).await
    }

    async fn lives(&self, name: &str) -> bool {
        matches!(self.find(name).await.unwrap(), Lookup::Live(_))
    }
}

fn settings(bound: Duration) -> Settings {
    Settings {
        backend: Backend::Embedded { path: "unused".into() },
        lookup_timeout: PATIENCE,
        cache_entries_max: 1000,
        revocation_bound: bound,
        serve_known: None,
    }
}

/// A token of grant `g`.
fn record() -> TokenRecord {
    TokenRecord { grant: Some("g".into()), iat: wall_clock(), ..token("crm", "read", later()) }
}

async fn fill(store: &dyn Store) {
    store.create_client("erp", &client("crm")).await.unwrap();
    store.create_client("erp", &client("shop")).await.unwrap();
    store.put_token("erp", &hash("a"), &record()).await.unwrap();
    let other = TokenRecord { client: "shop".into(), user: "other@example.com".into(), grant: None, ..record() };
    store.put_token("erp", &hash("b"), &other).await.unwrap();
}

fn beside(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

async fn until(mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "it never came to pass");
        yield_now().await;
    }
}

/// A round after a loss: the connection may have to be made anew.
async fn round_again(gate: &mut Gate) -> Round {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match gate.following.round().await {
            Ok(round) => return round,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        yield_now().await;
    }
}

#[tokio::test]
async fn whatever_one_gateway_takes_back_the_next_read_of_another_obeys() {
    let server = RedisServer::start();
    let now = wall_clock().plus(9);
    for what in ["client", "user", "grant", "disabled", "deleted", "token", "again", "unregistered", "switched off"] {
        beside(&server).flushall::<()>().unwrap();
        let (mut one, mut other) = (Gate::on(&server).await, Gate::on(&server).await);
        fill(&*one.store).await;
        one.catch_up().await;
        other.catch_up().await;
        assert!(other.lives("a").await && other.lives("b").await);
        let misses = other.cached.misses();
        let revoke = async |subject| {
            one.store.revoke("erp", &[subject], now).await.unwrap();
        };
        match what {
            "client" => revoke(Subject::Client("crm")).await,
            "user" => revoke(Subject::User("user@example.com")).await,
            "grant" => revoke(Subject::Grant("g")).await,
            "disabled" => revoke(Subject::Disabled("crm")).await,
            "deleted" => revoke(Subject::Deleted("crm")).await,
            "token" => assert!(one.store.delete_token("erp", &hash("a")).await.unwrap()),
            "unregistered" => assert!(one.store.delete_client("erp", "crm").await.unwrap()),
            "switched off" => {
                assert!(one.store.update_client("erp", &Client { enabled: false, ..client("crm") }).await.unwrap());
            }
            _ => {
                let ended = TokenRecord { exp: wall_clock(), ..record() };
                one.store.put_token("erp", &hash("a"), &ended).await.unwrap();
            }
        }
        assert!(other.lives("a").await, "{what}: the other has not heard of it");
        assert_eq!(other.round().await, Round::Complete);
        assert!(!other.lives("a").await, "{what}");
        assert!(other.lives("b").await, "{what}: nobody else's token");
        assert_eq!(other.cached.misses(), misses + 1, "{what}: nor is it looked up again");
        assert_eq!(one.round().await, Round::Complete);
        assert!(!one.lives("a").await, "{what}");
    }
}

#[tokio::test]
async fn what_is_given_back_or_changed_is_seen_with_the_next_read() {
    let server = RedisServer::start();
    let one = Gate::started(&server).await;
    fill(&*one.store).await;
    let mut other = Gate::started(&server).await;
    assert!(other.lives("a").await);
    let Lookup::Live(live) = other.find("a").await.unwrap() else { panic!("it lives") };
    let rate = Some(ClientRate { requests: 1, seconds: 2, burst: 3 });
    one.store.update_client("erp", &Client { rate, ..client("crm") }).await.unwrap();
    assert_eq!(other.round().await, Round::Complete);
    assert!(other.lives("a").await);
    assert_eq!(live.client.client().rate, rate);

    one.store.revoke("erp", &[Subject::Disabled("crm")], wall_clock()).await.unwrap();
    other.catch_up().await;
    assert!(!other.lives("a").await);
    one.store.revoke("erp", &[Subject::Enabled("crm")], wall_clock()).await.unwrap();
    assert!(other.lives("a").await, "a no is asked anew each time");
}

#[tokio::test]
async fn nothing_counts_before_the_log_is_read() {
    let store = Watched::with_token().await;
    let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR));
    assert!(gate.find("a").await.is_err());
    assert!(gate.store.mark("erp", &[Subject::User("sam")]).await.is_err());
    assert!(gate.store.client("erp", "crm").await.is_err());
    assert!(gate.store.clients("erp").await.is_err());
    assert_eq!(gate.round().await, Round::Behind);
    assert!(gate.find("a").await.is_err(), "what was read is from before it was known who answers");
    for operation in ["log", "server"] {
        *store.refused.lock().unwrap() = Some(operation);
        assert!(gate.following.round().await.is_err());
        assert!(gate.find("a").await.is_err());
    }
    *store.refused.lock().unwrap() = None;
    assert_eq!(gate.round().await, Round::Complete);
    assert!(gate.lives("a").await);
    assert!(matches!(gate.find("none").await.unwrap(), Lookup::Unknown(Unknown::NoSuchToken)));
}

#[tokio::test]
async fn a_log_of_many_pages_is_read_page_by_page_and_counts_when_the_last_is_read() {
    let store = Watched::with_token().await;
    let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR));
    gate.catch_up().await;
    for (entries, rounds) in [(0, 0), (1, 0), (PAGE - 1, 0), (PAGE, 1), (PAGE + 1, 1), (2 * PAGE, 2), (2 * PAGE + 1, 2)] {
        // The last entry is the one that matters.
        store.put_token("erp", &hash("a"), &TokenRecord { iat: wall_clock().plus(3600), ..record() }).await.unwrap();
        gate.catch_up().await;
        assert!(gate.lives("a").await, "{entries}");
        let (known, read) = (gate.store.ledger().site("erp"), gate.following.known.read_sent());
        let marks: Vec<_> = (1..entries).map(|number| (format!("grant:{entries}-{number}"), wall_clock())).collect();
        store.raise("erp", &marks).await.unwrap();
        if entries > 0 {
            store.announce("erp", &Entry::Look { hash: hash("a") }).await.unwrap();
        }
        for round in 0..rounds {
            assert_eq!(gate.round().await, Round::Behind, "{entries} {round}");
            assert_eq!(known.read_sent(), read, "{entries} {round}: it does not count yet");
        }
        let misses = gate.cached.misses();
        assert_eq!(gate.round().await, Round::Complete, "{entries}");
        assert!(known.read_sent() > read);
        assert!(gate.lives("a").await);
        assert_eq!(gate.cached.misses() - misses, u64::from(entries > 0), "{entries}");
        // A gateway that starts reads as many pages, in one go.
        let mut new = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR));
        assert_eq!((new.round().await, new.round().await), (Round::Behind, Round::Complete), "{entries}");
    }
}

#[tokio::test]
async fn a_follower_whose_place_was_trimmed_away_starts_over_and_has_missed_nothing() {
    let server = RedisServer::start();
    let one = Gate::started(&server).await;
    fill(&*one.store).await;
    let mut other = Gate::started(&server).await;
    assert!(other.lives("a").await && other.lives("b").await);
    one.store.revoke("erp", &[Subject::User("user@example.com")], wall_clock().plus(5)).await.unwrap();
    one.store.delete_token("erp", &hash("b")).await.unwrap();
    let marks: Vec<_> = (1..=ENTRIES_MAX + 200).map(|at| ("grant:x".to_owned(), Timestamp::from_unix(at))).collect();
    one.store.raise("erp", &marks).await.unwrap();
    let first: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(LOG).arg("-").arg("+").arg("COUNT").arg(1).query(&mut beside(&server)).unwrap();
    assert!(first[0].1.contains(&"grant:x".to_owned()), "what was revoked is no longer in the log: {first:?}");
    assert_eq!(other.round().await, Round::Behind);
    assert!(other.cached.knows(SITE, &hash("b")));
    assert_eq!(other.round().await, Round::Complete, "the store has lost nothing, so nobody need be waited for");
    assert!(!other.lives("a").await);
    assert!(!other.lives("b").await);
}

#[tokio::test]
async fn a_log_that_was_deleted_is_begun_anew_and_everything_is_looked_up_again() {
    let server = RedisServer::start();
    let mut one = Gate::started(&server).await;
    fill(&*one.store).await;
    let mut other = Gate::started(&server).await;
    assert!(other.lives("a").await && other.lives("b").await);
    one.store.delete_token("erp", &hash("a")).await.unwrap();
    one.store.revoke("erp", &[Subject::User("other@example.com")], wall_clock().plus(5)).await.unwrap();
    beside(&server).del::<_, ()>(LOG).unwrap();
    assert_eq!(other.round().await, Round::Behind);
    assert!(!other.lives("b").await, "its mark was not in the log, but stands");
    assert!(other.lives("a").await, "of this one there is no mark, and the bound has not passed");
    assert_eq!(other.round().await, Round::Waiting);
    other.settle();
    assert_eq!(other.round().await, Round::Complete);
    assert!(!other.lives("a").await);
    // The other goes on from the log that was begun, and from its own place no more.
    assert_eq!((one.round().await, one.round().await), (Round::Behind, Round::Waiting));
    one.settle();
    assert_eq!(one.round().await, Round::Complete);
    let begun: Vec<(String, Vec<String>)> = redis::cmd("XRANGE").arg(LOG).arg("-").arg("+").query(&mut beside(&server)).unwrap();
    assert_eq!(begun.len(), 1, "{begun:?}");
}

/// A gateway that had read a revocation, or made it, and one that had not; and a server that has lost it.
#[tokio::test]
async fn a_server_that_comes_back_with_older_data_is_told_what_it_has_lost() {
    for (empty, lagging_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut server = RedisServer::start();
        let mut one = Gate::started(&server).await;
        fill(&*one.store).await;
        let mut other = Gate::started(&server).await;
        one.catch_up().await;
        assert!(other.lives("a").await && other.lives("b").await);
        if !empty {
            redis::cmd("SAVE").exec(&mut beside(&server)).unwrap();
        }
        one.store.revoke("erp", &[Subject::User("user@example.com")], wall_clock().plus(5)).await.unwrap();
        one.store.delete_token("erp", &hash("b")).await.unwrap();
        one.store.revoke("erp", &[Subject::Disabled("shop")], wall_clock()).await.unwrap();
        server.kill();
        server.restart();
        assert_eq!(beside(&server).exists::<_, bool>(format!("sg:erp:token:{}", hash("b"))).unwrap(), !empty);

        let order: [&mut Gate; 2] = if lagging_first { [&mut other, &mut one] } else { [&mut one, &mut other] };
        for gate in order {
            let read = gate.following.known.read_sent();
            assert_eq!(round_again(gate).await, Round::Behind);
            assert_eq!(gate.round().await, Round::Waiting, "another server answers");
            assert_eq!(gate.following.known.read_sent(), read, "it is not in touch before it has settled");
        }
        for gate in [&mut other, &mut one] {
            gate.settle();
            assert_eq!(gate.round().await, Round::Complete);
            assert!(!gate.lives("a").await && !gate.lives("b").await, "empty: {empty}");
            assert!(gate.store.mark("erp", &[Subject::User("user@example.com")]).await.unwrap().is_some());
            assert!(gate.store.client("erp", "shop").await.unwrap().is_none_or(|client| !client.enabled));
        }
        let mut redis = beside(&server);
        let fields: Vec<String> = redis.hkeys(MARKS).unwrap();
        for field in ["user:user@example.com", "latest", "disabled:shop"] {
            assert!(fields.iter().any(|found| found == field), "{field} is written back: {fields:?}");
        }
        assert!(!redis.exists::<_, bool>(format!("sg:erp:token:{}", hash("b"))).unwrap(), "it is deleted again");
        // And one that starts now knows what they knew.
        let new = Gate::started(&server).await;
        assert!(!new.lives("a").await && !new.lives("b").await);
    }
}

#[tokio::test]
async fn a_site_is_not_trusted_for_a_second_after_another_server_answers_for_it() {
    let store = Watched::with_token().await;
    let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR));
    gate.catch_up().await;
    store.server.fetch_add(1, Ordering::Relaxed);
    assert_eq!(gate.round().await, Round::Behind);
    let settles_at = gate.following.settles_at.unwrap();
    assert!(settles_at <= Instant::now() + SETTLE && settles_at > Instant::now());
    until(async || gate.round().await == Round::Complete).await;
    assert!(Instant::now() >= settles_at);
    assert!(gate.lives("a").await);
}

#[tokio::test]
async fn starting_over_is_done_again_from_its_beginning_where_any_of_it_fails() {
    let gone = Logged { place: "999".into(), entry: Entry::Begin };
    for operation in ["server", "log", "marks", "raise", "end_tokens"] {
        let store = Watched::with_token().await;
        let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR));
        gate.catch_up().await;
        // It knows what the store does not: a mark, and the end of a token that is there.
        let (known, now) = (&gate.following.known, wall_clock());
        known.raise(Subject::Grant("g"), now);
        known.end(&hash("a"), Ended { at: now, exp: later() }, now);
        gate.following.place = Some(gone.clone());
        *store.refused.lock().unwrap() = Some(operation);
        let read = known.read_sent();
        for _ in 0..3 {
            assert!(gate.following.round().await.is_err(), "{operation}");
        }
        *store.refused.lock().unwrap() = None;
        assert_eq!(gate.round().await, Round::Behind, "{operation}");
        assert_eq!(gate.round().await, Round::Waiting, "{operation}: the time of the others begins when all is done");
        assert_eq!(gate.following.known.read_sent(), read);
        assert!(store.marks("erp").await.unwrap().contains(&("grant:g".to_owned(), now)), "{operation}");
        let told = store.log("erp", None, 100).await.unwrap().unwrap();
        let ended = |logged: &Logged| matches!(&logged.entry, Entry::Token { hash: told, .. } if *told == hash("a"));
        assert!(told.iter().any(ended), "{operation}: {told:?}");
        gate.settle();
        assert_eq!(gate.round().await, Round::Complete);
        assert!(!gate.lives("a").await);
    }
}

#[tokio::test]
async fn entries_make_look_again_at_what_they_name_and_foreign_ones_at_everything() {
    let server = RedisServer::start();
    let one = Gate::started(&server).await;
    fill(&*one.store).await;
    let mut gate = Gate::started(&server).await;
    let mut redis = beside(&server);
    let hash_a = hash("a").to_string();
    for (entry, again) in [
        (&["look", &*hash_a][..], "a"),
        (&["client", "crm"], "a"),
        (&["client", "nobody"], ""),
        (&["mark", "enabled:shop", "at", "5"], "b"),
        (&["mark", "disabled:nobody", "at", "5"], ""),
        (&["mark", "user:nobody", "at", "5"], ""),
        (&["mark", "client:crm", "at", "5"], ""),
        (&["mark", "latest", "at", "5"], ""),
        (&["wait", "x"], ""),
        (&["begin", "1"], ""),
        (&["pardon", "crm"], "a b"),
        (&["mark", "device:7", "at", "5"], "a b"),
        (&["mark", "client:crm"], "a b"),
    ] {
        assert!(gate.lives("a").await && gate.lives("b").await);
        redis::cmd("XADD").arg(LOG).arg("*").arg(entry).exec(&mut redis).unwrap();
        assert_eq!(gate.round().await, Round::Complete, "{entry:?}");
        let mut asked = Vec::new();
        for name in ["a", "b"] {
            let misses = gate.cached.misses();
            assert!(gate.lives(name).await, "{entry:?}");
            if gate.cached.misses() > misses {
                asked.push(name);
            }
        }
        assert_eq!(asked.join(" "), again, "{entry:?}");
    }
}

#[tokio::test]
async fn while_the_store_is_lost_what_was_known_counts_as_long_as_the_operator_wants() {
    /// Later than the bound and every review.
    const LATE: Duration = Duration::from_secs(2 * 3600);
    let rows = [
        (None, "", false, "the default refuses"),
        (Some(HOUR), "", true, "within the time"),
        (Some(Duration::ZERO), "", false, "after it"),
        (Some(HOUR), "token", false, "it is known to be revoked"),
        (Some(HOUR), "grant", false, "its grant is"),
        (Some(HOUR), "client", false, "its client must be looked up again"),
        (Some(HOUR), "site", false, "everything must be"),
        (Some(HOUR), "look", false, "it must be looked up again itself"),
    ];
    for (serve_known, event, served, why) in rows {
        let store = Watched::with_token().await;
        store.put_token("erp", &hash("b"), &record()).await.unwrap();
        let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &Settings { serve_known, ..settings(HOUR) });
        gate.catch_up().await;
        assert!(gate.lives("a").await);
        let a = TokenRecord { grant: Some("g".into()), ..record() };
        store.put_token("erp", &hash("a"), &a).await.unwrap();
        gate.catch_up().await;
        assert!(gate.lives("a").await);
        let known = &gate.following.known;
        match event {
            "token" => known.end(&hash("a"), Ended { at: a.iat, exp: a.exp }, wall_clock()),
            "grant" => known.raise(Subject::Grant("g"), a.iat),
            "client" => gate.cached.forget_client(SITE, "crm"),
            "site" => gate.cached.forget_site(SITE, "erp"),
            "look" => gate.cached.forget_token(SITE, &hash("a")),
            _ => {}
        }
        store.broken.store(true, Ordering::Relaxed);
        let late = std::time::Instant::now() + LATE;
        let cached = Arc::clone(&gate.cached);
        let find = async |name| cached.find_at(SITE, "erp", &hash(name), wall_clock(), late).await;
        match find("a").await {
            Ok(Lookup::Live(_)) => assert!(served, "{why}"),
            Ok(other) => panic!("{why}: {other:?}"),
            Err(_) => assert!(!served, "{why}"),
        }
        assert!(find("b").await.is_err() && find("none").await.is_err(), "{why}: never what was not known");
        let expired = gate.cached.find_at(SITE, "erp", &hash("a"), a.exp, late).await;
        assert!(expired.is_err(), "{why}: never what has expired");
        assert_eq!(gate.cached.served_known(), u64::from(served), "{why}");
        store.broken.store(false, Ordering::Relaxed);
        gate.catch_up().await;
        let back = matches!(find("a").await.unwrap(), Lookup::Live(_));
        assert_eq!(back, !matches!(event, "token" | "grant"), "{why}");
        assert_eq!(gate.cached.served_known(), u64::from(served), "{why}: the store is asked again");
    }
}

#[tokio::test]
async fn what_is_known_is_served_without_a_wait_for_a_store_that_is_lost() {
    let store = Watched::with_token().await;
    let settings = Settings { serve_known: Some(HOUR), ..settings(HOUR) };
    let mut gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings);
    gate.catch_up().await;
    assert!(gate.lives("a").await);
    store.broken.store(true, Ordering::Relaxed);
    gate.following.round().await.unwrap_err();
    store.broken.store(false, Ordering::Relaxed);
    let late = std::time::Instant::now() + HOUR;
    let find = async |gate: &Gate| gate.cached.find_at(SITE, "erp", &hash("a"), wall_clock(), late).await.unwrap();
    let asked = store.asked();
    assert!(matches!(find(&gate).await, Lookup::Live(_)));
    assert_eq!((store.asked(), gate.cached.served_known()), (asked, 1), "whatever it would say is not believed");
    assert!(gate.lives("a").await, "within the bound it is known as ever");
    gate.catch_up().await;
    assert!(matches!(find(&gate).await, Lookup::Live(_)));
    assert_ne!(store.asked(), asked, "now it is asked again");
    assert_eq!(gate.cached.served_known(), 1);
}

#[tokio::test]
async fn serving_what_is_known_needs_a_log_that_was_read() {
    let store = Watched::with_token().await;
    let settings = Settings { serve_known: Some(HOUR), ..settings(HOUR) };
    let gate = Gate::new(Arc::clone(&store) as Arc<dyn Store>, &settings);
    for _ in 0..2 {
        assert!(gate.find("a").await.is_err());
    }
    assert_eq!(gate.cached.served_known(), 0);
}

/// Two gateways left to themselves, with a bound of their own.
struct Left {
    store: Arc<dyn Store>,
    cached: Arc<CachedStore>,
    _follower: Follower,
}

impl Left {
    async fn on(server: &RedisServer, bound: Duration) -> Self {
        let store: Arc<dyn Store> = Arc::new(connect(server, bound).await);
        store.ledger().follow(Terms { bound, patience: bound });
        let cached = Arc::new(CachedStore::new(Arc::clone(&store), &settings(bound)));
        let follower = Follower::new(Arc::clone(&cached), bound, Handle::current());
        follower.follow(SITE, "erp");
        follower.follow(SITE, "erp");
        Self { store, cached, _follower: follower }
    }

    /// `None` where the store could not be asked.
    async fn lives(&self, hash: &TokenHash) -> Option<bool> {
        let found = self.cached.find(SITE, "erp", hash, wall_clock()).await.ok()?;
        Some(matches!(found, Lookup::Live(_)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_is_an_error_after_the_bound_and_never_a_yes_for_what_was_revoked() {
    const BOUND: Duration = Duration::from_millis(400);
    let server = RedisServer::start();
    let (one, other) = (Left::on(&server, BOUND).await, Left::on(&server, BOUND).await);
    fill(&*one.store).await;
    for gate in [&one, &other] {
        until(async || gate.lives(&hash("a")).await == Some(true) && gate.lives(&hash("b")).await == Some(true)).await;
    }
    // Left to itself a revocation comes through.
    one.store.delete_token("erp", &hash("b")).await.unwrap();
    until(async || other.lives(&hash("b")).await == Some(false)).await;

    one.store.delete_token("erp", &hash("a")).await.unwrap();
    let revoked = std::time::Instant::now();
    server.suspend();
    let mut lost = 0;
    while lost < 3 {
        for gate in [&one, &other] {
            let asked = std::time::Instant::now();
            let answer = gate.lives(&hash("a")).await;
            assert!(answer != Some(true) || asked < revoked + BOUND, "let through {:?} after it was revoked", asked - revoked);
            lost += usize::from(answer.is_none() && asked > revoked + BOUND);
        }
        assert!(revoked.elapsed() < PATIENCE);
        yield_now().await;
    }
    server.resume();
    for gate in [&one, &other] {
        until(async || gate.lives(&hash("a")).await == Some(false)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_told_by_followers_left_to_themselves() {
    const BOUND: Duration = Duration::from_millis(400);
    let mut server = RedisServer::start();
    let (one, other) = (Left::on(&server, BOUND).await, Left::on(&server, BOUND).await);
    fill(&*one.store).await;
    for gate in [&one, &other] {
        until(async || gate.lives(&hash("a")).await == Some(true)).await;
    }
    one.store.revoke("erp", &[Subject::User("user@example.com")], wall_clock().plus(5)).await.unwrap();
    let revoked = std::time::Instant::now();
    server.kill();
    server.restart();
    let restarted = std::time::Instant::now();
    // Somebody puts everything back, the revoked token with it.
    let new = connect(&server, PATIENCE).await;
    fill(&new).await;
    until(async || {
        let asked = std::time::Instant::now();
        let (a, b) = (other.lives(&hash("a")).await, other.lives(&hash("b")).await);
        assert!(a != Some(true) || asked < revoked + BOUND, "let through {:?} after it was revoked", asked - revoked);
        b == Some(true) && asked > restarted + SETTLE
    })
    .await;
    assert_eq!(other.lives(&hash("a")).await, Some(false));
    assert!(beside(&server).hexists::<_, _, bool>(MARKS, "user:user@example.com").unwrap());
}

#[tokio::test]
async fn a_follower_that_is_dropped_reads_no_more() {
    let store = Watched::with_token().await;
    let cached = Arc::new(CachedStore::new(Arc::clone(&store) as Arc<dyn Store>, &settings(HOUR)));
    let follower = Follower::new(cached, Duration::from_millis(20), Handle::current());
    follower.follow(SITE, "erp");
    let known = store.ledger().site("erp");
    until(async || known.read_sent() != 0).await;
    drop(follower);
    // Its task holds the cache, and the cache the store.
    until(async || Arc::strong_count(&store) == 1).await;
}
