//! How a pool verifies its backends: by authorities, names and revocation lists, by pinned keys, or not at all.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::BackendSettings;
use super::error::BackendTlsError;
use super::roots::{self, Authorities};
use crate::crl::{self, CrlFacts, RevocationList};
use crate::digest::Digest;
use crate::pin::Pin;
use crate::provider::provider;
use crate::tickets::unix_now;
use crate::uri::UriName;
use crate::verify::{Chain, Verifier};
use crate::warning::Warning;

/// How a backend's certificate is verified, and a digest of that: equal digests verify alike.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) verifier: Arc<Verifier>,
    pub(super) digest: Digest,
    /// The lists of revoked certificates, in the order of the configuration.
    pub(super) lists: Vec<CrlFacts>,
}

impl Trust {
    /// Reads the files of these settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn read(
        settings: &BackendSettings,
        uri: Option<&UriName>,
    ) -> Result<(Self, Vec<Warning>), Vec<BackendTlsError>> {
        if !settings.pinned.is_empty() {
            return Ok((Self::pinned(&settings.pinned), Vec::new()));
        }
        if !settings.verify {
            return Ok((Self::unverified(), vec![Warning::Unverified]));
        }
        let (authorities, mut warnings) = roots::read(settings.ca.as_deref()).map_err(|error| vec![error])?;
        let (lists, mut its) = lists(settings, &authorities)?;
        warnings.append(&mut its);
        Ok((Self::chain(authorities, &lists, uri)?, warnings))
    }

    /// Verifies only the handshake's signature.
    pub(super) fn unverified() -> Self {
        let digest = Digest::of([&b"unverified"[..]]);
        Self { verifier: Verifier::signature_only(), digest, lists: Vec::new() }
    }

    fn pinned(pins: &[Pin]) -> Self {
        let digest = Digest::of(std::iter::once(&b"pinned"[..]).chain(pins.iter().map(Pin::bytes)));
        Self { verifier: Verifier::pinned(pins.to_vec()), digest, lists: Vec::new() }
    }

    fn chain(
        authorities: Authorities,
        lists: &[RevocationList],
        uri: Option<&UriName>,
    ) -> Result<Self, Vec<BackendTlsError>> {
        let webpki = webpki(&authorities.roots, lists).map_err(|error| vec![error])?;
        let pairs = authorities.listed.into_iter().zip(&authorities.certificates);
        let listed = pairs.map(|(one, (_, der))| one.revoked(is_revoked(der, lists))).collect();
        let parts = [authorities.digest.bytes(), uri.map_or("", UriName::as_str).as_bytes()];
        let digest = Digest::of(parts.into_iter().chain(lists.iter().map(|list| list.der.as_ref())));
        let verifier = Verifier::chain(Chain { webpki, listed, uri: uri.cloned() });
        Ok(Self { verifier, digest, lists: lists.iter().map(|list| list.facts.clone()).collect() })
    }
}

/// Verifies by these authorities. With lists, each authority of a chain needs one: else a list that was forgotten would
/// leave its certificates unchecked.
pub(super) fn webpki(
    roots: &Arc<RootCertStore>,
    lists: &[RevocationList],
) -> Result<Arc<WebPkiServerVerifier>, BackendTlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
        .with_crls(lists.iter().map(|list| list.der.clone()))
        .build()
        // The store is not empty, and each list has been taken once.
        .map_err(|_empty| BackendTlsError::NoSystemRoots)
}

/// Reads the lists of revoked certificates.
fn lists(
    settings: &BackendSettings,
    authorities: &Authorities,
) -> Result<(Vec<RevocationList>, Vec<Warning>), Vec<BackendTlsError>> {
    let Some(ca) = settings.ca.as_ref().filter(|_| !settings.crl.is_empty()) else {
        return if settings.crl.is_empty() {
            Ok((Vec::new(), Vec::new()))
        } else {
            Err(vec![BackendTlsError::ListWithoutCa])
        };
    };
    let certificates: Vec<_> = authorities.certificates.iter().map(|(_, der)| der.clone()).collect();
    let (mut lists, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, path) in settings.crl.iter().enumerate() {
        match crl::read(path, &certificates) {
            Ok(its) => lists.extend(its),
            Err(problem) => errors.push(BackendTlsError::Crl { entry, path: path.clone(), problem }),
        }
    }
    let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
    for list in &lists {
        let (path, next_update) = (list.facts.path.clone(), list.facts.next_update);
        if now > next_update {
            warnings.push(Warning::CrlStale { path: path.clone(), next_update });
        }
        if !list.of_an_authority {
            warnings.push(Warning::CrlForeign { path });
        }
    }
    for (position, authority) in &authorities.certificates {
        if signs_others(authority) && !lists.iter().any(|list| list.is_by(authority)) {
            warnings.push(Warning::CaWithoutCrl { path: ca.clone(), position: *position });
        }
    }
    if errors.is_empty() { Ok((lists, warnings)) } else { Err(errors) }
}

/// Whether a certificate of the `ca` file, which a backend may show itself, is revoked.
fn is_revoked(der: &CertificateDer<'_>, lists: &[RevocationList]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    lists.iter().any(|list| list.revokes(&certificate))
}

/// Whether it may sign other certificates.
fn signs_others(der: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(der);
    parsed.is_ok_and(|(_, one)| one.basic_constraints().ok().flatten().is_some_and(|basic| basic.value.ca))
}
