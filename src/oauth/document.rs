//! What a client says of itself at the URL that is its `client_id` ("OAuth Client ID Metadata Document",
//! draft-ietf-oauth-client-id-metadata-document; the fields are RFC 7591's).
//!
//! Nobody vouches for such a document but whoever owns the URL's host, so a consent page shows that host, whatever the name says.
//! No secret can be agreed on with it: the client is public, and a document that claims otherwise is refused rather than taken for
//! less than its author thinks it is.

use std::fmt;

use crate::policy::json::Json;

/// A public client, as its document describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDocument {
    /// What a person calls the app; the URL's host where the document does not say.
    pub name: String,
    /// At least one.
    pub redirect_uris: Vec<String>,
    /// As written; `None` where the document does not say.
    pub scope: Option<String>,
    /// `authorization_code`, and `refresh_token` where the document asks for it.
    pub grant_types: Vec<String>,
}

/// Reads the document that was found at `url`. `check` is the rule for one redirect URI, and says what is wrong with it.
pub fn read(url: &str, json: &[u8], check: impl Fn(&str) -> Result<(), &'static str>) -> Result<ClientDocument, DocumentError> {
    // Keys that stand twice are refused by the parser.
    let document = Json::parse(json).map_err(DocumentError::NotJson)?;
    if document.as_object().is_none() {
        return Err(DocumentError::NotJson("not an object".to_owned()));
    }
    // Simple string comparison (RFC 3986 section 6.2.1): a document that was copied or redirected elsewhere is nobody's.
    if document.member("client_id").and_then(Json::as_text) != Some(url) {
        return Err(DocumentError::ClientId);
    }
    refuse_secrets(&document)?;
    let response_types = texts(&document, "response_types")?;
    if response_types.is_some_and(|types| !types.contains(&"code")) {
        return Err(DocumentError::Field("response_types", "does not have `code`"));
    }
    Ok(ClientDocument {
        name: name(&document, url)?,
        redirect_uris: redirect_uris(&document, check)?,
        scope: scope(&document)?,
        grant_types: grant_types(&document)?,
    })
}

/// The draft forbids whatever rests on a shared secret. `private_key_jwt` it allows, but the gate does not offer it.
fn refuse_secrets(document: &Json<'_>) -> Result<(), DocumentError> {
    for field in ["client_secret", "client_secret_expires_at"] {
        if document.member(field).is_some() {
            return Err(DocumentError::Field(field, "must not stand in a public document"));
        }
    }
    let method = text(document, "token_endpoint_auth_method")?;
    let why = match method {
        None | Some("none") => return Ok(()),
        Some("client_secret_basic" | "client_secret_post" | "client_secret_jwt") => "is a method with a shared secret; use `none` and PKCE",
        Some(_) => "is not supported; use `none` and PKCE",
    };
    Err(DocumentError::Field("token_endpoint_auth_method", why))
}

fn name(document: &Json<'_>, url: &str) -> Result<String, DocumentError> {
    let refuse = |why| Err(DocumentError::Field("client_name", why));
    let Some(name) = text(document, "client_name")? else { return Ok(host(url).to_owned()) };
    if name.chars().count() > NAME_CHARS_MAX {
        return refuse("is longer than 140 characters");
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return refuse("has characters that do not show as they are");
    }
    if name.trim().is_empty() {
        return refuse("is empty");
    }
    Ok(name.to_owned())
}

/// Turns the direction of text, breaks lines, or takes no room: the means by which one name is made to look like another. The joiners
/// U+200C and U+200D stay, since names in Persian and Hindi are written with them.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Without its port, since this one is for people.
fn host(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

fn redirect_uris(document: &Json<'_>, check: impl Fn(&str) -> Result<(), &'static str>) -> Result<Vec<String>, DocumentError> {
    let uris = texts(document, "redirect_uris")?.unwrap_or_default();
    if uris.is_empty() {
        return Err(DocumentError::Field("redirect_uris", "names none"));
    }
    if uris.len() > REDIRECT_URIS_MAX {
        return Err(DocumentError::Field("redirect_uris", "names more than 16"));
    }
    for (index, uri) in uris.iter().enumerate() {
        check(uri).map_err(|why| DocumentError::RedirectUri(index, why))?;
    }
    Ok(uris.into_iter().map(str::to_owned).collect())
}

fn scope(document: &Json<'_>) -> Result<Option<String>, DocumentError> {
    let scope = text(document, "scope")?;
    if scope.is_some_and(|scope| scope.len() > SCOPE_BYTES_MAX) {
        return Err(DocumentError::Field("scope", "is longer than 8192 bytes"));
    }
    Ok(scope.map(str::to_owned))
}

/// Those that a public client can have here; others are for other servers, as documents are written for all of them at once.
fn grant_types(document: &Json<'_>) -> Result<Vec<String>, DocumentError> {
    let Some(asked) = texts(document, "grant_types")? else { return Ok(vec![AUTHORIZATION_CODE.to_owned()]) };
    if !asked.contains(&AUTHORIZATION_CODE) {
        return Err(DocumentError::Field("grant_types", "does not have `authorization_code`"));
    }
    Ok([AUTHORIZATION_CODE, "refresh_token"].into_iter().filter(|kind| asked.contains(kind)).map(str::to_owned).collect())
}

/// The text of a field; `None` where it is missing or null.
fn text<'a>(document: &'a Json<'_>, field: &'static str) -> Result<Option<&'a str>, DocumentError> {
    match document.member(field) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_text().map(Some).ok_or(DocumentError::Field(field, "is not a text")),
    }
}

fn texts<'a>(document: &'a Json<'_>, field: &'static str) -> Result<Option<Vec<&'a str>>, DocumentError> {
    let wrong = DocumentError::Field(field, "is not a list of texts");
    match document.member(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => items.iter().map(Json::as_text).collect::<Option<_>>().map(Some).ok_or(wrong),
        Some(_) => Err(wrong),
    }
}

/// Why a document describes no client. It repeats nothing of the document, so a client's author may be shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    NotJson(String),
    ClientId,
    /// This field is wrong, in this way.
    Field(&'static str, &'static str),
    /// The redirect URI at this index, counted from 0.
    RedirectUri(usize, &'static str),
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(why) => write!(f, "the client's document is no JSON object: {why}"),
            Self::ClientId => f.write_str("`client_id` in the client's document is not the URL that it was fetched from"),
            Self::Field(field, why) => write!(f, "`{field}` in the client's document {why}"),
            Self::RedirectUri(index, why) => write!(f, "`redirect_uris[{index}]` in the client's document {why}"),
        }
    }
}

impl std::error::Error for DocumentError {}

const AUTHORIZATION_CODE: &str = "authorization_code";

/// Bounds; the messages above have the numbers once more.
const NAME_CHARS_MAX: usize = 140;
const REDIRECT_URIS_MAX: usize = 16;
const SCOPE_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://app.example:8443/client.json";

    fn check(uri: &str) -> Result<(), &'static str> {
        if uri.starts_with("https://") { Ok(()) } else { Err("is not `https`") }
    }

    /// A good document with these members besides.
    fn with(members: &str) -> String {
        format!(r#"{{"client_id":"{URL}","redirect_uris":["https://app.example/cb"]{members}}}"#)
    }

    fn read_here(json: &str) -> Result<ClientDocument, DocumentError> {
        read(URL, json.as_bytes(), check)
    }

    #[test]
    fn the_least_that_a_client_must_say() {
        let client = read_here(&with("")).expect("a client");
        assert_eq!(
            client,
            ClientDocument {
                name: "app.example".to_owned(),
                redirect_uris: vec!["https://app.example/cb".to_owned()],
                scope: None,
                grant_types: vec!["authorization_code".to_owned()],
            }
        );
    }

    #[test]
    fn all_that_it_may_say() {
        let json = r#"{
            "client_id": "https://app.example:8443/client.json", "client_name": "Anna’s Büro \u2014 MCP", "client_uri": "http://10.0.0.1/",
            "logo_uri": 7, "tos_uri": "x", "jwks_uri": "https://127.0.0.1/", "contacts": [{"a": 1}], "client_name#de": "x",
            "redirect_uris": ["https://app.example/a", "https://app.example/b"], "scope": "read write",
            "grant_types": ["refresh_token", "authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code", "token"], "token_endpoint_auth_method": "none"
        }"#;
        let client = read_here(json).expect("a client");
        assert_eq!(client.name, "Anna’s Büro — MCP");
        assert_eq!(client.redirect_uris, ["https://app.example/a", "https://app.example/b"]);
        assert_eq!(client.scope.as_deref(), Some("read write"));
        assert_eq!(client.grant_types, ["authorization_code", "refresh_token"]);
    }

    #[test]
    fn null_is_not_said() {
        let nulls = r#","client_name":null,"scope":null,"grant_types":null,"response_types":null,"token_endpoint_auth_method":null"#;
        assert_eq!(read_here(&with(nulls)), read_here(&with("")));
    }

    #[test]
    fn names_of_hosts() {
        for (url, host) in [("https://app.example/c", "app.example"), ("https://[fd00::1]/c", "[fd00::1]"), ("https://[::1]:8/c", "[::1]")]
        {
            let json = format!(r#"{{"client_id":"{url}","redirect_uris":["https://app.example/cb"]}}"#);
            assert_eq!(read(url, json.as_bytes(), check).expect(url).name, host);
        }
    }

    #[test]
    fn bounds_are_inside() {
        let name = "ü".repeat(140);
        let uris = vec![r#""https://app.example/cb""#; 16].join(",");
        let json = format!(r#"{{"client_id":"{URL}","client_name":"{name}","redirect_uris":[{uris}]}}"#);
        let client = read_here(&json).expect("at the bounds");
        assert_eq!((client.name.chars().count(), client.redirect_uris.len()), (140, 16));
    }

    #[test]
    fn documents_of_nobody() {
        let uris = |list: &str| format!(r#"{{"client_id":"{URL}","redirect_uris":{list}}}"#);
        let id = |id: &str| format!(r#"{{"client_id":{id},"redirect_uris":["https://app.example/cb"]}}"#);
        let named = |name: &str| with(&format!(r#","client_name":"{name}""#));
        let method = |method: &str| with(&format!(r#","token_endpoint_auth_method":{method}"#));
        let not_this = "is not the URL";
        for (json, why) in [
            (String::new(), "no JSON object"),
            ("<html>".to_owned(), "no JSON object"),
            ("[]".to_owned(), "not an object"),
            (r#""text""#.to_owned(), "not an object"),
            (format!("{}x", with("")), "no JSON object"),
            (format!("\u{feff}{}", with("")), "no JSON object"),
            (with(r#","x":NaN"#), "no JSON object"),
            (with(&format!(r#","x":{}{}"#, "[".repeat(500), "]".repeat(500))), "no JSON object"),
            (with(r#","client_id":"https://app.example:8443/client.json""#), "a key stands twice"),
            (with(r#","redirect_uris":["https://evil.example/"]"#), "a key stands twice"),
            (with(r#","redirect_\u0075ris":["https://evil.example/"]"#), "a key stands twice"),
            (with(r#","x":{"a":1,"a":2}"#), "a key stands twice"),
            ("{}".to_owned(), not_this),
            (id("null"), not_this),
            (id(r#"["https://app.example:8443/client.json"]"#), not_this),
            (id(r#""https://app.example:8443/client.json/""#), not_this),
            (id(r#""https://app.example:8443/Client.json""#), not_this),
            (id(r#""https://APP.example:8443/client.json""#), not_this),
            (id(r#""https://app.example/client.json""#), not_this),
            (id(r#""https://evil.example/client.json""#), not_this),
            (with(r#","client_secret":"s""#), "`client_secret` in"),
            (with(r#","client_secret":null"#), "`client_secret` in"),
            (with(r#","client_secret_expires_at":0"#), "`client_secret_expires_at` in"),
            (method(r#""client_secret_basic""#), "a shared secret"),
            (method(r#""client_secret_post""#), "a shared secret"),
            (method(r#""client_secret_jwt""#), "a shared secret"),
            (method(r#""private_key_jwt""#), "not supported"),
            (method(r#""tls_client_auth""#), "not supported"),
            (method(r#""None""#), "not supported"),
            (method(r#""""#), "not supported"),
            (method("false"), "is not a text"),
            (method(r#"["none"]"#), "is not a text"),
            (named(""), "is empty"),
            (named(" \u{a0} "), "is empty"),
            (named(&"a".repeat(141)), "longer than 140"),
            (named("a\\nb"), "do not show"),
            (named("a\\u0000b"), "do not show"),
            (named("a\\u001bb"), "do not show"),
            (named("a\u{85}b"), "do not show"),
            (named("a\u{202e}b"), "do not show"),
            (named("a\u{2066}b"), "do not show"),
            (named("a\u{200b}b"), "do not show"),
            (named("a\u{2028}b"), "do not show"),
            (named("\u{feff}a"), "do not show"),
            (named("a\u{e0041}"), "do not show"),
            (named("\u{3164}"), "do not show"),
            (with(r#","client_name":7"#), "is not a text"),
            (with(r#","client_name":["a"]"#), "is not a text"),
            (format!(r#"{{"client_id":"{URL}"}}"#), "names none"),
            (uris("[]"), "names none"),
            (uris("null"), "names none"),
            (uris(r#""https://app.example/cb""#), "not a list"),
            (uris(r#"{"0":"https://app.example/cb"}"#), "not a list"),
            (uris(r#"["https://app.example/cb",null]"#), "not a list"),
            (uris(&format!("[{}]", [r#""https://app.example/cb""#; 17].join(","))), "more than 16"),
            (uris(r#"["https://app.example/cb","javascript:alert(1)"]"#), "`redirect_uris[1]` in the client's document is not `https`"),
            (uris(r#"[""]"#), "`redirect_uris[0]`"),
            (with(r#","scope":["read"]"#), "`scope` in the client's document is not a text"),
            (with(&format!(r#","scope":"{}""#, "a".repeat(8193))), "longer than 8192"),
            (with(r#","grant_types":[]"#), "does not have `authorization_code`"),
            (with(r#","grant_types":["client_credentials"]"#), "does not have `authorization_code`"),
            (with(r#","grant_types":["refresh_token","implicit"]"#), "does not have `authorization_code`"),
            (with(r#","grant_types":"authorization_code""#), "not a list"),
            (with(r#","grant_types":["authorization_code",1]"#), "not a list"),
            (with(r#","response_types":[]"#), "does not have `code`"),
            (with(r#","response_types":["token"]"#), "does not have `code`"),
            (with(r#","response_types":["code token"]"#), "does not have `code`"),
            (with(r#","response_types":"code""#), "not a list"),
        ] {
            let error = read_here(&json).expect_err(&json).to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
        assert!(read(URL, b"{\"client_id\":\"\xff\"}", check).is_err(), "not UTF-8");
    }
}
