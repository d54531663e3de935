//! Backends that are DNS names: what is asked for, and what was found.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Every address of a host name, IPv4 and IPv6.
    Host {
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Srv { name } => write!(f, "srv:{name}"),
        }
    }
}

/// One address that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Found {
    /// The address and port.
    pub address: SocketAddr,
    /// The host that has it: certificates are checked against this name.
    pub host: Arc<str>,
    /// Of an SRV record; 1 for a host.
    pub weight: u16,
    /// An SRV record that is not of the lowest priority.
    pub backup: bool,
}
