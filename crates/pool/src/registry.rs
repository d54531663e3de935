//! Every backend state of the process, by pool, backend and address: a new plan finds here what it keeps of the old
//! one.

use crate::dialable::OwnAddresses;
use crate::endpoint::BackendAddr;
use crate::load::Loads;
use crate::state::BackendState;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use weir_metrics::Metrics;

/// Backend states, held weakly: a state that no plan and no connection uses goes at the next
/// [`BackendRegistry::sweep`], with its series.
#[derive(Debug)]
pub struct BackendRegistry {
    /// The addresses on which the process listens.
    pub own_addresses: OwnAddresses,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
    versions: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    backends: HashMap<Key, Weak<BackendState>>,
    pools: HashMap<Arc<str>, u64>,
    loads: Loads,
}

type Key = (Arc<str>, Arc<str>, BackendAddr);

impl BackendRegistry {
    /// An empty registry. Backends get their counters from `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            own_addresses: OwnAddresses::default(),
            metrics,
            inner: Mutex::default(),
            versions: AtomicU64::new(1),
        })
    }

    /// The state of a backend: the known one, or a new one.
    pub fn backend(&self, pool: &Arc<str>, backend: &Arc<str>, address: BackendAddr) -> Arc<BackendState> {
        let mut inner = self.inner();
        let key = (Arc::clone(pool), Arc::clone(backend), address.clone());
        if let Some(state) = inner.backends.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        let metrics = self.metrics.backend(pool, backend);
        let load = inner.loads.take();
        let state =
            Arc::new(BackendState::new(Arc::clone(pool), Arc::clone(backend), address, metrics, load));
        inner.backends.insert(key, Arc::downgrade(&state));
        state
    }

    /// The number of a pool's name: the same for as long as the process lives.
    pub fn pool_id(&self, pool: &Arc<str>) -> u64 {
        let mut inner = self.inner();
        let next = self.version();
        *inner.pools.entry(Arc::clone(pool)).or_insert(next)
    }

    /// A number that was never given before.
    pub fn version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets backends and pools that are no longer in use, with their series. `pools` are the names in force.
    pub fn sweep(&self, pools: &HashSet<&str>) {
        let mut inner = self.inner();
        let gone: Vec<Key> =
            inner.backends.iter().filter(|(_, l)| l.strong_count() == 0).map(|(k, _)| k.clone()).collect();
        for key in &gone {
            inner.backends.remove(key);
        }
        let Inner { backends, pools: known, .. } = &mut *inner;
        if !gone.is_empty() {
            let stay: HashSet<(&str, &str)> =
                backends.keys().map(|(pool, name, _)| (&**pool, &**name)).collect();
            // A namesake at another address keeps the series.
            let gone: HashSet<_> = gone.iter().map(|(pool, name, _)| (&**pool, &**name)).collect();
            self.metrics.forget_backends(&gone.difference(&stay).copied().collect());
        }
        if known.keys().all(|name| pools.contains(&**name)) {
            return;
        }
        // Found by hash: a reload may remove many pools whose backends still have connections.
        let used: HashSet<&str> = backends.keys().map(|(pool, ..)| &**pool).collect();
        let gone: HashSet<Arc<str>> = known
            .extract_if(|name, _| !pools.contains(&**name) && !used.contains(&**name))
            .map(|(n, _)| n)
            .collect();
        self.metrics.forget_pools(&gone.iter().map(|name| &**name).collect());
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
