//! How many connections may be open: in all, from one address, and how they are spread over the workers.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

/// A power of two, so that workers seldom meet at one lock.
const SHARDS: usize = 64;

/// A worker keeps a connection although another has fewer, as long as the difference is at most this many, and an eighth.
const IMBALANCE_MIN: usize = 1;

#[derive(Debug)]
pub struct Connections {
    total_max: usize,
    per_address_max: usize,
    open: AtomicUsize,
    addresses: [Mutex<HashMap<IpAddr, usize, RandomState>>; SHARDS],
    hasher: RandomState,
    loads: Box<[Load]>,
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct Load {
    open: AtomicUsize,
    emptied: Notify,
}

impl Connections {
    pub fn new(total_max: usize, per_address_max: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_address_max,
            open: AtomicUsize::new(0),
            addresses: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            loads: (0..workers).map(|_| Load::default()).collect(),
        })
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Worker by worker.
    pub fn loads(&self) -> Vec<usize> {
        self.loads.iter().map(|load| load.open.load(Ordering::Relaxed)).collect()
    }

    /// Room for one connection more, on the worker that accepted it; `None` where there is none.
    pub fn admit(self: &Arc<Self>, worker: usize) -> Option<Permit> {
        let room = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.total_max).then_some(open + 1));
        room.ok()?;
        self.loads[worker].open.fetch_add(1, Ordering::Relaxed);
        Some(Permit { connections: self.clone(), worker, address: None })
    }

    /// Which worker should have a connection that `worker` accepted and already counts.
    pub fn place(&self, worker: usize) -> usize {
        let own = self.loads[worker].open.load(Ordering::Relaxed).saturating_sub(1);
        let loads = self.loads.iter().map(|load| load.open.load(Ordering::Relaxed)).enumerate();
        match loads.min_by_key(|(_, open)| *open) {
            Some((least, open)) if own >= open + IMBALANCE_MIN + open / 8 => least,
            _ => worker,
        }
    }

    /// Returns when the worker has no connection left.
    pub async fn emptied(&self, worker: usize) {
        let load = &self.loads[worker];
        loop {
            let mut notified = std::pin::pin!(load.emptied.notified());
            notified.as_mut().enable();
            if load.open.load(Ordering::Relaxed) == 0 {
                return;
            }
            notified.await;
        }
    }

    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, usize, RandomState>> {
        &self.addresses[self.hasher.hash_one(address) as usize % SHARDS]
    }
}

/// One open connection, counted for as long as this lives.
#[derive(Debug)]
pub struct Permit {
    connections: Arc<Connections>,
    worker: usize,
    address: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection for its client's address; `false` where that has too many already.
    pub fn count_for(&mut self, address: IpAddr) -> bool {
        let address = subscriber(address);
        let mut shard = self.connections.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
        let open = shard.entry(address).or_insert(0);
        if *open >= self.connections.per_address_max {
            return false;
        }
        *open += 1;
        drop(shard);
        self.address = Some(address);
        true
    }

    /// The connection goes over to another worker.
    pub fn move_to(&mut self, worker: usize) {
        self.connections.loads[worker].open.fetch_add(1, Ordering::Relaxed);
        self.leave(worker);
    }

    fn leave(&mut self, next: usize) {
        let load = &self.connections.loads[self.worker];
        if load.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            load.emptied.notify_waiters();
        }
        self.worker = next;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.leave(self.worker);
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut shard = self.connections.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = shard.get_mut(&address) {
                *open -= 1;
                if *open == 0 {
                    shard.remove(&address);
                }
            }
        }
    }
}

/// What counts as one address: an IPv6 subscriber has a whole /64 to choose from.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Connections;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_total_is_a_bound_and_room_comes_back() {
        let connections = Connections::new(2, 10, 1);
        let first = connections.admit(0).unwrap();
        let _second = connections.admit(0).unwrap();
        assert!(connections.admit(0).is_none());
        drop(first);
        assert_eq!(connections.open(), 1);
        assert!(connections.admit(0).is_some());
    }

    #[test]
    fn an_address_has_its_own_bound() {
        let rows = [
            ("another address", "192.0.2.1", "192.0.2.2", true),
            ("the same", "192.0.2.1", "192.0.2.1", false),
            ("the same, mapped into IPv6", "192.0.2.1", "::ffff:192.0.2.1", false),
            ("another of the same /64", "2001:db8::1", "2001:db8::ffff:1", false),
            ("another /64", "2001:db8::1", "2001:db8:0:1::1", true),
        ];
        for (what, first, second, admitted) in rows {
            let connections = Connections::new(10, 1, 1);
            let mut one = connections.admit(0).unwrap();
            assert!(one.count_for(ip(first)));
            let mut two = connections.admit(0).unwrap();
            assert_eq!(two.count_for(ip(second)), admitted, "{what}");
            drop(one);
            drop(two);
            let mut three = connections.admit(0).unwrap();
            assert!(three.count_for(ip(second)), "{what}: room comes back");
        }
    }

    #[test]
    fn connections_go_where_there_are_fewer() {
        let connections = Connections::new(1000, 1000, 2);
        let mut permits = Vec::new();
        // All arrive at one worker, as four connections of one client may by chance of their hash.
        for _ in 0..4 {
            let mut permit = connections.admit(0).unwrap();
            match connections.place(0) {
                0 => {}
                other => permit.move_to(other),
            }
            permits.push(permit);
        }
        let spread = permits.iter().filter(|permit| permit.worker == 1).count();
        assert_eq!(spread, 2);
        // Among many a small difference is not worth a hand-over.
        let many: Vec<_> = (0..100).flat_map(|_| [connections.admit(0), connections.admit(1)]).flatten().collect();
        let _one_more = connections.admit(0).unwrap();
        let _another = connections.admit(0).unwrap();
        assert_eq!(connections.place(0), 0);
        drop(many);
    }

    #[tokio::test]
    async fn a_worker_hears_when_its_last_connection_ends() {
        let connections = Connections::new(10, 10, 2);
        connections.emptied(0).await;
        let mut permit = connections.admit(0).unwrap();
        permit.move_to(1);
        connections.emptied(0).await;
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.emptied(1).await }
        });
        tokio::task::yield_now().await;
        drop(permit);
        waiting.await.unwrap();
    }
}
