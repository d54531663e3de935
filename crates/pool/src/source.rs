//! Where members come from: an address in the configuration, or a name that DNS answers.

use crate::endpoint::BackendAddr;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where an element of a pool's `backends` gets its addresses from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// One address, which never changes.
    Static(BackendAddr),
    /// Every address of a host name, IPv4 and IPv6.
    Dns {
        /// The name.
        host: Arc<str>,
        /// The port of each address.
        port: u16,
    },
    /// The hosts of an SRV record (RFC 2782), with their ports and weights.
    Srv {
        /// The record's name, such as `_https._tcp.api.internal`.
        name: Arc<str>,
    },
}

impl Source {
    /// Whether its addresses must be asked for, and may change.
    pub fn is_followed(&self) -> bool {
        !matches!(self, Self::Static(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(address) => address.fmt(f),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
            Self::Srv { name } => write!(f, "srv:{name}"),
        }
    }
}

/// One address that DNS gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Found {
    /// The address and port.
    pub address: SocketAddr,
    /// The host that has it: certificates are checked against this name.
    pub host: Arc<str>,
    /// Of an SRV record; 1 of a host.
    pub weight: u16,
    /// An SRV record that is not of the lowest priority.
    pub backup: bool,
}
