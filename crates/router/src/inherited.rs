//! Listening sockets that the process was given at its start: by its predecessor at an upgrade, or by systemd.
//!
//! A socket is known by what the kernel says of it, not by what its giver calls it: so both givers are one case, and a
//! successor whose configuration has changed takes exactly the sockets that it would have bound itself.

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{Protocol, SockAddr, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use weir_core::plan::Address;

/// Listening sockets that are there already. Those that nobody takes close when this is dropped.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
    /// The ports of all sockets that were given, also of those that are taken.
    ports: Vec<u16>,
}

impl Inherited {
    /// Takes a socket over. It is not blocking from here on, and no child of this process gets it by accident.
    ///
    /// # Errors
    /// It is no stream socket that listens.
    pub fn add(&mut self, fd: OwnedFd) -> io::Result<()> {
        fcntl_setfd(&fd, fcntl_getfd(&fd)? | FdFlags::CLOEXEC)?;
        let socket = Socket::from(fd);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket that listens"));
        }
        socket.set_nonblocking(true)?;
        self.ports.extend(socket.local_addr()?.as_socket().map(|at| at.port()));
        self.sockets.push(socket);
        Ok(())
    }

    /// The sockets of an address: those that binding it would make. Empty if none was given.
    pub(crate) fn take(&mut self, address: &Address) -> Vec<Socket> {
        self.sockets.extract_if(.., |socket| is_of(socket, address).unwrap_or(false)).collect()
    }

    /// The Unix socket at this path. All descriptors of it are taken, of which one is enough.
    pub(crate) fn take_unix(&mut self, path: &Path) -> Option<Socket> {
        let is_at = |socket: &mut Socket| socket.local_addr().is_ok_and(|at| at.as_pathname() == Some(path));
        self.sockets.extract_if(.., is_at).reduce(|first, _same| first)
    }

    /// Whether a socket with this port was given. Its giver may still have it, so that only a socket with
    /// `SO_REUSEPORT` can be bound beside it.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// The addresses of the sockets that nobody has taken, as text.
    pub fn left(&self) -> Vec<String> {
        self.sockets
            .iter()
            .map(|socket| socket.local_addr().map_or_else(|e| e.to_string(), |at| text(&at)))
            .collect()
    }
}

fn is_of(socket: &Socket, address: &Address) -> io::Result<bool> {
    let Some(at) = socket.local_addr()?.as_socket() else { return Ok(false) };
    let families = at.is_ipv4() || !at.ip().is_unspecified() || socket.only_v6()? != address.dual_stack;
    let mptcp = socket.protocol()? == Some(Protocol::MPTCP);
    Ok(at == address.socket && families && mptcp == address.mptcp)
}

fn text(at: &SockAddr) -> String {
    match (at.as_socket(), at.as_pathname()) {
        (Some(at), _) => at.to_string(),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => "an address of another kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn address(socket: SocketAddr, dual_stack: bool) -> Address {
        Address { socket, dual_stack, mptcp: false }
    }

    #[test]
    fn a_socket_is_found_by_what_it_is() {
        let mut given = Inherited::default();
        let bound: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let at: Vec<SocketAddr> = bound.iter().map(|socket| socket.local_addr().unwrap()).collect();
        for socket in bound {
            given.add(socket.into()).unwrap();
        }
        assert!(given.take(&address((Ipv4Addr::LOCALHOST, 1).into(), false)).is_empty());
        assert!(
            given.take(&Address { mptcp: true, ..address(at[0], false) }).is_empty(),
            "it speaks TCP alone"
        );
        assert_eq!(given.take(&address(at[1], false)).len(), 1);
        assert!(given.take(&address(at[1], false)).is_empty(), "it is taken");
        assert!(given.has_port(at[1].port()), "its giver may have it still");
        assert_eq!(given.left(), [at[0].to_string(), at[2].to_string()]);
    }

    #[test]
    fn a_wildcard_of_both_families_is_not_one_of_ipv6_alone() {
        for dual_stack in [false, true] {
            let socket = Socket::new(socket2::Domain::IPV6, Type::STREAM, None).unwrap();
            socket.set_only_v6(!dual_stack).unwrap();
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
            socket.listen(1).unwrap();
            let at = socket.local_addr().unwrap().as_socket().unwrap();
            let mut given = Inherited::default();
            given.add(socket.into()).unwrap();
            assert!(given.take(&address(at, !dual_stack)).is_empty());
            assert_eq!(given.take(&address(at, dual_stack)).len(), 1);
        }
    }

    #[test]
    fn a_unix_socket_is_found_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let mut given = Inherited::default();
        given.add(UnixListener::bind(&path).unwrap().into()).unwrap();
        assert!(given.take_unix(Path::new("/other.sock")).is_none());
        assert_eq!(given.left(), [format!("unix:{}", path.display())]);
        assert!(given.take_unix(&path).is_some());
        assert!(given.take_unix(&path).is_none());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let mut given = Inherited::default();
        assert!(given.add(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into()).is_err());
        let unbound = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(given.add(unbound.into()).is_err());
        assert!(given.add(std::fs::File::open("/dev/null").unwrap().into()).is_err());
        assert!(given.left().is_empty());
    }
}
