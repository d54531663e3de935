//! The buffer that a worker's TLS streams encrypt into and decrypt from.

use super::KeptBytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where records stand while they are being worked on; a worker's streams share one, and none holds it across a wait.
/// The lock is for streams that move between threads: a worker's own never wait for it.
#[derive(Debug)]
pub struct Scratch {
    room: Mutex<Box<[u8]>>,
    /// What its streams keep, and whoever else counts there.
    pub ledger: KeptBytes,
}

/// Plaintext that is encrypted at a time, and the most ciphertext that is read at a time.
pub const AT_ONCE: usize = 128 * 1024;
/// Headers and tags of so much plaintext, and whatever goes before it: a ticket, a key update.
const AROUND: usize = 8 * 1024;

impl Default for Scratch {
    fn default() -> Self {
        Self { room: Mutex::new(vec![0; Self::BYTES].into_boxed_slice()), ledger: KeptBytes::default() }
    }
}

impl Scratch {
    /// How much memory one takes.
    pub const BYTES: usize = AT_ONCE + AROUND;

    pub(crate) fn borrow(&self) -> MutexGuard<'_, Box<[u8]>> {
        // Whatever stood there when somebody panicked is overwritten.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
