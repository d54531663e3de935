//! How weir ends a connection before its time: TLS with close_notify, so that the other side sees that nothing was cut by a
//! stranger, and without a reset that would destroy what it has not read yet.

use super::{Counts, HyperStream, HyperWire};
use std::io;
use std::task::{Context, Poll, ready};

/// Whether weir ends a connection whose stream hyper owns, and how. The stream then takes and gives no byte any more: all
/// calls of hyper wait for the end, and fail with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    #[default]
    None,
    /// With a FIN, over TLS after close_notify.
    Orderly,
    /// With a reset: the other side has not taken an orderly end in time.
    Reset,
}

impl Counts {
    /// Ends the connection in an orderly way at its next poll, and then discards what the other side still sends.
    pub fn end(&self) {
        self.linger();
        self.ending.set(Ending::Orderly);
    }
}

impl<W: HyperWire> HyperStream<W> {
    /// Whether weir ends it.
    pub(super) fn ends(&self) -> bool {
        self.counts.ending.get() != Ending::None
    }

    /// Ends it as [`Counts::ending`] says. Ready with the error that hyper gets.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.counts.ending.get() == Ending::Reset {
            self.reset();
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        let ended = ready!(self.poll_close(cx));
        Poll::Ready(ended.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }

    /// Ends the write half, and waits for the other side's end where something of it may be on its way.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.discarded.is_none() {
            ready!(self.wire.poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }

    /// Has its close reset the connection, unless its write half has been ended.
    pub fn reset(&self) {
        if self.discarded.is_none() {
            self.wire.reset();
        }
    }
}
