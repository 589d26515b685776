//! What the demo prints: the OAuth flow step by step, with `curl` lines that work as they stand, or one line of JSON for scripts.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::admin::message::SecretText;
use crate::app::demo::{CLIENT, PASSWORD, USER};
use crate::policy::query::Pairs;

/// Where Frappe's clients look for the endpoints.
const FRAPPE: &str = "/api/method/frappe.integrations.oauth2.";

/// What the demo app asks for.
const SCOPE: &str = "read write";

/// Scopes, and a token that has them.
pub type Tokens = Vec<(&'static str, SecretText)>;

pub struct Guide {
    pub base_url: String,
    pub http_url: String,
    pub ca_file: PathBuf,
    pub upstream_url: String,
    pub metrics: String,
    pub redirect_uri: String,
    /// What the demo app sends along, and wants to see again.
    pub state: String,
    pub client_secret: SecretText,
    pub tokens: Tokens,
}

impl Guide {
    pub fn line(&self) -> String {
        let tokens: Map<String, Value> = self.tokens.iter().map(|(scopes, token)| ((*scopes).to_owned(), token.reveal().into())).collect();
        let line = json!({
            "base_url": self.base_url,
            "http_url": self.http_url,
            "ca_file": self.ca_file,
            "upstream_url": self.upstream_url,
            "authorize_url": self.authorize_url(),
            "token_url": self.endpoint("get_token"),
            "revoke_url": self.endpoint("revoke_token"),
            "login": {"user": USER, "password": PASSWORD},
            "app": {"client_id": CLIENT, "client_secret": self.client_secret.reveal(), "redirect_uri": self.redirect_uri},
            "tokens": tokens,
        });
        format!("{line}\n")
    }

    /// Where a browser begins.
    fn authorize_url(&self) -> String {
        let mut url = format!("{}?", self.endpoint("authorize"));
        let fields = [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", &self.redirect_uri),
            ("scope", SCOPE),
            ("state", &self.state),
        ];
        Pairs::from_fields(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).write(&mut url);
        url
    }

    fn endpoint(&self, name: &str) -> String {
        [&self.base_url, FRAPPE, name].concat()
    }

    fn curl(&self, rest: &str) -> String {
        format!("curl -sS --cacert {} {rest}", self.ca_file.display())
    }

    fn with_token(&self, token: &str, rest: &str) -> String {
        self.curl(&format!("-H \"Authorization: Bearer {token}\" {rest}"))
    }

    /// Redeems a code, which may be the name of a shell variable.
    pub fn redeem(&self, code: &str) -> String {
        let (secret, to, url) = (self.client_secret.reveal(), &self.redirect_uri, self.endpoint("get_token"));
        self.curl(&format!(
            "-d grant_type=authorization_code -d client_id={CLIENT} -d client_secret={secret} -d redirect_uri={to} -d code=\"{code}\" {url}"
        ))
    }

    /// What each step behind the browser's is for, and what to run.
    fn flow(&self) -> [(&'static str, String); 5] {
        let (base, secret) = (&self.base_url, self.client_secret.reveal());
        let (get_token, revoke) = (self.endpoint("get_token"), self.endpoint("revoke_token"));
        [
            (
                "The app's page shows a code, which counts once and for a minute, and this line with the code in it:",
                format!("CODE='the code'\n   {}", self.redeem("$CODE")),
            ),
            (
                "That answers an access token, which counts for an hour. Read with it:",
                format!("TOKEN='the access_token'\n   {}", self.with_token("$TOKEN", &format!("{base}/api/resource/Item"))),
            ),
            (
                "Create. To delete the Lead again would be a 403: nobody has allowed that.",
                self.with_token("$TOKEN", &self.lead()),
            ),
            (
                "Get a new access token, and a new refresh token with it:",
                format!(
                    "REFRESH='the refresh_token'\n   {}",
                    self.curl(&format!(
                        "-d grant_type=refresh_token -d client_id={CLIENT} -d client_secret={secret} -d refresh_token=\"$REFRESH\" {get_token}"
                    ))
                ),
            ),
            (
                "Revoke the first access token; within a second it is a 401.",
                self.curl(&format!("-u {CLIENT}:{secret} -d token=\"$TOKEN\" {revoke}")),
            ),
        ]
    }

    fn lead(&self) -> String {
        let lead = r#"{"lead_name":"OAuth Lead","email_id":"oauth@test.com"}"#;
        format!("-H 'Content-Type: application/json' -d '{lead}' {}/api/resource/Lead", self.base_url)
    }

    /// What can be tried without a browser.
    fn trials(&self) -> [(&'static str, String); 5] {
        let [read, write, all] = ["read", "read write", "all"].map(|scopes| self.token(scopes));
        let base = &self.base_url;
        [
            (
                "Read: a `read` token lists what it may see.",
                self.with_token(
                    read,
                    &format!("-G --data-urlencode 'fields=[\"name\",\"item_name\"]' -d limit_page_length=3 {base}/api/resource/Item"),
                ),
            ),
            ("Create: a `read write` token adds a Lead.", self.with_token(write, &self.lead())),
            (
                "403: a `read` token may not delete. Frappe itself would let it.",
                self.with_token(read, &format!("-i -X DELETE {base}/api/resource/Item/ITEM-0001")),
            ),
            ("401: nobody issued this token.", self.with_token("not-a-token", &format!("-i {base}/api/resource/Item"))),
            (
                "The `cmd` trick: a list request that would delete. Refused, even to `all`.",
                self.with_token(
                    all,
                    &format!(
                        "-i -G -d cmd=frappe.desk.reportview.delete_items -d doctype=Item --data-urlencode 'items=[\"ITEM-0001\"]' {base}/api/resource/Item"
                    ),
                ),
            ),
        ]
    }

    fn token(&self, scopes: &str) -> &str {
        self.tokens.iter().find(|(known, _)| *known == scopes).map_or("", |(_, token)| token.reveal())
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "scopegate demo: {} guards pocket ERP at {}\n\n\
             An app asks a user\n\n\
             1. Open this in a browser and go on past its warning, since the certificate is the demo's own.\n   \
             Sign in as {USER} with the password {PASSWORD}, and allow.\n   {}\n",
            self.base_url,
            self.upstream_url,
            self.authorize_url(),
        );
        let mut number = 1;
        let mut step = |text: &mut String, (what, command): (&str, String)| {
            number += 1;
            text.push_str(&format!("\n{number}. {what}\n   {command}\n"));
        };
        for each in self.flow() {
            step(&mut text, each);
        }
        text.push_str(&format!("\n   What you allowed is listed, and withdrawn, at {}/oauth/grants\n\n", self.base_url));
        text.push_str("Tokens that are there already (8 hours)\n");
        for scopes in ["read", "read write", "all"] {
            text.push_str(&format!("   {scopes:18} {}\n", self.token(scopes)));
        }
        for each in self.trials() {
            step(&mut text, each);
        }
        text.push_str(&format!(
            "\nMetrics: http://{}/metrics   Audit log: {}\nCtrl-C ends it and removes everything.\n",
            self.metrics,
            self.ca_file.with_file_name("audit.log").display()
        ));
        text
    }
}
