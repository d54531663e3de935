//! Verifies a backend's certificate: chain, name and dates, with one exception for certificates that
//! the operator has listed; or its public key alone, where keys are pinned.
//!
//! webpki alone refuses a self-signed `CA:TRUE` certificate as a server's own, even if the `ca` file
//! contains nothing else, and `openssl req -x509` makes such certificates. A listed certificate that a
//! backend presents as its own, byte for byte, is therefore trusted without a chain. Its dates and name
//! are still checked, and in every case, even with `verify: false`, the certificate's key must have signed
//! the handshake: this proves that the other side holds the key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::failure::Refused;
use crate::pin::Pin;
use crate::provider::provider;
use crate::uri::UriName;

/// Verifies the backends of a pool, which share it.
#[derive(Debug)]
pub(crate) struct Verifier {
    policy: Policy,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Policy {
    /// The chain and the name.
    Chain(Chain),
    /// The public key is one of these.
    Pinned(Vec<Pin>),
    /// Only the handshake's signature.
    SignatureOnly,
}

/// Verifies chain, name and dates; a listed certificate needs no chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) webpki: Arc<WebPkiServerVerifier>,
    pub(crate) listed: Vec<Listed>,
    /// The certificate must have this URI, in place of the name that was asked for.
    pub(crate) uri: Option<UriName>,
}

impl Verifier {
    pub(crate) fn chain(chain: Chain) -> Arc<Self> {
        Self::with(Policy::Chain(chain))
    }

    pub(crate) fn pinned(pins: Vec<Pin>) -> Arc<Self> {
        Self::with(Policy::Pinned(pins))
    }

    pub(crate) fn signature_only() -> Arc<Self> {
        Self::with(Policy::SignatureOnly)
    }

    /// Whether it verifies more than the handshake's signature.
    pub(crate) fn verifies(&self) -> bool {
        !matches!(self.policy, Policy::SignatureOnly)
    }

    fn with(policy: Policy) -> Arc<Self> {
        Arc::new(Self { policy, algorithms: provider().signature_verification_algorithms })
    }
}

impl Chain {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let listed = self.listed.iter().find(|one| one.is(end_entity));
        let Some(uri) = &self.uri else {
            return match listed {
                Some(one) => {
                    one.is_current(now)?;
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)
                }
                None => self.verify_by_webpki(end_entity, intermediates, name, now),
            };
        };
        match listed {
            Some(one) => one.is_current(now)?,
            // webpki looks at the name last, so only the name was wrong, which does not matter here.
            None => match self.verify_by_webpki(end_entity, intermediates, name, now) {
                Ok(())
                | Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => {}
                Err(error) => return Err(error),
            },
        }
        verify_uri(end_entity, uri)
    }

    fn verify_by_webpki(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let verified = self.webpki.verify_server_cert(end_entity, intermediates, name, &[], now);
        verified.map(|_verified| ()).map_err(|error| unknown_issuer(end_entity, error))
    }
}

/// Checks that the certificate has this URI.
fn verify_uri(certificate: &CertificateDer<'_>, uri: &UriName) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_detail| CertificateError::BadEncoding)?;
    let names = parsed.subject_alternative_name().map_err(|_detail| CertificateError::BadEncoding)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    if uri.is_among(&uris) {
        return Ok(());
    }
    let presented = match uris.as_slice() {
        [] => "no URI".to_owned(),
        [first] => (*first).to_owned(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    };
    Err(Refused::OtherUri { expected: uri.to_string(), presented }.into())
}

/// Checks that the certificate's public key is pinned. webpki reads the key, as it does for the handshake's signature:
/// a second parser could find another key in the same bytes.
fn verify_pin(certificate: &CertificateDer<'_>, pins: &[Pin]) -> Result<(), Error> {
    let pin = Pin::of(&ParsedCertificate::try_from(certificate)?.subject_public_key_info());
    if pins.contains(&pin) { Ok(()) } else { Err(Refused::NotPinned(pin.to_string()).into()) }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.policy {
            Policy::Chain(chain) => chain.verify(end_entity, intermediates, server_name, now)?,
            Policy::Pinned(pins) => verify_pin(end_entity, pins)?,
            Policy::SignatureOnly => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Turns two errors of webpki into `UnknownIssuer`, because the operator's remedy is in the `ca` file: a
/// renewed authority with its old name gives a bad signature, and an unlisted self-signed `CA:TRUE`
/// certificate gives a wrong use. Only errors of the chain come here; a bad signature of the handshake
/// stays one.
pub(crate) fn unknown_issuer(end_entity: &CertificateDer<'_>, error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => CertificateError::UnknownIssuer.into(),
        Error::InvalidCertificate(CertificateError::Other(_)) if self_issued(end_entity) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

fn self_issued(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

/// A certificate from a `ca` file, which a backend or a client may present as its own.
#[derive(Debug)]
pub(crate) struct Listed {
    der: CertificateDer<'static>,
    not_before: u64,
    not_after: u64,
    revoked: bool,
}

impl Listed {
    /// `None` if `der` is not an X.509 certificate.
    pub(crate) fn new(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        // Dates before 1970 count as 1970, because the clock is never before that.
        let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
        let not_before = seconds(parsed.validity().not_before.timestamp());
        let not_after = seconds(parsed.validity().not_after.timestamp());
        Some(Self { der, not_before, not_after, revoked: false })
    }

    /// When it expired, if it has expired by `now`; both in seconds since 1970.
    pub(crate) fn ended(&self, now: u64) -> Option<i64> {
        (now > self.not_after).then(|| i64::try_from(self.not_after).unwrap_or(i64::MAX))
    }

    /// The same, refused as revoked if it `is` so.
    pub(crate) fn revoked(self, is: bool) -> Self {
        Self { revoked: is, ..self }
    }

    /// Whether it is this certificate, byte for byte.
    pub(crate) fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        self.der == *certificate
    }

    /// Whether it is valid at this time, and not revoked.
    pub(crate) fn is_current(&self, now: UnixTime) -> Result<(), Error> {
        if now.as_secs() < self.not_before {
            let not_before = unix(self.not_before);
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now.as_secs() > self.not_after {
            let not_after = unix(self.not_after);
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        if self.revoked { Err(CertificateError::Revoked.into()) } else { Ok(()) }
    }
}

/// When a certificate ends, in seconds since 1970; `None` if that cannot be read.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
