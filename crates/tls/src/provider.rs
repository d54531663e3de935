//! The one cryptographic provider, and the protocol versions, that both sides of weir use.
//!
//! The provider is named explicitly everywhere: rustls' process-wide default could be another one as
//! soon as a dependency installs it.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

/// The oldest protocol version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// What can go wrong before any file is read or any byte is sent.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The operating system gave no random bytes, without which no key can be made.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

/// aws-lc-rs with rustls' own choice and order of suites and groups.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The versions that `min` allows, as rustls wants them.
pub(crate) fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        MinVersion::Tls12 => FROM_TLS12,
        MinVersion::Tls13 => FROM_TLS13,
    }
}

static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
