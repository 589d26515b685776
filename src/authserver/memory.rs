//! What the OAuth endpoints remember from request to request, for as long as the process runs: a reload forgives nobody.

use std::time::Duration;

use crate::authserver::documents::FETCHES;
use crate::authserver::keys::SigningKeys;
use crate::authserver::throttle::Throttle;
use crate::limiter::Addresses;
use crate::policy::quota::Quota;

/// Clients that one address may register where whoever comes may.
const REGISTRATIONS: Quota = Quota { requests: 10, period: Duration::from_secs(3600), burst: 10 };

pub struct Memory {
    pub keys: SigningKeys,
    /// Failed authentications of each client.
    pub guesses: Throttle,
    /// Registrations from each address.
    pub registrations: Addresses,
    /// Documents of clients that each address has had fetched.
    pub documents: Addresses,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            keys: SigningKeys::default(),
            guesses: Throttle::default(),
            registrations: Addresses::new(REGISTRATIONS),
            documents: Addresses::new(FETCHES),
        }
    }
}
