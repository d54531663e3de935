//! weir without privileges: the kernel allows root more than a service's own user.

use crate::weir::binary;
use std::fs::{Permissions, copy, hard_link, set_permissions};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use tokio::process::Command;

/// A user without privileges, `nobody` on most systems.
const NOBODY: &str = "65534";

/// How to run weir without privileges: as `nobody` when the tests run as root, else as the current user.
#[derive(Debug)]
pub struct Unprivileged {
    words: Vec<String>,
    /// A copy of weir that every user may run, for as long as this lives.
    _copy: Option<TempDir>,
}

impl Default for Unprivileged {
    fn default() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self { words: Vec::new(), _copy: None };
        }
        let folder = open_to_all(tempfile::tempdir().unwrap());
        let (weir, here) = (binary(), folder.path().join("weir"));
        if hard_link(&weir, &here).is_err() {
            copy(&weir, &here).unwrap();
        }
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        let mut words = vec!["setpriv".to_owned()];
        words.extend(user);
        // Runs the copy instead of the program that comes first behind these words.
        words.extend(["--clear-groups", "sh", "-c", "shift; exec \"$0\" \"$@\""].map(str::to_owned));
        words.push(here.display().to_string());
        Self { words, _copy: Some(folder) }
    }
}

impl Unprivileged {
    /// Another program, run by the same user.
    pub fn command(&self, program: &str) -> Command {
        let by = self.words.iter().position(|word| word == "sh").unwrap_or_default();
        let mut words = self.words[..by].iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        command
    }

    /// The command line that runs weir.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

/// Lets every user read a folder.
pub fn open_to_all(folder: TempDir) -> TempDir {
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}
