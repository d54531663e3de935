//! The authorities that a pool trusts: those in its `ca` file, or the system's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::error::BackendTlsError;
use super::trust::webpki;
use crate::certificate::certificates_in;
use crate::digest::Digest;
use crate::tickets::unix_now;
use crate::verify::{Chain, Listed, Verifier};
use crate::warning::Warning;

/// Authorities that a pool trusts.
#[derive(Debug)]
pub(super) struct Authorities {
    /// Never empty.
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates of the `ca` file that can be trust anchors, with their positions in it, from 1; none of the
    /// system's.
    pub(super) certificates: Vec<(usize, CertificateDer<'static>)>,
    /// The same, as those that a backend may show itself.
    pub(super) listed: Vec<Listed>,
    pub(super) digest: Digest,
}

/// The authorities in `ca`, or the system's.
///
/// # Errors
/// The file cannot be used, or the system has no authorities.
pub(super) fn read(ca: Option<&Path>) -> Result<(Authorities, Vec<Warning>), BackendTlsError> {
    let Some(path) = ca else { return Ok((of_the_system()?, Vec::new())) };
    let certificates =
        certificates_in(path).map_err(|problem| BackendTlsError::Ca { path: path.to_owned(), problem })?;
    let digest = Digest::of(std::iter::once(&b"file"[..]).chain(certificates.iter().map(AsRef::as_ref)));
    let mut roots = RootCertStore::empty();
    let (mut anchors, mut listed, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for (index, certificate) in certificates.into_iter().enumerate() {
        let (path, position) = (path.to_owned(), index + 1);
        match (roots.add(certificate.clone()), Listed::new(certificate.clone())) {
            (Ok(()), Some(one)) => {
                if let Some(not_after) = one.ended(unix_now()) {
                    warnings.push(Warning::CaExpired { path, position, not_after });
                }
                anchors.push((position, certificate));
                listed.push(one);
            }
            _ => warnings.push(Warning::CaSkipped { path, position }),
        }
    }
    if roots.is_empty() {
        return Err(BackendTlsError::NoAnchor { path: path.to_owned() });
    }
    Ok((Authorities { roots: Arc::new(roots), certificates: anchors, listed, digest }, warnings))
}

fn of_the_system() -> Result<Authorities, BackendTlsError> {
    let roots = system()?;
    let anchors = roots.roots.iter().flat_map(|anchor| {
        let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
        [anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref(), constraints]
    });
    let digest = Digest::of(std::iter::once(&b"system"[..]).chain(anchors));
    Ok(Authorities { roots, certificates: Vec::new(), listed: Vec::new(), digest })
}

/// A verifier with the system's authorities, if there are any.
pub(super) fn system_verifier() -> Option<Arc<Verifier>> {
    let webpki = webpki(&system().ok()?, &[]).ok()?;
    Some(Verifier::chain(Chain { webpki, listed: Vec::new(), uri: None }))
}

/// The system's authorities, read once for all pools of a configuration, because each read costs milliseconds
/// and 150 KiB, and read again for the next configuration.
fn system() -> Result<Arc<RootCertStore>, BackendTlsError> {
    static LAST: Mutex<Option<(Instant, Weak<RootCertStore>)>> = Mutex::new(None);
    // A panic under this lock leaves a complete value behind.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, roots)) = &*last
        && when.elapsed() < SAME_CONFIGURATION
        && let Some(roots) = roots.upgrade()
    {
        return Ok(roots);
    }
    let mut roots = RootCertStore::empty();
    // Ignore the few certificates of a system that current parsers refuse.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(BackendTlsError::NoSystemRoots);
    }
    let roots = Arc::new(roots);
    *last = Some((Instant::now(), Arc::downgrade(&roots)));
    Ok(roots)
}

/// Pools built within this time of each other belong to the same load of a configuration.
const SAME_CONFIGURATION: Duration = Duration::from_secs(10);
