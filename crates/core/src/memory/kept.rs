//! What a flow has read and could not write yet.
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use weir_tls::KeptGuard;

/// Bytes that wait to be written.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// So many of them have gone.
    at: usize,
    _counted: Option<KeptGuard>,
}

impl Kept {
    /// What came before the relay, and is bounded there.
    pub(crate) fn ahead(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, at: 0, _counted: None }))
    }

    /// What could not be written.
    pub(super) fn rest(bytes: Vec<u8>, counted: KeptGuard) -> Box<Self> {
        Box::new(Self { bytes, at: 0, _counted: Some(counted) })
    }

    /// What has still to go.
    pub(crate) fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// `n` bytes more have gone.
    pub(crate) fn gone(&mut self, n: usize) {
        self.at += n;
        debug_assert!(self.at <= self.bytes.len(), "more has gone than was kept");
    }

    /// All of it, and how much has gone.
    pub(crate) fn whole(self) -> (Vec<u8>, usize) {
        (self.bytes, self.at)
    }
}
