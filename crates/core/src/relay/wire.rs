//! What a side of a relay can do: bare TCP, TLS with a client, TLS with a backend.

use crate::account::outcome::How;
use crate::memory::Memory;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weir_tls::{Role, TlsStream, Transport};

/// A TLS session as a side of a relay.
#[derive(Debug)]
pub struct Tls<S>(pub Box<TlsStream<S, TcpStream>>);

/// How a direction is ended towards its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Whatever is a clean end there: a FIN, or close_notify and a FIN.
    Clean,
    /// A FIN alone: its source did not end cleanly either.
    Bare,
}

/// One side of a relay.
pub trait Wire {
    /// True where written bytes may wait inside for a flush.
    const BUFFERS: bool;
    /// What a clean end is called in the record.
    const CLEAN_END: How;

    /// Reads into `buf`; 0 is a clean end, [`io::ErrorKind::UnexpectedEof`] one that TLS did not announce.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], memory: &Memory)
    -> Poll<io::Result<usize>>;
    /// Writes a part of `bytes`. With an `end`, nothing comes after them but that: once they are all taken,
    /// [`poll_finish`](Self::poll_finish) follows at once, and until then the last of them may be held back.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        end: Option<Finish>,
        memory: &Memory,
    ) -> Poll<io::Result<usize>>;
    /// Sends what is held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// It holds something back that may go with what is written next: a flush sends it alone.
    fn holds_back(&self) -> bool {
        false
    }
    /// Bytes that it took and that its socket has not: encrypted ones, where it encrypts.
    fn inside(&self) -> usize {
        0
    }
    /// How much payload the last `n` bytes are that its socket took or that are [inside](Self::inside).
    fn payload_of(&self, n: usize) -> usize {
        n
    }
    /// Only a part of a record has been read: an end here is a truncation.
    fn has_part(&self) -> bool {
        false
    }
    /// Flushes, then ends the write half. The `last` thing that happens before the side is closed: it has been read to
    /// the end of its stream, so that closing it sends a FIN behind all that was written, and nothing else. A shutdown
    /// before that would be a system call for nothing.
    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish, last: bool) -> Poll<io::Result<()>>;
    /// The socket below.
    fn tcp(&self) -> &TcpStream;
    /// The socket, where nothing is between it and the payload: splice(2) may be used.
    fn bare(&self) -> Option<&TcpStream>;
}

impl Wire for TcpStream {
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

    fn tcp(&self) -> &TcpStream {
        self
    }

    fn bare(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<S: Role> Wire for Tls<S> {
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
        // Also at the last: the session has been read to its end, not the socket. Whatever came behind a close_notify
        // would make the close a reset, and that would take with it what waits for the FIN.
        self.0.get_mut().poll_finish(cx, how, false)
    }

    fn tcp(&self) -> &TcpStream {
        self.0.get_ref()
    }

    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}
