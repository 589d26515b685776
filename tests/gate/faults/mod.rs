//! A revocation holds whatever fails: two gates on one store, under steady load, while that store is killed, emptied, rewound, stopped,
//! slowed and cut off.
//!
//! `servers` is what can be done to a store, `fleet` two gates on one and an upstream that takes down when each request reached it, `load`
//! the clients, `oracle` what must have held. A scenario (`losses`, `delays`, `rewinds`, `known`, `stampede`) is what happens, told in
//! order; when it has ended, everything that clients and upstream saw is judged by what had been asked and told by then. `cluster` and
//! `sentinel` do the same to stores of several servers, where another may take the place of one. `issuing` holds the OAuth endpoints to
//! the same.
//!
//! Where time passes in a scenario, it does because the contract speaks of time; everything else is waited for.

mod cluster;
mod delays;
mod fleet;
mod issuing;
mod known;
mod load;
mod losses;
mod oracle;
mod rewinds;
mod scene;
mod sentinel;
mod servers;
mod stampede;

use std::time::Duration;

/// `revocation_bound` of every gate here, its default.
const BOUND: Duration = Duration::from_secs(1);

/// A request may have been decided on when its time was up, and still be on its way to the upstream.
const ALLOWANCE: Duration = Duration::from_millis(100);

/// `lookup_timeout` of every gate here. A request that came in the last second of its token may wait for the store as long as that.
const LOOKUP_MAX: Duration = Duration::from_millis(500);

/// By then everything is as it was before, counted from when the store can be reached again.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
