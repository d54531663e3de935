//! State of the process that a plan needs.

use std::fmt;
use std::sync::Arc;

use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_pool::source::{Found, Source};
use weir_tls::Sessions;

/// State of the process that a plan needs.
pub struct CompileInput<'i> {
    /// Registers the counters of listeners, pools and backends.
    pub metrics: &'i Arc<Metrics>,
    /// The states of the process's backends, which a plan takes over.
    pub registry: &'i Arc<BackendRegistry>,
    /// The latest DNS answers.
    pub answers: &'i dyn Fn(&Source) -> Vec<Found>,
    /// TLS session caches and ticket keys; unchanged profiles and pools keep theirs.
    pub sessions: &'i Sessions,
    /// Counts the plans of this process, from 1.
    pub generation: u64,
    /// CPUs that the process may use: the value of `workers: auto`.
    pub cpus: usize,
}

impl fmt::Debug for CompileInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileInput").field("generation", &self.generation).finish_non_exhaustive()
    }
}
