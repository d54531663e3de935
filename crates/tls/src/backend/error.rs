//! What can be wrong with a pool's `tls` section.

use std::path::PathBuf;

use crate::certificate::CertificateProblem;

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
    /// There is no `ca`, and this system has no certificate store that weir finds.
    #[error("no trusted authorities were found on this system")]
    NoSystemRoots,
    /// `server_name` is neither a DNS name nor an address.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    BadServerName {
        /// What was configured.
        name: String,
    },
}

impl BackendTlsError {
    /// The key of the `tls` section that it is about: `ca` or `server_name`.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Ca { .. } | Self::NoAnchor { .. } | Self::NoSystemRoots => "ca",
            Self::BadServerName { .. } => "server_name",
        }
    }

    /// What the operator can do about it; empty where the problem says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ca { problem, .. } => problem.hint(),
            Self::NoAnchor { .. } => "list the authority's certificate, or the backend's own",
            Self::NoSystemRoots => "set `ca`, or install the system's CA certificates (ca-certificates)",
            Self::BadServerName { .. } => "`sni`, `address`, or a name such as backend.internal",
        }
    }
}
