//! A connection of a peer, plain or TLS, with the rude ways to end it.

use crate::digest::Sum;
use crate::tunnel::Tunnel;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// Longer than a read takes if it ends at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection, seen by a client or by a backend.
#[derive(Debug)]
pub enum Stream {
    /// No TLS.
    Plain(TcpStream),
    /// TLS; this side connected.
    Client(Box<client::TlsStream<TcpStream>>),
    /// TLS; this side accepted.
    Server(Box<server::TlsStream<TcpStream>>),
    /// A stream of HTTP/2 that has left HTTP.
    Tunnel(Box<Tunnel>),
}

/// How the other side ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A clean end: FIN, in TLS with close_notify before it.
    Clean,
    /// In TLS: FIN without close_notify.
    Truncated,
    /// RST.
    Reset,
    /// Anything else.
    Other(io::ErrorKind),
}

impl End {
    /// The end that a read error stands for.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Other(kind),
        }
    }
}

impl Stream {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Client(tls) => tls.get_ref().0,
            Self::Server(tls) => tls.get_ref().0,
            Self::Tunnel(_) => panic!("a stream of HTTP/2 has no socket of its own"),
        }
    }

    /// Ends the connection with RST, and drops unsent bytes.
    pub fn reset(self) {
        if let Self::Tunnel(tunnel) = self {
            return tunnel.reset();
        }
        SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends FIN without a TLS close_notify; reading goes on.
    pub fn truncate(&self) {
        SockRef::from(self.tcp()).shutdown(Shutdown::Write).unwrap();
    }

    /// Ends this direction cleanly; reading goes on.
    pub async fn finish(&mut self) {
        self.shutdown().await.unwrap();
    }

    /// Reads to the end, however it ends, and keeps all bytes.
    ///
    /// # Panics
    /// When there is no end within a minute.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = self.drain(|chunk| bytes.extend_from_slice(chunk)).await;
        (bytes, end)
    }

    /// Reads to the end, however it ends, and hashes all bytes.
    ///
    /// # Panics
    /// When there is no end within a minute.
    pub async fn sum(&mut self) -> (Sum, End) {
        let mut sum = Sum::default();
        let end = self.drain(|chunk| sum.update(chunk)).await;
        (sum, end)
    }

    async fn drain(&mut self, mut take: impl FnMut(&[u8])) -> End {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = tokio::time::timeout(PATIENCE, self.read(&mut buffer)).await;
            match read.expect("the connection neither moves nor ends") {
                Ok(0) => return End::Clean,
                Ok(count) => take(&buffer[..count]),
                Err(error) => return End::of(&error),
            }
        }
    }

    /// Reads exactly `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        tokio::time::timeout(PATIENCE, self.read_exact(&mut bytes))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(bytes)
    }

    /// Sends bytes and reads to the end. A reset during the sending is the end, because the kernel reports it
    /// only once.
    pub async fn ask(&mut self, bytes: &[u8]) -> (Vec<u8>, End) {
        match self.send(bytes).await {
            Ok(()) => self.rest().await,
            Err(error) => (Vec::new(), End::of(&error)),
        }
    }

    /// Sends bytes and pushes them out.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Server(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Server(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Client(stream) => Pin::new(stream).poll_flush(cx),
            Self::Server(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Client(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Server(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
