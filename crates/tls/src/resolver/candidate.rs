//! A certificate that a name may get, and whether a client can take it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::choice::Choice;
use crate::offer::Offer;

/// A certificate, and what a client must support to use it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) certified: Arc<CertifiedKey>,
    /// Whether now is within its validity.
    pub(super) is_valid: bool,
    /// The curve of an ECDSA key.
    curve: Option<NamedGroup>,
    /// For each signature of the chain, the schemes of which one must be known to check it.
    signatures: Vec<&'static [SignatureScheme]>,
}

impl Candidate {
    pub(super) fn new(certified: &Arc<CertifiedKey>, is_valid: bool) -> Self {
        let curve = CURVES.into_iter().find(|(scheme, _)| certified.key.choose_scheme(&[*scheme]).is_some());
        Self {
            certified: Arc::clone(certified),
            is_valid,
            curve: curve.map(|(_, group)| group),
            signatures: certified.cert.iter().filter_map(signature).collect(),
        }
    }

    /// Its place among several certificates for one name; the lower goes first.
    ///
    /// ML-DSA goes before all others: each client that can check it can check another kind too, so in any other place
    /// it would never be served. The others are in the order of what a signature costs, as measured: RSA takes the
    /// longest by far. Without this order an RSA certificate that is listed first would always hide the others.
    pub(super) fn rank(&self) -> u8 {
        match (self.is_ml_dsa(), self.curve, self.certified.key.algorithm()) {
            (true, ..) => 0,
            (_, _, SignatureAlgorithm::RSA) => 4,
            (_, Some(NamedGroup::secp521r1), _) => 3,
            (_, Some(NamedGroup::secp384r1), _) => 2,
            _ => 1,
        }
    }

    /// The kind of its key, as a number: that of two keys which sign with the same scheme is the same.
    pub(super) fn kind(&self) -> Option<usize> {
        KINDS.iter().position(|scheme| self.certified.key.choose_scheme(&[*scheme]).is_some())
    }

    /// Whether it has an ML-DSA key, which is for TLS 1.3 alone.
    pub(super) fn is_ml_dsa(&self) -> bool {
        self.certified.key.choose_scheme(&ML_DSA).is_some()
    }

    /// Whether some client could get it in this version, as far as the suites are concerned.
    pub(super) fn has_suite(&self, version: ProtocolVersion, choice: &Choice) -> bool {
        choice.speaks(version) && has_suite(self.certified.key.as_ref(), version, choice, None)
    }

    /// Would a handshake with it succeed, as far as the key is concerned?
    pub(super) fn can_be_used_with(&self, offer: &Offer, choice: &Choice) -> bool {
        let key = &self.certified.key;
        if offer.tls13 && choice.speaks(ProtocolVersion::TLSv1_3) {
            let schemes: Vec<_> = offer.schemes.iter().copied().filter(is_for_tls13).collect();
            return key.choose_scheme(&schemes).is_some();
        }
        // A client cannot use a key on a curve that it does not name (RFC 8422 §5.1), nor a key that fits none of its
        // cipher suites (RFC 5246 §7.4.2).
        let curve_fits = match (self.curve, &offer.groups) {
            (Some(curve), Some(groups)) => groups.contains(&curve),
            _ => true,
        };
        let suite_fits =
            has_suite(key.as_ref(), ProtocolVersion::TLSv1_2, choice, Some(offer.suites.as_slice()));
        curve_fits && suite_fits && key.choose_scheme(&offer.schemes).is_some()
    }

    /// Can the client check every signature of the chain (RFC 8446 §4.2.3, RFC 5246 §7.4.2)?
    pub(super) fn chain_suits(&self, offer: &Offer) -> bool {
        let known = offer.of_certificates.as_ref().unwrap_or(&offer.schemes);
        self.signatures.iter().all(|one| one.iter().any(|scheme| known.contains(scheme)))
    }
}

/// Whether a suite of this version, which the client has too if it is known, works with this key.
fn has_suite(
    key: &dyn SigningKey,
    version: ProtocolVersion,
    choice: &Choice,
    offered: Option<&[CipherSuite]>,
) -> bool {
    choice.provider.cipher_suites.iter().any(|suite| {
        let fits = match suite {
            SupportedCipherSuite::Tls12(suite) => key.choose_scheme(suite.sign).is_some(),
            // A suite of TLS 1.3 says nothing about keys.
            SupportedCipherSuite::Tls13(_) => true,
        };
        suite.version().version == version
            && fits
            && offered.is_none_or(|offered| offered.contains(&suite.suite()))
    })
}

/// A scheme for each kind of key.
const KINDS: [SignatureScheme; 8] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ML_DSA_44,
    SignatureScheme::ML_DSA_65,
    SignatureScheme::ML_DSA_87,
];

/// draft-ietf-tls-mldsa: for TLS 1.3 alone.
const ML_DSA: [SignatureScheme; 3] =
    [SignatureScheme::ML_DSA_44, SignatureScheme::ML_DSA_65, SignatureScheme::ML_DSA_87];

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

/// Signature algorithms of certificates (RFC 8017 appendix A.2, RFC 5758 §3.2, RFC 8410 §3, RFC 9881 §2) as TLS has
/// them.
const ALGORITHMS: [(&str, &[SignatureScheme]); 14] = [
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
    ("2.16.840.1.101.3.4.3.17", &[SignatureScheme::ML_DSA_44]),
    ("2.16.840.1.101.3.4.3.18", &[SignatureScheme::ML_DSA_65]),
    ("2.16.840.1.101.3.4.3.19", &[SignatureScheme::ML_DSA_87]),
];
