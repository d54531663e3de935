//! A TLS stream for code that reads and writes through [`AsyncRead`] and [`AsyncWrite`].
#![allow(
    clippy::indexing_slicing,
    reason = "a wrong bound on the byte path must end the connection as `internal`, never drop bytes unseen"
)]

use super::{AT_ONCE, Role, Scratch, TlsStream, Transport};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A [`TlsStream`] with its own scratch buffer: for single connections, not for the thousands of a worker.
#[derive(Debug)]
pub struct Buffered<S, IO> {
    stream: Box<TlsStream<S, IO>>,
    scratch: Scratch,
    /// Decrypted bytes; those from `at` on have not been read yet.
    plain: Vec<u8>,
    at: usize,
}

impl<S, IO> Buffered<S, IO> {
    /// Wraps `stream` with a buffer.
    pub fn new(stream: Box<TlsStream<S, IO>>) -> Self {
        Self { stream, scratch: Scratch::default(), plain: Vec::new(), at: 0 }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &TlsStream<S, IO> {
        &self.stream
    }

    /// The wrapped stream; bytes that were decrypted but not read are lost.
    pub fn into_inner(self) -> Box<TlsStream<S, IO>> {
        self.stream
    }

    /// The wrapped stream.
    pub fn get_mut(&mut self) -> &mut TlsStream<S, IO> {
        &mut self.stream
    }
}

impl<S: Role, IO: Transport> AsyncRead for Buffered<S, IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.plain.len() {
            (this.plain, this.at) = (vec![0; AT_ONCE], 0);
            let read = this.stream.poll_read(cx, &mut this.plain, &this.scratch);
            this.plain.truncate(match &read {
                Poll::Ready(Ok(n)) => *n,
                _ => 0,
            });
            ready!(read)?;
        }
        let rest = &this.plain[this.at..];
        let some = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(some);
        this.at += some.len();
        debug_assert!(this.at <= this.plain.len(), "more was read than decrypted");
        Poll::Ready(Ok(()))
    }
}

impl<S: Role, IO: Transport> AsyncWrite for Buffered<S, IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stream.poll_write(cx, buf, false, &this.scratch)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}
