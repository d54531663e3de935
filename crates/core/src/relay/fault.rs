//! Why one direction of a relay failed.

use std::io;

/// Why a direction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowError {
    /// Reading from its source failed.
    Source(io::ErrorKind),
    /// Writing to its destination failed.
    Destination(io::ErrorKind),
    /// Its source ended TLS without close_notify, and the rule turns that into a reset.
    Truncated,
}
