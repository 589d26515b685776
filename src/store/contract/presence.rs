//! Gateways that say that they live, and what they have applied.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;
use crate::store::contract::{PATIENCE, embedded, redis};
use crate::store::presence::Gateway;
use crate::store::redis_server::RedisServer;

contract! {
    a_gateway_is_seen_until_it_says_that_it_has_ended
    who_has_applied_what_is_known_by_its_name
    sites_have_gateways_of_their_own
    names_of_waits_that_could_forge_a_key_are_refused
}

async fn all(store: &Arc<dyn Store>, site: &str) -> Vec<Gateway> {
    let seen = store.gateways(site).await.unwrap();
    assert!(seen.iter().all(|seen| seen.ago < PATIENCE && seen.lives() == (seen.ago <= Duration::from_secs(3))), "{seen:?}");
    let mut gateways: Vec<_> = seen.into_iter().map(|seen| seen.gateway).collect();
    gateways.sort();
    gateways
}

fn two() -> [Gateway; 2] {
    let mut two = [Gateway::here(), Gateway::here()];
    two.sort();
    two
}

async fn a_gateway_is_seen_until_it_says_that_it_has_ended(store: Arc<dyn Store>) {
    let [first, second] = two();
    assert_eq!(all(&store, "erp").await, []);
    store.absent("erp", &first).await.unwrap();
    for gateway in [&first, &second, &first] {
        store.present("erp", gateway).await.unwrap();
    }
    assert_eq!(all(&store, "erp").await, [first.clone(), second.clone()], "once, however often it says so");
    store.absent("erp", &first).await.unwrap();
    store.absent("erp", &first).await.unwrap();
    assert_eq!(all(&store, "erp").await, [second]);
}

async fn who_has_applied_what_is_known_by_its_name(store: Arc<dyn Store>) {
    let [first, second] = two();
    assert!(store.acknowledged("erp", "a").await.unwrap().is_empty());
    store.acknowledge("erp", &["a".into(), "b".into()], &first).await.unwrap();
    store.acknowledge("erp", &["b".into()], &second).await.unwrap();
    store.acknowledge("erp", &["b".into()], &second).await.unwrap();
    assert_eq!(store.acknowledged("erp", "a").await.unwrap().into_iter().collect::<Vec<_>>(), std::slice::from_ref(&first));
    assert_eq!(store.acknowledged("erp", "b").await.unwrap().into_iter().collect::<Vec<_>>(), [first, second]);
    assert!(store.acknowledged("erp", "c").await.unwrap().is_empty());
    assert_eq!(all(&store, "erp").await, [], "who answers need not have been seen");
}

async fn sites_have_gateways_of_their_own(store: Arc<dyn Store>) {
    let [first, second] = two();
    store.present("erp", &first).await.unwrap();
    store.present("shop", &second).await.unwrap();
    store.acknowledge("erp", &["a".into()], &first).await.unwrap();
    store.absent("shop", &first).await.unwrap();
    assert_eq!((all(&store, "erp").await, all(&store, "shop").await), (vec![first], vec![second]));
    for other in ["shop", "er", "erp2", "ERP"] {
        assert!(store.acknowledged(other, "a").await.unwrap().is_empty(), "{other}");
    }
}

async fn names_of_waits_that_could_forge_a_key_are_refused(store: Arc<dyn Store>) {
    let gateway = Gateway::here();
    for bad in ["", "a:b", "a b", "{a}", "a\n", "\u{e9}", &"x".repeat(65)] {
        assert!(store.acknowledge("erp", &["a".into(), bad.into()], &gateway).await.is_err(), "{bad:?}");
        assert!(store.acknowledged("erp", bad).await.is_err(), "{bad:?}");
        if bad.len() < 65 {
            assert!(store.present(bad, &gateway).await.is_err(), "{bad:?}");
            assert!(store.absent(bad, &gateway).await.is_err(), "{bad:?}");
            assert!(store.gateways(bad).await.is_err(), "{bad:?}");
            assert!(store.acknowledged(bad, "a").await.is_err(), "{bad:?}");
        }
    }
    assert!(store.acknowledged("erp", "a").await.unwrap().is_empty(), "all or none");
}
