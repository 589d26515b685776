//! What a client is registered with for coming by tokens itself, and where it is listed.

use super::*;
use crate::admin::error::Code;
use crate::admin::message::{ClientChange, ClientView, Own};
use crate::oauth::client::GrantType;
use crate::store::kept::{Set, digest_id};

const URI: &str = "https://shop.example.com/callback";
const ORIGIN: &str = "https://shop.example.com";

fn texts(given: &[&str]) -> Vec<String> {
    given.iter().map(|&text| text.to_owned()).collect()
}

fn shop() -> NewClient {
    NewClient { redirect_uris: texts(&[URI]), origins: texts(&[ORIGIN]), ..new_client("shop", "read write") }
}

impl Room {
    async fn of_origin(&self, origin: &str) -> Vec<String> {
        self.store.members(ERP, Set::ClientsOfOrigin, &digest_id(origin)).await.expect("the store answers")
    }
}

#[tokio::test]
async fn a_client_with_a_redirect_uri_gets_codes_and_refresh_tokens() {
    let room = Room::new();
    let created = room.admin.create_client(ERP, shop()).await.expect("a new client").client;
    assert_eq!(created.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
    assert_eq!((created.redirect_uris.as_slice(), created.origins.as_slice()), (&texts(&[URI])[..], &texts(&[ORIGIN])[..]));
    assert_eq!((created.skip_consent, &created.user, &created.default_scopes), (false, &None, &None));
    assert_eq!(room.admin.client(ERP, "shop").await.expect("it is there"), created);
    assert_eq!(room.of_origin(ORIGIN).await, ["shop"]);

    let etl = NewClient {
        grant_types: vec![GrantType::ClientCredentials],
        user: Some(" etl@example.com ".to_owned()),
        ..new_client("etl", "read")
    };
    let etl = room.admin.create_client(ERP, etl).await.expect("a new client").client;
    assert_eq!((etl.grant_types.as_slice(), etl.user.as_deref()), (&[GrantType::ClientCredentials][..], Some("etl@example.com")));
    let plain = room.admin.create_client(ERP, new_client("plain", "read")).await.expect("a new client").client;
    assert!(plain.grant_types.is_empty(), "an operator issues its tokens, as before");
}

#[tokio::test]
async fn what_may_not_be_registered_is_refused_and_leaves_nothing() {
    let room = Room::new();
    let code = || vec![GrantType::AuthorizationCode];
    for (new, refused) in [
        (NewClient { redirect_uris: texts(&["http://shop.example.com/cb"]), ..shop() }, Code::RedirectUriInvalid),
        (NewClient { redirect_uris: texts(&["https://shop.example.com/*"]), ..shop() }, Code::RedirectUriInvalid),
        (NewClient { redirect_uris: texts(&["shop.example.com/cb"]), ..shop() }, Code::RedirectUriInvalid),
        (NewClient { redirect_uris: texts(&[URI, URI]), ..shop() }, Code::RedirectUriInvalid),
        (NewClient { origins: texts(&["*"]), ..shop() }, Code::OriginInvalid),
        (NewClient { origins: texts(&["https://shop.example.com/"]), ..shop() }, Code::OriginInvalid),
        (NewClient { origins: texts(&[ORIGIN, ORIGIN]), ..shop() }, Code::OriginInvalid),
        (NewClient { redirect_uris: Vec::new(), grant_types: code(), ..shop() }, Code::GrantTypeInvalid),
        (NewClient { grant_types: vec![GrantType::RefreshToken], ..shop() }, Code::GrantTypeInvalid),
        (NewClient { public: true, grant_types: GrantType::ALL.to_vec(), ..shop() }, Code::GrantTypeInvalid),
        (NewClient { public: true, grant_types: vec![GrantType::ClientCredentials], ..shop() }, Code::GrantTypeInvalid),
        (NewClient { grant_types: [code(), code()].concat(), ..shop() }, Code::GrantTypeInvalid),
        (NewClient { user: Some(USER.to_owned()), ..shop() }, Code::UserInvalid),
        (NewClient { user: Some(" ".to_owned()), grant_types: GrantType::ALL.to_vec(), ..shop() }, Code::UserInvalid),
        (NewClient { default_scopes: Some("delete".to_owned()), ..shop() }, Code::ScopeTooWide),
        (NewClient { default_scopes: Some("raed".to_owned()), ..shop() }, Code::ScopeUnknown),
        (NewClient { default_scopes: Some(String::new()), ..shop() }, Code::ScopeInvalid),
        (NewClient { public: true, skip_consent: true, redirect_uris: texts(&["com.example.app:/cb"]), ..shop() }, Code::ClientInvalid),
    ] {
        let shown = format!("{new:?}");
        assert_eq!(room.admin.create_client(ERP, new).await.expect_err(&shown).code, refused, "{shown}");
    }
    assert!(room.admin.clients(ERP).await.expect("the store answers").clients.is_empty());
    assert!(room.of_origin(ORIGIN).await.is_empty());
}

#[tokio::test]
async fn an_update_takes_the_place_of_what_it_names() {
    let room = Room::new();
    let before = room.admin.create_client(ERP, shop()).await.expect("a new client").client;
    let second = "https://test.example.com/cb";
    for (change, expected) in [
        (
            ClientChange { redirect_uris: Some(texts(&[URI, second])), skip_consent: Some(true), ..ClientChange::default() },
            ClientView { redirect_uris: texts(&[URI, second]), skip_consent: true, ..before.clone() },
        ),
        (
            ClientChange {
                redirect_uris: Some(texts(&[second])),
                skip_consent: Some(false),
                default_scopes: Some(Own::Set("read".to_owned())),
                ..ClientChange::default()
            },
            ClientView { redirect_uris: texts(&[second]), default_scopes: Some("read".to_owned()), ..before.clone() },
        ),
        (
            ClientChange {
                redirect_uris: Some(Vec::new()),
                grant_types: Some(vec![GrantType::ClientCredentials]),
                user: Some(Own::Set(USER.to_owned())),
                ..ClientChange::default()
            },
            ClientView {
                redirect_uris: Vec::new(),
                grant_types: vec![GrantType::ClientCredentials],
                user: Some(USER.to_owned()),
                default_scopes: Some("read".to_owned()),
                ..before.clone()
            },
        ),
        (
            ClientChange {
                grant_types: Some(Vec::new()),
                user: Some(Own::Drop),
                default_scopes: Some(Own::Drop),
                ..ClientChange::default()
            },
            ClientView { redirect_uris: Vec::new(), grant_types: Vec::new(), ..before.clone() },
        ),
        // As when it was new: redirect URIs bring the grant types that they are for.
        (ClientChange { redirect_uris: Some(texts(&[URI])), ..ClientChange::default() }, before.clone()),
    ] {
        let shown = format!("{change:?}");
        assert_eq!(room.admin.update_client(ERP, "shop", change).await.expect(&shown), expected, "{shown}");
        assert_eq!(room.admin.client(ERP, "shop").await.expect("it is there"), expected, "{shown}");
    }
}

#[tokio::test]
async fn an_update_that_leaves_parts_that_do_not_fit_changes_nothing() {
    let room = Room::new();
    room.admin.create_client(ERP, NewClient { default_scopes: Some("write".to_owned()), ..shop() }).await.expect("a new client");
    let public = NewClient { public: true, client_id: Some("spa".to_owned()), ..shop() };
    room.admin.create_client(ERP, public).await.expect("a new client");
    for id in ["shop", "spa"] {
        let before = room.admin.client(ERP, id).await.expect("it is there");
        let base = || ClientChange { origins: Some(texts(&["https://other.example.com"])), ..ClientChange::default() };
        for (change, code) in [
            (ClientChange { redirect_uris: Some(Vec::new()), ..base() }, Code::GrantTypeInvalid),
            (ClientChange { redirect_uris: Some(texts(&["https://a.example/cb#x"])), ..base() }, Code::RedirectUriInvalid),
            (ClientChange { grant_types: Some(vec![GrantType::RefreshToken]), ..base() }, Code::GrantTypeInvalid),
            (ClientChange { user: Some(Own::Set(USER.to_owned())), ..base() }, Code::UserInvalid),
            (ClientChange { default_scopes: Some(Own::Set("all".to_owned())), ..base() }, Code::ScopeTooWide),
            (ClientChange { origins: Some(texts(&["null"])), ..base() }, Code::OriginInvalid),
        ] {
            let shown = format!("{id} {change:?}");
            assert_eq!(room.admin.update_client(ERP, id, change).await.expect_err(&shown).code, code, "{shown}");
            assert_eq!(room.admin.client(ERP, id).await.expect("it is there"), before, "{shown}");
        }
    }
    let narrower = ClientChange { scopes: Some("read".to_owned()), ..ClientChange::default() };
    let error = room.admin.update_client(ERP, "shop", narrower).await.expect_err("its default scopes are wider");
    assert!(error.code == Code::ScopeTooWide && error.message.starts_with("the default scopes do not fit"), "{error}");
    let credentials = ClientChange { grant_types: Some(vec![GrantType::ClientCredentials]), ..ClientChange::default() };
    assert_eq!(room.admin.update_client(ERP, "spa", credentials).await.expect_err("it is public").code, Code::GrantTypeInvalid);
    assert!(room.of_origin("https://other.example.com").await.is_empty());
}

#[tokio::test]
async fn an_origin_lists_the_clients_that_have_it() {
    let room = Room::new();
    let second = "https://second.example.com";
    room.admin.create_client(ERP, shop()).await.expect("a new client");
    let other = NewClient { client_id: Some("other".to_owned()), ..shop() };
    room.admin.create_client(ERP, other).await.expect("a new client");
    assert_eq!(room.of_origin(ORIGIN).await, ["other", "shop"]);
    let moved = ClientChange { origins: Some(texts(&[second])), ..ClientChange::default() };
    room.admin.update_client(ERP, "shop", moved).await.expect("it is there");
    assert_eq!((room.of_origin(ORIGIN).await, room.of_origin(second).await), (texts(&["other"]), texts(&["shop"])));
    let named = ClientChange { name: Some("Other".to_owned()), ..ClientChange::default() };
    room.admin.update_client(ERP, "other", named).await.expect("it is there");
    assert_eq!(room.of_origin(ORIGIN).await, ["other"], "what is not named stays");
    room.admin.delete_client(ERP, "other").await.expect("it is there");
    let none = ClientChange { origins: Some(Vec::new()), ..ClientChange::default() };
    room.admin.update_client(ERP, "shop", none).await.expect("it is there");
    assert!(room.of_origin(ORIGIN).await.is_empty() && room.of_origin(second).await.is_empty());
}
