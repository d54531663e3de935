//! Binds and listens: one socket per TCP address and worker, one per Unix socket, and those of weir's own servers.

use crate::inherited::Inherited;
use crate::sockets::ListeningSocket;
use crate::unix;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use weir_core::plan::{Address, Kind, ListenAddress, Listener, Plan, Stream};
use weir_core::socket::{configure_listening, set_fast_open};
use weir_pool::Origin;

/// A socket that cannot be had as the plan wants it.
#[derive(Debug, thiserror::Error)]
#[error("{whose}: cannot {what}: {source}{hint}")]
pub struct BindError {
    /// The listener or pool, or the server of weir's own.
    pub whose: String,
    /// What it cannot do.
    pub what: String,
    /// Why.
    #[source]
    pub source: io::Error,
    hint: &'static str,
}

impl BindError {
    /// The address of this listener or server cannot be had.
    pub fn new(whose: impl Into<String>, address: ListenAddress, source: io::Error) -> Self {
        let hint = hint(&address, &source);
        Self { whose: whose.into(), what: format!("listen on {address}"), hint, source }
    }
}

/// Binds and listens on an address of one of weir's own servers, `admin` or `metrics`, unless the socket was given. It may
/// share a port with those of `held`, the addresses that this process has already, and with sockets that were given.
///
/// # Errors
/// The address cannot be had.
pub fn server(
    whose: &'static str,
    address: Address,
    held: &[ListenAddress],
    inherited: &mut Inherited,
) -> Result<std::net::TcpListener, BindError> {
    // A giver without IPv6 has bound IPv4 alone.
    let by_ipv4 = Address {
        socket: (Ipv4Addr::UNSPECIFIED, address.socket.port()).into(),
        dual_stack: false,
        ..address
    };
    let wanted = std::iter::once(address).chain(address.dual_stack.then_some(by_ipv4));
    if let Some(given) = wanted.flat_map(|address| inherited.take(&address)).next() {
        return Ok(given.into());
    }
    let open = || {
        let mut at = address;
        // It closes at once: it only shows whether the address is free.
        if !shares_a_port(address, held) && !inherited.has_port(address.socket.port()) {
            at = bind(at, false, None)?.0;
        }
        let (bound, socket) = bind(at, true, None)?;
        socket.listen(SERVER_BACKLOG)?;
        if bound.socket != address.socket {
            tracing::warn!(server = whose, address = %bound.socket, "this machine has no IPv6: listening on IPv4 alone");
        }
        Ok(socket.into())
    };
    open().map_err(|source| BindError::new(whose, address.into(), source))
}

/// Callers of a server that wait to be accepted.
pub const SERVER_BACKLOG: i32 = 1024;

/// Whether one of these addresses has the port: binding without `SO_REUSEPORT` would then fail because of this process.
fn shares_a_port(address: Address, held: &[ListenAddress]) -> bool {
    held.iter().any(|own| own.port() == Some(address.socket.port()))
}

/// Binds every address of the plan that is not `held` by this process already: TCP once per worker, a Unix socket once,
/// with a descriptor for each worker. Sockets that were given to the process are taken, all of them: with fewer workers
/// than sockets, some workers get several. TCP sockets do not listen before [`listen`].
///
/// Each TCP address is first bound without `SO_REUSEPORT`: with it, a second weir would silently share the
/// traffic of the first. This check is left out if a socket of this process is in the way (`:443`, for example, when the
/// plan now has `10.0.0.1:443`), also if it is the metrics server's (`metrics`), which may give its port to a listener.
///
/// # Errors
/// Every address that cannot be had, and what a pool may not do.
pub fn sockets(
    plan: &Plan,
    workers: usize,
    held: &[ListenAddress],
    metrics: Option<Address>,
    inherited: &mut Inherited,
) -> Result<Vec<ListeningSocket>, Vec<BindError>> {
    let own: Vec<ListenAddress> = held.iter().cloned().chain(metrics.map(ListenAddress::from)).collect();
    let mut opened = Vec::new();
    let mut failed = Vec::new();
    for listener in &plan.listeners {
        for address in listener.all_addresses().filter(|a| !held.contains(a)) {
            let opened_now = match address {
                ListenAddress::Tcp(address) => open(*address, listener, workers, &own, inherited),
                ListenAddress::Unix(path) => open_unix(path, listener, workers, inherited),
            };
            match opened_now {
                Ok(sockets) => opened.extend(sockets),
                Err(source) => {
                    let whose = format!("listener {:?}", listener.name);
                    failed.push(BindError::new(whose, address.clone(), source));
                }
            }
        }
    }
    failed.extend(refused_origin(plan));
    if failed.is_empty() { Ok(opened) } else { Err(failed) }
}

/// Why this process may not connect from addresses of clients, if the plan has a pool that does.
fn refused_origin(plan: &Plan) -> Option<BindError> {
    let pool = plan.pools.iter().find(|pool| matches!(pool.settings.origin, Origin::Client))?;
    let source = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_ip_transparent_v4(true))
        .err()?;
    Some(BindError {
        whose: format!("pool {:?}", pool.name),
        what: "connect from clients' addresses".to_owned(),
        hint: match source.kind() {
            io::ErrorKind::PermissionDenied => "; `transparent` needs CAP_NET_ADMIN",
            _ => "",
        },
        source,
    })
}

/// Listening sockets of the address, at least one for each worker.
fn open(
    address: Address,
    listener: &Listener,
    workers: usize,
    held: &[ListenAddress],
    inherited: &mut Inherited,
) -> io::Result<Vec<ListeningSocket>> {
    let mut at = address;
    let Kind::Stream(stream) = &listener.kind;
    let options = Some(stream);
    let mut sockets = inherited.take(&address);
    if sockets.is_empty() {
        if !shares_a_port(address, held) && !inherited.has_port(address.socket.port()) {
            let (probed, socket) = bind(at, false, options)?;
            at = probed;
            drop(socket);
        }
        let (bound, socket) = bind(at, true, options)?;
        at = bound;
        // A giver on the same machine had to do without the same things.
        sockets = inherited.take(&at);
        if sockets.is_empty() {
            sockets.push(socket);
        }
    }
    while sockets.len() < workers {
        let more = match (bind(at, true, options), sockets.first()) {
            // systemd's, which cannot be shared with another user: all workers accept on the one.
            (Err(error), Some(first)) if error.kind() == io::ErrorKind::AddrInUse => first.try_clone()?,
            (more, _) => more?.1,
        };
        sockets.push(more);
    }
    if at.socket != address.socket {
        tracing::warn!(listener = %listener.name, address = %at.socket, "this machine has no IPv6: listening on IPv4 alone");
    }
    if at.mptcp != address.mptcp {
        tracing::warn!(listener = %listener.name, address = %at.socket, "this kernel has no MPTCP: clients speak TCP alone");
    }
    let own = |socket| ListeningSocket { file: None, socket, address: address.into() };
    Ok(sockets.into_iter().map(own).collect())
}

/// Has the plan's TCP sockets listen, with their options. The kernel spreads new connections over all that do, so that each
/// needs somebody who accepts soon.
///
/// # Errors
/// Every address that cannot be listened on.
pub fn listen(plan: &Plan, sockets: &[ListeningSocket]) -> Result<(), Vec<BindError>> {
    let mut failed = Vec::new();
    for listener in &plan.listeners {
        let Kind::Stream(stream) = &listener.kind;
        for address in listener.all_addresses().filter(|address| address.unix().is_none()) {
            let listens = |own: &ListeningSocket| {
                configure_listening(SockRef::from(&own.socket), &stream.settings.options)?;
                set_fast_open(SockRef::from(&own.socket), stream.fast_open)?;
                own.socket.listen(stream.backlog())
            };
            if let Err(source) = sockets.iter().filter(|own| own.address == *address).try_for_each(listens) {
                failed.push(BindError::new(format!("listener {:?}", listener.name), address.clone(), source));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// A descriptor of one listening socket for each worker: Unix sockets have no `SO_REUSEPORT`.
fn open_unix(
    path: &Arc<Path>,
    listener: &Listener,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<ListeningSocket>> {
    let Kind::Stream(stream) = &listener.kind;
    let (socket, file) = unix::open(path, stream.backlog(), inherited)?;
    let file = Some(Arc::new(file));
    let one = || {
        let (file, socket) = (file.clone(), socket.try_clone()?);
        Ok(ListeningSocket { file, socket, address: ListenAddress::Unix(Arc::clone(path)) })
    };
    (0..workers).map(|_| one()).collect()
}

/// A bound socket, and where it is bound.
fn bind(address: Address, shared: bool, options: Option<&Stream>) -> io::Result<(Address, socket2::Socket)> {
    with_what_there_is(address, |address| bind_to(address, shared, options))
}

/// Binds an address, and says which it was: `":443"` means every address there is, and a machine without IPv6 has
/// those of IPv4; a kernel without MPTCP has TCP.
fn with_what_there_is<S>(
    address: Address,
    mut bind: impl FnMut(Address) -> io::Result<S>,
) -> io::Result<(Address, S)> {
    let mut address = address;
    // Each turn gives up one of two wishes.
    loop {
        match bind(address) {
            Err(error) if address.mptcp && is_without_mptcp(&error) => address.mptcp = false,
            Err(error) if address.dual_stack && is_without_family(&error) => {
                address.socket = (Ipv4Addr::UNSPECIFIED, address.socket.port()).into();
                address.dual_stack = false;
            }
            bound => return bound.map(|bound| (address, bound)),
        }
    }
}

/// Whether the kernel lacks MPTCP, or has it switched off (`net.mptcp.enabled`).
fn is_without_mptcp(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(NO_PROTOCOL | NO_OPTION | INVALID))
}

/// socket(2): `EPROTONOSUPPORT`; `ENOPROTOOPT`, where it is switched off; `EINVAL` of kernels before 5.6.
const NO_PROTOCOL: i32 = 93;
const NO_OPTION: i32 = 92;
const INVALID: i32 = 22;

/// Whether the machine lacks IPv6. A kernel without IPv6 refuses the socket; where IPv6 is switched off, bind(2) fails.
fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}

/// socket(2): `EAFNOSUPPORT`.
const NO_FAMILY: i32 = 97;

fn bind_to(address: Address, shared: bool, options: Option<&Stream>) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address.socket);
    let protocol = if address.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(protocol))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if let Some(options) = options {
        configure_listening(SockRef::from(&socket), &options.settings.options)?;
        match domain {
            _ if !options.freebind => {}
            Domain::IPV6 => socket.set_freebind_v6(true)?,
            _ => socket.set_freebind_v4(true)?,
        }
    }
    socket.bind(&address.socket.into())?;
    if !shared {
        // bind(2) succeeds beside a listening socket with SO_REUSEADDR; listen(2) fails.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn hint(address: &ListenAddress, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.unix().is_some() => {
            "; weir must be able to write to that folder"
        }
        // The error itself says what is there.
        _ if address.unix().is_some() => "",
        io::ErrorKind::AddrInUse => "; another process, perhaps another weir, is listening there",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address, and `tcp.freebind` is off"
        }
        _ if error.raw_os_error() == Some(NO_FAMILY) => "; this machine has no IPv6",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: &str = "[::]:443";
    /// `EADDRNOTAVAIL`, where IPv6 is switched off; and `EADDRINUSE`.
    const NOT_AVAILABLE: i32 = 99;
    const IN_USE: i32 = 98;

    /// The address that is bound if IPv6 fails like this and IPv4 works.
    fn bound(text: &str, dual_stack: bool, code: i32) -> io::Result<String> {
        let address = Address { socket: text.parse().unwrap(), dual_stack, mptcp: false };
        let bind = |address: Address| match address.socket.is_ipv6() {
            true => Err(io::Error::from_raw_os_error(code)),
            false => Ok(()),
        };
        with_what_there_is(address, bind).map(|(address, ())| address.socket.to_string())
    }

    #[test]
    fn ipv4_serves_every_address_without_ipv6() {
        for code in [NO_FAMILY, NOT_AVAILABLE] {
            assert_eq!(bound(EVERY, true, code).unwrap(), "0.0.0.0:443");
            assert!(bound(EVERY, false, code).is_err(), "`[::]:443` was asked for by that name");
            assert!(bound("[::1]:443", false, code).is_err());
        }
        assert!(bound(EVERY, true, IN_USE).is_err(), "another listener is no lack of IPv6");
        let address = Address { socket: EVERY.parse().unwrap(), dual_stack: false, mptcp: false };
        assert!(hint(&address.into(), &io::Error::from_raw_os_error(NO_FAMILY)).contains("no IPv6"));
    }

    #[test]
    fn mptcp_is_tcp_where_the_kernel_has_none() {
        for code in [NO_PROTOCOL, NO_OPTION, INVALID] {
            let address = Address { socket: EVERY.parse().unwrap(), dual_stack: true, mptcp: true };
            let bind = |address: Address| match (address.mptcp, address.socket.is_ipv6()) {
                (true, _) => Err(io::Error::from_raw_os_error(code)),
                (false, true) => Err(io::Error::from_raw_os_error(NO_FAMILY)),
                (false, false) => Ok(()),
            };
            let (bound, ()) = with_what_there_is(address, bind).unwrap();
            assert!(!bound.mptcp && bound.socket.is_ipv4(), "it may lack IPv6 too");
            let plain = Address { mptcp: false, ..address };
            let refused = |_: Address| -> io::Result<()> { Err(io::Error::from_raw_os_error(code)) };
            assert_eq!(with_what_there_is(plain, refused).unwrap_err().raw_os_error(), Some(code));
        }
    }
}
