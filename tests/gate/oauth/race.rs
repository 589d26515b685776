//! A hundred apps at the same instant with the same code or refresh token: one wins, on each store, and at two gates with one store.

use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::json;

use crate::oauth::endpoints::{TOKEN, change, lives, refresh, refreshed, refused, shown, text};
use crate::support::gate::Gate;
use crate::support::now;
use crate::support::provider::{App, CALLBACK, Frappe, Person, Provider, encoded};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};
use crate::support::wire::{Reply, Wire};

const CALLERS: usize = 100;

/// A hundred connections are a load for the machine of a test: what is slow must not look as if it were away.
const PATIENT: &str = "[store]\nlookup_timeout = \"10s\"";

/// Sends the same form on a hundred open connections at once, to each of the gates in turn.
fn at_once(gates: &[&Gate], app: &App, form: &[(&str, &str)]) -> Vec<Reply> {
    let body = encoded(&shown(app, form));
    let request: Arc<str> = format!(
        "POST {TOKEN} HTTP/1.1\r\nHost: {SITE}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
    let start = Arc::new(Barrier::new(CALLERS));
    let callers = (0..CALLERS).map(|number| {
        let mut wire = Wire::tls(gates[number % gates.len()]);
        let (request, start) = (Arc::clone(&request), Arc::clone(&start));
        // The handshake is done before anybody starts.
        assert_eq!(wire.exchange(format!("GET /oauth/jwks HTTP/1.1\r\nHost: {SITE}\r\n\r\n")).status, 200);
        thread::spawn(move || {
            start.wait();
            wire.exchange(&*request)
        })
    });
    let callers: Vec<_> = callers.collect();
    callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
}

/// On each store alone, and on a Redis that a second gate shares.
fn on_each(test: impl Fn(&Provider, &[&Gate])) {
    let frappe = Frappe::start();
    let setup = Setup::embedded_at(&frappe.url()).config(PATIENT);
    let provider = Provider::begin(setup, frappe, "");
    test(&provider, &[&provider.gate]);

    let frappe = Frappe::start();
    let setup = Setup::on(Redis::start(), &frappe.url()).config(PATIENT);
    let provider = Provider::begin(setup, frappe, "");
    test(&provider, &[&provider.gate]);

    let setup = Setup::redis_at(&provider.gate.redis().url(), &provider.frappe.url()).config(PATIENT);
    let second = Provider::setup(setup, &provider.frappe, "").start();
    test(&provider, &[&provider.gate, &second]);
}

/// How many live tokens the operator sees.
fn tokens_of(provider: &Provider, app: &App) -> usize {
    let listed = provider.gate.cli_json(&["token", "list", "--client", &app.id, "--json"]);
    listed.as_array().or_else(|| listed["tokens"].as_array()).unwrap_or_else(|| panic!("no list: {listed}")).len()
}

#[test]
fn a_hundred_redemptions_at_once_have_one_winner() {
    on_each(|provider, gates| {
        let app = provider.confidential(&format!("race-{}", gates.len()), "read");
        let code = Person::new(provider).allow(&app, "read");
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
        let (won, lost): (Vec<_>, Vec<_>) = at_once(gates, &app, &form).into_iter().partition(|reply| reply.status == 200);
        assert_eq!((won.len(), lost.len()), (1, CALLERS - 1), "{:?}", lost.iter().map(Reply::text).collect::<Vec<_>>());
        for reply in &lost {
            refused(reply, 400, "invalid_grant");
        }
        // One of those who had the code is a thief, and nobody knows which: what the winner got is worth nothing any more.
        let tokens = won[0].json();
        for name in ["access_token", "refresh_token"] {
            provider.gate.keep_secret(text(&tokens, name));
        }
        assert!(!lives(provider, text(&tokens, "access_token")));
        refused(&refresh(provider, &app, text(&tokens, "refresh_token")), 400, "invalid_grant");
        // What losers wrote before they lost was taken back.
        assert!(tokens_of(provider, &app) <= 1);
    });
}

#[test]
fn a_hundred_refreshes_at_once_make_one_successor() {
    on_each(|provider, gates| {
        let app = provider.confidential(&format!("race-{}", gates.len()), "read");
        let first = provider.tokens(&app, "read");
        let spent = text(&first, "refresh_token");
        let replies = at_once(gates, &app, &[("grant_type", "refresh_token"), ("refresh_token", spent)]);
        for reply in &replies {
            assert_eq!((reply.status, reply.text()), (200, replies[0].text()));
        }
        let second = replies[0].json();
        for name in ["access_token", "refresh_token"] {
            provider.gate.keep_secret(text(&second, name));
        }
        assert_eq!(tokens_of(provider, &app), 2, "the one before and the one after");
        assert!(lives(provider, text(&second, "access_token")));
        let third = refreshed(provider, &app, text(&second, "refresh_token"));
        if provider.gate.setup.redis.is_none() {
            return;
        }
        let refresh_tokens = provider.gate.redis().keys().into_iter().filter(|key| key.contains(":refresh:"));
        let of_app = refresh_tokens.filter(|key| provider.gate.redis().get(key)["client"] == *app.id).count();
        assert_eq!(of_app, 3, "one for each step");
        // A hundred who come too late are a hundred who cannot tell thief from owner.
        change(provider, "refresh", spent, |record| record["spent"]["at"] = json!(now() - 11));
        for reply in at_once(gates, &app, &[("grant_type", "refresh_token"), ("refresh_token", spent)]) {
            refused(&reply, 400, "invalid_grant");
        }
        refused(&refresh(provider, &app, text(&third, "refresh_token")), 400, "invalid_grant");
    });
}
