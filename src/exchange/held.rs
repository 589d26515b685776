//! How much of JSON and form bodies lies in memory at once, over all requests.
//!
//! Each body has a bound of its own, but whoever has any token can begin as many as there are connections, and send them slowly: ten
//! thousand bodies of 4 MiB would be 40 GiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of all bodies together, before one that grows is refused.
pub const HELD_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// All bodies.
#[derive(Debug)]
pub struct Bodies {
    bytes: AtomicU64,
    most: u64,
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    bodies: Arc<Bodies>,
    bytes: u64,
}

impl Bodies {
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), most })
    }

    /// The share of a request that holds nothing yet.
    pub fn share(self: &Arc<Self>) -> Held {
        Held { bodies: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more; `false` where there is no more to have.
    pub fn grow(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        self.bodies.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bodies.most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.bodies.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bodies;

    #[test]
    fn bodies_together_have_a_bound_and_what_ends_gives_back() {
        let bodies = Bodies::new(100);
        let (mut one, mut other) = (bodies.share(), bodies.share());
        assert!(one.grow(60));
        assert!(other.grow(40));
        assert!(!other.grow(1), "one byte too many");
        drop(other);
        assert!(one.grow(40));
        assert!(!bodies.share().grow(1));
        drop(one);
        assert!(bodies.share().grow(100));
    }
}
