//! The token endpoint while the store is lost: it says so in the words of OAuth, keeps nothing half done, and works again by itself.

use crate::support::eventually;
use crate::support::provider::{App, Frappe, Provider};
use crate::support::redis::Redis;
use crate::support::setup::Setup;
use crate::support::wire::Reply;

fn provider() -> Provider {
    let frappe = Frappe::start();
    let setup = Setup::on(Redis::durable(), &frappe.url()).config("[log]\nlevel = \"info\"");
    Provider::begin(setup, frappe, "")
}

fn unavailable(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?} {}", reply.text());
    assert_eq!(reply.json()["error"], "temporarily_unavailable", "{}", reply.text());
    let after: u64 = reply.header("retry-after").expect("503 has Retry-After").parse().expect("in seconds");
    assert!((1..=120).contains(&after), "{after}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
}

fn by_secret(provider: &Provider, app: &App) -> Reply {
    provider.token(app, &[("grant_type", "client_credentials")])
}

fn by_refresh(provider: &Provider, app: &App, refresh: &str) -> Reply {
    provider.token(app, &[("grant_type", "refresh_token"), ("refresh_token", refresh)])
}

#[test]
fn issuing_is_unavailable_while_the_store_is_lost_and_loses_nothing() {
    let mut provider = provider();
    let robot = provider.app("robot", "read", &["--grant-type", "client_credentials", "--user", "sync@example.com"]);
    let app = provider.confidential("shop", "read");
    let tokens = provider.tokens(&app, "read");
    let refresh = tokens["refresh_token"].as_str().expect("a refresh token").to_owned();
    assert_eq!(by_secret(&provider, &robot).status, 200);

    provider.gate.redis_mut().kill();
    unavailable(&by_secret(&provider, &robot));
    unavailable(&by_refresh(&provider, &app, &refresh));
    provider.gate.redis_mut().restart();
    again(&provider, &robot);

    provider.gate.redis().stop();
    unavailable(&by_secret(&provider, &robot));
    provider.gate.redis().cont();
    again(&provider, &robot);

    // It was refused for lack of a store, so it was not spent.
    let next = by_refresh(&provider, &app, &refresh);
    assert_eq!(next.status, 200, "{}", next.text());
    let next = next.json();
    for name in ["access_token", "refresh_token"] {
        provider.gate.keep_secret(next[name].as_str().expect("a token"));
    }
    assert_eq!(provider.api("GET", "/api/resource/Item", next["access_token"].as_str().expect("a token"), None).status, 200);
}

/// Tokens are issued again, within the time for the recovery.
fn again(provider: &Provider, robot: &App) {
    let healed = std::time::Instant::now();
    eventually("tokens are issued again", || match by_secret(provider, robot) {
        reply if reply.status == 503 => {
            unavailable(&reply);
            false
        }
        reply => {
            assert_eq!(reply.status, 200, "{}", reply.text());
            true
        }
    });
    assert!(healed.elapsed() <= super::RECOVERY_MAX, "{:?}", healed.elapsed());
}
