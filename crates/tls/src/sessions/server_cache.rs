//! The session-ID cache of TLS 1.2: bounded in number and in age. What it gives back it notes for
//! `resumption`. The cache itself may be shared with other profiles, each with a lifetime of its own. Ages are measured
//! by the time since boot, because no other node sees them, and that clock is never set.

use std::fmt;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions};

use crate::agreed::Resumed;
use crate::digest::Digest;
use crate::resumption::{given_back, good_until, noted_until};
use crate::sessions::Sessions;
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

/// rustls' own bounded cache, which knows no age, with two times before each value: of its issue, and of its last use,
/// when the client's certificate expires.
struct SessionCache {
    sessions: Arc<ServerSessionMemoryCache>,
    lifetime: Lifetime,
}

impl SessionCache {
    fn stamped(now: u64, mut value: Vec<u8>) -> Vec<u8> {
        value.splice(..0, [now.to_be_bytes(), noted_until().to_be_bytes()].concat());
        value
    }

    fn fresh(&self, now: u64, stamped: &[u8]) -> Option<Vec<u8>> {
        let (issued, rest) = stamped.split_first_chunk()?;
        let (until, value) = rest.split_first_chunk()?;
        let age = now.saturating_sub(u64::from_be_bytes(*issued));
        let until = u64::from_be_bytes(*until);
        if unix_now() > until || !self.lifetime.is_age(age) {
            return None;
        }
        given_back(Resumed::SessionId);
        good_until(until);
        Some(value.to_vec())
    }
}

impl StoresServerSessions for SessionCache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= MOST_BYTES && self.sessions.put(key, Self::stamped(since_boot(), value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(since_boot(), &self.sessions.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(since_boot(), &self.sessions.take(key)?)
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

/// Milliseconds since the machine has started, suspended ones too.
fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(time.tv_sec).saturating_mul(1000).saturating_add(part(time.tv_nsec) / 1_000_000)
}

/// Of a session, most of which is the client's chain of certificates, if it has one.
const MOST_BYTES: usize = 8 * 1024;

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
        assert!(cache.fresh(61_000, &stamped).is_some());
        taken_note();
        assert!(cache.fresh(61_001, &stamped).is_none());
        assert!(cache.fresh(61_001, b"short").is_none());
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
