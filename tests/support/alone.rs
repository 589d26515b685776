//! A server of which nothing is wanted but that it runs, and the way to it that needs no port.

use super::redis_server::RedisServer;

impl RedisServer {
    pub fn start() -> Self {
        Self::with(Vec::new)
    }

    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.directory().join("redis.sock").display())
    }
}
