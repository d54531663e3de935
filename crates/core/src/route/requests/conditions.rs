//! The conditions of a route of requests, and their text.

use super::path::PathPrefix;
use crate::networks;
use crate::route::NamePattern;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use std::fmt;

/// A condition on a header field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldPattern {
    /// The field stands once, with exactly this value. A field that stands several times could be read in several
    /// ways, so it matches no value.
    Exact(HeaderValue),
    /// The field is there, with any value, any number of times.
    Present,
}

/// A header field with its condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: HeaderName,
    /// What must hold for it.
    pub pattern: FieldPattern,
}

impl Field {
    /// Whether the condition holds.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match (&self.pattern, values.next()) {
            (_, None) => false,
            (FieldPattern::Present, Some(_)) => true,
            (FieldPattern::Exact(wanted), Some(found)) => found == wanted && values.next().is_none(),
        }
    }
}

/// The conditions of one route. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// Names; empty means [`NamePattern::Anything`].
    pub names: Vec<NamePattern>,
    /// Beginnings of the path.
    pub paths: Vec<PathPrefix>,
    /// Methods, exactly as written; a route for GET does not take HEAD.
    pub methods: Vec<Method>,
    /// Header fields, all of which must hold. Each name stands once.
    pub fields: Vec<Field>,
    /// ALPN protocols; the client must have offered one of them.
    pub alpn: Vec<Vec<u8>>,
    /// Prefixes; the client's address must be in one of them.
    pub source: Vec<IpNet>,
}

impl Match {
    /// The number of table entries for a route with these conditions: each name with each path and each network.
    pub fn entries(&self) -> usize {
        let paths = self.paths.len().max(1).saturating_mul(self.source.len().max(1));
        self.names.len().max(1).saturating_mul(paths)
    }

    /// The same conditions in an order that does not depend on that of the file: equal for routes that match the same
    /// requests by the same lists.
    pub fn in_order(&self) -> Self {
        let mut all = self.clone();
        all.names.sort();
        all.paths.sort();
        all.methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        all.fields.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        all.alpn.sort();
        all.source.sort();
        all
    }
}

/// The conditions with their keys: `host=a.example.com path_prefix=/static method=GET header=x-beta:1`; `any` without
/// one.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.names.iter().filter(|name| **name != NamePattern::Anything);
        let field = |field: &Field| match &field.pattern {
            FieldPattern::Exact(value) => format!("{}:{}", field.name, value.as_bytes().escape_ascii()),
            FieldPattern::Present => format!("{}:*", field.name),
        };
        let keys = [
            ("host", named.map(ToString::to_string).collect::<Vec<_>>()),
            ("path_prefix", self.paths.iter().map(ToString::to_string).collect()),
            ("method", self.methods.iter().map(ToString::to_string).collect()),
            ("header", self.fields.iter().map(field).collect()),
            ("alpn", self.alpn.iter().map(|name| name.escape_ascii().to_string()).collect()),
            ("source", self.source.iter().map(networks::written).collect()),
        ];
        let given = keys.into_iter().filter(|(_, values)| !values.is_empty());
        let written: Vec<String> = given.map(|(key, values)| format!("{key}={}", values.join(","))).collect();
        f.write_str(if written.is_empty() { "any" } else { "" })?;
        f.write_str(&written.join(" "))
    }
}
