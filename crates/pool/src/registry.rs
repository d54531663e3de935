//! Every live state of the process, by pool, backend and address: where a new plan finds what it keeps.

use crate::dialable::OwnAddresses;
use crate::load::Loads;
use crate::state::Live;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use weir_metrics::Metrics;

/// Live states, held weakly: one that no plan and no connection has any more goes at the next [`Lives::sweep`], and
/// its series with it.
#[derive(Debug)]
pub struct Lives {
    /// The addresses on which the process listens.
    pub own_addresses: OwnAddresses,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
    versions: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    backends: HashMap<Key, Weak<Live>>,
    pools: HashMap<Arc<str>, u64>,
    loads: Loads,
}

type Key = (Arc<str>, Arc<str>, SocketAddr);

impl Lives {
    /// None yet. Backends get their counters from `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            own_addresses: OwnAddresses::default(),
            metrics,
            inner: Mutex::default(),
            versions: AtomicU64::new(1),
        })
    }

    /// The live state of a backend: the one that there is, or a new one.
    pub fn backend(&self, pool: &Arc<str>, backend: &Arc<str>, address: SocketAddr) -> Arc<Live> {
        let mut inner = self.inner();
        let key = (Arc::clone(pool), Arc::clone(backend), address);
        if let Some(live) = inner.backends.get(&key).and_then(Weak::upgrade) {
            return live;
        }
        let metrics = self.metrics.backend(pool, backend);
        let load = inner.loads.take();
        let live = Arc::new(Live::new(Arc::clone(pool), Arc::clone(backend), address, metrics, load));
        inner.backends.insert(key, Arc::downgrade(&live));
        live
    }

    /// The number of a pool's name: the same for as long as the process lives.
    pub fn pool_id(&self, pool: &Arc<str>) -> u64 {
        let mut inner = self.inner();
        let next = self.version();
        *inner.pools.entry(Arc::clone(pool)).or_insert(next)
    }

    /// A number that has not been given before.
    pub fn version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets what nobody has any more, with its series. `pools` are the names in force.
    pub fn sweep(&self, pools: &HashSet<&str>) {
        let mut inner = self.inner();
        let gone: Vec<Key> =
            inner.backends.iter().filter(|(_, l)| l.strong_count() == 0).map(|(k, _)| k.clone()).collect();
        for key in &gone {
            inner.backends.remove(key);
        }
        let stays: HashSet<(&str, &str)> = match gone.is_empty() {
            true => HashSet::new(),
            false => inner.backends.keys().map(|(pool, backend, _)| (&**pool, &**backend)).collect(),
        };
        for (pool, backend, _) in &gone {
            // A namesake at another address goes on with the same series.
            if !stays.contains(&(&**pool, &**backend)) {
                self.metrics.forget_backend(pool, backend);
            }
        }
        let Inner { backends, pools: known, .. } = &mut *inner;
        known.retain(|name, _| {
            let stays = pools.contains(&**name) || backends.keys().any(|(p, ..)| p == name);
            if !stays {
                self.metrics.forget_pool(name);
            }
            stays
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
