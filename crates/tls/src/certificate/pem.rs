//! PEM as people have it: sections joined in one line, indented, behind a byte order mark, with any ends of lines.
//!
//! A reader that finds sections only at the beginning of a line skips the others silently, and a chain or a list of
//! authorities is then shorter than its file. This one skips nothing: it takes a section, or refuses the file and names
//! the line.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use zeroize::Zeroizing;

use super::error::CertificateProblem;

/// One section of a file.
pub(super) struct Section {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// What stands behind `BEGIN`.
    pub(super) label: String,
    /// The section as every reader takes it.
    text: Zeroizing<Vec<u8>>,
}

/// Takes a file apart.
///
/// # Errors
/// It is no PEM, and it is known what instead; a section has no end or no beginning.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, CertificateProblem> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if let Some(problem) = no_pem(bytes) {
        return Err(problem);
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(rest) = bytes.get(at..) {
        let begin = position(rest, BEGIN);
        let between = rest.get(..begin.unwrap_or(rest.len())).unwrap_or_default();
        if let Some(stray) = stray_marker(between) {
            return Err(broken(line(bytes, at + stray), "a marker that begins or ends no section"));
        }
        let Some(begin) = begin else { break };
        let here = line(bytes, at + begin);
        let body = rest.get(begin + BEGIN.len()..).unwrap_or_default();
        let (label, body) =
            split(body, DASHES).ok_or_else(|| broken(here, "a section begins with a malformed line"))?;
        if label.len() > LONGEST_LABEL || label.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
            return Err(broken(here, "a section begins with a malformed line"));
        }
        let end = [END, label, DASHES].concat();
        let (content, behind) = split(body, &end).ok_or_else(|| broken(here, "a section has no end"))?;
        if position(content, BEGIN).is_some() {
            return Err(broken(here, "a section has no end"));
        }
        found.push(Section {
            line: here,
            label: String::from_utf8_lossy(label).into_owned(),
            text: plain(if label == OLD_LABEL { b"CERTIFICATE" } else { label }, content),
        });
        at = bytes.len() - behind.len();
    }
    Ok(found)
}

impl Section {
    /// What it holds.
    ///
    /// # Errors
    /// It is not base64.
    pub(super) fn read<T: PemObject>(&self) -> Result<T, CertificateProblem> {
        // Only the kind: some variants quote the offending line, and that may be key material.
        T::from_pem_slice(&self.text).map_err(|error| match error {
            pem::Error::Base64Decode(_) => broken(self.line, "a section is not base64"),
            pem::Error::SectionTooLarge => broken(self.line, "a section is too large"),
            _ => broken(self.line, "a section cannot be read"),
        })
    }

    pub(super) fn is_certificate(&self) -> bool {
        self.label.as_bytes() == OLD_LABEL || matches!(self.kind(), Some(SectionKind::Certificate))
    }

    pub(super) fn is_key(&self) -> bool {
        let keys = [SectionKind::PrivateKey, SectionKind::RsaPrivateKey, SectionKind::EcPrivateKey];
        self.kind().is_some_and(|kind| keys.contains(&kind))
    }

    /// Why a file that has it cannot be taken, if it cannot.
    pub(super) fn refused(&self) -> Option<CertificateProblem> {
        let hint = match self.label.as_str() {
            "TRUSTED CERTIFICATE" => "`openssl x509 -in FILE -out NEW` makes a plain CERTIFICATE of it",
            "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => {
                "`openssl pkcs7 -print_certs -in FILE -out NEW` takes the certificates out of it"
            }
            "X509 CRL" => "a list of revoked certificates belongs in a file of its own, which `crl` names",
            _ if self.is_certificate() || self.is_key() => return None,
            // They stand beside certificates and keys, and say nothing that these do not.
            "EC PARAMETERS"
            | "DH PARAMETERS"
            | "PUBLIC KEY"
            | "CERTIFICATE REQUEST"
            | "NEW CERTIFICATE REQUEST"
            | "OPENSSH PRIVATE KEY"
            | "ENCRYPTED PRIVATE KEY" => return None,
            _ => "take it out of the file",
        };
        Some(CertificateProblem::Section { line: self.line, label: self.label.clone(), hint })
    }

    /// Why a file of revocation lists that has it cannot be taken, if it cannot.
    pub(super) fn refused_among_lists(&self) -> Option<CertificateProblem> {
        let hint = match self.label.as_str() {
            "X509 CRL" => return None,
            _ if self.is_certificate() => "are `ca` and `crl` swapped? An authority belongs in `ca`",
            _ => "take it out of the file",
        };
        Some(CertificateProblem::Section { line: self.line, label: self.label.clone(), hint })
    }

    fn kind(&self) -> Option<SectionKind> {
        SectionKind::try_from(self.label.as_bytes()).ok()
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Of certificates, before RFC 7468; some tools still write it.
const OLD_LABEL: &[u8] = b"X509 CERTIFICATE";
/// The longest of RFC 7468 has half of it.
const LONGEST_LABEL: usize = 64;
/// Every X.509 certificate and every key is an ASN.1 SEQUENCE, and this is its first byte in DER.
pub(super) const DER_SEQUENCE: u8 = 0x30;

/// What a file is that is no PEM; a DER one has its own hints.
fn no_pem(bytes: &[u8]) -> Option<CertificateProblem> {
    let text = bytes.trim_ascii_start();
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if text.is_empty() {
        Some(CertificateProblem::Empty)
    } else if utf16 || text.iter().take(FIRST).filter(|byte| **byte == 0).count() > FIRST / 4 {
        let hint = "`iconv -f UTF-16 -t ASCII FILE > NEW` makes plain text of it";
        Some(CertificateProblem::NotPem { what: "UTF-16 text", hint })
    } else if text.first() == Some(&b'<') {
        let hint = "was a page of an error saved in place of the file?";
        Some(CertificateProblem::NotPem { what: "an HTML or XML page", hint })
    } else {
        None
    }
}

/// Bytes at which it shows.
const FIRST: usize = 64;

/// The section in lines of its own. One allocation of the final size: growing would leave copies of a key behind.
fn plain(label: &[u8], content: &[u8]) -> Zeroizing<Vec<u8>> {
    let size = content.len() + 2 * (BEGIN.len() + label.len() + DASHES.len() + 2);
    let mut text = Zeroizing::new(Vec::with_capacity(size));
    text.extend([BEGIN, label, DASHES, b"\n"].concat());
    for part in content.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()) {
        text.extend_from_slice(part);
    }
    text.extend([b"\n", END, label, DASHES, b"\n"].concat());
    text
}

fn broken(line: usize, reason: &str) -> CertificateProblem {
    CertificateProblem::BadPem { reason: format!("line {line}: {reason}") }
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// Where a broken first or last line of a section is, if there is one. Other text, also with lines of dashes, may stand
/// between sections.
fn stray_marker(between: &[u8]) -> Option<usize> {
    let mut at = 0;
    for text in between.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        let word = position(text, b"BEGIN ").or_else(|| position(text, b"END "));
        if word.is_some() && position(text, b"--").is_some() {
            return Some(at);
        }
        at += text.len();
    }
    None
}

/// What stands before the first `at`, and what behind it.
fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = position(bytes, at)?;
    Some((bytes.get(..found)?, bytes.get(found + at.len()..)?))
}

/// The line of a byte, from 1. Ends of lines are those of any system.
fn line(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or_default();
    let feeds = before.iter().filter(|byte| **byte == b'\n').count();
    let alone = before.windows(2).filter(|pair| pair.first() == Some(&b'\r') && pair.last() != Some(&b'\n'));
    1 + feeds + alone.count() + usize::from(before.last() == Some(&b'\r'))
}
