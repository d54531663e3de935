//! Opens one connection to a backend, and never to this process itself.

use crate::account::error::ConnectError;
use crate::socket::Socket;
use crate::socket::options::{self, Options};
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use weir_pool::dialable::{Doubt, OwnAddresses};
use weir_pool::{Endpoint, NearEnd};

/// Opens a connection from `near`, or from an address of the kernel's choice, unless the endpoint is forbidden or this
/// process's own.
///
/// A backend may accept, send bytes and reset before weir sees the result of the dial. This counts as a
/// connection: its bytes can be read, and the reset follows them.
///
/// # Errors
/// Classified by whose fault it is.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn dial(
    endpoint: &Endpoint,
    options: &Options,
    own: &OwnAddresses,
    near: Option<NearEnd>,
) -> Result<Socket, ConnectError> {
    match endpoint {
        Endpoint::Tcp(address) => Ok(dial_tcp(*address, options, own, near).await?.into()),
        Endpoint::Unix(path) => Ok(dial_unix(path, own).await?.into()),
    }
}

/// Connects to a Unix socket, which takes the connection or refuses it at once.
async fn dial_unix(path: &Path, own: &OwnAddresses) -> Result<UnixStream, ConnectError> {
    if let Some(what) = own.at_path(path) {
        return Err(ConnectError::Forbidden(what));
    }
    UnixStream::connect(path).await.map_err(|error| match error.kind() {
        // EAGAIN, which for TCP means that this machine has no port left (connect(2)).
        io::ErrorKind::WouldBlock => ConnectError::Failed(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "the queue of its listening socket is full",
        )),
        _ => ConnectError::from_dial(error),
    })
}

async fn dial_tcp(
    address: SocketAddr,
    options: &Options,
    own: &OwnAddresses,
    near: Option<NearEnd>,
) -> Result<TcpStream, ConnectError> {
    let doubt = own.look(address)?.map_err(ConnectError::Local)?;
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    let socket = socket.map_err(ConnectError::from_dial)?;
    options::configure((&socket).into(), options).map_err(ConnectError::Local)?;
    if let Some(near) = near {
        bind(&socket, near).map_err(ConnectError::Local)?;
    }
    let stream = match connect(socket, address).await {
        Ok(stream) if doubt == Doubt::default() => return Ok(stream),
        Ok(stream) => end_of_its_own(stream, address, doubt),
        // Its own address is bound already: what is left to lack is a port.
        Err(error) if near.is_some() => Err(ConnectError::from_dial(error)),
        Err(error) => Err(sorted(error, address)),
    };
    own.dialled(address, stream.is_ok());
    stream
}

/// Binds a socket to the near end of its connection.
fn bind(socket: &socket2::Socket, near: NearEnd) -> io::Result<()> {
    match near.address {
        _ if !near.foreign => {}
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    // The port is chosen when the far end is known, so that connections to different backends may have the same one.
    IpBindAddressNoPort.set(socket, &true)?;
    socket.bind(&near.address.into())
}

/// Connects, and waits for the result.
async fn connect(socket: socket2::Socket, address: SocketAddr) -> io::Result<TcpStream> {
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

/// Whether a connection was established before its error. Does not ask for `SO_ERROR`: reading it clears it,
/// and the relay would then take the reset of a backend that has sent bytes for a clean end.
fn was_made(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        spoke_or_ended => spoke_or_ended.map(drop),
    }
}

/// Classifies an error of connect(2). "Cannot assign requested address" means that no port is free, or that
/// this machine has no source address of that kind (`::1` where IPv6 is turned off), which no waiting mends.
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

/// Returns the connection, unless this process is at its other end: it is connected to itself (the kernel
/// chose the dialled port as its source), or to an own socket.
fn end_of_its_own(stream: TcpStream, address: SocketAddr, doubt: Doubt) -> Result<TcpStream, ConnectError> {
    let local = stream.local_addr().map_err(ConnectError::Local)?;
    if local.ip() != address.ip() {
        return Ok(stream);
    }
    let error = if doubt.itself && local.port() == address.port() {
        ConnectError::Failed(io::ErrorKind::ConnectionRefused.into())
    } else if let Some(what) = doubt.own {
        ConnectError::Forbidden(what)
    } else {
        return Ok(stream);
    };
    // A FIN to itself would leave the port in TIME_WAIT, and keep the backend from binding it.
    Socket::from(stream).reset();
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    const OPTIONS: Options =
        Options { nodelay: true, keepalive: Duration::ZERO, user_timeout: Duration::ZERO };

    /// The result of a dial to a backend that accepts, sends `says` and resets before the dial looks again.
    async fn dialled(address: &str, says: &[u8], ends: bool) -> Result<Socket, ConnectError> {
        let backend = TcpListener::bind(address).unwrap();
        let its_address = backend.local_addr().unwrap().into();
        let own = OwnAddresses::default();
        // Polled in this order, on one thread.
        let (dialled, ()) = tokio::join!(dial(&its_address, &OPTIONS, &own, None), async {
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
    async fn backends_that_speak_and_reset_at_once_were_reached() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut stream = dialled(address, b"go away", false).await.unwrap();
            let mut heard = Vec::new();
            let end = stream.read_to_end(&mut heard).await;
            assert_eq!(heard, b"go away");
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "told once, and here");
        }
    }

    #[tokio::test]
    async fn backends_that_speak_and_end_at_once_were_reached() {
        let mut stream = dialled("127.0.0.1:0", b"bye", true).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"bye");
    }

    #[tokio::test]
    async fn backends_that_reset_without_a_byte_were_not_reached() {
        let error = dialled("127.0.0.1:0", b"", false).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Failed(e) if e.kind() == io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }

    #[tokio::test]
    async fn refused_dials_are_failures() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let free = TcpListener::bind(address).unwrap().local_addr().unwrap();
            let error = dial(&free.into(), &OPTIONS, &OwnAddresses::default(), None).await.unwrap_err();
            assert!(
                matches!(&error, ConnectError::Failed(e) if e.kind() == io::ErrorKind::ConnectionRefused),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn unix_sockets_are_reached_or_say_why_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("app.sock");
        let (endpoint, own) = (Endpoint::Unix(path.as_path().into()), OwnAddresses::default());
        let absent = dial(&endpoint, &OPTIONS, &own, None).await.unwrap_err();
        assert!(
            matches!(&absent, ConnectError::Failed(e) if e.kind() == io::ErrorKind::NotFound),
            "{absent}"
        );

        let backend = UnixListener::bind(&path).unwrap();
        let mut stream = dial(&endpoint, &OPTIONS, &own, None).await.unwrap();
        backend.accept().unwrap().0.write_all(b"welcome").unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "welcome");

        // The file stays after its socket is closed.
        drop(backend);
        let refused = dial(&endpoint, &OPTIONS, &own, None).await.unwrap_err();
        assert!(
            matches!(&refused, ConnectError::Failed(e) if e.kind() == io::ErrorKind::ConnectionRefused),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn own_unix_sockets_are_not_dialled_under_any_name() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, link) = (folder.path().join("edge.sock"), folder.path().join("link.sock"));
        let _listener = UnixListener::bind(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let own = OwnAddresses::default();
        assert!(dial(&Endpoint::Unix(path.as_path().into()), &OPTIONS, &own, None).await.is_ok());
        own.listen([Endpoint::Unix(path.as_path().into())], []);
        for name in [path, link] {
            let refused = dial(&Endpoint::Unix(name.into()), &OPTIONS, &own, None).await.unwrap_err();
            assert!(matches!(refused, ConnectError::Forbidden(_)), "{refused}");
        }
    }

    /// It must count against the backend, because weir lacks nothing.
    #[tokio::test]
    async fn unix_sockets_with_a_full_queue_refuse() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("app.sock");
        let backend = UnixListener::bind(&path).unwrap();
        SockRef::from(&backend).listen(0).unwrap();
        let (endpoint, own) = (Endpoint::Unix(path.into()), OwnAddresses::default());
        let _queued = dial(&endpoint, &OPTIONS, &own, None).await.unwrap();
        let refused = dial(&endpoint, &OPTIONS, &own, None).await.unwrap_err();
        assert!(refused.counts_against_backend() && refused.to_string().contains("queue"), "{refused}");
    }
}
