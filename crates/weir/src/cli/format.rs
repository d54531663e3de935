//! How a verb writes its answer.

use clap::ValueEnum;

/// How a verb writes its answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs, on stdout
    Json,
}
