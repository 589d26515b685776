//! How a token may be shown (DESIGN section 10 rule 7): in one `Authorization` header, `Bearer` and one token68, and nowhere else.

use crate::support::exchange::exchange;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::verdict::{reason, unauthorized};
use crate::support::wire::{Reply, Wire};
use crate::support::{eventually, now};

/// The token of cases 133 to 148, as recorded.
const RECORDED: &str = "qVDYd9GfM7aE8ZKSKxo3ndMGjCjeKJ";

#[test]
fn the_scheme_is_written_in_any_case() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    for case in ["133-scheme-lower", "134-scheme-upper"] {
        assert_eq!(Wire::tls(&gate).exchange(exchange(case).with_token(RECORDED, &token)).status, 200, "`{case}`");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn every_other_spelling_is_401() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let cases = [
        "136-three-parts",
        "137-tab",
        "138-scheme-only",
        "142-unknown-scheme",
        "143-empty-token",
        "144-bare-token",
        "145-no-break-pad",
        "146-two-auth-headers",
        "149-apikey-token",
        "150-apikey-basic",
        "152-basic-not-base64",
    ];
    for case in cases {
        let reply = Wire::tls(&gate).exchange(exchange(case).with_token(RECORDED, &token));
        reason(&reply);
        assert_eq!(reply.status, 401, "`{case}`: {reply:?}");
        assert!(reply.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")), "`{case}`: {reply:?}");
    }
    let values = [
        format!("Bearer {token},"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token}; x"),
        format!("Bearer \"{token}\""),
        format!("Bearer={token}"),
        format!("Bearer{token}"),
        format!("Bearer:{token}"),
        format!("Bearer \u{a0}{token}"),
        format!("Bearer {token}=x"),
        format!("Bearer ={token}"),
        format!("Bearer {}", "a".repeat(513)),
        format!("Basic {token}"),
        format!("Negotiate {token}"),
        String::new(),
        "Bearer =".into(),
        "Bearer %41%41".into(),
    ];
    for value in values {
        let reply = ask(&gate, &format!("Authorization: {value}\r\n"));
        reason(&reply);
        assert_eq!(reply.status, 401, "{value}: {reply:?}");
        assert!(!reply.text().contains(&token) && !format!("{:?}", reply.headers).contains(&token), "nothing is echoed");
    }
    upstream.assert_untouched();
}

#[test]
fn two_credentials_are_401_even_where_both_are_good() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    let good = format!("Authorization: Bearer {token}\r\n");
    for headers in [good.repeat(2), format!("{good}authorization: Basic eDp5\r\n"), format!("Authorization:\r\n{good}")] {
        let reply = ask(&gate, &headers);
        reason(&reply);
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn spaces_around_a_token_are_read_as_http_reads_them_or_refused() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    // RFC 9110 trims spaces around a field value, and allows several behind the scheme; Frappe takes both for no credentials at all.
    for case in ["135-double-space", "139-trailing-space"] {
        let reply = Wire::tls(&gate).exchange(exchange(case).with_token(RECORDED, &token));
        assert!(matches!(reply.status, 200 | 401), "`{case}`: {reply:?}");
    }
}

#[test]
fn no_credentials_get_a_challenge_without_an_error() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for case in ["118-list-guest", "119-method-guest", "401-notb-guest-403", "402-notb-method-guest-403", "547-http10"] {
        unauthorized(&Wire::tls(&gate).exchange(exchange(case).as_recorded()), None);
    }
    upstream.assert_untouched();
}

#[test]
fn a_token_that_is_not_known_is_401_invalid_token_in_the_shape_of_each_version() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    for case in ["130-invalid-token", "127-v2-invalid-token", "400-notb-invalid-token-401", "409-notb-v2-401", "170-expired-token"] {
        let reply = Wire::tls(&gate).exchange(exchange(case).as_recorded());
        unauthorized(&reply, Some("invalid_token"));
        match exchange(case).target().starts_with("/api/v2/") {
            true => assert_eq!(reply.json()["errors"][0]["type"], "AuthenticationError"),
            false => assert_eq!(reply.json()["exc_type"], "AuthenticationError"),
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_token_is_its_exact_bytes() {
    // MariaDB compares without case (T140, T141, T145); the gate must not.
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("read");
    for other in [token.to_uppercase(), token.to_lowercase(), format!("{token}="), format!("{token}A"), token[1..].to_owned()] {
        unauthorized(&ask(&gate, &format!("Authorization: Bearer {other}\r\n")), Some("invalid_token"));
    }
    upstream.assert_untouched();
}

#[test]
fn a_token_in_the_query_or_the_body_is_refused_even_beside_a_good_one() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let token = gate.token("all");
    let good = format!("Authorization: Bearer {token}\r\n");
    for authorization in ["", &good] {
        let form = format!("access_token={token}");
        let requests = [
            format!("GET /api/resource/ToDo?access_token={token} HTTP/1.1\r\nHost: fake.test\r\n{authorization}\r\n"),
            format!("GET /api/resource/ToDo?a=b&%61ccess%5ftoken={token} HTTP/1.1\r\nHost: fake.test\r\n{authorization}\r\n"),
            format!(
                "POST /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n{authorization}\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            ),
        ];
        for request in requests {
            let reply = Wire::tls(&gate).exchange(&request);
            reason(&reply);
            assert!((400..500).contains(&reply.status), "{request}: {reply:?}");
            assert!(!reply.text().contains(&token), "nothing the client sent is echoed");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_token_ends_on_its_expiry_second() {
    let upstream = Upstream::json("{}");
    let gate = Setup::new(&upstream).start();
    let exp = now() + 2;
    let token = gate.token_until("read", exp);
    let mut wire = Wire::tls(&gate);
    let mut served = 0;
    eventually("the token ends", || {
        let before = now();
        let reply = wire.exchange(crate::support::wire::request("GET", "/api/resource/ToDo", &token));
        let after = now();
        match reply.status {
            200 => {
                assert!(before < exp, "served at {before}, and the token ended at {exp}");
                served += 1;
                false
            }
            _ => {
                unauthorized(&reply, Some("invalid_token"));
                assert!(after >= exp, "refused at {after}, and the token lives until {exp}");
                true
            }
        }
    });
    assert!(served > 0, "it was good before");
}

fn ask(gate: &crate::support::gate::Gate, headers: &str) -> Reply {
    Wire::tls(gate).exchange(format!("GET /api/resource/ToDo HTTP/1.1\r\nHost: fake.test\r\n{headers}\r\n"))
}
