//! `weir demo`: the three modes on this machine.

use crate::demo;
use crate::terminal::end;
use clap::Args;
use std::process::ExitCode;

/// Creates certificates and backends, runs one listener per mode on free loopback ports, and prints a curl
/// command for each. Removes everything at the end.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Make a request through each mode, print what each side saw, and exit with 0 or 1
    #[arg(long)]
    once: bool,
    /// Print the configuration and exit; its certificates stay in the folder that it names
    #[arg(long, conflicts_with = "once")]
    print_config: bool,
}

impl Demo {
    pub(super) fn execute(&self) -> ExitCode {
        let done = if self.print_config {
            demo::print_config()
        } else if self.once {
            demo::once()
        } else {
            demo::stay()
        };
        done.unwrap_or_else(|error| end(Err(error)))
    }
}
