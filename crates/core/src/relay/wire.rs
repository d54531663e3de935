//! A side of a relay: a bare socket, TLS with a client, TLS with a backend.

use super::queue;
use crate::account::error::ConnError;
use crate::account::outcome::{How, Side};
use crate::memory::Memory;
use crate::socket::{Options, Socket, options};
use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_tls::{Role, TlsStream, Transport};

/// A TLS session as a side of a relay.
#[derive(Debug)]
pub struct Tls<S>(pub Box<TlsStream<S, Socket>>);

impl<S: Role> Tls<S> {
    /// Turns an error of `side`, whose session this is, into [`ConnError::Alerted`] if a fatal alert came from there.
    pub fn told_by_alert(&self, side: Side, error: ConnError) -> ConnError {
        match (error, self.0.alert_received()) {
            (ConnError::Broken(whose, _), Some(alert)) if whose == side => ConnError::Alerted(side, alert),
            (error, _) => error,
        }
    }
}

/// How a direction is ended towards its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With the destination's clean end: a FIN, or close_notify and a FIN.
    Clean,
    /// With a FIN alone, because its source did not end cleanly either.
    Bare,
}

/// The socket below a side, accessed past any TLS session on it.
pub trait RawSocket {
    /// The socket's pending error, if there is one: a reset that no read or write has met. Reading it clears
    /// it.
    ///
    /// # Errors
    /// The socket cannot be queried.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
    /// Whether unread bytes have arrived: they can still be read after a reset.
    fn has_unread(&self) -> bool;
    /// Bytes in the send queue, including bytes sent but not acknowledged, and a FIN as one byte. After a
    /// reset by the peer, the number at that moment.
    ///
    /// # Errors
    /// The socket cannot be queried.
    fn unacknowledged(&self) -> io::Result<usize>;
    /// The part of [`unacknowledged`](Self::unacknowledged) that was never sent, because the peer's window
    /// was full.
    ///
    /// # Errors
    /// The socket cannot be queried.
    fn unsent(&self) -> io::Result<usize>;
    /// Reads off pending input, at most as many bytes as `buf` holds; 0 is the end of the peer's stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none now; else the socket's.
    fn discard(&self, buf: &mut [u8]) -> io::Result<usize>;
    /// Sets the options that watch over a silent peer.
    ///
    /// # Errors
    /// The system refuses one.
    fn watch_over(&self, options: &Options) -> io::Result<()>;
    /// Makes the close send a reset, and drop the rest of the send queue, if the socket knows resets.
    fn reset(&self);
}

/// One side of a relay.
pub trait Wire {
    /// The socket below it.
    type Socket: RawSocket;
    /// Whether written bytes may wait inside for a flush.
    const BUFFERS: bool;
    /// The record's word for a clean end.
    const CLEAN_END: How;

    /// Reads into `buf`; 0 is a clean end, [`io::ErrorKind::UnexpectedEof`] an end that TLS did not announce.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], memory: &Memory)
    -> Poll<io::Result<usize>>;
    /// Writes a part of `bytes`. With an `end`, only that follows them: once all bytes are accepted,
    /// [`poll_finish`](Self::poll_finish) follows at once, and until then the last of them may be held back.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        end: Option<Finish>,
        memory: &Memory,
    ) -> Poll<io::Result<usize>>;
    /// Sends bytes that are held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Whether it holds bytes back that may go with the next write: a flush sends them alone.
    fn holds_back(&self) -> bool {
        false
    }
    /// Bytes that it has accepted and its socket has not: encrypted ones, if it encrypts.
    fn inside(&self) -> usize {
        0
    }
    /// The payload in the last `n` bytes that its socket accepted or that are [inside](Self::inside).
    fn payload_of(&self, n: usize) -> usize {
        n
    }
    /// Whether only a part of a record has been read: an end here is a truncation.
    fn has_part(&self) -> bool {
        false
    }
    /// Flushes, then ends the write half. With `last`, nothing follows but the close: the side has been read
    /// to the end of its stream, so that closing it sends a FIN after all written bytes, and nothing else. A
    /// shutdown before that would be a wasted system call.
    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish, last: bool) -> Poll<io::Result<()>>;
    /// The socket below it.
    fn socket(&self) -> &Self::Socket;
    /// The socket, if nothing is between it and the payload, so that splice(2) may be used.
    fn bare(&self) -> Option<&Socket>;
}

impl RawSocket for Socket {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }

    fn has_unread(&self) -> bool {
        SockRef::from(self).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|n| n > 0)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => queue::unacknowledged(stream),
            // Written bytes are in the peer's own queue, and stay there whatever happens to this end.
            Self::Unix(_) => Ok(0),
        }
    }

    fn unsent(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => queue::unsent(stream),
            Self::Unix(_) => Ok(0),
        }
    }

    fn discard(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_read(buf)
    }

    fn watch_over(&self, options: &Options) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => options::watch_over(SockRef::from(stream), options),
            // Nothing to set: the system knows when the process at the other end is gone.
            Self::Unix(_) => Ok(()),
        }
    }

    fn reset(&self) {
        self.reset();
    }
}

impl Wire for Socket {
    type Socket = Self;
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        end: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        match end {
            Some(_) => self.poll_write_last(cx, bytes),
            None => Pin::new(self).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, _: Finish, last: bool) -> Poll<io::Result<()>> {
        if last { Poll::Ready(Ok(())) } else { Pin::new(self).poll_shutdown(cx) }
    }

    fn socket(&self) -> &Self {
        self
    }

    fn bare(&self) -> Option<&Socket> {
        Some(self)
    }
}

impl<S: Role> Wire for Tls<S> {
    type Socket = Socket;
    const BUFFERS: bool = true;
    const CLEAN_END: How = How::CloseNotify;

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        memory: &Memory,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buf, &memory.tls)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        end: Option<Finish>,
        memory: &Memory,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes, end == Some(Finish::Clean), &memory.tls)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn holds_back(&self) -> bool {
        self.0.holds_back()
    }

    fn inside(&self) -> usize {
        self.0.inside()
    }

    fn payload_of(&self, n: usize) -> usize {
        self.0.plaintext_of(n)
    }

    fn has_part(&self) -> bool {
        self.0.has_part()
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish, _: bool) -> Poll<io::Result<()>> {
        match how {
            Finish::Clean => ready!(self.0.poll_close_notify(cx))?,
            Finish::Bare => ready!(self.0.poll_flush(cx))?,
        }
        // Even for the last one: the session has been read to its end, but the socket has not. Bytes after a
        // close_notify would turn the close into a reset, which would destroy the bytes that wait for the
        // FIN.
        self.0.get_mut().poll_finish(cx, how, false)
    }

    fn socket(&self) -> &Socket {
        self.0.get_ref()
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

/// Bytes that a side has accepted and its peer has not acknowledged.
pub(super) fn queued<W: Wire>(side: &W) -> usize {
    side.inside() + side.socket().unacknowledged().unwrap_or(0)
}
