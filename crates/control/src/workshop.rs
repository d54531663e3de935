//! What plans are made with, over the life of the process, and how one is made.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use weir_config::{CompileInput, Diagnostic, Pattern, Rejected};
use weir_core::pool::Lives;
use weir_core::pool::names::{Found, Target};
use weir_metrics::Metrics;
use weir_router::plan::Plan;
use weir_tls::TicketSecret;

/// What plans are made with, over the life of the process. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Every live state.
    pub lives: Arc<Lives>,
    /// What ticket keys are derived from.
    pub secret: TicketSecret,
    /// CPUs that the process may use.
    pub cpus: usize,
}

/// A sound configuration.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
    /// The configuration with its defaults, without secrets.
    pub config: serde_json::Value,
    /// Where it looks for more files.
    pub patterns: Vec<Pattern>,
}

impl Workshop {
    /// Loads and compiles the configuration at `path`, with what DNS has answered so far. Reads files: not for a
    /// thread that others wait for. Asks no name of DNS.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(
        &self,
        path: &Path,
        generation: u64,
        answers: &dyn Fn(&Target) -> Vec<Found>,
    ) -> Result<Compiled, Rejected> {
        let loaded = weir_config::load(path)?;
        let input = CompileInput {
            metrics: &self.metrics,
            lives: &self.lives,
            answers,
            secret: &self.secret,
            generation,
            cpus: self.cpus,
        };
        let (plan, warnings) = weir_config::compile(&loaded, &input)?;
        let (config, patterns) = (weir_config::effective(&loaded.file), loaded.patterns().to_vec());
        Ok(Compiled { plan, warnings, config, patterns })
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}
