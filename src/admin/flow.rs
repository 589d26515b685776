//! What a client has for coming by tokens itself: redirect URIs, grant types, origins, and how they fit together.
//!
//! Each part is checked where it is given, and the whole client before it is kept, because one part may be wrong only beside another.

use crate::admin::error::{AdminError, Code};
use crate::admin::scopes;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::origin;
use crate::oauth::redirect;
use crate::policy::coverage::Meanings;

/// Redirect URIs of one client: one for each of its platforms and stages, and room. As many of the longest fit into a record.
const REDIRECT_URIS_MAX: usize = 16;

/// Origins of one client.
const ORIGINS_MAX: usize = 16;

/// What a client gets that has redirect URIs and says nothing of grant types.
const BROWSER_FLOW: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

pub fn redirect_uris(given: &[String]) -> Result<Vec<String>, AdminError> {
    let wrong = |message| AdminError::new(Code::RedirectUriInvalid, message);
    if given.len() > REDIRECT_URIS_MAX {
        return Err(wrong(format!("a client has {REDIRECT_URIS_MAX} redirect URIs at most; register another client for the rest")));
    }
    for (at, uri) in given.iter().enumerate() {
        redirect::check(uri).map_err(|problem| {
            wrong(format!("the redirect URI `{}` {problem}; write it like https://app.example.com/callback", shown(uri)))
        })?;
        if given[..at].contains(uri) {
            return Err(wrong(format!("the redirect URI `{uri}` is there twice; give it once")));
        }
    }
    Ok(given.to_vec())
}

pub fn grant_types(given: &[GrantType]) -> Result<Vec<GrantType>, AdminError> {
    for (at, one) in given.iter().enumerate() {
        if given[..at].contains(one) {
            return Err(AdminError::new(Code::GrantTypeInvalid, format!("the grant type `{}` is there twice; give it once", one.as_str())));
        }
    }
    Ok(given.to_vec())
}

pub fn origins(given: &[String]) -> Result<Vec<String>, AdminError> {
    let wrong = |message| AdminError::new(Code::OriginInvalid, message);
    if given.len() > ORIGINS_MAX {
        return Err(wrong(format!("a client has {ORIGINS_MAX} origins at most; write the others into cors_origins of the site")));
    }
    for (at, one) in given.iter().enumerate() {
        origin::check(one).map_err(wrong)?;
        if given[..at].contains(one) {
            return Err(wrong(format!("the origin `{one}` is there twice; give it once")));
        }
    }
    Ok(given.to_vec())
}

/// Gives a client with redirect URIs and no grant type those that they are for.
pub fn fill_grant_types(client: &mut Client) {
    if client.grant_types.is_empty() && !client.redirect_uris.is_empty() {
        client.grant_types = BROWSER_FLOW.to_vec();
    }
}

/// Whether the parts of a client fit together.
pub fn check(client: &Client, meanings: &Meanings) -> Result<(), AdminError> {
    let wrong = |code, message: &str| Err(AdminError::new(code, message));
    if client.may(GrantType::AuthorizationCode) && client.redirect_uris.is_empty() {
        return wrong(
            Code::GrantTypeInvalid,
            "authorization_code sends a browser back to the app; say where with --redirect-uri https://app.example.com/callback",
        );
    }
    if client.may(GrantType::RefreshToken) && !client.may(GrantType::AuthorizationCode) {
        return wrong(
            Code::GrantTypeInvalid,
            "refresh_token renews what a code gave, so it needs authorization_code as well; client_credentials asks anew instead \
             (RFC 6749 section 4.4.3)",
        );
    }
    if client.may(GrantType::ClientCredentials) && client.public() {
        return wrong(
            Code::GrantTypeInvalid,
            "client_credentials is for clients with a secret (RFC 6749 section 4.4), and this one is public; leave it out, or create a client \
             without --public",
        );
    }
    if client.user.is_some() && !client.may(GrantType::ClientCredentials) {
        return wrong(
            Code::UserInvalid,
            "a client speaks for a user of its own with client_credentials only; give it that --grant-type as well, or leave the user out \
             (--no-user)",
        );
    }
    // RFC 8252 section 8.6: any program of the machine may be behind such a URI and call itself this client, so a person has to look.
    let anyone = client.redirect_uris.iter().find(|uri| client.public() && !uri.starts_with("https://"));
    if let (true, Some(uri)) = (client.skip_consent, anyone) {
        let message = format!(
            "a public client that comes back to `{uri}` may be any program on the user's machine, so its users have to be asked; leave out \
             --skip-consent, or give it https redirect URIs only"
        );
        return Err(AdminError::new(Code::ClientInvalid, message));
    }
    if let Some(defaults) = &client.default_scopes {
        scopes::check_within(defaults, &client.scopes, &client.id, meanings)
            .map_err(|error| AdminError { message: format!("the default scopes do not fit: {}", error.message), ..error })?;
    }
    Ok(())
}

/// Text that turned out to be no URI, short and harmless enough for a message.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 200;
    let start: String = text.chars().take(SHOWN_MAX).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::scope::Scopes;
    use crate::policy::time::Timestamp;
    use crate::policy::token::TokenHash;

    fn client(public: bool, uris: &[&str], types: &[GrantType]) -> Client {
        Client {
            secret: (!public).then(|| TokenHash::of(b"secret")),
            redirect_uris: uris.iter().map(|&uri| uri.to_owned()).collect(),
            grant_types: types.to_vec(),
            ..Client::new("app", "App", Scopes::parse("read write:lead").expect("scopes"), Timestamp::from_unix(1))
        }
    }

    #[test]
    fn the_parts_of_a_client_fit_together() {
        use GrantType::{AuthorizationCode, ClientCredentials, RefreshToken};
        const URI: &[&str] = &["https://a.example/cb"];
        let user = |client| Client { user: Some("etl@example.com".into()), ..client };
        let trusted = |client| Client { skip_consent: true, ..client };
        let defaults = |scopes| Client { default_scopes: Scopes::parse(scopes).ok(), ..client(false, &[], &[]) };
        for (client, refused) in [
            (client(false, &[], &[]), None),
            (client(true, URI, &[AuthorizationCode, RefreshToken]), None),
            (client(true, URI, &[AuthorizationCode]), None),
            (client(false, &[], &[ClientCredentials]), None),
            (client(false, URI, &GrantType::ALL), None),
            (user(client(false, &[], &[ClientCredentials])), None),
            (trusted(client(true, URI, &BROWSER_FLOW)), None),
            (trusted(client(false, &["http://127.0.0.1/cb"], &BROWSER_FLOW)), None),
            (defaults("read:lead write:lead"), None),
            (client(false, &[], &[AuthorizationCode]), Some(Code::GrantTypeInvalid)),
            (client(false, &[], &[RefreshToken]), Some(Code::GrantTypeInvalid)),
            (client(false, URI, &[RefreshToken, ClientCredentials]), Some(Code::GrantTypeInvalid)),
            (client(true, &[], &[ClientCredentials]), Some(Code::GrantTypeInvalid)),
            (client(true, URI, &GrantType::ALL), Some(Code::GrantTypeInvalid)),
            (user(client(false, URI, &BROWSER_FLOW)), Some(Code::UserInvalid)),
            (user(client(false, &[], &[])), Some(Code::UserInvalid)),
            (trusted(client(true, &["https://a.example/cb", "http://127.0.0.1/cb"], &BROWSER_FLOW)), Some(Code::ClientInvalid)),
            (trusted(client(true, &["com.example.app:/cb"], &BROWSER_FLOW)), Some(Code::ClientInvalid)),
            (defaults("read write"), Some(Code::ScopeTooWide)),
            (defaults("delete:lead"), Some(Code::ScopeTooWide)),
        ] {
            assert_eq!(check(&client, &Meanings::new()).err().map(|error| error.code), refused, "{client:?}");
        }
    }

    #[test]
    fn what_is_given_is_checked_one_by_one() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let many = |form: &str| (0..17).map(|number| form.replace('#', &number.to_string())).collect::<Vec<_>>();
        for uris in [
            texts(&[""]),
            texts(&["https://a.example/cb", "http://a.example/cb"]),
            texts(&["https://a.example/cb#x"]),
            texts(&["https://*.example/cb"]),
            texts(&["javascript:alert(1)"]),
            texts(&["https://a.example/cb", "https://a.example/cb"]),
            many("https://a.example/#"),
        ] {
            assert_eq!(redirect_uris(&uris).expect_err("refused").code, Code::RedirectUriInvalid, "{uris:?}");
        }
        for given in
            [texts(&["*"]), texts(&["null"]), texts(&["https://a.example/"]), texts(&["https://a.example"; 2]), many("https://a#.example")]
        {
            assert_eq!(origins(&given).expect_err("refused").code, Code::OriginInvalid, "{given:?}");
        }
        assert_eq!(grant_types(&[GrantType::RefreshToken; 2]).expect_err("twice").code, Code::GrantTypeInvalid);
        let long = redirect_uris(&texts(&[&"x\u{1b}".repeat(3000)])).expect_err("no URI").message;
        assert!(long.len() < 3000 && !long.contains('\u{1b}'), "{long}");
        assert_eq!(redirect_uris(&many("https://a.example/#")[..16]).expect("as many as may be").len(), 16);
    }
}
