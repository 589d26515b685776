//! The endpoints as apps speak to them, and what must hold for every no.

use serde_json::{Value, json};

use crate::support::gate::{cli, key_of};
use crate::support::now;
use crate::support::provider::{App, FRAPPE, ISSUER, Person, Provider, USER, basic, encoded};
use crate::support::setup::SITE;
use crate::support::wire::{Reply, Wire};

pub const TOKEN: &str = "/oauth/token";
pub const REVOKE: &str = "/oauth/revoke";
pub const INTROSPECT: &str = "/oauth/introspect";

/// A form as the whole body of a request.
pub type Form<'a> = Vec<(&'a str, &'a str)>;

/// The three, with the names that Frappe gives them.
pub fn forms() -> [(String, &'static str); 6] {
    [
        (TOKEN.to_owned(), TOKEN),
        (REVOKE.to_owned(), REVOKE),
        (INTROSPECT.to_owned(), INTROSPECT),
        (format!("{FRAPPE}get_token"), TOKEN),
        (format!("{FRAPPE}revoke_token"), REVOKE),
        (format!("{FRAPPE}introspect_token"), INTROSPECT),
    ]
}

/// A no in the form of RFC 6749 section 5.2, whatever the endpoint: JSON, its code and a sentence within their alphabets, kept by no cache.
pub fn refused(reply: &Reply, status: u16, code: &str) {
    let what = format!("{reply:?} {}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    assert!(reply.all("set-cookie").is_empty(), "{what}");
    let body = reply.json();
    assert_eq!((reply.status, text(&body, "error")), (status, code), "{what}");
    let alphabet = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(text(&body, "error").bytes().all(alphabet) && text(&body, "error_description").bytes().all(alphabet), "{what}");
    assert!(body.as_object().is_some_and(|body| body.keys().all(|key| ["error", "error_description"].contains(&key.as_str()))), "{what}");
    let challenge = reply.header("www-authenticate");
    assert_eq!(challenge, (status == 401).then_some("Basic realm=\"fake.test\""), "{what}");
}

/// A field of JSON that must be there.
pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

/// The form, with what the app shows of itself in it.
pub fn shown<'a>(app: &'a App, form: &[(&'a str, &'a str)]) -> Form<'a> {
    let mut whole = vec![("client_id", app.id.as_str())];
    whole.extend(app.secret.as_deref().map(|secret| ("client_secret", secret)));
    whole.extend_from_slice(form);
    whole
}

/// The header of an app that has a secret.
pub fn header(app: &App) -> String {
    basic(&app.id, secret(app))
}

pub fn secret(app: &App) -> &str {
    app.secret.as_deref().expect("an app with a secret")
}

/// An app that asks about tokens, and may have its own.
pub fn server(provider: &Provider, id: &str) -> App {
    provider.app(id, "read", &["--grant-type", "client_credentials"])
}

pub fn refresh(provider: &Provider, app: &App, token: &str) -> Reply {
    provider.token(app, &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

/// The pair that a refresh gives.
pub fn refreshed(provider: &Provider, app: &App, token: &str) -> Value {
    given(provider, &refresh(provider, app, token))
}

/// The tokens of a yes.
pub fn given(provider: &Provider, reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let tokens = reply.json();
    for name in ["access_token", "refresh_token", "id_token"] {
        if let Some(secret) = tokens[name].as_str() {
            provider.gate.keep_secret(secret);
        }
    }
    tokens
}

pub fn revoke(provider: &Provider, app: &App, token: &str) -> Reply {
    provider.post(REVOKE, &shown(app, &[("token", token)]))
}

/// What `app` is told about a token.
pub fn introspect(provider: &Provider, app: &App, token: &str) -> Value {
    let reply = provider.post(INTROSPECT, &shown(app, &[("token", token)]));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{}", reply.text());
    reply.json()
}

/// Lets every request say whose it is, as a proxy that the gate trusts.
pub const PROXIED: &str = "[listen]\ntrusted_proxies = [\"127.0.0.1/32\"]\n";

/// Posts a form for somebody at `address`; see [`PROXIED`].
pub fn post_from(wire: &mut Wire, target: &str, address: &str, form: &[(&str, &str)]) -> Reply {
    let body = encoded(form);
    wire.exchange(format!(
        "POST {target} HTTP/1.1\r\nHost: {SITE}\r\nX-Forwarded-For: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Whether it is refused for having come too often, in the form that every no has.
pub fn throttled(reply: &Reply) -> bool {
    if reply.status != 429 {
        return false;
    }
    let seconds = reply.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{reply:?}");
    refused(reply, 429, "temporarily_unavailable");
    true
}

/// Whether the API takes the token; else it says 401.
pub fn lives(provider: &Provider, token: &str) -> bool {
    let reply = provider.api("GET", "/api/resource/Item", token, None);
    assert!(matches!(reply.status, 200 | 401), "{reply:?} {}", reply.text());
    reply.status == 200
}

/// Changes what Redis keeps of a secret: how time goes by without waiting.
pub fn change(provider: &Provider, kind: &str, secret: &str, change: impl FnOnce(&mut Value)) {
    let key = key_of(kind, secret);
    let mut record = provider.gate.redis().get(&key);
    change(&mut record);
    provider.gate.redis().put(&key, &record);
}

/// A command of the operator's, for the site of the tests.
pub fn operate(provider: &Provider, arguments: &[&str]) -> String {
    let output = cli(&provider.gate.config, arguments);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {printed} {}", String::from_utf8_lossy(&output.stderr));
    printed
}

/// The refresh token was spent, longer ago than a repeat is forgiven.
pub fn spent_long_ago(provider: &Provider, token: &str) {
    change(provider, "refresh", token, |record| record["spent"]["at"] = json!(now() - 11));
}

/// A way in which a grant ends, and what the token endpoint then says to its client.
pub struct End {
    pub why: &'static str,
    /// Given the app and the answer that its tokens came in.
    pub by: fn(&Provider, &App, &Value),
    pub status: u16,
    pub code: &'static str,
}

impl End {
    const fn grant(why: &'static str, by: fn(&Provider, &App, &Value)) -> Self {
        Self { why, by, status: 400, code: "invalid_grant" }
    }

    const fn client(why: &'static str, by: fn(&Provider, &App, &Value)) -> Self {
        Self { why, by, status: 401, code: "invalid_client" }
    }
}

/// Every way there is.
pub const ENDS: [End; 9] = [
    End::grant("its client gives the refresh token back", |provider, app, tokens| {
        assert_eq!(revoke(provider, app, text(tokens, "refresh_token")).status, 200);
    }),
    End::grant("a spent refresh token comes again", |provider, app, tokens| {
        refreshed(provider, app, text(tokens, "refresh_token"));
        spent_long_ago(provider, text(tokens, "refresh_token"));
        refused(&refresh(provider, app, text(tokens, "refresh_token")), 400, "invalid_grant");
    }),
    End::grant("a code of it is used twice", |provider, app, _| {
        let code = Person::new(provider).allow(app, "read");
        given(provider, &provider.redeem(app, &code));
        refused(&provider.redeem(app, &code), 400, "invalid_grant");
    }),
    End::grant("the user withdraws it", |provider, _, _| {
        let mut person = Person::new(provider);
        let mut page = person.begin("/oauth/grants");
        // Of all apps, since they were let in by the same user.
        while page.reply.text().contains("action=\"/oauth/grants") {
            let ticket = page.field_of("/oauth/grants", "ticket");
            page = person.post(&format!("{ISSUER}/oauth/grants"), &[("ticket", &ticket)]);
            page = person.follow(page);
        }
    }),
    End::grant("an operator revokes the grant", |provider, _, tokens| {
        let record = provider.gate.redis().get(&key_of("refresh", text(tokens, "refresh_token")));
        operate(provider, &["grant", "revoke", text(&record, "grant")]);
    }),
    End::grant("an operator revokes the user", |provider, _, _| {
        operate(provider, &["user", "revoke", USER]);
    }),
    End::client("the secret has leaked", |provider, app, _| {
        operate(provider, &["client", "rotate-secret", &app.id, "--revoke-tokens"]);
    }),
    End::client("the client is disabled", |provider, app, _| {
        operate(provider, &["client", "disable", &app.id]);
    }),
    End::client("the client is deleted", |provider, app, _| {
        operate(provider, &["client", "delete", &app.id]);
    }),
];
