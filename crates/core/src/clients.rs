//! The open connections of each client, in one table for the process.
//!
//! An entry lives as long as a connection of its client, so the table is bounded by the connections that are open.

use crate::rates::{Network, Scope};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use weir_metrics::ClientMetrics;

type Key = (Scope, Network);
type Shard = HashMap<Key, u32, RandomState>;

/// How many connections each client has open. Workers share it.
#[derive(Debug)]
pub struct Clients {
    /// Each is locked for a look-up, never over a wait.
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    metrics: ClientMetrics,
}

/// A client's connection, counted until it is dropped.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    key: Key,
}

impl Place {
    /// The client.
    pub fn client(&self) -> Network {
        self.key.1
    }
}

/// With so many parts, workers seldom meet at one.
const SHARDS: usize = 64;

impl Clients {
    /// An empty table; `metrics` tells its size.
    pub fn new(metrics: ClientMetrics) -> Self {
        let hasher = RandomState::new();
        let shard = || Mutex::new(Shard::with_hasher(hasher.clone()));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: hasher.clone(), metrics }
    }

    /// Counts a connection of a client in a scope, such as a listener. Gives its place, and the client's connections with it.
    pub fn enter(self: &Arc<Self>, scope: Scope, client: Network) -> (Place, u32) {
        let key = (scope, client);
        let count = self.with(key, |shard| {
            let count = shard.entry(key).or_insert_with(|| {
                self.metrics.clients.inc();
                0
            });
            *count = count.saturating_add(1);
            *count
        });
        (Place { clients: Arc::clone(self), key }, count.unwrap_or(1))
    }

    /// The clients with the most connections, most first: at most `most` of them. Walks the whole table, a part at a
    /// time: not for a data-plane thread.
    pub fn busiest(&self, most: usize) -> Vec<(Scope, Network, u32)> {
        let mut all: Vec<(Scope, Network, u32)> = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.iter().map(|((scope, client), count)| (*scope, *client, *count)));
            drop(shard);
            // Never more than two parts at once.
            all.sort_unstable_by_key(|(_, _, count)| std::cmp::Reverse(*count));
            all.truncate(most);
        }
        all
    }

    /// The clients that have a connection open, each counted once a scope.
    pub fn count(&self) -> u64 {
        u64::try_from(self.metrics.clients.get()).unwrap_or(0)
    }

    fn with<T>(&self, key: Key, change: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        // The part's own table looks at the lowest and the highest bits.
        let place = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(usize::MAX) % SHARDS;
        let shard = self.shards.get(place)?;
        Some(change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.with(self.key, |shard| {
            let Entry::Occupied(mut count) = shard.entry(self.key) else { return };
            match count.get().checked_sub(1) {
                None | Some(0) => {
                    count.remove();
                    self.clients.metrics.clients.dec();
                    // After a flood its memory goes back.
                    if shard.capacity() > SPARE && shard.len() < shard.capacity() / 4 {
                        shard.shrink_to(shard.len() * 2);
                    }
                }
                Some(left) => *count.get_mut() = left,
            }
        });
    }
}

/// Places that a part of the table keeps.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use weir_metrics::Metrics;

    fn client(text: &str) -> Network {
        Network::of(text.parse().unwrap(), (32, 64))
    }

    #[test]
    fn connections_count_until_they_end() {
        let clients = Arc::new(Clients::new(Metrics::new("0", "r", "c").unwrap().clients()));
        let (edge, other) = (Scope::of("edge"), Scope::of("other"));
        let first = clients.enter(edge, client("192.0.2.1"));
        let second = clients.enter(edge, client("192.0.2.1"));
        let elsewhere = clients.enter(other, client("192.0.2.1"));
        assert_eq!((first.1, second.1, elsewhere.1), (1, 2, 1));
        assert_eq!(clients.busiest(1), [(edge, client("192.0.2.1"), 2)]);
        drop(first);
        assert_eq!(clients.enter(edge, client("192.0.2.1")).1, 2);
        drop((second, elsewhere));
        assert!(clients.count() == 0 && clients.busiest(9).is_empty());
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let clients = Arc::new(Clients::new(Metrics::new("0", "r", "c").unwrap().clients()));
        let places: Vec<_> = (0..100_000_u32)
            .map(|n| clients.enter(Scope::of("edge"), Network::of(IpAddr::from(n.to_be_bytes()), (32, 64))))
            .collect();
        assert_eq!(clients.count(), 100_000);
        drop(places);
        let kept: usize = clients.shards.iter().map(|shard| shard.lock().unwrap().capacity()).sum();
        assert!(clients.count() == 0 && kept <= 8 * SHARDS * SPARE, "{kept}");
    }
}
