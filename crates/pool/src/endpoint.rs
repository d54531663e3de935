//! Where something listens that a connection can be made to: an address and port, or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Where a stream socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// At an IP address and a TCP port.
    Tcp(SocketAddr),
    /// At this path (unix(7)).
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The IP address and port; none of a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The same address at another port. A Unix socket has none, and stays.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(SocketAddr::new(address.ip(), port)),
            Self::Unix(_) => self.clone(),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// As the configuration writes it: `10.0.0.11:8080`, `unix:/run/app.sock`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a backend listens. Its state, its sessions and its health check belong to this endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendAddr(Endpoint);

impl BackendAddr {
    /// What is dialled.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0
    }

    /// What its certificate is checked against, and its health check asks for, where it has no host name: its IP
    /// address. On a Unix socket it is `localhost`, as the other end is on this machine.
    pub fn host(&self) -> Arc<str> {
        self.0.tcp().map_or_else(|| "localhost".into(), |address| address.ip().to_string().into())
    }
}

impl From<Endpoint> for BackendAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self(endpoint)
    }
}

impl From<SocketAddr> for BackendAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address.into())
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        let tcp = BackendAddr::from("[fd00::1]:80".parse::<SocketAddr>().unwrap());
        assert_eq!((tcp.to_string(), &*tcp.host()), ("[fd00::1]:80".to_owned(), "fd00::1"));
        assert_eq!(tcp.endpoint().at_port(81).to_string(), "[fd00::1]:81");
        let unix = BackendAddr::from(Endpoint::Unix(Path::new("/run/app.sock").into()));
        assert_eq!((unix.to_string(), &*unix.host()), ("unix:/run/app.sock".to_owned(), "localhost"));
        assert_eq!(unix.endpoint().at_port(81), *unix.endpoint());
    }
}
