//! A stream of HTTP/2 that has left HTTP, as a side of a relay: its data are the bytes, END_STREAM stands for a FIN, and
//! RST_STREAM for a RST (RFC 8441 §5, RFC 9113 §8.5).

use super::Counts;
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use weir_core::account::outcome::How;
use weir_core::memory::Memory;
use weir_core::relay::{Finish, RawSocket, Wire};
use weir_core::socket::{Options, Socket};

/// A stream whose heads have been exchanged.
#[derive(Debug)]
pub struct Tunnel<B: Buf>(StreamSocket<B>);

/// The two directions of a stream, in place of a socket.
pub struct StreamSocket<B: Buf> {
    from: RefCell<RecvStream>,
    to: RefCell<SendStream<B>>,
    /// Data that has come and was not read.
    rest: RefCell<Bytes>,
    /// The connection's.
    counts: Rc<Counts>,
    /// Bytes given to h2 since the connection last had nothing left to write, and when that was.
    queued: Cell<(usize, u64)>,
}

impl<B: Buf> fmt::Debug for StreamSocket<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSocket").field("queued", &self.queued).finish_non_exhaustive()
    }
}

/// The bytes of a frame: more would be cut.
const FRAME: usize = 16 << 10;

impl<B: Buf> Tunnel<B> {
    /// The stream with these directions, on the connection that `counts`.
    pub fn new(from: RecvStream, to: SendStream<B>, counts: Rc<Counts>) -> Self {
        let queued = Cell::new((0, counts.settled.get()));
        Self(StreamSocket { from: from.into(), to: to.into(), rest: RefCell::default(), counts, queued })
    }
}

impl<B: Buf + From<Bytes>> StreamSocket<B> {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let (mut from, mut rest) = (self.from.borrow_mut(), self.rest.borrow_mut());
        while rest.is_empty() {
            match ready!(from.poll_data(cx)) {
                Some(Ok(data)) => *rest = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
        let n = rest.len().min(buf.len());
        rest.split_to(n).copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        // An error says that the stream has ended, which the next read tells.
        let _ended: Result<(), h2::Error> = from.flow_control().release_capacity(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut to = self.to.borrow_mut();
        let bytes = bytes.get(..FRAME).unwrap_or(bytes);
        to.reserve_capacity(bytes.len());
        while to.capacity() == 0 {
            match ready!(to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let n = to.capacity().min(bytes.len());
        let piece = Bytes::copy_from_slice(bytes.get(..n).unwrap_or_default());
        to.send_data(piece.into(), false).map_err(|error| broken(&error))?;
        self.queued.set((self.in_queue() + n, self.counts.settled.get()));
        Poll::Ready(Ok(n))
    }

    /// Bytes that the connection has not written yet.
    fn in_queue(&self) -> usize {
        let (bytes, settled) = self.queued.get();
        if self.counts.settled.get() > settled { 0 } else { bytes }
    }
}

impl<B: Buf + From<Bytes>> RawSocket for StreamSocket<B> {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(match self.to.borrow_mut().poll_reset(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_reason)) => Some(io::ErrorKind::ConnectionReset.into()),
            Poll::Ready(Err(error)) => Some(broken(&error)),
            Poll::Pending => None,
        })
    }

    fn has_unread(&self) -> bool {
        self.from.borrow_mut().flow_control().used_capacity() > 0
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.in_queue())
    }

    fn unsent(&self) -> io::Result<usize> {
        Ok(self.in_queue())
    }

    fn discard(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self.poll_read(&mut Context::from_waker(Waker::noop()), buf) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn watch_over(&self, _: &Options) -> io::Result<()> {
        // The connection's socket is watched.
        Ok(())
    }

    fn reset(&self) {
        self.to.borrow_mut().send_reset(Reason::CONNECT_ERROR);
    }
}

impl<B: Buf + From<Bytes>> Wire for Tunnel<B> {
    type Socket = StreamSocket<B>;
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection writes.
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, how: Finish, _: bool) -> Poll<io::Result<()>> {
        let mut to = self.0.to.borrow_mut();
        to.reserve_capacity(0);
        match how {
            Finish::Clean => {
                Poll::Ready(to.send_data(Bytes::new().into(), true).map_err(|error| broken(&error)))
            }
            // HTTP/2 has no other word for a truncated stream.
            Finish::Bare => {
                to.send_reset(Reason::CONNECT_ERROR);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn socket(&self) -> &StreamSocket<B> {
        &self.0
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

fn broken(error: &h2::Error) -> io::Error {
    error.get_io().map_or(io::ErrorKind::ConnectionReset, io::Error::kind).into()
}
