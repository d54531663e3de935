//! What sessions are resumed by, over the whole life of a process: the secret behind tickets, and the caches of
//! sessions that are in use.
//!
//! A configuration that is loaded anew builds every profile and every pool anew. A new one takes over the caches
//! of an old one if, and only if, their *prints* are equal: hashes of all that decides what a session in them stands
//! for. Tickets are good in every profile with the same client-auth policy, whatever its certificates (`tickets`). No
//! session is resumed under a client-auth policy or a trust that it did not begin with.
//!
//! Caches are held weakly: one that neither a plan nor a connection has any more is gone, and so are its sessions.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::ClientConfig;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;

use crate::provider::TlsError;
use crate::tickets::TicketSecret;

/// What a process resumes sessions by. Cheap to clone, and clones share everything; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) secret: TicketSecret,
    served: Arc<WeakCache<(Digest, usize), ServerSessionMemoryCache>>,
    /// No session, but of the same life: certificates with their keys, by all their bytes. Those of a configuration that
    /// is loaded anew are mostly the same, and are neither checked nor held twice.
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) backends: Arc<BackendSessions>,
}

/// Certificates with their keys that are in use.
pub(crate) type Certificates = WeakCache<Digest, CertifiedKey>;

/// The clients of backends, each with its sessions, by what they trust and where the backend is. The whole client is
/// kept, because rustls resumes no session under another verifier than the one it began with, be it an equal one.
pub(crate) type BackendSessions = WeakCache<(Digest, SocketAddr), ClientConfig>;

impl Sessions {
    /// None yet, and a fresh secret: tickets are good in this process alone.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, TlsError> {
        let secret = TicketSecret::random()?;
        Ok(Self { secret, served: Arc::default(), certificates: Arc::default(), backends: Arc::default() })
    }

    /// The cache, of `size` sessions, of every profile with this print.
    pub(crate) fn cache(&self, print: Digest, size: usize) -> Arc<ServerSessionMemoryCache> {
        self.served.find((print, size), || ServerSessionMemoryCache::new(size))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

/// A hash of all that decides what a session stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// `parts` in their order, each with its length, so that no two lists run together to the same bytes.
    pub(crate) fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut print = [0; SHA256_OUTPUT_LEN];
        print.copy_from_slice(context.finish().as_ref());
        Self(print)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Things found again by key, for as long as somebody else has them.
pub(crate) struct WeakCache<K, V> {
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    things: HashMap<K, Weak<V>>,
    /// With so many, those that are gone are swept out first: at most half of them are when it comes to that again.
    sweep_at: usize,
}

impl<K: Eq + Hash, V> WeakCache<K, V> {
    /// What is there under `key`.
    pub(crate) fn there(&self, key: &K) -> Option<Arc<V>> {
        self.lock().things.get(key).and_then(Weak::upgrade)
    }

    /// What is there under `key`; else what `make` gives, which is then there.
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

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        // Whatever panicked while it held this lock left a whole map behind.
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

/// Fewer are not worth looking through. One that is gone still holds the memory of its own struct, not of sessions.
const LEAST_SWEEP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_found_for_as_long_as_somebody_has_it() {
        let shelf = WeakCache::default();
        let first = shelf.find("a", || Arc::new(1));
        assert_eq!(*shelf.find("a", || Arc::new(2)), 1);
        assert_eq!(*shelf.find("b", || Arc::new(3)), 3);
        drop(first);
        assert_eq!(*shelf.find("a", || Arc::new(4)), 4);
    }

    #[test]
    fn what_is_gone_is_swept_out() {
        let shelf = WeakCache::default();
        let held: Vec<_> = (0..20).map(|key| shelf.find(key, || Arc::new(key))).collect();
        for key in 20..1_000 {
            shelf.find(key, || Arc::new(key));
        }
        assert!(shelf.inner.lock().unwrap().things.len() <= 2 * held.len());
        assert!(held.iter().all(|thing| Arc::ptr_eq(thing, &shelf.find(**thing, || Arc::new(0)))));
    }

    #[test]
    fn prints_tell_apart_where_a_part_ends() {
        let print = |parts: &[&str]| Digest::of(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(print(&["ab", "c"]), print(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["c", "ab"]] {
            assert_ne!(print(&["ab", "c"]), print(other), "{other:?}");
        }
    }
}
