//! Clients and tokens through their lives, and every refusal.

use super::*;
use crate::admin::error::Code;
use crate::admin::message::{ClientChange, ClientView, Own, Rotation, TokenRef, TokenState};
use crate::oauth::client::ClientRate;

const FRAPPE_TOKEN: &str = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123";

#[tokio::test]
async fn a_client_is_shown_its_secret_once_and_only_its_hash_is_kept() {
    let room = Room::new();
    let created = room.admin.create_client(ERP, new_client("crm", "read write")).await.expect("a new client");
    let secret = created.client_secret.expect("it is confidential");
    assert_eq!(secret.reveal().len(), 43);
    let kept = room.store.client(ERP, "crm").await.expect("the store answers").expect("it is there");
    assert_eq!(kept.secret, Some(TokenHash::of(secret.reveal().as_bytes())));
    assert!(kept.enabled && kept.scopes.as_str() == "read write");
    let shown = room.admin.client(ERP, "crm").await.expect("it is there");
    assert!(!serde_json::to_string(&shown).expect("JSON").contains(secret.reveal()));
    assert_eq!((shown.confidential, shown.own_api_key), (true, Some(false)));

    let rotated = room.admin.rotate_secret(ERP, "crm", Rotation::default()).await.expect("it has a secret");
    let new = rotated.client_secret.expect("a new one");
    assert_ne!(new, secret);
    let kept = room.store.client(ERP, "crm").await.expect("the store answers").expect("it is there");
    assert_eq!(kept.secret, Some(TokenHash::of(new.reveal().as_bytes())));
    assert!(room.store.client(SHOP, "crm").await.expect("the store answers").is_none(), "a client belongs to one site");
}

#[tokio::test]
async fn a_client_without_an_id_gets_one_and_a_public_one_no_secret() {
    let room = Room::new();
    let new = NewClient { client_id: None, public: true, name: "  Web shop ".to_owned(), ..new_client("", "crm") };
    let created = room.admin.create_client(SHOP, new).await.expect("a new client");
    assert!(created.client_secret.is_none());
    assert_eq!((created.client.client_id.len(), created.client.name.as_str()), (20, "Web shop"));
    let error = room.admin.rotate_secret(SHOP, &created.client.client_id, Rotation::default()).await.expect_err("it is public");
    assert_eq!(error.code, Code::ClientPublic);
}

#[tokio::test]
async fn an_api_key_is_kept_sealed_and_ends_with_its_client() {
    let room = Room::new();
    let with_key = |id: &str| NewClient { api_key: Some(SecretText::new(" key:s3cret\n")), ..new_client(id, "read") };
    let created = room.admin.create_client(ERP, with_key("etl")).await.expect("a new client");
    assert_eq!(created.client.own_api_key, Some(true));
    let sealed = room.store.credential(ERP, "etl").await.expect("the store answers").expect("it is there");
    assert!(!sealed.windows(6).any(|part| part == b"s3cret"));
    assert_eq!(room.seal.open(ERP, "etl", &sealed).expect("it opens"), b"key:s3cret");
    assert_eq!(room.admin.client(ERP, "etl").await.expect("it is there").own_api_key, Some(true));

    let taken = room.admin.create_client(ERP, NewClient { api_key: Some(SecretText::new("other:key")), ..with_key("etl") }).await;
    assert_eq!(taken.expect_err("the id is taken").code, Code::ClientTaken);
    let kept = room.store.credential(ERP, "etl").await.expect("the store answers").expect("it is there");
    assert_eq!(kept, sealed, "a refused creation changes nobody's credential");

    room.admin.delete_client(ERP, "etl").await.expect("it is there");
    assert!(room.store.credential(ERP, "etl").await.expect("the store answers").is_none());
    room.store.put_credential(ERP, "etl", &sealed).await.expect("what a failed deletion would leave");
    room.admin.create_client(ERP, new_client("etl", "read")).await.expect("a new client");
    assert!(room.store.credential(ERP, "etl").await.expect("the store answers").is_none(), "a new client does not inherit");
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let room = Room::new();
    let created = room.admin.create_client(ERP, new_client("crm", "read write")).await.expect("a new client");
    let kept = room.store.client(ERP, "crm").await.expect("the store answers").expect("it is there");
    let rate = ClientRate { requests: 60, seconds: 60, burst: 5 };
    let unchanged = room.admin.update_client(ERP, "crm", ClientChange::default()).await.expect("it is there");
    assert_eq!(unchanged, created.client);
    for (change, expected) in [
        (
            ClientChange { scopes: Some("read".to_owned()), ..ClientChange::default() },
            ClientView { scopes: "read".to_owned(), ..created.client.clone() },
        ),
        (
            ClientChange { name: Some(" CRM ".to_owned()), rate: Some(Own::Set(rate)), ..ClientChange::default() },
            ClientView { scopes: "read".to_owned(), name: "CRM".to_owned(), rate: Some(rate), ..created.client.clone() },
        ),
        (
            ClientChange { rate: Some(Own::Drop), api_key: Some(Own::Set(SecretText::new("key:s3cret\n"))), ..ClientChange::default() },
            ClientView { scopes: "read".to_owned(), name: "CRM".to_owned(), own_api_key: Some(true), ..created.client.clone() },
        ),
        (
            ClientChange { name: Some("App".to_owned()), ..ClientChange::default() },
            ClientView { scopes: "read".to_owned(), own_api_key: Some(true), ..created.client.clone() },
        ),
        (
            ClientChange { scopes: Some("read write".to_owned()), api_key: Some(Own::Drop), ..ClientChange::default() },
            created.client.clone(),
        ),
    ] {
        let shown = format!("{change:?}");
        assert!(!shown.contains("s3cret"));
        assert_eq!(room.admin.update_client(ERP, "crm", change).await.expect(&shown), expected, "{shown}");
        assert_eq!(room.admin.client(ERP, "crm").await.expect("it is there"), expected, "{shown}");
    }
    assert_eq!(room.store.client(ERP, "crm").await.expect("the store answers"), Some(kept), "its secret is the old one");
    room.admin.disable_client(ERP, "crm").await.expect("it is there");
    let named = ClientChange { name: Some("x".to_owned()), ..ClientChange::default() };
    assert!(!room.admin.update_client(ERP, "crm", named).await.expect("it is there").enabled, "an update lets nothing through again");
}

#[tokio::test]
async fn a_refused_update_changes_nothing() {
    let room = Room::new();
    room.client("crm", "read").await;
    let before = room.admin.client(ERP, "crm").await.expect("it is there");
    let base = || ClientChange { name: Some("Other".to_owned()), ..ClientChange::default() };
    let rate = ClientRate { requests: 0, seconds: 60, burst: 5 };
    for (change, code) in [
        (ClientChange { name: Some(" ".to_owned()), ..base() }, Code::ClientInvalid),
        (ClientChange { scopes: Some(String::new()), ..base() }, Code::ScopeInvalid),
        (ClientChange { scopes: Some("raed".to_owned()), ..base() }, Code::ScopeUnknown),
        (ClientChange { rate: Some(Own::Set(rate)), ..base() }, Code::RateInvalid),
        (ClientChange { api_key: Some(Own::Set(SecretText::new("nocolon"))), ..base() }, Code::ApiKeyInvalid),
    ] {
        let shown = format!("{change:?}");
        assert_eq!(room.admin.update_client(ERP, "crm", change).await.expect_err(&shown).code, code, "{shown}");
        assert_eq!(room.admin.client(ERP, "crm").await.expect("it is there"), before, "{shown}");
    }
    let with_key = || ClientChange { api_key: Some(Own::Set(SecretText::new("key:secret"))), ..base() };
    assert_eq!(room.admin.update_client(SHOP, "crm", with_key()).await.expect_err("no use for it").code, Code::ApiKeyUnused);
    let keyless = Room::admin(&room.store, None, None);
    assert_eq!(keyless.update_client(ERP, "crm", with_key()).await.expect_err("nothing to seal with").code, Code::SealKeyMissing);
    assert_eq!(room.admin.client(ERP, "crm").await.expect("it is there"), before);
}

#[tokio::test]
async fn api_keys_are_refused_where_they_mean_nothing() {
    let room = Room::new();
    for (site, key, code) in [
        (SHOP, "key:secret", Code::ApiKeyUnused),
        (ERP, "keysecret", Code::ApiKeyInvalid),
        (ERP, "s3cret:a:b", Code::ApiKeyInvalid),
        (ERP, "", Code::ApiKeyInvalid),
    ] {
        let new = NewClient { api_key: Some(SecretText::new(key)), ..new_client("etl", "read") };
        let error = room.admin.create_client(site, new).await.expect_err(key);
        assert_eq!(error.code, code, "{key}: {error}");
        assert!(!error.message.contains("s3cret"));
    }
    let keyless = Room::admin(&room.store, None, None);
    let new = NewClient { api_key: Some(SecretText::new("key:secret")), ..new_client("etl", "read") };
    let error = keyless.create_client(ERP, new).await.expect_err("nothing to seal with");
    assert_eq!(error.code, Code::SealKeyMissing);
    assert!(error.message.contains("openssl rand -hex 32"), "{error}");
    assert!(room.admin.clients(ERP).await.expect("the store answers").clients.is_empty(), "nothing was created");
}

#[tokio::test]
async fn what_is_no_client_is_refused() {
    let room = Room::new();
    room.client("crm", "read").await;
    let base = || new_client("new", "read");
    let rate = |requests, seconds, burst| Some(ClientRate { requests, seconds, burst });
    for (new, code) in [
        (new_client("crm", "read"), Code::ClientTaken),
        (new_client("", "read"), Code::ClientInvalid),
        (new_client("../x", "read"), Code::ClientInvalid),
        (new_client("-x", "read"), Code::ClientInvalid),
        (NewClient { name: String::new(), ..base() }, Code::ClientInvalid),
        (NewClient { name: "a\nb".to_owned(), ..base() }, Code::ClientInvalid),
        (NewClient { name: "x".repeat(141), ..base() }, Code::ClientInvalid),
        (new_client("new", ""), Code::ScopeInvalid),
        (new_client("new", "read:Lead"), Code::ScopeInvalid),
        (new_client("new", "raed"), Code::ScopeUnknown),
        (NewClient { rate: rate(0, 60, 1), ..base() }, Code::RateInvalid),
        (NewClient { rate: rate(1, 0, 1), ..base() }, Code::RateInvalid),
        (NewClient { rate: rate(1, 86_401, 1), ..base() }, Code::RateInvalid),
        (NewClient { rate: rate(1, 60, 0), ..base() }, Code::RateInvalid),
    ] {
        let shown = format!("{new:?}");
        assert_eq!(room.admin.create_client(ERP, new).await.expect_err(&shown).code, code, "{shown}");
    }
    let error = room.admin.create_client("erp.example.org", base()).await.expect_err("no such site");
    assert_eq!(error.code, Code::SiteUnknown);
    assert!(error.message.contains("did you mean `erp.example.com`?"), "{error}");
    assert_eq!(room.admin.clients(ERP).await.expect("the store answers").clients.len(), 1);
}

#[tokio::test]
async fn an_unknown_client_is_said_to_be_unknown() {
    let room = Room::new();
    for id in ["nosuch", "", "a b", "a:b", "../x", &"x".repeat(65)] {
        let codes = [
            room.admin.client(ERP, id).await.map(drop),
            room.admin.disable_client(ERP, id).await.map(drop),
            room.admin.enable_client(ERP, id).await.map(drop),
            room.admin.rotate_secret(ERP, id, Rotation::default()).await.map(drop),
            room.admin.update_client(ERP, id, ClientChange::default()).await.map(drop),
            room.admin.delete_client(ERP, id).await.map(drop),
            room.admin.issue_token(ERP, new_token(id, "read")).await.map(drop),
            room.admin.tokens(ERP, &list(id, None)).await.map(drop),
        ]
        .map(|refused| refused.expect_err(id).code);
        assert_eq!(codes, [Code::ClientUnknown; 8], "{id}");
    }
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_request() {
    let room = Room::new();
    room.client("crm", "read write").await;
    let issued = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    let hash = issued.hash.as_str();
    assert!(room.lives(hash).await);
    room.admin.disable_client(ERP, "crm").await.expect("it is there");
    assert!(!room.lives(hash).await, "disabled");
    room.admin.enable_client(ERP, "crm").await.expect("it is there");
    assert!(room.lives(hash).await, "enabled");
    room.admin.revoke_token(ERP, &TokenRef::Hash(hash.to_owned())).await.expect("it is there");
    assert!(!room.lives(hash).await, "revoked");
    let second = room.admin.issue_token(ERP, new_token("crm", "write")).await.expect("a token");
    assert!(room.lives(&second.hash).await);
    room.admin.delete_client(ERP, "crm").await.expect("it is there");
    assert!(!room.lives(&second.hash).await, "its client is deleted");
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_its_hash() {
    let room = Room::new();
    room.client("crm", "read write").await;
    let issued =
        room.admin.issue_token(ERP, NewToken { expires_in: Some(60), ..new_token("crm", "read  write read") }).await.expect("a token");
    let secret = issued.access_token.expect("it is new");
    assert_eq!((issued.token_type.as_str(), issued.expires_in, issued.scope.as_str()), ("Bearer", 60, "read write"));
    let hash = TokenHash::of(secret.reveal().as_bytes());
    assert_eq!((issued.hash, issued.fingerprint), (hash.to_string(), hash.fingerprint()));
    let kept = room.store.token(ERP, &hash).await.expect("the store answers").expect("it is there");
    assert_eq!((&*kept.client, &*kept.user, kept.exp.since(kept.iat)), ("crm", USER, 60));
    for token in [TokenRef::Token(SecretText::new(format!(" {}\n", secret.reveal()))), TokenRef::Hash(hash.to_string())] {
        let view = room.admin.inspect_token(ERP, &token).await.expect("it is there");
        assert_eq!((view.state, view.user.as_str()), (Some(TokenState::Live), USER));
        assert!(!serde_json::to_string(&view).expect("JSON").contains(secret.reveal()));
    }
    let hour = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    assert_eq!(hour.expires_in, 3600);
}

#[tokio::test]
async fn an_existing_token_is_registered_without_being_shown() {
    let room = Room::new();
    room.client("crm", "read").await;
    let issued = room.admin.issue_token(ERP, register("crm", &format!("{FRAPPE_TOKEN}\n"))).await.expect("a token");
    assert!(issued.access_token.is_none());
    assert_eq!(issued.hash, TokenHash::of(FRAPPE_TOKEN.as_bytes()).to_string());
    assert!(!serde_json::to_string(&issued).expect("JSON").contains(FRAPPE_TOKEN));
    assert!(room.lives(&issued.hash).await);
    let again = room.admin.issue_token(ERP, register("crm", FRAPPE_TOKEN)).await.expect_err("it is live");
    assert_eq!(again.code, Code::TokenTaken);
    assert!(!again.message.contains(FRAPPE_TOKEN));
    let old = "ExpiredExpiredExpired0123456789";
    room.put(&TokenHash::of(old.as_bytes()), "crm", 1, 2).await;
    room.admin.issue_token(ERP, register("crm", old)).await.expect("an expired one may live again");
}

#[tokio::test]
async fn what_may_not_be_issued_is_refused() {
    let room = Room::new();
    room.client("crm", "read write:lead").await;
    room.client("off", "read").await;
    room.admin.disable_client(ERP, "off").await.expect("it is there");
    let base = || new_token("crm", "read");
    for (new, code) in [
        (new_token("nosuch", "read"), Code::ClientUnknown),
        (new_token("off", "read"), Code::ClientDisabled),
        (new_token("crm", ""), Code::ScopeInvalid),
        (new_token("crm", "write:Lead"), Code::ScopeInvalid),
        (new_token("crm", "sales"), Code::ScopeUnknown),
        (new_token("crm", "write"), Code::ScopeTooWide),
        (new_token("crm", "read all"), Code::ScopeTooWide),
        (new_token("crm", "delete:lead"), Code::ScopeTooWide),
        (new_token("crm", "openid"), Code::ScopeTooWide),
        (NewToken { user: " ".to_owned(), ..base() }, Code::UserInvalid),
        (NewToken { user: "a\r\nX: y".to_owned(), ..base() }, Code::UserInvalid),
        (NewToken { user: "\u{85}".repeat(3), ..base() }, Code::UserInvalid),
        (NewToken { user: "ü".repeat(141), ..base() }, Code::UserInvalid),
        (NewToken { expires_in: Some(0), ..base() }, Code::LifetimeInvalid),
        (NewToken { expires_in: Some(365 * 86_400 + 1), ..base() }, Code::LifetimeInvalid),
        (NewToken { expires_in: Some(u64::MAX), ..base() }, Code::LifetimeInvalid),
        (register("crm", ""), Code::TokenInvalid),
        (register("crm", "short"), Code::TokenInvalid),
        (register("crm", "Bearer aBcDeFgHiJkLmNoPqRsTuVwXyZ0123"), Code::TokenInvalid),
        (register("crm", &"x".repeat(513)), Code::TokenInvalid),
    ] {
        let shown = format!("{new:?}");
        assert_eq!(room.admin.issue_token(ERP, new).await.expect_err(&shown).code, code, "{shown}");
    }
    assert!(room.admin.tokens(ERP, &list("crm", None)).await.expect("the store answers").tokens.is_empty());
    for expires_in in [1, 365 * 86_400] {
        room.admin.issue_token(ERP, NewToken { expires_in: Some(expires_in), ..base() }).await.expect("within the bounds");
    }
    room.admin.issue_token(ERP, NewToken { user: "ü".repeat(140), ..new_token("crm", "crm") }).await.expect("the client covers `crm`");
}

#[tokio::test]
async fn a_token_says_why_it_is_worthless() {
    let room = Room::new();
    room.client("crm", "read").await;
    room.client("off", "read").await;
    room.admin.disable_client(ERP, "off").await.expect("it is there");
    let created = room.admin.client(ERP, "crm").await.expect("it is there").created.unix();
    let far = created + 1_000_000;
    for (name, client, iat, exp, state) in [
        ("live", "crm", created, far, TokenState::Live),
        ("skewed", "crm", created - 5, far, TokenState::Live),
        ("older", "crm", created - 6, far, TokenState::OlderThanClient),
        ("expired", "crm", 1, 2, TokenState::Expired),
        ("disabled", "off", created, far, TokenState::ClientDisabled),
        ("deleted", "gone", created, far, TokenState::NoSuchClient),
    ] {
        let hash = TokenHash::of(name.as_bytes());
        room.put(&hash, client, iat, exp).await;
        match room.admin.inspect_token(ERP, &TokenRef::Hash(hash.to_string())).await {
            Ok(view) => assert_eq!(view.state, Some(state), "{name}"),
            // An expired one may be gone at any time.
            Err(error) => assert_eq!((error.code, state), (Code::TokenUnknown, TokenState::Expired), "{name}"),
        }
    }
}

#[tokio::test]
async fn what_names_no_token_is_refused_without_repeating_it() {
    let room = Room::new();
    room.client("crm", "read").await;
    let issued = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    let secret = issued.access_token.expect("it is new");
    let text = |text: &str| TokenRef::Token(SecretText::new(text));
    for (token, code) in [
        (text("s3cret s3cret"), Code::TokenInvalid),
        (text("Bearer s3cret"), Code::TokenInvalid),
        (text(""), Code::TokenInvalid),
        (text("s3cret"), Code::TokenUnknown),
        (TokenRef::Hash("s3cret".to_owned()), Code::TokenInvalid),
        (TokenRef::Hash("AB".repeat(32)), Code::TokenInvalid),
        (TokenRef::Hash("ab".repeat(32)), Code::TokenUnknown),
    ] {
        for error in [room.admin.inspect_token(ERP, &token).await.map(drop), room.admin.revoke_token(ERP, &token).await.map(drop)] {
            let error = error.expect_err("no token");
            assert_eq!(error.code, code, "{error}");
            assert!(!error.message.contains("s3cret"), "{error}");
        }
    }
    let elsewhere = room.admin.revoke_token(SHOP, &TokenRef::Token(secret.clone())).await.expect_err("another site");
    assert_eq!(elsewhere.code, Code::TokenUnknown);
    assert!(room.lives(&issued.hash).await);
    room.admin.revoke_token(ERP, &TokenRef::Token(secret.clone())).await.expect("it is there");
    let twice = room.admin.revoke_token(ERP, &TokenRef::Token(secret)).await.expect_err("it is gone");
    assert_eq!(twice.code, Code::TokenUnknown);
}

#[tokio::test]
async fn tokens_are_listed_soonest_to_expire_first_and_within_the_limit() {
    let room = Room::new();
    room.client("crm", "read").await;
    for expires_in in [300, 100, 200] {
        room.admin.issue_token(ERP, NewToken { expires_in: Some(expires_in), ..new_token("crm", "read") }).await.expect("a token");
    }
    let all = room.admin.tokens(ERP, &list("crm", None)).await.expect("the store answers");
    let lives: Vec<u64> = all.tokens.iter().map(|token| token.expires_at.since(token.issued_at)).collect();
    assert_eq!((lives.as_slice(), all.more), (&[100, 200, 300][..], false));
    for (limit, more) in [(1, true), (2, true), (3, false), (4, false)] {
        let some = room.admin.tokens(ERP, &list("crm", Some(limit))).await.expect("the store answers");
        assert_eq!((some.tokens.len(), some.more), (limit.min(3), more));
    }
    for limit in [0, 10_001, usize::MAX] {
        let error = room.admin.tokens(ERP, &list("crm", Some(limit))).await.expect_err("beyond the bounds");
        assert_eq!(error.code, Code::LimitInvalid);
    }
}

#[tokio::test]
async fn a_disabled_client_stays_so_while_others_change_it() {
    let room = Room::new();
    room.client("crm", "read").await;
    let mut changes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let admin = Arc::clone(&room.admin);
        changes.spawn(async move { admin.rotate_secret(ERP, "crm", Rotation::default()).await.map(drop) });
    }
    let disabled = room.admin.disable_client(ERP, "crm").await;
    assert!(!disabled.expect("it is there").enabled);
    while let Some(changed) = changes.join_next().await {
        changed.expect("no panic").expect("it has a secret");
    }
    assert!(!room.admin.client(ERP, "crm").await.expect("it is there").enabled);
}

#[tokio::test]
async fn the_status_names_store_and_cache() {
    let room = Room::new();
    let status = room.admin.status().await;
    assert_eq!(status["version"], "test");
    assert_eq!(status["store"], json!({"kind": "embedded", "reachable": true}));
    assert_eq!(status["cache"], json!({"entries": 0, "hits": 0, "misses": 0}));
    assert!(room.directory.path().join("store.redb").exists());
}
