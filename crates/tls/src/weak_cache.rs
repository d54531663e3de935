//! A cache of weak references: an entry lives while something else owns it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A map to values that others own.
pub(crate) struct WeakCache<K, V> {
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    things: HashMap<K, Weak<V>>,
    /// At this many entries, those whose value is gone are swept out; at most half of the rest can be gone by the next
    /// sweep.
    sweep_at: usize,
}

impl<K: Eq + Hash, V> WeakCache<K, V> {
    /// The value under `key`.
    pub(crate) fn there(&self, key: &K) -> Option<Arc<V>> {
        self.lock().things.get(key).and_then(Weak::upgrade)
    }

    /// The value under `key`; without one, that of `make`, which is kept.
    pub(crate) fn find(&self, key: K, make: impl FnOnce() -> Arc<V>) -> Arc<V> {
        let mut inner = self.lock();
        if let Some(there) = inner.things.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        if inner.things.len() >= inner.sweep_at {
            inner.things.retain(|_, thing| thing.strong_count() > 0);
            inner.sweep_at = LEAST_SWEEP.max(inner.things.len() * 2);
        }
        let made = make();
        inner.things.insert(key, Arc::downgrade(&made));
        made
    }

    /// All values that something owns.
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.lock().things.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        // A panic while the lock was held leaves a whole map behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for WeakCache<K, V> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { things: HashMap::new(), sweep_at: LEAST_SWEEP }) }
    }
}

impl<K, V> fmt::Debug for WeakCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCache").finish_non_exhaustive()
    }
}

/// Fewer entries are not worth a sweep. An entry whose value is gone still holds the memory of the struct, not of
/// sessions.
const LEAST_SWEEP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_while_something_owns_it() {
        let cache = WeakCache::default();
        let first = cache.find("a", || Arc::new(1));
        assert_eq!(*cache.find("a", || Arc::new(2)), 1);
        assert_eq!(*cache.find("b", || Arc::new(3)), 3);
        drop(first);
        assert_eq!(*cache.find("a", || Arc::new(4)), 4);
    }

    #[test]
    fn entries_that_are_gone_are_swept_out() {
        let cache = WeakCache::default();
        let held: Vec<_> = (0..20).map(|key| cache.find(key, || Arc::new(key))).collect();
        for key in 20..1_000 {
            cache.find(key, || Arc::new(key));
        }
        assert!(cache.inner.lock().unwrap().things.len() <= 2 * held.len());
        assert!(held.iter().all(|thing| Arc::ptr_eq(thing, &cache.find(**thing, || Arc::new(0)))));
    }
}
