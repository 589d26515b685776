//! Two gates on one store, and the upstream behind both.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::admin::Admin;
use crate::support::gate::Gate;
use crate::support::setup::Setup;
use crate::support::upstream::{Then, Upstream, json_answer};

use super::servers::Servers;
use super::{BOUND, LOOKUP_MAX};

/// The gates, by their number.
pub const A: usize = 0;
pub const B: usize = 1;
pub const BOTH: [usize; 2] = [A, B];

/// A request that was forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub token: usize,
    pub gate: usize,
    pub at: Instant,
}

/// Where a request goes that says which token it bears and which gate it was sent to.
pub fn target(token: usize, gate: usize) -> String {
    format!("/api/resource/ToDo/token-{token}-gate-{gate}")
}

/// What [`target`] was made of.
fn named(target: &str) -> Option<(usize, usize)> {
    let (token, gate) = target.rsplit_once('/')?.1.strip_prefix("token-")?.split_once("-gate-")?;
    Some((token.parse().ok()?, gate.parse().ok()?))
}

pub struct Fleet<S> {
    // The gates end before the servers that they stand on.
    pub gates: [Gate; 2],
    pub servers: S,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    _upstream: Upstream,
}

impl<S: Servers> Fleet<S> {
    /// `store` is laid over the `[store]` section of both gates.
    pub fn start(servers: S, store: &str) -> Self {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&arrivals);
        let upstream = Upstream::scripted(move |seen, stream| {
            let at = Instant::now();
            let (token, gate) = named(&seen.target).unwrap_or_else(|| panic!("nobody asks for {}", seen.target));
            kept.lock().expect("no one panics with it").push(Arrival { token, gate, at });
            let _ = stream.write_all(&json_answer(200, "{}"));
            Then::KeepOpen
        });
        let gates = BOTH.map(|number| {
            Setup::behind(&servers.section(number), &upstream.url())
                .config("[listen]\nbehind_proxy = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[log]\nlevel = \"info\"")
                .config(&format!(
                    "[store]\nlookup_timeout = \"{}ms\"\nrevocation_bound = \"{}ms\"",
                    LOOKUP_MAX.as_millis(),
                    BOUND.as_millis()
                ))
                .config(&format!("[store]\n{store}"))
                .start()
        });
        Self { gates, servers, arrivals, _upstream: upstream }
    }

    pub fn admin(&self, gate: usize) -> Admin {
        Admin::of(&self.gates[gate])
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().expect("no one panics with it").clone()
    }
}
