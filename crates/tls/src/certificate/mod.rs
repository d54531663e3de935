//! A certificate and its key: from two files to what a handshake needs, or every reason why not.
//!
//! In: paths. Out: rustls' `CertifiedKey`, the [`CertificateFacts`] that metrics and the status page
//! show, and warnings. Key bytes live in zeroized memory while they are here and in none of the
//! `Debug` texts. Which certificate serves which name is the resolver's business.

mod error;
mod files;
mod pem;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use error::{CertificateError, CertificateFile, CertificateProblem};
pub(crate) use files::certificates_in;

use crate::provider::provider;
use crate::sessions::{Certificates, Digest};
use crate::warning::{MemberProblem, Warning};

/// Where a certificate chain and its private key are, both PEM. They may be the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain: the certificate itself first, then the intermediates.
    pub cert: PathBuf,
    /// The private key in PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// What people and metrics want to know about a certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The certificate's path as configured.
    pub path: PathBuf,
    /// The name of that file, without folders: a metric label.
    pub file: String,
    /// The DNS names it serves, lower-cased, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// The start of its validity, in seconds since 1970.
    pub not_before: i64,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
}

/// A certificate ready to be served.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) facts: CertificateFacts,
    pub(crate) certified: Arc<CertifiedKey>,
}

/// Reads and checks all certificates of a profile, `now` in seconds since 1970. What is in use already, with the very
/// same bytes, is taken from `kept`.
///
/// # Errors
/// All problems of all entries, never only the first.
pub(crate) fn load_all(
    entries: &[CertificateFiles],
    kept: &Certificates,
    now: i64,
) -> Result<(Vec<Served>, Vec<Warning>), Vec<CertificateError>> {
    let mut served = Vec::with_capacity(entries.len());
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    if entries.is_empty() {
        errors.push(CertificateError::none_listed());
    }
    for (entry, files) in entries.iter().enumerate() {
        match load(entry, files, kept, now) {
            Ok((one, mut its)) => {
                served.push(one);
                warnings.append(&mut its);
            }
            Err(mut its) => errors.append(&mut its),
        }
    }
    if errors.is_empty() { Ok((served, warnings)) } else { Err(errors) }
}

fn load(
    entry: usize,
    files: &CertificateFiles,
    kept: &Certificates,
    now: i64,
) -> Result<(Served, Vec<Warning>), Vec<CertificateError>> {
    let at_cert = |problem| CertificateError::new(entry, CertificateFile::Cert, &files.cert, problem);
    let at_key = |problem| CertificateError::new(entry, CertificateFile::Key, &files.key, problem);
    let chain = read_chain(&files.cert).map_err(at_cert);
    let key = files::private_key(&files.key).map_err(|problem| match problem {
        CertificateProblem::NoKey { .. } if files.key == files.cert => {
            at_key(CertificateProblem::NoKey { hint: files::NO_KEY_BESIDE })
        }
        other => at_key(other),
    });
    let ((chain, facts), (key, mode)) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let mut warnings = warnings(files, &facts, mode, now);
    warnings.extend(of_members(&files.cert, &chain, now));
    let digest = Digest::of(chain.iter().map(AsRef::as_ref).chain([key.secret_der()]));
    if let Some(certified) = kept.there(&digest) {
        return Ok((Served { facts, certified }, warnings));
    }
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| vec![at_key(CertificateProblem::KeyRefused { reason: error.to_string() })])?;
    fits(&chain, key.as_ref()).map_err(|problem| vec![at_key(problem)])?;
    let certified = kept.find(digest, || Arc::new(CertifiedKey::new(chain, key)));
    Ok((Served { facts, certified }, warnings))
}

type Chain = (Vec<CertificateDer<'static>>, CertificateFacts);

fn read_chain(path: &Path) -> Result<Chain, CertificateProblem> {
    let chain = certificates_in(path)?;
    let leaf = chain.first().ok_or(CertificateProblem::NoCertificate { hint: files::NO_CERTIFICATE })?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| CertificateProblem::BadCertificate { reason: error.to_string() })?;
    let facts = CertificateFacts {
        path: path.to_owned(),
        file: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        names: names(&parsed),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    };
    Ok((chain, facts))
}

/// The certificate's own DNS names; the subject's CN only where there is no such name at all, for the
/// sake of old private certificates (RFC 9525 gave the CN up; clients of ours decide for themselves).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = match alternative {
        Some(extension) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(plain(name)),
                _ => None,
            })
            .collect(),
        None => certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .filter(|name| looks_like_dns(name))
            .map(plain)
            .collect(),
    };
    names.sort();
    names.dedup();
    names
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A CN is free text ("Example Ltd"); only what could be asked for by SNI is a name.
fn looks_like_dns(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Is `key` the key of the first certificate? By comparing public keys, as rustls does, but without its
/// demand for X.509 version 3: old private certificates are version 1, and clients may accept them.
fn fits(chain: &[CertificateDer<'static>], key: &dyn SigningKey) -> Result<(), CertificateProblem> {
    let Some(public) = key.public_key() else { return Ok(()) };
    let has_this_key = |certificate: &CertificateDer<'_>| {
        X509Certificate::from_der(certificate).is_ok_and(|(_, c)| c.public_key().raw == public.as_ref())
    };
    match chain.iter().position(has_this_key) {
        Some(0) => Ok(()),
        Some(position) => Err(CertificateProblem::WrongOrder { position: position + 1 }),
        None => Err(CertificateProblem::Mismatch),
    }
}

fn warnings(files: &CertificateFiles, facts: &CertificateFacts, mode: u32, now: i64) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if now > facts.not_after {
        warnings.push(Warning::Expired { path: files.cert.clone(), not_after: facts.not_after });
    }
    if now < facts.not_before {
        warnings.push(Warning::NotYetValid { path: files.cert.clone(), not_before: facts.not_before });
    }
    if facts.names.is_empty() {
        warnings.push(Warning::NoNames { path: files.cert.clone() });
    }
    if mode & 0o077 != 0 {
        warnings.push(Warning::KeyReadable { path: files.key.clone(), mode });
    }
    warnings
}

/// What is wrong with the members of a chain behind its first certificate: clients find a chain broken, or take another way.
fn of_members(path: &Path, chain: &[CertificateDer<'static>], now: i64) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let parsed: Vec<_> = chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, one)| one)).collect();
    for (index, pair) in parsed.windows(2).enumerate() {
        let [before, member] = pair else { continue };
        let mut warn = |problem| {
            let path = path.to_owned();
            warnings.push(Warning::Member { path, position: index + 2, problem });
        };
        let Ok(member) = member else {
            warn(MemberProblem::Unreadable);
            continue;
        };
        if before.as_ref().is_ok_and(|before| before.issuer() != member.subject()) {
            warn(MemberProblem::Misplaced);
        }
        let (not_before, not_after) =
            (member.validity().not_before.timestamp(), member.validity().not_after.timestamp());
        if now > not_after {
            warn(MemberProblem::Expired { not_after });
        }
        if now < not_before {
            warn(MemberProblem::NotYetValid { not_before });
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
