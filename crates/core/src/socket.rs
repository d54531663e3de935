//! What every socket of weir is set to, and how one is made to reset.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Options of a connection's socket. Zero leaves the system's default.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// Idle time until the first keep-alive probe (`TCP_KEEPIDLE`).
    pub keepalive: Duration,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
}

/// Probes after the first go out this far apart, and this many unanswered ones end the connection: a peer that
/// lost its power is noticed two minutes after it fell silent.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// When a connection is old enough to be watched over.
pub(crate) const LATER: Duration = Duration::from_secs(2);

/// Sets the options on a listener's socket that a connection needs from the start: accepted ones inherit them (tcp(7)).
/// What an earlier plan had set goes.
///
/// # Errors
/// When the kernel refuses one.
pub fn configure_listening(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_keepalive(false)?;
    socket.set_tcp_user_timeout(None)?;
    configure(socket, options)
}

/// Sets the options on a connection that it needs from the start. Those that watch over a silent peer are for
/// connections that live for [`LATER`]: most do not, and each is a system call, or a timer of the kernel's.
///
/// # Errors
/// When the kernel refuses one.
pub(crate) fn configure(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if options.user_timeout < LATER && !options.user_timeout.is_zero() {
        watch_over(socket, options)?;
    }
    Ok(())
}

/// Sets the options that watch over a silent peer.
///
/// # Errors
/// When the kernel refuses one.
pub(crate) fn watch_over(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    if !options.keepalive.is_zero() {
        let keepalive = TcpKeepalive::new()
            .with_time(options.keepalive)
            .with_interval(PROBE_INTERVAL)
            .with_retries(PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if !options.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    }
    Ok(())
}

/// Closes the connection with a reset: what is still in its send queue is dropped (socket(7), `SO_LINGER`).
pub fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        // Then the close is an ordinary one; the peer is most likely gone.
        tracing::debug!(%error, "cannot set SO_LINGER");
    }
}

/// An IPv4 client of an IPv6 socket as what it is: routes, limits and records speak of 192.0.2.1, not of
/// ::ffff:192.0.2.1.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
