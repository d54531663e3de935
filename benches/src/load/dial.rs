//! From an address to a connection that is ready for requests.

use super::Job;
use super::sealed::Sealed;
use super::tally::Tally;
use crate::identity::Identity;
use crate::talk::{Direction, Request, fits, pieces};
use anyhow::Result;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a client needs for its connections.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    /// The account of all bytes sent and received.
    pub(super) tally: Tally,
    /// How long one step may take.
    pub(super) patience: Duration,
    address: SocketAddr,
    name: ServerName<'static>,
    bare: bool,
    config: Arc<ClientConfig>,
    front: CertificateDer<'static>,
    backend: CertificateDer<'static>,
    seeds: Arc<AtomicU64>,
}

/// A byte stream, TLS or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// The same stream, from which no bytes are read any more; `None` if bytes have come that were not asked
    /// for.
    fn seal(self: Box<Self>) -> Option<Sealed>;
}

impl Wire for TcpStream {
    fn seal(self: Box<Self>) -> Option<Sealed> {
        Some(Sealed { stream: *self, session: None })
    }
}

impl Wire for TlsStream<BufReader<TcpStream>> {
    fn seal(self: Box<Self>) -> Option<Sealed> {
        let (reader, session) = self.into_inner();
        reader.buffer().is_empty().then(|| Sealed { stream: reader.into_inner(), session: Some(session) })
    }
}

/// A connection, ready for requests.
pub(super) struct Connection {
    wire: Box<dyn Wire>,
    dialler: Dialler,
}

/// How much a connection reads at once, and how much the kernel may hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appetite {
    /// Bulk.
    Large,
    /// Bulk on hundreds of connections: if their sockets grew freely, the kernel would run out of memory for
    /// TCP on a small machine, and connections would stall at random.
    Flight,
    /// Small answers.
    Small,
    /// Bulk whose reader is slow: little fits into its socket.
    Slow,
}

impl Dialler {
    pub(super) fn new(job: &Job) -> Result<Self> {
        let identity = Identity::at(&job.identity);
        Ok(Self {
            tally: Tally::default(),
            patience: Duration::from_millis(job.patience_ms),
            address: job.address,
            name: ServerName::try_from(job.name.clone())?,
            bare: job.bare,
            config: identity.client(job.resume, job.crypto)?,
            front: identity.front(job.crypto)?,
            backend: identity.backend()?,
            // Each process begins elsewhere in the pattern, so that answers of the last run do not fit.
            seeds: Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32)),
        })
    }

    /// The same with sessions of its own, so that connections made one after the other resume one another.
    pub(super) fn with_own_sessions(&self, job: &Job) -> Result<Self> {
        Ok(Self { config: Identity::at(&job.identity).client(job.resume, job.crypto)?, ..self.clone() })
    }

    /// Connects and shakes hands; `None` after a failure, which is then in the account.
    pub(super) async fn dial(&self, appetite: Appetite) -> Option<Connection> {
        match timeout(self.patience, self.try_dial(appetite)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.tally.failed("connect", &error);
                None
            }
        }
    }

    /// A request of this dialler's own.
    pub(super) fn request(&self, direction: Direction, length: u64) -> Request {
        Request { direction, seed: self.seeds.fetch_add(7_919, Ordering::Relaxed), length }
    }

    async fn try_dial(&self, appetite: Appetite) -> io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        match appetite {
            Appetite::Flight => socket.set_recv_buffer_size(FLIGHT_SOCKET)?,
            Appetite::Slow => socket.set_recv_buffer_size(SLOW_SOCKET)?,
            Appetite::Large | Appetite::Small => (),
        }
        let mut stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let wire: Box<dyn Wire> = if self.bare {
            let mut hello = Vec::new();
            ClientConnection::new(Arc::clone(&self.config), self.name.clone())
                .map_err(io::Error::other)?
                .write_tls(&mut hello)?;
            stream.write_all(&hello).await?;
            self.tally.note(|got| got.connections += 1);
            Box::new(stream)
        } else {
            let read = match appetite {
                Appetite::Large | Appetite::Flight => LARGE_READ,
                Appetite::Small | Appetite::Slow => SMALL_READ,
            };
            let stream = BufReader::with_capacity(read, stream);
            let stream =
                TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await?;
            self.note_handshake(stream.get_ref().1);
            Box::new(stream)
        };
        Ok(Connection { wire, dialler: self.clone() })
    }

    fn note_handshake(&self, session: &ClientConnection) {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.tally.note(|got| {
            got.connections += 1;
            *(if resumed { &mut got.resumed } else { &mut got.full }) += 1;
            if certificate == Some(&self.front) {
                got.by_front += 1;
            } else if certificate == Some(&self.backend) {
                got.by_backend += 1;
            } else {
                got.by_others += 1;
            }
        });
    }
}

impl Connection {
    /// One request and its whole answer; `None` after a failure, which is then in the account.
    pub(super) async fn exchange(&mut self, direction: Direction, length: u64) -> Option<()> {
        let request = self.dialler.request(direction, length);
        match self.try_exchange(request).await {
            Ok(()) => Some(()),
            Err(error) => {
                self.dialler.tally.failed("request", &error);
                None
            }
        }
    }

    /// The same connection, whose answers are counted without being read; an error is in the account.
    pub(super) fn seal(self) -> Option<Sealed> {
        let sealed = self.wire.seal();
        if sealed.is_none() {
            self.dialler.tally.failed("request", &io::Error::other("something came after the answer"));
        }
        sealed
    }

    /// Asks for a download, and leaves the reading to the caller.
    pub(super) async fn ask(&mut self, request: Request) -> io::Result<()> {
        let patience = self.dialler.patience;
        in_time(patience, self.wire.write_all(&request.encode())).await?;
        in_time(patience, self.wire.flush()).await?;
        self.dialler.tally.note(|got| {
            got.sent += request.encode().len() as u64;
            got.requests += 1;
        });
        Ok(())
    }

    /// Reads a part of an answer, beginning at `offset`; gives how many bytes it read.
    pub(super) async fn read(
        &mut self,
        request: Request,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let n = in_time(self.dialler.patience, self.wire.read(buffer)).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fits = fits(request.seed, offset, buffer.get(..n).unwrap_or_default());
        self.dialler.tally.note(|got| {
            got.received += n as u64;
            got.corrupt += u64::from(!fits);
        });
        Ok(n)
    }

    /// Ends the connection properly: our end first, then the other's, within a second. A failure here does
    /// not change the measurement.
    pub(super) async fn close(mut self) {
        let farewell = async {
            self.wire.shutdown().await?;
            while self.wire.read(&mut [0; 64]).await? > 0 {}
            io::Result::Ok(())
        };
        drop(timeout(FAREWELL, farewell).await);
    }

    async fn try_exchange(&mut self, request: Request) -> io::Result<()> {
        self.ask(request).await?;
        if request.direction == Direction::Up {
            self.upload(request).await?;
        }
        let mut buffer = vec![0; usize::try_from(request.answer()).unwrap_or(BULK).min(BULK)];
        let mut got = 0;
        while got < request.answer() {
            got += self.read(request, got, &mut buffer).await? as u64;
        }
        if got > request.answer() {
            return Err(io::Error::other("more than was asked for"));
        }
        Ok(())
    }

    async fn upload(&mut self, request: Request) -> io::Result<()> {
        let mut given = 0;
        while given < request.length {
            let pieces = pieces(request.seed, given, request.length - given);
            let n = in_time(self.dialler.patience, self.wire.write_vectored(&pieces)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            given += n as u64;
            self.dialler.tally.note(|got| got.sent += n as u64);
        }
        in_time(self.dialler.patience, self.wire.flush()).await
    }
}

/// Connections that stay open.
pub(super) struct Held(pub(super) Vec<Connection>);

impl Held {
    /// Closes all of them, some hundred at a time.
    pub(super) async fn close(self) {
        let mut left = self.0.into_iter().peekable();
        while left.peek().is_some() {
            let mut closing = tokio::task::JoinSet::new();
            for connection in left.by_ref().take(CLOSING) {
                closing.spawn(connection.close());
            }
            closing.join_all().await;
        }
    }
}

async fn in_time<T>(patience: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, what).await.unwrap_or_else(|late| Err(late.into()))
}

/// How many bytes a bulk connection's TLS reads at once.
const LARGE_READ: usize = 128 * 1024;
/// How many bytes the TLS of other connections reads at once.
const SMALL_READ: usize = 4 * 1024;
/// The receive buffer of a socket among hundreds with bulk.
const FLIGHT_SOCKET: u32 = 256 * 1024;
/// The receive buffer of a slow reader's socket.
const SLOW_SOCKET: u32 = 32 * 1024;
/// The size of bulk reads.
const BULK: usize = 128 * 1024;
/// How long the other side may take to end as well.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// How many are closed at once.
const CLOSING: usize = 256;
