//! Counts the bytes that all streams of a worker keep because their sockets did not accept them.
//!
//! A few streams may keep a large piece each. If many keep bytes, as with thousands of slow readers, new pieces become
//! small, so that memory stays within a few MiB plus one record per stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count, in bytes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct KeptBytes(Arc<AtomicUsize>);

/// Counts kept bytes until it is dropped.
#[derive(Debug)]
pub struct KeptGuard {
    kept: KeptBytes,
    bytes: usize,
}

impl KeptBytes {
    /// Adds `bytes` to the count until the guard is dropped.
    pub fn enter(&self, bytes: usize) -> KeptGuard {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        KeptGuard { kept: self.clone(), bytes }
    }

    /// Whether so much is kept that new pieces should be small.
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= KEPT_HIGH
    }
}

impl Drop for KeptGuard {
    fn drop(&mut self) {
        self.kept.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// From this many bytes on, new pieces are small. A few streams with large pieces stay below it.
const KEPT_HIGH: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_full_until_bytes_are_released() {
        let kept = KeptBytes::default();
        let mut entries: Vec<_> = (0..KEPT_HIGH >> 10).map(|_| kept.enter(1 << 10)).collect();
        assert!(kept.is_full());
        assert!(kept.clone().is_full(), "clones share the count");
        drop(entries.pop());
        assert!(!kept.is_full());
        drop(entries);
        assert_eq!(kept.0.load(Ordering::Relaxed), 0);
    }
}
