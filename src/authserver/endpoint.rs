//! Which OAuth endpoint a path names: Frappe's URLs and short ones, for the same handlers (DESIGN section 8).

/// An endpoint of the authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Asks for a user's consent; `approve`, Frappe's second step, is the same here, so that nobody comes past the question (T12b).
    Authorize,
    /// The answer to the question, by the consent page's form.
    Consent,
    /// Where Frappe sends the browser back to after the sign-in.
    Callback,
    Token,
    Revoke,
    Introspect,
    Userinfo,
    Register,
    Jwks,
    /// The page on which users see and withdraw what they let in.
    Grants,
    /// Ends the browser's session here: "not you?".
    SignOut,
    /// The style sheet of the pages.
    Style,
    /// RFC 8414 and OpenID Connect Discovery 1.0.
    Metadata,
    /// RFC 9728.
    ProtectedResource,
}

const FRAPPE: &str = "/api/method/frappe.integrations.oauth2.";

impl Endpoint {
    /// The endpoint at a raw path, exactly as it is published: every other spelling goes the way of all requests, where it is refused.
    pub fn of(path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix(FRAPPE) {
            return Some(match name.strip_suffix('/').unwrap_or(name) {
                "authorize" | "approve" => Self::Authorize,
                "get_token" => Self::Token,
                "revoke_token" => Self::Revoke,
                "introspect_token" => Self::Introspect,
                "openid_profile" => Self::Userinfo,
                "openid_configuration" => Self::Metadata,
                _ => return None,
            });
        }
        if let Some(name) = path.strip_prefix("/oauth/") {
            return Some(match name {
                "authorize" => Self::Authorize,
                "consent" => Self::Consent,
                "callback" => Self::Callback,
                "token" => Self::Token,
                "revoke" => Self::Revoke,
                "introspect" => Self::Introspect,
                "userinfo" => Self::Userinfo,
                "register" => Self::Register,
                "jwks" => Self::Jwks,
                "grants" => Self::Grants,
                "signout" => Self::SignOut,
                "style.css" => Self::Style,
                _ => return None,
            });
        }
        match path.strip_prefix("/.well-known/")? {
            "openid-configuration" | "oauth-authorization-server" => Some(Self::Metadata),
            "oauth-protected-resource" => Some(Self::ProtectedResource),
            _ => None,
        }
    }

    /// How audit lines and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "oauth_authorize",
            Self::Consent => "oauth_consent",
            Self::Callback => "oauth_callback",
            Self::Token => "oauth_token",
            Self::Revoke => "oauth_revoke",
            Self::Introspect => "oauth_introspect",
            Self::Userinfo => "oauth_userinfo",
            Self::Register => "oauth_register",
            Self::Jwks => "oauth_jwks",
            Self::Grants => "oauth_grants",
            Self::SignOut => "oauth_signout",
            Self::Style => "oauth_style",
            Self::Metadata => "oauth_metadata",
            Self::ProtectedResource => "oauth_protected_resource",
        }
    }

    /// Whether a browser's page shows the answer, so that a no is a page as well.
    pub const fn is_page(self) -> bool {
        matches!(self, Self::Authorize | Self::Consent | Self::Callback | Self::Grants | Self::SignOut)
    }

    /// Whether pages of other origins may call it: those that apps call themselves (not introspection, which needs a secret).
    pub const fn is_for_pages(self) -> bool {
        matches!(self, Self::Token | Self::Revoke | Self::Userinfo | Self::Register | Self::Jwks | Self::Metadata | Self::ProtectedResource)
    }

    /// The HTTP methods that it takes, as `Allow` tells them.
    pub const fn methods(self) -> &'static str {
        match self {
            // OpenID Connect Core 1.0 sections 3.1.2.1 and 5.3.1 want both.
            Self::Authorize | Self::Userinfo => "GET, POST",
            // FACTS section 3: Frappe's takes a query as well; a token in a query would be logged everywhere, so ours does not.
            Self::Token | Self::Revoke | Self::Introspect | Self::Register | Self::Consent | Self::SignOut => "POST",
            Self::Grants => "GET, POST",
            Self::Callback | Self::Jwks | Self::Style | Self::Metadata | Self::ProtectedResource => "GET",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_its_published_paths_and_no_other() {
        for path in
            ["/oauth/token", "/api/method/frappe.integrations.oauth2.get_token", "/api/method/frappe.integrations.oauth2.get_token/"]
        {
            assert_eq!(Endpoint::of(path), Some(Endpoint::Token), "{path}");
        }
        for path in [
            "",
            "/",
            "/oauth",
            "/oauth/",
            "/oauth/token/",
            "/oauth/Token",
            "/oauth//token",
            "/%6fauth/token",
            "/oauth/token%2f",
            "/api/v1/method/frappe.integrations.oauth2.get_token",
            "/api/method/frappe.integrations.oauth2.get_token/x",
            "/api/method/frappe.integrations.oauth2.Get_Token",
            "/api/method/frappe.integrations.oauth2.",
            "/.well-known/",
            "/.well-known/jwks.json",
        ] {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
    }
}
