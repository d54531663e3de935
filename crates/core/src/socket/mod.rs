//! A stream socket, TCP or Unix: the data path treats both alike.
//!
//! - [`options`] the options of a TCP socket.

pub mod options;

pub use options::{Options, configure_listening, set_fast_open};

use rustix::net::{RecvFlags, recv};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use weir_tls::Transport;

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket (unix(7), `SOCK_STREAM`).
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl Socket {
    /// Makes the close of a TCP connection send a reset, and drop the rest of the send queue (socket(7),
    /// `SO_LINGER`).
    ///
    /// A Unix socket cannot send a reset: it accepts `SO_LINGER` but ignores it (unix(7) has no such option).
    /// Its peer reads the written bytes, which are already in the peer's own queue, and then an EOF. The peer
    /// gets ECONNRESET instead only if weir left some of its bytes unread. So for the peer of a Unix socket a
    /// truncated stream ends like a complete one, unless TLS or the protocol on it tells the two apart.
    pub fn reset(&self) {
        let Self::Tcp(stream) = self else { return };
        if let Err(error) = stream.set_zero_linger() {
            // The close is then an ordinary one; the peer is most likely gone.
            tracing::debug!(%error, "cannot set SO_LINGER");
        }
    }

    /// The socket's pending error, if there is one (`SO_ERROR`). Reading it clears it.
    ///
    /// # Errors
    /// The socket cannot be queried.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }

    /// Reads the available bytes, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there are none now; else the socket's.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buf),
            Self::Unix(stream) => stream.try_read(buf),
        }
    }

    /// Receives what is there, without waiting (recv(2)); with [`RecvFlags::PEEK`] it stays there. To be called within
    /// [`Self::try_io`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing now; else the socket's.
    pub(crate) fn receive(&self, buf: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        Ok(recv(self, buf, flags)?.0)
    }

    /// Ready when a read may find something.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Ready when a write may find space.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Makes a system call on the socket, and clears its readiness if the call would block.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, call),
            Self::Unix(stream) => stream.try_io(interest, call),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // Neither holds anything back.
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Transport for Socket {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_last(cx, bytes),
            // A Unix socket has no segments to save.
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn acknowledge(&self) {
        if let Self::Tcp(stream) = self {
            stream.acknowledge();
        }
    }
}
