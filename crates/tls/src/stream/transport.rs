//! What a TLS stream stands on.

use rustix::net::{SendFlags, send};
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
}
