//! The credential `bearer`, as an app meets it.

use super::gate::{APP, Answer, Gate, MACHINE, Script};
use super::scene::{GRANT, LIFE, SITE, Scene, USER, worker};
use crate::gateway::site::Credential;
use crate::oauth::records::{End, SiteTokens};
use crate::store::grants;

const WHO: &str = "/api/method/frappe.auth.get_logged_user";

/// A grant whose access token the site does not know, while its refresh token is good.
async fn refused(scene: &Scene) {
    let good = scene.sign_in().await;
    scene.begin_grant(GRANT).await;
    scene.keep(GRANT, &SiteTokens { access_token: "unknown-there".to_owned(), ..good }).await;
}

async fn todos(gate: &Gate, description: &str) -> usize {
    let path = format!("/api/resource/ToDo?filters=%5B%5B%22description%22%2C%22%3D%22%2C%22{description}%22%5D%5D");
    let answer = gate.get(APP, &path).await;
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["data"].as_array().unwrap_or_else(|| panic!("{answer:?}")).len()
}

#[tokio::test]
async fn the_site_sees_its_own_token_of_the_user() {
    for scene in Scene::on_both().await {
        scene.granted(scene.now.plus(LIFE)).await;
        let gate = Gate::before(&scene).await;
        let answer = gate.get(APP, WHO).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"message":"sam@example.com"}"#));
        assert_eq!(scene.pocket.refreshes(), 0);
    }
}

#[tokio::test]
async fn a_token_without_a_grant_acts_by_its_clients_key_or_not_at_all() {
    let scene = Scene::on_file().await;
    let gate = Gate::before(&scene).await;
    let answer = gate.get(MACHINE, WHO).await;
    assert_eq!(answer.reason(), (403, "credential_missing".to_owned()), "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), "", "another token would be worth as little");
    assert!(!answer.body.contains("api-key") && !answer.body.contains("crm"), "the remedy is the operator's: {}", answer.body);
    scene.store.put_credential(SITE, "crm", &scene.seal.seal(SITE, "crm", b"key:wrong").unwrap()).await.unwrap();
    let answer = gate.get(MACHINE, WHO).await;
    assert_eq!((answer.status, answer.reason().1.as_str()), (401, ""), "what the site says to a key is passed on: {answer:?}");
    scene.store.put_credential(SITE, "crm", b"sealed with another key").await.unwrap();
    assert_eq!(gate.get(MACHINE, WHO).await.reason(), (503, "credential_unavailable".to_owned()));
}

#[tokio::test]
async fn a_request_whose_token_the_site_refuses_is_sent_again_with_another() {
    let scene = Scene::on_file().await;
    refused(&scene).await;
    let gate = Gate::before(&scene).await;
    assert_eq!(gate.get(APP, WHO).await.body, r#"{"message":"sam@example.com"}"#);
    assert_eq!(scene.pocket.refreshes(), 1);

    let scene = Scene::on_file().await;
    refused(&scene).await;
    let gate = Gate::before(&scene).await;
    let answer = gate.ask(APP, "POST", "/api/resource/ToDo", &[], r#"{"description":"once"}"#).await;
    assert_eq!((answer.status, scene.pocket.refreshes()), (200, 1), "{answer:?}");
    assert_eq!(todos(&gate, "once").await, 1, "what was refused was not done");
}

#[tokio::test]
async fn an_upload_is_not_held_and_so_not_sent_again() {
    let scene = Scene::on_file().await;
    refused(&scene).await;
    let gate = Gate::before(&scene).await;
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n";
    let upload = || gate.ask(APP, "POST", "/api/method/upload_file", &[("content-type", "multipart/form-data; boundary=b")], body);
    let answer = upload().await;
    assert_eq!(answer.reason(), (503, "credential_unavailable".to_owned()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2", "its client has the body, and there is a new token");
    assert_eq!((upload().await.status, scene.pocket.refreshes()), (200, 1));
}

#[tokio::test]
async fn a_site_that_has_taken_back_a_sign_in_takes_the_grant_along() {
    for (method, body) in [("GET", ""), ("POST", r#"{"description":"never"}"#)] {
        let scene = Scene::on_file().await;
        scene.granted(scene.now.plus(LIFE)).await;
        let gate = Gate::before(&scene).await;
        assert_eq!(gate.get(APP, WHO).await.status, 200);
        assert_eq!(scene.pocket.revoke_all(USER), 1);
        let answer = gate.ask(APP, method, "/api/resource/ToDo", &[], body).await;
        assert_eq!(answer.reason(), (401, "grant_refused_by_site".to_owned()), "{answer:?}");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm=\"erp\", error=\"invalid_token\""), "{challenge}");
        assert_eq!(scene.grant().await.ended.unwrap().by, End::Site);
        assert_eq!(gate.get(APP, WHO).await.reason(), (401, "token_revoked".to_owned()), "even for who remembers the token");
    }
}

#[tokio::test]
async fn a_401_that_is_not_about_the_token_is_the_apps_to_read() {
    let scene = Scene::on_file().await;
    scene.granted(scene.now.plus(LIFE)).await;
    let script = Script::start(|_, path, _| match path {
        "/api/method/frappe.auth.get_logged_user" => (200, r#"{"message":"sam@example.com"}"#),
        _ => (401, r#"{"message":"wrong PIN"}"#),
    });
    let script = script.await;
    let gate = Gate::with(&scene, &worker(&script.url), Credential::Bearer(scene.site.clone()), None).await;
    for (method, body) in [("POST", r#"{"description":"done"}"#), ("GET", "")] {
        let answer = gate.ask(APP, method, "/api/resource/ToDo", &[], body).await;
        assert_eq!((answer.status, answer.body.as_str()), (401, r#"{"message":"wrong PIN"}"#));
        assert_eq!(script.times(&format!("{method} /api/resource/ToDo")), 1, "it may have been done");
    }
    assert_eq!(script.times("POST /api/method/frappe.integrations.oauth2.get_token"), 0);
}

#[tokio::test]
async fn a_site_that_refuses_what_it_has_just_given_is_asked_once() {
    let scene = Scene::on_file().await;
    scene.granted(scene.now.plus(LIFE)).await;
    let script = Script::start(|_, path, _| match path {
        "/api/method/frappe.integrations.oauth2.get_token" => (200, r#"{"access_token":"new","expires_in":3600,"refresh_token":"newer"}"#),
        _ => (401, r#"{"exc_type":"AuthenticationError"}"#),
    });
    let script = script.await;
    let gate = Gate::with(&scene, &worker(&script.url), Credential::Bearer(scene.site.clone()), None).await;
    for _ in 0..3 {
        let answer = gate.ask(APP, "POST", "/api/resource/ToDo", &[], "{}").await;
        assert_eq!(answer.reason(), (503, "credential_unavailable".to_owned()), "{answer:?}");
    }
    assert_eq!(script.times("POST /api/method/frappe.integrations.oauth2.get_token"), 1);
    assert_eq!(script.times("POST /api/resource/ToDo Bearer new"), 3);
    assert!(grants::find_live(&*scene.store, SITE, GRANT).await.unwrap().is_some());
}

#[tokio::test]
async fn a_site_that_does_not_say_whether_it_takes_a_token_is_unknown() {
    let scene = Scene::on_file().await;
    scene.granted(scene.now.plus(LIFE)).await;
    let script = Script::start(|method, path, _| match (method, path) {
        ("GET", "/api/method/frappe.auth.get_logged_user") => (502, "<html>"),
        _ => (401, r#"{"exc_type":"AuthenticationError"}"#),
    });
    let script = script.await;
    let gate = Gate::with(&scene, &worker(&script.url), Credential::Bearer(scene.site.clone()), None).await;
    let answer: Answer = gate.ask(APP, "POST", "/api/resource/ToDo", &[], "{}").await;
    assert_eq!(answer.reason(), (503, "credential_unavailable".to_owned()), "{answer:?}");
    assert_eq!(script.times("POST"), 1);
    assert!(grants::find_live(&*scene.store, SITE, GRANT).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503() {
    let mut scene = Scene::on_redis().await;
    scene.granted(scene.now.plus(LIFE)).await;
    let gate = Gate::before(&scene).await;
    assert_eq!(gate.get(APP, WHO).await.status, 200);
    scene.redis.as_mut().unwrap().kill();
    let answer = gate.get(APP, WHO).await;
    assert_eq!(answer.reason(), (503, "credential_unavailable".to_owned()), "{answer:?}");
    assert_eq!((answer.header("retry-after"), answer.header("www-authenticate")), ("2", ""));
}
