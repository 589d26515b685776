//! What is said of a user: in an id token (OpenID Connect Core 1.0 section 2), by the userinfo endpoint and by introspection.

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use crate::oauth::records::Profile;
use crate::policy::scope::Scopes;
use crate::policy::time::Timestamp;

/// Seconds for which an id token may be presented; that of Frappe's (T21).
pub const ID_TOKEN_LIFETIME: u64 = 3600;

/// Which of a user's particulars are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub profile: bool,
    pub email: bool,
}

impl Told {
    /// Within an id token: what was asked for by its own name (section 5.4).
    pub fn in_id_token(scopes: &Scopes) -> Self {
        Self { profile: has(scopes, "profile"), email: has(scopes, "email") }
    }

    /// By userinfo and introspection. Frappe's clients know no `profile` and no `email`: they read both with `openid` or `all` (T41, T42).
    pub fn by_userinfo(scopes: &Scopes) -> Self {
        let frappe = scopes.all() || has(scopes, "openid");
        Self { profile: frappe || has(scopes, "profile"), email: frappe || has(scopes, "email") }
    }
}

/// Whether `openid` is among them.
pub fn is_openid(scopes: &Scopes) -> bool {
    has(scopes, "openid")
}

fn has(scopes: &Scopes, name: &str) -> bool {
    scopes.words().any(|word| word == name)
}

/// What is told of a user besides who it is (section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Particulars<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<&'a str>,
}

impl<'a> Particulars<'a> {
    /// Those of `user`. Its id is its e-mail address in all but a few of Frappe's users (`Administrator`).
    pub fn of(user: &'a str, profile: &'a Profile, told: Told) -> Self {
        let by_profile = |value: &'a Option<String>| value.as_deref().filter(|_| told.profile);
        let email = profile.email.as_deref().or_else(|| Some(user).filter(|user| user.contains('@')));
        Self {
            name: by_profile(&profile.name),
            given_name: by_profile(&profile.given_name),
            family_name: by_profile(&profile.family_name),
            email: email.filter(|_| told.email),
            picture: by_profile(&profile.picture),
        }
    }
}

/// The claims of an id token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdToken<'a> {
    pub iss: &'a str,
    pub sub: &'a str,
    pub aud: &'a str,
    pub exp: Timestamp,
    pub iat: Timestamp,
    /// When the user signed in.
    pub auth_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
    pub at_hash: String,
    #[serde(flatten)]
    pub particulars: Particulars<'a>,
}

/// Binds an id token to the access token that comes with it (section 3.1.3.6): half of its SHA-256.
pub fn at_hash(access_token: &str) -> String {
    BASE64URL_NOPAD.encode(&digest::digest(&digest::SHA256, access_token.as_bytes()).as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).expect("scopes")
    }

    fn sam() -> Profile {
        Profile {
            name: Some("Sam Fake".into()),
            given_name: Some("Sam".into()),
            family_name: Some("Fake".into()),
            email: Some("sam@other.example".into()),
            picture: Some("https://erp.example.com/sam.png".into()),
        }
    }

    #[test]
    fn what_is_told_depends_on_the_scopes() {
        let told = |profile, email| Told { profile, email };
        let rows = [
            ("", told(false, false), told(false, false)),
            ("read write", told(false, false), told(false, false)),
            ("openid", told(false, false), told(true, true)),
            ("all", told(false, false), told(true, true)),
            ("all openid", told(false, false), told(true, true)),
            ("openid profile", told(true, false), told(true, true)),
            ("openid email", told(false, true), told(true, true)),
            ("profile", told(true, false), told(true, false)),
            ("email", told(false, true), told(false, true)),
            ("read:profile call:email", told(false, false), told(false, false)),
        ];
        for (text, id_token, userinfo) in rows {
            assert_eq!(Told::in_id_token(&scopes(text)), id_token, "{text}");
            assert_eq!(Told::by_userinfo(&scopes(text)), userinfo, "{text}");
        }
    }

    #[test]
    fn an_address_is_that_of_the_profile_or_else_the_user_if_it_is_one() {
        let (none, all) = (Profile::default(), Told { profile: true, email: true });
        assert_eq!(Particulars::of("sam@example.com", &none, all).email, Some("sam@example.com"));
        assert_eq!(Particulars::of("Administrator", &none, all), Particulars::default());
        assert_eq!(Particulars::of("sam@example.com", &sam(), all).email, Some("sam@other.example"));
        let nothing = Told { profile: false, email: false };
        assert_eq!(Particulars::of("sam@example.com", &sam(), nothing), Particulars::default());
    }

    #[test]
    fn the_claims_read_as_they_should() {
        let profile = sam();
        let claims = IdToken {
            iss: "https://erp.example.com",
            sub: "sam@example.com",
            aud: "crm",
            exp: Timestamp::from_unix(4600),
            iat: Timestamp::from_unix(1000),
            auth_time: Timestamp::from_unix(900),
            nonce: None,
            at_hash: at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            particulars: Particulars::of("sam@example.com", &profile, Told { profile: false, email: true }),
        };
        let expected = json!({
            "iss": "https://erp.example.com", "sub": "sam@example.com", "aud": "crm", "exp": 4600, "iat": 1000, "auth_time": 900,
            // The example of OpenID Connect Core 1.0, appendix A.3.
            "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
            "email": "sam@other.example",
        });
        assert_eq!(serde_json::to_value(&claims).expect("JSON"), expected);
        let claims = IdToken { nonce: Some("n-0S6"), ..claims };
        assert_eq!(serde_json::to_value(&claims).expect("JSON")["nonce"], "n-0S6");
    }
}
