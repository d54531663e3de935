//! Binds and listens: one socket per address and worker.

use crate::handoff::HandOffQueues;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use weir_core::plan::{Address, Listener, Plan};
use weir_core::socket::configure_listening;

/// A listening socket, and where it listens.
#[derive(Debug)]
pub struct Socket {
    /// The bound and listening socket, not blocking.
    pub socket: socket2::Socket,
    /// Its address in the plan.
    pub address: Address,
    /// How connections go to the other workers' sockets of the address, and come from them.
    pub(crate) table: HandOffQueues,
}

/// A listening address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?}: cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The address.
    pub address: std::net::SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
    hint: &'static str,
}

/// Binds and listens on every address of the plan that is not `held` by this process already, once per worker.
///
/// Each address is first bound without `SO_REUSEPORT`: with it, a second weir would silently share the
/// traffic of the first. Where an own socket stands in the way (of `:443`, say, when the plan now has
/// `10.0.0.1:443`), that cannot be asked.
///
/// # Errors
/// Every address that cannot be had.
pub fn sockets(plan: &Plan, workers: usize, held: &[Address]) -> Result<Vec<Vec<Socket>>, Vec<BindError>> {
    let mut lanes: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut failed = Vec::new();
    for listener in &plan.listeners {
        for address in listener.addresses.iter().filter(|a| !held.contains(a)) {
            if let Err(source) = open(*address, listener, held, &mut lanes) {
                let hint = hint(&source);
                failed.push(BindError {
                    listener: Arc::clone(&listener.name),
                    address: address.socket,
                    source,
                    hint,
                });
            }
        }
    }
    if failed.is_empty() { Ok(lanes) } else { Err(failed) }
}

/// A listening socket of the address for each worker.
fn open(
    address: Address,
    listener: &Listener,
    held: &[Address],
    lanes: &mut [Vec<Socket>],
) -> io::Result<()> {
    let mut at = address;
    if !held.iter().any(|own| own.socket.port() == address.socket.port()) {
        let (probed, socket) = bind(at, false, listener)?;
        at = probed;
        drop(socket);
    }
    let tables = HandOffQueues::all(lanes.len());
    for (lane, table) in lanes.iter_mut().zip(tables) {
        let (bound, socket) = bind(at, true, listener)?;
        at = bound;
        socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))?;
        lane.push(Socket { socket, address, table });
    }
    if at != address {
        tracing::warn!(listener = %listener.name, address = %at.socket, "this machine has no IPv6: listening on IPv4 alone");
    }
    Ok(())
}

/// A bound socket, and where it is bound.
fn bind(address: Address, shared: bool, listener: &Listener) -> io::Result<(Address, socket2::Socket)> {
    with_what_there_is(address, |address| bind_to(address, shared, listener))
}

/// Binds an address, and says which it was: `":443"` means every address there is, and a machine without IPv6 has
/// those of IPv4.
fn with_what_there_is<S>(
    address: Address,
    mut bind: impl FnMut(Address) -> io::Result<S>,
) -> io::Result<(Address, S)> {
    match bind(address) {
        Err(error) if address.dual_stack && is_without_family(&error) => {
            let socket = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.socket.port()));
            let address = Address { socket, dual_stack: false };
            Ok((address, bind(address)?))
        }
        bound => Ok((address, bound?)),
    }
}

/// Whether the machine lacks IPv6. A kernel without IPv6 refuses the socket; where IPv6 is switched off, bind(2) fails.
fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}

/// socket(2): `EAFNOSUPPORT`.
const NO_FAMILY: i32 = 97;

fn bind_to(address: Address, shared: bool, listener: &Listener) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address.socket);
    let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    configure_listening(SockRef::from(&socket), &listener.settings.options)?;
    socket.bind(&address.socket.into())?;
    if !shared {
        // Binding alone does not meet a listening socket of a process that set SO_REUSEADDR; listening does.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process, perhaps another weir, is listening there",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
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

    /// Where an address ends up on a machine on which IPv6 fails like this, and IPv4 works.
    fn bound(text: &str, dual_stack: bool, code: i32) -> io::Result<String> {
        let address = Address { socket: text.parse().unwrap(), dual_stack };
        let bind = |address: Address| match address.socket.is_ipv6() {
            true => Err(io::Error::from_raw_os_error(code)),
            false => Ok(()),
        };
        with_what_there_is(address, bind).map(|(address, ())| address.socket.to_string())
    }

    #[test]
    fn every_address_is_that_of_ipv4_where_there_is_no_ipv6() {
        for code in [NO_FAMILY, NOT_AVAILABLE] {
            assert_eq!(bound(EVERY, true, code).unwrap(), "0.0.0.0:443");
            assert!(bound(EVERY, false, code).is_err(), "`[::]:443` was asked for by that name");
            assert!(bound("[::1]:443", false, code).is_err());
        }
        assert!(bound(EVERY, true, IN_USE).is_err(), "another listener is no lack of IPv6");
        assert!(hint(&io::Error::from_raw_os_error(NO_FAMILY)).contains("no IPv6"));
    }
}
