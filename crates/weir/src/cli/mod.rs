//! The command line: a file a verb.
//!
//! Exit codes: 0 done, 1 it failed or the configuration is wrong, 2 wrong usage.

mod check;
mod configuration;
mod demo;
mod run;

use crate::version::VERSION;
use clap::{Parser, Subcommand};
use configuration::WRONG_USAGE;
use std::process::ExitCode;

/// A layer-4 load balancer: passthrough, TLS offload and TLS bridging.
#[derive(Debug, Parser)]
#[command(name = "weir", version = VERSION, about, max_term_width = 100, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
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
    /// Show the three modes on this machine, with made-up certificates and backends
    Demo(demo::Demo),
}

const EXAMPLES: &str = "\
Examples:
  weir demo                              see it work, without a configuration
  weir check -c weir.yaml                what is wrong with it, all at once
  weir run -c /etc/weir/weir.yaml        run it; SIGTERM drains and ends
  weir check -c weir.yaml --format json  for editors and pipelines";

pub(crate) fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match cli.verb {
            Verb::Run(verb) => verb.execute(),
            Verb::Check(verb) => verb.execute(),
            Verb::Demo(verb) => verb.execute(),
        },
        Err(error) => {
            // Help and version go to stdout and are no failure; everything else is wrong usage.
            let shown = error.print();
            if error.use_stderr() || shown.is_err() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
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
}
