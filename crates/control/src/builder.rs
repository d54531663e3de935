//! The parts that every plan of the process is made with, and how a plan is made.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_config::{CompileInput, Diagnostic, Fingerprint, Loaded, Pattern, Rejected};
use weir_core::plan::{AdminAddress, Plan};
use weir_metrics::Metrics;
use weir_pool::Lives;
use weir_pool::source::{Found, Target};
use weir_tls::Sessions;

/// The parts that every plan of the process is made with. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Every live state.
    pub lives: Arc<Lives>,
    /// What TLS sessions are resumed by.
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
    /// Writes what is odd about it to the log. Of very many warnings there are the first ones, and how many more.
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

/// Which files a load read, and what they held before. Two looks compare only where they went the same way.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Where it looked for more files than the main one.
    pub patterns: Vec<Pattern>,
    /// What all of them held.
    pub print: Fingerprint,
    /// The folders that the configuration in force looks into.
    pub folders: Vec<PathBuf>,
}

impl Workshop {
    /// Loads and compiles the configuration at `path`, with what DNS has answered so far; `known` is what the last
    /// load looked at. Reads files: not for a thread that others wait for. Asks no name of DNS. The look is
    /// there in any case: what was wrong may be mended in any of the files.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(
        &self,
        path: &Path,
        generation: u64,
        known: &Look,
        answers: &dyn Fn(&Target) -> Vec<Found>,
    ) -> (Look, Result<Compiled, Rejected>) {
        let (mut look, loaded) = load(path, generation, &known.patterns);
        look.folders.clone_from(&known.folders);
        let compiled = loaded.and_then(|mut loaded| {
            loaded.expect_folders(&known.folders);
            let input = CompileInput {
                metrics: &self.metrics,
                lives: &self.lives,
                answers,
                sessions: &self.sessions,
                generation,
                cpus: self.cpus,
            };
            let (plan, warnings) = weir_config::compile(&loaded, &input)?;
            look.folders = loaded.folders();
            Ok(Compiled { plan, warnings, config: loaded.effective() })
        });
        (look, compiled)
    }

    /// Has no backend dialled at the admin server, which is bound at the start alone.
    pub fn admin_listens_on(&self, plan: &Plan) {
        if let Some(AdminAddress::Tcp(address)) = plan.admin {
            self.lives.own_addresses.admin(address);
        }
    }

    /// Has no backend dialled where this plan listens, once its sockets are open.
    pub fn listens_on(&self, plan: &Plan) {
        let own = &self.lives.own_addresses;
        let addresses = plan.listeners.iter().flat_map(|listener| &listener.addresses);
        own.listen(addresses.flat_map(|address| {
            let v4 = address.dual_stack.then(|| (Ipv4Addr::UNSPECIFIED, address.socket.port()).into());
            std::iter::once(address.socket).chain(v4)
        }));
    }
}

fn load(path: &Path, generation: u64, known: &[Pattern]) -> (Look, Result<Loaded, Rejected>) {
    // The start may read a pipe; a second look at one would wait for ever.
    let load = if generation == 1 { weir_config::load } else { weir_config::load_again };
    let print = Fingerprint::take(path, known);
    let mut look = Look { patterns: known.to_vec(), print, folders: Vec::new() };
    let mut loaded = load(path);
    if let Ok(first) = &loaded
        && first.patterns() != known
    {
        // What new patterns name was read without having been looked at before.
        look.patterns = first.patterns().to_vec();
        look.print = Fingerprint::take(path, &look.patterns);
        if path.is_file() {
            loaded = weir_config::load_again(path);
        }
    }
    (look, loaded)
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}
