//! Whom a pool trusts: the authorities of its `ca` file, or the system's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use tokio::time::Instant;

use super::error::BackendTlsError;
use crate::certificate::certificates_in;
use crate::provider::provider;
use crate::sessions::Digest;
use crate::tickets::unix_now;
use crate::verify::{Listed, Verifier};
use crate::warning::Warning;

/// How a backend's certificate is judged, and the digest of it: equal ones judge alike.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) verifier: Arc<Verifier>,
    pub(super) digest: Digest,
}

impl Trust {
    /// Nothing is judged but the handshake's signature.
    pub(super) fn unjudged() -> Self {
        Self { verifier: Verifier::nobody(), digest: Digest::of([&b"unjudged"[..]]) }
    }
}

/// Chain and name are judged by the authorities in `ca`, or by the system's.
pub(super) fn trust(ca: Option<&Path>) -> Result<(Trust, Vec<Warning>), BackendTlsError> {
    match ca {
        Some(path) => from_file(path),
        None => {
            let roots = system()?;
            let anchors = roots.roots.iter().flat_map(|anchor| {
                let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
                [anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref(), constraints]
            });
            let digest = Digest::of(std::iter::once(&b"system"[..]).chain(anchors));
            let verifier = Verifier::chain(webpki(roots, BackendTlsError::NoSystemRoots)?, Vec::new());
            Ok((Trust { verifier, digest }, Vec::new()))
        }
    }
}

/// The system's authorities as judges, where there are any.
pub(super) fn system_verifier() -> Option<Arc<Verifier>> {
    let webpki = webpki(system().ok()?, BackendTlsError::NoSystemRoots).ok()?;
    Some(Verifier::chain(webpki, Vec::new()))
}

fn from_file(path: &Path) -> Result<(Trust, Vec<Warning>), BackendTlsError> {
    let certificates =
        certificates_in(path).map_err(|problem| BackendTlsError::Ca { path: path.to_owned(), problem })?;
    let digest = Digest::of(std::iter::once(&b"file"[..]).chain(certificates.iter().map(AsRef::as_ref)));
    let mut roots = RootCertStore::empty();
    let mut listed = Vec::new();
    let mut warnings = Vec::new();
    for (index, certificate) in certificates.into_iter().enumerate() {
        match (roots.add(certificate.clone()), Listed::new(certificate)) {
            (Ok(()), Some(one)) => {
                if let Some(not_after) = one.ended(unix_now()) {
                    warnings.push(Warning::CaExpired {
                        path: path.to_owned(),
                        position: index + 1,
                        not_after,
                    });
                }
                listed.push(one);
            }
            _ => warnings.push(Warning::CaSkipped { path: path.to_owned(), position: index + 1 }),
        }
    }
    let webpki = webpki(Arc::new(roots), BackendTlsError::NoAnchor { path: path.to_owned() })?;
    Ok((Trust { verifier: Verifier::chain(webpki, listed), digest }, warnings))
}

fn webpki(
    roots: Arc<RootCertStore>,
    none: BackendTlsError,
) -> Result<Arc<WebPkiServerVerifier>, BackendTlsError> {
    // Without revocation lists the builder refuses one thing only: an empty store.
    WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(|_empty| none)
}

/// The system's authorities: read once for all pools of a configuration (it costs milliseconds and
/// 150 KiB each time), and anew for the next one.
fn system() -> Result<Arc<RootCertStore>, BackendTlsError> {
    static LAST: Mutex<Option<(Instant, Weak<RootCertStore>)>> = Mutex::new(None);
    // Whatever panicked while it held this lock left a whole value behind.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, roots)) = &*last
        && when.elapsed() < SAME_CONFIGURATION
        && let Some(roots) = roots.upgrade()
    {
        return Ok(roots);
    }
    let mut roots = RootCertStore::empty();
    // Systems carry a few certificates that no parser of today takes; the rest is what counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(BackendTlsError::NoSystemRoots);
    }
    let roots = Arc::new(roots);
    *last = Some((Instant::now(), Arc::downgrade(&roots)));
    Ok(roots)
}

/// Two pools built this close to each other belong to one load of one configuration.
const SAME_CONFIGURATION: Duration = Duration::from_secs(10);
