//! The command line: a file a verb.
//!
//! Exit codes: 0 done, 1 it failed or the configuration is wrong, 2 wrong usage.

mod check;
mod demo;
mod run;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
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

/// The version, as `--version` and the metrics say it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const EXAMPLES: &str = "\
Examples:
  weir demo                              see it work, without a configuration
  weir check -c weir.yaml                what is wrong with it, all at once
  weir run -c /etc/weir/weir.yaml        run it; SIGTERM drains and ends
  weir check -c weir.yaml --format json  for editors and pipelines";

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["./weir.yaml", "/etc/weir/weir.yaml"];

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

const WRONG_USAGE: u8 = 2;

/// The configuration to use: the one that was named, or the first that exists.
fn configuration(named: Option<&Path>) -> Result<PathBuf, ExitCode> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    PLACES.iter().map(PathBuf::from).find(|p| p.exists()).ok_or_else(|| {
        complain(&format!(
            "error: no configuration: name one with -c FILE, or put one at {}",
            PLACES.join(" or ")
        ));
        ExitCode::from(WRONG_USAGE)
    })
}

/// Writes to stdout. A reader that has gone (`weir … | head`) is no reason to complain.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
}

/// Writes to stderr.
fn complain(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")));
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
