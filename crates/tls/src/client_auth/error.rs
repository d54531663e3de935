//! The errors of a profile's `client_auth` section.

use std::path::{Path, PathBuf};

use crate::certificate::CertificateProblem;
use crate::crl::CrlProblem;

/// One problem with how a profile asks clients for certificates.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthError {
    /// The `ca` file is unreadable or has no certificate.
    #[error("{}: {problem}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: CertificateProblem,
    },
    /// None of the certificates in the `ca` file can be a trust anchor.
    #[error("{}: none of its certificates can be a trust anchor", path.display())]
    NoAnchor {
        /// The file.
        path: PathBuf,
    },
    /// A file of `crl` cannot be used.
    #[error("{}: {problem}", path.display())]
    Crl {
        /// The entry in `crl`, from 0.
        entry: usize,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: CrlProblem,
    },
}

impl ClientAuthError {
    /// The entry of `crl` that the error is about, from 0; `None` if it is about `ca`.
    #[must_use]
    pub const fn crl(&self) -> Option<usize> {
        match self {
            Self::Crl { entry, .. } => Some(*entry),
            Self::Ca { .. } | Self::NoAnchor { .. } => None,
        }
    }

    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Ca { path, .. } | Self::NoAnchor { path } | Self::Crl { path, .. } => path,
        }
    }

    /// What the operator can do about it; empty if the message suffices.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ca { problem, .. } => problem.hint(),
            Self::NoAnchor { .. } => {
                "list the certificate of the authority that issues the clients' certificates"
            }
            Self::Crl { problem, .. } => problem.hint(),
        }
    }
}
