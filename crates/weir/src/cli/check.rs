//! `weir check`: checks a configuration.

use super::configuration::Named;
use super::format::Format;
use crate::run;
use crate::terminal::{complain, ended, say};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use weir_config::{Diagnostic, Rejected};

/// Loads a configuration with its certificates and keys, and reports all errors and warnings. Opens no socket.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    configuration: Named,
    /// Format of the findings
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Check {
    pub(super) fn execute(&self) -> ExitCode {
        let path = match self.configuration.find() {
            Ok(path) => path,
            Err(code) => return code,
        };
        let checked = match run::compile(&path) {
            Ok(checked) => checked,
            Err(error) => {
                complain(&format!("error: {error:#}"));
                return ExitCode::FAILURE;
            }
        };
        let (sound, findings, more) = match checked {
            Ok(compiled) => (true, compiled.warnings, 0),
            Err(Rejected(errors, more)) => (false, errors, more),
        };
        let said = ended(match self.format {
            Format::Text => tell(&path.display().to_string(), sound, &findings, more),
            Format::Json => say(&json!({ "ok": sound, "findings": findings, "more": more }).to_string()),
        });
        if sound { said } else { ExitCode::FAILURE }
    }
}

fn tell(path: &str, sound: bool, findings: &[Diagnostic], more: usize) -> Result<()> {
    for finding in findings {
        complain(&format!("{}\n", finding.render()));
    }
    if more > 0 {
        complain(&format!("and {more} more\n"));
    }
    let count = match findings.len() + more {
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    match (sound, findings.is_empty()) {
        (true, true) => say(&format!("{path}: ok")),
        (true, false) => say(&format!("{path}: ok, with {count}")),
        (false, _) => {
            complain(&format!("{path}: refused, {count}"));
            Ok(())
        }
    }
}
