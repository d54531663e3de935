//! The session-ID cache of TLS 1.2: bounded in number and in age. What it gives back it notes for
//! `resumption`. The cache itself may be shared with other profiles, each with a lifetime of its own.

use std::fmt;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions};

use crate::agreed::Resumed;
use crate::resumption::given_back;
use crate::sessions::{Digest, Sessions};
use crate::tickets::{Lifetime, unix_now};

/// The cache, of `size` sessions of TLS 1.2, that belongs to `digest`; it gives none back that is older than
/// `lifetime`. With `size` 0 there is none.
pub(crate) fn session_store(
    sessions: &Sessions,
    digest: Digest,
    size: usize,
    lifetime: Lifetime,
) -> Arc<dyn StoresServerSessions> {
    if size == 0 {
        return Arc::new(NoServerSessionStorage {});
    }
    Arc::new(SessionCache { sessions: sessions.cache(digest, size), lifetime })
}

/// rustls' own bounded cache, which knows no age, with the time of issue before each value.
struct SessionCache {
    sessions: Arc<ServerSessionMemoryCache>,
    lifetime: Lifetime,
}

impl SessionCache {
    fn stamped(now: u64, mut value: Vec<u8>) -> Vec<u8> {
        value.splice(..0, now.to_be_bytes());
        value
    }

    fn fresh(&self, now: u64, stamped: &[u8]) -> Option<Vec<u8>> {
        let (issued, value) = stamped.split_first_chunk()?;
        let issued = u64::from_be_bytes(*issued);
        self.lifetime.covers(issued, now).then(|| {
            given_back(Resumed::SessionId);
            value.to_vec()
        })
    }
}

impl StoresServerSessions for SessionCache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.sessions.put(key, Self::stamped(unix_now(), value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(unix_now(), &self.sessions.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(unix_now(), &self.sessions.take(key)?)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resumption::taken_note;

    fn cache() -> SessionCache {
        let lifetime = Lifetime::new(Duration::from_secs(60));
        SessionCache { sessions: ServerSessionMemoryCache::new(8), lifetime }
    }

    #[test]
    fn a_session_comes_back_as_it_was_put() {
        let cache = cache();
        assert!(cache.put(vec![1], b"secret".to_vec()));
        assert_eq!(cache.get(&[1]).as_deref(), Some(&b"secret"[..]));
        assert_eq!(taken_note(), Resumed::SessionId);
        assert_eq!(cache.get(&[2]), None);
        assert_eq!(taken_note(), Resumed::No);
    }

    #[test]
    fn an_old_session_is_not_given_back() {
        let cache = cache();
        let stamped = SessionCache::stamped(1_000, b"secret".to_vec());
        assert!(cache.fresh(1_060, &stamped).is_some());
        taken_note();
        assert!(cache.fresh(1_061, &stamped).is_none());
        assert!(cache.fresh(1_061, b"short").is_none());
        assert_eq!(taken_note(), Resumed::No);
    }

    #[test]
    fn size_zero_keeps_nothing() {
        let sessions = Sessions::random().unwrap();
        let lifetime = Lifetime::new(Duration::from_secs(60));
        let store = session_store(&sessions, Digest::of([]), 0, lifetime);
        assert!(!store.put(vec![1], vec![2]));
        assert!(!store.can_cache());
    }
}
