//! Is this backend the one we mean? Chain, name and dates, with one exception for certificates that
//! the operator has listed by hand.
//!
//! webpki alone refuses a self-signed `CA:TRUE` certificate as a server's own, even when it is the
//! only thing in the `ca` file; and that is what `openssl req -x509` makes. A listed certificate that
//! a backend presents itself, byte for byte, is therefore trusted as it stands. Its dates and its name
//! still count, and in every case, `verify: false` included, the handshake's signature must be the
//! certificate's: it proves that the other side holds the key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::provider::provider;

/// How a pool's backends are judged; shared by all of them.
#[derive(Debug)]
pub(crate) struct Verifier {
    judge: Judge,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Judge {
    /// Chain and name, or listed and name.
    Chain { webpki: Arc<WebPkiServerVerifier>, listed: Vec<Listed> },
    /// Nothing but the signature.
    Nobody,
}

impl Verifier {
    pub(crate) fn chain(webpki: Arc<WebPkiServerVerifier>, listed: Vec<Listed>) -> Arc<Self> {
        Self::with(Judge::Chain { webpki, listed })
    }

    pub(crate) fn nobody() -> Arc<Self> {
        Self::with(Judge::Nobody)
    }

    /// Does it judge more than the signature?
    pub(crate) fn judges(&self) -> bool {
        matches!(self.judge, Judge::Chain { .. })
    }

    fn with(judge: Judge) -> Arc<Self> {
        Arc::new(Self { judge, algorithms: provider().signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Judge::Chain { webpki, listed } = &self.judge else {
            return Ok(ServerCertVerified::assertion());
        };
        match listed.iter().find(|one| one.der == *end_entity) {
            Some(one) => one.verify(server_name, now),
            None => webpki
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| nobody_we_trust(end_entity, error)),
        }
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

/// Two causes that webpki names after the step at which it stumbled, and the operator after what is
/// missing in the `ca` file: an authority made anew under its old name looks like a forged signature,
/// and a self-signed `CA:TRUE` certificate that is not listed like a misused one. Only the chain is
/// judged here; a forged signature of the handshake keeps its name.
fn nobody_we_trust(end_entity: &CertificateDer<'_>, error: Error) -> Error {
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

/// A certificate from a `ca` file, which a backend may present as its own.
#[derive(Debug)]
pub(crate) struct Listed {
    der: CertificateDer<'static>,
    not_before: u64,
    not_after: u64,
}

impl Listed {
    /// `None` if it is not X.509.
    pub(crate) fn new(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        // A date before 1970 is as good as 1970: no clock of ours is before it.
        let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or(0);
        let not_before = seconds(parsed.validity().not_before.timestamp());
        let not_after = seconds(parsed.validity().not_after.timestamp());
        Some(Self { der, not_before, not_after })
    }

    /// When it ended, if it has by `now`; both in seconds since 1970.
    pub(crate) fn ended(&self, now: u64) -> Option<i64> {
        (now > self.not_after).then(|| i64::try_from(self.not_after).unwrap_or(i64::MAX))
    }

    fn verify(&self, name: &ServerName<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
        if now.as_secs() < self.not_before {
            let not_before = unix(self.not_before);
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now.as_secs() > self.not_after {
            let not_after = unix(self.not_after);
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(&self.der)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
