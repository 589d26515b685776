//! What people read, as they read it.

use serde_json::{Value, json};

use super::status::status;
use super::*;
use crate::oauth::records::Ended;

const COLOUR: Style = Style { colour: true };

fn sample(id: &str, enabled: bool) -> ClientView {
    ClientView {
        client_id: id.to_owned(),
        name: "Shop \u{fc}".to_owned(),
        scopes: "read write:lead".to_owned(),
        enabled,
        confidential: enabled,
        created: Timestamp::from_unix(1_767_225_600),
        rate: enabled.then_some(ClientRate { requests: 600, seconds: 60, burst: 100 }),
        own_api_key: None,
        redirect_uris: Vec::new(),
        grant_types: Vec::new(),
        default_scopes: None,
        skip_consent: false,
        origins: Vec::new(),
        user: None,
        previous_secret_until: None,
        document: None,
        self_registered: false,
    }
}

#[test]
fn columns_stand_under_each_other() {
    let list = ClientList { clients: vec![sample("crm", true), sample("a-longer-one", false)] };
    assert_eq!(
        clients(&list, Style::PLAIN),
        "\
CLIENT        NAME    SCOPES           STATE     KIND          RATE                 CREATED
crm           Shop \u{fc}  read write:lead  enabled   confidential  600/1m, 100 at once  2026-01-01
a-longer-one  Shop \u{fc}  read write:lead  disabled  public        as configured        2026-01-01
"
    );
}

#[test]
fn colours_change_no_column() {
    let list = ClientList { clients: vec![sample("crm", true), sample("a-longer-one", false)] };
    let coloured = clients(&list, COLOUR);
    assert!(coloured.contains("\x1b[32menabled\x1b[0m") && coloured.contains("\x1b[31mdisabled\x1b[0m"), "{coloured}");
    let mut bare = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, clients(&list, Style::PLAIN));
}

#[test]
fn a_secret_stands_alone_on_its_line_with_a_note() {
    let created = ClientWithSecret { client: sample("crm", true), client_secret: Some(SecretText::new("s3cret")) };
    assert_eq!(
        client_with_secret(&created, Style::PLAIN),
        "\
client   crm
name     Shop \u{fc}
scopes   read write:lead
state    enabled
kind     confidential
rate     600/1m, 100 at once
created  2026-01-01 00:00:00Z

s3cret

The client secret is shown this once; the store keeps its SHA-256 only.
"
    );
    assert!(!format!("{created:?}").contains("s3cret"));
}

#[test]
fn a_client_that_comes_by_tokens_itself_shows_how() {
    let client = ClientView {
        redirect_uris: vec!["https://a.example/cb".to_owned(), "https://b.example/cb".to_owned()],
        grant_types: GrantType::ALL.to_vec(),
        default_scopes: Some("read".to_owned()),
        origins: vec!["https://a.example".to_owned()],
        user: Some("etl@example.com".to_owned()),
        previous_secret_until: Some(Timestamp::from_unix(1_767_229_200)),
        ..sample("crm", true)
    };
    assert_eq!(
        super::client(&client, Style::PLAIN),
        "\
client          crm
name            Shop \u{fc}
scopes          read write:lead
state           enabled
kind            confidential
rate            600/1m, 100 at once
created         2026-01-01 00:00:00Z
grant types     authorization_code refresh_token client_credentials
redirect uris   https://a.example/cb
                https://b.example/cb
consent         each user is asked
default scopes  read
origins         https://a.example
speaks for      etl@example.com
old secret      counts until 2026-01-01 01:00:00Z
"
    );
}

fn sample_grant(id: &str, state: GrantState, ended: Option<End>) -> GrantView {
    GrantView {
        grant_id: id.to_owned(),
        client_id: "crm".to_owned(),
        user: "sam@example.com".to_owned(),
        scope: "read".to_owned(),
        created: Timestamp::from_unix(1_767_225_600),
        used: Timestamp::from_unix(1_767_229_200),
        state,
        ended: ended.map(|by| Ended { at: Timestamp::from_unix(1_767_312_000), by }),
        site_token: None,
    }
}

#[test]
fn grants_stand_under_each_other_and_say_how_they_ended() {
    let list = GrantList {
        grants: vec![
            sample_grant("g-1", GrantState::Live, None),
            sample_grant("g-20", GrantState::Revoked, None),
            sample_grant("g-3", GrantState::Ended, Some(End::User)),
        ],
        more: false,
    };
    assert_eq!(
        grants(&list, Style::PLAIN),
        "\
GRANT  CLIENT  USER             SCOPE  STATE                  CREATED     USED
g-1    crm     sam@example.com  read   live                   2026-01-01  2026-01-01 01:00:00Z
g-20   crm     sam@example.com  read   revoked                2026-01-01  2026-01-01 01:00:00Z
g-3    crm     sam@example.com  read   withdrawn by the user  2026-01-01  2026-01-01 01:00:00Z
"
    );
    assert!(grants(&GrantList { more: true, ..list }, Style::PLAIN).ends_with("\nThere are more; name both --client and --user.\n"));
    assert!(grants(&GrantList { grants: Vec::new(), more: false }, Style::PLAIN).contains("consent page"));
    let one = GrantView { site_token: Some(true), ..sample_grant("g-3", GrantState::Ended, Some(End::Reuse)) };
    assert_eq!(
        grant(&one, Style::PLAIN),
        "\
grant       g-3
client      crm
user        sam@example.com
scope       read
state       ended: something was used twice
created     2026-01-01 00:00:00Z
used        2026-01-01 01:00:00Z
ended       2026-01-02 00:00:00Z
site token  kept, sealed
"
    );
}

#[test]
fn what_was_revoked_is_said_with_what_follows() {
    let told = |ended| revoked_grant(&sample_grant("g\u{1b}", GrantState::Ended, Some(ended)));
    assert_eq!(told(End::Operator), "grant g\\u{1b} is revoked; crm must ask sam@example.com again\n");
    assert_eq!(
        told(End::Client),
        "grant g\\u{1b} of sam@example.com to crm had ended already, on 2026-01-02 00:00:00Z: given back by the app\n"
    );
    for (grants, told) in [(0, "spelled as Frappe spells it"), (1, "1 grant is ended"), (2, "2 grants are ended")] {
        let text = revoked_user(&RevokedUser { user: "sam\u{1b}@example.com".to_owned(), grants, revoked: true });
        assert!(text.contains(told) && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn what_a_store_holds_cannot_speak_to_the_terminal() {
    let evil = ClientView { name: "x\x1b[2J\u{202e}y\r\n\u{9b}31m".to_owned(), ..sample("crm", true) };
    let text = client(&evil, Style::PLAIN);
    assert!(text.contains("name     x\\u{1b}[2J\\u{202e}y\\r\\n\\u{9b}31m\n"), "{text}");
}

#[test]
fn a_list_says_that_it_was_cut_and_an_empty_one_what_to_do() {
    let token = TokenView {
        hash: "00".repeat(32),
        fingerprint: "0011223344556677".to_owned(),
        client_id: "crm".to_owned(),
        user: "sam@example.com".to_owned(),
        scope: "read".to_owned(),
        grant: None,
        issued_at: Timestamp::from_unix(0),
        expires_at: Timestamp::from_unix(u64::MAX),
        state: None,
    };
    let text = tokens(&TokenList { tokens: vec![token], more: true }, Style::PLAIN);
    assert_eq!(
        text,
        "\
TOKEN             USER             SCOPE  ISSUED                EXPIRES
0011223344556677  sam@example.com  read   1970-01-01 00:00:00Z  beyond the calendar

There are more; write --limit with more than 1.
"
    );
    assert!(tokens(&TokenList { tokens: Vec::new(), more: false }, Style::PLAIN).contains("token issue"));
    assert!(clients(&ClientList { clients: Vec::new() }, Style::PLAIN).contains("client create"));
}

#[test]
fn a_whole_status_is_shown() {
    let now = Timestamp::from_unix(1_767_225_600);
    let told = json!({
        "version": "0.1.0", "started": now.unix() - 90_061,
        "store": {"kind": "redis", "reachable": false},
        "sites": [
            {"name": "erp.example.com", "servers": [
                {"server": "http://127.0.0.1:8000", "healthy": true, "failures": 0},
                {"server": "http://127.0.0.1:8001", "healthy": false, "failures": 3},
            ], "revocation_log": {"age_ms": 112, "in_touch": true, "started_over": 1, "gateways": 2}},
            {"name": "shop.example.com", "servers": [], "revocation_log": {"age_ms": 5200, "in_touch": false, "started_over": 0}},
            {"name": "new.example.com", "servers": [], "revocation_log": {"age_ms": null, "in_touch": false, "gateways": 0}},
            {"name": "old.example.com", "servers": []},
        ],
        "cache": {"entries": 12, "hits": 999, "misses": 1},
        "connections": {"open": 3, "accepted": 70, "refused": 0},
        "certificates": [
            {"file": "/etc/a.pem", "names": ["erp.example.com", "*.example.org"], "expires": now.unix() + 30 * 86_400},
            {"file": "/etc/b.pem", "names": [], "expires": now.unix()},
        ],
        "audit": {"lost": 2, "stuck": true},
    });
    assert_eq!(
        status(&told, now, Style::PLAIN),
        "\
version      0.1.0
running      1d 1h, since 2025-12-30 22:58:59Z
store        redis, NOT reachable
cache        12 tokens; 999 hits, 1 misses (99.9%)
connections  3 open, 70 accepted, 0 refused
audit        NOT WRITTEN NOW, 2 LINES LOST

SITE              SERVER                 STATE    FAILURES
erp.example.com   http://127.0.0.1:8000  healthy  0
erp.example.com   http://127.0.0.1:8001  resting  3
shop.example.com
new.example.com
old.example.com

SITE              REVOCATIONS READ                         GATEWAYS  STARTED OVER
erp.example.com   112 ms ago                               2         1
shop.example.com  5200 ms ago, TOO LONG: nobody is let in  ?         0
new.example.com   NEVER: nobody is let in                  0

CERTIFICATE  NAMES                          EXPIRES
/etc/a.pem   erp.example.com *.example.org  2026-01-31 00:00:00Z, 30 days left
/etc/b.pem                                  2026-01-01 00:00:00Z, EXPIRED
"
    );
}

#[test]
fn a_status_of_another_version_is_shown_as_far_as_it_is_understood() {
    let now = Timestamp::from_unix(1_767_225_600);
    for told in [
        Value::Null,
        json!({}),
        json!([1, 2]),
        json!({"version": 7, "started": "x", "store": [], "sites": {}, "cache": 1, "certificates": "none", "audit": null}),
    ] {
        assert_eq!(status(&told, now, COLOUR), "a gate answers, and says nothing of itself\n", "{told}");
    }
    let partly = json!({"version": "9", "store": {"kind": "new"}, "sites": [{}, {"name": "a", "servers": [{}]}], "certificates": [{}]});
    assert_eq!(
        status(&partly, now, Style::PLAIN),
        "\
version  9
store    new

SITE  SERVER  STATE  FAILURES
?
a     ?       ?

CERTIFICATE  NAMES  EXPIRES
?                   ?
"
    );
}
