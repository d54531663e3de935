//! What can be wrong with a secret's file. No text here repeats anything of its content.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::file::{LARGEST_FILE, SHORTEST_SECRET};

/// One file that gives no secret.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SecretError {
    /// The entry in the list of files, from 0.
    pub entry: usize,
    /// That file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: SecretProblem,
}

impl SecretError {
    /// What the operator can do about it; empty where the problem says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.problem {
            SecretProblem::Unreadable { source } if source.kind() == io::ErrorKind::NotFound => {
                "`weir secret new FILE` writes one; copy it to every node"
            }
            SecretProblem::TooShort { .. } | SecretProblem::Zeros => {
                "`weir secret new FILE` writes a good one; copy it to every node"
            }
            SecretProblem::Readable { .. } => "chmod 600 it, or leave `strict_permissions` out",
            SecretProblem::Pem => "name a file that `weir secret new FILE` has written",
            _ => "",
        }
    }
}

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretProblem {
    /// It cannot be opened or read.
    #[error("cannot read this secret: {source}")]
    Unreadable {
        /// Why.
        source: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("a secret must be a file, which can be read again: this is none")]
    NotAFile,
    /// It is far larger than a secret.
    #[error("this is no secret: it has more than {LARGEST_FILE} bytes")]
    TooLarge,
    /// It has too few bytes.
    #[error("a secret has at least {SHORTEST_SECRET} bytes, and this one has {bytes}")]
    TooShort {
        /// How many it has; white space of a text does not count.
        bytes: usize,
    },
    /// It has nothing but zeros, as a file whose content was lost.
    #[error("this secret has nothing but zeros: was the file's content lost?")]
    Zeros,
    /// It has a key or a certificate.
    #[error("this is a key or a certificate in PEM, and no secret of a fleet")]
    Pem,
    /// It was written while it was read.
    #[error("this secret changed while it was read")]
    Changing,
    /// Group or others may read it, and `strict_permissions` is on.
    #[error("group or others can read this secret (mode {mode:04o})")]
    Readable {
        /// Its permission bits.
        mode: u32,
    },
}

/// A weakness of a secret that is taken all the same. `Display` gives one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretWarning {
    /// The entry in the list of files, from 0.
    pub entry: usize,
    /// That file.
    pub path: PathBuf,
    /// The weakness.
    pub weakness: Weakness,
}

/// A weakness of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weakness {
    /// Group or others may read it.
    Readable {
        /// Its permission bits.
        mode: u32,
    },
    /// It is no random text: others may guess it.
    Guessable,
    /// It is written in hexadecimal digits or base64, and these stand for fewer bytes than a secret needs.
    FewBytes {
        /// How many they stand for.
        bytes: usize,
    },
    /// An earlier file has the same secret.
    Repeated {
        /// The earlier file.
        earlier: PathBuf,
    },
}

impl fmt::Display for SecretWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.weakness {
            Weakness::Readable { mode } => {
                write!(f, "{path}: group or others can read this secret (mode {mode:04o}); chmod 600 it")
            }
            Weakness::Guessable => {
                write!(f, "{path}: this secret does not look random; `weir secret new` makes one that is")
            }
            Weakness::FewBytes { bytes } => write!(
                f,
                "{path}: this secret is a text that stands for {bytes} bytes; \
                 a secret needs {SHORTEST_SECRET} random ones"
            ),
            Weakness::Repeated { earlier } => {
                write!(f, "{path}: the same secret as in {}: it adds nothing", earlier.display())
            }
        }
    }
}
