//! The handshake of a [`TlsStream`].
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::{ONE_RECORD, Reading, Role, Scratch, TlsStream, Transport, broken};
use rustls::ProtocolVersion;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Runs a handshake over `io`, of which `ahead` has been read already.
///
/// # Errors
/// The error, and `io`: the alert that says so has been sent as far as the socket took it.
///
/// # Cancel safety
/// Not cancel safe: dropping the future drops `io` in the middle of the handshake.
pub(crate) async fn handshake<S: Role, IO: Transport>(
    side: S,
    io: IO,
    ahead: Vec<u8>,
    scratch: &Scratch,
) -> Result<Box<TlsStream<S, IO>>, (io::Error, IO)> {
    // Boxed from the start: it is over a KiB, and would be a part of every future that it passes through.
    let mut stream = Box::new(TlsStream::new(side, io, ahead));
    match poll_fn(|cx| stream.poll_handshake(cx, scratch)).await {
        Ok(()) => Ok(stream),
        Err(error) => {
            // The handshake's own error is what counts; a socket that takes no alert changes nothing about it.
            drop(poll_fn(|cx| stream.poll_flush(cx)).await);
            Err((error, stream.io))
        }
    }
}

impl<S: Role, IO: Transport> TlsStream<S, IO> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> Poll<io::Result<()>> {
        loop {
            // What a handshake keeps while it waits counts as what other streams keep: it may be up to 64 KiB.
            self.counted_part = None;
            self.work_through_the_handshake()?;
            let common = self.side.common();
            if !common.is_handshaking() {
                // What is left for the client is a ticket, and a client waits for no ticket.
                self.may_wait = S::ENDS_WITH_TICKETS
                    && common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
                    && self.reading == Reading::Open;
                if !self.may_wait {
                    ready!(self.poll_flush(cx))?;
                }
                return Poll::Ready(Ok(()));
            }
            // What cannot be sent is no reason not to read: the peer may be waiting for the same.
            let _sent: Poll<()> = self.poll_flush(cx)?;
            let mut room = scratch.borrow();
            // No more than this: what comes behind the handshake is kept until there is a backend to take it.
            let mut buf = ReadBuf::new(&mut room[..ONE_RECORD]);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut buf)?;
            if read.is_pending() {
                let kept = self.partial.len() + self.early.len() + self.unsent.len();
                self.counted_part = (kept > 0).then(|| scratch.ledger.enter(kept));
                return Poll::Pending;
            }
            if buf.filled().is_empty() || self.reading == Reading::Ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.unacknowledged = true;
            self.partial.extend_from_slice(buf.filled());
        }
    }

    /// rustls bounds what it leaves: no record and no message may be longer than 64 KiB.
    fn work_through_the_handshake(&mut self) -> io::Result<()> {
        let (mut input, mut early) = (std::mem::take(&mut self.partial), Vec::new());
        let (left, failed) = self.take(&mut input, &mut |bytes| early.extend_from_slice(bytes));
        self.early.append(&mut early);
        self.partial = input[left..].to_vec();
        match failed {
            None => Ok(()),
            Some(error) => {
                self.reading = Reading::Failed;
                Err(broken(error))
            }
        }
    }
}
