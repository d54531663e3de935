//! The command line: one file for each verb.
//!
//! Exit codes: 0 for success, 1 for a failure or a wrong configuration, 2 for wrong usage.

mod admin;
mod backend;
mod certs;
mod check;
mod clients;
mod configuration;
mod demo;
mod explain;
mod failures;
mod format;
mod health;
mod plan;
mod reload;
mod run;
mod schema;
mod secret;
mod status;
mod table;
mod upgrade;
mod version;

use crate::signals::Taken;
use crate::terminal::{ended, last_words, unless_gone};
use crate::version::VERSION;
use anyhow::Result;
use clap::{Parser, Subcommand};
use configuration::WRONG_USAGE;
use std::io::{self, Write};
use std::process::ExitCode;

/// A layer-4 load balancer: passthrough, TLS offload and TLS bridging.
#[derive(Debug, Parser)]
#[command(name = "weir", version = VERSION, about, max_term_width = 80, after_help = EXAMPLES)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run with a configuration until stopped by a signal
    Run(run::Run),
    /// Check a configuration, its certificates and keys, without opening a socket
    Check(check::Check),
    /// Show which route, pool and backends a client would get, and why
    Explain(explain::Explain),
    /// Show what the running weir is doing
    Status(status::Status),
    /// Show the certificates of a configuration or of the running weir, when they end, and their faults
    Certs(certs::Certs),
    /// Show which connections ended early, why, and what to do about it
    Failures(failures::Failures),
    /// Show which clients have the most connections open
    Clients(clients::Clients),
    /// Report by exit code whether the running weir works, for probes
    Health(health::Health),
    /// Show what a reload would change, and how many connections it would touch
    Plan(plan::Plan),
    /// Make the running weir reload its configuration
    Reload(reload::Reload),
    /// Make the program on disk take over from the running weir, under traffic
    Upgrade(upgrade::Upgrade),
    /// Drain a backend, put it back into service, or set its weight
    Backend(backend::Backend),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::Schema),
    /// Make the secrets that the nodes of a fleet share, and name them
    Secret(secret::Secret),
    /// Show the three modes on this machine, with temporary certificates and backends
    Demo(demo::Demo),
    /// Print the version
    Version(version::Version),
}

const EXAMPLES: &str = "\
Examples:
  weir demo                              try weir without a configuration
  weir check weir.yaml                   report all errors at once
  weir run /etc/weir/weir.yaml           run weir; SIGTERM drains and stops it
  weir check weir.yaml --format json     report errors as JSON, for editors
  weir explain --sni www.example.com     show where this client goes, and why
  weir status --down                     show which backends are down, and why
  weir certs --expires-within 30d        exit with 1 if a certificate needs care
  weir failures --last 10m               show why connections fail
  weir clients                           show who has the most connections open
  weir health --ready                    exit with 0 if ready for traffic
  weir plan weir.yaml                    show what a reload would change
  weir reload                            apply the changed configuration
  weir upgrade                           have the new program on disk take over
  weir backend drain web 10.0.0.11:8080  send this backend no new connections";

/// Runs the verb on the command line. `taken` holds the signals, if the verb runs until stopped by one.
pub(crate) fn main(taken: Option<Result<Taken>>) -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match cli.verb {
            Verb::Run(verb) => verb.execute(taken.unwrap_or_else(Taken::now)),
            Verb::Check(verb) => verb.execute(),
            Verb::Explain(verb) => verb.execute(),
            Verb::Status(verb) => verb.execute(),
            Verb::Certs(verb) => verb.execute(),
            Verb::Failures(verb) => verb.execute(),
            Verb::Clients(verb) => verb.execute(),
            Verb::Health(verb) => verb.execute(),
            Verb::Plan(verb) => verb.execute(),
            Verb::Reload(verb) => verb.execute(),
            Verb::Upgrade(verb) => verb.execute(),
            Verb::Backend(verb) => verb.execute(),
            Verb::Schema(verb) => verb.execute(),
            Verb::Secret(verb) => verb.execute(),
            Verb::Demo(verb) => verb.execute(),
            Verb::Version(verb) => verb.execute(),
        },
        // With the signals taken, nothing here may block on a reader.
        Err(error) if error.use_stderr() && taken.is_some() => {
            last_words(error.render().to_string().trim_end());
            ExitCode::from(WRONG_USAGE)
        }
        Err(error) => {
            // Help and version go to stdout and are successes; everything else is wrong usage.
            let shown = error.print().and_then(|()| io::stdout().flush());
            if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ended(unless_gone(shown)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn fits(command: &mut clap::Command) {
        let help = command.render_long_help().to_string();
        let long = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{}", command.get_name());
        command.get_subcommands_mut().for_each(fits);
    }

    #[test]
    fn every_help_fits_80_columns() {
        let mut command = Cli::command();
        command.build();
        fits(&mut command);
        let broken = command.render_long_help().to_string();
        let examples = broken.split_once("Examples:\n").unwrap().1;
        assert!(examples.lines().all(|line| line.starts_with("  weir ")), "{examples}");
    }
}
