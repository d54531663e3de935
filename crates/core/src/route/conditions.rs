//! The conditions of a route, and their text.

use crate::networks;
use ipnet::IpNet;
use std::fmt;

/// A condition on the client's server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// This name, lower-cased, without a trailing dot.
    Exact(Box<str>),
    /// One or more labels in front of this suffix, which has no leading dot.
    Suffix(Box<str>),
    /// Any name, but one must be present.
    AnyName,
    /// No condition: clients without a name match too.
    Anything,
}

/// The conditions of one route. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Names; empty means [`NamePattern::Anything`].
    pub names: Vec<NamePattern>,
    /// ALPN protocols; the client must offer one of them.
    pub alpn: Vec<Vec<u8>>,
    /// Prefixes; the client's address must be in one of them.
    pub source: Vec<IpNet>,
}

impl Match {
    /// The number of table entries for a route with these conditions: each name with each network.
    pub fn entries(&self) -> usize {
        self.names.len().max(1).saturating_mul(self.source.len().max(1))
    }
}

/// The configuration's notation; empty for no condition.
impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::AnyName => f.write_str("*"),
            Self::Anything => Ok(()),
        }
    }
}

/// The conditions with their keys: `sni=a.example.com,*.b.example.com alpn=h2 source=10.0.0.0/8`; `any`
/// without one.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.names.iter().filter(|name| **name != NamePattern::Anything);
        let keys = [
            ("sni", named.map(ToString::to_string).collect::<Vec<_>>()),
            ("alpn", self.alpn.iter().map(|name| name.escape_ascii().to_string()).collect()),
            ("source", self.source.iter().map(networks::written).collect()),
        ];
        let given = keys.into_iter().filter(|(_, values)| !values.is_empty());
        let written: Vec<String> = given.map(|(key, values)| format!("{key}={}", values.join(","))).collect();
        f.write_str(if written.is_empty() { "any" } else { "" })?;
        f.write_str(&written.join(" "))
    }
}
