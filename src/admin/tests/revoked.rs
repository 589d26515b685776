//! Grants and users: listed, shown, ended; and what of theirs outlives that.

use super::*;
use crate::admin::error::Code;
use crate::admin::message::{ClientView, GrantListQuery, GrantState, Rotation, TokenRef, TokenState};
use crate::admin::operations::now;
use crate::oauth::records::End;
use crate::store::kept::Subject;

const OTHER: &str = "ann@example.com";

fn of(client: Option<&str>, user: Option<&str>) -> GrantListQuery {
    GrantListQuery { client: client.map(str::to_owned), user: user.map(str::to_owned) }
}

impl Room {
    async fn listed(&self, client: Option<&str>, user: Option<&str>) -> Vec<String> {
        let list = self.admin.grants(ERP, &of(client, user)).await.expect("the store answers");
        assert!(!list.more);
        list.grants.into_iter().map(|grant| grant.grant_id).collect()
    }

    async fn state(&self, id: &str) -> GrantState {
        self.admin.grant(ERP, id).await.expect("it is there").state
    }
}

#[tokio::test]
async fn grants_are_listed_by_user_and_by_client_newest_first() {
    let room = Room::new();
    room.client("crm", "read").await;
    room.client("shop", "read").await;
    let at = |seconds| Timestamp::from_unix(now().unix() - 1000 + seconds);
    for (id, client, user, second) in [("g-1", "crm", USER, 1), ("g-2", "shop", USER, 3), ("g-3", "crm", OTHER, 2)] {
        room.grant(id, client, user, at(second)).await;
    }
    assert_eq!(room.listed(None, Some(USER)).await, ["g-2", "g-1"]);
    assert_eq!(room.listed(Some("crm"), None).await, ["g-3", "g-1"]);
    assert_eq!(room.listed(Some("crm"), Some(USER)).await, ["g-1"]);
    assert_eq!(room.listed(Some("crm"), Some("nobody@example.com")).await, [""; 0]);
    assert_eq!(room.listed(None, Some(" sam@example.com ")).await, ["g-2", "g-1"], "white space is no part of a name");
    let shown = room.admin.grant(ERP, "g-1").await.expect("it is there");
    assert_eq!((shown.user.as_str(), shown.scope.as_str(), shown.state, shown.site_token), (USER, "read", GrantState::Live, Some(true)));
}

#[tokio::test]
async fn what_names_no_grant_is_refused() {
    let room = Room::new();
    room.client("crm", "read").await;
    for (client, user, code) in [
        (None, None, Code::RequestInvalid),
        (Some("nosuch"), None, Code::ClientUnknown),
        (Some("../x"), None, Code::ClientUnknown),
        (Some("nosuch"), Some(USER), Code::ClientUnknown),
        (None, Some(" "), Code::UserInvalid),
        (None, Some("a\nb"), Code::UserInvalid),
    ] {
        assert_eq!(room.admin.grants(ERP, &of(client, user)).await.expect_err("refused").code, code, "{client:?} {user:?}");
    }
    for id in ["nosuch", "", "a:b", "../g", "ä", &"x".repeat(65)] {
        for error in [room.admin.grant(ERP, id).await, room.admin.revoke_grant(ERP, id).await].map(|refused| refused.expect_err(id)) {
            assert_eq!(error.code, Code::GrantUnknown, "{id}");
            assert!(error.message.contains("scopegate grant list"), "{error}");
        }
    }
    room.grant("g-1", "crm", USER, now()).await;
    assert_eq!(room.admin.revoke_grant(SHOP, "g-1").await.expect_err("another site's").code, Code::GrantUnknown);
    assert_eq!(room.admin.revoke_grant("nosuch", "g-1").await.expect_err("no site").code, Code::SiteUnknown);
    for user in ["", " ", "a\r\nb", &"x".repeat(141)] {
        assert_eq!(room.admin.revoke_user(ERP, user).await.expect_err("no user").code, Code::UserInvalid, "{user:?}");
    }
    assert_eq!(room.state("g-1").await, GrantState::Live);
}

#[tokio::test]
async fn a_revoked_grant_takes_its_tokens_and_the_sites_with_it() {
    let room = Room::new();
    room.client("crm", "read").await;
    let at = now();
    room.grant("g-1", "crm", USER, at).await;
    room.grant("g-2", "crm", USER, at).await;
    let [first, second] = ["one", "two"].map(|name| TokenHash::of(name.as_bytes()));
    room.put_under(&first, "crm", at.unix(), at.unix() + 3600, Some("g-1")).await;
    room.put_under(&second, "crm", at.unix(), at.unix() + 3600, Some("g-2")).await;
    assert!(room.lives(&first.to_string()).await && room.lives(&second.to_string()).await);

    let revoked = room.admin.revoke_grant(ERP, "g-1").await.expect("it is there");
    assert_eq!((revoked.state, revoked.ended.map(|ended| ended.by)), (GrantState::Ended, Some(End::Operator)));
    assert!(!room.lives(&first.to_string()).await, "the next request knows");
    assert!(room.lives(&second.to_string()).await, "another grant of the same user and client");
    assert!(room.store.credential(ERP, "g-1").await.expect("the store answers").is_none(), "the site's token is gone");
    assert!(room.store.credential(ERP, "g-2").await.expect("the store answers").is_some());
    assert_eq!(room.admin.inspect_token(ERP, &TokenRef::Hash(first.to_string())).await.expect("kept").state, Some(TokenState::Revoked));
    let listed = room.admin.tokens(ERP, &list("crm", None)).await.expect("the store answers");
    assert_eq!(listed.tokens.iter().map(|token| token.hash.as_str()).collect::<Vec<_>>(), [second.to_string()]);

    let again = room.admin.revoke_grant(ERP, "g-1").await.expect("it is still listed");
    assert_eq!(again.ended, revoked.ended, "it ended once");
}

#[tokio::test]
async fn a_grant_that_its_user_withdrew_stays_so() {
    let room = Room::new();
    room.client("crm", "read").await;
    room.grant("g-1", "crm", USER, now()).await;
    grants::end(&*room.store, ERP, "g-1", End::User, now()).await.expect("the store answers");
    let revoked = room.admin.revoke_grant(ERP, "g-1").await.expect("it is there");
    assert_eq!(revoked.ended.map(|ended| ended.by), Some(End::User));
    assert_eq!(room.admin.revoke_user(ERP, USER).await.expect("a user").grants, 0, "it is not ended twice");
}

#[tokio::test]
async fn a_revoked_user_loses_everything_and_can_begin_anew_in_the_same_second() {
    let room = Room::new();
    room.client("crm", "read").await;
    room.client("shop", "read").await;
    let at = now();
    room.grant("g-1", "crm", USER, at).await;
    room.grant("g-2", "shop", USER, at).await;
    room.grant("g-3", "crm", OTHER, at).await;
    let issued = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    let other = room.admin.issue_token(ERP, NewToken { user: OTHER.to_owned(), ..new_token("crm", "read") }).await.expect("a token");
    assert!(room.lives(&issued.hash).await && room.lives(&other.hash).await);

    let revoked = room.admin.revoke_user(ERP, USER).await.expect("a user");
    assert_eq!((revoked.grants, revoked.revoked), (2, true));
    assert!(!room.lives(&issued.hash).await, "a token without a grant as well");
    assert!(room.lives(&other.hash).await, "another user's");
    for (id, state) in [("g-1", GrantState::Ended), ("g-2", GrantState::Ended), ("g-3", GrantState::Live)] {
        assert_eq!(room.state(id).await, state, "{id}");
        let kept = room.store.credential(ERP, id).await.expect("the store answers").is_some();
        assert_eq!(kept, state == GrantState::Live, "{id}");
    }
    for _ in 0..3 {
        let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
        assert!(room.lives(&anew.hash).await, "issued after the revocation, whatever the second");
        assert_eq!(anew.expires_in, 3600);
        let view = room.admin.inspect_token(ERP, &TokenRef::Hash(anew.hash.clone())).await.expect("it is there");
        assert_eq!(view.expires_at.since(view.issued_at), 3600);
        room.admin.revoke_user(ERP, USER).await.expect("a user");
        assert!(!room.lives(&anew.hash).await, "revoked once more, whatever the second");
    }
    assert_eq!(room.admin.revoke_user(ERP, "nobody@example.com").await.expect("whoever that is").grants, 0);
    assert!(room.lives(&other.hash).await);
}

#[tokio::test]
async fn what_is_issued_in_the_second_of_a_revocation_ends_with_the_next_of_any_kind() {
    let room = Room::new();
    room.admin.create_client(ERP, new_client("crm", "read")).await.expect("a new client");
    for _ in 0..3 {
        room.admin.revoke_user(ERP, USER).await.expect("a user");
        let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
        assert!(room.lives(&anew.hash).await);
        room.admin.rotate_secret(ERP, "crm", Rotation { overlap: None, revoke_tokens: true }).await.expect("it has a secret");
        assert!(!room.lives(&anew.hash).await, "it bears the second behind the user's mark, and so does the client's mark");
        let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
        assert!(room.lives(&anew.hash).await);
        room.admin.revoke_user(ERP, USER).await.expect("a user");
        assert!(!room.lives(&anew.hash).await);
    }
}

#[tokio::test]
async fn deleting_a_client_voids_what_a_later_one_of_its_id_would_inherit() {
    let room = Room::new();
    room.client("crm", "read").await;
    let at = now();
    room.grant("g-1", "crm", USER, at).await;
    let token = TokenHash::of(b"one");
    room.put_under(&token, "crm", at.unix(), at.unix() + 3600, Some("g-1")).await;
    room.admin.delete_client(ERP, "crm").await.expect("it is there");
    assert_eq!(room.state("g-1").await, GrantState::Revoked);
    room.client("crm", "read").await;
    assert!(!room.lives(&token.to_string()).await, "made anew within the skew of clocks");
    let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    assert!(room.lives(&anew.hash).await);
    assert_eq!(room.admin.delete_client(ERP, "nosuch").await.expect_err("there is none").code, Code::ClientUnknown);
    let mark = room.store.mark(ERP, &[Subject::Client("nosuch")]).await.expect("the store answers");
    assert_eq!(mark, None, "what does not exist is not marked");
}

#[tokio::test]
async fn a_secret_is_rotated_with_an_overlap_or_with_everything_it_fetched() {
    let room = Room::new();
    let first = room.admin.create_client(ERP, new_client("crm", "read")).await.expect("a new client").client_secret.expect("a secret");
    room.grant("g-1", "crm", USER, now()).await;
    let issued = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    let rotate = async |overlap, revoke_tokens| {
        let rotated = room.admin.rotate_secret(ERP, "crm", Rotation { overlap, revoke_tokens }).await.expect("it has a secret");
        (rotated.client_secret.expect("a new one"), rotated.client)
    };
    let counts = async |secret: &SecretText, at: Timestamp| {
        let kept = room.store.client(ERP, "crm").await.expect("the store answers").expect("it is there");
        kept.authenticates(secret.reveal(), at)
    };
    let until = |client: &ClientView| client.previous_secret_until.expect("it overlaps");

    let (second, shown) = rotate(Some(3600), false).await;
    assert!(until(&shown).since(now()) > 3590, "{shown:?}");
    assert_eq!(room.admin.client(ERP, "crm").await.expect("it is there").previous_secret_until, shown.previous_secret_until);
    assert!(counts(&second, now()).await && counts(&first, now()).await && !counts(&first, until(&shown)).await);
    assert!(room.lives(&issued.hash).await, "tokens stay");

    let (third, shown) = rotate(Some(60), false).await;
    assert!(until(&shown).since(now()) <= 60);
    assert!(counts(&third, now()).await && counts(&second, now()).await && !counts(&first, now()).await, "two count at most");

    let (fourth, shown) = rotate(None, true).await;
    assert_eq!(shown.previous_secret_until, None);
    assert!(counts(&fourth, now()).await && !counts(&third, now()).await && !counts(&second, now()).await);
    assert!(!room.lives(&issued.hash).await);
    assert_eq!(room.state("g-1").await, GrantState::Revoked);
    assert!(room.admin.tokens(ERP, &list("crm", None)).await.expect("the store answers").tokens.is_empty());
    let anew = room.admin.issue_token(ERP, new_token("crm", "read")).await.expect("a token");
    assert!(room.lives(&anew.hash).await);

    for overlap in [30 * 86_400 + 1, u64::MAX] {
        let refused = room.admin.rotate_secret(ERP, "crm", Rotation { overlap: Some(overlap), revoke_tokens: true }).await;
        assert_eq!(refused.expect_err("too long").code, Code::OverlapInvalid);
    }
    assert!(counts(&fourth, now()).await && room.lives(&anew.hash).await, "a refusal changes nothing");
}
