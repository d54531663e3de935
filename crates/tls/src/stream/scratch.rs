//! The buffer in which a worker's TLS streams encrypt and decrypt.

use super::KeptBytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds records while they are processed. All streams of a worker share one, and none holds it across a wait.
/// The lock is for streams that move between threads; the streams of one worker never contend for it.
#[derive(Debug)]
pub struct Scratch {
    space: Mutex<Box<[u8]>>,
    /// The bytes that its streams, and other holders of buffers, keep.
    pub ledger: KeptBytes,
}

/// The most plaintext encrypted at a time, and the most ciphertext read at a time, in bytes.
pub const AT_ONCE: usize = 128 * 1024;
/// Space for the headers and tags of that much plaintext, and for a ticket or key update sent before it.
const RECORD_OVERHEAD: usize = 8 * 1024;

impl Default for Scratch {
    fn default() -> Self {
        Self { space: Mutex::new(vec![0; Self::BYTES].into_boxed_slice()), ledger: KeptBytes::default() }
    }
}

impl Scratch {
    /// The size of one, in bytes.
    pub const BYTES: usize = AT_ONCE + RECORD_OVERHEAD;

    pub(crate) fn borrow(&self) -> MutexGuard<'_, Box<[u8]>> {
        // Contents left by a panic do not matter, because every use overwrites them.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
