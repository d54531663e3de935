//! Warnings that do not stop a configuration, unlike errors, but are logged at start: an expired
//! certificate, a key that others can read, unverified backends.

use std::fmt;
use std::path::PathBuf;

use crate::agreed::Version;
use crate::date::date;
use crate::ocsp_problem::OcspProblem;

/// A warning about a profile or a pool that still works.
/// `Display` gives one sentence for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The certificate has expired. It is served all the same, because refusing to start would take down
    /// the names whose certificates are valid.
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// The certificate is not valid yet; most often a clock is wrong.
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// The start of its validity, in seconds since 1970.
        not_before: i64,
    },
    /// Group or others may read the private key.
    KeyReadable {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits, for instance 0o644.
        mode: u32,
    },
    /// The certificate has no DNS name, so no SNI selects it.
    NoNames {
        /// The certificate's file.
        path: PathBuf,
    },
    /// No cipher suite of the profile works with the certificate's key in this version, so its clients never get it.
    NoSuite {
        /// The certificate's file.
        path: PathBuf,
        /// The version.
        version: Version,
    },
    /// Two certificates have a name in common, and keys of the same kind: one of them is never chosen for that name.
    SameName {
        /// The file of the certificate that is served.
        served: PathBuf,
        /// The file of the other one.
        path: PathBuf,
        /// The name; there may be more.
        name: String,
    },
    /// An entry of a `directory` cannot be used; the others serve.
    EntryRefused {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A `directory` has no certificate.
    DirectoryEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A `directory` has too many certificates.
    DirectoryCut {
        /// The folder.
        path: PathBuf,
        /// How many of them, by name, are used.
        taken: usize,
    },
    /// A certificate in a `ca` file cannot be a trust anchor and is skipped.
    CaSkipped {
        /// The `ca` file.
        path: PathBuf,
        /// The position of the certificate in the file, from 1.
        position: usize,
    },
    /// A certificate of a chain, after the first one, does not help the chain.
    Member {
        /// The certificate's file.
        path: PathBuf,
        /// The position of the certificate in the file, from 1.
        position: usize,
        /// The problem.
        problem: MemberProblem,
    },
    /// An OCSP response is not stapled.
    Ocsp {
        /// The response's file.
        path: PathBuf,
        /// Why.
        problem: OcspProblem,
    },
    /// The certificate asks for a stapled OCSP response (RFC 7633), and has none that is valid.
    MustStaple {
        /// The certificate's file.
        path: PathBuf,
    },
    /// An authority in a `ca` file has expired: certificates signed by it are no longer trusted.
    CaExpired {
        /// The `ca` file.
        path: PathBuf,
        /// The position of the certificate in the file, from 1.
        position: usize,
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// A revocation list is past its `nextUpdate`: it stays in force, and certificates revoked since are not refused.
    CrlStale {
        /// The list's file.
        path: PathBuf,
        /// When the next list was due, in seconds since 1970.
        next_update: i64,
    },
    /// A revocation list is by none of the authorities in `ca`; it serves for intermediates that clients present.
    CrlForeign {
        /// The list's file.
        path: PathBuf,
    },
    /// There are revocation lists, but none of this authority: its certificates are refused.
    CaWithoutCrl {
        /// The `ca` file.
        path: PathBuf,
        /// The position of the certificate in the file, from 1.
        position: usize,
    },
    /// weir's own certificate for backends says that it is not for clients.
    NotForClients {
        /// The certificate's file.
        path: PathBuf,
    },
    /// `verify: false`: a machine that can answer at the backend's address can read and change the
    /// traffic to it.
    Unverified,
}

/// A problem with a certificate of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberProblem {
    /// It is not X.509.
    Unreadable,
    /// It is not the issuer of the one before it.
    Misplaced,
    /// It has expired.
    Expired {
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// It is not valid yet.
    NotYetValid {
        /// The start of its validity, in seconds since 1970.
        not_before: i64,
    },
}

impl fmt::Display for MemberProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("cannot be parsed"),
            Self::Misplaced => f.write_str("did not issue the one before it"),
            Self::Expired { not_after } => write!(f, "expired on {}", date(*not_after)),
            Self::NotYetValid { not_before } => write!(f, "is not valid before {}", date(*not_before)),
        }
    }
}

impl Warning {
    /// Those that are about several certificates.
    fn of_several(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameName { served, path, name } => {
                let (served, path) = (served.display(), path.display());
                write!(
                    f,
                    "{path}: {served} has the name {name} too, and the same kind of key; of valid ones, the one that lasts longest is served"
                )
            }
            // The reason begins with the file that it is about.
            Self::EntryRefused { path: _, reason } => write!(f, "passed over: {reason}"),
            Self::DirectoryEmpty { path } => {
                write!(
                    f,
                    "{}: this folder has no certificate yet; NAME/fullchain.pem with NAME/privkey.pem, NAME/tls.crt with NAME/tls.key, and NAME.pem with both are found",
                    path.display()
                )
            }
            Self::DirectoryCut { path, taken } => {
                write!(
                    f,
                    "{}: this folder has too many or too large certificates: the first {taken} by name are used",
                    path.display()
                )
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { path, not_after } => {
                write!(f, "{}: the certificate expired on {}", path.display(), date(*not_after))
            }
            Self::NotYetValid { path, not_before } => {
                write!(f, "{}: the certificate is not valid before {}", path.display(), date(*not_before))
            }
            Self::KeyReadable { path, mode } => {
                let path = path.display();
                write!(f, "{path}: group or others can read this private key (mode {mode:04o}); chmod 600 it")
            }
            Self::NoNames { path } => {
                write!(f, "{}: the certificate has no DNS name, so no SNI selects it", path.display())
            }
            Self::NoSuite { path, version } => {
                let (path, version) = (path.display(), version.label());
                write!(
                    f,
                    "{path}: none of `cipher_suites` works with this key in TLS {version}, so no TLS {version} client gets it"
                )
            }
            Self::SameName { .. }
            | Self::EntryRefused { .. }
            | Self::DirectoryEmpty { .. }
            | Self::DirectoryCut { .. } => self.of_several(f),
            Self::CaSkipped { path, position } => {
                write!(f, "{}: certificate {position} cannot be a trust anchor; passed over", path.display())
            }
            Self::Member { path, position, problem } => {
                write!(f, "{}: certificate {position} of the chain {problem}", path.display())
            }
            Self::Ocsp { path, problem } => {
                write!(f, "{}: not stapled, because it {problem}", path.display())
            }
            Self::MustStaple { path } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: the certificate demands a stapled OCSP response, and has no valid one: clients may refuse it"
                )
            }
            Self::CaExpired { path, position, not_after } => {
                write!(f, "{}: authority {position} expired on {}", path.display(), date(*not_after))
            }
            Self::CrlStale { path, next_update } => {
                let path = path.display();
                let due = date(*next_update);
                write!(
                    f,
                    "{path}: the next list of revoked certificates was due on {due}; this one stays in force"
                )
            }
            Self::CrlForeign { path } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: no authority in `ca` has issued this list, so it serves for intermediates alone"
                )
            }
            Self::CaWithoutCrl { path, position } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: `crl` has no list of authority {position}, so the certificates it issues are refused"
                )
            }
            Self::NotForClients { path } => {
                write!(f, "{}: the certificate's extended key usage lacks clientAuth", path.display())
            }
            Self::Unverified => f.write_str("the backends' certificates are not verified (verify: false)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_one_readable_sentence() {
        let expired = Warning::Expired { path: "a.pem".into(), not_after: 1_700_000_000 };
        assert_eq!(expired.to_string(), "a.pem: the certificate expired on Nov 14 22:13:20 2023 +00:00");
        let key = Warning::KeyReadable { path: "a.key".into(), mode: 0o644 };
        assert!(key.to_string().contains("0644"), "{key}");
        assert_eq!(date(i64::MAX), i64::MAX.to_string());
    }
}
