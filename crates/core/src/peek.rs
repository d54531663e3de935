//! Reads the first bytes of a client, under a byte ceiling and one deadline, and keeps them for replay.
//!
//! The bytes are read, not peeked at: a poll with `MSG_PEEK` wakes at once on the same partial hello and spins.

use crate::account::How;
use crate::error::ConnError;
use crate::hello::{Assembler, Fault, Hello, Progress};
use crate::relay::Memory;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use weir_metrics::ListenerMetrics;

/// The first bytes of a client, and what they say.
#[derive(Debug)]
pub struct Peeked {
    /// What the client asks for.
    pub hello: Box<Hello>,
    /// Everything that was read: the hello as it came, and what came behind it.
    pub bytes: Vec<u8>,
}

/// The first bytes where they are no hello.
#[derive(Debug)]
pub struct NotAHello {
    /// Why the road ends here.
    pub error: ConnError,
    /// Everything that was read.
    pub bytes: Vec<u8>,
}

/// Reads until the hello is complete, or cannot become one.
///
/// `ceiling` is the most handshake bytes; `deadline` counts for all of it, not for a read.
///
/// # Errors
/// What the bytes are instead, with the bytes: some listeners let them pass.
///
/// # Cancel safety
/// Not cancel safe: dropping the future loses the bytes that were read.
pub async fn client_hello(
    client: &mut TcpStream,
    ceiling: usize,
    deadline: Instant,
    memory: &Memory,
    metrics: &ListenerMetrics,
) -> Result<Peeked, NotAHello> {
    let mut bytes = Vec::new();
    let mut segments = 0;
    let read = read_hello(client, ceiling, memory, &mut bytes, &mut segments);
    let end = timeout_at(deadline, read).await.unwrap_or(Err(ConnError::HelloTimeout));
    metrics.hello(outcome(&end));
    match end {
        Ok(hello) => {
            metrics.hello_shape(hello.length, hello.records, segments);
            Ok(Peeked { hello, bytes })
        }
        Err(error) => Err(NotAHello { error, bytes }),
    }
}

async fn read_hello(
    client: &mut TcpStream,
    ceiling: usize,
    memory: &Memory,
    bytes: &mut Vec<u8>,
    segments: &mut u32,
) -> Result<Box<Hello>, ConnError> {
    let mut assembler = Assembler::new(ceiling);
    loop {
        match memory.read(client, assembler.raw_ceiling(), |new| bytes.extend_from_slice(new)).await {
            Ok((0, ())) => return Err(ConnError::ClientGone(How::Fin)),
            Ok(_) => *segments += 1,
            Err(_) => return Err(ConnError::ClientGone(How::Rst)),
        }
        match assembler.advance(bytes) {
            Progress::Partial => {}
            Progress::Hello(hello) => return Ok(hello),
            Progress::Refused(fault) => return Err(ConnError::Hello(fault)),
        }
    }
}

/// The `outcome` label of `weir_client_hello_total`.
fn outcome(end: &Result<Box<Hello>, ConnError>) -> &'static str {
    match end {
        Ok(hello) if hello.sni.is_some() => "complete",
        Ok(_) => "no_sni",
        Err(ConnError::Hello(Fault::NotTls)) => "not_tls",
        Err(ConnError::Hello(Fault::BadSni)) => "bad_sni",
        Err(ConnError::Hello(Fault::Malformed)) => "malformed",
        Err(ConnError::Hello(Fault::TooLarge)) => "too_large",
        Err(ConnError::HelloTimeout) => "timeout",
        Err(_) => "eof",
    }
}

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
