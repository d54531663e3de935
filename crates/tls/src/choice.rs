//! The cipher suites and key exchange groups of a profile, in order of preference, and the providers made of them.
//!
//! rustls takes the first suite of the client's list that it has, or of its own under `ignore_client_order`. Of groups
//! it always takes the first of the client's list. So a profile with an order of its own has a provider for each group,
//! and each handshake gets the one for the first group that its client supports.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use crate::offer::Offer;
use crate::provider::{MinVersion, provider, versions};

weir_metrics::closed_set! {
    /// A cipher suite, by IANA's name.
    pub Suite {
        /// TLS 1.3 with AES-256.
        Aes256 = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3 with AES-128.
        Aes128 = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3 with ChaCha20.
        ChaCha20 = "TLS_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2 with AES-256, for ECDSA and Ed25519 certificates.
        EcdsaAes256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2 with AES-128, for ECDSA and Ed25519 certificates.
        EcdsaAes128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2 with ChaCha20, for ECDSA and Ed25519 certificates.
        EcdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2 with AES-256, for RSA certificates.
        RsaAes256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2 with AES-128, for RSA certificates.
        RsaAes128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2 with ChaCha20, for RSA certificates.
        RsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

weir_metrics::closed_set! {
    /// A key exchange group.
    pub Group {
        /// X25519 with ML-KEM-768.
        X25519MlKem768 = "X25519MLKEM768",
        /// P-256 with ML-KEM-768.
        P256MlKem768 = "SecP256r1MLKEM768",
        /// ML-KEM-768 alone.
        MlKem768 = "MLKEM768",
        /// ML-KEM-1024 alone.
        MlKem1024 = "MLKEM1024",
        /// X25519.
        X25519 = "X25519",
        /// NIST P-256, which IANA calls secp256r1.
        P256 = "P-256",
        /// NIST P-384, which IANA calls secp384r1.
        P384 = "P-384",
    }
}

impl Suite {
    fn rustls(self) -> SupportedCipherSuite {
        match self {
            Self::Aes256 => cipher_suite::TLS13_AES_256_GCM_SHA384,
            Self::Aes128 => cipher_suite::TLS13_AES_128_GCM_SHA256,
            Self::ChaCha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            Self::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            Self::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Self::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            Self::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            Self::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            Self::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        }
    }

    /// Whether it is a suite of TLS 1.3. The others are of TLS 1.2.
    #[must_use]
    pub fn is_tls13(self) -> bool {
        matches!(self, Self::Aes256 | Self::Aes128 | Self::ChaCha20)
    }
}

impl Group {
    fn rustls(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::P256MlKem768 => kx_group::SECP256R1MLKEM768,
            Self::MlKem768 => kx_group::MLKEM768,
            Self::MlKem1024 => kx_group::MLKEM1024,
            Self::X25519 => kx_group::X25519,
            Self::P256 => kx_group::SECP256R1,
            Self::P384 => kx_group::SECP384R1,
        }
    }

    /// Whether TLS 1.2 has it too.
    #[must_use]
    pub fn is_for_tls12(self) -> bool {
        self.rustls().usable_for_version(ProtocolVersion::TLSv1_2)
    }
}

/// The versions, suites and groups that a profile speaks.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// All suites and groups.
    pub(crate) provider: Arc<CryptoProvider>,
    /// Providers with one group each, in the profile's order; empty if the client's order decides.
    pub(crate) by_group: Vec<Arc<CryptoProvider>>,
    /// The versions that have a suite.
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// Whether the profile's order of suites decides.
    pub(crate) own_order: bool,
}

impl Choice {
    /// Empty lists stand for rustls' own suites and groups, of which the client's order decides. `None` if no version
    /// has a suite.
    pub(crate) fn new(min: MinVersion, suites: &[Suite], groups: &[Group]) -> Option<Self> {
        let mut all = CryptoProvider::clone(&provider());
        if !suites.is_empty() {
            all.cipher_suites = suites.iter().map(|suite| suite.rustls()).collect();
        }
        if !groups.is_empty() {
            all.kx_groups = groups.iter().map(|group| group.rustls()).collect();
        }
        let has_suite = |version: &&SupportedProtocolVersion| {
            all.cipher_suites.iter().any(|one| one.version() == *version)
        };
        let versions: Vec<_> = versions(min).iter().copied().filter(has_suite).collect();
        let alone = |group: &Group| {
            Arc::new(CryptoProvider { kx_groups: vec![group.rustls()], ..CryptoProvider::clone(&all) })
        };
        // A single group leaves no order to decide.
        let by_group = if groups.len() > 1 { groups.iter().map(alone).collect() } else { Vec::new() };
        let own_order = !suites.is_empty();
        (!versions.is_empty()).then(|| Self { provider: Arc::new(all), by_group, versions, own_order })
    }

    /// Whether it speaks this version.
    pub(crate) fn speaks(&self, version: ProtocolVersion) -> bool {
        self.versions.iter().any(|one| one.version == version)
    }

    /// The number in `by_group` of the first group that the client supports.
    pub(crate) fn group_for(&self, offer: &Offer) -> Option<usize> {
        let version = match offer.tls13 && self.speaks(ProtocolVersion::TLSv1_3) {
            true => ProtocolVersion::TLSv1_3,
            false => ProtocolVersion::TLSv1_2,
        };
        let offered: &[NamedGroup] = offer.groups.as_deref()?;
        self.by_group.iter().position(|provider| {
            provider
                .kx_groups
                .iter()
                .any(|group| group.usable_for_version(version) && offered.contains(&group.name()))
        })
    }
}
