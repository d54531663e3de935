//! The command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use weir_benches::peer::Peer;

/// Measures weir beside HAProxy, nginx and Envoy: CPU time a GiB, a connection and a request, memory a connection,
/// and latency added to a direct connection. All do the same work; both ends check that it was done.
///
/// WEIR, HAPROXY, NGINX and ENVOY may name other programs than the installed ones, as command lines.
/// Exit status: 0, 1 when a load balancer did not do its work, 2 when nothing could be measured.
#[derive(Debug, Parser)]
#[command(name = "weir-benches", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Who is measured.
    #[arg(long, value_delimiter = ',', default_value = "weir,weir-records,haproxy,nginx,envoy")]
    pub(crate) peers: Vec<Peer>,
    /// What is measured: parts of names, such as `offload`, `down` or `bridging-idle`. Default: everything.
    #[arg(long, value_delimiter = ',')]
    pub(crate) work: Vec<String>,
    /// How often. Figures are medians over rounds.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// How much of each work: 0.1 for a first look, more for steadier figures.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Data threads of each load balancer; each has a CPU of its own, and one CPU at least is left for the load.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// The folder for results, which are result.json, result.md and charts.
    #[arg(long, default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Writes the table and the charts to the documentation as well, if everything counts.
    #[arg(long)]
    pub(crate) docs: bool,
    /// Where the documentation is.
    #[arg(long, default_value = "docs", hide = true)]
    pub(crate) docs_folder: PathBuf,
    /// Where packaging/bench-peers.sh has installed what the system does not have.
    #[arg(long, default_value = "target/bench", hide = true)]
    pub(crate) installed: PathBuf,
    /// Seconds that one step of one connection may take.
    #[arg(long, default_value_t = 30)]
    pub(crate) patience: u64,
    /// What this process is, if it is not the driver.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What the driver starts this program as.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Runs a command on some CPUs.
    #[command(hide = true)]
    Pinned {
        /// CPU numbers.
        #[arg(value_delimiter = ',')]
        cpus: Vec<usize>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The backend.
    #[command(hide = true)]
    Backend {
        /// The folder with the certificates.
        identity: PathBuf,
    },
    /// The client.
    #[command(hide = true)]
    Load {
        /// What to do, as JSON.
        job: String,
    },
}
