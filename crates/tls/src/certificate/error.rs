//! What can be wrong with a certificate or its key, each named, with the place in the configuration
//! and a hint that says what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One problem with one file of one entry of `certificates`.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CertificateError {
    /// The entry in the list of certificates that was given, from 0; of a `directory`, it is behind the last one.
    pub entry: usize,
    /// Which of the entry's two files it is about.
    pub file: CertificateFile,
    /// That file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: CertificateProblem,
}

impl CertificateError {
    pub(crate) fn new(entry: usize, file: CertificateFile, path: &Path, problem: CertificateProblem) -> Self {
        Self { entry, file, path: path.to_owned(), problem }
    }

    pub(crate) fn none_listed() -> Self {
        Self::new(0, CertificateFile::Cert, Path::new("certificates"), CertificateProblem::NoneListed)
    }

    pub(crate) fn no_suite() -> Self {
        Self::new(0, CertificateFile::Cert, Path::new("cipher_suites"), CertificateProblem::NoSuite)
    }

    pub(crate) fn directory(behind: usize, path: &Path, problem: CertificateProblem) -> Self {
        Self::new(behind, CertificateFile::Directory, path, problem)
    }

    /// What the operator can do about it; empty where the problem says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.problem.hint()
    }
}

/// Which file of an entry: the key of the configuration it stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFile {
    /// `cert`.
    Cert,
    /// `key`.
    Key,
    /// `directory`.
    Directory,
}

impl CertificateFile {
    /// The key in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cert => "cert",
            Self::Key => "key",
            Self::Directory => "directory",
        }
    }
}

impl fmt::Display for CertificateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What can be wrong with a PEM file of certificates or with a private key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// A profile without any certificate cannot answer anyone.
    #[error("no certificate is listed")]
    NoneListed,
    /// No cipher suite works with any certificate of the profile.
    #[error("no certificate of the profile works with any of these suites")]
    NoSuite,
    /// The file cannot be opened or read.
    #[error("cannot be read: {source}")]
    Unreadable {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any chain or key.
    #[error("is larger than {limit} bytes, more than any such file")]
    TooLarge {
        /// The ceiling, in bytes.
        limit: u64,
    },
    /// The file was written while it was read.
    #[error("was written while it was read")]
    Changing,
    /// The key must be private, and group or others can read it.
    #[error("group or others can read this private key (mode {mode:04o}), and strict_permissions is on")]
    Exposed {
        /// Its permission bits, for instance 0o644.
        mode: u32,
    },
    /// The file holds nothing.
    #[error("is empty")]
    Empty,
    /// The file is something else than PEM.
    #[error("is {what}, not PEM")]
    NotPem {
        /// What it is.
        what: &'static str,
        /// What helps.
        hint: &'static str,
    },
    /// The file has a section that says something, and cannot be taken.
    #[error("line {line}: a section `{label}` cannot be used here")]
    Section {
        /// Where it begins, from 1.
        line: usize,
        /// What it is.
        label: String,
        /// What helps.
        hint: &'static str,
    },
    /// The file has more than one private key.
    #[error("line {line}: a second private key")]
    SecondKey {
        /// Where it begins, from 1.
        line: usize,
    },
    /// The file is not well-formed PEM.
    #[error("is not well-formed PEM: {reason}")]
    BadPem {
        /// What the reader said.
        reason: String,
    },
    /// The file has no `CERTIFICATE` section.
    #[error("has no certificate")]
    NoCertificate {
        /// What it looks like instead.
        hint: &'static str,
    },
    /// The certificate is not X.509.
    #[error("the certificate cannot be parsed: {reason}")]
    BadCertificate {
        /// What the parser said.
        reason: String,
    },
    /// The file has no private key section.
    #[error("has no private key")]
    NoKey {
        /// What it looks like instead.
        hint: &'static str,
    },
    /// The private key is encrypted with a passphrase.
    #[error("the private key is encrypted")]
    Encrypted,
    /// The key is damaged or of a kind that is not supported.
    #[error("the private key cannot be used: {reason}")]
    KeyRefused {
        /// What the cryptographic library said.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the private key does not match the certificate")]
    Mismatch,
    /// The key belongs to a certificate of the chain that is not the first.
    #[error("the private key matches certificate {position} of the chain, not the first")]
    WrongOrder {
        /// Which certificate of the file, counted from 1.
        position: usize,
    },
}

impl CertificateProblem {
    /// What the operator can do about it; empty where the problem says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoneListed => "list at least one {cert, key} pair, or name a `directory`",
            Self::NoSuite => {
                "suites of TLS 1.3 work with every key; TLS_ECDHE_RSA_… need an RSA key, and TLS_ECDHE_ECDSA_… an ECDSA or Ed25519 key"
            }
            Self::Unreadable { source } => match source.kind() {
                io::ErrorKind::NotFound => "paths are relative to the folder of the configuration file",
                io::ErrorKind::PermissionDenied => "weir's user needs read permission on it",
                _ => "",
            },
            Self::TooLarge { .. } => "is this the right file?",
            Self::Changing => "write it under another name, and rename it into its place",
            Self::Exposed { .. } => "chmod 600 it",
            Self::BadPem { .. } => "sections run from -----BEGIN X----- to -----END X-----, base64 between",
            Self::Empty => "was it written to the end?",
            Self::SecondKey { .. } => "leave the one that fits the certificate",
            Self::NotPem { hint, .. } | Self::Section { hint, .. } => hint,
            Self::NoCertificate { hint } | Self::NoKey { hint } => hint,
            Self::BadCertificate { .. } => "`openssl x509 -noout -text -in FILE` shows what is in it",
            Self::Encrypted => {
                "decrypt it with `openssl pkey -in FILE -out NEW` and protect it by its mode, 0600"
            }
            Self::KeyRefused { .. } => {
                "RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521), Ed25519 and ML-DSA (44, 65, 87) keys work"
            }
            Self::Mismatch => {
                "both must come from the same request; compare `openssl x509 -noout -pubkey` and `openssl pkey -pubout`"
            }
            Self::WrongOrder { .. } => "put the certificate itself first, then its intermediates",
        }
    }
}
