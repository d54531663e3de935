//! The configuration file of a verb.

use crate::terminal::last_words;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The paths tried if the command line names no configuration.
const PLACES: [&str; 2] = ["./weir.yaml", "/etc/weir/weir.yaml"];

/// The exit code for wrong usage.
pub(super) const WRONG_USAGE: u8 = 2;

/// The configuration of a verb that reads one: given after the verb, or with `-c`.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration, as an option
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl Named {
    /// The configuration to use, chosen by [`configuration`].
    pub(super) fn find(&self) -> Result<PathBuf, ExitCode> {
        configuration(self.file.as_deref().or(self.config.as_deref()))
    }
}

/// The configuration to use: `named`, or else the first of [`PLACES`] that exists. Without one, prints an error and
/// returns the exit code for wrong usage.
pub(super) fn configuration(named: Option<&Path>) -> Result<PathBuf, ExitCode> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    PLACES.iter().map(PathBuf::from).find(|p| p.exists()).ok_or_else(|| {
        last_words(&format!(
            "error: no configuration: name one with -c FILE, or put one at {}",
            PLACES.join(" or ")
        ));
        ExitCode::from(WRONG_USAGE)
    })
}
