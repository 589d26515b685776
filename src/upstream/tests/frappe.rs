//! The gate as an OAuth client of the site: what it sends, and what it makes of each answer.

use super::*;
use crate::oauth::records::{Profile, SiteTokens};
use crate::policy::time::Timestamp;
use crate::upstream::frappe::{Frappe, SiteError};
use crate::upstream::tests::peer::Peer;

const NOW: Timestamp = Timestamp::from_unix(1_000_000);
const SITE: HeaderValue = HeaderValue::from_static("erp.test");

/// A status and a body each.
type Answers = &'static [(u16, &'static str)];

/// A site that answers one request after the other with these statuses and bodies, on as many connections as it takes.
async fn site(answers: Answers) -> Peer {
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Peer::start(move |mut wire, _| {
        let turn = Arc::clone(&turn);
        async move {
            while wire.request().await.is_some() {
                let at = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let (status, body) = answers.get(at).copied().unwrap_or((500, ""));
                wire.write(format!("HTTP/1.1 {status} X\r\nSet-Cookie: sid=Guest\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            }
        }
    })
    .await
}

async fn with<T>(peer: &Peer, run: impl AsyncFnOnce(Frappe<'_>) -> T) -> T {
    let worker = upstreams(&[peer.url()], settings()).worker();
    run(Frappe { upstream: worker.site(0), frappe_site: &SITE, client_id: "gate", client_secret: "s&cret" }).await
}

async fn redeem(peer: &Peer) -> Result<SiteTokens, SiteError> {
    with(peer, async |frappe| frappe.redeem("c0de", "https://gate.example/oauth/callback", "verifier", NOW).await).await
}

#[tokio::test]
async fn a_code_is_redeemed_with_the_secret_in_the_form() {
    let peer = site(&[(
        200,
        r#"{"access_token":"at","expires_in":3600,"token_type":"Bearer","scope":"all openid","refresh_token":"rt","id_token":"x"}"#,
    )])
    .await;
    let tokens = redeem(&peer).await.expect("tokens");
    assert_eq!((tokens.access_token.as_str(), tokens.refresh_token.as_deref(), tokens.exp), ("at", Some("rt"), NOW.plus(3600)));
    let request = peer.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /api/method/frappe.integrations.oauth2.get_token HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
    for line in ["host: erp.test", "x-frappe-site-name: erp.test", "accept: application/json"] {
        assert!(head.lines().any(|own| own == line), "{line}: {head}");
    }
    assert_eq!(
        body,
        "grant_type=authorization_code&code=c0de&redirect_uri=https%3A%2F%2Fgate.example%2Foauth%2Fcallback&code_verifier=verifier\
         &client_id=gate&client_secret=s%26cret"
    );
}

#[tokio::test]
async fn a_refresh_keeps_the_old_refresh_token_where_there_is_no_new_one() {
    let peer = site(&[
        (200, r#"{"access_token":"at2","expires_in":5,"token_type":"bearer"}"#),
        (200, r#"{"access_token":"at3","expires_in":9999999,"refresh_token":"rt3"}"#),
    ])
    .await;
    with(&peer, async |frappe| {
        let tokens = frappe.refresh("rt1", NOW).await.expect("tokens");
        assert_eq!((tokens.refresh_token.as_deref(), tokens.exp), (Some("rt1"), NOW.plus(60)), "at least a minute");
        let tokens = frappe.refresh("rt1", NOW).await.expect("tokens");
        assert_eq!((tokens.refresh_token.as_deref(), tokens.exp), (Some("rt3"), NOW.plus(86_400)), "at most a day");
    })
    .await;
}

#[tokio::test]
async fn only_frappes_own_no_is_a_no() {
    let refused = |error: &SiteError| matches!(error, SiteError::Refused);
    let unregistered = |error: &SiteError| matches!(error, SiteError::Unregistered);
    let nonsense = |error: &SiteError| matches!(error, SiteError::Nonsense);
    let away = |error: &SiteError| matches!(error, SiteError::Away(_));
    type Judge = fn(&SiteError) -> bool;
    let rows: [(Answers, Judge, &str); 17] = [
        (&[(400, r#"{"error":"invalid_grant"}"#)], refused, "T20"),
        (&[(404, r#"{"exc_type":"DoesNotExistError","_server_messages":"{'refresh_token': 'rt'} not found"}"#)], refused, "T38"),
        (&[(404, r#"{"exc_type":"DoesNotExistError","_server_messages":"OAuth Client gate not found"}"#)], unregistered, "T26"),
        (&[(400, r#"{"error":"invalid_client"}"#)], unregistered, "T285"),
        (&[(400, r#"{"error":"unauthorized_client"}"#)], unregistered, "T23"),
        (&[(400, r#"{"error":"invalid_scope"}"#)], unregistered, "T39: a scope was taken from the gate's client"),
        (&[(400, r#"{"error":"unsupported_grant_type"}"#)], unregistered, "T28: the form was lost on its way"),
        (&[(400, r#"{"error":"invalid_request","error_description":"Mismatching redirect URI."}"#)], unregistered, "T326"),
        (&[(401, r#"{"exc_type":"AuthenticationError"}"#)], unregistered, "T153: the token endpoint has no other use for a 401"),
        (&[(404, "<html>erp.test does not exist</html>")], nonsense, "a bench without the site"),
        (&[(403, "<html>forbidden</html>")], nonsense, "a firewall"),
        (&[(400, "{}")], nonsense, "an empty no"),
        (&[(502, r#"{"error":"x"}"#)], nonsense, "a proxy"),
        (&[(302, "")], nonsense, "a redirect is not followed"),
        (&[(200, r#"{"message":"hello"}"#)], nonsense, "no token"),
        (&[(200, r#"{"access_token":"a b","token_type":"Bearer"}"#)], nonsense, "a token that would be two words in a header"),
        (&[(200, r#"{"access_token":"a","token_type":"mac"}"#)], nonsense, "a token of another type"),
    ];
    for (answers, judge, why) in rows {
        let peer = site(answers).await;
        let error = redeem(&peer).await.map(drop).expect_err(why);
        assert!(judge(&error), "{why}: {error}");
    }
    let large: &'static str = "a".repeat(300 * 1024).leak();
    let peer = site(vec![(200, large)].leak()).await;
    assert!(away(&redeem(&peer).await.map(drop).expect_err("too large")));
}

#[tokio::test]
async fn who_it_is_is_asked_of_the_site_itself() {
    let peer = site(&[
        (200, r#"{"message":"sam@example.com"}"#),
        (
            200,
            r#"{"sub":"5a68","name":"Sam","given_name":"Sam","family_name":"","email":"other@example.com","picture":"javascript:x","roles":["A"]}"#,
        ),
    ])
    .await;
    let (user, profile) = with(&peer, async |frappe| frappe.profile("tok").await).await.expect("a profile");
    assert_eq!(&*user, "sam@example.com");
    let expected = Profile {
        name: Some("Sam".to_owned()),
        given_name: Some("Sam".to_owned()),
        email: Some("other@example.com".to_owned()),
        ..Profile::default()
    };
    assert_eq!(profile, expected);
    for request in peer.requests() {
        assert!(request.contains("authorization: Bearer tok\r\n"), "{request}");
        assert!(request.starts_with("GET /api/method/frappe."), "{request}");
    }
}

#[tokio::test]
async fn a_guest_is_nobody() {
    let rows: [(Answers, &str); 4] = [
        (&[(200, r#"{"message":"Guest"}"#)], "Guest"),
        (&[(200, r#"{"message":""}"#)], "no name"),
        (&[(200, r#"{"message":"a\nb"}"#)], "two lines"),
        (&[(200, r#"{"message":"sam@example.com"}"#), (401, r#"{"exc_type":"AuthenticationError"}"#)], "no profile"),
    ];
    for (answers, why) in rows {
        let peer = site(answers).await;
        with(&peer, async |frappe| frappe.profile("tok").await).await.map(drop).expect_err(why);
    }
}

#[tokio::test]
async fn a_token_is_revoked_under_the_gates_own_client_id() {
    let peer = site(&[(200, "{}")]).await;
    with(&peer, async |frappe| frappe.revoke("tok").await).await;
    let request = peer.requests().remove(0);
    assert!(request.ends_with("\r\n\r\ntoken=tok&token_type_hint=access_token&client_id=gate"), "{request}");
}
