//! `weir run`: runs a configuration until told to stop.

use super::configuration::Named;
use crate::run;
use crate::signals::Taken;
use crate::terminal::last_words;
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;

/// Runs a configuration in the foreground. SIGTERM and SIGINT drain and end with 0; a second one ends at once.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    configuration: Named,
}

impl Run {
    pub(super) fn execute(&self, taken: Result<Taken>) -> ExitCode {
        let path = match self.configuration.find() {
            Ok(path) => path,
            Err(code) => return code,
        };
        match taken.and_then(|taken| run::run(path, taken)) {
            Ok(code) => code,
            Err(error) => {
                last_words(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}
