//! A store of real servers, as two gates see it, and what can be done to it.

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::setup::SITE;

/// What a store has when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    Kept,
    Lost,
    /// What it had when it was saved.
    Saved,
}

/// Where the log of the site is, and its marks.
pub fn log_key() -> String {
    format!("sg:{{{SITE}}}:revocations")
}

/// What a token needs besides its own record: its client, and the key that this may have to the site.
pub fn client_keys(id: &str) -> [String; 2] {
    ["client", "credential"].map(|kind| format!("sg:{SITE}:{kind}:{id}"))
}

pub trait Servers {
    /// The `[store]` section of a gate, as far as it says where the store is.
    fn section(&self, gate: usize) -> String;
    /// Writes a record in the public format, past the gates.
    fn put(&self, key: &str, record: &Value);
    /// Ends them without a word.
    fn kill(&mut self);
    /// After [`Self::kill`]; returns when the servers answer.
    fn restart(&mut self, data: Data);
    /// Takes down what they hold, for [`Data::Saved`].
    fn save(&mut self);
    /// They stay, and answer nothing.
    fn stop(&self);
    fn cont(&self);
    /// Whether what is done to them is done to the one that has this key.
    fn struck(&self, _key: &str) -> bool {
        true
    }
}

/// One server, and a proxy before it for each gate.
pub struct Single {
    pub redis: Redis,
    pub proxies: [Proxy; 2],
}

impl Single {
    /// It loses nothing that it acknowledged.
    pub fn start() -> Self {
        let redis = Redis::durable();
        let proxies = [Proxy::before(redis.address()), Proxy::before(redis.address())];
        Self { redis, proxies }
    }
}

impl Servers for Single {
    fn section(&self, gate: usize) -> String {
        format!("kind = \"redis\"\nurl = \"redis://{}/\"", self.proxies[gate].address())
    }

    fn put(&self, key: &str, record: &Value) {
        self.redis.put(key, record);
    }

    fn kill(&mut self) {
        self.redis.kill();
    }

    fn restart(&mut self, data: Data) {
        match data {
            Data::Kept => self.redis.restart(),
            Data::Lost => self.redis.restart_empty(),
            Data::Saved => self.redis.restart_saved(),
        }
    }

    fn save(&mut self) {
        self.redis.save();
    }

    fn stop(&self) {
        self.redis.stop();
    }

    fn cont(&self) {
        self.redis.cont();
    }
}
