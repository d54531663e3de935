//! What a TLS stream stands on.

use rustix::net::{SendFlags, send, sockopt};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

/// A byte stream that may be told that its end follows.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// As [`AsyncWrite::poll_write`], for the last bytes: a shutdown or the close follows at once, and they may be
    /// held back until then.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Acknowledges what has been read now, where the system waits for something to send it with. A peer that leaves
    /// Nagle's algorithm on (RFC 9293 §3.7.4) sends nothing small until then.
    fn acknowledge(&self) {}
}

impl Transport for TcpStream {
    /// The FIN goes with the last bytes, in one segment (`MSG_MORE`, send(2)): one less for the system to send, to
    /// receive and to wake the peer for.
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
        // `TCP_QUICKACK`, tcp(7). A socket that takes no option is gone, and the next read says so.
        let _gone: Result<(), _> = sockopt::set_tcp_quickack(self, true);
    }
}
