//! The transport below a TLS stream.

use rustix::net::{SendFlags, send, sockopt};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

/// A byte stream that can be told in advance that its end follows.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// As [`AsyncWrite::poll_write`], for the last bytes: a shutdown or close must follow at once, and the bytes may be
    /// held back until then.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Sends a delayed acknowledgement at once. A peer with Nagle's algorithm on (RFC 9293 §3.7.4) holds back small
    /// writes until it arrives.
    fn acknowledge(&self) {}
}

impl Transport for TcpStream {
    /// Sends the FIN in one segment with the last bytes (`MSG_MORE`, send(2)), which saves a segment and a wakeup of
    /// the peer.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let last = || Ok(send(&*self, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?);
            match self.try_io(Interest::WRITABLE, last) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn acknowledge(&self) {
        // `TCP_QUICKACK`, tcp(7). If setting the option fails, the socket is gone, and the next read reports it.
        let _gone: Result<(), _> = sockopt::set_tcp_quickack(self, true);
    }
}
