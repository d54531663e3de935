//! SNI → certificate: the certificates' own names, exact first, then a wildcard of one label.
//!
//! Several certificates may serve one name (RSA, ECDSA and ML-DSA side by side): the first one that the client can take
//! by all that its hello says, ML-DSA first, then those with the cheaper signatures. Built whenever certificates
//! change, read by every handshake without a lock.

mod candidate;
mod order;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::ProtocolVersion;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::agreed::{self, Version};
use crate::certificate::Served;
use crate::choice::Choice;
use crate::offer::{self, Offer};
use crate::warning::Warning;
use candidate::Candidate;

/// The answer to a client that asks for a name that no certificate has.
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
    /// The first certificate of the configuration, and those that share a name with it.
    first: Candidates,
    unknown: UnknownSni,
    has_a_choice: bool,
    choice: Arc<Choice>,
    /// The times between which this order of certificates is right.
    holds: (i64, i64),
    /// Certificates that others hide.
    hidden: Vec<Warning>,
}

impl CertificateResolver {
    /// `served` in the order of the configuration; `now` in seconds since 1970.
    pub(crate) fn new(served: &[Served], unknown: UnknownSni, choice: Arc<Choice>, now: i64) -> Self {
        let order = order::ordered(served, now);
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
        let more = |candidates: &Candidates| candidates.len() > 1;
        let both = !exact.is_empty() && !wildcard.is_empty();
        let has_a_choice = both || more(&first) || exact.values().chain(wildcard.values()).any(more);
        let (holds, hidden) = (order::holds(served, now), order::hidden(&order));
        Self { exact, wildcard, first, unknown, has_a_choice, choice, holds, hidden }
    }

    /// Whether the certificates are in the right order at `now`: one may have begun or ended since, or the clock has
    /// jumped.
    pub(crate) fn holds(&self, now: i64) -> bool {
        (self.holds.0..=self.holds.1).contains(&now)
    }

    /// Certificates with a name for which another one is served: a warning each.
    pub(crate) fn hidden(&self) -> &[Warning] {
        &self.hidden
    }

    /// Whether a client that asks for `sni` gets a certificate. A client without SNI always does.
    pub(crate) fn answers(&self, sni: Option<&str>) -> bool {
        match (sni, self.unknown) {
            // There is none yet in a `directory` that is empty.
            (None, _) | (_, UnknownSni::First) => !self.first.is_empty(),
            (Some(name), UnknownSni::Refuse) => {
                let name = normal(name);
                self.exact.contains_key(name.as_ref()) || self.by_wildcard(&name).is_some()
            }
        }
    }

    /// Whether a name's certificate may depend on what the client can take.
    pub(crate) fn has_a_choice(&self) -> bool {
        self.has_a_choice
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
        let best = [true, false].into_iter().find_map(|valid| {
            let of_these =
                |one: &&Arc<Candidate>| one.is_valid == valid && one.can_be_used_with(offer, &self.choice);
            let mut taken = candidates().filter(of_these);
            // RFC 8446 §4.4.2.2: a chain that the client may not be able to check is better than none.
            taken.clone().find(|one| one.chain_suits(offer)).or_else(|| taken.next())
        });
        // With a certificate for the name but none that the client takes, rustls is given the first one all
        // the same: it then says handshake_failure, and not that there is no certificate.
        best.or_else(|| candidates().next()).map(|one| &one.certified)
    }

    /// RFC 9525 §6.3: a wildcard matches one label, the leftmost.
    fn by_wildcard(&self, name: &str) -> Option<&Candidates> {
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix) }
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        offer::note_groups(hello.named_groups().is_some(), hello.cipher_suites());
        offer::with_current(|offer| match offer {
            Some(offer) => self.choose(hello.server_name(), offer).cloned(),
            // There is no choice, or `Offer` cannot read the hello's records.
            None => self.choose(hello.server_name(), &shown(&hello)).cloned(),
        })
    }
}

/// The versions in which no suite works with this certificate's key, of those that the profile speaks.
/// That ML-DSA is not for TLS 1.2 is no fault of the suites, and left out while TLS 1.3 is spoken.
pub(crate) fn without_suite(served: &Served, choice: &Choice) -> Vec<Version> {
    let candidate = Candidate::new(&served.certified, true);
    let for_tls13 = candidate.is_ml_dsa() && choice.speaks(ProtocolVersion::TLSv1_3);
    let versions = choice.versions.iter().map(|version| version.version);
    let missing = versions.filter(|version| !candidate.has_suite(*version, choice) && !for_tls13);
    missing.map(agreed::version).collect()
}

/// The certificates that can stand in for `first`, itself among them, in the order of `order`.
fn siblings(first: &Served, order: &order::Ordered<'_>) -> Candidates {
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
