//! The names of authorities that clients may trust, to tell a chain that lacks an intermediate from one that a root
//! issued.

use std::collections::HashSet;
use std::path::Path;

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::{CertificateProblem, certificates_in};

/// The subjects of the authorities of the system and of those in the file `more`, in the form of
/// [`CertificateDetails::issuer`](crate::CertificateDetails::issuer). A system without any gives none. Reads files.
///
/// # Errors
/// The file `more` cannot be read, or has no certificate.
pub fn authority_names(more: Option<&Path>) -> Result<HashSet<String>, CertificateProblem> {
    let mut all = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = more {
        all.extend(certificates_in(path)?);
    }
    let name = |der: &[u8]| X509Certificate::from_der(der).ok().map(|(_, one)| one.subject().to_string());
    Ok(all.iter().filter_map(|der| name(der)).collect())
}
