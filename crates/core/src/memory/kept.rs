//! What flows have read and could not write yet, counted for all of a worker's together.
//!
//! Few flows may keep a large read each. Where many keep something, as with thousands of slow readers, reads become
//! small, so that memory stays a small number of MiB, and a piece of the usual size for each.

use super::SCRATCH;
use std::cell::Cell;
use std::rc::Rc;

/// Bytes that wait to be written.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// So many of them have gone.
    at: usize,
    ledger: Option<Rc<Cell<usize>>>,
}

impl Kept {
    /// What came before the relay, and is bounded there.
    pub(crate) fn ahead(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes, at: 0, ledger: None }))
    }

    /// What has still to go.
    pub(crate) fn left(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// `n` bytes more have gone.
    pub(crate) fn gone(&mut self, n: usize) {
        self.at += n;
    }

    /// All of it, and how much has gone.
    pub(crate) fn whole(mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.bytes), self.at)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.set(ledger.get().saturating_sub(self.bytes.len()));
        }
    }
}

/// What all flows of a worker keep, in bytes.
#[derive(Debug, Default)]
pub(super) struct Ledger(Rc<Cell<usize>>);

impl Ledger {
    pub(super) fn keep(&self, rest: &[u8]) -> Box<Kept> {
        self.0.set(self.0.get() + rest.len());
        Box::new(Kept { bytes: rest.to_vec(), at: 0, ledger: Some(Rc::clone(&self.0)) })
    }

    pub(super) fn at_once(&self) -> usize {
        if self.0.get() < MUCH { SCRATCH } else { SMALL }
    }
}

/// When flows together keep so much, reads become small,
const MUCH: usize = 2 << 20;
/// as small as one TLS record allows: with all that is around it, it must come in one read (RFC 8446 §5.2).
const SMALL: usize = 20 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_many_keep_something_reads_become_small() {
        let ledger = Ledger::default();
        let mut kept: Vec<_> = (0..MUCH / SCRATCH).map(|_| ledger.keep(&[0; SCRATCH])).collect();
        assert_eq!(ledger.at_once(), SMALL);
        let mut last = kept.pop().unwrap();
        last.gone(SCRATCH);
        assert_eq!(ledger.at_once(), SMALL, "its memory is still held");
        drop(last);
        assert_eq!(ledger.at_once(), SCRATCH);
        drop(kept);
        assert_eq!(ledger.0.get(), 0);
    }
}
