//! What this build is, as `--version`, the metrics and the status say it.

/// The version of weir.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The compiler that made it.
pub(crate) const RUSTC: &str = env!("WEIR_RUSTC");
/// The library that all keys and ciphers come from.
pub(crate) const CRYPTO: &str = "aws-lc-rs";
