//! The cache, tested against a store that is told what to say.

use crate::oauth::client::ClientRate;
use crate::store::contract::{PATIENCE, client, hash, token};
use crate::store::kept::{RevocationStore, Subject};
use crate::store::watched::Watched;
use crate::store::{Backend, ClientStore, TokenStore, wall_clock};

use super::*;

const BOUND: Duration = Duration::from_secs(1);
/// The age at which all that was asked during a test is too old.
const OLD: Duration = Duration::from_secs(60);
const SITE: SiteId = SiteId(7);
const EXP: u64 = 4_102_444_800;

fn settings(bound: Duration) -> Settings {
    Settings {
        backend: Backend::Embedded { path: "unused".into() },
        lookup_timeout: PATIENCE,
        cache_entries_max: 1000,
        revocation_bound: bound,
        serve_known: None,
    }
}

fn cached(store: &Arc<Watched>) -> Arc<CachedStore> {
    Arc::new(CachedStore::new(Arc::clone(store) as Arc<dyn Store>, &settings(BOUND)))
}

/// Before every token of these tests expires.
const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

async fn find(cached: &CachedStore, name: &str, at: Instant) -> Result<Lookup, StoreError> {
    cached.find_at(SITE, "erp", &hash(name), NOW, at).await
}

async fn live(cached: &CachedStore, name: &str, at: Instant) -> Arc<Live> {
    match find(cached, name, at).await {
        Ok(Lookup::Live(live)) => live,
        other => panic!("{name}: {other:?}"),
    }
}

async fn unknown(cached: &CachedStore, name: &str, at: Instant) -> Unknown {
    match find(cached, name, at).await {
        Ok(Lookup::Unknown(why)) => why,
        other => panic!("{name}: {other:?}"),
    }
}

/// Lets other tasks go on until `done`.
async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came to pass");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_known_token_is_asked_for_once_in_a_bound() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let start = Instant::now();
    let first = live(&cached, "a", start).await;
    assert_eq!((&*first.record.client, &*first.client.id), ("crm", "crm"));
    assert!(Arc::ptr_eq(&first.record.client, &first.client.id), "one text for both");
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&live(&cached, "a", start).await, &first));
    }
    assert_eq!((store.asked(), cached.hits(), cached.misses()), ((1, 1), 10, 1));
    live(&cached, "a", start + OLD).await;
    assert_eq!(store.asked(), (2, 2));
}

#[tokio::test]
async fn an_answer_counts_until_the_bound_and_not_on_it() {
    let knowledge = Arc::clone(&cached(&Watched::new()).knowledge);
    let bound = 1_000_000_000;
    for (asked, at, counts) in [
        (5, 5, true),
        (5, 5 + bound - 1, true),
        (5, 5 + bound, false),
        (5, u64::MAX, false),
        (9, 5, true),
        (NEVER, 1, false),
        (NEVER, 5, false),
    ] {
        assert_eq!(knowledge.vouched(asked, at, 1), counts, "{asked} {at}");
    }
}

/// The bound counts from when the look-up was sent, not from when its answer came.
#[tokio::test]
async fn an_answer_is_as_old_as_its_question() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let asking = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { live(&cached, "a", Instant::now()).await }
    });
    until(|| store.asked().0 == 1).await;
    let sent_before = Instant::now();
    store.gated.store(false, Ordering::Relaxed);
    store.gate.add_permits(1);
    asking.await.unwrap();
    live(&cached, "a", sent_before + BOUND).await;
    assert_eq!(store.asked().0, 2, "it was sent before `sent_before`");
}

#[tokio::test]
async fn a_hundred_who_miss_one_token_at_once_make_one_look_up() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let finds: Vec<_> = (0..100)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { live(&cached, "a", Instant::now()).await })
        })
        .collect();
    until(|| cached.misses() == 100).await;
    store.gate.add_permits(1);
    for find in finds {
        find.await.unwrap();
    }
    assert_eq!(store.asked(), (1, 1));
}

#[tokio::test]
async fn the_clients_of_many_tokens_are_asked_for_once_in_a_bound() {
    let store = Watched::with_token().await;
    for number in 0..50 {
        store.put_token("erp", &hash(&format!("{number}")), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
    }
    let cached = cached(&store);
    let start = Instant::now();
    for at in [start, start + OLD, start + OLD * 2] {
        for number in 0..50 {
            live(&cached, &format!("{number}"), at).await;
        }
    }
    assert_eq!(store.asked(), (150, 3));
}

#[tokio::test]
async fn a_miss_hides_no_token_that_is_put_later() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let at = Instant::now();
    assert_eq!(unknown(&cached, "new", at).await, Unknown::NoSuchToken);
    assert_eq!(unknown(&cached, "new", at).await, Unknown::NoSuchToken);
    assert_eq!(store.asked().0, 2, "a no is asked for each time");
    store.put_token("erp", &hash("new"), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
    live(&cached, "new", at).await;
}

#[tokio::test]
async fn a_look_up_that_began_before_a_token_was_put_hides_it_from_nobody_who_came_after() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let early = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { unknown(&cached, "new", Instant::now()).await }
    });
    until(|| store.asked().0 == 1).await;
    store.put_token("erp", &hash("new"), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
    let late: Vec<_> = (0..20)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { live(&cached, "new", Instant::now()).await })
        })
        .collect();
    until(|| cached.misses() == 21).await;
    store.gated.store(false, Ordering::Relaxed);
    store.gate.add_permits(1);
    assert_eq!(early.await.unwrap(), Unknown::NoSuchToken);
    for find in late {
        find.await.unwrap();
    }
    assert_eq!(store.asked().0, 2);
}

#[tokio::test]
async fn a_token_ends_on_its_very_second_though_it_is_cached() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let at = Instant::now();
    for (now, lives) in [(EXP - 1, true), (EXP, false), (EXP + 1, false), (EXP - 1, true)] {
        let found = cached.find_at(SITE, "erp", &hash("a"), Timestamp::from_unix(now), at).await.unwrap();
        assert_eq!(matches!(found, Lookup::Live(_)), lives, "{now}");
        assert_eq!(matches!(found, Lookup::Unknown(Unknown::Expired)), !lives, "{now}");
    }
    // And lives on at once where it was prolonged.
    store.put_token("erp", &hash("a"), &token("crm", "read", Timestamp::from_unix(EXP + 60))).await.unwrap();
    let found = cached.find_at(SITE, "erp", &hash("a"), Timestamp::from_unix(EXP), at).await.unwrap();
    assert!(matches!(found, Lookup::Live(_)));
}

#[tokio::test]
async fn what_this_process_revoked_ends_at_once() {
    let now = wall_clock();
    let rows = [Subject::Client("crm"), Subject::User("user@example.com"), Subject::Grant("g")];
    for subject in rows.map(Some).into_iter().chain([None]) {
        let store = Watched::with_token().await;
        let cached = cached(&store);
        let start = Instant::now();
        for name in ["a", "b"] {
            let record = TokenRecord { grant: Some("g".into()), ..token("crm", "read", Timestamp::from_unix(EXP)) };
            let other = TokenRecord { user: "other@example.com".into(), client: "shop".into(), grant: None, ..record.clone() };
            store.put_token("erp", &hash(name), if name == "a" { &record } else { &other }).await.unwrap();
        }
        store.create_client("erp", &client("shop")).await.unwrap();
        live(&cached, "a", start).await;
        live(&cached, "b", start).await;
        let why = match subject {
            Some(subject) => {
                store.revoke("erp", &[subject], now).await.unwrap();
                Unknown::Revoked
            }
            None => {
                store.delete_token("erp", &hash("a")).await.unwrap();
                Unknown::NoSuchToken
            }
        };
        let asked = store.asked();
        assert_eq!(unknown(&cached, "a", start).await, why, "{subject:?}");
        let after = store.asked();
        live(&cached, "b", start).await;
        assert_eq!((store.asked(), after.0), (after, asked.0 + 1), "nobody else's token is looked up again");
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_and_put_back_with_its_old_date_stays_revoked() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.delete_token("erp", &hash("a")).await.unwrap();
    let old = token("crm", "read", Timestamp::from_unix(EXP));
    store.put_token("erp", &hash("a"), &old).await.unwrap();
    assert_eq!(unknown(&cached, "a", Instant::now()).await, Unknown::NoSuchToken);
    store.put_token("erp", &hash("a"), &TokenRecord { iat: wall_clock().plus(1), ..old }).await.unwrap();
    live(&cached, "a", Instant::now()).await;
}

#[tokio::test]
async fn a_look_up_under_way_brings_back_nothing_that_was_revoked_meanwhile() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let early = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { find(&cached, "a", Instant::now()).await }
    });
    until(|| store.asked().0 == 1).await;
    store.delete_token("erp", &hash("a")).await.unwrap();
    cached.forget_token(SITE, &hash("a"));
    store.gated.store(false, Ordering::Relaxed);
    store.gate.add_permits(1);
    early.await.unwrap().unwrap();
    assert_eq!(unknown(&cached, "a", Instant::now()).await, Unknown::NoSuchToken);
}

#[tokio::test]
async fn a_late_answer_about_a_client_takes_the_place_of_no_later_one() {
    let store = Watched::with_token().await;
    store.put_token("erp", &hash("b"), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
    let cached = cached(&store);
    live(&cached, "a", Instant::now()).await;
    cached.forget_client(SITE, "crm");
    store.clients_gated.store(true, Ordering::Relaxed);
    let early = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { live(&cached, "a", Instant::now()).await }
    });
    until(|| store.held.load(Ordering::Relaxed) == 1).await;
    store.clients_gated.store(false, Ordering::Relaxed);
    // What was read is changed, the change told, and looked up.
    let rate = Some(ClientRate { requests: 5, seconds: 1, burst: 9 });
    store.update_client("erp", &Client { rate, ..client("crm") }).await.unwrap();
    cached.forget_client(SITE, "crm");
    assert_eq!(live(&cached, "b", Instant::now()).await.client.client().rate, rate);
    store.client_gate.add_permits(1);
    assert_eq!(early.await.unwrap().client.client().rate, rate);
    assert_eq!(live(&cached, "b", Instant::now()).await.client.client().rate, rate);
}

#[tokio::test]
async fn a_disabled_or_deleted_client_ends_all_its_tokens_within_the_bound() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let start = Instant::now();
    live(&cached, "a", start).await;
    store.update_client("erp", &Client { enabled: false, ..client("crm") }).await.unwrap();
    live(&cached, "a", start).await;
    assert_eq!(unknown(&cached, "a", start + OLD).await, Unknown::ClientDisabled);
    assert_eq!(unknown(&cached, "a", start).await, Unknown::ClientDisabled, "once known, it counts for all");

    store.update_client("erp", &client("crm")).await.unwrap();
    live(&cached, "a", start).await;
    store.delete_client("erp", "crm").await.unwrap();
    cached.forget_client(SITE, "crm");
    assert_eq!(unknown(&cached, "a", start).await, Unknown::NoSuchClient);
}

#[tokio::test]
async fn a_client_is_one_object_that_keeps_its_cell_when_it_is_read_again() {
    let store = Watched::with_token().await;
    store.put_token("erp", &hash("b"), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
    let cached = cached(&store);
    let start = Instant::now();
    let before = live(&cached, "a", start).await;
    before.client.cell.store(42, Ordering::Relaxed);
    let rate = Some(ClientRate { requests: 5, seconds: 1, burst: 9 });
    store.update_client("erp", &Client { rate, ..client("crm") }).await.unwrap();
    let after = live(&cached, "b", start + OLD).await;
    assert!(Arc::ptr_eq(&before.client, &after.client));
    assert_eq!((after.client.client().rate, after.client.cell.load(Ordering::Relaxed)), (rate, 42));
    assert_eq!(before.client.client().rate, rate, "whoever holds the old answer sees the new rate");

    cached.forget_client(SITE, "crm");
    assert!(Arc::ptr_eq(&live(&cached, "a", start).await.client, &before.client));
}

#[tokio::test]
async fn a_client_made_anew_with_an_old_id_inherits_the_cell_and_not_the_tokens() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let start = Instant::now();
    let old = live(&cached, "a", start).await;
    old.client.cell.store(42, Ordering::Relaxed);
    store.delete_client("erp", "crm").await.unwrap();
    let created = old.record.iat.plus(CLOCK_SKEW + 1);
    store.create_client("erp", &Client { created, ..client("crm") }).await.unwrap();
    let issued = TokenRecord { iat: created, ..token("crm", "read", Timestamp::from_unix(EXP)) };
    store.put_token("erp", &hash("new"), &issued).await.unwrap();
    let new = live(&cached, "new", start + OLD).await;
    assert_eq!(new.client.cell.load(Ordering::Relaxed), 42);
    for at in [start, start + OLD] {
        assert_eq!(unknown(&cached, "a", at).await, Unknown::OlderThanClient);
    }
}

#[tokio::test]
async fn a_store_that_cannot_answer_is_an_error_and_not_remembered() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    let start = Instant::now();
    store.broken.store(true, Ordering::Relaxed);
    find(&cached, "a", start).await.unwrap_err();
    store.broken.store(false, Ordering::Relaxed);
    live(&cached, "a", start).await;
    store.broken.store(true, Ordering::Relaxed);
    live(&cached, "a", start).await;
    find(&cached, "a", start + OLD).await.unwrap_err();
    // The token is young enough, its client is not.
    cached.forget_client(SITE, "crm");
    find(&cached, "a", start).await.unwrap_err();
    store.broken.store(false, Ordering::Relaxed);
    live(&cached, "a", start).await;
}

#[tokio::test]
async fn an_answer_that_comes_after_the_bound_is_not_used() {
    let store = Watched::with_token().await;
    let cached = CachedStore::new(Arc::clone(&store) as Arc<dyn Store>, &settings(Duration::ZERO));
    let error = find(&cached, "a", Instant::now()).await.unwrap_err().0;
    assert!(error.contains("too slowly"), "{error}");
    assert_eq!(unknown(&cached, "b", Instant::now()).await, Unknown::NoSuchToken, "a no is as good late as early");
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_no_answer_from_the_others() {
    let store = Watched::with_token().await;
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let finds: Vec<_> = (0..300)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { live(&cached, "a", Instant::now()).await })
        })
        .collect();
    until(|| cached.misses() == 300).await;
    let (gone, waiting) = finds.split_at(299);
    for find in gone {
        find.abort();
        until(|| find.is_finished()).await;
    }
    store.gate.add_permits(1);
    until(|| waiting[0].is_finished()).await;
    assert_eq!(store.asked(), (1, 1));
    live(&cached, "a", Instant::now()).await;
}

#[test]
fn a_look_up_whose_runtime_ends_is_an_error_for_those_who_wait_on_another() {
    let main = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let store = main.block_on(Watched::with_token());
    let cached = cached(&store);
    store.gated.store(true, Ordering::Relaxed);
    let dying = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    dying.spawn({
        let cached = Arc::clone(&cached);
        async move { find(&cached, "a", Instant::now()).await }
    });
    dying.block_on(until(|| store.asked().0 == 1));
    main.block_on(async {
        let waiting = tokio::spawn({
            let cached = Arc::clone(&cached);
            async move { find(&cached, "a", Instant::now()).await }
        });
        until(|| cached.misses() == 2).await;
        dying.shutdown_background();
        waiting.await.unwrap().unwrap_err();
        store.gated.store(false, Ordering::Relaxed);
        live(&cached, "a", Instant::now()).await;
    });
}

#[test]
fn one_cache_serves_many_runtimes_at_once() {
    let main = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let store = main.block_on(Watched::with_token());
    let cached = cached(&store);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let worker = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                worker.block_on(async {
                    for _ in 0..500 {
                        live(&cached, "a", Instant::now()).await;
                        unknown(&cached, "b", Instant::now()).await;
                    }
                });
            });
        }
    });
    assert_eq!(cached.hits() + cached.misses(), 4000);
}

#[tokio::test]
async fn the_cache_keeps_no_more_than_it_may() {
    let store = Watched::with_token().await;
    let cached = CachedStore::new(Arc::clone(&store) as Arc<dyn Store>, &Settings { cache_entries_max: 10, ..settings(BOUND) });
    for number in 0..40 {
        let name = format!("{number}");
        store.put_token("erp", &hash(&name), &token("crm", "read", Timestamp::from_unix(EXP))).await.unwrap();
        live(&cached, &name, Instant::now()).await;
    }
    assert!(cached.len() <= 10, "{}", cached.len());
}

#[test]
fn clients_that_no_token_holds_are_swept_when_there_are_too_many() {
    let mut clients = Clients { of_site: HashMap::default(), count: 0, sweep_at: 10 };
    let held: Vec<_> = (0..5).map(|number| clients.enter(SITE, client(&format!("held-{number}")), Arc::default())).collect();
    for number in 0..20 {
        clients.enter(SITE, client(&format!("idle-{number}")), Arc::default());
    }
    assert!(clients.count < 25 && clients.sweep_at == IDLE_CLIENTS_MAX);
    for live in held {
        assert!(Arc::ptr_eq(&clients.enter(SITE, client(&live.id), Arc::default()), &live));
    }
}

/// What a cached token takes besides its texts: 1 M of them are to fit into 300 MB, with what the cache itself needs.
#[test]
fn an_entry_stays_small() {
    assert!(size_of::<Live>() <= 176, "{}", size_of::<Live>());
}

#[tokio::test]
async fn a_look_up_moves_between_threads_and_takes_little_room_in_a_request() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let cached = cached(&Watched::new());
    let hash = hash("a");
    let future = sendable(cached.find(SITE, "erp", &hash, NOW));
    assert!(size_of_val(&future) <= 1024, "{}", size_of_val(&future));
}

#[test]
fn a_tally_counts_every_thread() {
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| (0..100).for_each(|_| tally.add()));
        }
    });
    assert_eq!(tally.sum(), 2000);
}
