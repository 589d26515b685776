//! What the site says of a person: `openid_profile`, the ID token, the discovery document.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::pocket::doctype::DocType;
use crate::pocket::document::{Document, children, text};
use crate::pocket::fault::Fault;
use crate::pocket::methods::{Answer, Call};
use crate::pocket::oauth::token::TOKEN_SECONDS;
use crate::pocket::reply::{Spacing, python_json};
use crate::pocket::site::Site;

/// Any token will do, `openid` or not (T42).
pub(in crate::pocket) fn openid_profile(call: &mut Call<'_>) -> Result<Answer, Fault> {
    Ok(Answer::body(StatusCode::OK, Value::Object(userinfo(call.site, call.user, &call.request.origin())?)))
}

/// T04. It promises more response types than `authorize` here has.
pub(in crate::pocket) fn openid_configuration(call: &mut Call<'_>) -> Result<Answer, Fault> {
    let origin = call.request.origin();
    let endpoint = |name: &str| format!("{origin}/api/method/frappe.integrations.oauth2.{name}");
    Ok(Answer::body(
        StatusCode::OK,
        json!({
            "issuer": origin,
            "authorization_endpoint": endpoint("authorize"),
            "token_endpoint": endpoint("get_token"),
            "userinfo_endpoint": endpoint("openid_profile"),
            "revocation_endpoint": endpoint("revoke_token"),
            "introspection_endpoint": endpoint("introspect_token"),
            "response_types_supported": ["code", "token", "code id_token", "code token id_token", "id_token", "id_token token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256"],
        }),
    ))
}

/// The pairwise id of a user, 39 digits. `Administrator` has none (T282).
pub(super) fn subject(user: &str) -> Option<String> {
    (user != "Administrator").then(|| {
        let mut id = HEXLOWER.encode(digest(&SHA256, user.to_lowercase().as_bytes()).as_ref());
        id.truncate(39);
        id
    })
}

pub(super) fn userinfo(site: &Site, user: &str, issuer: &str) -> Result<Map<String, Value>, Fault> {
    let row = site.find("User", user).ok_or_else(|| Fault::not_found("User", user))?;
    let column = |name| text(&row, name).filter(|value| !value.is_empty());
    let names: Vec<&str> = ["first_name", "last_name"].into_iter().filter_map(column).collect();
    let info = json!({
        "sub": subject(text(&row, "name").unwrap_or(user)),
        "name": names.join(" "),
        "given_name": column("first_name"),
        "family_name": column("last_name"),
        "email": column("email"),
        "picture": null,
        "roles": roles(&row),
        "iss": issuer,
    });
    Ok(if let Value::Object(info) = info { info } else { Map::new() })
}

/// Signed with the client's secret, which the client can read (T21, T504).
pub(super) fn id_token(client: &Document, access_token: &str, nonce: Option<&str>, userinfo: Map<String, Value>, now: Timestamp) -> String {
    let issued_at = now.as_second();
    let hash = digest(&SHA256, access_token.as_bytes());
    let half = &hash.as_ref()[..hash.as_ref().len() / 2];
    let mut claims = Map::new();
    claims.insert("aud".to_owned(), text(client, "client_id").into());
    claims.insert("iat".to_owned(), issued_at.into());
    if let Some(nonce) = nonce {
        claims.insert("nonce".to_owned(), nonce.into());
    }
    claims.insert("at_hash".to_owned(), BASE64URL_NOPAD.encode(half).into());
    claims.insert("exp".to_owned(), (issued_at + TOKEN_SECONDS).into());
    claims.insert("iss".to_owned(), userinfo.get("iss").cloned().unwrap_or_default());
    claims.extend(userinfo);
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"jwt"}"#);
    let claims = BASE64URL_NOPAD.encode(python_json(&Value::Object(claims), Spacing::Compact).as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, text(client, "client_secret").unwrap_or_default().as_bytes());
    let signature = hmac::sign(&key, format!("{header}.{claims}").as_bytes());
    format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

/// The user's own roles and those that everybody has (T41).
fn roles(user: &Document) -> Vec<String> {
    let Some(doctype) = DocType::find("User") else { return Vec::new() };
    let mut roles: Vec<String> = children(doctype, user).filter_map(|(.., row)| text(row, "role").map(str::to_owned)).collect();
    for everybodys in ["All", "Guest", "Desk User"] {
        if !roles.iter().any(|role| role == everybodys) {
            roles.push(everybodys.to_owned());
        }
    }
    roles
}
