//! What became of files that changed while they are in use: for the log, the metrics and people.

use std::path::PathBuf;

use crate::secret::SecretName;
use crate::warning::Warning;

/// What became of a change of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The new content is served from the next handshake on.
    Served {
        /// The certificate's file.
        path: PathBuf,
        /// Its names.
        names: Vec<String>,
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
        /// Nothing was served from this file before.
        new: bool,
        /// What is wrong with it all the same.
        warnings: Vec<Warning>,
    },
    /// The new content decides from the next handshake on which peers weir trusts, or which certificate it shows to
    /// backends. No session that began before is resumed.
    InForce {
        /// The file, or the first of several.
        path: PathBuf,
        /// Whose certificates it is about.
        of: Peers,
        /// What is wrong with it all the same.
        warnings: Vec<Warning>,
    },
    /// The new content is not used.
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Whether the earlier content is used on; else there is none.
        serves_on: bool,
    },
    /// The secrets of the fleet are these from now on.
    Secrets {
        /// Their names, in order: the first seals.
        names: Vec<SecretName>,
        /// What is wrong with them all the same.
        warnings: Vec<String>,
    },
    /// The file of a secret has changed, and gives none; the earlier secrets stay in force.
    SecretRefused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is gone from its folder, and no longer served.
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// The change is in use, and something is wrong with what is served now.
    Warned(Warning),
}

/// The peers whose certificates weir verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// By `client_auth` of a profile.
    Clients,
    /// By `tls` of a pool.
    Backends,
}
