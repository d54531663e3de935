//! What a route asks of a client: its conditions, and how they read.

use ipnet::IpNet;
use std::fmt;

/// A condition on the client's server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// This name, lower-cased, without a trailing dot.
    Exact(Box<str>),
    /// One or more labels in front of this suffix, which has no leading dot.
    Suffix(Box<str>),
    /// Any name, but there must be one.
    AnyName,
    /// No condition: also clients without a name.
    Anything,
}

/// The conditions of one route. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Names; empty means [`NamePattern::Anything`].
    pub names: Vec<NamePattern>,
    /// ALPN protocols, any of which the client must offer.
    pub alpn: Vec<Vec<u8>>,
    /// Prefixes, in one of which the client's address must be.
    pub source: Vec<IpNet>,
}

impl Match {
    /// How many entries of a table a route with these conditions has: each name with each network.
    pub fn entries(&self) -> usize {
        self.names.len().max(1).saturating_mul(self.source.len().max(1))
    }
}

/// As the configuration writes it; nothing where it would leave it out.
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

/// The keys that are conditions: `sni=a.example.com,*.b.example.com alpn=h2 source=10.0.0.0/8`; `any` without one.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.names.iter().filter(|name| **name != NamePattern::Anything);
        let keys = [
            ("sni", named.map(ToString::to_string).collect::<Vec<_>>()),
            ("alpn", self.alpn.iter().map(|name| name.escape_ascii().to_string()).collect()),
            ("source", self.source.iter().map(ToString::to_string).collect()),
        ];
        let given = keys.into_iter().filter(|(_, values)| !values.is_empty());
        let written: Vec<String> = given.map(|(key, values)| format!("{key}={}", values.join(","))).collect();
        f.write_str(if written.is_empty() { "any" } else { "" })?;
        f.write_str(&written.join(" "))
    }
}
