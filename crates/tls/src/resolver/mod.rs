//! SNI → certificate: the certificates' own names, exact first, then a wildcard of one label.
//!
//! Several certificates may serve one name (RSA and ECDSA side by side): the first one that the client can take by
//! all that its hello says, those with the cheaper signatures first. Built once, read by every handshake without
//! a lock.

mod candidate;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Served;
use crate::offer::{self, Offer};
use candidate::Candidate;

/// What a client gets that asks for a name no certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownSni {
    /// No handshake: the alert `unrecognized_name`.
    #[default]
    Refuse,
    /// The first certificate, as clients without SNI get it.
    First,
}

type Candidates = Vec<Arc<Candidate>>;

/// The certificates of one profile by name.
#[derive(Debug)]
pub(crate) struct CertificateResolver {
    exact: HashMap<Box<str>, Candidates>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Candidates>,
    /// The first certificate listed, and those that share a name with it.
    first: Candidates,
    unknown: UnknownSni,
}

impl CertificateResolver {
    /// `served` in the order of the configuration.
    pub(crate) fn new(served: &[Served], unknown: UnknownSni) -> Self {
        // ECDSA and Ed25519 sign many times faster than RSA, and a client that can check both does not
        // mind: without this an RSA certificate that is listed first would hide the other one for good.
        let mut order: Vec<(&Served, Arc<Candidate>)> =
            served.iter().map(|one| (one, Arc::new(Candidate::new(&one.certified)))).collect();
        order.sort_by_key(|(_, candidate)| candidate.is_rsa());

        let mut exact: HashMap<Box<str>, Candidates> = HashMap::new();
        let mut wildcard: HashMap<Box<str>, Candidates> = HashMap::new();
        for (one, candidate) in &order {
            for name in &one.facts.names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut wildcard, suffix),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(key.into()).or_default().push(Arc::clone(candidate));
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

    /// May a name's certificate depend on what the client can take?
    pub(crate) fn has_a_choice(&self) -> bool {
        let more = |candidates: &Candidates| candidates.len() > 1;
        let both = !self.exact.is_empty() && !self.wildcard.is_empty();
        both || more(&self.first) || self.exact.values().chain(self.wildcard.values()).any(more)
    }

    fn choose(&self, sni: Option<&str>, offer: &Offer) -> Option<&Arc<CertifiedKey>> {
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
        let candidates = || exact.iter().chain(wildcard);
        // RFC 8446 §4.4.2.2: a chain that the client may not be able to check is better than none.
        let mut taken = candidates().filter(|one| one.can_be_used_with(offer));
        let best = taken.clone().find(|one| one.chain_suits(offer)).or_else(|| taken.next());
        // With a certificate for the name but none that the client takes, rustls is given the first one all
        // the same: it then says handshake_failure, and not that there is no certificate.
        best.or_else(|| candidates().next()).map(|one| &one.certified)
    }

    /// RFC 9525 §6.3: a wildcard stands for one label, the leftmost.
    fn by_wildcard(&self, name: &str) -> Option<&Candidates> {
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        offer::note_groups(hello.named_groups().is_some());
        offer::with_current(|offer| match offer {
            Some(offer) => self.choose(hello.server_name(), offer).cloned(),
            // There is no choice, or the hello came in a way that `Offer` does not know.
            None => self.choose(hello.server_name(), &shown(&hello)).cloned(),
        })
    }
}

/// The certificates that can stand in for `first`, itself among them, in the order of `order`.
fn siblings(first: &Served, order: &[(&Served, Arc<Candidate>)]) -> Candidates {
    order
        .iter()
        .filter(|(one, _)| {
            Arc::ptr_eq(&one.certified, &first.certified)
                || one.facts.names.iter().any(|name| first.facts.names.contains(name))
        })
        .map(|(_, candidate)| Arc::clone(candidate))
        .collect()
}

/// What rustls shows of a hello.
fn shown(hello: &ClientHello<'_>) -> Offer {
    Offer {
        tls13: hello.cipher_suites().iter().any(candidate::is_tls13),
        suites: hello.cipher_suites().to_vec(),
        groups: hello.named_groups().map(<[_]>::to_vec),
        schemes: hello.signature_schemes().to_vec(),
        of_certificates: None,
    }
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
