//! A certificate that a name may get, and whether a client can take it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, NamedGroup, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::offer::Offer;
use crate::provider::provider;

/// A certificate, and what a client must support to use it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) certified: Arc<CertifiedKey>,
    /// The curve of an ECDSA key.
    curve: Option<NamedGroup>,
    /// For each signature of the chain, the schemes of which one must be known to check it.
    signatures: Vec<&'static [SignatureScheme]>,
}

impl Candidate {
    pub(super) fn new(certified: &Arc<CertifiedKey>) -> Self {
        let curve = CURVES.into_iter().find(|(scheme, _)| certified.key.choose_scheme(&[*scheme]).is_some());
        Self {
            certified: Arc::clone(certified),
            curve: curve.map(|(_, group)| group),
            signatures: certified.cert.iter().filter_map(signature).collect(),
        }
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// Would a handshake with it succeed, as far as the key is concerned?
    pub(super) fn can_be_used_with(&self, offer: &Offer) -> bool {
        let key = &self.certified.key;
        if offer.tls13 {
            let schemes: Vec<_> = offer.schemes.iter().copied().filter(is_for_tls13).collect();
            return key.choose_scheme(&schemes).is_some();
        }
        // A client cannot use a key on a curve that it does not name (RFC 8422 §5.1), nor a key that fits none of its
        // cipher suites (RFC 5246 §7.4.2).
        let curve_fits = match (self.curve, &offer.groups) {
            (Some(curve), Some(groups)) => groups.contains(&curve),
            _ => true,
        };
        let suite_fits = provider().cipher_suites.iter().any(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => {
                offer.suites.contains(&suite.common.suite) && key.choose_scheme(suite.sign).is_some()
            }
            SupportedCipherSuite::Tls13(_) => false,
        });
        curve_fits && suite_fits && key.choose_scheme(&offer.schemes).is_some()
    }

    /// Can the client check every signature of the chain (RFC 8446 §4.2.3, RFC 5246 §7.4.2)?
    pub(super) fn chain_suits(&self, offer: &Offer) -> bool {
        let known = offer.of_certificates.as_ref().unwrap_or(&offer.schemes);
        self.signatures.iter().all(|one| one.iter().any(|scheme| known.contains(scheme)))
    }
}

/// The schemes by which the signature of a certificate can be checked. `None` for a self-signed certificate,
/// which clients do not check; no scheme if TLS does not know the algorithm.
fn signature(certificate: &CertificateDer<'_>) -> Option<&'static [SignatureScheme]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    if parsed.subject() == parsed.issuer() {
        return None;
    }
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    let known = ALGORITHMS.iter().find(|(id, _)| *id == algorithm);
    Some(known.map_or(&[], |(_, schemes)| schemes))
}

/// RFC 8446 §4.2.3: the others may sign certificates, but no handshake.
fn is_for_tls13(scheme: &SignatureScheme) -> bool {
    !matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
            | SignatureScheme::ECDSA_SHA1_Legacy
    )
}

/// A suite of TLS 1.3, which says nothing about keys.
pub(super) fn is_tls13(suite: &CipherSuite) -> bool {
    u16::from(*suite) >> 8 == 0x13
}

/// Curves of ECDSA keys, by the scheme that such a key signs with.
const CURVES: [(SignatureScheme, NamedGroup); 3] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, NamedGroup::secp256r1),
    (SignatureScheme::ECDSA_NISTP384_SHA384, NamedGroup::secp384r1),
    (SignatureScheme::ECDSA_NISTP521_SHA512, NamedGroup::secp521r1),
];

/// Signature algorithms of certificates (RFC 8017 appendix A.2, RFC 5758 §3.2, RFC 8410 §3) as TLS has them.
const ALGORITHMS: [(&str, &[SignatureScheme]); 11] = [
    ("1.2.840.113549.1.1.5", &[SignatureScheme::RSA_PKCS1_SHA1]),
    ("1.2.840.113549.1.1.11", &[SignatureScheme::RSA_PKCS1_SHA256]),
    ("1.2.840.113549.1.1.12", &[SignatureScheme::RSA_PKCS1_SHA384]),
    ("1.2.840.113549.1.1.13", &[SignatureScheme::RSA_PKCS1_SHA512]),
    // PSS: which hash it is stands in the parameters, and a client knows all of them or none.
    (
        "1.2.840.113549.1.1.10",
        &[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::Unknown(0x0809),
            SignatureScheme::Unknown(0x080a),
            SignatureScheme::Unknown(0x080b),
        ],
    ),
    ("1.2.840.10045.4.1", &[SignatureScheme::ECDSA_SHA1_Legacy]),
    ("1.2.840.10045.4.3.2", &[SignatureScheme::ECDSA_NISTP256_SHA256]),
    ("1.2.840.10045.4.3.3", &[SignatureScheme::ECDSA_NISTP384_SHA384]),
    ("1.2.840.10045.4.3.4", &[SignatureScheme::ECDSA_NISTP521_SHA512]),
    ("1.3.101.112", &[SignatureScheme::ED25519]),
    ("1.3.101.113", &[SignatureScheme::ED448]),
];
