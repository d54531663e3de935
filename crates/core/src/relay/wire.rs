//! What a side of a relay can do: bare TCP, TLS with a client, TLS with a backend.

use crate::outcome::How;
use crate::replay::Replay;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TLS session as a side of a relay. Boxed: it is over a KiB, and would be copied from stage to stage.
#[derive(Debug)]
pub struct Tls<S>(pub Box<S>);

/// A TLS session over a socket that can be reached through it.
pub trait Session: AsyncRead + AsyncWrite + Unpin {
    /// The socket below.
    fn tcp(&self) -> &TcpStream;
    /// The socket below, to end it without a word of TLS.
    fn tcp_mut(&mut self) -> &mut TcpStream;
}

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
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes a part of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Sends what is held back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Flushes, then ends the write half.
    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish) -> Poll<io::Result<()>>;
    /// The socket below.
    fn tcp(&self) -> &TcpStream;
    /// The socket, where nothing is between it and the payload: splice(2) may be used.
    fn bare(&self) -> Option<&TcpStream>;
}

impl Wire for TcpStream {
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(self, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, _: Finish) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }

    fn tcp(&self) -> &TcpStream {
        self
    }

    fn bare(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<S: Session> Wire for Tls<S> {
    const BUFFERS: bool = true;
    const CLEAN_END: How = How::CloseNotify;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(&mut self.0, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, how: Finish) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        match how {
            Finish::Clean => Pin::new(&mut self.0).poll_shutdown(cx),
            Finish::Bare => Pin::new(self.0.tcp_mut()).poll_shutdown(cx),
        }
    }

    fn tcp(&self) -> &TcpStream {
        self.0.tcp()
    }

    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

impl Session for weir_tls::ClientTls<Replay> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }

    fn tcp_mut(&mut self) -> &mut TcpStream {
        self.get_mut().0.tcp_mut()
    }
}

impl Session for weir_tls::BackendStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn tcp_mut(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}
