//! The backend, a process of its own: five ports, and an account of all connections and bytes.
//!
//! It writes its ports as a line of JSON, then obeys the lines of its input: `report` gives the account,
//! `reset` begins a new one. It ends with its input.

mod http;

use crate::identity::{Identity, alpn};
use crate::talk::{Direction, REQUEST, Request, fits, pieces};
use crate::work::Protocol;
use anyhow::{Context as _, Result};
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ServerConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Where the backend listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// TLS.
    pub tls: u16,
    /// A hello, then bare bytes.
    pub bare: u16,
    /// Bare bytes.
    pub plain: u16,
    /// HTTP/1.1.
    pub http: u16,
    /// HTTP/1.1 over TLS.
    pub https: u16,
}

/// The account since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Connections to the TLS port, to the port for a hello and bare bytes, to the plain port, to those for HTTP.
    pub on_tls: u64,
    /// See [`Seen::on_tls`].
    pub on_bare: u64,
    /// See [`Seen::on_tls`].
    pub on_plain: u64,
    /// See [`Seen::on_tls`].
    pub on_http: u64,
    /// See [`Seen::on_tls`].
    pub on_https: u64,
    /// Connections that are still open, of the ports for HTTP only those whose request is not answered whole.
    pub open: u64,
    /// Connections to the ports for HTTP that are still open: load balancers keep them.
    pub kept: u64,
    /// Finished full TLS handshakes.
    pub full: u64,
    /// Finished resumed TLS handshakes.
    pub resumed: u64,
    /// The names in hellos, and how many had each.
    pub names: BTreeMap<String, u64>,
    /// Connections to the plain port that began as TLS does.
    pub tls_on_plain: u64,
    /// Requests that came whole; in HTTP, whose head did.
    pub requests: u64,
    /// Requests in HTTP whose fields tell who the client is, as a load balancer must say.
    pub forwarded: u64,
    /// Bytes of requests and uploads; in HTTP only those of bodies.
    pub received: u64,
    /// Bytes of answers, in HTTP only those of bodies.
    pub sent: u64,
    /// Reads with bytes that no client sends.
    pub corrupt: u64,
    /// Connections that ended in an error.
    pub broken: u64,
    /// The first of those errors.
    pub error: Option<String>,
}

/// Runs the backend until its input ends.
///
/// # Errors
/// When it cannot listen, or its certificate cannot be read.
pub async fn run(identity: &Path) -> Result<()> {
    let tls = Identity::at(identity).server("backend")?;
    let seen = Account::default();
    let sockets = [listen()?, listen()?, listen()?, listen()?, listen()?];
    let [tls_port, bare, plain, http, https] = &sockets;
    let port = |socket: &TcpListener| socket.local_addr().map(|at| at.port());
    say(&Ports {
        tls: port(tls_port)?,
        bare: port(bare)?,
        plain: port(plain)?,
        http: port(http)?,
        https: port(https)?,
    })?;
    let mut tasks = JoinSet::new();
    let mut agrees = ServerConfig::clone(&tls);
    agrees.alpn_protocols = alpn(Protocol::Http1).map(<[u8]>::to_vec).into_iter().collect();
    let kinds = [Port::Tls(tls), Port::Bare, Port::Plain, Port::Http, Port::Https(Arc::new(agrees))];
    for (socket, kind) in sockets.into_iter().zip(kinds) {
        tasks.spawn(accept(socket, kind, seen.clone()));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "report" => say(&seen.note(|seen| seen.clone()))?,
            _ => seen.note(|seen| *seen = Seen { open: seen.open, kept: seen.kept, ..Seen::default() }),
        }
    }
    Ok(())
}

/// Writes one line of JSON to standard output.
///
/// # Errors
/// When the reader has gone.
pub fn say(what: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    out.write_all(b"\n")?;
    out.flush().context("the reader of the account has gone")
}

/// The account, shared by all connections. The process has one thread, so the lock is never contended.
#[derive(Clone, Debug, Default)]
struct Account(Arc<Mutex<Seen>>);

impl Account {
    fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The kind of bytes that a port expects.
#[derive(Clone, Debug)]
enum Port {
    Tls(Arc<ServerConfig>),
    Bare,
    Plain,
    Http,
    Https(Arc<ServerConfig>),
}

impl Port {
    fn is_http(&self) -> bool {
        matches!(self, Self::Http | Self::Https(_))
    }

    /// How many of its connections are open: in HTTP all of them, those between two requests too.
    fn open<'a>(&self, seen: &'a mut Seen) -> &'a mut u64 {
        if self.is_http() { &mut seen.kept } else { &mut seen.open }
    }
}

/// Counts one connection as open until it is dropped.
struct Open(Account, Port);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.note(|seen| *self.1.open(seen) -= 1);
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.listen(BACKLOG)
}

async fn accept(socket: TcpListener, port: Port, account: Account) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = socket.accept().await else { continue };
        account.note(|seen| {
            *port.open(seen) += 1;
            match port {
                Port::Tls(_) => seen.on_tls += 1,
                Port::Bare => seen.on_bare += 1,
                Port::Plain => seen.on_plain += 1,
                Port::Http => seen.on_http += 1,
                Port::Https(_) => seen.on_https += 1,
            }
        });
        let open = Open(account.clone(), port.clone());
        connections.spawn(async move {
            if let Err(error) = Box::pin(serve(stream, &open.1, &open.0)).await {
                open.0.note(|seen| {
                    seen.broken += 1;
                    seen.error.get_or_insert_with(|| error.to_string());
                });
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, port: &Port, account: &Account) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match port {
        Port::Tls(config) => answer(shake_hands(config, stream, account).await?, account).await,
        Port::Https(config) => http::answer(shake_hands(config, stream, account).await?, account).await,
        Port::Http => http::answer(stream, account).await,
        Port::Bare => {
            let name = hello(&mut stream).await?;
            account.note(|seen| *seen.names.entry(name).or_default() += 1);
            answer(stream, account).await
        }
        Port::Plain => {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE] {
                account.note(|seen| seen.tls_on_plain += 1);
            }
            answer(stream, account).await
        }
    }
}

async fn shake_hands(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
    account: &Account,
) -> io::Result<TlsStream<BufReader<TcpStream>>> {
    let accepted = TlsAcceptor::from(Arc::clone(config)).accept(BufReader::with_capacity(READ, stream));
    let stream = accepted.await?;
    let (_, session) = stream.get_ref();
    let name = session.server_name().unwrap_or_default().to_owned();
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    account.note(|seen| {
        *seen.names.entry(name).or_default() += 1;
        *(if resumed { &mut seen.resumed } else { &mut seen.full }) += 1;
    });
    Ok(stream)
}

/// Reads one hello, to its last byte and no further, and gives its name.
async fn hello(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [_, _, _, high, low] = head;
    let mut record = head.to_vec();
    record.resize(head.len() + usize::from(u16::from_be_bytes([high, low])), 0);
    stream.read_exact(record.get_mut(head.len()..).unwrap_or_default()).await?;
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut record.as_slice())?;
    let accepted = acceptor.accept().map_err(|(error, _)| io::Error::other(error))?;
    let accepted = accepted.ok_or_else(|| io::Error::other("a hello in more than one record"))?;
    Ok(accepted.client_hello().server_name().unwrap_or_default().to_owned())
}

/// Answers requests until the client ends.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, account: &Account) -> io::Result<()> {
    let mut bytes = [0; REQUEST];
    loop {
        // An end between two requests is clean; an end within one is an error.
        if stream.read(bytes.get_mut(..1).unwrap_or_default()).await? == 0 {
            return stream.shutdown().await;
        }
        stream.read_exact(bytes.get_mut(1..).unwrap_or_default()).await?;
        account.note(|seen| seen.received += REQUEST as u64);
        let Some(request) = Request::decode(&bytes) else {
            account.note(|seen| seen.corrupt += 1);
            return Err(io::Error::other("not a request"));
        };
        account.note(|seen| seen.requests += 1);
        if request.direction == Direction::Up {
            take(&mut stream, request, account).await?;
        }
        give(&mut stream, request, account).await?;
    }
}

/// Reads an upload.
async fn take(stream: &mut (impl AsyncRead + Unpin), request: Request, account: &Account) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(request.length).unwrap_or(BULK).min(BULK)];
    let mut taken = 0;
    while taken < request.length {
        let room = usize::try_from(request.length - taken).unwrap_or(BULK).min(BULK);
        let n = stream.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fits = fits(request.seed, taken, buffer.get(..n).unwrap_or_default());
        taken += n as u64;
        account.note(|seen| {
            seen.received += n as u64;
            seen.corrupt += u64::from(!fits);
        });
    }
    Ok(())
}

/// Sends an answer.
async fn give(stream: &mut (impl AsyncWrite + Unpin), request: Request, account: &Account) -> io::Result<()> {
    let mut given = 0;
    while given < request.answer() {
        let n = stream.write_vectored(&pieces(request.seed, given, request.answer() - given)).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        given += n as u64;
        account.note(|seen| seen.sent += n as u64);
    }
    stream.flush().await
}

/// The backlog, long enough that new connections never wait for the backend.
const BACKLOG: u32 = 4096;
/// How many bytes a TLS session reads at once.
const READ: usize = 32 * 1024;
/// How many bytes of an upload are read at once.
const BULK: usize = 128 * 1024;
/// The first byte of a TLS record with handshake messages.
const TLS_HANDSHAKE: u8 = 22;
