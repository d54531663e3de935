//! `weir certs`: the certificates of a configuration, or of the running weir.

mod grouped;
mod text;

#[cfg(test)]
mod tests;

use super::admin::Server;
use super::configuration::configuration;
use super::format::Format;
use super::table::line_width;
use crate::run;
use crate::terminal::{complain, ended, say};
use anyhow::{Context, Result};
use clap::Args;
use grouped::{Shown, grouped};
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_admin::api;
use weir_admin::api::certificates::Certificate;
use weir_admin::certificates::certificates;
use weir_config::Rejected;
use weir_config::units::Time;

/// Shows each certificate with its names, kind of key, issuer, days left, listeners, OCSP response, and the faults of its
/// chain: as the files of the configuration are now, or as the running weir serves them.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Certs {
    /// The configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask the weir that runs with this configuration, in place of reading its files
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    server: Server,
    /// Show only certificates that end within this time, such as 30d, have ended, or have a fault; if there are any, exit
    /// with 1
    #[arg(long, value_name = "TIME", value_parser = within)]
    expires_within: Option<Duration>,
    /// PEM: further authorities that clients trust, beside the system's
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXIT_CODES: &str = "\
Exit codes: 0 if all is well; 1 if a shown certificate has a fault that clients notice, with --expires-within also if \
any is shown, or if the certificates cannot be read; 2 for wrong usage, or if no configuration is found.

From cron: weir certs -c /etc/weir/weir.yaml --expires-within 14d";

impl Certs {
    pub(super) fn execute(&self) -> ExitCode {
        let found = match self.found() {
            Ok(found) => found,
            Err(code) => return code,
        };
        match self.judged(found).and_then(|shown| self.tell(&shown).map(|()| self.is_well(&shown))) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => ended(Err(error)),
        }
    }

    /// The certificates, once for each listener; if they cannot be read, the error has been printed.
    fn found(&self) -> Result<Vec<Certificate>, ExitCode> {
        let asked = if self.running || self.server.is_named() {
            let client = self.server.find(self.config.as_deref())?;
            client
                .get(api::STATUS)
                .and_then(|answer| answer.read::<api::Status>())
                .map(|status| status.certificates)
        } else {
            let path = configuration(self.config.as_deref())?;
            run::compile(&path).and_then(|compiled| match compiled {
                Ok(compiled) => Ok(certificates(&compiled.plan)),
                Err(rejected) => Err(Findings(rejected).into()),
            })
        };
        asked.map_err(|error| {
            // The findings of a configuration begin with `error:` themselves.
            let prefix = if error.is::<Findings>() { "" } else { "error: " };
            complain(&format!("{prefix}{error:#}"));
            ExitCode::FAILURE
        })
    }

    /// Each certificate once, with the faults that remain for clients that know the authorities of this machine; without
    /// sound ones that end later than was asked for.
    fn judged(&self, found: Vec<Certificate>) -> Result<Vec<Shown>> {
        let mut shown = grouped(found);
        let is_incomplete = |one: &Shown| one.certificate.faults.iter().any(|fault| fault.code == INCOMPLETE);
        if shown.iter().any(is_incomplete) {
            let ca = self.trust.as_deref();
            let names = weir_tls::authority_names(ca)
                .with_context(|| ca.map(|path| path.display().to_string()).unwrap_or_default())?;
            for one in &mut shown {
                let is_by_a_root = names.contains(&one.certificate.issuer);
                one.certificate.faults.retain(|fault| fault.code != INCOMPLETE || !is_by_a_root);
                let missing = one.certificate.faults.iter_mut().filter(|fault| fault.code == INCOMPLETE);
                // With all authorities named, the issuer is known to be none of them.
                missing.for_each(|fault| fault.note &= self.trust.is_none());
            }
        }
        if let Some(within) = self.expires_within {
            shown.retain(|one| one.certificate.ends_within(within) || has_fault(one));
        }
        Ok(shown)
    }

    fn tell(&self, shown: &[Shown]) -> Result<()> {
        say(&match self.format {
            Format::Text => text::report(shown, self.expires_within.is_some(), line_width()),
            Format::Json => serde_json::to_string_pretty(&json!({ "certificates": shown }))?,
        })
    }

    fn is_well(&self, shown: &[Shown]) -> bool {
        (self.expires_within.is_none() || shown.is_empty()) && !shown.iter().any(has_fault)
    }
}

/// Whether it has a fault that clients notice.
fn has_fault(one: &Shown) -> bool {
    one.certificate.faults.iter().any(|fault| !fault.note)
}

/// The findings of a configuration that cannot be loaded.
#[derive(Debug)]
struct Findings(Rejected);

impl std::error::Error for Findings {}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn within(text: &str) -> Result<Duration, &'static str> {
    Time::parse(text)
        .map(|Time(time)| time)
        .map_err(|_no_time| "expected a length of time such as 30d or 36h")
}

/// The code of a chain without the certificate's issuer.
const INCOMPLETE: &str = "incomplete";
