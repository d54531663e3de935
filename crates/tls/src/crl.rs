//! Lists of revoked certificates (CRLs, RFC 5280 §5): from files to what a verifier takes, or every reason why not.
//!
//! A list past its `nextUpdate` stays in force: certificates in it stay revoked, and others are accepted. Refusing all
//! clients because a job that fetches lists has failed would turn a small fault into an outage; operators learn of it
//! by a warning and a metric.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertRevocationListError, RootCertStore};
use weir_files::FileState;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::certificate::{CertificateProblem, label, lists_and_state};
use crate::provider::provider;
use crate::signed::Signed;

/// The facts about a list, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlFacts {
    /// Its file, as configured.
    pub path: PathBuf,
    /// The name of that file, without folders: a metric label.
    pub file: String,
    /// When the next list is due, in seconds since 1970.
    pub next_update: i64,
}

/// A list that a verifier can take.
#[derive(Debug, Clone)]
pub(crate) struct RevocationList {
    pub(crate) der: CertificateRevocationListDer<'static>,
    pub(crate) facts: CrlFacts,
    /// The name of its issuer, in DER.
    issuer: Vec<u8>,
    /// Whether one of the authorities has that name.
    pub(crate) of_an_authority: bool,
}

impl RevocationList {
    /// Whether it has the name of this authority.
    pub(crate) fn is_by(&self, authority: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(authority).is_ok_and(|(_, one)| one.subject().as_raw() == self.issuer)
    }

    /// Whether this certificate is on it. The whole list is parsed if the certificate's issuer is the list's.
    pub(crate) fn revokes(&self, certificate: &X509Certificate<'_>) -> bool {
        self.issuer == certificate.issuer().as_raw()
            && CertificateRevocationList::from_der(&self.der).is_ok_and(|(_, list)| {
                list.iter_revoked_certificates().any(|one| one.raw_serial() == certificate.raw_serial())
            })
    }
}

/// What can be wrong with a file of revocation lists.
#[derive(Debug, thiserror::Error)]
pub enum CrlProblem {
    /// The file cannot be read, or is not PEM or DER.
    #[error(transparent)]
    File(CertificateProblem),
    /// The file has no list.
    #[error("has no list of revoked certificates")]
    NoList,
    /// The list has a form that is not supported, or is broken.
    #[error("the list of revoked certificates cannot be used: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: String,
        /// What helps.
        hint: &'static str,
    },
    /// It has the name of an authority, and another key has signed it.
    #[error("the list of revoked certificates is not signed by the authority whose name it has")]
    BadSignature,
}

impl CrlProblem {
    /// What the operator can do about it; empty where the problem says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(CertificateProblem::TooLarge { .. }) => "is this the right file?",
            Self::File(problem) => problem.hint(),
            Self::NoList => "a list stands between -----BEGIN X509 CRL----- and -----END X509 CRL-----",
            Self::Unusable { hint, .. } => hint,
            Self::BadSignature => {
                "was the authority's key renewed? `openssl crl -CAfile CA -in FILE -noout` checks the signature"
            }
        }
    }
}

/// Reads every list of a file, PEM or DER, and checks each as a verifier would; the file's state comes along.
/// `authorities` are those that may have signed it; lists of others are taken too, because intermediates come with the
/// clients. The first problem counts.
pub(crate) fn read_with_state(
    path: &Path,
    authorities: &[CertificateDer<'static>],
) -> (Result<Vec<RevocationList>, CrlProblem>, FileState) {
    let (lists, state) = lists_and_state(path);
    let checked = match lists {
        Err(problem) => Err(CrlProblem::File(problem)),
        Ok(lists) if lists.is_empty() => Err(CrlProblem::NoList),
        Ok(lists) => lists.into_iter().map(|der| check(path, der, authorities)).collect(),
    };
    (checked, state)
}

/// The same without the state.
pub(crate) fn read(
    path: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<Vec<RevocationList>, CrlProblem> {
    read_with_state(path, authorities).0
}

fn check(
    path: &Path,
    der: CertificateRevocationListDer<'static>,
    authorities: &[CertificateDer<'static>],
) -> Result<RevocationList, CrlProblem> {
    usable(&der, authorities)?;
    let (_, parsed) = CertificateRevocationList::from_der(&der)
        .map_err(|error| CrlProblem::Unusable { reason: error.to_string(), hint: SHOW })?;
    let next_update = parsed
        .next_update()
        .ok_or_else(|| CrlProblem::Unusable { reason: "it has no nextUpdate".into(), hint: "" })?
        .timestamp();
    let named: Vec<_> = authorities
        .iter()
        .filter_map(|one| X509Certificate::from_der(one).ok())
        .map(|(_, one)| one)
        .filter(|one| one.subject().as_raw() == parsed.issuer().as_raw())
        .collect();
    let signed = Signed::read(&der);
    let is_by =
        |one: &X509Certificate<'_>| signed.as_ref().is_some_and(|list| list.is_by(one.public_key().raw));
    if !named.is_empty() && !named.iter().any(is_by) {
        return Err(CrlProblem::BadSignature);
    }
    let facts = CrlFacts { path: path.to_owned(), file: label(path), next_update };
    let (issuer, of_an_authority) = (parsed.issuer().as_raw().to_vec(), !named.is_empty());
    Ok(RevocationList { der, facts, issuer, of_an_authority })
}

/// Whether the verifier's own parser takes the list.
fn usable(
    der: &CertificateRevocationListDer<'static>,
    authorities: &[CertificateDer<'static>],
) -> Result<(), CrlProblem> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls([der.clone()])
        .build();
    let Err(VerifierBuilderError::InvalidCrl(error)) = built else { return Ok(()) };
    let (reason, hint) = match &error {
        CertRevocationListError::UnsupportedCrlVersion => (
            "it is of version 1, without a number".to_owned(),
            "with openssl, `crlnumber` in the section of the authority makes it version 2",
        ),
        CertRevocationListError::UnsupportedDeltaCrl => {
            ("it has only the changes since another list".to_owned(), "give the complete list")
        }
        CertRevocationListError::UnsupportedIndirectCrl => {
            ("it is about certificates of other authorities".to_owned(), "give the list of each authority")
        }
        other => (format!("{other:?}"), SHOW),
    };
    Err(CrlProblem::Unusable { reason, hint })
}

const SHOW: &str = "`openssl crl -noout -text -in FILE` shows what is in it";
