//! The recorded OAuth exchanges of a real site, asked again in their order. Every answer must be the recorded one, byte for byte, once what
//! is random or a time has been given the same name on both sides.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::send;
use crate::pocket::Pocket;
use crate::pocket::oauth::{client, token};
use crate::pocket::reply::{Cookies, Spacing, python_json};

#[derive(Deserialize)]
struct Exchange {
    case: String,
    request: Option<Request>,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

const SAM: &str = "sam.fake@example.test";
const LOU: &str = "lou.fake@example.test";
const CALLBACK: &str = "http://127.0.0.1:9999/cb";
const VERIFIER: &str = "fakeverifierfakeverifierfakeverifierfakeverifier1";

/// A site with the people and clients of the recordings, and what its secrets were called there.
struct Replay {
    pocket: Pocket,
    exchanges: BTreeMap<String, Exchange>,
    ours: BTreeMap<String, String>,
}

impl Replay {
    fn new() -> Replay {
        let pocket = Pocket::sample()
            .with_oauth_client("pak1iun73r", "082c0ee9d9", &[CALLBACK], "all openid", true)
            .with_oauth_client("pak2ab7f97", "1234567890", &[CALLBACK], "all openid", true)
            .with_oauth_client("pak2cjrnla", "1234567890", &[CALLBACK], "all openid", false);
        for (email, first_name, last_name, password) in
            [(SAM, "Sam", "Fake", "fake-sam-pw-1!"), (LOU, "Lou", "Fake", "fake-lou-pw-1!"), ("max.fake@example.test", "Max", "Fake", "x")]
        {
            let values = json!({"email": email, "first_name": first_name, "last_name": last_name, "roles": [{"role": "System Manager"}]});
            let values = values.as_object().expect("written as an object");
            pocket.lock().site.insert("Administrator", "User", values).expect("a user");
            pocket.lock().site.set_password(email, password);
        }
        let pocket = pocket.with_key("sam", "secret", SAM);
        let all: Vec<Exchange> =
            serde_json::from_str(include_str!("../../../tests/frappe/exchanges.json")).expect("the recordings are JSON");
        let exchanges = all.into_iter().map(|exchange| (exchange.case.clone(), exchange)).collect();
        Replay { pocket, exchanges, ours: BTreeMap::new() }
    }

    /// Whatever was recorded, with the secrets of this site.
    fn translated(&self, text: &str) -> String {
        self.ours.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    fn learn(&mut self, theirs: &str, ours: &str) {
        self.ours.insert(theirs.to_owned(), ours.to_owned());
    }

    /// A pair that was issued outside the recordings.
    fn seed_pair(&mut self, access: &str, refresh: &str, client_id: &str, user: &str, scopes: &str) {
        let mut state = self.pocket.lock();
        let now = state.oauth.now();
        let client = state.site.find("OAuth Client", client_id).expect("a client of the test");
        let scopes: Vec<String> = scopes.split(' ').map(str::to_owned).collect();
        let Ok(issued) = token::issue(&mut state.site, &client, user, &scopes, now) else { panic!("{user} gets a pair") };
        drop(state);
        self.learn(access, &issued.access_token);
        self.learn(refresh, &issued.refresh_token);
    }

    /// A session that was opened outside the recordings.
    fn seed_session(&mut self, theirs: &str, user: &str, password: &str) {
        let body = format!("usr={user}&pwd={password}");
        let reply = send(&self.pocket, "POST", "/api/method/login", form_headers(), &body);
        let Cookies::Session { sid, .. } = reply.cookies else { panic!("{user} can sign in") };
        self.learn(theirs, &sid);
    }

    /// A code that was issued outside the recordings, for the rest of the query.
    fn seed_code(&mut self, theirs: &str, rest: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("user_id=sam.fake%40example.test"));
        headers.insert("authorization", HeaderValue::from_static("token sam:secret"));
        let target = format!(
            "/api/method/frappe.integrations.oauth2.approve?client_id=pak1iun73r&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%3A9999%2Fcb&scope=all%20openid{rest}"
        );
        let reply = send(&self.pocket, "GET", &target, headers, "");
        let location = reply.location.expect("a code");
        self.learn(theirs, parameter(&location, "code"));
    }

    fn play(&mut self, case: &str) {
        let exchange = self.exchanges.remove(case).unwrap_or_else(|| panic!("there is no recorded case `{case}`"));
        let (request, recorded) = (exchange.request.expect(case), exchange.response.expect(case));
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a recorded name");
            headers.append(name, HeaderValue::from_str(&self.translated(&value)).expect("a recorded value"));
        }
        let (target, body) = (self.translated(&request.target), self.translated(request.body.as_deref().unwrap_or_default()));
        // The recordings end lines with \n where the wire had \r\n.
        let body = if body.starts_with("--") { body.replace("\r\n", "\n").replace('\n', "\r\n") } else { body };
        let reply = send(&self.pocket, &request.method, &target, headers, &body);
        let body = reply.body.clone();
        let response = reply.into_http();
        let header = |name| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let theirs = |name: &str| recorded.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());

        assert_eq!(response.status().as_u16(), recorded.status, "{case}: {body}");
        assert_eq!(header(CONTENT_TYPE).as_deref(), theirs("content-type"), "{case}");
        if let (Some(location), Some(recorded)) = (header(LOCATION), theirs("location"))
            && recorded.contains("code=")
        {
            self.learn(parameter(recorded, "code"), parameter(&location, "code"));
        }
        let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text")).collect();
        let recorded_cookies: Vec<_> = recorded.headers.iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, value)| value).collect();
        assert_eq!(cookies.len(), recorded_cookies.len(), "{case}");
        for (cookie, recorded) in cookies.iter().zip(recorded_cookies) {
            let pair = |cookie: &str| cookie.split(';').next().unwrap_or_default().to_owned();
            if recorded.starts_with("sid=") && !recorded.starts_with("sid=Guest") && pair(recorded).len() > 4 {
                self.learn(&pair(recorded)[4..], &pair(cookie)[4..]);
            }
            assert_eq!(pair(cookie), self.translated(&pair(recorded)), "{case}");
        }
        let recorded_body = recorded.body.as_deref().unwrap_or_default();
        if let (Ok(ours), Ok(recorded)) = (serde_json::from_str::<Value>(&body), serde_json::from_str::<Value>(recorded_body)) {
            for key in ["access_token", "refresh_token", "sub"] {
                if let (Some(Value::String(recorded)), Some(Value::String(ours))) = (recorded.get(key), ours.get(key)) {
                    self.learn(recorded, ours);
                }
            }
        }
        assert_eq!(header(LOCATION), theirs("location").map(|location| self.translated(location)), "{case}");
        assert_eq!(named(&body), named(&self.translated(recorded_body)), "{case}");
    }

    fn play_all(&mut self, cases: &[&str]) {
        for case in cases {
            self.play(case);
        }
    }
}

fn form_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))])
}

fn parameter<'a>(location: &'a str, name: &str) -> &'a str {
    let query = location.split_once('?').expect("a query").1;
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).expect("the parameter").1
}

/// A body without its traceback, and with one name for what is random or a time. Bodies that are no JSON stay as they are.
fn named(body: &str) -> String {
    let Ok(Value::Object(mut object)) = serde_json::from_str(body) else { return body.to_owned() };
    object.shift_remove("exception");
    object.shift_remove("exc");
    if let Some(exp) = object.get_mut("exp") {
        *exp = "EXP".into();
    }
    if let Some(Value::String(token)) = object.get_mut("id_token") {
        let parts: Vec<&str> = token.split('.').collect();
        let decoded = |part: &str| String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("text");
        let mut claims: Value = serde_json::from_str(&decoded(parts[1])).expect("claims");
        assert_eq!(claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time"), 3600);
        for random in ["iat", "exp", "at_hash", "sub"] {
            claims[random] = random.into();
        }
        *token = format!("{}.{}", decoded(parts[0]), python_json(&claims, Spacing::Compact));
    }
    let mut text = python_json(&Value::Object(object), Spacing::Compact);
    const MARK: &str = "__frappe_exc_id\\\\\\\": \\\\\\\"";
    if let Some(at) = text.find(MARK) {
        text.replace_range(at + MARK.len()..at + MARK.len() + 56, "ID");
    }
    text
}

#[test]
fn the_code_flow_and_its_tokens_are_answered_as_recorded() {
    let mut replay = Replay::new();
    replay.play_all(&["03-login-ok", "04-openid-configuration"]);
    replay.play_all(&["10-authorize-guest", "11-authorize-skip", "12-approve"]);
    replay.seed_session("1996eb27da52de564f6fec0a91509e4c797d440eefa1cd3860fc9658", SAM, "fake-sam-pw-1!");
    replay.play_all(&["12b-approve-direct-skips-consent", "14-authorize-bad-scope", "15-authorize-no-scope", "16-authorize-bad-client"]);
    replay.play_all(&["17-authorize-bad-redirect", "18-authorize-bad-response-type", "19-authorize-no-redirect-uri"]);
    replay.play_all(&["20-get_token-bad-code", "21-get_token-ok-no-secret", "22-get_token-code-reuse", "23-get_token-bad-grant"]);
    replay.play_all(&["24-get_token-unknown-grant", "25-get_token-missing-grant", "26-get_token-bad-client", "27-get_token-GET"]);
    replay.play_all(&["28-get_token-json-body", "29-get_token-query-params", "30-get_token-password", "32-get_token-wrong-secret"]);
    replay.play_all(&["33-get_token-scope-not-allowed", "34-refresh-ok", "35-refresh-old-again", "36-old-access-after-refresh"]);
    replay.play_all(&["37-refresh-other-client", "38-refresh-bad", "39-refresh-wider-scope", "40-refresh-no-client-id"]);
    replay.play_all(&["41-openid_profile", "42-openid_profile-no-openid-scope", "43-openid_profile-no-token", "44-openid_profile-POST"]);
    replay.play_all(&["45-introspect-access", "46-introspect-refresh", "47-introspect-unknown", "48-introspect-GET"]);
    replay.play_all(&["49-introspect-access-wrong-hint", "50-revoke-GET", "51-revoke-missing-token", "52-revoke-unknown"]);
    replay.play_all(&["53-revoke-access", "54-revoked-access-use", "55-refresh-after-access-revoked", "56-introspect-revoked"]);
    replay.play_all(&["57-token-for-revoke-by-refresh", "58-revoke-by-refresh-hint", "59-access-after-refresh-revoke"]);
    replay.play("153-get_token-client_secret_basic");
    replay.seed_pair("theirs-154", "9lvQEZlglptWDMMEf8YT0gIUhvOhq5", "pak1iun73r", SAM, "all");
    replay.seed_pair("869VNuQUdsFhARxY373tB7Hob0VuzH", "theirs-156", "pak1iun73r", SAM, "all");
    replay.play_all(&["154-revoke-refresh-with-client_id", "155-revoke-unknown-with-client_id", "156-revoke-others-token-other-client"]);
    assert_eq!(replay.pocket.refreshes(), 7, "T34, T35, T37-T40, T55; T153 did not get that far");
}

#[test]
fn codes_are_redeemed_as_recorded() {
    let mut replay = Replay::new();
    let s256 = "&code_challenge_method=S256&code_challenge=";
    let challenge = BASE64URL_NOPAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes()).as_ref());
    replay.seed_code("Ru83pBwSr88IwHXQVVmX6M5QCXab2x", &format!("{s256}{challenge}"));
    replay.seed_code("vpkPOVLK7h8lBo8aQoh2tccus49tmK", &format!("{s256}{challenge}"));
    replay.seed_code("5DfU7wIZVpSvvaRw5Qg11qV28gs79X", &format!("&code_challenge_method=plain&code_challenge={VERIFIER}"));
    replay.seed_code("WIIiZwIXZzArE4SuLVwIyBabblS2Lu", &format!("&code_challenge={VERIFIER}"));
    replay.seed_code("XCKC3Y3oSIEUojHu6wQxc7UIY1ciL0", "");
    replay.seed_code("LZKv01euoyBZqdyE1WK0esQmCiLnPT", "");
    replay.play_all(&["320-pkce-wrong-verifier", "321-pkce-right-verifier-after-wrong", "322-pkce-missing-verifier"]);
    replay.play_all(&["323-pkce-verifier-after-missing", "324-pkce-plain", "325-pkce-challenge-without-method", "326-wrong-redirect-uri"]);
    replay.pocket.advance(30 * 86_400);
    replay.play("327-code-30-days-old");
}

#[test]
fn the_life_of_a_token_is_as_recorded() {
    let mut replay = Replay::new();
    let expired = ("91SWxXhsZxN1w91M76qM9XAKTF5h0Q", "7BkiEkXD1qiYQSAubsvo3qa1jTLq64");
    replay.seed_pair(expired.0, expired.1, "pak1iun73r", SAM, "all openid");
    replay.pocket.advance(3600);
    replay.play_all(&["170-expired-token", "171-introspect-expired", "172-refresh-with-expired-access"]);

    replay.seed_pair("bMCcK88EbOijj02ek2mdZMNQOgqNFg", "hgmkZw8JjYtFzTcZdI5l0Fhf5CUpU5", "pak2ab7f97", LOU, "all openid");
    replay.pocket.lock().site.set("User", LOU, "enabled", 0);
    replay.play_all(&["173-disabled-user-bearer", "174-disabled-user-refresh", "176-client-roles-restricted"]);
    replay.pocket.lock().site.set("OAuth Client", "pak2ab7f97", "scopes", "openid");
    replay.play("175-client-scope-removed");
    replay.pocket.lock().site.set("OAuth Client", "pak2ab7f97", "scopes", "all openid");
    let token = replay.ours["bMCcK88EbOijj02ek2mdZMNQOgqNFg"].clone();
    replay.pocket.lock().site.set("OAuth Bearer Token", &token, "client", "deleted");
    replay.play("177-client-deleted");
}

#[test]
fn aliases_scopes_and_forged_cookies_are_as_recorded() {
    let mut replay = Replay::new();
    replay.seed_pair("sL9BSeJoCaKXaK9nkfuCi3L4pH6scL", "theirs-281", "pak1iun73r", LOU, "all openid");
    replay.seed_session("7d737b2c985df4e9bf130abb3d7b62c9b80ed8e25df3384881e19ac3", LOU, "fake-lou-pw-1!");
    replay.play_all(&["281-approve-bearer-forged-user_id-cookie", "284-approve-session-forged-user_id"]);
    let code = replay.ours["Vb67YfJsX4bqWLXMNtaMQie0z3SNWe"].clone();
    let body = format!("grant_type=authorization_code&code={code}&redirect_uri=http%3A%2F%2F127.0.0.1%3A9999%2Fcb&client_id=pak1iun73r");
    let reply = send(&replay.pocket, "POST", "/api/method/frappe.integrations.oauth2.get_token", form_headers(), &body);
    let answer: Value = serde_json::from_str(&reply.body).expect("JSON");
    replay.learn("b3uGy5VwFXojNyByTxNA2p1K56bUBA", answer["access_token"].as_str().expect("T282: a token of Administrator's"));
    replay.play("283-who-am-i-forged");

    {
        let mut state = replay.pocket.lock();
        state.site.set("OAuth Client", "pak1iun73r", "scopes", "all openid read write delete");
    }
    replay.seed_pair("PvSfSHa0Vu5SWE6ULN93c7oxhtPVeh", "theirs-286", "pak1iun73r", SAM, "read");
    replay.play_all(&["285-authenticate_client-cookie-mismatch", "286-get_token-with-bearer-header", "553-get_token-no-scope"]);
    replay.play_all(&["554-refresh-narrow-scope", "555-get_token-dup-param", "556-get_token-multipart"]);
    // T550, T551: the recorded token has its case swapped, and is found.
    replay.seed_pair("nbU9Y2CHhwvvp9NKFMUa4kDlzXGyuO", "theirs-550", "pak1iun73r", SAM, "read openid");
    let token = replay.ours["nbU9Y2CHhwvvp9NKFMUa4kDlzXGyuO"].clone();
    let swapped: String =
        token.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    replay.learn("NBu9Y2cHHWVVP9nkfmuA4KdLZxgYUo", &swapped);
    replay.play_all(&["550-introspect-swapcase", "551-revoke-swapcase"]);
    assert_eq!(token::bearer(&replay.pocket.lock().site, &token, jiff::Timestamp::UNIX_EPOCH), None, "T551");

    replay.seed_pair("E0npbng3hiSJXbA2fgMQ82YJW6E39f", "theirs-552", "pak1iun73r", SAM, "all openid");
    replay.pocket.lock().site.set("OAuth Client", "pak1iun73r", "scopes", "all\nopenid");
    let row = client::find(&replay.pocket.lock().site, "pak1iun73r").expect("the client");
    assert_eq!(client::scopes(&row), ["all", "openid"], "T552: issued");
    replay.play("552-client-scopes-newline");
}
