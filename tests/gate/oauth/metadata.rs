//! What clients may read about a site's endpoints (RFC 8414, OpenID Connect Discovery 1.0, RFC 9728), and that it is true; and the
//! challenges that lead there.

use serde_json::{Value, json};

use crate::support::now;
use crate::support::provider::{App, CALLBACK, FRAPPE, Frappe, ISSUER, Person, Provider, VERIFIER, authorize, basic, parameter};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::Upstream;
use crate::support::wire::{Reply, Wire};

const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// With everything that can be offered.
fn offering() -> Provider {
    Provider::with("registration = \"open\"")
}

/// A gate that issues tokens, and at which no user signs in.
fn without_sign_in() -> (crate::support::gate::Gate, Upstream) {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).site(&format!("[oauth]\nissuer = \"{ISSUER}\"")).start();
    (gate, upstream)
}

fn words(document: &Value, name: &str) -> Vec<String> {
    let list = document[name].as_array().unwrap_or_else(|| panic!("`{name}` in {document}"));
    list.iter().map(|word| word.as_str().expect("a list of words").to_owned()).collect()
}

fn error(reply: &Reply) -> String {
    reply.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {} {}", reply.status, reply.text())).to_owned()
}

#[test]
fn metadata_is_at_its_well_known_paths() {
    let provider = offering();
    for path in [SERVER, OPENID, RESOURCE, &format!("{FRAPPE}openid_configuration")] {
        let reply = provider.get(path);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{path}");
        assert!(reply.json().is_object(), "{path}: {}", reply.text());
        let head = provider.exchange(&format!("HEAD {path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
        assert_eq!((head.status, head.text().as_str()), (200, ""), "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let refused =
                provider.exchange(&format!("{method} {path} HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")), "{method} {path}");
        }
    }
    // The issuer has no path and no slash at its end, so that nothing stands between its host and these, nor behind them.
    for path in
        ["/.well-known/oauth-authorization-server/", "/.well-known//openid-configuration", "/oauth/.well-known/openid-configuration"]
    {
        let reply = provider.get(path);
        assert!(matches!(reply.status, 400..=404), "{path}: {}", reply.status);
    }
    assert_eq!(provider.frappe.pocket.token_requests(), 0, "for a document Frappe is not asked");
    // A site that is no provider has no such documents.
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for path in [SERVER, OPENID, RESOURCE] {
        let reply = Wire::tls(&gate).exchange(format!("GET {path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
        assert!(matches!(reply.status, 401..=404), "{path}: {}", reply.status);
    }
    upstream.assert_untouched();
}

#[test]
fn metadata_has_every_required_field() {
    let document = offering().get(SERVER).json();
    for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "userinfo_endpoint"] {
        assert!(document[name].as_str().is_some_and(|url| url.starts_with(ISSUER)), "`{name}` in {document}");
    }
    // OpenID Connect Discovery 1.0 section 3.
    for name in ["response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"] {
        assert!(!words(&document, name).is_empty(), "`{name}` in {document}");
    }
    assert!(words(&document, "id_token_signing_alg_values_supported").contains(&"RS256".to_owned()));
    // RFC 9207 section 2.3.
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);

    // Where nobody signs in there is nothing to authorize at; the lists that are required stay.
    let (gate, _upstream) = without_sign_in();
    let reply = Wire::tls(&gate).exchange(format!("GET {SERVER} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
    let bare = reply.json();
    assert_eq!((&bare["issuer"], &bare["token_endpoint"]), (&json!(ISSUER), &json!(format!("{ISSUER}/oauth/token"))));
    assert_eq!((&bare["response_types_supported"], &bare["grant_types_supported"]), (&json!([]), &json!(["client_credentials"])));
    for name in ["authorization_endpoint", "jwks_uri", "registration_endpoint", "id_token_signing_alg_values_supported"] {
        assert_eq!(bare.get(name), None, "{name}");
    }
}

#[test]
fn metadata_promises_only_what_is_offered() {
    let provider = offering();
    let document = provider.get(SERVER).json();
    for (name, value) in document.as_object().expect("an object") {
        let empty = value.is_null() || *value == json!([]) || *value == json!("");
        assert!(!empty, "RFC 8414 section 3.2: `{name}` is nothing");
    }

    // Every endpoint is there.
    let mut endpoints = 0;
    for (name, value) in document.as_object().expect("an object") {
        if !name.ends_with("_endpoint") && name != "jwks_uri" {
            continue;
        }
        endpoints += 1;
        let path = value.as_str().and_then(|url| url.strip_prefix(ISSUER)).expect("an address of the gate");
        let reply = provider.get(path);
        assert!(!matches!(reply.status, 404 | 500..), "`{name}`: {} {}", reply.status, reply.text());
    }
    assert_eq!(endpoints, 7);
    assert!(!provider.get("/oauth/jwks").json()["keys"].as_array().expect("keys").is_empty());

    // Every grant type is known to the token endpoint, and no other is.
    let app = provider.app(
        "web",
        "read write openid profile email",
        &[
            "--redirect-uri",
            CALLBACK,
            "--grant-type",
            "authorization_code",
            "--grant-type",
            "refresh_token",
            "--grant-type",
            "client_credentials",
        ],
    );
    let promised = words(&document, "grant_types_supported");
    for grant in ["authorization_code", "refresh_token", "client_credentials"] {
        assert!(promised.contains(&grant.to_owned()), "{promised:?}");
        let reply = provider.token(&app, &[("grant_type", grant), ("scope", "read")]);
        assert!(reply.status == 200 || error(&reply) == "invalid_request", "{grant}: {}", reply.text());
    }
    assert_eq!(promised.len(), 3, "{promised:?}");
    for grant in ["implicit", "password", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:device_code"]
    {
        assert_eq!(error(&provider.token(&app, &[("grant_type", grant)])), "unsupported_grant_type", "{grant}");
    }

    // So it is with response types, response modes and PKCE.
    let ask = |more: &[(&str, &str)]| provider.get(&authorize(&app, "read", more));
    let refused = |reply: &Reply| parameter(reply.header("location").unwrap_or_default(), "error");
    assert_eq!(words(&document, "response_types_supported"), ["code"]);
    for other in ["token", "id_token", "code token", "code id_token", "none"] {
        assert_eq!(refused(&ask(&[("response_type", other)])).as_deref(), Some("unsupported_response_type"), "{other}");
    }
    assert_eq!(words(&document, "response_modes_supported"), ["query"]);
    assert_eq!(refused(&ask(&[("response_mode", "query")])), None);
    for other in ["fragment", "form_post"] {
        assert_eq!(refused(&ask(&[("response_mode", other)])).as_deref(), Some("invalid_request"), "{other}");
    }
    assert_eq!(words(&document, "code_challenge_methods_supported"), ["S256"]);
    assert_eq!(refused(&ask(&[("code_challenge", VERIFIER), ("code_challenge_method", "plain")])).as_deref(), Some("invalid_request"));
    for scope in words(&document, "scopes_supported") {
        let known = refused(&ask(&[("scope", &scope)])).is_none_or(|error| error == "invalid_scope");
        assert!(known, "{scope}");
    }
    // Requests in JWTs are not read, and a client is told before it sends one.
    for name in ["request_parameter_supported", "request_uri_parameter_supported"] {
        assert_eq!(document[name], false, "{name}");
    }
}

#[test]
fn metadata_names_the_ways_in_which_clients_prove_themselves() {
    let provider = offering();
    let document = provider.get(SERVER).json();
    let app = provider.confidential("web", "read");
    let public = provider.public("native", "read");
    let secret = app.secret.as_deref().expect("a secret");
    for (endpoint, takes_public) in [("token", true), ("revocation", true), ("introspection", false)] {
        let name = format!("{endpoint}_endpoint_auth_methods_supported");
        let mut expected = vec!["client_secret_basic", "client_secret_post"];
        expected.extend(takes_public.then_some("none"));
        assert_eq!(words(&document, &name), expected, "{name}");
        let path = document[format!("{endpoint}_endpoint")].as_str().and_then(|url| url.strip_prefix(ISSUER)).expect("an address");
        let form = [("grant_type", "refresh_token"), ("refresh_token", "unknown"), ("token", "unknown")];
        let proved = |reply: &Reply| reply.status == 200 || error(reply) != "invalid_client";
        assert!(proved(&provider.post_with(path, &basic(&app.id, secret), &form)), "{endpoint} by Basic");
        let whole = [&[("client_id", "web"), ("client_secret", secret)], &form[..]].concat();
        assert!(proved(&provider.post(path, &whole)), "{endpoint} by form");
        let whole = [&[("client_id", public.id.as_str())], &form[..]].concat();
        assert_eq!(proved(&provider.post(path, &whole)), takes_public, "{endpoint} by a public client");
        assert!(!proved(&provider.post(path, &form)), "{endpoint} by nobody");
    }
}

#[test]
fn metadata_names_https_urls_without_query_or_fragment() {
    let provider = offering();
    // Whichever way the document is asked for, a plain address is nowhere in it.
    for path in [SERVER, OPENID, RESOURCE, &format!("{FRAPPE}openid_configuration")] {
        let document = provider.get(path).json();
        let mut urls = 0;
        for (name, value) in document.as_object().expect("an object") {
            let listed = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            for url in listed.into_iter().filter_map(Value::as_str).filter(|text| text.contains("://")) {
                urls += 1;
                assert!(url.starts_with("https://") && !url.contains(['?', '#']), "`{name}`: {url}");
            }
        }
        assert!(urls >= 2, "{document}");
        assert!(!document.to_string().contains("http://"), "{document}");
    }
    let plain = Wire::plain(&provider.gate).exchange(format!("GET {SERVER} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
    assert_ne!(plain.status, 200, "the document itself has no plain address either");
}

#[test]
fn metadata_says_how_long_it_may_be_kept() {
    let provider = offering();
    for path in [SERVER, OPENID, RESOURCE, "/oauth/jwks"] {
        let reply = provider.get(path);
        assert_eq!(reply.all("cache-control"), ["public, max-age=300"], "{path}");
        assert!(reply.all("pragma").is_empty() && reply.all("set-cookie").is_empty(), "{path}");
    }
}

#[test]
fn the_issuer_is_the_configured_https_url_and_never_the_host() {
    let frappe = Frappe::start();
    let setup = Provider::setup(Setup::on(Redis::start(), &frappe.url()), &frappe, "");
    // The site is called by two hosts, and one of them is the issuer.
    let setup = setup.site("hosts = [\"fake.test\", \"localhost\"]");
    let provider = Provider { gate: setup.start(), frappe };
    let hosts = [
        "Host: fake.test\r\n",
        "Host: FAKE.test\r\n",
        "Host: fake.test:8443\r\n",
        "Host: localhost\r\n",
        "Host: fake.test\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n",
        "Host: localhost\r\nForwarded: host=evil.example;proto=http\r\nX-Original-Host: evil.example\r\n",
    ];
    for lines in hosts {
        for path in [SERVER, OPENID] {
            let document = provider.exchange(&format!("GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).json();
            assert_eq!(document["issuer"], ISSUER, "{lines}");
            assert!(!document.to_string().contains("evil") && !document.to_string().contains("localhost"), "{lines}: {document}");
        }
        let resource = provider.exchange(&format!("GET {RESOURCE} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).json();
        assert_eq!((&resource["resource"], &resource["authorization_servers"]), (&json!(ISSUER), &json!([ISSUER])), "{lines}");
    }
    // It comes back from the authorization endpoint in the same spelling (RFC 9207 section 2).
    let app = provider.confidential("web", "read");
    let target = authorize(&app, "read", &[("response_type", "token")]);
    let reply = provider.exchange(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    assert_eq!(parameter(reply.header("location").unwrap_or_default(), "iss").as_deref(), Some(ISSUER));
}

#[test]
fn both_discovery_documents_agree() {
    let provider = offering();
    let document = provider.get(SERVER).json();
    for path in [OPENID, &format!("{FRAPPE}openid_configuration")] {
        assert_eq!(provider.get(path).json(), document, "{path}");
    }
}

#[test]
fn protected_resource_metadata_names_the_site_and_its_issuer() {
    let provider = offering();
    let document = provider.get(RESOURCE).json();
    assert_eq!((&document["resource"], &document["authorization_servers"]), (&json!(ISSUER), &json!([ISSUER])));
    assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    assert_eq!(words(&document, "scopes_supported"), words(&provider.get(SERVER).json(), "scopes_supported"));
    for (name, value) in document.as_object().expect("an object") {
        assert!(!value.is_null() && *value != json!([]) && *value != json!(""), "`{name}` is nothing");
    }
    // And only that way is a token taken.
    let app = provider.confidential("web", "read");
    let tokens = provider.tokens(&app, "read");
    let token = tokens["access_token"].as_str().expect("an access token");
    assert_eq!(provider.api("GET", "/api/resource/Item", token, None).status, 200);
    assert_ne!(provider.get(&format!("/api/resource/Item?access_token={token}")).status, 200);
}

/// The attributes of a Bearer challenge, in their order, as RFC 9110 section 11.2 has them.
fn attributes(reply: &Reply) -> Vec<(String, String)> {
    let challenges = reply.all("www-authenticate");
    assert_eq!(challenges.len(), 1, "{} {challenges:?}", reply.status);
    let rest = challenges[0].strip_prefix("Bearer ").unwrap_or_else(|| panic!("{}", challenges[0]));
    let mut found = Vec::new();
    let mut rest = rest;
    loop {
        let (name, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("no attribute: {rest}"));
        let (value, behind) = behind.split_once('"').unwrap_or_else(|| panic!("no end: {behind}"));
        found.push((name.to_owned(), value.to_owned()));
        match behind.strip_prefix(", ") {
            Some(more) => rest = more,
            None => break assert_eq!(behind, "", "{}", challenges[0]),
        }
    }
    found
}

/// Everything that is answered with a Bearer challenge, and its status.
fn challenges(provider: &Provider) -> Vec<(&'static str, u16, Reply)> {
    let app = provider.confidential("challenged", "read");
    let tokens = provider.tokens(&app, "read");
    let token = tokens["access_token"].as_str().expect("an access token");
    let unknown = provider.gate.unknown_token();
    let old = provider.gate.token_of("challenged", "read", now() - 1);
    vec![
        ("no token", 401, provider.get("/api/resource/Item")),
        ("an unknown one", 401, provider.api("GET", "/api/resource/Item", &unknown, None)),
        ("an old one", 401, provider.api("GET", "/api/resource/Item", &old, None)),
        ("none that could be one", 401, provider.api("GET", "/api/resource/Item", "a\"b", None)),
        ("no scope for it", 403, provider.api("DELETE", "/api/resource/Item/ITEM-0001", token, None)),
        ("in the query", 400, provider.get(&format!("/api/resource/Item?access_token={token}"))),
        ("no token for userinfo", 401, provider.get("/oauth/userinfo")),
        ("an unknown one for userinfo", 401, provider.api("GET", "/oauth/userinfo", &unknown, None)),
        ("an old one for userinfo", 401, provider.api("GET", "/oauth/userinfo", &old, None)),
        ("no token to register with", 401, provider.post_with("/oauth/register", "", &[])),
        (
            "another token to register with",
            401,
            provider.post_with("/oauth/register", &format!("Authorization: Bearer {unknown}\r\n"), &[]),
        ),
    ]
}

fn by_token() -> Provider {
    Provider::with("registration = \"token\"\nregistration_token = \"0123456789abcdef0123456789abcdef\"")
}

#[test]
fn a_challenge_points_to_the_protected_resource_metadata() {
    let provider = by_token();
    for (what, status, reply) in challenges(&provider) {
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        let attributes = attributes(&reply);
        let named: Vec<_> = attributes.iter().filter(|(name, _)| name == "resource_metadata").map(|(_, value)| value.as_str()).collect();
        assert_eq!(named, [format!("{ISSUER}{RESOURCE}")], "{what}");
    }
    // There the document is, and it is of this site.
    assert_eq!(provider.get(RESOURCE).json()["resource"], ISSUER);
    // Where there is no provider there is nothing to point to.
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let reply = Wire::tls(&gate).exchange(format!("GET /api/resource/Item HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"));
    assert!(attributes(&reply).iter().all(|(name, _)| name != "resource_metadata"));
}

#[test]
fn a_challenge_has_each_attribute_once_and_in_its_alphabet() {
    let provider = by_token();
    for (what, _, reply) in challenges(&provider) {
        let attributes = attributes(&reply);
        assert!(!attributes.is_empty(), "{what}");
        for (at, (name, value)) in attributes.iter().enumerate() {
            assert!(!attributes[..at].iter().any(|(before, _)| before == name), "{what}: `{name}` twice");
            // RFC 6750 section 3.
            let printable = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
            match name.as_str() {
                "scope" => assert!(value.split(' ').all(|word| !word.is_empty() && word.bytes().all(printable)), "{what}: {value}"),
                "realm" | "error" | "error_description" | "resource_metadata" => {
                    assert!(!value.is_empty() && value.bytes().all(printable), "{what}: {name} {value}");
                }
                _ => panic!("{what}: `{name}` is no attribute of a challenge"),
            }
        }
        let told = attributes.iter().find(|(name, _)| name == "error").map(|(_, value)| value.as_str());
        let expected = match what {
            "no token" | "no token for userinfo" | "no token to register with" => None,
            "in the query" => Some("invalid_request"),
            "no scope for it" => Some("insufficient_scope"),
            _ => Some("invalid_token"),
        };
        assert_eq!(told, expected, "{what}");
    }
}

#[test]
fn a_client_finds_its_way_from_a_challenge_to_a_token() {
    let provider = offering();
    let at = |url: &str| url.strip_prefix(ISSUER).unwrap_or_else(|| panic!("{url} is elsewhere")).to_owned();
    let challenge = attributes(&provider.get("/api/resource/Item"));
    let (_, metadata) = challenge.iter().find(|(name, _)| name == "resource_metadata").expect("a way");
    let resource = provider.get(&at(metadata)).json();
    let issuer = resource["authorization_servers"][0].as_str().expect("an issuer");
    let server = provider.get(&at(&format!("{issuer}{SERVER}"))).json();
    assert_eq!(server["issuer"], issuer);
    let register = at(server["registration_endpoint"].as_str().expect("an address"));
    let body = json!({"redirect_uris": [CALLBACK], "client_name": "Explorer", "token_endpoint_auth_method": "none"}).to_string();
    let registered = provider.exchange(&format!(
        "POST {register} HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(registered.status, 201, "{}", registered.text());
    let app = App { id: registered.json()["client_id"].as_str().expect("an id").to_owned(), secret: None };
    let target = authorize(&app, "read", &[]);
    let code = Person::new(&provider)
        .allow_with(&target.replace("/oauth/authorize", &at(server["authorization_endpoint"].as_str().expect("an address"))));
    let tokens = provider.redeem(&app, &code).json();
    let token = tokens["access_token"].as_str().expect("an access token");
    provider.gate.keep_secret(token);
    assert_eq!(provider.api("GET", "/api/resource/Item", token, None).status, 200);
}
