//! The options of weir's TCP sockets.

use nix::errno::Errno;
use nix::setsockopt_impl;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetUsize;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;

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

/// Probes after the first go out this far apart, and this many unanswered ones end the connection: a peer
/// without power is noticed two minutes after it fell silent.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// The age at which a connection gets the options that watch over it.
pub(crate) const WATCH_AFTER: Duration = Duration::from_secs(2);

/// Sets the options that connections need from the start on a listener's socket, because accepted sockets
/// inherit them (tcp(7)). Clears options that an earlier plan had set.
///
/// # Errors
/// When the kernel refuses one.
pub fn configure_listening(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_keepalive(false)?;
    set_user_timeout(&socket, None)?;
    configure(socket, options)
}

/// Sets the options that a connection needs from the start. The options against a silent peer wait until it
/// is older than [`WATCH_AFTER`]: most connections are not, and each option is a system call, or a timer of
/// the kernel's.
///
/// # Errors
/// When the kernel refuses one.
pub(crate) fn configure(socket: SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if options.user_timeout < WATCH_AFTER && !options.user_timeout.is_zero() {
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
        set_user_timeout(&socket, Some(options.user_timeout))?;
    }
    Ok(())
}

/// How many connections may wait with data before their handshake is complete (`TCP_FASTOPEN`, RFC 7413); 0 = none. May
/// be called again while the socket listens.
///
/// # Errors
/// When the kernel refuses it.
pub fn set_fast_open(socket: SockRef<'_>, queue: u32) -> io::Result<()> {
    match FastOpen.set(&*socket, &usize::try_from(queue.min(LONGEST_QUEUE)).unwrap_or_default()) {
        // MPTCP before Linux 6.2.
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => Ok(()),
        set => Ok(set?),
    }
}

#[derive(Clone, Copy)]
struct FastOpen;

// No crate has this option. nix makes its own ones with this macro, whose `unsafe` call of setsockopt(2) is nix's.
setsockopt_impl!(FastOpen, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, usize, SetUsize);

/// The kernel cuts it to `net.core.somaxconn`.
const LONGEST_QUEUE: u32 = i32::MAX.unsigned_abs();

/// Sets `TCP_USER_TIMEOUT`, which the sockets of Multipath TCP do not have.
fn set_user_timeout(socket: &SockRef<'_>, timeout: Option<Duration>) -> io::Result<()> {
    match socket.set_tcp_user_timeout(timeout) {
        Err(error) if error.raw_os_error() == Some(NO_OPTION) => Ok(()),
        set => set,
    }
}

/// setsockopt(2): `ENOPROTOOPT`.
const NO_OPTION: i32 = 92;
