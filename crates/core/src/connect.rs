//! Reaches a backend: dials under a deadline, and walks on to another one when one cannot be reached.
//!
//! Pick and connect are the one pair that talks twice: connect asks for the next candidate until one answers,
//! the pool's retries are used up, or the client's patience (the deadline of a try, times the tries) is over.
//! Nothing of the client's has been sent by then, so trying another one is always safe.

use crate::account::error::{ConnError, ConnectError};
use crate::socket::{self, Options};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use weir_pool::dialable::{Doubt, Forbidden, OwnAddresses};
use weir_pool::selector::{Asker, Cursors};
use weir_pool::{Backend, Live, Pool, Reserved};

/// A backend that was reached, by whatever stream `S` the mode speaks to it.
#[derive(Debug)]
pub struct Reached<S> {
    /// The connection.
    pub stream: S,
    /// The place at the backend, held to the connection's end.
    pub reserved: Reserved,
}

/// How backends of a route are reached.
#[derive(Debug)]
pub struct Dialling<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// Who asks: what keyed policies go by.
    pub asker: Asker<'a>,
    /// One try, `secure` included.
    pub deadline: Duration,
    /// Options of the socket.
    pub options: &'a Options,
    /// The worker's place in the rotation.
    pub cursors: &'a RefCell<Cursors>,
    /// The backends that the connection has tried: each once, and at most the pool's retries after the first.
    pub tries: &'a mut Tries,
}

/// The backends that a connection has tried. It is filled as they are tried, so that it is right however the dial ends.
#[derive(Debug, Default)]
pub struct Tries {
    tried: Vec<Arc<Live>>,
    took: Option<Duration>,
}

impl Tries {
    /// How many.
    pub fn count(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }

    /// The one that was tried last.
    pub fn last(&self) -> Option<&Arc<Live>> {
        self.tried.last()
    }

    /// How long it took to reach the last one, since the first of this walk, its TLS handshake included; `None` where
    /// none was reached.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// A backend is being tried.
    pub fn begin(&mut self, backend: Arc<Live>) {
        self.tried.push(backend);
    }

    /// The last one was reached, so long after the first was tried.
    pub fn reached(&mut self, took: Duration) {
        self.took = Some(took);
    }

    /// May another backend be tried, where so many retries are allowed?
    fn may_go_on(&self, retries: usize) -> bool {
        self.tried.len() <= retries
    }
}

impl Dialling<'_> {
    /// Reaches a backend that has not been tried, and makes of the bare connection what the mode needs by `secure`.
    ///
    /// # Errors
    /// [`ConnError::NoBackend`] when none may take the connection; the last try's error when none could be reached.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was dialled and gives its place back.
    pub async fn reach<S>(
        &mut self,
        secure: impl AsyncFn(TcpStream, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        let started = Instant::now();
        let mut last = None;
        while self.tries.may_go_on(self.pool.settings.retries) {
            let picked = self.cursors.borrow_mut().pick(self.pool, &self.asker, &self.tries.tried);
            let Some(reserved) = picked else { break };
            if !self.tries.tried.is_empty() {
                self.pool.metrics.retries.inc();
            }
            let backend = reserved.backend();
            self.tries.begin(Arc::clone(&backend.live));
            match timeout(self.deadline, self.attempt(backend, &secure))
                .await
                .unwrap_or(Err(ConnectError::TimedOut))
            {
                Ok(stream) => {
                    backend.live.metrics.connection("ok");
                    self.tries.reached(started.elapsed());
                    return Ok(Reached { stream, reserved });
                }
                Err(error) => {
                    backend.live.metrics.connection(error.label());
                    // A shortage on this machine is told by the connection's own record.
                    if !matches!(error, ConnectError::Local(_)) {
                        backend.live.note_dial_failure(Instant::now(), &error);
                    }
                    if error.is_the_backends_own() {
                        self.pool.failed(backend, error.label());
                    }
                    tracing::debug!(pool = %self.pool.name, backend = %backend.name, %error, "cannot reach a backend");
                    last = Some(error);
                }
            }
        }
        Err(last.map_or(ConnError::NoBackend, ConnError::Connect))
    }

    async fn attempt<S>(
        &self,
        backend: &Backend,
        secure: &impl AsyncFn(TcpStream, &Backend) -> Result<S, ConnectError>,
    ) -> Result<S, ConnectError> {
        let started = Instant::now();
        let stream = dial(backend.address, self.options, self.pool.own_addresses()).await?;
        self.pool.metrics.connect_duration.observe(started.elapsed().as_secs_f64());
        secure(stream, backend).await
    }
}

/// Opens a TCP connection, unless the address is forbidden or this process's own.
///
/// A backend may accept, send bytes and reset before weir sees the result of the dial. Such a connection was made: its
/// bytes can be read, and the reset comes after them.
///
/// # Errors
/// Sorted by whose fault it is.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn dial(
    address: SocketAddr,
    options: &Options,
    own: &OwnAddresses,
) -> Result<TcpStream, ConnectError> {
    let doubt = own.look(address)?.map_err(ConnectError::Local)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    let socket = socket.map_err(ConnectError::from_dial)?;
    socket::configure((&socket).into(), options).map_err(ConnectError::Local)?;
    let stream = match connect(socket, address).await {
        Ok(stream) if doubt == Doubt::default() => return Ok(stream),
        Ok(stream) => end_of_its_own(stream, address, doubt),
        Err(error) => Err(sorted(error, address)),
    };
    own.dialled(address, stream.is_ok());
    stream
}

/// Connects, and waits until that is done.
async fn connect(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if ready.is_error() || ready.is_write_closed() {
        was_made(&stream)?;
    }
    Ok(stream)
}

/// Whether a connection was established before its error. `SO_ERROR` is not asked: reading it clears it, and the relay
/// would then take the reset of a backend that has sent bytes for a clean end.
fn was_made(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        spoke_or_ended => spoke_or_ended.map(drop),
    }
}

/// Sorts an error of connect(2). "Cannot assign requested address" means that no port is free, or that this machine has
/// no address of that kind to come from (`::1` where IPv6 is turned off), which no waiting mends.
fn sorted(error: io::Error, address: SocketAddr) -> ConnectError {
    let no_source = error.kind() == io::ErrorKind::AddrNotAvailable && !has_source_for(address);
    if no_source { ConnectError::Failed(error) } else { ConnectError::from_dial(error) }
}

/// Whether this machine has an address from which it can reach `address`. Uses UDP, which sends nothing on connect and
/// whose ports are not those of TCP.
fn has_source_for(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let Ok(socket) = UdpSocket::bind((any, 0)) else { return true };
    socket.connect(address).is_ok()
}

/// Gives the connection back, unless it has this process at its other end: connected to itself (the kernel had chosen
/// the port that was dialled), or to an own listener.
fn end_of_its_own(stream: TcpStream, address: SocketAddr, doubt: Doubt) -> Result<TcpStream, ConnectError> {
    let local = stream.local_addr().map_err(ConnectError::Local)?;
    if local.ip() != address.ip() {
        return Ok(stream);
    }
    let error = if doubt.itself && local.port() == address.port() {
        ConnectError::Failed(io::ErrorKind::ConnectionRefused.into())
    } else if doubt.own {
        ConnectError::Forbidden(Forbidden::Listener)
    } else {
        return Ok(stream);
    };
    // A FIN to itself would keep the port in TIME_WAIT, and the backend from binding it.
    socket::reset(&stream);
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use tokio::io::AsyncReadExt;

    const OPTIONS: Options =
        Options { nodelay: true, keepalive: Duration::ZERO, user_timeout: Duration::ZERO };

    /// What comes of a dial to a backend that has accepted, said `says` and reset before the dial looks again.
    async fn dialled(address: &str, says: &[u8], ends: bool) -> Result<TcpStream, ConnectError> {
        let backend = TcpListener::bind(address).unwrap();
        let its_address = backend.local_addr().unwrap();
        let own = OwnAddresses::default();
        // Polled in this order, on one thread.
        let (dialled, ()) = tokio::join!(dial(its_address, &OPTIONS, &own), async {
            let (mut accepted, _) = backend.accept().unwrap();
            accepted.write_all(says).unwrap();
            if ends {
                accepted.shutdown(std::net::Shutdown::Write).unwrap();
            }
            SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
        });
        dialled
    }

    #[tokio::test]
    async fn a_backend_that_speaks_and_resets_at_once_was_reached() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut stream = dialled(address, b"go away", false).await.unwrap();
            let mut heard = Vec::new();
            let end = stream.read_to_end(&mut heard).await;
            assert_eq!(heard, b"go away");
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "told once, and here");
        }
    }

    #[tokio::test]
    async fn a_backend_that_speaks_and_ends_at_once_was_reached() {
        let mut stream = dialled("127.0.0.1:0", b"bye", true).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"bye");
    }

    #[tokio::test]
    async fn a_backend_that_resets_without_a_word_was_not_reached() {
        let error = dialled("127.0.0.1:0", b"", false).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Failed(e) if e.kind() == io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_one() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let free = TcpListener::bind(address).unwrap().local_addr().unwrap();
            let error = dial(free, &OPTIONS, &OwnAddresses::default()).await.unwrap_err();
            assert!(
                matches!(&error, ConnectError::Failed(e) if e.kind() == io::ErrorKind::ConnectionRefused),
                "{error}"
            );
        }
    }
}
