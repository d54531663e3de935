//! The buffer in which a worker's TLS streams encrypt and decrypt, and how it lies in memory.

#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::KeptBytes;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holds records while they are processed. All streams of a worker share one, and none holds it across a wait.
/// The lock is for streams that move between threads; the streams of one worker never contend for it.
#[derive(Debug)]
pub struct Scratch {
    space: Mutex<PageBuffer>,
    /// The bytes that its streams, and other holders of buffers, keep.
    pub ledger: KeptBytes,
}

/// The most plaintext encrypted at a time, and the most ciphertext read at a time, in bytes.
pub const AT_ONCE: usize = 128 * 1024;
/// Space for the headers and tags of that much plaintext, and for a ticket or key update sent before it.
const RECORD_OVERHEAD: usize = 8 * 1024;

impl Default for Scratch {
    fn default() -> Self {
        Self { space: Mutex::new(PageBuffer::new(Self::BYTES, PAGE / 2)), ledger: KeptBytes::default() }
    }
}

/// A buffer that begins at a chosen place of a page of memory.
///
/// Where source and destination of a copy lie nearly the same number of bytes behind the beginnings of their pages, some
/// processors copy at a third of their speed (glibc's bug 30994, about `rep movsb` of Zen 3 and 4; aliasing of loads with
/// stores elsewhere). Allocators put large blocks at the beginning of a page, as those that rustls takes for each record.
/// So the worker's buffers begin elsewhere: at [`Self::PLAIN`], and records in the middle of a page.
#[derive(Debug)]
pub struct PageBuffer {
    memory: Box<[u8]>,
    from: usize,
    length: usize,
}

/// The bytes of a page, as far as caches look at addresses.
const PAGE: usize = 4096;

impl PageBuffer {
    /// Where a buffer of plaintext should begin.
    pub const PLAIN: usize = PAGE / 4;
    /// What a buffer takes more than its length, in bytes.
    pub const MORE: usize = PAGE;

    /// A buffer of zeros, `place` bytes behind the beginning of a page.
    pub fn new(length: usize, place: usize) -> Self {
        let memory = vec![0; length + Self::MORE].into_boxed_slice();
        let from = (place + PAGE - memory.as_ptr().addr() % PAGE) % PAGE;
        Self { memory, from, length }
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.length]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.length]
    }
}

impl Scratch {
    /// The size of one, in bytes.
    pub const BYTES: usize = AT_ONCE + RECORD_OVERHEAD;

    pub(crate) fn borrow(&self) -> MutexGuard<'_, PageBuffer> {
        // Contents left by a panic do not matter, because every use overwrites them.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_where_they_should() {
        for (length, place) in [(1, 0), (AT_ONCE, 0), (AT_ONCE, PAGE / 2), (5000, PAGE - 1)] {
            let mut buffer = PageBuffer::new(length, place);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % PAGE), (length, place));
            buffer[length - 1] = 1;
            assert_eq!(buffer.iter().filter(|byte| **byte == 1).count(), 1);
        }
    }
}
