//! The handshake of a [`TlsStream`].
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::{ONE_RECORD, Reading, Role, Scratch, TlsStream, Transport, broken};
use crate::alert::queued;
use crate::failure::HandshakeError;
use rustls::ProtocolVersion;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Runs a handshake over `io`; `ahead` holds the bytes already read from it.
///
/// # Errors
/// The error with its alert, and `io`. An alert of this end has been sent as far as the socket accepted it.
///
/// # Cancel safety
/// Not cancel safe: dropping the future drops `io` in the middle of the handshake.
pub(crate) async fn handshake<S: Role, IO: Transport>(
    side: S,
    io: IO,
    ahead: Vec<u8>,
    scratch: &Scratch,
) -> Result<Box<TlsStream<S, IO>>, (HandshakeError, IO)> {
    // Boxed from the start: the stream is over a KiB, and would be stored in every future that holds it.
    let mut stream = Box::new(TlsStream::new(side, io, ahead));
    match poll_fn(|cx| stream.poll_handshake(cx, scratch)).await {
        Ok(()) => Ok(stream),
        Err(error) => {
            // The handshake's error is the one to report, even if the socket accepts no alert.
            drop(poll_fn(|cx| stream.poll_flush(cx)).await);
            Err((error, stream.io))
        }
    }
}

impl<S: Role, IO: Transport> TlsStream<S, IO> {
    fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
    ) -> Poll<Result<(), HandshakeError>> {
        loop {
            // Bytes kept by a waiting handshake, up to 64 KiB, count like those of any other stream.
            self.counted_part = None;
            self.process_handshake()?;
            let common = self.side.common();
            if !common.is_handshaking() {
                // Only tickets are left to send, and clients do not wait for tickets.
                self.may_wait = S::ENDS_WITH_TICKETS
                    && common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
                    && self.reading == Reading::Open;
                if !self.may_wait {
                    ready!(self.poll_flush(cx))?;
                }
                return Poll::Ready(Ok(()));
            }
            // Read even if nothing can be sent: the peer may be blocked on its own writes too.
            let _sent: Poll<()> = self.poll_flush(cx)?;
            let mut space = scratch.borrow();
            // One record at most: bytes after the handshake are kept until a backend can take them.
            let mut buf = ReadBuf::new(&mut space[..ONE_RECORD]);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut buf)?;
            if read.is_pending() {
                let kept = self.partial.len() + self.early.len() + self.unsent.len();
                self.counted_part = (kept > 0).then(|| scratch.ledger.enter(kept));
                return Poll::Pending;
            }
            if buf.filled().is_empty() || self.reading == Reading::Ended {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
            self.unacknowledged = true;
            self.partial.extend_from_slice(buf.filled());
        }
    }

    /// Passes the received bytes to rustls and keeps the rest. The rest is bounded, because rustls refuses records and
    /// messages over 64 KiB.
    fn process_handshake(&mut self) -> Result<(), HandshakeError> {
        let (mut input, mut early) = (std::mem::take(&mut self.partial), Vec::new());
        let (left, failed) = self.take(&mut input, &mut |bytes| early.extend_from_slice(bytes));
        self.early.append(&mut early);
        self.partial = input[left..].to_vec();
        match failed {
            None => Ok(()),
            Some(error) => {
                self.reading = Reading::Failed;
                let sent = queued(&self.unsent, &error);
                Err(HandshakeError::from(broken(error)).with_sent(sent))
            }
        }
    }
}
