//! The bytes on disk: bounded reads, PEM sections, and a good guess at what a wrong file is instead.

use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use weir_files::{Content, FileState, ReadError};

use super::error::CertificateProblem;
use super::pem::{self, DER_SEQUENCE, Section};
use crate::ocsp_problem::OcspProblem;

/// Reads every certificate of a PEM file, in its order.
///
/// # Errors
/// The file is unreadable, not PEM, without a certificate, or has a section that cannot be taken.
pub(crate) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    certificates_and_state(path).0
}

/// The certificates of a PEM file, or why there are none.
type Read<T> = (Result<Vec<T>, CertificateProblem>, FileState);

/// As [`certificates_in`], with the file's state.
pub(crate) fn certificates_and_state(path: &Path) -> Read<CertificateDer<'static>> {
    let (content, state) = read(path, LIMIT);
    (content.and_then(|bytes| certificates(&bytes)), state)
}

/// Every certificate of a PEM file, in its order.
///
/// # Errors
/// As [`certificates_in`], but for reading.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    let sections = pem::sections(bytes)?;
    if let Some(problem) = sections.iter().find_map(Section::refused) {
        return Err(problem);
    }
    let certificates: Vec<_> = sections.iter().filter(|section| section.is_certificate()).collect();
    if certificates.is_empty() {
        return Err(CertificateProblem::NoCertificate { hint: instead_of_certificate(bytes) });
    }
    certificates.into_iter().map(Section::read).collect()
}

/// Reads every revocation list of a file, PEM or one in DER, in its order, with the file's state. A file without any
/// gives none. It cannot be taken if it is unreadable, neither PEM nor DER, or has a section that is no list.
pub(crate) fn lists_and_state(path: &Path) -> Read<CertificateRevocationListDer<'static>> {
    let (content, state) = read(path, LIST_LIMIT);
    (content.and_then(|bytes| lists(&bytes)), state)
}

fn lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateProblem> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let sections = pem::sections(bytes)?;
    if let Some(problem) = sections.iter().find_map(Section::refused_among_lists) {
        return Err(problem);
    }
    sections.iter().map(Section::read).collect()
}

/// Reads the private key of a PEM file.
///
/// # Errors
/// The file is unreadable, or as [`private_key`].
pub(crate) fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateProblem> {
    private_key(&read(path, LIMIT).0?)
}

/// The private key of a PEM file.
///
/// # Errors
/// The file is not PEM, without a key or with more than one, or its key is encrypted.
pub(super) fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateProblem> {
    // Before parsing: the old encrypted form (RFC 1421 headers inside the section) reads as bad base64,
    // the new one is no section that the reader knows.
    if has(bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || has(bytes, b"Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateProblem::Encrypted);
    }
    let sections = pem::sections(bytes)?;
    let mut keys = sections.iter().filter(|section| section.is_key());
    match (keys.next(), keys.next()) {
        (Some(_), Some(second)) => Err(CertificateProblem::SecondKey { line: second.line }),
        (Some(key), None) => Ok(key.read()?),
        (None, _) => Err(CertificateProblem::NoKey { hint: instead_of_key(bytes) }),
    }
}

/// The whole file, zeroized when dropped, and its state.
pub(super) fn read(path: &Path, limit: u64) -> (Result<Content, CertificateProblem>, FileState) {
    match weir_files::read(path, limit) {
        Ok((content, state)) => (Ok(content), state),
        Err((error, state)) => {
            let problem = match error {
                ReadError::Changing => CertificateProblem::Changing,
                ReadError::TooLarge => CertificateProblem::TooLarge { limit },
                ReadError::Io(source) => CertificateProblem::Unreadable { source },
            };
            (Err(problem), *state)
        }
    }
}

/// Reads an OCSP response, unchecked, as [`read`] does.
pub(super) fn ocsp_response(path: &Path) -> (Result<Content, OcspProblem>, FileState) {
    // By the same limit as other files, because a later look has the same one.
    let (content, state) = read(path, LIMIT);
    let content = match content {
        Ok(content) if content.len() > OCSP_LIMIT => Err(OcspProblem::TooLarge { limit: OCSP_LIMIT as u64 }),
        Ok(content) => Ok(content),
        Err(CertificateProblem::TooLarge { .. }) => Err(OcspProblem::TooLarge { limit: OCSP_LIMIT as u64 }),
        Err(CertificateProblem::Unreadable { source }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(OcspProblem::Missing)
        }
        Err(CertificateProblem::Unreadable { source }) => {
            Err(OcspProblem::Unreadable { reason: source.to_string() })
        }
        Err(other) => Err(OcspProblem::Unreadable { reason: other.to_string() }),
    };
    (content, state)
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
pub(super) const LIMIT: u64 = 8 * 1024 * 1024;
/// A response with its responder's certificate has a few KiB; each handshake that staples it sends all of it.
const OCSP_LIMIT: usize = 64 * 1024;
/// The largest lists of public authorities are tens of MiB.
const LIST_LIMIT: u64 = 64 * 1024 * 1024;
