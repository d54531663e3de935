//! Binds the admin address.

use std::io;
use tokio::net::{TcpListener, UnixListener};
use weir_core::plan::ListenAddress;
use weir_router::bind::{SERVER_BACKLOG, server};
use weir_router::unix::{self, SocketFile};

/// A bound admin address. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Bound {
    /// On an IP address; beyond loopback callers must show certificates.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener, SocketFile),
}

/// Binds the address. A Unix socket to which nobody listens is replaced; the new one gets mode 0660. Must run on the
/// control plane's runtime.
///
/// # Errors
/// If the address is in use, may be in use, or cannot be bound.
pub fn bind(address: &ListenAddress) -> io::Result<Bound> {
    match address {
        ListenAddress::Tcp(address) => {
            let bound = server("admin", *address, None).map_err(|error| error.source)?;
            Ok(Bound::Tcp(TcpListener::from_std(bound)?))
        }
        ListenAddress::Unix(path) => {
            let (socket, file) = unix::listen(path, SERVER_BACKLOG)?;
            Ok(Bound::Unix(UnixListener::from_std(socket.into())?, file))
        }
    }
}
