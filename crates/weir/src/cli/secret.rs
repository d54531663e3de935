//! `weir secret`: makes the secrets that the nodes of a fleet share, and names them.

use crate::terminal::{complain, end};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weir_tls::{FleetSecrets, new_secret, write_new_secret};

/// Makes the secrets that the nodes of a fleet share (`fleet.secret_files`), and names them.
#[derive(Debug, Args)]
#[command(after_help = ROTATION)]
pub(super) struct Secret {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a new random secret to a file with mode 0600, or to stdout
    New {
        /// The file, which must not exist yet; without it the secret goes to stdout
        file: Option<PathBuf>,
    },
    /// Print the name of each file's secret: nodes with the same secret show the same name
    Name {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

const ROTATION: &str = "\
A name is derived from the secret and does not give it away. To replace a secret without a moment in which nodes \
refuse each other's sessions: add the new file as the second one on every node, then make it the first one on every \
node, then, after ticket_lifetime, remove the old one.";

impl Secret {
    pub(super) fn execute(&self) -> ExitCode {
        match &self.action {
            Action::New { file: None } => {
                end(new_secret().map(|text| text.trim_end().to_owned()).map_err(Into::into))
            }
            Action::New { file: Some(file) } => end(written(file)),
            Action::Name { files } => end(named(files)),
        }
    }
}

/// Writes a secret, and names it.
///
/// # Errors
/// The file exists already, or cannot be written.
fn written(file: &Path) -> Result<String> {
    write_new_secret(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} exists already, and a secret in use must not be lost: nothing was written",
            file.display()
        ),
        _ => anyhow::Error::from(error).context(format!("cannot write {}", file.display())),
    })?;
    named(&[file.to_owned()])
}

/// A line for each file, with the name of its secret. Weak secrets are named all the same.
///
/// # Errors
/// Every file that has no secret.
fn named(files: &[PathBuf]) -> Result<String> {
    let (secrets, warnings) = match FleetSecrets::read(files, false) {
        Ok(read) => read,
        Err(errors) => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("{}", all.join("\nerror: "));
        }
    };
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    let lines: Vec<String> =
        secrets.names().map(|(path, name)| format!("{name}  {}", path.display())).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_once_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet.key");
        let said = written(&file).unwrap();
        let (name, path) = said.split_once("  ").unwrap();
        assert!(name.len() == 8 && path == file.display().to_string(), "{said}");
        assert_eq!(named(std::slice::from_ref(&file)).unwrap(), said);
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(!said.contains(secret.trim()));
        let again = format!("{:#}", written(&file).unwrap_err());
        assert!(again.contains("exists already"), "{again}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
        let nowhere = format!("{:#}", written(&folder.path().join("a/b")).unwrap_err());
        assert!(nowhere.contains("cannot write") && nowhere.contains("No such file"), "{nowhere}");
        let none = format!("{:#}", named(&[folder.path().to_owned(), folder.path().join("c")]).unwrap_err());
        assert_eq!(none.lines().count(), 2, "{none}");
    }
}
