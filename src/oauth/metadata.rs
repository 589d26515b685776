//! What clients may read about a site's endpoints: RFC 8414 and OpenID Connect Discovery 1.0 in one document, and RFC 9728.

use serde_json::{Map, Value, json};

use crate::oauth::client::GrantType;

/// What there is at a site.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The issuer, without a slash at its end.
    pub url: &'a str,
    /// What a person calls the site.
    pub name: &'a str,
    /// Whether users can sign in, so that there are codes.
    pub sign_in: bool,
    /// Whether there is a key to sign id tokens with.
    pub openid: bool,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// Whether a client may be described by a document at its id.
    pub documents: bool,
    /// The operator's own names for scopes.
    pub named_scopes: &'a [&'a str],
}

/// How a client may prove who it is.
const AUTHENTICATION: [&str; 3] = ["client_secret_basic", "client_secret_post", "none"];

impl Offer<'_> {
    fn scopes(&self) -> Vec<&str> {
        let identity = if self.openid { &["openid", "profile", "email"][..] } else { &[] };
        ["read", "write", "delete", "all"].iter().chain(identity).copied().chain(self.named_scopes.iter().copied()).collect()
    }

    /// The authorization server (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3). What is not there is not named.
    pub fn server(&self) -> Value {
        let at = |path: &str| Value::from([self.url, path].concat());
        let mut document = Map::new();
        let mut say = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
        say("issuer", self.url.into());
        if self.sign_in {
            say("authorization_endpoint", at("/oauth/authorize"));
        }
        say("token_endpoint", at("/oauth/token"));
        say("userinfo_endpoint", at("/oauth/userinfo"));
        say("revocation_endpoint", at("/oauth/revoke"));
        say("introspection_endpoint", at("/oauth/introspect"));
        if self.openid {
            say("jwks_uri", at("/oauth/jwks"));
        }
        if self.registration {
            say("registration_endpoint", at("/oauth/register"));
        }
        say("scopes_supported", json!(self.scopes()));
        let grants: &[GrantType] = if self.sign_in { &GrantType::ALL } else { &[GrantType::ClientCredentials] };
        say("response_types_supported", if self.sign_in { json!(["code"]) } else { json!([]) });
        if self.sign_in {
            say("response_modes_supported", json!(["query"]));
            say("code_challenge_methods_supported", json!(["S256"]));
            say("authorization_response_iss_parameter_supported", true.into());
        }
        say("grant_types_supported", grants.iter().map(|grant| grant.as_str()).collect());
        say("token_endpoint_auth_methods_supported", json!(AUTHENTICATION));
        say("revocation_endpoint_auth_methods_supported", json!(AUTHENTICATION));
        // Introspection takes no public clients.
        say("introspection_endpoint_auth_methods_supported", json!(AUTHENTICATION[..2]));
        if self.documents {
            say("client_id_metadata_document_supported", true.into());
        }
        if self.openid {
            say("subject_types_supported", json!(["public"]));
            say("id_token_signing_alg_values_supported", json!(["RS256"]));
            say(
                "claims_supported",
                json!([
                    "iss",
                    "sub",
                    "aud",
                    "exp",
                    "iat",
                    "auth_time",
                    "nonce",
                    "at_hash",
                    "name",
                    "given_name",
                    "family_name",
                    "email",
                    "picture"
                ]),
            );
            say("request_parameter_supported", false.into());
            // Its default is true.
            say("request_uri_parameter_supported", false.into());
        }
        Value::Object(document)
    }

    /// The API as a resource (RFC 9728 section 2).
    pub fn resource(&self) -> Value {
        json!({
            "resource": self.url,
            "authorization_servers": [self.url],
            "scopes_supported": self.scopes(),
            "bearer_methods_supported": ["header"],
            "resource_name": self.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Offer<'_> = Offer {
        url: "https://erp.example.com",
        name: "erp.example.com",
        sign_in: true,
        openid: true,
        registration: true,
        documents: true,
        named_scopes: &["crm"],
    };

    #[test]
    fn everything_that_there_is() {
        let expected = json!({
            "issuer": "https://erp.example.com",
            "authorization_endpoint": "https://erp.example.com/oauth/authorize",
            "token_endpoint": "https://erp.example.com/oauth/token",
            "userinfo_endpoint": "https://erp.example.com/oauth/userinfo",
            "revocation_endpoint": "https://erp.example.com/oauth/revoke",
            "introspection_endpoint": "https://erp.example.com/oauth/introspect",
            "jwks_uri": "https://erp.example.com/oauth/jwks",
            "registration_endpoint": "https://erp.example.com/oauth/register",
            "scopes_supported": ["read", "write", "delete", "all", "openid", "profile", "email", "crm"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "client_id_metadata_document_supported": true,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "name", "given_name", "family_name", "email", "picture"
            ],
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        });
        assert_eq!(FULL.server(), expected);
    }

    #[test]
    fn what_is_not_there_is_not_named() {
        let bare = Offer { sign_in: false, openid: false, registration: false, documents: false, named_scopes: &[], ..FULL }.server();
        for name in [
            "authorization_endpoint",
            "jwks_uri",
            "registration_endpoint",
            "response_modes_supported",
            "code_challenge_methods_supported",
            "authorization_response_iss_parameter_supported",
            "client_id_metadata_document_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
            "claims_supported",
        ] {
            assert_eq!(bare.get(name), None, "{name}");
        }
        // RFC 8414 section 2: required, even if it is empty.
        assert_eq!(bare["response_types_supported"], json!([]));
        assert_eq!(bare["grant_types_supported"], json!(["client_credentials"]));
        assert_eq!(bare["scopes_supported"], json!(["read", "write", "delete", "all"]));
    }

    #[test]
    fn the_resource_names_its_server() {
        let expected = json!({
            "resource": "https://erp.example.com",
            "authorization_servers": ["https://erp.example.com"],
            "scopes_supported": ["read", "write", "delete", "all", "openid", "profile", "email", "crm"],
            "bearer_methods_supported": ["header"],
            "resource_name": "erp.example.com",
        });
        assert_eq!(FULL.resource(), expected);
    }
}
