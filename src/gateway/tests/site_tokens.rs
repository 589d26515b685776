//! The tokens of grants: when they are exchanged, by whom, and what becomes of a grant whose site says no.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::scene::{ALWAYS, GRANT, LIFE, NEVER, SITE, Scene, USER, eventually, site_client, wall, worker};
use crate::gateway::site_tokens::{Holder, KeptTokens, Lost};
use crate::oauth::records::{End, SiteTokens};
use crate::policy::time::Timestamp;
use crate::store::grants;
use crate::store::kept::{Kind, Subject};

/// What each of `count` requests that come at once to each gateway is shown.
async fn at_once(scene: &Scene, gateways: &[Arc<KeptTokens>], count: usize, now: Timestamp) -> Vec<Result<String, Lost>> {
    let mut asking = JoinSet::new();
    for number in 0..count * gateways.len() {
        let (gateway, holder) = (gateways[number % gateways.len()].clone(), scene.holder());
        asking.spawn(async move { gateway.of(&holder, now).await.map(|opened| opened.access_token().to_owned()) });
    }
    asking.join_all().await
}

fn away(lost: &Lost) -> &str {
    match lost {
        Lost::Away(why) => why,
        Lost::Refused | Lost::Ended => panic!("{lost:?}"),
    }
}

#[tokio::test]
async fn tokens_that_end_soon_are_exchanged_once_and_nobody_waits() {
    for scene in Scene::on_both().await {
        let old = scene.granted(scene.now.plus(LIFE)).await;
        let gateways = [Arc::new(scene.gateway(ALWAYS)), Arc::new(scene.gateway(ALWAYS))];
        for gateway in &gateways {
            assert_eq!(scene.shown(gateway, scene.now).await.unwrap(), old.access_token);
            // Ten in a hundred of an hour are left, and a second.
            assert_eq!(scene.shown(gateway, scene.now.plus(LIFE - LIFE / 10 - 1)).await.unwrap(), old.access_token);
        }
        assert_eq!(scene.pocket.refreshes(), 0);
        let soon = scene.now.plus(LIFE - LIFE / 10);
        for shown in at_once(&scene, &gateways, 50, soon).await {
            let shown = shown.unwrap();
            assert!(shown == old.access_token || scene.pocket.refreshes() == 1, "the old one until there is a new one");
        }
        for gateway in &gateways {
            eventually("a new token", async || scene.shown(gateway, soon).await.unwrap() != old.access_token).await;
        }
        assert_eq!(scene.pocket.refreshes(), 1);
        let new = scene.kept(GRANT).await.unwrap();
        assert!(new.access_token != old.access_token && new.refresh_token != old.refresh_token && new.exp >= scene.now.plus(LIFE));
        let lease = async || scene.store.record(SITE, Kind::Lease, GRANT).await.unwrap();
        eventually("the lease is given back", async || lease().await.is_none()).await;
    }
}

#[tokio::test]
async fn where_no_token_lives_all_wait_for_the_same_new_one() {
    for scene in Scene::on_both().await {
        let old = scene.granted(scene.now).await;
        let gateways = [Arc::new(scene.gateway(NEVER)), Arc::new(scene.gateway(NEVER))];
        let shown: Vec<_> = at_once(&scene, &gateways, 50, scene.now).await.into_iter().map(Result::unwrap).collect();
        let new = scene.kept(GRANT).await.unwrap().access_token;
        assert_ne!(new, old.access_token);
        assert!(shown.iter().all(|token| *token == new), "{} of 100", shown.iter().filter(|token| **token == new).count());
        assert_eq!(scene.pocket.refreshes(), 1);
    }
}

#[tokio::test]
async fn what_another_gateway_got_is_taken_as_soon_as_it_is_kept() {
    let scene = Scene::on_file().await;
    scene.granted(scene.now).await;
    let new = scene.sign_in().await;
    assert!(scene.store.create_record(SITE, Kind::Lease, GRANT, b"{}", Some(scene.now.plus(LIFE))).await.unwrap());
    let (gateway, holder) = (scene.gateway(NEVER), scene.holder());
    let waiting = tokio::spawn(async move { gateway.of(&holder, wall()).await.map(|opened| opened.access_token().to_owned()) });
    scene.keep(GRANT, &new).await;
    assert_eq!(waiting.await.unwrap().unwrap(), new.access_token);
    assert_eq!(scene.pocket.refreshes(), 0);
}

#[tokio::test]
async fn nobody_waits_for_ever_for_another_gateway() {
    let scene = Scene::on_file().await;
    scene.granted(scene.now).await;
    assert!(scene.store.create_record(SITE, Kind::Lease, GRANT, b"{}", Some(scene.now.plus(LIFE))).await.unwrap());
    let gateway = scene.gateway(NEVER);
    tokio::time::pause();
    let began = Instant::now();
    away(&scene.shown(&gateway, scene.now).await.unwrap_err());
    assert!((2900..3300).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(scene.grant().await.ended.is_none() && scene.kept(GRANT).await.is_some());
    assert_eq!(scene.pocket.refreshes(), 0);
}

#[tokio::test]
async fn an_exchange_goes_on_though_who_began_it_goes_away() {
    for scene in Scene::on_both().await {
        let old = scene.granted(scene.now).await;
        let (gateway, holder) = (scene.gateway(NEVER), scene.holder());
        {
            let mut asking = std::pin::pin!(gateway.of(&holder, scene.now));
            eventually("the exchange is begun", async || {
                assert!(step(asking.as_mut()).await.is_none(), "the site is not that fast");
                scene.store.record(SITE, Kind::Lease, GRANT).await.unwrap().is_some() || scene.pocket.refreshes() > 0
            })
            .await;
        }
        eventually("the new tokens are kept", async || scene.kept(GRANT).await.unwrap().access_token != old.access_token).await;
        assert_eq!(scene.pocket.refreshes(), 1);
    }
}

/// What a future has come to after one more step.
async fn step<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_site_that_refuses_to_renew_ends_the_grant() {
    for scene in Scene::on_both().await {
        scene.granted(scene.now).await;
        assert_eq!(scene.pocket.revoke_all(USER), 1);
        let gateways = [Arc::new(scene.gateway(NEVER)), Arc::new(scene.gateway(NEVER))];
        for shown in at_once(&scene, &gateways, 10, scene.now).await {
            // Those who look when it is over find it over.
            assert!(matches!(shown, Err(Lost::Refused | Lost::Ended)), "{shown:?}");
        }
        assert_eq!(scene.grant().await.ended.unwrap().by, End::Site);
        assert!(scene.kept(GRANT).await.is_none(), "tokens that are of no use are not kept");
        let mark = scene.store.mark(SITE, &[Subject::Grant(GRANT)]).await.unwrap();
        assert!(mark.is_some_and(|mark| mark >= scene.now), "and the app's tokens are void");
        assert!(matches!(scene.shown(&gateways[0], scene.now).await, Err(Lost::Ended)));
    }
}

#[tokio::test]
async fn a_gate_that_the_site_does_not_know_ends_no_grant() {
    let scene = Scene::on_file().await;
    let old = scene.granted(scene.now).await;
    let gateway = scene.gateway(NEVER);
    let holder = Holder { site: Arc::new(site_client("typo")), ..scene.holder() };
    let lost = gateway.of(&holder, scene.now).await.map(drop).unwrap_err();
    assert!(away(&lost).contains("client_id"), "the operator is told what to look at: {lost:?}");
    assert!(scene.grant().await.ended.is_none());
    assert!(scene.kept(GRANT).await.unwrap() == old);
}

#[tokio::test]
async fn a_site_that_is_away_ends_nothing() {
    let scene = Scene::on_file().await;
    let old = scene.granted(scene.now.plus(LIFE)).await;
    // A port on which nobody listens any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = Holder { upstreams: worker(&format!("http://{closed}")), ..scene.holder() };
    let gateway = scene.gateway(NEVER);
    let shown = async |now| gateway.of(&holder, now).await.map(|opened| opened.access_token().to_owned());
    assert_eq!(shown(scene.now).await.unwrap(), old.access_token);
    for _ in 0..3 {
        assert_eq!(shown(scene.now.plus(LIFE - 1)).await.unwrap(), old.access_token, "while it lives it is shown");
    }
    // The exchange that those began may still be under way; whoever joins it hears the same.
    let expired = scene.now.plus(LIFE);
    let lost = shown(expired).await.unwrap_err();
    assert!(!away(&lost).contains(&old.access_token) && !away(&lost).contains(old.refresh_token.as_deref().unwrap()));
    assert!(scene.grant().await.ended.is_none());
    assert!(scene.kept(GRANT).await.unwrap() == old);
}

#[tokio::test]
async fn a_token_that_the_site_has_refused_is_replaced_once() {
    for scene in Scene::on_both().await {
        let good = scene.sign_in().await;
        scene.begin_grant(GRANT).await;
        scene.keep(GRANT, &SiteTokens { access_token: "unknown-there".to_owned(), ..good }).await;
        let gateways = [Arc::new(scene.gateway(NEVER)), Arc::new(scene.gateway(NEVER))];
        let mut replacing = JoinSet::new();
        for number in 0..100 {
            let (gateway, holder, now) = (gateways[number % 2].clone(), scene.holder(), scene.now);
            replacing.spawn(async move {
                let refused = gateway.of(&holder, now).await?;
                if refused.access_token() == "unknown-there" { gateway.replace(&holder, &refused, now).await } else { Ok(refused) }
            });
        }
        let shown = replacing.join_all().await;
        let new = scene.kept(GRANT).await.unwrap().access_token;
        assert!(shown.into_iter().all(|opened| opened.unwrap().access_token() == new));
        assert_eq!(scene.pocket.refreshes(), 1);
        // One of the two got it from the site, and does not believe that it would get a better one.
        let mut refreshed = 0;
        for gateway in &gateways {
            let refused = gateway.of(&scene.holder(), scene.now).await.unwrap();
            match gateway.replace(&scene.holder(), &refused, scene.now).await {
                Ok(_) => refreshed += 1,
                Err(lost) => assert!(away(&lost).contains("just given"), "{lost:?}"),
            }
        }
        assert!(refreshed <= 1 && scene.pocket.refreshes() == 1 + refreshed);
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_shown_to_nobody_and_ends_nothing() {
    let scene = Scene::on_file().await;
    let tokens = scene.granted(scene.now.plus(LIFE)).await;
    scene.begin_grant("g-2").await;
    let sealed = scene.store.credential(SITE, GRANT).await.unwrap().unwrap();
    let no_tokens = scene.seal.seal(SITE, "g-2", b"{\"access_token\":7,\"token\":\"canary\"}").unwrap();
    let two_words = SiteTokens { access_token: "a canary".to_owned(), ..tokens };
    let two_words = scene.seal.seal(SITE, "g-2", &serde_json::to_vec(&two_words).unwrap()).unwrap();
    for (credential, why) in [(&sealed, "another grant's"), (&no_tokens, "no tokens"), (&two_words, "two words")] {
        scene.store.put_credential(SITE, "g-2", credential).await.unwrap();
        let holder = Holder { grant: "g-2".into(), ..scene.holder() };
        let lost = scene.gateway(NEVER).of(&holder, scene.now).await.map(drop).expect_err(why);
        assert!(!away(&lost).contains("canary"), "{why}: {lost:?}");
        assert!(grants::find_live(&*scene.store, SITE, "g-2").await.unwrap().is_some(), "{why}");
    }
    let keyless = KeptTokens::new(scene.store.clone(), None, NEVER, std::time::Duration::ZERO);
    let lost = scene.shown(&keyless, scene.now).await.unwrap_err();
    assert!(away(&lost).contains("encryption_key"), "{lost:?}");
}

#[tokio::test]
async fn a_grant_without_tokens_ends_so_that_its_user_is_asked_again() {
    for scene in Scene::on_both().await {
        let gateway = scene.gateway(NEVER);
        assert!(matches!(scene.shown(&gateway, scene.now).await, Err(Lost::Ended)), "no such grant");
        scene.begin_grant(GRANT).await;
        assert!(matches!(scene.shown(&gateway, scene.now).await, Err(Lost::Refused)));
        assert_eq!(scene.grant().await.ended.unwrap().by, End::Site);
        assert!(matches!(scene.shown(&gateway, scene.now).await, Err(Lost::Ended)));
    }
}

#[tokio::test]
async fn without_a_refresh_token_a_grant_lasts_as_long_as_its_token() {
    let scene = Scene::on_file().await;
    let tokens = SiteTokens { refresh_token: None, ..scene.sign_in().await };
    scene.begin_grant(GRANT).await;
    scene.keep(GRANT, &tokens).await;
    let gateway = scene.gateway(NEVER);
    assert_eq!(scene.shown(&gateway, scene.now.plus(LIFE - 1)).await.unwrap(), tokens.access_token);
    assert!(matches!(scene.shown(&gateway, scene.now.plus(LIFE)).await, Err(Lost::Refused)));
    assert_eq!((scene.grant().await.ended.unwrap().by, scene.pocket.refreshes()), (End::Site, 0));
}

#[tokio::test]
async fn a_grant_that_ends_during_an_exchange_leaves_no_tokens_behind() {
    for scene in Scene::on_both().await {
        scene.granted(scene.now).await;
        // The mark is what an end begins with; its tokens it deletes last, and may have done so when the new ones come.
        scene.store.raise(SITE, &[(Subject::User(USER).field(), scene.now)]).await.unwrap();
        let gateway = scene.gateway(NEVER);
        assert!(matches!(scene.shown(&gateway, scene.now).await, Err(Lost::Ended)));
        assert!(scene.kept(GRANT).await.is_none());
        assert!(matches!(scene.shown(&gateway, scene.now).await, Err(Lost::Ended)));
        assert!(scene.grant().await.ended.is_none(), "whoever ends it says by what");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_end_a_grant() {
    let mut scene = Scene::on_redis().await;
    let tokens = scene.granted(scene.now.plus(LIFE)).await;
    let (remembering, forgetting) = (scene.gateway(NEVER), scene.gateway(ALWAYS));
    scene.shown(&remembering, scene.now).await.unwrap();
    scene.shown(&forgetting, scene.now).await.unwrap();
    scene.redis.as_mut().unwrap().kill();
    away(&scene.shown(&forgetting, scene.now).await.unwrap_err());
    assert_eq!(scene.shown(&remembering, scene.now).await.unwrap(), tokens.access_token, "within the bound, memory will do");
    away(&scene.shown(&remembering, scene.now.plus(LIFE)).await.unwrap_err());
}

#[tokio::test]
async fn tokens_are_read_again_after_the_bound() {
    let scene = Scene::on_file().await;
    let old = scene.granted(scene.now.plus(LIFE)).await;
    let (remembering, forgetting) = (scene.gateway(NEVER), scene.gateway(ALWAYS));
    for gateway in [&remembering, &forgetting] {
        assert_eq!(scene.shown(gateway, scene.now).await.unwrap(), old.access_token);
    }
    let new = scene.sign_in().await;
    scene.keep(GRANT, &new).await;
    assert_eq!(scene.shown(&remembering, scene.now).await.unwrap(), old.access_token);
    assert_eq!(scene.shown(&forgetting, scene.now).await.unwrap(), new.access_token);
    let ready = async |gateway: &KeptTokens, now| gateway.ready(scene.site.site, &GRANT.into(), now).await.is_some();
    assert!(ready(&remembering, scene.now).await && !ready(&forgetting, scene.now).await);
    for (now, why) in [(scene.now.plus(LIFE - 60), "due"), (scene.now.plus(LIFE), "over")] {
        assert!(!ready(&remembering, now).await, "{why}");
    }
}
