//! `weir run`: runs a configuration until stopped by a signal.

use super::configuration::Named;
use crate::run;
use crate::signals::Taken;
use crate::terminal::last_words;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a configuration in the foreground. SIGTERM or SIGINT drains connections and exits with 0; a second one exits at
/// once.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    configuration: Named,
    /// Append the secrets of all TLS sessions, of clients and backends, to this file (the format of SSLKEYLOGFILE), to
    /// decrypt recorded traffic. For debugging only: a reader of the file can read everything
    #[arg(long, value_name = "FILE")]
    key_log: Option<PathBuf>,
}

impl Run {
    pub(super) fn execute(&self, taken: Result<Taken>) -> ExitCode {
        let path = match self.configuration.find() {
            Ok(path) => path,
            Err(code) => return code,
        };
        match taken.and_then(|taken| run::run(path, self.key_log.clone(), taken)) {
            Ok(code) => code,
            Err(error) => {
                last_words(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}
