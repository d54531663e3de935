//! The files of a fleet's secrets while they are in use: looked at again, and taken when they have changed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fleet::{FleetSecrets, SecretError};
use crate::rotation::Rotation;
use crate::sessions::Sessions;

/// The secrets of a plan's fleet, to be looked at while that plan is in force.
pub struct SecretFiles {
    sessions: Sessions,
    of_plan: FleetSecrets,
    /// The number of the refusal that was told last; 0 = none since the last good look.
    told: AtomicU64,
}

impl SecretFiles {
    /// Of the secrets that a plan came with.
    #[must_use]
    pub fn new(of_plan: &FleetSecrets, sessions: &Sessions) -> Self {
        Self { sessions: sessions.clone(), of_plan: of_plan.clone(), told: AtomicU64::new(0) }
    }

    /// Whether the files give other secrets than those in force, or an error that was not told yet: a number that stays
    /// the same until they change again. Reads files: not for a data-plane thread.
    pub fn look(&self) -> Option<u64> {
        let in_force = self.sessions.fleet();
        // Another plan has come; its own files are looked at then.
        if !in_force.has_files_of(&self.of_plan) {
            return None;
        }
        match self.of_plan.read_again() {
            Ok((now, _)) if now == in_force => {
                self.told.store(0, Ordering::Relaxed);
                None
            }
            Ok((now, _)) => Some(number(&now.names().map(|(_, name)| name).collect::<Vec<_>>())),
            Err(errors) => Some(of_errors(&errors)).filter(|seen| *seen != self.told.load(Ordering::Relaxed)),
        }
    }

    /// Reads the files, and puts the secrets in force if all are good; else the earlier ones stay. Not for a data-plane
    /// thread.
    pub fn take(&self) -> Vec<Rotation> {
        let before = self.sessions.fleet();
        if !before.has_files_of(&self.of_plan) {
            return Vec::new();
        }
        match self.of_plan.read_again() {
            Ok((now, warnings)) if self.sessions.rejoin(&before, &now) => {
                self.told.store(0, Ordering::Relaxed);
                let names = now.names().map(|(_, name)| name).collect();
                vec![Rotation::Secrets {
                    names,
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                }]
            }
            Ok(_) => Vec::new(),
            Err(errors) => {
                self.told.store(of_errors(&errors), Ordering::Relaxed);
                let refused = |error: SecretError| Rotation::SecretRefused {
                    path: error.path.clone(),
                    reason: error.problem.to_string(),
                };
                errors.into_iter().map(refused).collect()
            }
        }
    }
}

fn of_errors(errors: &[SecretError]) -> u64 {
    number(&errors.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Never 0.
fn number(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() | 1
}

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFiles").field("of_plan", &self.of_plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::fleet::{new_secret, write_new_secret};

    fn replace(path: &Path) {
        fs::write(path, new_secret().unwrap().as_bytes()).unwrap();
    }

    #[test]
    fn a_changed_secret_is_taken_and_a_bad_one_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| write_new_secret(path).unwrap());
        let sessions = Sessions::random().unwrap();
        let (fleet, _) = FleetSecrets::read(&paths, false).unwrap();
        sessions.join(&fleet);
        let files = SecretFiles::new(&fleet, &sessions);
        assert_eq!(files.look(), None);

        replace(&paths[1]);
        let seen = files.look().expect("another secret");
        assert_eq!(files.look(), Some(seen), "until it changes again");
        let taken = files.take();
        assert!(
            matches!(taken.as_slice(), [Rotation::Secrets { names, .. }] if names.len() == 2),
            "{taken:?}"
        );
        assert_eq!(files.look(), None);
        let in_force = sessions.fleet();
        assert_ne!(in_force, fleet);

        fs::write(&paths[0], "0123456789abcdef").unwrap();
        assert!(files.look().is_some());
        let told = files.take();
        assert!(
            matches!(told.as_slice(), [Rotation::SecretRefused { path, .. }] if *path == paths[0]),
            "{told:?}"
        );
        assert!(!format!("{told:?}").contains("0123456"), "{told:?}");
        assert_eq!(files.look(), None, "told once");
        assert_eq!(sessions.fleet(), in_force, "the earlier ones stay");
        fs::remove_file(&paths[0]).unwrap();
        assert!(files.look().is_some(), "another error");
        files.take();
        replace(&paths[0]);
        assert!(files.look().is_some());
        files.take();
        assert_eq!(files.look(), None);
        fs::write(&paths[0], "0123456789abcdef").unwrap();
        assert!(files.look().is_some(), "the same error after a good secret is told again");
    }

    #[test]
    fn the_files_of_a_plan_that_is_past_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| write_new_secret(path).unwrap());
        let sessions = Sessions::random().unwrap();
        let read = |paths: &[std::path::PathBuf]| FleetSecrets::read(paths, false).unwrap().0;
        let (before, after) = (read(&paths[..1]), read(&paths));
        sessions.join(&before);
        let files = SecretFiles::new(&before, &sessions);
        replace(&paths[0]);
        sessions.join(&after);
        assert_eq!(files.look(), None);
        assert!(files.take().is_empty());
        assert_eq!(sessions.fleet(), after);
    }
}
