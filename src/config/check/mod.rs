//! From what was written to what is complete and checked, section by section.
//!
//! Order matters only where one section judges another: the scopes before the routes that ask for them, the sites before the RPCs that
//! name them, the ports before the one of the metrics.

mod bounds;
mod header;
mod listen;
mod oauth;
mod operation;
mod redis;
mod rpc;
mod sensitive;
mod site;
mod store;
mod upstream;

use crate::config::checked::Config;
use crate::config::section::Section;

/// Everything. `None` only where a problem was reported.
pub fn config(root: &Section<'_>) -> Option<Config> {
    let listen = root.section("listen", listen::listen);
    let tls = root.section("tls", |tls| listen::tls(tls, &listen));
    let metrics = root.section("metrics", |metrics| operation::metrics(metrics, &listen));
    let (bounds, body) = root.section("bounds", bounds::bounds);
    let (store, encryption_key) = root.section("store", store::store);
    let rates = root.section("rate", bounds::rates);
    let audit = root.section("audit", operation::audit);
    let admin = root.section("admin", operation::admin);
    let log = root.section("log", operation::log);
    let upstream = root.section("upstream", |upstream| upstream::settings(upstream, &upstream::defaults()));
    let scopes = root.named_sections("scope", rpc::scope);
    let sites = site::sites(root, &upstream, &scopes);
    let rpcs = rpc::rpcs(root, &sites);
    let places = root.places();
    Some(Config {
        places,
        listen,
        tls,
        bounds,
        body,
        store: store?,
        encryption_key,
        rates,
        audit,
        metrics,
        admin,
        log,
        sites,
        rpcs,
        scopes,
    })
}
