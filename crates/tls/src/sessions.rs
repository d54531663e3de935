//! The session-ID cache of TLS 1.2, and the answer to a question rustls leaves open: *how* was this
//! session resumed?
//!
//! rustls says only that it was. But it asks our ticketer or our cache for the session, and does so
//! while the handshake's future is polled, on the thread that polls it. So both leave a note in a
//! thread-local cell, and [`Watched`] clears the cell before each poll and reads it after: handshakes
//! interleave on a worker, but a poll does not.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions};

use crate::agreed::Resumed;
use crate::tickets::{Lifetime, unix_now};

thread_local! {
    static GIVEN_BACK: Cell<Resumed> = const { Cell::new(Resumed::No) };
}

/// Notes that the handshake being polled on this thread has been given a session.
pub(crate) fn given_back(how: Resumed) {
    GIVEN_BACK.set(how);
}

/// A handshake that also yields how its session was found, should it turn out to be a resumed one.
/// A session that was found may still be declined by rustls (another name, another suite).
pub(crate) struct Watched<F> {
    handshake: F,
    found: Resumed,
}

impl<F> Watched<F> {
    pub(crate) fn new(handshake: F) -> Self {
        Self { handshake, found: Resumed::No }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = (F::Output, Resumed);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        GIVEN_BACK.set(Resumed::No);
        let polled = Pin::new(&mut self.handshake).poll(cx);
        let found = GIVEN_BACK.replace(Resumed::No);
        if found != Resumed::No {
            self.found = found;
        }
        polled.map(|output| (output, self.found))
    }
}

/// A bounded cache for the sessions of TLS 1.2, in which none grows older than `lifetime`.
/// With `size` 0 there is none.
pub(crate) fn session_store(size: usize, lifetime: Lifetime) -> Arc<dyn StoresServerSessions> {
    if size == 0 {
        return Arc::new(NoServerSessionStorage {});
    }
    Arc::new(SessionCache { sessions: ServerSessionMemoryCache::new(size), lifetime })
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

    fn cache() -> SessionCache {
        let lifetime = Lifetime::new(Duration::from_secs(60));
        SessionCache { sessions: ServerSessionMemoryCache::new(8), lifetime }
    }

    #[test]
    fn a_session_comes_back_as_it_was_put() {
        let cache = cache();
        assert!(cache.put(vec![1], b"secret".to_vec()));
        assert_eq!(cache.get(&[1]).as_deref(), Some(&b"secret"[..]));
        assert_eq!(GIVEN_BACK.replace(Resumed::No), Resumed::SessionId);
        assert_eq!(cache.get(&[2]), None);
        assert_eq!(GIVEN_BACK.get(), Resumed::No);
    }

    #[test]
    fn an_old_session_is_not_given_back() {
        let cache = cache();
        let stamped = SessionCache::stamped(1_000, b"secret".to_vec());
        assert!(cache.fresh(1_060, &stamped).is_some());
        GIVEN_BACK.set(Resumed::No);
        assert!(cache.fresh(1_061, &stamped).is_none());
        assert!(cache.fresh(1_061, b"short").is_none());
        assert_eq!(GIVEN_BACK.get(), Resumed::No);
    }

    #[test]
    fn size_zero_keeps_nothing() {
        let store = session_store(0, Lifetime::new(Duration::from_secs(60)));
        assert!(!store.put(vec![1], vec![2]));
        assert!(!store.can_cache());
    }

    /// Two handshakes take turns on one thread; what one finds is not the other's.
    #[tokio::test]
    async fn interleaved_handshakes_keep_their_own_notes() {
        async fn handshake(finds: Option<Resumed>) {
            tokio::task::yield_now().await;
            if let Some(how) = finds {
                given_back(how);
            }
            tokio::task::yield_now().await;
        }
        let one = Watched::new(Box::pin(handshake(Some(Resumed::Ticket))));
        let two = Watched::new(Box::pin(handshake(None)));
        let three = Watched::new(Box::pin(handshake(Some(Resumed::SessionId))));
        let (one, two, three) = tokio::join!(one, two, three);
        assert_eq!([one.1, two.1, three.1], [Resumed::Ticket, Resumed::No, Resumed::SessionId]);
    }
}
