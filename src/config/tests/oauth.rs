//! `[site.oauth]`: each row is a section after a site that is right, with the API key as its credential unless the row says otherwise.

use std::fmt::Write as _;

use super::*;
use crate::config::checked::{OAuth, Registration};
use crate::policy::scope::Scopes;

/// 64 hexadecimal digits, and a text that is long enough for a registration token.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

const SIGN_IN: &str =
    "issuer = \"https://erp.example.com\"\nlogin_url = \"https://desk.example.com\"\nclient_id = \"1a2b\"\nclient_secret = \"s\"";

/// `keys` in `[site.oauth]`, from line 10 on, with a key to seal with.
fn oauth(keys: &str) -> String {
    format!("credential = \"api-key\"\napi_key = \"k:s\"\n[site.oauth]\n{keys}\n[store]\nencryption_key = \"{KEY}\"")
}

fn provider(keys: &str) -> OAuth {
    let (config, _) = with(&oauth(keys)).unwrap_or_else(|error| panic!("{keys}\n{error}"));
    config.sites[0].oauth.clone().expect("the section is there")
}

#[test]
fn each_mistake_is_one_line_with_its_remedy() {
    let with_issuer = |keys: &str| format!("issuer = \"https://erp.example.com\"\n{keys}");
    for (keys, told) in [
        (
            "require_pkce = \"all\"".to_owned(),
            "gate.toml:9: `site.oauth.issuer`: missing; write issuer = \"https://erp.example.com\", where apps and browsers reach the gate",
        ),
        (
            "issuer = \"http://erp.example.com\"".to_owned(),
            "gate.toml:10: `site.oauth.issuer`: `http://erp.example.com` is not an https origin: `https://`, lower-case host, port unless it \
             is 443, no path and no slash at its end; write it like \"https://erp.example.com\"",
        ),
        (
            "issuer = \"https://other.example.com\"".to_owned(),
            "gate.toml:10: `site.oauth.issuer`: `https://other.example.com` is none of the site's hosts, so no request for it would come here; \
             write it like \"https://erp.example.com\"",
        ),
        (with_issuer("isuer = 1"), "gate.toml:11: `site.oauth.isuer`: unknown key; did you mean `issuer`?"),
        (
            with_issuer("login_url = \"https://desk.example.com\"\nclient_id = \"1a2b\""),
            "gate.toml:9: `site.oauth.client_secret_file`: missing; login_url, client_id and client_secret_file stand together or not at all: \
             name a file with the secret of the OAuth Client that Frappe has for the gate",
        ),
        (
            with_issuer("login_url = \"http://desk.example.com\"\nclient_id = \"1a2b\"\nclient_secret = \"s\""),
            "gate.toml:11: `site.oauth.login_url`: `http://desk.example.com` would show passwords to the network; write it like \
             \"https://frappe.example.com\"",
        ),
        (
            with_issuer("login_url = \"https://erp.example.com\"\nclient_id = \"1a2b\"\nclient_secret = \"s\""),
            "gate.toml:11: `site.oauth.login_url`: `https://erp.example.com` is the gate itself, and users sign in at Frappe; name the origin \
             where browsers reach Frappe",
        ),
        (
            with_issuer("require_pkce = \"none\""),
            "gate.toml:11: `site.oauth.require_pkce`: `none` is nobody; write \"public\" for clients without a secret, or \"all\"",
        ),
        (
            with_issuer("access_token_lifetime = \"25h\""),
            "gate.toml:11: `site.oauth.access_token_lifetime`: `25h` is out of bounds; write a time from \"1m\" to \"1d\"",
        ),
        (
            with_issuer("access_token_lifetime = \"2h\"\nrefresh_token_lifetime = \"1h\""),
            "gate.toml:12: `site.oauth.refresh_token_lifetime`: is shorter than `access_token_lifetime`, so it would be of no use; write \"30d\"",
        ),
        (
            with_issuer("registration = \"token\""),
            "gate.toml:9: `site.oauth.registration_token_file`: missing, and registration = \"token\" needs it; write one with `openssl rand \
             -hex 32` into a file and name it here",
        ),
        (
            with_issuer("registration = \"token\"\nregistration_token = \"0123456789012345678901234567890\""),
            "gate.toml:12: `site.oauth.registration_token`: is shorter than 32 characters, or has some that a header cannot bear; make it with \
             `openssl rand -hex 32`",
        ),
        (
            with_issuer(&format!("registration = \"open\"\nregistration_token = \"{KEY}\"")),
            "gate.toml:12: `site.oauth.registration_token`: is never asked for, because `registration` is \"open\"; write registration = \
             \"token\", or remove it",
        ),
        (
            with_issuer("registration_scopes = \"read crm\""),
            "gate.toml:11: `site.oauth.registration_scopes`: there is no scope `crm`; write [scope.crm], or a built-in one like \"read\"",
        ),
        (
            with_issuer("client_documents = true\nclient_document_networks = [\"0.0.0.0/0\"]"),
            "gate.toml:12: `site.oauth.client_document_networks`: `0.0.0.0/0` is every address there is; name the network that the documents \
             lie in, like \"10.0.0.0/24\"",
        ),
    ] {
        assert_eq!(refusal(&oauth(&keys)), told, "{keys}");
    }
}

#[test]
fn users_sign_in_at_no_host_of_the_gate() {
    let hosts = "hosts = [\"erp.example.com\", \"www.example.com\"]\n";
    let section = |login_url: &str| {
        let keys = format!("issuer = \"https://erp.example.com\"\nlogin_url = \"{login_url}\"\nclient_id = \"1\"\nclient_secret = \"s\"");
        [hosts, &oauth(&keys)].concat()
    };
    assert!(refusal(&section("https://www.example.com")).contains("`https://www.example.com` is the gate itself"));
    // Another port may be Frappe's own.
    assert!(with(&section("https://www.example.com:8443")).is_ok());
    assert!(with(&section("https://www.example.com.example.net")).is_ok());
}

#[test]
fn a_credential_fits_the_provider() {
    let bearer_without = "is \"bearer\", so users must sign in at Frappe; write [site.oauth] with issuer, login_url, client_id and \
                          client_secret_file, or credential = \"api-key\"";
    let section = |credential: &str, keys: &str| format!("{credential}\n[site.oauth]\n{keys}\n[store]\nencryption_key = \"{KEY}\"");
    for (row, told) in [
        ("credential = \"bearer\"".to_owned(), bearer_without),
        (section("credential = \"bearer\"", "issuer = \"https://erp.example.com\""), bearer_without),
        (
            section("credential = \"forward\"", SIGN_IN),
            "is \"forward\", but Frappe knows nothing of the tokens that [site.oauth] issues; write \"bearer\", which sends the user's own \
             token of Frappe, or \"api-key\"",
        ),
        (
            section("credential = \"bearer\"\napi_key = \"k:s\"", SIGN_IN),
            "is \"bearer\", so the API key is never sent; remove the key, or write credential = \"api-key\"",
        ),
        (
            section("credential = \"cookie\"\napi_key = \"k:s\"", SIGN_IN),
            "`cookie` is not a credential; write \"api-key\", \"bearer\" for the user's own token with [site.oauth], or \"forward\" where \
             Frappe knows the clients' tokens",
        ),
    ] {
        assert_eq!(refusal(&row), format!("gate.toml:6: `site.credential`: {told}"), "{row}");
    }
    let (config, _) = with(&section("credential = \"bearer\"", SIGN_IN)).expect("right");
    assert!(matches!(config.sites[0].credential, Credential::Bearer));
}

#[test]
fn sign_ins_are_never_kept_in_clear() {
    let unsealed = oauth(SIGN_IN).replace(&format!("\n[store]\nencryption_key = \"{KEY}\""), "");
    assert_eq!(
        refusal(&unsealed),
        "gate.toml:11: `site.oauth.login_url`: needs a key that seals sign-ins, and there is none; run `openssl rand -hex 32 > \
         /etc/scopegate/encryption-key` and name that file by store.encryption_key_file"
    );
    let short = oauth(SIGN_IN).replace(KEY, "0011");
    assert_eq!(refusal(&short).lines().count(), 1, "a key that is wrong is told of once, where it stands");
    let machines = oauth("issuer = \"https://erp.example.com\"").replace(&format!("\n[store]\nencryption_key = \"{KEY}\""), "");
    assert!(with(&machines).is_ok(), "who signs nobody in seals nothing");
    let env = [("SCOPEGATE__STORE__ENCRYPTION_KEY", KEY)];
    let row = unsealed.replacen("\n[", "\nupstreams = [\"http://127.0.0.1:8000\"]\n[", 1);
    assert!(parse(&format!("{BASE}{row}"), "gate.toml", super::env(&env)).is_ok(), "a variable is as good as a key");
}

/// Not merely for its wording: the keys below an issuer, and the key that is blamed.
#[test]
fn what_is_unsafe_or_senseless_is_refused() {
    let sign_in = |key: &str, value: &str| {
        let mut keys = String::from("issuer = \"https://erp.example.com\"\n");
        for (known, right) in [("login_url", "\"https://desk.example.com\""), ("client_id", "\"1a2b\""), ("client_secret", "\"s\"")] {
            let _ = writeln!(keys, "{known} = {}", if known == key { value } else { right });
        }
        keys
    };
    let more = |keys: &str| format!("issuer = \"https://erp.example.com\"\n{keys}");
    for (keys, key) in [
        ("issuer = \"\"".to_owned(), "issuer"),
        ("issuer = \"erp.example.com\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com/\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com/oauth\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com?x\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com#x\"".to_owned(), "issuer"),
        ("issuer = \"https://ERP.example.com\"".to_owned(), "issuer"),
        ("issuer = \"HTTPS://erp.example.com\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com:443\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com:0\"".to_owned(), "issuer"),
        ("issuer = \"https://a@erp.example.com\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com.\"".to_owned(), "issuer"),
        ("issuer = \"https://erp.example.com\\r\\nX: y\"".to_owned(), "issuer"),
        ("issuer = 7".to_owned(), "issuer"),
        (sign_in("login_url", "\"desk.example.com\""), "login_url"),
        (sign_in("login_url", "\"https://desk.example.com/login\""), "login_url"),
        (sign_in("login_url", "\"https://desk.example.com/\""), "login_url"),
        (sign_in("login_url", "\"http://10.0.0.1\""), "login_url"),
        (sign_in("login_url", "\"http://localhost.example.com\""), "login_url"),
        (sign_in("login_url", "\"http://127.0.0.1.example.com\""), "login_url"),
        (sign_in("login_url", "\"javascript:alert(1)\""), "login_url"),
        (sign_in("client_id", "\"\""), "client_id"),
        (sign_in("client_id", "\"a b\""), "client_id"),
        (sign_in("client_id", "\"a\\u0000\""), "client_id"),
        (sign_in("client_secret", "\"\""), "client_secret"),
        (more("client_secret_file = \"/nonexistent/secret\""), "client_secret_file"),
        (more("client_id = \"1a2b\""), "login_url"),
        (more("client_secret = \"s\""), "client_id"),
        (format!("{SIGN_IN}\nsign_in_scope = \"\""), "sign_in_scope"),
        (format!("{SIGN_IN}\nsign_in_scope = \"all  openid\""), "sign_in_scope"),
        (format!("{SIGN_IN}\nsign_in_scope = \"all\\nopenid\""), "sign_in_scope"),
        (more("access_token_lifetime = \"59s\""), "access_token_lifetime"),
        (more("access_token_lifetime = 3600"), "access_token_lifetime"),
        (more("refresh_token_lifetime = \"59m\""), "refresh_token_lifetime"),
        (more("refresh_token_lifetime = \"366d\""), "refresh_token_lifetime"),
        (more("refresh_token_lifetime = \"off\""), "refresh_token_lifetime"),
        (more("registration = \"on\""), "registration"),
        (more("registration = true"), "registration"),
        (more(&format!("registration_token = \"{KEY}\"")), "registration_token"),
        (more(&format!("registration = \"token\"\nregistration_token = \"{KEY} {KEY}\"")), "registration_token"),
        (more("registration = \"token\"\nregistration_token_file = \"/dev/null\""), "registration_token_file"),
        (more("registration_scopes = \"\""), "registration_scopes"),
        (more("registration_scopes = \"read:Lead\""), "registration_scopes"),
        (more("client_documents = \"yes\""), "client_documents"),
        (more("client_documents = true\nclient_document_networks = [\"10.0.0.0/33\"]"), "client_document_networks"),
        (more("client_documents = true\nclient_document_networks = [\"intranet\"]"), "client_document_networks"),
        (more("client_documents = true\nclient_document_networks = [\"::/0\"]"), "client_document_networks"),
        (more("client_documents = true\nclient_document_networks = [\"10.0.0.0/8\", \"10.1.1.1/8\"]"), "client_document_networks"),
        (more("client_documents = true\nclient_document_ca_file = \"/dev/null\""), "client_document_ca_file"),
    ] {
        let told = refusal(&oauth(&keys));
        assert!(told.contains(&format!("`site.oauth.{key}`")), "{keys}\n{told}");
        assert_eq!(told.lines().filter(|line| line.contains(&format!("`site.oauth.{key}`"))).count(), 1, "{keys}\n{told}");
    }
    assert!(refusal("oauth = true").contains("`site.oauth`: is true or false; write it as a section, `[site.oauth]`"));
    assert!(refusal("\n[[site.oauth]]\nissuer = \"https://erp.example.com\"").contains("`site.oauth`"));
}

#[test]
fn all_of_it_is_read() {
    let plain = provider("issuer = \"https://erp.example.com\"");
    assert_eq!(
        plain,
        OAuth {
            issuer: "https://erp.example.com".into(),
            sign_in: None,
            pkce_for_all: false,
            access_token_lifetime: Duration::from_secs(3600),
            refresh_token_lifetime: Duration::from_secs(30 * 86_400),
            registration: Registration::Off,
            registration_scopes: Scopes::parse("read").expect("a scope"),
            client_documents: false,
            client_document_networks: Vec::new(),
            client_document_ca: Vec::new(),
        }
    );
    let signs_in = provider(SIGN_IN).sign_in.expect("all three are there");
    assert_eq!((&*signs_in.login_url, &*signs_in.client_id), ("https://desk.example.com", "1a2b"));
    assert_eq!((signs_in.client_secret.reveal(), &*signs_in.scope), ("s", "all openid"));

    for login_url in ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000", "https://erp.example.com:8443"] {
        let keys = SIGN_IN.replace("https://desk.example.com", login_url);
        assert_eq!(&*provider(&keys).sign_in.expect("it is there").login_url, login_url);
    }
    let other_port = "issuer = \"https://erp.example.com:8443\"";
    assert_eq!(&*provider(other_port).issuer, "https://erp.example.com:8443");

    let all = provider(&format!(
        "issuer = \"https://erp.example.com\"\nrequire_pkce = \"all\"\naccess_token_lifetime = \"1m\"\nrefresh_token_lifetime = \"365d\"\n\
         registration = \"token\"\nregistration_token = \"{KEY}\"\nregistration_scopes = \"read:lead openid\"\nclient_documents = true\n\
         client_document_networks = [\"10.0.0.7/8\", \"::1\"]"
    ));
    assert!(all.pkce_for_all && all.client_documents);
    assert_eq!((all.access_token_lifetime.as_secs(), all.refresh_token_lifetime.as_secs()), (60, 365 * 86_400));
    assert!(matches!(&all.registration, Registration::Token(token) if token.reveal() == KEY));
    assert_eq!(all.registration_scopes.as_str(), "read:lead openid");
    assert_eq!(all.client_document_networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    assert_eq!(provider("issuer = \"https://erp.example.com\"\nregistration = \"open\"").registration, Registration::Open);
}

#[test]
fn what_is_unwise_or_without_effect_is_a_warning() {
    for (keys, key) in [
        (SIGN_IN.to_owned(), "site.oauth.client_secret"),
        ("issuer = \"https://erp.example.com\"\nsign_in_scope = \"all\"".to_owned(), "site.oauth.sign_in_scope"),
        (
            "issuer = \"https://erp.example.com\"\nclient_document_networks = [\"10.0.0.0/8\"]".to_owned(),
            "site.oauth.client_document_networks",
        ),
        (
            format!("issuer = \"https://erp.example.com\"\nregistration = \"token\"\nregistration_token = \"{KEY}\""),
            "site.oauth.registration_token",
        ),
    ] {
        let (_, warnings) = with(&oauth(&keys)).unwrap_or_else(|error| panic!("{keys}\n{error}"));
        let told: Vec<_> = warnings.iter().map(ToString::to_string).filter(|told| told.contains("site.oauth")).collect();
        assert!(told.len() == 1 && told[0].contains(&format!("`{key}`")), "{keys}\n{told:?}");
    }
}

#[test]
fn no_secret_of_it_is_shown() {
    let secret = "hunter2hunter2hunter2hunter2hunter2";
    for keys in [
        format!("issuer = \"https://erp.example.com\"\nclient_secret = \"{secret}\""),
        format!("issuer = \"https://erp.example.com\"\nclient_secret = [\"{secret}\"]"),
        format!("issuer = \"https://erp.example.com\"\nregistration_token = \"{secret}\""),
        format!("issuer = \"https://erp.example.com\"\nregistration = \"token\"\nregistration_token = \"{secret} x\""),
    ] {
        let told = refusal(&oauth(&keys));
        assert!(told.starts_with("gate.toml:") && !told.contains(secret), "{told}");
    }
    let keys = SIGN_IN.replace("client_secret = \"s\"", &format!("client_secret = \"{secret}\""));
    let keys = format!("{keys}\nregistration = \"token\"\nregistration_token = \"{secret}\"");
    let (config, warnings) = with(&oauth(&keys)).expect("right");
    assert!(!format!("{config:?}{warnings:?}").contains(secret));
}
