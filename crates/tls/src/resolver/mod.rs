//! SNI → certificate: the certificates' own names, exact first, then a wildcard of one label.
//!
//! Several certificates may serve one name (RSA and ECDSA side by side): the first one that fits the
//! client's signature schemes is taken, those with the cheaper signatures first. Built once, read by
//! every handshake without a lock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::certificate::Served;

/// What a client gets that asks for a name no certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownSni {
    /// No handshake: the alert `unrecognized_name`.
    #[default]
    Refuse,
    /// The first certificate, as clients without SNI get it.
    First,
}

type Candidates = Vec<Arc<CertifiedKey>>;

/// The certificates of one profile by name.
#[derive(Debug)]
pub(crate) struct Resolver {
    exact: HashMap<Box<str>, Candidates>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Candidates>,
    /// The first certificate listed, and those that share a name with it.
    first: Candidates,
    unknown: UnknownSni,
}

impl Resolver {
    /// `served` in the order of the configuration.
    pub(crate) fn new(served: &[Served], unknown: UnknownSni) -> Self {
        // ECDSA and Ed25519 sign many times faster than RSA, and a client that can check both does not
        // mind: without this an RSA certificate that is listed first would hide the other one for good.
        let mut order: Vec<&Served> = served.iter().collect();
        order.sort_by_key(|one| one.certified.key.algorithm() == SignatureAlgorithm::RSA);

        let mut exact: HashMap<Box<str>, Candidates> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Candidates> = HashMap::new();
        for one in &order {
            for name in &one.facts.names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut wildcard, suffix),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(key.into()).or_default().push(Arc::clone(&one.certified));
            }
        }
        let first = served.first().map_or_else(Vec::new, |first| siblings(first, &order));
        Self { exact, wildcard, first, unknown }
    }

    /// Would a client that asks for `sni` get a certificate? One that names nothing always does.
    pub(crate) fn answers(&self, sni: Option<&str>) -> bool {
        match (sni, self.unknown) {
            (None, _) | (_, UnknownSni::First) => true,
            (Some(name), UnknownSni::Refuse) => {
                let name = normal(name);
                self.exact.contains_key(name.as_ref()) || self.by_wildcard(&name).is_some()
            }
        }
    }

    fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let none: &[_] = &[];
        let (exact, wildcard) = match sni {
            None => (self.first.as_slice(), none),
            Some(name) => {
                let name = normal(name);
                let exact = self.exact.get(name.as_ref()).map_or(none, Vec::as_slice);
                let wildcard = self.by_wildcard(&name).map_or(none, Vec::as_slice);
                match (exact, wildcard, self.unknown) {
                    ([], [], UnknownSni::First) => (self.first.as_slice(), none),
                    found => (found.0, found.1),
                }
            }
        };
        let mut candidates = exact.iter().chain(wildcard);
        let fallback = candidates.clone().next();
        // With a certificate for the name but none for the client's schemes, rustls is given the first
        // one all the same: it then says handshake_failure, and not that there is no certificate.
        candidates.find(|one| one.key.choose_scheme(schemes).is_some()).or(fallback)
    }

    /// RFC 9525 §6.3: a wildcard stands for one label, the leftmost.
    fn by_wildcard(&self, name: &str) -> Option<&Candidates> {
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

/// The certificates that can stand in for `first`, itself among them, in the order of `order`.
fn siblings(first: &Served, order: &[&Served]) -> Candidates {
    order
        .iter()
        .filter(|one| {
            Arc::ptr_eq(&one.certified, &first.certified)
                || one.facts.names.iter().any(|name| first.facts.names.contains(name))
        })
        .map(|one| Arc::clone(&one.certified))
        .collect()
}

/// Lower case, without trailing dot; most clients send it so, and then nothing is copied.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests;
