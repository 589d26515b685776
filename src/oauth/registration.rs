//! What a client that registers itself may say of itself (RFC 7591 section 2). Members that are not read are ignored, as it asks.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::oauth::client::{Client, GrantType};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::{redirect, scopes};
use crate::policy::coverage::Meanings;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;

/// Redirect URIs of one client.
const REDIRECT_URIS_MAX: usize = 16;

/// The longest name, in characters: Frappe's own for the name of a document.
const NAME_MAX: usize = 140;

/// How a client will prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    Basic,
    Post,
    /// It is public.
    None,
}

impl Authentication {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
        }
    }
}

/// What may be registered: the client without its id and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub name: String,
    pub redirect_uris: Vec<String>,
    pub grant_types: Vec<GrantType>,
    pub authentication: Authentication,
    pub scopes: Scopes,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
    scope: Option<String>,
}

impl Registration {
    /// Reads the body of a request. `allowed` is what a client that registered itself may have at most.
    pub fn read(body: &[u8], allowed: &Scopes, meanings: &Meanings) -> Result<Self, OAuthError> {
        let written: Written = serde_json::from_slice(body)
            .map_err(|_| refused("the body is no JSON object, or a member of it is not of the type that RFC 7591 says"))?;
        let redirect_uris = redirect_uris(written.redirect_uris)?;
        let authentication = match written.token_endpoint_auth_method.as_deref() {
            // Section 2: what is left out is this.
            None | Some("client_secret_basic") => Authentication::Basic,
            Some("client_secret_post") => Authentication::Post,
            Some("none") => Authentication::None,
            Some(_) => {
                return Err(refused("token_endpoint_auth_method must be client_secret_basic, client_secret_post or none"));
            }
        };
        let grant_types = grant_types(written.grant_types)?;
        if written.response_types.is_some_and(|types| types != ["code"]) {
            return Err(refused("response_types must be code alone"));
        }
        let name = match written.client_name {
            Some(name) => name_of(&name)?,
            // Whoever is asked for consent sees at least where the answer goes.
            None => redirect::form_target(&redirect_uris[0]).unwrap_or_default(),
        };
        let scopes = scopes_of(written.scope.as_deref(), allowed, meanings)?;
        Ok(Self { name, redirect_uris, grant_types, authentication, scopes })
    }

    /// The client, still without a secret. It never skips the question to the user.
    ///
    /// A public client whose answers go to web pages is such a page, or one beside it: they may call the endpoints.
    pub fn client(self, id: &str, now: Timestamp) -> Client {
        let mut origins = Vec::new();
        if self.authentication == Authentication::None {
            let pages = self.redirect_uris.iter().filter_map(|uri| redirect::form_target(uri));
            origins.extend(pages.filter(|target| target.starts_with("https://") || target.starts_with("http://")));
            origins.sort_unstable();
            origins.dedup();
        }
        Client {
            redirect_uris: self.redirect_uris,
            grant_types: self.grant_types,
            origins,
            self_registered: true,
            ..Client::new(id, &self.name, self.scopes, now)
        }
    }
}

/// What is answered (section 3.2.1): the id, the secret if there is one, and everything as it was registered.
pub fn answer(client: &Client, authentication: Authentication, secret: Option<&str>) -> Value {
    let mut answer = Map::new();
    let mut say = |name: &str, value: Value| drop(answer.insert(name.to_owned(), value));
    say("client_id", client.public_id().into());
    say("client_id_issued_at", client.created.unix().into());
    if let Some(secret) = secret {
        say("client_secret", secret.into());
        // It does not end by itself.
        say("client_secret_expires_at", 0.into());
    }
    say("client_name", client.name.as_str().into());
    say("redirect_uris", json!(client.redirect_uris));
    say("grant_types", client.grant_types.iter().map(|grant| grant.as_str()).collect());
    say("response_types", json!(["code"]));
    say("token_endpoint_auth_method", authentication.as_str().into());
    say("scope", client.scopes.as_str().into());
    Value::Object(answer)
}

fn redirect_uris(uris: Vec<String>) -> Result<Vec<String>, OAuthError> {
    let refused = |why: String| OAuthError::new(ErrorCode::InvalidRedirectUri, why);
    if !(1..=REDIRECT_URIS_MAX).contains(&uris.len()) {
        return Err(refused(format!("redirect_uris must name 1 to {REDIRECT_URIS_MAX}")));
    }
    for uri in &uris {
        // Not in the sentence itself: what is wrong with it may quote characters that an error cannot have.
        redirect::check(uri).map_err(|why| refused(format!("a redirect URI {}", why.replace(['"', '\\'], "'"))))?;
    }
    Ok(uris)
}

fn grant_types(types: Option<Vec<String>>) -> Result<Vec<GrantType>, OAuthError> {
    let Some(types) = types else { return Ok(vec![GrantType::AuthorizationCode]) };
    let mut known = Vec::new();
    for name in &types {
        match GrantType::parse(name) {
            // Its tokens would speak for nobody that ever said yes.
            Some(GrantType::ClientCredentials) | None => {
                return Err(refused("grant_types may be authorization_code and refresh_token"));
            }
            Some(grant) if known.contains(&grant) => {}
            Some(grant) => known.push(grant),
        }
    }
    if !known.contains(&GrantType::AuthorizationCode) {
        return Err(refused("grant_types must have authorization_code"));
    }
    Ok(known)
}

fn name_of(text: &str) -> Result<String, OAuthError> {
    // Marks that turn the direction of what follows could make a name read as another one.
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_MAX || text.chars().any(|letter| letter.is_control() || turns(letter)) {
        return Err(refused(format!("client_name must be 1 to {NAME_MAX} characters on one line")));
    }
    Ok(text.to_owned())
}

fn scopes_of(scope: Option<&str>, allowed: &Scopes, meanings: &Meanings) -> Result<Scopes, OAuthError> {
    let Some(scope) = scope.filter(|scope| !scope.trim().is_empty()) else { return Ok(allowed.clone()) };
    let asked = Scopes::parse(scope).map_err(|_| refused("scope has a word that is not a scope here"))?;
    if scopes::is_within(&asked, allowed, meanings) {
        Ok(asked)
    } else {
        Err(refused(format!("scope goes beyond what a client may register here: {allowed}")))
    }
}

fn refused(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).expect("scopes")
    }

    fn read(body: &Value) -> Result<Registration, OAuthError> {
        Registration::read(body.to_string().as_bytes(), &scopes("read write:lead openid"), &Meanings::default())
    }

    const URI: &str = "https://app.example.com/cb";

    #[test]
    fn what_is_left_out_has_its_default() {
        let least = read(&json!({"redirect_uris": [URI]})).expect("the least");
        let expected = Registration {
            name: "https://app.example.com".into(),
            redirect_uris: vec![URI.into()],
            grant_types: vec![GrantType::AuthorizationCode],
            authentication: Authentication::Basic,
            scopes: scopes("read write:lead openid"),
        };
        assert_eq!(least, expected);
        let client = least.client("abc", Timestamp::from_unix(7));
        assert!(!client.vouched_for() && !client.skip_consent && client.enabled && client.origins.is_empty() && client.user.is_none());
    }

    #[test]
    fn what_is_said_is_registered() {
        let body = json!({
            "redirect_uris": [URI, "http://127.0.0.1/cb", "com.example.app:/cb"],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token", "refresh_token"],
            "response_types": ["code"],
            "client_name": " My app ",
            "scope": "read:lead openid",
            "skip_consent": true,
            "secret": "x",
            "user": "Administrator",
            "software_statement": {"any": "thing"},
        });
        let client = read(&body).expect("all of it").client("abc", Timestamp::from_unix(7));
        let expected = Client {
            redirect_uris: vec![URI.into(), "http://127.0.0.1/cb".into(), "com.example.app:/cb".into()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            origins: vec!["http://127.0.0.1".into(), "https://app.example.com".into()],
            self_registered: true,
            ..Client::new("abc", "My app", scopes("read:lead openid"), Timestamp::from_unix(7))
        };
        assert_eq!(client, expected);
        let told = json!({
            "client_id": "abc", "client_id_issued_at": 7, "client_name": "My app",
            "redirect_uris": [URI, "http://127.0.0.1/cb", "com.example.app:/cb"],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "scope": "read:lead openid",
        });
        assert_eq!(answer(&client, Authentication::None, None), told);
        let with_secret = answer(&client, Authentication::Post, Some("s"));
        assert_eq!((&with_secret["client_secret"], &with_secret["client_secret_expires_at"]), (&json!("s"), &json!(0)));
    }

    #[test]
    fn what_may_not_be_registered() {
        use ErrorCode::{InvalidClientMetadata as Metadata, InvalidRedirectUri as Uri};
        let many: Vec<_> = (0..=REDIRECT_URIS_MAX).map(|number| format!("{URI}/{number}")).collect();
        let rows = [
            (json!({}), Uri, "no redirect URI"),
            (json!({"redirect_uris": []}), Uri, "none"),
            (json!({"redirect_uris": many}), Uri, "too many"),
            (json!({"redirect_uris": [URI, "http://app.example.com/cb"]}), Uri, "plain HTTP"),
            (json!({"redirect_uris": ["javascript:alert(1)"]}), Uri, "a script"),
            (json!({"redirect_uris": ["https://*.example.com/"]}), Uri, "a pattern"),
            (json!({"redirect_uris": URI}), Metadata, "no list"),
            (json!({"redirect_uris": [7]}), Metadata, "a number"),
            (json!([]), Metadata, "no object"),
            (json!("x"), Metadata, "a text"),
            (json!({"redirect_uris": [URI], "token_endpoint_auth_method": "private_key_jwt"}), Metadata, "an assertion"),
            (json!({"redirect_uris": [URI], "token_endpoint_auth_method": ""}), Metadata, "no method"),
            (json!({"redirect_uris": [URI], "grant_types": ["authorization_code", "client_credentials"]}), Metadata, "a service account"),
            (json!({"redirect_uris": [URI], "grant_types": ["authorization_code", "implicit"]}), Metadata, "implicit"),
            (json!({"redirect_uris": [URI], "grant_types": ["password"]}), Metadata, "password"),
            (json!({"redirect_uris": [URI], "grant_types": ["refresh_token"]}), Metadata, "nothing to refresh"),
            (json!({"redirect_uris": [URI], "grant_types": []}), Metadata, "no grant"),
            (json!({"redirect_uris": [URI], "response_types": ["token"]}), Metadata, "tokens in URLs"),
            (json!({"redirect_uris": [URI], "response_types": ["code", "token"]}), Metadata, "tokens in URLs as well"),
            (json!({"redirect_uris": [URI], "response_types": []}), Metadata, "no response"),
            (json!({"redirect_uris": [URI], "client_name": ""}), Metadata, "no name"),
            (json!({"redirect_uris": [URI], "client_name": "a\nb"}), Metadata, "two lines"),
            (json!({"redirect_uris": [URI], "client_name": "a\u{202e}b"}), Metadata, "turned around"),
            (json!({"redirect_uris": [URI], "client_name": "a".repeat(NAME_MAX + 1)}), Metadata, "a long name"),
            (json!({"redirect_uris": [URI], "client_name": 7}), Metadata, "a number for a name"),
            (json!({"redirect_uris": [URI], "scope": "read delete"}), Metadata, "more than may be had"),
            (json!({"redirect_uris": [URI], "scope": "all"}), Metadata, "everything"),
            (json!({"redirect_uris": [URI], "scope": "read:"}), Metadata, "no scope"),
        ];
        for (body, code, why) in rows {
            let error = read(&body).expect_err(why);
            assert_eq!(error.code, code, "{why}");
            assert!(error.description.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'), "{why}: {error}");
        }
        for (text, why) in [("", "nothing"), ("{", "cut off"), (r#"{"redirect_uris":[],"redirect_uris":[]}"#, "one member twice")] {
            let error = Registration::read(text.as_bytes(), &scopes("read"), &Meanings::default()).expect_err(why);
            assert_eq!(error.code, Metadata, "{why}");
        }
    }
}
