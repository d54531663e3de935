//! From an address to a connection that is ready for requests.

use super::Job;
use super::connection::Connection;
use super::sealed::Sealed;
use super::tally::Tally;
use crate::identity::{Identity, alpn};
use crate::talk::{Direction, REQUEST, Request};
use crate::work::Protocol;
use anyhow::Result;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
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
    /// What its connections speak.
    pub(super) protocol: Protocol,
    /// The host that its requests are for, if they are in HTTP.
    pub(super) host: Arc<str>,
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
            protocol: job.protocol,
            host: job.name.as_str().into(),
            address: job.address,
            name: ServerName::try_from(job.name.clone())?,
            bare: job.bare,
            config: identity.client(job.resume, job.crypto, job.protocol)?,
            front: identity.front(job.crypto)?,
            backend: identity.backend()?,
            // Each process begins elsewhere in the pattern, so that answers of the last run do not fit.
            seeds: Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32)),
        })
    }

    /// The same with sessions of its own, so that connections made one after the other resume one another.
    pub(super) fn with_own_sessions(&self, job: &Job) -> Result<Self> {
        let config = Identity::at(&job.identity).client(job.resume, job.crypto, job.protocol)?;
        Ok(Self { config, ..self.clone() })
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

    /// The bytes of a request, without the payload of an upload.
    pub(super) fn message(&self, request: Request) -> Vec<u8> {
        match self.protocol {
            Protocol::Tcp => request.encode().to_vec(),
            Protocol::Http1 | Protocol::Http2 => request.head(&self.host),
        }
    }

    /// Notes a request that was sent.
    pub(super) fn note_request(&self) {
        let bytes = if self.protocol == Protocol::Tcp { REQUEST as u64 } else { 0 };
        self.tally.note(|got| {
            got.sent += bytes;
            got.requests += 1;
        });
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
                Appetite::Small if self.protocol == Protocol::Http2 => STREAMS_READ,
                Appetite::Small | Appetite::Slow => SMALL_READ,
            };
            let stream = BufReader::with_capacity(read, stream);
            let stream =
                TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await?;
            self.note_handshake(stream.get_ref().1);
            Box::new(stream)
        };
        Ok(Connection::new(wire, self.clone()))
    }

    fn note_handshake(&self, session: &ClientConnection) {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.tally.note(|got| {
            got.connections += 1;
            *(if resumed { &mut got.resumed } else { &mut got.full }) += 1;
            got.agreed += u64::from(session.alpn_protocol() == alpn(self.protocol));
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

/// How many bytes a bulk connection's TLS reads at once.
const LARGE_READ: usize = 128 * 1024;
/// How many bytes the TLS of other connections reads at once.
const SMALL_READ: usize = 4 * 1024;
/// The same for the answers of many streams.
const STREAMS_READ: usize = 16 * 1024;
/// The receive buffer of a socket among hundreds with bulk.
const FLIGHT_SOCKET: u32 = 256 * 1024;
/// The receive buffer of a slow reader's socket.
const SLOW_SOCKET: u32 = 32 * 1024;
