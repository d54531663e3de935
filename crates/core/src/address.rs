//! The addresses of a connection, each with a type of its own so that none is taken for another.
//!
//! An IPv4 address that came on an IPv6 socket is stored as IPv4, so that routes, limits and records use
//! 192.0.2.1, not ::ffff:192.0.2.1.
//!
//! Clients of Unix sockets have no address, unless a PROXY header gives them one. They count as [`NO_ADDRESS`], which
//! the configuration calls `unix` in lists of networks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Stands for clients of Unix sockets: no packet comes from this address (RFC 4291 §2.5.2).
pub const NO_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The other end of an accepted socket, from accept(2): the client, or a proxy that speaks for it. It only
/// tells which client that is; no other decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(Plain);

impl PeerAddr {
    /// The other end of a Unix socket.
    pub const UNIX: Self = Self(Plain::NONE);
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address.into())
    }
}

/// The client of a connection, which routes, keyed policies and records use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(Plain);

impl ClientAddr {
    /// The address without the port, which source conditions and keys use; [`NO_ADDRESS`] on a Unix socket.
    pub fn ip(self) -> IpAddr {
        self.0.ip
    }

    /// The address with the port; `None` on a Unix socket.
    pub fn socket(self) -> Option<SocketAddr> {
        (self.0 != Plain::NONE).then(|| self.0.into())
    }
}

/// The client at the other end of the socket itself.
impl From<PeerAddr> for ClientAddr {
    fn from(peer: PeerAddr) -> Self {
        Self(peer.0)
    }
}

/// The client that a PROXY header names.
impl From<SocketAddr> for ClientAddr {
    fn from(source: SocketAddr) -> Self {
        Self(source.into())
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket() {
            Some(address) => address.fmt(f),
            None => f.write_str(UNIX),
        }
    }
}

/// The address of this machine that the client reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddr(SocketAddr);

impl LocalAddr {
    /// A Unix socket.
    pub const UNIX: Self = Self(SocketAddr::new(NO_ADDRESS, 0));

    /// The local address of a listener bound to this one address, with the interface from the plan.
    pub fn of_listener(bound: SocketAddr) -> Self {
        Self(bound)
    }

    /// The local address of an accepted socket, as the system reports it.
    pub fn of_socket(address: SocketAddr) -> Self {
        Self(Plain::from(address).into())
    }

    /// What the client of a PROXY header reached.
    pub fn of_header(destination: SocketAddr) -> Self {
        Self(Plain::from(destination).into())
    }

    /// The address with the port.
    pub fn socket(self) -> SocketAddr {
        self.0
    }

    /// Its port; `None` of a Unix socket.
    pub fn port(self) -> Option<u16> {
        (self != Self::UNIX).then(|| self.0.port())
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNIX => f.write_str(UNIX),
            Self(address) => address.fmt(f),
        }
    }
}

/// The ends of a Unix socket in records.
const UNIX: &str = "unix";

/// An address and a port without an interface: 20 bytes instead of the 32 of a [`SocketAddr`]. Each
/// connection holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain {
    ip: IpAddr,
    port: u16,
}

impl Plain {
    const NONE: Self = Self { ip: NO_ADDRESS, port: 0 };
}

impl From<SocketAddr> for Plain {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip().to_canonical(), port: address.port() }
    }
}

impl From<Plain> for SocketAddr {
    fn from(Plain { ip, port }: Plain) -> Self {
        Self::new(ip, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_clients_of_ipv6_sockets_are_ipv4_clients() {
        let client = ClientAddr::from(PeerAddr::from(socket("[::ffff:192.0.2.1]:5")));
        assert_eq!(client.to_string(), "192.0.2.1:5");
        assert_eq!(client.ip(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(LocalAddr::of_socket(socket("[::ffff:192.0.2.2]:443")).to_string(), "192.0.2.2:443");
        assert_eq!(LocalAddr::of_socket(socket("[2001:db8::1]:443")).to_string(), "[2001:db8::1]:443");
    }

    #[test]
    fn clients_of_unix_sockets_have_no_address() {
        let client = ClientAddr::from(PeerAddr::UNIX);
        assert_eq!((client.socket(), client.ip(), &*client.to_string()), (None, NO_ADDRESS, "unix"));
        assert_eq!((LocalAddr::UNIX.port(), &*LocalAddr::UNIX.to_string()), (None, "unix"));
    }

    /// A link-local client is stored without its interface, which means nothing elsewhere.
    #[test]
    fn only_bound_addresses_have_an_interface() {
        let scoped = socket("[fe80::1%2]:5");
        assert_eq!(ClientAddr::from(PeerAddr::from(scoped)).to_string(), "[fe80::1]:5");
        assert_eq!(LocalAddr::of_socket(scoped).to_string(), "[fe80::1]:5");
        assert_eq!(LocalAddr::of_listener(scoped).to_string(), "[fe80::1%2]:5");
    }
}
