//! Makes plans, from the parts that every plan of the process shares.

use crate::watch::fingerprint::Fingerprint;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_config::{CompileInput, Diagnostic, Loaded, Pattern, Rejected};
use weir_core::plan::{ListenAddress, Plan};
use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_pool::source::{Found, Source};
use weir_tls::{SecretName, ServerProfile, Sessions};

/// Makes every plan of the process. Cheap to clone.
#[derive(Clone)]
pub struct PlanBuilder {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Every backend state.
    pub registry: Arc<BackendRegistry>,
    /// What TLS sessions are resumed by, and the certificates that are served.
    pub sessions: Sessions,
    /// CPUs that the process may use.
    pub cpus: usize,
}

/// A sound configuration.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// Its warnings.
    pub warnings: Vec<Diagnostic>,
    /// The configuration with its defaults, without secrets and without values of variables.
    pub config: serde_json::Value,
}

impl Compiled {
    /// Logs its warnings. `compile` keeps the first of very many, and counts the others.
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            let (file, line, key) = (&warning.file, warning.line, &warning.key);
            match warning.is_advice() {
                true => tracing::debug!(file, line, key, "{}", warning.message),
                false => tracing::warn!(file, line, key, "{}", warning.message),
            }
        }
    }
}

/// The files that a load read, and what they held. Two snapshots compare only if they followed the same patterns.
#[derive(Clone, Debug, Default)]
pub struct ConfigSnapshot {
    /// The patterns of `include`, which led to further files.
    pub patterns: Vec<Pattern>,
    /// The contents of all files.
    pub fingerprint: Fingerprint,
    /// The folders that the configuration in force searches.
    pub folders: Vec<PathBuf>,
}

impl PlanBuilder {
    /// Loads and compiles the configuration at `path`, with the DNS answers so far; `known` is the last load's snapshot.
    /// Reads files, so it must not run on a thread that others wait for. Asks DNS for nothing. A snapshot comes also with
    /// errors, because a change of any of its files may mend them.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(
        &self,
        path: &Path,
        generation: u64,
        known: &ConfigSnapshot,
        answers: &dyn Fn(&Source) -> Vec<Found>,
    ) -> (ConfigSnapshot, Result<Compiled, Rejected>) {
        let (mut snapshot, loaded) = load(path, generation, &known.patterns);
        snapshot.folders.clone_from(&known.folders);
        let compiled = loaded.and_then(|mut loaded| {
            loaded.expect_folders(&known.folders);
            let sessions = self.sessions.for_a_plan();
            let input = CompileInput {
                metrics: &self.metrics,
                registry: &self.registry,
                answers,
                sessions: &sessions,
                generation,
                cpus: self.cpus,
            };
            let (plan, warnings) = weir_config::compile(&loaded, &input)?;
            snapshot.folders = loaded.folders();
            Ok(Compiled { plan, warnings, config: loaded.effective() })
        });
        (snapshot, compiled)
    }

    /// Forbids dialling the admin server, which is bound only at the start: before [`PlanBuilder::listens_on`].
    pub fn admin_listens_on(&self, plan: &Plan) {
        if let Some(admin) = &plan.admin {
            self.registry.own_addresses.admin(admin.address.endpoints());
        }
    }

    /// Serves the certificates that were read for this plan, which comes into force: also in the profiles of the plan
    /// `before`, whose listeners may accept a last connection. Its fleet's secrets are in force for all of them.
    pub fn serves(&self, plan: &Plan, before: Option<&Plan>) {
        ServerProfile::put_in_force(plan.profiles(), &self.sessions);
        if self.sessions.join(&plan.fleet) {
            log_fleet(&plan.fleet.names().map(|(_, name)| name).collect::<Vec<_>>());
        }
        for profile in before.iter().flat_map(|before| before.profiles()) {
            profile.follow(&self.sessions);
        }
    }

    /// Forbids dialling the plan's own listeners and its metrics server, once their sockets are open.
    pub fn listens_on(&self, plan: &Plan) {
        let listeners = plan.listeners.iter().flat_map(|listener| listener.all_addresses());
        let metrics = plan.metrics.iter().flat_map(|metrics| metrics.address.sockets());
        self.registry.own_addresses.listen(listeners.flat_map(ListenAddress::endpoints), metrics);
    }
}

/// Says which secrets are in force by their names, so that nodes can be compared.
pub(crate) fn log_fleet(names: &[SecretName]) {
    match names {
        [] => tracing::info!("no fleet: sessions are resumed on this node alone"),
        [first, others @ ..] => {
            let others = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            tracing::info!(seals = %first, others, "the secrets of the fleet are in force");
        }
    }
}

fn load(path: &Path, generation: u64, known: &[Pattern]) -> (ConfigSnapshot, Result<Loaded, Rejected>) {
    // The start may read a pipe, and a second read of one would block for ever.
    let load = if generation == 1 { weir_config::load } else { weir_config::load_again };
    let fingerprint = Fingerprint::take(path, known);
    let mut snapshot = ConfigSnapshot { patterns: known.to_vec(), fingerprint, folders: Vec::new() };
    let mut loaded = load(path);
    if let Ok(first) = &loaded
        && first.patterns() != known
    {
        // Files of new patterns were read before their fingerprint was taken.
        snapshot.patterns = first.patterns().to_vec();
        snapshot.fingerprint = Fingerprint::take(path, &snapshot.patterns);
        if path.is_file() {
            loaded = weir_config::load_again(path);
        }
    }
    (snapshot, loaded)
}

impl fmt::Debug for PlanBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanBuilder").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}
