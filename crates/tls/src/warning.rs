//! What is accepted, and said aloud at start: an expired certificate, a key that others can read, a
//! backend that nobody verifies. Errors stop a configuration; these do not.

use std::fmt;
use std::path::PathBuf;

use x509_parser::time::ASN1Time;

/// Something an operator should know about a profile or a pool that works all the same.
/// `Display` gives one sentence for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The certificate has expired. It is served, because a refused start would take down the names
    /// that are still good.
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
    /// The certificate names no DNS name: no SNI ever selects it.
    NoNames {
        /// The certificate's file.
        path: PathBuf,
    },
    /// A certificate in a `ca` file cannot be a trust anchor and is passed over.
    CaSkipped {
        /// The `ca` file.
        path: PathBuf,
        /// Which certificate of the file, counted from 1.
        position: usize,
    },
    /// A certificate of a chain, behind the first one, does not do what it stands there for.
    Member {
        /// The certificate's file.
        path: PathBuf,
        /// Which certificate of the file, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: MemberProblem,
    },
    /// An authority in a `ca` file has expired: what it signed is not trusted any more.
    CaExpired {
        /// The `ca` file.
        path: PathBuf,
        /// Which certificate of the file, counted from 1.
        position: usize,
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// `verify: false`: anyone who can answer for the backend's address can read and change what
    /// goes to it.
    Unverified,
}

/// What is wrong with a member of a chain.
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
            Self::CaSkipped { path, position } => {
                write!(f, "{}: certificate {position} cannot be a trust anchor; passed over", path.display())
            }
            Self::Member { path, position, problem } => {
                write!(f, "{}: certificate {position} of the chain {problem}", path.display())
            }
            Self::CaExpired { path, position, not_after } => {
                write!(f, "{}: authority {position} expired on {}", path.display(), date(*not_after))
            }
            Self::Unverified => f.write_str("the backends' certificates are not verified (verify: false)"),
        }
    }
}

/// Seconds since 1970 as a date a person can read; the bare number if it is out of any calendar.
fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_readable_sentence() {
        let expired = Warning::Expired { path: "a.pem".into(), not_after: 1_700_000_000 };
        assert_eq!(expired.to_string(), "a.pem: the certificate expired on Nov 14 22:13:20 2023 +00:00");
        let key = Warning::KeyReadable { path: "a.key".into(), mode: 0o644 };
        assert!(key.to_string().contains("0644"), "{key}");
        assert_eq!(date(i64::MAX), i64::MAX.to_string());
    }
}
