//! The secrets of a fleet: several nodes with the same ones answer as one, because each derives the same keys.
//!
//! In: files. Out: [`FleetSecrets`], or every reason why not. The first secret makes what is new, all of them accept
//! what they made: so a secret is replaced on one node after the other, without a moment in which nodes refuse each
//! other. Ticket keys derive from them (`tickets`). Nothing here shows a secret; its name does not give it away.

mod file;
mod problem;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file::{new_secret, write_new_secret};
pub use problem::{SecretError, SecretProblem, SecretWarning, Weakness};

use crate::secret::{Secret, SecretName};

/// The secrets of a fleet, in the order of their files. Without any the node stands alone. Cheap to clone; equal when
/// files and secrets are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FleetSecrets {
    list: Arc<[(PathBuf, Secret)]>,
    strict: bool,
}

impl FleetSecrets {
    /// Reads the secrets; `strict`: refuses files that group or others can read. Not for a data-plane thread.
    ///
    /// # Errors
    /// Every file that gives no secret.
    pub fn read(files: &[PathBuf], strict: bool) -> Result<(Self, Vec<SecretWarning>), Vec<SecretError>> {
        let mut list: Vec<(PathBuf, Secret)> = Vec::with_capacity(files.len());
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        for (entry, path) in files.iter().enumerate() {
            let mut warn = |weakness| warnings.push(SecretWarning { entry, path: path.clone(), weakness });
            let read = file::read(path).and_then(|content| match content.mode {
                mode if mode & OTHERS == 0 => Ok(content),
                mode if strict => Err(SecretProblem::Readable { mode }),
                mode => {
                    warn(Weakness::Readable { mode });
                    Ok(content)
                }
            });
            match read {
                Ok(content) => {
                    content.weakness.into_iter().for_each(&mut warn);
                    if let Some((earlier, _)) = list.iter().find(|(_, secret)| *secret == content.secret) {
                        warn(Weakness::Repeated { earlier: earlier.clone() });
                    }
                    list.push((path.clone(), content.secret));
                }
                Err(problem) => errors.push(SecretError { entry, path: path.clone(), problem }),
            }
        }
        if errors.is_empty() { Ok((Self { list: list.into(), strict }, warnings)) } else { Err(errors) }
    }

    /// Reads the same files again. Not for a data-plane thread.
    ///
    /// # Errors
    /// Every file that gives no secret now.
    pub fn read_again(&self) -> Result<(Self, Vec<SecretWarning>), Vec<SecretError>> {
        let files: Vec<PathBuf> = self.list.iter().map(|(path, _)| path.clone()).collect();
        Self::read(&files, self.strict)
    }

    /// Whether both are of the same files, with whatever content.
    pub(crate) fn has_files_of(&self, other: &Self) -> bool {
        let files = |of: &Self| of.list.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        self.strict == other.strict && files(self) == files(other)
    }

    /// The same number as long as it is the same one, and another for each that is read.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.list).cast::<()>().addr()
    }

    /// Whether the node stands alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each file with the name of its secret. The first one makes what is new.
    pub fn names(&self) -> impl Iterator<Item = (&Path, SecretName)> {
        self.list.iter().map(|(path, secret)| (path.as_path(), secret.name()))
    }

    /// The secrets in their order.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.list.iter().map(|(_, secret)| secret)
    }

    #[cfg(test)]
    pub(crate) fn of(secrets: &[Secret]) -> Self {
        Self { list: secrets.iter().map(|secret| (PathBuf::new(), secret.clone())).collect(), strict: false }
    }
}

impl fmt::Debug for FleetSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names()).finish()
    }
}

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests;
