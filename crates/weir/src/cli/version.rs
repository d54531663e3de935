//! `weir version`: prints weir's version.

use crate::terminal::end;
use crate::version::VERSION;
use clap::Args;
use std::process::ExitCode;

/// Prints the version, like --version.
#[derive(Debug, Args)]
pub(super) struct Version {}

impl Version {
    pub(super) fn execute(&self) -> ExitCode {
        end(Ok(format!("weir {VERSION}")))
    }
}
