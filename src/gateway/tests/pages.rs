//! Whose pages may read what the gate answers.

use std::time::Duration;

use super::gate::{APP, Answer, Gate};
use super::scene::{LIFE, SITE, Scene};
use crate::gateway::site::Credential;
use crate::oauth::client::Client;
use crate::policy::quota::Quota;
use crate::store::contract::client;
use crate::store::kept::{Set, digest_id};

const SPA: &str = "https://spa.example.com";
const OWN: &str = "https://own.example.com";
const PREFLIGHT: (&str, &str) = ("access-control-request-method", "PUT");

async fn register(scene: &Scene) {
    scene.store.enter(SITE, Set::ClientsOfOrigin, &digest_id(SPA), "spa").await.unwrap();
    assert!(scene.store.create_client(SITE, &Client { origins: vec![SPA.to_owned()], ..client("spa") }).await.unwrap());
}

fn lets_in(answer: &Answer) -> &str {
    assert_eq!(answer.header("vary"), "Origin", "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let exposed = answer.header("access-control-expose-headers").contains("www-authenticate");
    assert_eq!(exposed, !answer.header("access-control-allow-origin").is_empty());
    answer.header("access-control-allow-origin")
}

async fn get(gate: &Gate, token: &str, origin: &str) -> Answer {
    gate.ask(token, "GET", "/api/resource/ToDo", &[("origin", origin)], "").await
}

#[tokio::test]
async fn pages_of_a_clients_origin_read_answers_errors_and_preflights() {
    for scene in Scene::on_both().await {
        scene.granted(scene.now.plus(LIFE)).await;
        let gate = Gate::before(&scene).await;
        assert_eq!(lets_in(&get(&gate, APP, SPA).await), "", "nobody has said so yet");
        register(&scene).await;
        for (token, status) in [(APP, 200), ("stranger", 401), ("", 401)] {
            for origin in [SPA, OWN] {
                let answer = get(&gate, token, origin).await;
                assert_eq!((answer.status, lets_in(&answer)), (status, origin));
            }
            let answer = gate.get(token, "/api/resource/ToDo").await;
            assert_eq!((answer.status, lets_in(&answer)), (status, ""), "no page asked");
        }
        let answer = gate.ask("", "OPTIONS", "/api/resource/ToDo", &[("origin", SPA), PREFLIGHT], "").await;
        assert_eq!((answer.status, lets_in(&answer)), (204, SPA));
        assert!(answer.header("access-control-allow-methods").contains("PUT") && answer.header("allow").is_empty());
        for stranger in ["https://evil.example.com", "null", "*", "spa.example.com", "https://spa.example.com/"] {
            let answer = gate.ask("", "OPTIONS", "/api/resource/ToDo", &[("origin", stranger), PREFLIGHT], "").await;
            assert_eq!(lets_in(&answer), "", "{stranger}");
            assert!(answer.header("access-control-allow-methods").is_empty(), "{stranger}");
            assert_eq!(lets_in(&get(&gate, APP, stranger).await), "", "{stranger}");
        }
        let twice = gate.ask(APP, "GET", "/api/resource/ToDo", &[("origin", SPA), ("origin", SPA)], "").await;
        assert_eq!(lets_in(&twice), "");
        scene.store.update_client(SITE, &Client { enabled: false, origins: vec![SPA.to_owned()], ..client("spa") }).await.unwrap();
        assert_eq!(lets_in(&get(&gate, APP, SPA).await), "", "a disabled client lets nobody in");
    }
}

#[tokio::test]
async fn a_store_that_is_away_costs_an_answer_its_headers_and_no_more() {
    let mut scene = Scene::on_redis().await;
    register(&scene).await;
    let gate = Gate::before(&scene).await;
    assert_eq!(lets_in(&get(&gate, "", SPA).await), SPA);
    scene.redis.as_mut().unwrap().kill();
    let answer = get(&gate, "", SPA).await;
    assert_eq!((answer.status, lets_in(&answer)), (401, ""));
    assert_eq!(lets_in(&get(&gate, "", OWN).await), OWN, "the site's own are asked of nobody");
    let answer = gate.ask("", "OPTIONS", "/api/resource/ToDo", &[("origin", SPA), PREFLIGHT], "").await;
    assert_eq!((answer.status, lets_in(&answer)), (204, ""));
}

#[tokio::test]
async fn an_address_that_asks_too_often_makes_no_look_ups() {
    let scene = Scene::on_file().await;
    register(&scene).await;
    let quota = Quota { requests: 1, period: Duration::from_secs(3600), burst: 1 };
    let gate = Gate::with(&scene, &scene.upstreams, Credential::Bearer(scene.site.clone()), Some(quota)).await;
    assert_eq!(lets_in(&get(&gate, "", SPA).await), SPA);
    let answer = get(&gate, "", SPA).await;
    assert_eq!((answer.status, lets_in(&answer)), (429, ""), "what was known is forgotten, and not asked for");
    let answer = get(&gate, "", OWN).await;
    assert_eq!((answer.status, lets_in(&answer)), (429, OWN));
}
