//! OCSP responses (RFC 6960) that are stapled to certificates: a response is stapled only if it says, under the
//! signature of the certificate's issuer or of a responder that the issuer named, that this certificate is good now.
//!
//! In: the bytes of a file, the chain, the time. Out: a [`Staple`], or the [`OcspProblem`] that forbids it. Pure.

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use rustls::pki_types::CertificateDer;
use weir_metrics::labels::OcspResult;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus,
    ResponderId, SingleResponse,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ocsp_problem::{CLOCKS, OcspProblem};
use crate::signed::Signed;

/// A response that may be stapled, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staple {
    /// The response as its file has it.
    pub(crate) response: Vec<u8>,
    /// The end of its validity, in seconds since 1970.
    pub(crate) next_update: i64,
}

/// What became of a certificate's OCSP response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OcspState {
    /// The certificate has no file of a response.
    #[default]
    Absent,
    /// The response is stapled.
    Stapled {
        /// The end of its validity, in seconds since 1970.
        next_update: i64,
    },
    /// The response is not stapled.
    Refused(OcspProblem),
}

impl OcspState {
    /// Its word in metrics; `None` without a response.
    #[must_use]
    pub fn result(&self) -> Option<OcspResult> {
        Some(match self {
            Self::Absent => return None,
            Self::Stapled { .. } => OcspResult::Stapled,
            Self::Refused(problem) => match problem {
                OcspProblem::Expired { .. } => OcspResult::Expired,
                OcspProblem::NotYetValid { .. } => OcspResult::NotYetValid,
                OcspProblem::Revoked { .. } => OcspResult::Revoked,
                OcspProblem::Unknown => OcspResult::Unknown,
                OcspProblem::Missing
                | OcspProblem::Unreadable { .. }
                | OcspProblem::TooLarge { .. }
                | OcspProblem::Empty
                | OcspProblem::Pem
                | OcspProblem::Malformed { .. }
                | OcspProblem::NoAnswer { .. }
                | OcspProblem::NoIssuer
                | OcspProblem::OtherCertificate
                | OcspProblem::BadSignature => OcspResult::Unusable,
            },
        })
    }

    /// Has the time of a response come that was read before it?
    pub(crate) fn has_come(&self, now: i64) -> bool {
        matches!(self, Self::Refused(problem) if problem.begins().is_some_and(|begins| begins <= now))
    }

    /// The state after a staple whose time has come by `now`; `None` if nothing changes.
    pub(crate) fn ended(&self, now: i64) -> Option<Self> {
        match self {
            Self::Stapled { next_update } if is_over(*next_update, now) => {
                Some(Self::Refused(OcspProblem::Expired { next_update: *next_update }))
            }
            _ => None,
        }
    }
}

fn is_over(next_update: i64, now: i64) -> bool {
    now >= next_update.saturating_sub(MARGIN)
}

impl Staple {
    /// Checks the response in `bytes` for the first certificate of `chain`; `now` in seconds since 1970.
    ///
    /// # Errors
    /// Why it must not be stapled.
    pub(crate) fn check(bytes: &[u8], chain: &[CertificateDer<'_>], now: i64) -> Result<Self, OcspProblem> {
        let basic = basic_response(bytes)?;
        let parsed = BasicOcspResponse::from_der(&basic).map_err(|error| malformed(&error))?;
        let embedded: Vec<Vec<u8>> =
            parsed.certs.iter().flatten().filter_map(|one| one.to_der().ok()).collect();
        let leaf_der = chain.first().ok_or(OcspProblem::NoIssuer)?;
        let leaf = certificate(leaf_der).ok_or(OcspProblem::NoIssuer)?;
        let known = chain.iter().map(AsRef::as_ref).chain(embedded.iter().map(Vec::as_slice));
        let issuer = known
            .filter_map(certificate)
            .find(|one| issued(one, &leaf, leaf_der))
            .ok_or(OcspProblem::NoIssuer)?;
        let mut answers = parsed.tbs_response_data.responses.iter();
        let answer = answers
            .find(|one| is_about(&one.cert_id, &leaf, &issuer))
            .ok_or(OcspProblem::OtherCertificate)?;
        let signed = Signed::read(&basic).ok_or(OcspProblem::BadSignature)?;
        let responder = &parsed.tbs_response_data.responder_id;
        if !is_signed(&signed, responder, &issuer, &embedded, now) {
            return Err(OcspProblem::BadSignature);
        }
        let next_update = good_until(answer, now)?;
        Ok(Self { response: bytes.to_vec(), next_update })
    }
}

/// Does the certificate ask for a stapled response: has it the TLS feature `status_request` (RFC 7633)?
pub(super) fn must_be_stapled(certificate: &X509Certificate<'_>) -> bool {
    let features = certificate.extensions().iter().filter(|one| one.oid.as_bytes() == TLS_FEATURE.as_bytes());
    let mut features = features.filter_map(|one| <Vec<u16> as Decode>::from_der(one.value).ok());
    features.any(|listed| listed.contains(&STATUS_REQUEST))
}

/// The basic response inside a successful answer.
fn basic_response(bytes: &[u8]) -> Result<Vec<u8>, OcspProblem> {
    if bytes.is_empty() {
        return Err(OcspProblem::Empty);
    }
    if bytes.starts_with(b"-----BEGIN") {
        return Err(OcspProblem::Pem);
    }
    let response = OcspResponse::from_der(bytes).map_err(|error| malformed(&error))?;
    let status = match response.response_status {
        OcspResponseStatus::Successful => None,
        OcspResponseStatus::MalformedRequest => Some("malformedRequest"),
        OcspResponseStatus::InternalError => Some("internalError"),
        OcspResponseStatus::TryLater => Some("tryLater"),
        OcspResponseStatus::SigRequired => Some("sigRequired"),
        OcspResponseStatus::Unauthorized => Some("unauthorized"),
    };
    if let Some(status) = status {
        return Err(OcspProblem::NoAnswer { status });
    }
    match response.response_bytes {
        Some(inner) if inner.response_type == BASIC => Ok(inner.response.into_bytes()),
        _ => Err(OcspProblem::Malformed { reason: "no basic response".to_owned() }),
    }
}

fn malformed(error: &der::Error) -> OcspProblem {
    OcspProblem::Malformed { reason: error.to_string() }
}

fn certificate(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, one)| one)
}

/// Did `issuer` sign `certificate`? By its name and its key; a self-signed certificate has signed itself.
fn issued(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>, der: &[u8]) -> bool {
    issuer.subject().as_raw() == certificate.issuer().as_raw()
        && Signed::read(der).is_some_and(|signed| signed.is_by(issuer.public_key().raw))
}

/// Is this the answer about `certificate`, by its serial number and the hashes of its issuer (RFC 6960 §4.1.1)?
fn is_about(id: &CertId, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let Some((_, algorithm)) = HASHES.iter().find(|(hash, _)| *hash == id.hash_algorithm.oid) else {
        return false;
    };
    let is_hash = |bytes: &[u8], of: &[u8]| digest::digest(algorithm, of).as_ref() == bytes;
    unpadded(id.serial_number.as_bytes()) == unpadded(certificate.raw_serial())
        && is_hash(id.issuer_name_hash.as_bytes(), certificate.issuer().as_raw())
        && is_hash(id.issuer_key_hash.as_bytes(), &issuer.public_key().subject_public_key.data)
}

/// A number without the zeros in front that keep it positive.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Is the response signed by the issuer, or by a responder whose certificate the issuer signed for this use
/// (RFC 6960 §4.2.2.2)?
fn is_signed(
    response: &Signed<'_>,
    responder: &ResponderId,
    issuer: &X509Certificate<'_>,
    embedded: &[Vec<u8>],
    now: i64,
) -> bool {
    if is_responder(responder, issuer) && response.is_by(issuer.public_key().raw) {
        return true;
    }
    embedded.iter().any(|der| {
        certificate(der).is_some_and(|one| {
            let may = one.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
            let validity = one.validity();
            let valid = validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp();
            may && valid
                && is_responder(responder, &one)
                && response.is_by(one.public_key().raw)
                && issued(issuer, &one, der)
        })
    })
}

/// Does the response name `certificate` as its signer? A client that finds another signer refuses the response.
fn is_responder(responder: &ResponderId, certificate: &X509Certificate<'_>) -> bool {
    match responder {
        ResponderId::ByName(name) => name.to_der().is_ok_and(|name| name == certificate.subject().as_raw()),
        ResponderId::ByKey(hash) => {
            let key = &certificate.public_key().subject_public_key.data;
            hash.as_bytes() == digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref()
        }
    }
}

/// The end of an answer that says that the certificate is good now.
fn good_until(answer: &SingleResponse, now: i64) -> Result<i64, OcspProblem> {
    match &answer.cert_status {
        CertStatus::Good(_) => {}
        CertStatus::Revoked(revoked) => {
            return Err(OcspProblem::Revoked { since: seconds(&revoked.revocation_time) });
        }
        CertStatus::Unknown(_) => return Err(OcspProblem::Unknown),
    }
    let begins = seconds(&answer.this_update);
    if begins > now.saturating_add(CLOCKS) {
        return Err(OcspProblem::NotYetValid { this_update: begins });
    }
    let next_update = answer.next_update.as_ref().map_or(begins.saturating_add(DAY), seconds);
    if is_over(next_update, now) { Err(OcspProblem::Expired { next_update }) } else { Ok(next_update) }
}

fn seconds(time: &OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// id-pkix-ocsp-basic (RFC 6960 §4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// id-pe-tlsfeature (RFC 7633 §4), and the number of the hello's extension (RFC 6066 §8).
const TLS_FEATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");
const STATUS_REQUEST: u16 = 5;

/// The hashes by which a response may name an issuer.
static HASHES: [(ObjectIdentifier, &Algorithm); 4] = [
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), &SHA1_FOR_LEGACY_USE_ONLY),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), &SHA256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), &SHA384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), &SHA512),
];

/// A response without `nextUpdate` names no end. Clients that take one at all take it for a day (Mozilla's do).
const DAY: i64 = 24 * 60 * 60;
/// A staple goes two seconds before its end: the clock is read once a second, and the response must still arrive.
const MARGIN: i64 = 2;

#[cfg(test)]
mod tests;
