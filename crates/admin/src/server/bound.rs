//! Binds the admin address, or takes over a socket that the process was given.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use weir_core::plan::ListenAddress;
use weir_router::bind::{SERVER_BACKLOG, server};
use weir_router::inherited::Inherited;
use weir_router::unix::{self, SocketFile};

/// A bound admin address. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub enum Bound {
    /// On an IP address; beyond loopback callers must show certificates.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener, Arc<SocketFile>),
}

impl Bound {
    /// The file of a Unix socket.
    pub fn file(&self) -> Option<Arc<SocketFile>> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, file) => Some(Arc::clone(file)),
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// Binds the address, unless its socket was given. The file of a Unix socket that no process listens on is replaced; the new one gets mode 0660. Must run on the
/// control plane's runtime.
///
/// # Errors
/// If the address is in use, may be in use, or cannot be bound.
pub fn bind(address: &ListenAddress, inherited: &mut Inherited) -> io::Result<Bound> {
    match address {
        ListenAddress::Tcp(address) => {
            let bound = server("admin", *address, &[], inherited).map_err(|error| error.source)?;
            Ok(Bound::Tcp(TcpListener::from_std(bound)?))
        }
        ListenAddress::Unix(path) => {
            let (socket, file) = unix::open(path, SERVER_BACKLOG, inherited)?;
            Ok(Bound::Unix(UnixListener::from_std(socket.into())?, Arc::new(file)))
        }
    }
}
