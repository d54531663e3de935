//! A certificate and its key: from two files to the input of a handshake, or every reason why not.
//!
//! In: paths. Out: rustls' `CertifiedKey`, the [`CertificateFacts`] that metrics and the status page
//! show, and warnings. `store` keeps what is served now. Key bytes live in zeroized memory while they are here
//! and in none of the `Debug` texts. The resolver decides which certificate serves which name.

mod details;
mod directory;
mod entry;
mod error;
mod files;
mod folder;
mod ocsp;
mod pem;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use weir_files::{Content, FileState};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use details::{CertificateDetails, ChainFault};
pub use entry::{CertificateStatus, Refusal};
pub(crate) use entry::{Entry, EntryKey};
pub use error::{CertificateError, CertificateFile, CertificateProblem};
pub(crate) use files::{certificates_and_state, certificates_in, key_in, lists_and_state};
pub(crate) use folder::{Folder, FolderKey};
pub use ocsp::OcspState;
use ocsp::Staple;
#[cfg(test)]
pub(crate) use store::load_all;
pub(crate) use store::{CertificateStore, Staging, stage};

use crate::digest::Digest;
use crate::ocsp_problem::OcspProblem;
use crate::provider::provider;
use crate::warning::{MemberProblem, Warning};
use crate::weak_cache::WeakCache;

/// The files of a certificate chain and its private key, both PEM. They may be the same file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain: the certificate itself first, then the intermediates.
    pub cert: PathBuf,
    /// The private key in PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// An OCSP response about the certificate, in DER.
    pub ocsp: Option<PathBuf>,
    /// The response may be missing: its name is a convention, and no key names it.
    pub ocsp_may_lack: bool,
}

impl CertificateFiles {
    /// A certificate and its key, without an OCSP response.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), ocsp: None, ocsp_may_lack: false }
    }
}

/// The facts about a served certificate, for people and metrics.
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
    /// Clients that know RFC 7633 refuse it without a stapled OCSP response.
    pub must_staple: bool,
    /// What became of its OCSP response.
    pub ocsp: OcspState,
    /// What people want to know beyond that.
    pub details: CertificateDetails,
}

impl CertificateFacts {
    /// Does the certificate demand a stapled response, and have none?
    #[must_use]
    pub fn lacks_staple(&self) -> bool {
        self.must_staple && !matches!(self.ocsp, OcspState::Stapled { .. })
    }
}

/// Certificates with their keys that are in use, by all their bytes.
pub(crate) type Certificates = WeakCache<Digest, CertifiedKey>;

/// A certificate ready to be served.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) facts: Arc<CertificateFacts>,
    pub(crate) certified: Arc<CertifiedKey>,
}

impl Served {
    /// The same certificate without its OCSP response, if that must no longer be stapled at `now`.
    fn after_staple(&self, now: i64) -> Option<Self> {
        let ocsp = self.facts.ocsp.ended(now)?;
        let facts = CertificateFacts { ocsp, ..CertificateFacts::clone(&self.facts) };
        let certified = CertifiedKey { ocsp: None, ..CertifiedKey::clone(&self.certified) };
        Some(Self { facts: Arc::new(facts), certified: Arc::new(certified) })
    }
}

/// A pair of files as they were read.
struct Reading {
    /// The state of each file that was read; a key in the certificate's file has none of its own.
    files: Vec<FileState>,
    result: Result<(Served, Vec<Warning>), Vec<CertificateError>>,
}

impl Reading {
    /// Reads and checks the files of an entry, which is number `entry` of the configuration, at `now` in seconds since
    /// 1970. While the file of its OCSP response is bad, the response that `before` has is stapled on as long as it is
    /// valid.
    fn of(key: &EntryKey, entry: usize, (kept, before): (&Certificates, Option<&Served>), now: i64) -> Self {
        let EntryKey { files, strict } = key;
        let mut states = Vec::new();
        let mut read = |path: &Path| {
            let (content, state) = files::read(path, files::LIMIT);
            let mode = state.mode().unwrap_or_default();
            states.push(state);
            content.map(|content| (content, mode))
        };
        let at_cert = |problem| CertificateError::new(entry, CertificateFile::Cert, &files.cert, problem);
        let at_key = |problem| CertificateError::new(entry, CertificateFile::Key, &files.key, problem);
        let result = if files.cert == files.key {
            // Read once, so that both come from one moment.
            read(&files.cert).map_err(|problem| vec![at_cert(problem)]).and_then(|(bytes, mode)| {
                let key = files::private_key(&bytes).map_err(|problem| match problem {
                    CertificateProblem::NoKey { .. } => {
                        CertificateProblem::NoKey { hint: files::NO_KEY_BESIDE }
                    }
                    other => other,
                });
                joined(read_chain(&files.cert, &bytes).map_err(at_cert), key.map_err(at_key), mode)
            })
        } else {
            let chain = read(&files.cert).and_then(|(bytes, _)| read_chain(&files.cert, &bytes));
            let read = read(&files.key);
            let mode = read.as_ref().map_or(0, |(_, mode)| *mode);
            let key = read.and_then(|(bytes, _)| files::private_key(&bytes));
            joined(chain.map_err(at_cert), key.map_err(at_key), mode)
        };
        let response = files.ocsp.as_ref().map(|path| {
            let (content, state) = files::ocsp_response(path);
            states.push(state);
            content
        });
        let result = result.and_then(|(chain, key, mode)| {
            if *strict && is_exposed(mode) {
                return Err(vec![at_key(CertificateProblem::Exposed { mode })]);
            }
            let earlier = before.and_then(|before| before.certified.ocsp.as_deref());
            let response = (response, earlier);
            served(files, chain, (key, mode), &response, kept, now).map_err(|problem| vec![at_key(problem)])
        });
        Self { files: states, result }
    }
}

type Chain = (Vec<CertificateDer<'static>>, CertificateFacts);
type Joined = (Chain, PrivateKeyDer<'static>, u32);

/// Both, or all that is wrong with either.
fn joined(
    chain: Result<Chain, CertificateError>,
    key: Result<PrivateKeyDer<'static>, CertificateError>,
    mode: u32,
) -> Result<Joined, Vec<CertificateError>> {
    match (chain, key) {
        (Ok(chain), Ok(key)) => Ok((chain, key, mode)),
        (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
    }
}

/// Whether a key file's mode lets group or others in.
fn is_exposed(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// The OCSP response of an entry that has one, and the one that was stapled before.
type Response<'b> = (Option<Result<Content, OcspProblem>>, Option<&'b [u8]>);

fn served(
    files: &CertificateFiles,
    (chain, mut facts): Chain,
    (key, mode): (PrivateKeyDer<'static>, u32),
    response: &Response<'_>,
    kept: &Certificates,
    now: i64,
) -> Result<(Served, Vec<Warning>), CertificateProblem> {
    let mut warnings = warnings(files, &facts, mode, now);
    warnings.extend(of_members(&files.cert, &chain, now));
    let response = staple((files, response), &mut facts, &chain, now, &mut warnings);
    let secret = [key.secret_der(), response.as_deref().unwrap_or_default()];
    let digest = Digest::of(chain.iter().map(AsRef::as_ref).chain(secret));
    if let Some(certified) = kept.there(&digest) {
        return Ok((Served { facts: facts.into(), certified }, warnings));
    }
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| CertificateProblem::KeyRefused { reason: error.to_string() })?;
    fits(&chain, key.as_ref())?;
    let certified = kept.find(digest, || {
        let plain = CertifiedKey::new(chain, key);
        Arc::new(CertifiedKey { ocsp: response, ..plain })
    });
    Ok((Served { facts: facts.into(), certified }, warnings))
}

/// The OCSP response to staple. A response that must not be stapled is a warning, and so is the lack of one where the
/// certificate asks for it.
fn staple(
    (files, (read, before)): (&CertificateFiles, &Response<'_>),
    facts: &mut CertificateFacts,
    chain: &[CertificateDer<'_>],
    now: i64,
    warnings: &mut Vec<Warning>,
) -> Option<Vec<u8>> {
    let mut response = None;
    if let (Some(path), Some(read)) = (&files.ocsp, read) {
        let checked = match read {
            Ok(bytes) => Staple::check(bytes, chain, now),
            Err(problem) => Err(problem.clone()),
        };
        // A broken file does not end a valid response; a newer answer does.
        let earlier = |problem: &OcspProblem| match before {
            Some(before) if !problem.is_an_answer() => Staple::check(before, chain, now).ok(),
            _ => None,
        };
        match checked {
            Err(OcspProblem::Missing) if files.ocsp_may_lack => {}
            Ok(staple) => {
                response = Some(staple.response);
                facts.ocsp = OcspState::Stapled { next_update: staple.next_update };
            }
            Err(problem) => {
                warnings.push(Warning::Ocsp { path: path.clone(), problem: problem.clone() });
                let earlier = earlier(&problem);
                facts.ocsp = earlier.as_ref().map_or(OcspState::Refused(problem), |staple| {
                    OcspState::Stapled { next_update: staple.next_update }
                });
                response = earlier.map(|staple| staple.response);
            }
        }
    }
    if facts.lacks_staple() {
        warnings.push(Warning::MustStaple { path: files.cert.clone() });
    }
    response
}

fn read_chain(path: &Path, bytes: &[u8]) -> Result<Chain, CertificateProblem> {
    let chain = files::certificates(bytes)?;
    let leaf = chain.first().ok_or(CertificateProblem::NoCertificate { hint: files::NO_CERTIFICATE })?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| CertificateProblem::BadCertificate { reason: error.to_string() })?;
    let names = names(&parsed);
    let facts = CertificateFacts {
        details: CertificateDetails::of(&chain, &parsed, !names.is_empty()),
        path: path.to_owned(),
        file: label(path),
        names,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        must_staple: ocsp::must_be_stapled(&parsed),
        ocsp: OcspState::Absent,
    };
    Ok((chain, facts))
}

/// The name of a file, without folders: a metric label.
pub(crate) fn label(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
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
    let mut warnings: Vec<_> = out_of_date(facts, now).into_iter().collect();
    if facts.names.is_empty() {
        warnings.push(Warning::NoNames { path: files.cert.clone() });
    }
    if is_exposed(mode) {
        warnings.push(Warning::KeyReadable { path: files.key.clone(), mode });
    }
    warnings
}

/// Whether now is outside of a certificate's validity.
pub(crate) fn out_of_date(facts: &CertificateFacts, now: i64) -> Option<Warning> {
    let path = || facts.path.clone();
    if now > facts.not_after {
        Some(Warning::Expired { path: path(), not_after: facts.not_after })
    } else if now < facts.not_before {
        Some(Warning::NotYetValid { path: path(), not_before: facts.not_before })
    } else {
        None
    }
}

/// What is wrong with the members of a chain behind its first certificate: clients find a chain broken, or take another
/// way.
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
mod rotation_tests;
#[cfg(test)]
mod tests;
