//! The command line: a file a verb.
//!
//! Exit codes: 0 done, 1 it failed or the configuration is wrong, 2 wrong usage.

mod admin;
mod backend;
mod check;
mod configuration;
mod demo;
mod explain;
mod format;
mod health;
mod plan;
mod reload;
mod run;
mod running;
mod schema;
mod status;
mod table;
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
    /// Run with a configuration until told to stop
    Run(run::Run),
    /// Check a configuration, its certificates and keys; open no socket
    Check(check::Check),
    /// Show where a client would go, and why there
    Explain(explain::Explain),
    /// Show what the running weir is doing
    Status(status::Status),
    /// Say whether the running weir works, for probes: by the exit code
    Health(health::Health),
    /// Show what a reload would change, and how many connections it would touch
    Plan(plan::Plan),
    /// Have the running weir read its configuration anew
    Reload(reload::Reload),
    /// Drain a backend, put it back into service, set its weight
    Backend(backend::Backend),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::Schema),
    /// Show the three modes on this machine, with made-up certificates and backends
    Demo(demo::Demo),
    /// Print the version
    Version(version::Version),
}

const EXAMPLES: &str = "\
Examples:
  weir demo                              see it work, without a configuration
  weir check weir.yaml                   what is wrong with it, all at once
  weir run /etc/weir/weir.yaml           run it; SIGTERM drains and ends
  weir check weir.yaml --format json     for editors and pipelines
  weir explain --sni www.example.com     where such a client goes, and why
  weir status --down                     which backends are down, and why
  weir health --ready                    exit code 0 if traffic may come
  weir plan weir.yaml                    what a reload would change
  weir reload                            take the changed configuration
  weir backend drain web 10.0.0.11:8080  no new connections to this one";

/// Does what the command line says. `taken` are the signals, where that is to run until told to stop.
pub(crate) fn main(taken: Option<Result<Taken>>) -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match cli.verb {
            Verb::Run(verb) => verb.execute(taken.unwrap_or_else(Taken::now)),
            Verb::Check(verb) => verb.execute(),
            Verb::Explain(verb) => verb.execute(),
            Verb::Status(verb) => verb.execute(),
            Verb::Health(verb) => verb.execute(),
            Verb::Plan(verb) => verb.execute(),
            Verb::Reload(verb) => verb.execute(),
            Verb::Backend(verb) => verb.execute(),
            Verb::Schema(verb) => verb.execute(),
            Verb::Demo(verb) => verb.execute(),
            Verb::Version(verb) => verb.execute(),
        },
        // With the signals taken, nothing here may wait for a reader.
        Err(error) if error.use_stderr() && taken.is_some() => {
            last_words(error.render().to_string().trim_end());
            ExitCode::from(WRONG_USAGE)
        }
        Err(error) => {
            // Help and version go to stdout and are no failure; everything else is wrong usage.
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
