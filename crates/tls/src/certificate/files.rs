//! The bytes on disk: bounded reads, PEM sections, and a good guess at what a wrong file is instead.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::CertificateProblem;
use super::pem::{self, DER_SEQUENCE, Section};

/// Reads every certificate of a PEM file, in its order.
///
/// # Errors
/// The file is unreadable, not PEM, without a certificate, or has a section that cannot be taken.
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    let (bytes, _) = read(path)?;
    let sections = pem::sections(&bytes)?;
    if let Some(problem) = sections.iter().find_map(Section::refused) {
        return Err(problem);
    }
    let certificates: Vec<_> = sections.iter().filter(|section| section.is_certificate()).collect();
    if certificates.is_empty() {
        return Err(CertificateProblem::NoCertificate { hint: instead_of_certificate(&bytes) });
    }
    certificates.into_iter().map(Section::read).collect()
}

/// Reads the private key of a PEM file, and the file's permission bits.
///
/// # Errors
/// The file is unreadable, not PEM, without a key or with more than one, or its key is encrypted.
pub(super) fn private_key(path: &Path) -> Result<(PrivateKeyDer<'static>, u32), CertificateProblem> {
    let (bytes, mode) = read(path)?;
    // Before parsing: the old encrypted form (RFC 1421 headers inside the section) reads as bad base64,
    // the new one is no section that the reader knows.
    if has(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || has(&bytes, b"Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateProblem::Encrypted);
    }
    let sections = pem::sections(&bytes)?;
    let mut keys = sections.iter().filter(|section| section.is_key());
    match (keys.next(), keys.next()) {
        (Some(_), Some(second)) => Err(CertificateProblem::SecondKey { line: second.line }),
        (Some(key), None) => Ok((key.read()?, mode)),
        (None, _) => Err(CertificateProblem::NoKey { hint: instead_of_key(&bytes) }),
    }
}

/// The whole file, zeroized when dropped, and its permission bits, both from one open file.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), CertificateProblem> {
    let unreadable = |source| CertificateProblem::Unreadable { source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > LIMIT {
        return Err(CertificateProblem::TooLarge { limit: LIMIT });
    }
    // One allocation of the final size: a vector that grows would leave copies of the key behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LIMIT).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata.permissions().mode() & 0o7777))
}

fn instead_of_certificate(bytes: &[u8]) -> &'static str {
    if has(bytes, b"PRIVATE KEY-----") {
        "it has a private key: are `cert` and `key` swapped?"
    } else if has(bytes, b"BEGIN CERTIFICATE REQUEST") {
        "it is a signing request; the authority's answer is the certificate"
    } else if bytes.first() == Some(&DER_SEQUENCE) {
        "it looks like DER; `openssl x509 -inform der -in FILE -out NEW` makes PEM of it"
    } else {
        NO_CERTIFICATE
    }
}

fn instead_of_key(bytes: &[u8]) -> &'static str {
    if has(bytes, b"BEGIN CERTIFICATE-----") {
        "it has a certificate: are `cert` and `key` swapped?"
    } else if has(bytes, b"BEGIN OPENSSH PRIVATE KEY") {
        "it is an SSH key; `ssh-keygen -p -m pkcs8 -f FILE` turns it into PKCS#8"
    } else if has(bytes, b"BEGIN PUBLIC KEY") {
        "it has the public key only"
    } else if bytes.first() == Some(&DER_SEQUENCE) {
        "it looks like DER; `openssl pkey -inform der -in FILE -out NEW` makes PEM of it"
    } else {
        "a key stands between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----"
    }
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

pub(super) const NO_KEY_BESIDE: &str = "name its file in `key`, or put the key into this one";
pub(super) const NO_CERTIFICATE: &str =
    "a certificate stands between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----";

/// The largest bundle of public authorities in use is well below 1 MiB; this leaves room for private
/// ones and keeps a mistaken path (a log, a device) from being read into memory.
const LIMIT: u64 = 8 * 1024 * 1024;
