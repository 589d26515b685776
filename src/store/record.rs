//! How records are written, and how what comes back is judged: one JSON form and one grammar of names for every store.
//!
//! Redis is a place that others may write to, and a file may be restored from anywhere, so a record is read as strictly as a request.
//! What cannot be read is an error that names its key, never "there is none": a gate that answered 401 here would make clients throw
//! good tokens away, and one that skipped the record would hide the damage.
//!
//! Names become parts of Redis keys, joined by `:`. The grammars below leave out `:` (so no name can reach into another part), and
//! `{` and `}` (so none can move a key to another Cluster slot).

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::oauth::client::Client;
use crate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use crate::store::StoreError;
use crate::store::kept::{Kind, kept_name};

/// The largest record that is read or written, in bytes. The largest honest one, with the longest scopes, is a sixth of it.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Seconds after its `exp` for which a token is kept: its bearer is told that it has expired, so as to refresh it, and is not counted among
/// those who guess tokens.
pub const EXPIRED_KEPT: u64 = 600;

/// The longest sealed credential, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;

/// The longest site name, in bytes: that of a host name.
const SITE_BYTES_MAX: usize = 253;

/// The longest id of a client or a credential, in bytes.
const ID_BYTES_MAX: usize = 64;

/// A site is named like a host: `[A-Za-z0-9._-]{1,253}`.
pub fn check_site(site: &str) -> Result<(), StoreError> {
    named(site, SITE_BYTES_MAX, b"._-")
        .then_some(())
        .ok_or_else(|| StoreError(format!("`{}` is no name of a site: 1 to {SITE_BYTES_MAX} of A-Z a-z 0-9 . _ -", site.escape_debug())))
}

/// The id of a client or a credential: `[A-Za-z0-9._~-]{1,64}`, the unreserved characters of RFC 3986 section 2.3.
pub fn check_id(id: &str) -> Result<(), StoreError> {
    named(id, ID_BYTES_MAX, b"._~-")
        .then_some(())
        .ok_or_else(|| StoreError(format!("`{}` is no id: 1 to {ID_BYTES_MAX} of A-Z a-z 0-9 . _ ~ -", id.escape_debug())))
}

fn named(text: &str, bytes_max: usize, marks: &[u8]) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

/// A token's name in errors and logs.
pub fn token_name(site: &str, hash: &TokenHash) -> String {
    format!("token {} of site {site}", hash.fingerprint())
}

/// A client's name in errors and logs.
pub fn client_name(site: &str, id: &str) -> String {
    format!("client {id} of site {site}")
}

/// A credential's name in errors and logs.
pub fn credential_name(site: &str, id: &str) -> String {
    format!("credential {id} of site {site}")
}

pub fn write_token(site: &str, hash: &TokenHash, record: &TokenRecord) -> Result<Vec<u8>, StoreError> {
    check_site(site)?;
    check_id(&record.client)?;
    write(&token_name(site, hash), record.v, record)
}

pub fn read_token(site: &str, hash: &TokenHash, json: &[u8]) -> Result<TokenRecord, StoreError> {
    let record: TokenRecord = read(|| token_name(site, hash), json)?;
    check_id(&record.client).map_err(|error| damaged(&token_name(site, hash), error))?;
    Ok(record)
}

pub fn write_client(site: &str, client: &Client) -> Result<Vec<u8>, StoreError> {
    check_site(site)?;
    check_id(&client.id)?;
    write(&client_name(site, &client.id), client.v, client)
}

/// A record that calls itself otherwise than its key does was copied there, and grants what was never granted: damaged.
pub fn read_client(site: &str, id: &str, json: &[u8]) -> Result<Client, StoreError> {
    let client: Client = read(|| client_name(site, id), json)?;
    if *client.id != *id {
        return Err(damaged(&client_name(site, id), "its record belongs to another id"));
    }
    Ok(client)
}

pub fn check_credential(site: &str, id: &str, sealed: &[u8]) -> Result<(), StoreError> {
    check_site(site)?;
    check_id(id)?;
    if sealed.len() > CREDENTIAL_BYTES_MAX {
        return Err(StoreError(format!(
            "{} takes {} bytes; at most {CREDENTIAL_BYTES_MAX} are kept",
            credential_name(site, id),
            sealed.len()
        )));
    }
    Ok(())
}

/// A record of `kept`, as it is written.
pub fn write_kept<T: Serialize>(site: &str, kind: Kind, id: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    check_site(site)?;
    check_id(id)?;
    write(&kept_name(site, kind, id), RECORD_VERSION, value)
}

pub fn read_kept<T: DeserializeOwned>(site: &str, kind: Kind, id: &str, json: &[u8]) -> Result<T, StoreError> {
    read(|| kept_name(site, kind, id), json)
}

/// Whether a record of `kept` is of a version that this build reads; what it says is for whoever reads it.
pub fn check_kept(site: &str, kind: Kind, id: &str, json: &[u8]) -> Result<(), StoreError> {
    check_site(site)?;
    check_id(id)?;
    // A lease says something by being there, and bears no version.
    if kind == Kind::Lease {
        return Ok(());
    }
    read_kept::<serde_json::Value>(site, kind, id, json).map(drop)
}

/// The version alone: asked where a record could not be read, so that an old build says that it is old.
#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

fn write<T: Serialize>(name: &str, version: u8, record: &T) -> Result<Vec<u8>, StoreError> {
    if version != RECORD_VERSION {
        return Err(StoreError(format!("{name} is not kept: its record has version {version}; this build writes {RECORD_VERSION}")));
    }
    let json = serde_json::to_vec(record).map_err(|error| StoreError(format!("{name} is not kept: {error}")))?;
    if json.len() > RECORD_BYTES_MAX {
        return Err(StoreError(format!("{name} is not kept: its record takes {} bytes; at most {RECORD_BYTES_MAX} do", json.len())));
    }
    Ok(json)
}

fn read<T: DeserializeOwned>(name: impl Fn() -> String, json: &[u8]) -> Result<T, StoreError> {
    if json.len() > RECORD_BYTES_MAX {
        return Err(damaged(&name(), format_args!("its record takes {} bytes; at most {RECORD_BYTES_MAX} are read", json.len())));
    }
    // Twice through the bytes, but each time through a shape that is checked: a record of a later version may have any other fields.
    let version = serde_json::from_slice::<Versioned>(json).map_err(|error| damaged(&name(), at(&error)))?.v;
    if version != u64::from(RECORD_VERSION) {
        return Err(StoreError(format!(
            "{} has a record of version {version}; this build reads {RECORD_VERSION}: run the build that wrote it, or a later one",
            name()
        )));
    }
    serde_json::from_slice(json).map_err(|error| damaged(&name(), at(&error)))
}

fn damaged(name: &str, why: impl Display) -> StoreError {
    StoreError(format!("{name} has a record that cannot be read ({why}): restore it, or delete it and issue anew"))
}

/// Where reading failed. serde's own text may quote the record, and a record may hold what someone took for harmless.
fn at(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing or wrong",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Io => "it could not be read",
    };
    format!("{what} at byte {}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_reach_into_another_key() {
        for good in ["erp.example.com", "site1", "a_b-c", "X"] {
            check_site(good).unwrap();
            check_id(good).unwrap();
        }
        for bad in ["", "a:b", "erp:token", "{erp}", "a b", "a\0", "a\n", "é", "*", "a/b", &"a".repeat(254)] {
            assert!(check_site(bad).is_err(), "{bad:?}");
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        assert!(check_id(&"a".repeat(65)).is_err());
        assert!(check_site("a~b").is_err());
        check_id("a~b").unwrap();
    }

    #[test]
    fn a_record_that_cannot_be_trusted_is_an_error_that_names_its_key_and_quotes_nothing() {
        let hash = TokenHash::of(b"some token");
        let good = r#"{"v":1,"client":"crm","user":"a@example.com","scopes":"read","iat":1,"exp":2}"#;
        assert_eq!(&*read_token("erp", &hash, good.as_bytes()).unwrap().client, "crm");
        let rows = [
            ("", "empty"),
            ("null", "no object"),
            ("{", "cut off"),
            ("{}", "no version"),
            (r#"{"v":2,"anything":"secret-canary"}"#, "a later version"),
            (r#"{"v":257,"client":"crm","user":"a","scopes":"read","iat":1,"exp":2}"#, "a version that is 1 modulo 256"),
            (r#"{"v":1,"client":"crm","user":"secret-canary","scopes":"read","iat":1}"#, "no exp"),
            (r#"{"v":1,"client":"crm","user":"a","scopes":"read","iat":1,"exp":"secret-canary"}"#, "exp is text"),
            (r#"{"v":1,"client":"crm","user":"a","scopes":"read","iat":1,"exp":-2}"#, "exp before time"),
            (r#"{"v":1,"client":"crm","user":"a","scopes":"read:","iat":1,"exp":2}"#, "a scope that is none"),
            (r#"{"v":1,"client":"a:b","user":"a","scopes":"read","iat":1,"exp":2}"#, "a client id that reaches into another key"),
            (r#"{"v":1,"client":"crm","client":"x","user":"a","scopes":"read","iat":1,"exp":2}"#, "one field twice"),
            (r#"{"v":1,"client":"crm","user":"a","scopes":"read","iat":1,"exp":2} x"#, "something behind it"),
        ];
        for (json, why) in rows {
            let error = read_token("erp", &hash, json.as_bytes()).expect_err(why).0;
            assert!(error.contains(&hash.fingerprint()) && error.contains("erp"), "{why}: {error}");
            assert!(!error.contains(&hash.to_string()) && !error.contains("secret-canary"), "{why}: {error}");
        }
        let long = format!(r#"{{"v":1,"client":"crm","user":"{}","scopes":"read","iat":1,"exp":2}}"#, "a".repeat(RECORD_BYTES_MAX));
        assert!(read_token("erp", &hash, long.as_bytes()).is_err());
    }

    #[test]
    fn a_client_copied_to_another_key_is_damaged() {
        let json = br#"{"v":1,"id":"crm","name":"CRM","scopes":"read","enabled":true,"created":1}"#;
        read_client("erp", "crm", json).unwrap();
        assert!(read_client("erp", "shop", json).unwrap_err().0.contains("shop"));
    }
}
