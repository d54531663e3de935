//! Binds and listens: one socket per address and worker.

use crate::crew::Table;
use crate::plan::{Address, Listener, Plan};
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::sync::Arc;
use weir_core::socket::configure_listening;

/// A listening socket, and where it listens.
#[derive(Debug)]
pub struct Socket {
    /// The bound and listening socket, not blocking.
    pub socket: socket2::Socket,
    /// Its address in the plan.
    pub address: Address,
    /// How connections go to the other workers' sockets of the address, and come from them.
    pub(crate) table: Table,
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
    if !held.iter().any(|own| own.socket.port() == address.socket.port()) {
        drop(bind(address, false, listener)?);
    }
    let tables = Table::all(lanes.len());
    for (lane, table) in lanes.iter_mut().zip(tables) {
        let socket = bind(address, true, listener)?;
        socket.listen(i32::try_from(listener.tcp.backlog).unwrap_or(i32::MAX))?;
        lane.push(Socket { socket, address, table });
    }
    Ok(())
}

fn bind(address: Address, shared: bool, listener: &Listener) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address.socket);
    let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    configure_listening(SockRef::from(&socket), &listener.tcp.options)?;
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
        _ => "",
    }
}
