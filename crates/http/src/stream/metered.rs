//! A client's stream with HTTP/2: its frames are counted, and a flood of them ends it.

use super::{HyperStream, HyperWire};
use crate::meter::Meter;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// The meter of a connection, and its last frame.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) meter: Meter,
    /// The bytes of the GOAWAY that are sent.
    said: usize,
}

impl Metered {
    pub(super) fn new() -> Self {
        Self { meter: Meter::new(Instant::now()), said: 0 }
    }
}

impl<W: HyperWire> HyperStream<W> {
    /// After a flood: ends the connection by a GOAWAY, once the frame that is under way has been written.
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let flooded = || io::Error::other("the client floods weir");
        let Some(metered) = &mut self.metered else { return Poll::Ready(flooded()) };
        if metered.meter.owed() > 0 {
            return Poll::Pending;
        }
        let frame = metered.meter.goaway();
        while let Some(rest) = frame.get(metered.said..).filter(|rest| !rest.is_empty()) {
            match ready!(self.wire.poll_write(cx, rest, &self.local)) {
                Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Ok(n) => metered.said += n,
                Err(error) => return Poll::Ready(error),
            }
        }
        match ready!(self.wire.poll_shutdown(cx)) {
            Ok(()) => Poll::Ready(flooded()),
            Err(error) => Poll::Ready(error),
        }
    }

    /// After a flood: writes no more of `bytes` than the frame under way needs.
    pub(super) fn poll_last_words(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let owed = self.metered.as_ref().map_or(0, |metered| metered.meter.owed());
        if owed == 0 || bytes.is_empty() {
            return self.poll_farewell(cx).map(Err);
        }
        let some = bytes.get(..owed).unwrap_or(bytes);
        let wrote = self.wire.poll_write(cx, some, &self.local);
        self.follow(&wrote, &[IoSlice::new(some)]);
        wrote
    }

    /// Counts the frames in bytes that were written.
    pub(super) fn follow(&mut self, wrote: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        let (Some(metered), Poll::Ready(Ok(n))) = (&mut self.metered, wrote) else { return };
        let mut left = *n;
        for piece in bufs {
            let some = piece.get(..left).unwrap_or(piece);
            metered.meter.wrote(some);
            left -= some.len();
        }
    }
}
