//! The errors of a pool's `tls` section.

use std::path::PathBuf;

use crate::certificate::{CertificateError, CertificateFile, CertificateProblem};
use crate::crl::CrlProblem;
use crate::rotation::Rotation;
use crate::uri::UriError;

/// One problem with how a pool speaks TLS to its backends.
#[derive(Debug, thiserror::Error)]
pub enum BackendTlsError {
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
    /// `ca` is not set, and weir finds no certificate store on this system.
    #[error("no trusted authorities were found on this system")]
    NoSystemRoots,
    /// A file of `crl` is unreadable, or has a list that cannot be used.
    #[error("{}: {problem}", path.display())]
    Crl {
        /// The entry of `crl`, from 0.
        entry: usize,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: CrlProblem,
    },
    /// `crl` without `ca`.
    #[error("`crl` needs `ca`: the lists are of the authorities in it")]
    ListWithoutCa,
    /// weir's own certificate or its key cannot be used.
    #[error(transparent)]
    ClientCert(CertificateError),
    /// `server_name` is no URI, though it looks like one.
    #[error("{name:?}: {problem}")]
    BadUri {
        /// The configured value.
        name: String,
        /// What is wrong with it.
        #[source]
        problem: UriError,
    },
    /// `server_name` is neither a DNS name nor an address.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    BadServerName {
        /// The configured value.
        name: String,
    },
}

impl BackendTlsError {
    /// What becomes of a change of files that has this error.
    pub(super) fn refusal(&self) -> Rotation {
        let path = match self {
            Self::Ca { path, .. } | Self::NoAnchor { path } | Self::Crl { path, .. } => path.clone(),
            Self::ClientCert(error) => error.path.clone(),
            Self::ListWithoutCa | Self::NoSystemRoots | Self::BadUri { .. } | Self::BadServerName { .. } => {
                PathBuf::new()
            }
        };
        let reason = match self {
            Self::Ca { problem, .. } => problem.to_string(),
            Self::Crl { problem, .. } => problem.to_string(),
            Self::ClientCert(error) => error.problem.to_string(),
            other => other.to_string(),
        };
        Rotation::Refused { path, reason, serves_on: true }
    }

    /// The key of the `tls` section that the error is about.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Ca { .. } | Self::NoAnchor { .. } | Self::NoSystemRoots => "ca",
            Self::Crl { .. } | Self::ListWithoutCa => "crl",
            Self::ClientCert(_) => "client_cert",
            Self::BadServerName { .. } | Self::BadUri { .. } => "server_name",
        }
    }

    /// The entry of the key's list that the error is about, from 0.
    #[must_use]
    pub const fn entry(&self) -> Option<usize> {
        match self {
            Self::Crl { entry, .. } => Some(*entry),
            _ => None,
        }
    }

    /// The file of `client_cert` that the error is about.
    #[must_use]
    pub const fn file(&self) -> Option<CertificateFile> {
        match self {
            Self::ClientCert(error) => Some(error.file),
            _ => None,
        }
    }

    /// What the operator can do about it; empty if the message suffices.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ca { problem, .. } => problem.hint(),
            Self::Crl { problem, .. } => problem.hint(),
            Self::ListWithoutCa => "name the authorities of the backends in `ca`",
            Self::ClientCert(error) => error.hint(),
            Self::BadUri { problem, .. } => problem.hint(),
            Self::NoAnchor { .. } => "list the authority's certificate, or the backend's own",
            Self::NoSystemRoots => "set `ca`, or install the system's CA certificates (ca-certificates)",
            Self::BadServerName { .. } => {
                "`sni`, `address`, a name such as backend.internal, or a URI such as spiffe://example.org/payments"
            }
        }
    }
}
