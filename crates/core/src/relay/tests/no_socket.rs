//! The socket of a test's side that has none.

use super::*;
use std::cell::Cell;

/// Stands in for the socket of a side without one: its peer gets sent bytes at once, and nothing arrives from
/// below.
#[derive(Debug, Default)]
pub(super) struct NoSocket {
    reset: Cell<bool>,
}

impl NoSocket {
    /// Whether its close would have sent a reset.
    pub(super) fn was_reset(&self) -> bool {
        self.reset.get()
    }
}

impl RawSocket for NoSocket {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(0)
    }

    fn unsent(&self) -> io::Result<usize> {
        Ok(0)
    }

    fn discard(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch_over(&self, _: &Options) -> io::Result<()> {
        Ok(())
    }

    fn reset(&self) {
        self.reset.set(true);
    }
}
