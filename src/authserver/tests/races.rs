//! A hundred requests at the same instant, on both stores.

use std::collections::BTreeMap;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::oauth::records::End;
use crate::store::cached::Lookup;

use super::*;

const RACERS: usize = 100;

/// How often each answer came, by status and body.
async fn race(bench: &Arc<Bench>, asked: Asked) -> BTreeMap<(u16, String), usize> {
    let (mut racers, start) = (JoinSet::new(), Arc::new(Barrier::new(RACERS)));
    for number in 0..RACERS {
        let (bench, start, asked) = (bench.clone(), start.clone(), asked.clone().from(number as u8));
        racers.spawn(async move {
            start.wait().await;
            bench.ask(asked).await
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(told) = racers.join_next().await {
        let told = told.expect("an answer");
        *answers.entry((told.status, told.text)).or_default() += 1;
    }
    answers
}

async fn one_code(bench: Bench) {
    let bench = Arc::new(bench);
    let (_, grant) = bench.ready("read").await;
    let answers = race(&bench, redemption()).await;
    let won: Vec<_> = answers.iter().filter(|((status, _), _)| *status == 200).collect();
    assert_eq!(won.len(), 1, "{:?}", answers.values());
    let ((_, text), times) = won[0];
    assert_eq!(*times, 1);
    let lost = answers.iter().find(|((status, _), _)| *status == 400).map(|((_, text), times)| (text, *times));
    let (error, times) = lost.expect("the others");
    assert!(error.contains("invalid_grant") && times == RACERS - 1, "{error}: {times}");
    assert_eq!(bench.ended(&grant.id).await, Some(End::Reuse));
    let answer: Value = serde_json::from_str(text).expect("JSON");
    assert!(!bench.lives(super::text(&answer, "access_token")).await, "one of the two who had the code is a thief");
    assert_eq!(bench.store().tokens_of(ERP, "crm", RACERS).await.expect("the store").len(), 1, "the others took theirs back");
}

async fn one_refresh_token(bench: Bench) {
    let bench = Arc::new(bench);
    let (_, grant) = bench.ready("read").await;
    let first = bench.redeemed().await;
    let answers = race(&bench, refreshing(text(&first, "refresh_token"))).await;
    let [((200, second), RACERS)] = &answers.into_iter().collect::<Vec<_>>()[..] else { panic!("not all had the same answer") };
    let second: Value = serde_json::from_str(second).expect("JSON");
    assert!(bench.lives(text(&second, "access_token")).await);
    assert_eq!(bench.store().tokens_of(ERP, "crm", RACERS).await.expect("the store").len(), 2, "one pair was made");
    assert_eq!(bench.ended(&grant.id).await, None);
    assert_eq!(bench.ask(refreshing(text(&second, "refresh_token"))).await.status, 200);
}

/// Whoever wins: what comes out is dead, or the grant has not ended.
async fn refreshes_while_the_grant_ends(bench: Bench) {
    let bench = Arc::new(bench);
    let (_, grant) = bench.ready("read").await;
    let first = bench.redeemed().await;
    let ending = {
        let (bench, grant) = (bench.clone(), grant.id.clone());
        tokio::spawn(async move { grants::end(bench.store(), ERP, &grant, End::User, bench.now).await.expect("the store") })
    };
    // By a clock that runs ahead of the one that ends the grant.
    let answers = race(&bench, refreshing(text(&first, "refresh_token")).later(3)).await;
    ending.await.expect("it ends");
    for ((status, body), _) in answers {
        match status {
            200 => {
                let answer: Value = serde_json::from_str(&body).expect("JSON");
                assert!(!bench.lives(text(&answer, "access_token")).await);
                assert_eq!(bench.ask(refreshing(text(&answer, "refresh_token")).later(4)).await.status, 400);
            }
            _ => assert!(body.contains("invalid_grant"), "{body}"),
        }
    }
}

/// Signing keys are made once, however many gateways need them first.
async fn first_keys(bench: Bench) {
    let bench = Arc::new(bench);
    let answers = race(&bench, Asked::get(Endpoint::Jwks)).await;
    assert_eq!(answers.len(), 1);
    let other = Bench { shared: Shared { memory: Arc::default(), ..shared_again(&bench) }, ..Bench::embedded() };
    let told = other.ask(Asked::get(Endpoint::Jwks)).await;
    assert_eq!(answers.keys().next().map(|(_, text)| text), Some(&told.text), "another gateway has the same");
}

fn shared_again(bench: &Bench) -> Shared {
    let shared = &bench.shared;
    Shared {
        store: shared.store.clone(),
        cached: shared.cached.clone(),
        origins: shared.origins.clone(),
        seal: shared.seal.clone(),
        bodies: shared.bodies.clone(),
        clock: shared.clock,
        complaints: shared.complaints.clone(),
        addresses: None,
        failures: None,
        memory: shared.memory.clone(),
    }
}

/// One test a race and store.
macro_rules! on_both_stores {
    ($($race:ident)*) => {
        mod on_embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $race() {
                    super::$race(super::Bench::embedded()).await;
                }
            )*
        }

        mod on_redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $race() {
                    super::$race(super::Bench::redis().await).await;
                }
            )*
        }
    };
}

on_both_stores! {
    one_code
    one_refresh_token
    refreshes_while_the_grant_ends
    first_keys
}

#[tokio::test]
async fn a_look_up_says_who_lives() {
    let bench = Bench::redis().await;
    bench.ready("read").await;
    let answer = bench.redeemed().await;
    let hash = TokenHash::of(text(&answer, "access_token").as_bytes());
    let found = bench.shared.cached.find(SiteId(0), ERP, &hash, bench.now).await.expect("the store");
    let Lookup::Live(live) = found else { panic!("{found:?}") };
    assert_eq!((&*live.record.user, live.record.grant.as_deref()), (USER, Some("grant-1")));
}
