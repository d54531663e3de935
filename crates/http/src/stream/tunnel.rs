//! A stream of HTTP/2 that has left HTTP, as a wire: its data, END_STREAM for a FIN, RST_STREAM for a RST (RFC 9113 §8.5).

use super::HyperWire;
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::fmt;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use weir_core::local::Local;

/// The two directions of a stream.
pub struct StreamWire<B: Buf> {
    from: RecvStream,
    to: SendStream<B>,
    /// Data that has come and was not read.
    rest: Bytes,
}

impl<B: Buf> fmt::Debug for StreamWire<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWire").finish_non_exhaustive()
    }
}

impl<B: Buf> StreamWire<B> {
    /// A stream whose heads have been exchanged.
    pub fn new(from: RecvStream, to: SendStream<B>) -> Self {
        Self { from, to, rest: Bytes::new() }
    }
}

/// Data that goes into one frame at most.
const PIECE: usize = 16 << 10;

impl<B: Buf + From<Bytes> + Unpin> HyperWire for StreamWire<B> {
    fn least_room(&self) -> usize {
        1
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Local) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
        let n = self.rest.len().min(buf.len());
        self.rest.split_to(n).copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        // An error says that the stream has ended, which the next read tells.
        let _ended: Result<(), h2::Error> = self.from.flow_control().release_capacity(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8], _: &Local) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..PIECE).unwrap_or(bytes);
        self.to.reserve_capacity(bytes.len());
        while self.to.capacity() == 0 {
            match ready!(self.to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let n = self.to.capacity().min(bytes.len());
        let piece = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        Poll::Ready(self.to.send_data(piece.into(), false).map(|()| n).map_err(|error| broken(&error)))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        local: &Local,
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|piece| !piece.is_empty());
        first.map_or(Poll::Ready(Ok(0)), |piece| self.poll_write(cx, piece, local))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection writes. A reset is noticed here too.
        match self.to.poll_reset(cx) {
            Poll::Ready(Ok(_reason)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(&error))),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.reserve_capacity(0);
        Poll::Ready(self.to.send_data(Bytes::new().into(), true).map_err(|error| broken(&error)))
    }

    fn reset(&mut self) {
        self.to.send_reset(Reason::CONNECT_ERROR);
    }
}

fn broken(error: &h2::Error) -> io::Error {
    error.get_io().map_or(io::ErrorKind::ConnectionReset, io::Error::kind).into()
}
