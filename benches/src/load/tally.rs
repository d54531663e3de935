//! A client's totals.

use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// A client's totals, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    /// Connections that were made, TLS handshake included where there is one.
    pub connections: u64,
    /// Full handshakes.
    pub full: u64,
    /// Resumed handshakes.
    pub resumed: u64,
    /// Connections whose certificate was the load balancer's, the backend's, or any other.
    pub by_front: u64,
    /// See [`Got::by_front`].
    pub by_backend: u64,
    /// See [`Got::by_front`].
    pub by_others: u64,
    /// Connections that agreed by ALPN on the protocol that was asked for.
    pub agreed: u64,
    /// Requests sent whole, with their uploads.
    pub requests: u64,
    /// Bytes of requests and uploads; in HTTP only those of bodies.
    pub sent: u64,
    /// Bytes of answers; in HTTP only those of bodies.
    pub received: u64,
    /// Connections that got any byte of an answer, where the client leaves before the end.
    pub served: u64,
    /// Reads with bytes that no backend sends.
    pub corrupt: u64,
    /// Connections and requests that failed.
    pub failed: u64,
    /// The first failure.
    pub error: Option<String>,
}

/// The account of one client process. It has one thread, so the lock is never contended.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Got>>);

impl Tally {
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Got) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn look(&self) -> Got {
        self.note(|got| got.clone())
    }

    pub(super) fn failed(&self, what: &str, error: &std::io::Error) {
        self.note(|got| {
            got.failed += 1;
            got.error.get_or_insert_with(|| format!("{what}: {error}"));
        });
    }
}
