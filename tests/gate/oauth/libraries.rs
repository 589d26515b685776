//! Clients that others wrote, as strict about the RFCs as they are, through the whole flow: `oauth2`, and `openidconnect` from discovery on.

use std::convert::Infallible;

use http::{Request, Response};
use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IntrospectionUrl, PkceCodeChallenge, RedirectUrl,
    RefreshToken, RequestTokenError, RevocationUrl, Scope, StandardRevocableToken, TokenIntrospectionResponse as _, TokenResponse as _,
    TokenUrl,
};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{AccessTokenHash, IssuerUrl, Nonce, TokenResponse as _};

use crate::oauth::endpoints::{lives, secret, server};
use crate::support::provider::{App, CALLBACK, ISSUER, Person, Provider, USER, parameter};
use crate::support::setup::SITE;

/// What carries the libraries' requests to the gate.
fn carrier(provider: &Provider) -> impl Fn(Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Infallible> {
    |request| {
        let uri = request.uri();
        assert_eq!((uri.scheme_str(), uri.host()), (Some("https"), Some(SITE)), "a library was sent elsewhere");
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut head = format!("{} {target} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n", request.method());
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
        }
        if !request.body().is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", request.body().len()));
        }
        let body = std::str::from_utf8(request.body()).expect("a form");
        let reply = provider.exchange(&format!("{head}\r\n{body}"));
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(reply.body).expect("a response"))
    }
}

fn at(path: &str) -> String {
    format!("{ISSUER}{path}")
}

/// The user's way from the library's link to the app: the code, and the state that came back with it.
fn consented(provider: &Provider, link: &str) -> (AuthorizationCode, String) {
    let mut person = Person::new(provider);
    let code = person.allow_with(link.strip_prefix(ISSUER).expect("a link to the gate"));
    let back = person.seen.last().expect("a redirect to the app");
    (AuthorizationCode::new(code), parameter(back.location(), "state").expect("a state"))
}

fn keep(provider: &Provider, access: &AccessToken, refresh: Option<&RefreshToken>) {
    provider.gate.keep_secret(access.secret());
    if let Some(refresh) = refresh {
        provider.gate.keep_secret(refresh.secret());
    }
}

#[test]
fn the_oauth2_library_gets_through_the_whole_flow() {
    Provider::on_each(|provider| {
        let carry = carrier(&provider);
        let (confidential, public) = (provider.confidential("crm", "read write"), provider.public("mobile", "read write"));
        let rows: [(&App, AuthType); 3] =
            [(&confidential, AuthType::BasicAuth), (&confidential, AuthType::RequestBody), (&public, AuthType::RequestBody)];
        for (app, auth_type) in rows {
            let mut client = BasicClient::new(ClientId::new(app.id.clone()))
                .set_auth_type(auth_type)
                .set_auth_uri(AuthUrl::new(at("/oauth/authorize")).expect("a URL"))
                .set_token_uri(TokenUrl::new(at("/oauth/token")).expect("a URL"))
                .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).expect("a URL"))
                .set_revocation_url(RevocationUrl::new(at("/oauth/revoke")).expect("a URL"))
                .set_introspection_url(IntrospectionUrl::new(at("/oauth/introspect")).expect("a URL"));
            if let Some(secret) = &app.secret {
                client = client.set_client_secret(ClientSecret::new(secret.clone()));
            }
            let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
            let scopes = ["read", "write"].map(|scope| Scope::new(scope.to_owned()));
            let (link, state) = client.authorize_url(CsrfToken::new_random).add_scopes(scopes.clone()).set_pkce_challenge(challenge).url();
            let (code, came_back) = consented(&provider, link.as_str());
            assert_eq!(&came_back, state.secret());

            let tokens = client.exchange_code(code.clone()).set_pkce_verifier(verifier).request(&carry).expect("tokens");
            keep(&provider, tokens.access_token(), tokens.refresh_token());
            assert_eq!(tokens.token_type().as_ref(), "bearer");
            assert_eq!(tokens.expires_in().map(|time| time.as_secs()), Some(3600));
            assert_eq!(tokens.scopes().map(Vec::as_slice), Some(&scopes[..]));
            assert!(lives(&provider, tokens.access_token().secret()));

            let narrow = client.exchange_refresh_token(tokens.refresh_token().expect("one")).add_scope(Scope::new("read".to_owned()));
            let second = narrow.request(&carry).expect("tokens");
            keep(&provider, second.access_token(), second.refresh_token());
            assert_eq!(second.scopes().map(Vec::as_slice), Some(&scopes[..1]));

            if app.secret.is_some() {
                let told = client.introspect(second.access_token()).request(&carry).expect("an answer");
                assert_eq!((told.active(), told.username(), told.client_id().map(|id| id.as_str())), (true, Some(USER), Some("crm")));
            }
            let given_back = StandardRevocableToken::from(second.access_token().clone());
            client.revoke_token(given_back).expect("https").request(&carry).expect("revoked");
            assert!(!lives(&provider, second.access_token().secret()));
            let given_back = StandardRevocableToken::from(second.refresh_token().expect("one").clone());
            client.revoke_token(given_back).expect("https").request(&carry).expect("revoked");
            assert!(!lives(&provider, tokens.access_token().secret()));

            // What the gate refuses, the library reads as it should.
            match client.exchange_code(code).request(&carry) {
                Err(RequestTokenError::ServerResponse(told)) => assert_eq!(told.error(), &BasicErrorResponseType::InvalidGrant),
                other => panic!("a code twice: {other:?}"),
            }
        }

        let own = server(&provider, "etl");
        let client = BasicClient::new(ClientId::new(own.id.clone()))
            .set_client_secret(ClientSecret::new(secret(&own).to_owned()))
            .set_token_uri(TokenUrl::new(at("/oauth/token")).expect("a URL"));
        let tokens = client.exchange_client_credentials().add_scope(Scope::new("read".to_owned())).request(&carry).expect("a token");
        keep(&provider, tokens.access_token(), tokens.refresh_token());
        assert!(tokens.refresh_token().is_none());
        match client.exchange_client_credentials().add_scope(Scope::new("delete".to_owned())).request(&carry) {
            Err(RequestTokenError::ServerResponse(told)) => assert_eq!(told.error(), &BasicErrorResponseType::InvalidScope),
            other => panic!("a scope beyond its own: {other:?}"),
        }
    });
}

#[test]
fn the_openidconnect_library_signs_a_user_in_from_discovery_on() {
    Provider::on_each(|provider| {
        let carry = carrier(&provider);
        let app = provider.confidential("crm", "read openid profile email");
        let issuer = IssuerUrl::new(ISSUER.to_owned()).expect("a URL");
        // It reads the document and the keys, and holds the issuer in it against the one that was asked.
        let metadata = CoreProviderMetadata::discover(&issuer, &carry).expect("the document");
        let client =
            CoreClient::from_provider_metadata(metadata, ClientId::new(app.id.clone()), Some(ClientSecret::new(secret(&app).to_owned())))
                .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned()).expect("a URL"));
        let (challenge, pkce) = PkceCodeChallenge::new_random_sha256();
        let (link, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(["read", "profile", "email"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let (code, came_back) = consented(&provider, link.as_str());
        assert_eq!(&came_back, state.secret());

        let tokens = client.exchange_code(code).expect("an endpoint").set_pkce_verifier(pkce).request(&carry).expect("tokens");
        keep(&provider, tokens.access_token(), tokens.refresh_token());
        let id_token = tokens.id_token().expect("an id token");
        provider.gate.keep_secret(&id_token.to_string());
        let verifier = client.id_token_verifier();
        let claims = id_token.claims(&verifier, &nonce).expect("signature, issuer, audience, time and nonce are good");
        assert_eq!((claims.subject().as_str(), claims.email().map(|email| email.as_str())), (USER, Some(USER)));
        assert!(claims.auth_time().is_some() && claims.name().is_some());
        let bound = AccessTokenHash::from_token(
            tokens.access_token(),
            id_token.signing_alg().expect("an algorithm"),
            id_token.signing_key(&verifier).expect("a key"),
        );
        assert_eq!(claims.access_token_hash(), Some(&bound.expect("a hash")));
        assert!(id_token.claims(&verifier, &Nonce::new("another".to_owned())).is_err(), "it does look at the nonce");

        let subject = Some(claims.subject().clone());
        let userinfo: CoreUserInfoClaims =
            client.user_info(tokens.access_token().clone(), subject).expect("an endpoint").request(&carry).expect("an answer");
        assert_eq!((userinfo.subject(), userinfo.email()), (claims.subject(), claims.email()));
        let refreshed =
            client.exchange_refresh_token(tokens.refresh_token().expect("one")).expect("an endpoint").request(&carry).expect("tokens");
        keep(&provider, refreshed.access_token(), refreshed.refresh_token());
        assert!(lives(&provider, refreshed.access_token().secret()));
    });
}
