//! Verifies a client's certificate: chain, purpose, dates, revocation, and whether one of its names may come in.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::names::AllowedNames;
use crate::resumption;
use crate::verify::{Listed, unknown_issuer};

/// Verifies the clients of all profiles with one policy.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) webpki: Arc<dyn ClientCertVerifier>,
    /// Certificates in `ca` that a client may present as its own: self-signed ones, without any authority. None with
    /// revocation lists, because nothing could revoke them.
    pub(super) listed: Vec<Listed>,
    pub(super) names: AllowedNames,
}

impl ClientVerifier {
    /// Whether a client with this certificate may come in by its names.
    pub(super) fn allows(&self, certificate: &X509Certificate<'_>) -> bool {
        self.names.allow(certificate)
    }

    fn chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        match self.listed.iter().find(|one| one.is(end_entity)) {
            Some(one) => one.is_current(now),
            None => {
                self.webpki.verify_client_cert(end_entity, intermediates, now).map(drop).map_err(|error| {
                    match error {
                        // A list that does not count tells as much as none, and the alert fits.
                        Error::InvalidCertRevocationList(_) => {
                            CertificateError::UnknownRevocationStatus.into()
                        }
                        other => unknown_issuer(end_entity, other),
                    }
                })
            }
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    /// None where they are many: each client gets them all, and a client without them sends what it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let hints = self.webpki.root_hint_subjects();
        let size: usize = hints.iter().map(|name| name.as_ref().len()).sum();
        if size > MOST_HINTS { &[] } else { hints }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let size = end_entity.len() + intermediates.iter().map(|one| one.len()).sum::<usize>();
        if intermediates.len() > MOST_INTERMEDIATES || size > MOST_BYTES {
            return Err(CertificateError::BadEncoding.into());
        }
        self.chain(end_entity, intermediates, now)?;
        let parsed = parse(end_entity)?;
        if !self.allows(&parsed) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        // What the client sends beyond its chain may only shorten the session's life.
        let mut until = not_after(&parsed);
        for one in intermediates {
            until = until.min(not_after(&parse(one)?));
        }
        resumption::good_until(until);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn parse<'c>(der: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, Error> {
    X509Certificate::from_der(der)
        .map(|(_, parsed)| parsed)
        .map_err(|_broken| CertificateError::BadEncoding.into())
}

/// The end of a certificate's validity, in seconds since 1970.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> u64 {
    u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0)
}

/// Real chains have one or two. Each one more makes the search for a path longer.
const MOST_INTERMEDIATES: usize = 9;
/// Four certificates of ML-DSA-87. A connection keeps its client's chain for as long as it lives.
const MOST_BYTES: usize = 32 * 1024;
/// Of the names of authorities. The field on the wire ends at 64 KiB, and some clients before that.
const MOST_HINTS: usize = 8 * 1024;
