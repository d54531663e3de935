//! What the process gives to a plan.

use std::fmt;
use std::sync::Arc;

use weir_metrics::Metrics;
use weir_pool::Lives;
use weir_pool::source::{Found, Target};
use weir_tls::Sessions;

/// What the process gives to a plan.
pub struct CompileInput<'i> {
    /// Where listeners, pools and backends get their counters.
    pub metrics: &'i Arc<Metrics>,
    /// The live states of the process's backends, which a plan takes over.
    pub lives: &'i Arc<Lives>,
    /// What DNS has answered so far.
    pub answers: &'i dyn Fn(&Target) -> Vec<Found>,
    /// What TLS sessions are resumed by; profiles and pools that stay the same go on with theirs.
    pub sessions: &'i Sessions,
    /// Counts the plans of this process, from 1.
    pub generation: u64,
    /// CPUs that the process may use: what `workers: auto` becomes.
    pub cpus: usize,
}

impl fmt::Debug for CompileInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileInput").field("generation", &self.generation).finish_non_exhaustive()
    }
}
