//! A client's stream that begins with what was read ahead of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's stream that gives the bytes read ahead first, then goes on with the socket.
#[derive(Debug)]
pub struct Replay {
    ahead: Vec<u8>,
    at: usize,
    stream: TcpStream,
}

impl Replay {
    /// The stream with `ahead` in front.
    pub fn new(ahead: Vec<u8>, stream: TcpStream) -> Self {
        Self { ahead, at: 0, stream }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket below; what is still to be replayed is lost.
    pub fn into_tcp(self) -> TcpStream {
        self.stream
    }

    /// The socket below, to write to or close.
    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let ahead = this.ahead.get(this.at..).unwrap_or_default();
        if ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = ahead.len().min(buf.remaining());
        buf.put_slice(ahead.get(..n).unwrap_or_default());
        this.at += n;
        if this.at == this.ahead.len() {
            // A connection that waits holds no buffer.
            this.ahead = Vec::new();
            this.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // A socket has nothing to flush.
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
