//! What comes next for an authorization request: a sign-in, a question, or a code at once (OpenID Connect Core 1.0 section 3.1.2.1).

use crate::oauth::authorization::AuthorizationRequest;
use crate::oauth::client::Client;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::records::{Grant, Session};
use crate::oauth::redirect::{self, Destination};
use crate::oauth::scopes::is_within;
use crate::policy::coverage::Meanings;
use crate::policy::time::Timestamp;

/// All that decides.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    pub client: &'a Client,
    pub request: &'a AuthorizationRequest,
    /// The browser's live session; `None` where nobody is signed in.
    pub session: Option<&'a Session>,
    /// The live grant of that user to this client.
    pub grant: Option<&'a Grant>,
    pub meanings: &'a Meanings,
    /// Whether each grant has tokens of the site of its own, which only a sign-in brings.
    pub keeps_site_tokens: bool,
    pub now: Timestamp,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    SignIn,
    Ask,
    Issue,
    Refuse(OAuthError),
}

/// `prompt` as it is kept over a sign-in: what asked for that sign-in is fulfilled then, and would ask for it for ever.
pub fn fulfilled(prompt: &str) -> String {
    prompt.split(' ').filter(|word| !matches!(*word, "" | "login" | "select_account")).collect::<Vec<_>>().join(" ")
}

pub fn next(circumstances: &Circumstances<'_>) -> Step {
    let Circumstances { client, request, session, grant, meanings, keeps_site_tokens, now } = *circumstances;
    let fresh = |session: &&Session| !request.prompt.login && request.max_age.is_none_or(|most| now.since(session.iat) <= most);
    let sign_in = || {
        if !request.prompt.none {
            return Step::SignIn;
        }
        Step::Refuse(OAuthError::new(ErrorCode::LoginRequired, "nobody is signed in, and prompt is none"))
    };
    let Some(session) = session.filter(fresh) else { return sign_in() };
    let remembered = grant.is_some_and(|grant| is_within(&request.scopes, &grant.scopes, meanings)) && identified(client, request);
    let asked = request.prompt.consent || !(client.skip_consent || remembered);
    if asked && request.prompt.none {
        return Step::Refuse(OAuthError::new(ErrorCode::ConsentRequired, "the user has to be asked, and prompt is none"));
    }
    // A new grant takes the tokens of this sign-in. Where another has them already, there must be another sign-in: two grants with one
    // pair of tokens would end each other.
    if keeps_site_tokens && grant.is_none() && session.site_tokens.is_none() {
        return sign_in();
    }
    if asked { Step::Ask } else { Step::Issue }
}

/// Whether the answer reaches the very app that was once consented to. A client without a secret whose answers go to a port or a scheme of
/// the user's own machine can be played by any program there, so each of its requests needs the user (RFC 8252 section 8.6).
fn identified(client: &Client, request: &AuthorizationRequest) -> bool {
    !client.public() || matches!(redirect::destination(&request.redirect.uri), Some(Destination::Web(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::authorization::{Prompt, Redirect};
    use crate::oauth::records::Profile;
    use crate::policy::scope::Scopes;
    use crate::policy::token::{RECORD_VERSION, TokenHash};

    const NOW: Timestamp = Timestamp::from_unix(1_000);
    const WEB: &str = "https://app.example/cb";

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).unwrap()
    }

    fn client(secret: bool, skip_consent: bool) -> Client {
        let secret = secret.then(|| TokenHash::of(b"secret"));
        Client { secret, skip_consent, ..Client::new("app", "App", scopes("all"), NOW) }
    }

    fn request(scope: &str, prompt: &str, uri: &str) -> AuthorizationRequest {
        AuthorizationRequest {
            redirect: Redirect { uri: uri.to_owned(), state: None },
            redirect_uri_sent: None,
            scopes: scopes(scope),
            challenge: None,
            nonce: None,
            prompt: Prompt { none: prompt.contains("none"), login: prompt.contains("login"), consent: prompt.contains("consent") },
            max_age: None,
        }
    }

    fn session(tokens: bool) -> Session {
        Session {
            v: RECORD_VERSION,
            user: "sam".into(),
            profile: Profile::default(),
            iat: Timestamp::from_unix(900),
            exp: Timestamp::from_unix(1_500),
            site_tokens: tokens.then(|| "sealed".to_owned()),
        }
    }

    fn grant(scope: &str) -> Grant {
        Grant {
            v: RECORD_VERSION,
            id: "g".into(),
            client: "app".into(),
            user: "sam".into(),
            scopes: scopes(scope),
            created: NOW,
            used: NOW,
            profile: Profile::default(),
            ended: None,
        }
    }

    fn refused(code: ErrorCode) -> impl Fn(&Step) -> bool {
        move |step| matches!(step, Step::Refuse(error) if error.code == code)
    }

    fn step(client: &Client, request: &AuthorizationRequest, session: Option<&Session>, grant: Option<&Grant>, keeps: bool) -> Step {
        next(&Circumstances { client, request, session, grant, meanings: &Meanings::new(), keeps_site_tokens: keeps, now: NOW })
    }

    #[test]
    fn a_user_is_asked_once_unless_something_speaks_against_it() {
        let (secret, public, own) = (client(true, false), client(false, false), client(true, true));
        let (read, wide) = (grant("read"), grant("read write"));
        let rows = [
            (&secret, "read", "", WEB, None, Step::Ask, "the first time"),
            (&secret, "read", "", WEB, Some(&read), Step::Issue, "the same again"),
            (&secret, "read", "", WEB, Some(&wide), Step::Issue, "less than before"),
            (&secret, "read:lead", "", WEB, Some(&read), Step::Issue, "a part of what was granted"),
            (&secret, "write", "", WEB, Some(&read), Step::Ask, "more than before"),
            (&secret, "all", "", WEB, Some(&wide), Step::Ask, "all is more than read and write"),
            (&secret, "read", "consent", WEB, Some(&read), Step::Ask, "the client wants the question"),
            (&own, "all", "", WEB, None, Step::Issue, "the operator's own app"),
            (&own, "all", "consent", WEB, None, Step::Ask, "its own app wants the question"),
            (&public, "read", "", WEB, Some(&read), Step::Issue, "a page of the app's own origin"),
            (&public, "read", "", "http://127.0.0.1:51004/cb", Some(&read), Step::Ask, "any program may listen there"),
            (&public, "read", "", "http://[::1]:51004/cb", Some(&read), Step::Ask, "or there"),
            (&public, "read", "", "com.example.app:/cb", Some(&read), Step::Ask, "any app may take the scheme"),
            (&secret, "read", "", "http://127.0.0.1:51004/cb", Some(&read), Step::Issue, "its secret tells who redeems"),
            (&secret, "read", "login", WEB, Some(&read), Step::SignIn, "a fresh sign-in is wanted"),
        ];
        for (client, scope, prompt, uri, grant, expected, why) in rows {
            assert_eq!(step(client, &request(scope, prompt, uri), Some(&session(false)), grant, false), expected, "{why}");
            let nobody = step(client, &request(scope, prompt, uri), None, grant, false);
            assert_eq!(nobody, Step::SignIn, "{why}, and nobody is signed in");
        }
    }

    #[test]
    fn prompt_none_shows_nothing() {
        let (secret, public, own) = (client(true, false), client(false, false), client(true, true));
        let read = grant("read");
        let (login, consent) = (refused(ErrorCode::LoginRequired), refused(ErrorCode::ConsentRequired));
        let none = request("read", "none", WEB);
        assert!(login(&step(&secret, &none, None, None, false)));
        assert!(consent(&step(&secret, &none, Some(&session(false)), None, false)));
        assert_eq!(step(&secret, &none, Some(&session(false)), Some(&read), false), Step::Issue);
        assert_eq!(step(&own, &none, Some(&session(false)), None, false), Step::Issue);
        assert!(consent(&step(&secret, &request("write", "none", WEB), Some(&session(false)), Some(&read), false)));
        assert!(consent(&step(&public, &request("read", "none", "com.example.app:/cb"), Some(&session(false)), Some(&read), false)));
        assert!(login(&step(&own, &none, Some(&session(false)), None, true)), "no tokens of the site are left");
        let aged = AuthorizationRequest { max_age: Some(99), ..none };
        assert!(login(&step(&secret, &aged, Some(&session(false)), Some(&read), false)));
    }

    #[test]
    fn a_sign_in_may_be_too_old() {
        let (client, grant) = (client(true, false), grant("read"));
        for (max_age, expected) in [(None, Step::Issue), (Some(100), Step::Issue), (Some(99), Step::SignIn), (Some(0), Step::SignIn)] {
            let request = AuthorizationRequest { max_age, ..request("read", "", WEB) };
            assert_eq!(step(&client, &request, Some(&session(false)), Some(&grant), false), expected, "{max_age:?}");
        }
    }

    #[test]
    fn a_new_grant_needs_tokens_of_its_own() {
        let (client, own, read) = (client(true, false), client(true, true), grant("read"));
        let request = request("read", "", WEB);
        assert_eq!(step(&client, &request, Some(&session(true)), None, true), Step::Ask);
        assert_eq!(step(&client, &request, Some(&session(false)), None, true), Step::SignIn);
        assert_eq!(step(&own, &request, Some(&session(true)), None, true), Step::Issue);
        assert_eq!(step(&own, &request, Some(&session(false)), None, true), Step::SignIn);
        assert_eq!(step(&client, &request, Some(&session(false)), Some(&read), true), Step::Issue, "the grant has its own already");
    }

    #[test]
    fn a_sign_in_fulfils_what_asked_for_it() {
        for (prompt, left) in
            [("login", ""), ("select_account", ""), ("login consent", "consent"), ("consent  login", "consent"), ("none", "none"), ("", "")]
        {
            assert_eq!(fulfilled(prompt), left, "{prompt}");
        }
    }
}
