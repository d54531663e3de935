//! What a worker's streams keep because sockets did not take it, counted for all of them together.
//!
//! Few may keep a large piece each. Where many keep something, as with thousands of slow readers, pieces become small,
//! so that memory stays a small number of MiB, and a piece of the usual size for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count, in bytes. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct KeptBytes(Arc<AtomicUsize>);

/// Bytes that are kept, until this is dropped.
#[derive(Debug)]
pub struct KeptGuard {
    ledger: KeptBytes,
    bytes: usize,
}

impl KeptBytes {
    /// Counts `bytes` that are kept from now on.
    pub fn enter(&self, bytes: usize) -> KeptGuard {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        KeptGuard { ledger: self.clone(), bytes }
    }

    /// So much is kept that pieces are to be small.
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MUCH
    }
}

impl Drop for KeptGuard {
    fn drop(&mut self) {
        self.ledger.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Few streams that keep large pieces do not come to this.
const MUCH: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_until_something_has_gone() {
        let ledger = KeptBytes::default();
        let mut entries: Vec<_> = (0..MUCH >> 10).map(|_| ledger.enter(1 << 10)).collect();
        assert!(ledger.is_full());
        assert!(ledger.clone().is_full(), "clones count together");
        drop(entries.pop());
        assert!(!ledger.is_full());
        drop(entries);
        assert_eq!(ledger.0.load(Ordering::Relaxed), 0);
    }
}
