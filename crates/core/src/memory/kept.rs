//! Bytes that a flow has read but could not write yet.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use weir_tls::KeptGuard;

/// Bytes that wait to be written.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// The number of bytes already written.
    at: usize,
    _counted: Option<KeptGuard>,
}

impl Kept {
    /// Bytes from before the relay, which are bounded there.
    pub(crate) fn prefix(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, at: 0, _counted: None }))
    }

    /// The part that could not be written.
    pub(super) fn rest(bytes: Vec<u8>, counted: KeptGuard) -> Box<Self> {
        Box::new(Self { bytes, at: 0, _counted: Some(counted) })
    }

    /// The bytes still to write.
    pub(crate) fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Records `n` more bytes as written.
    pub(crate) fn gone(&mut self, n: usize) {
        self.at += n;
        debug_assert!(self.at <= self.bytes.len(), "more has gone than was kept");
    }

    /// All bytes, and how many are written.
    pub(crate) fn whole(self) -> (Vec<u8>, usize) {
        (self.bytes, self.at)
    }
}
