//! The control plane: what may change while connections live, and the one place that changes it.
//!
//! A reload compiles a new plan beside the old one, opens its new sockets, swaps the plan in one store, and then lets
//! what was removed drain. One at a time; a failed one changes nothing. What is set by hand, and what DNS answers,
//! changes the members of a pool in the same way, within the plan in force.

use crate::discovery::{Names, ResolveError, Resolver};
use crate::health::Checks;
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use weir_config::{CompileInput, Diagnostic, Difference, Fingerprint, Pattern, Rejected};
use weir_core::pool::{Backend, Live, Lives, Pool, Reason};
use weir_metrics::Metrics;
use weir_router::bind::{self, BindError};
use weir_router::data_plane::Orders;
use weir_router::node::Node;
use weir_router::plan::Plan;
use weir_router::worker::Whose;
use weir_tls::TicketSecret;

/// What a plan is made with, over the life of the process.
#[derive(Clone)]
pub struct Workshop {
    /// The configuration.
    pub path: PathBuf,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Every live state.
    pub lives: Arc<Lives>,
    /// What DNS has answered.
    pub names: Arc<Names>,
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
    /// Loads and compiles the configuration. Reads files: not for a thread that others wait for.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(&self, path: &Path, generation: u64) -> Result<Compiled, Rejected> {
        let loaded = weir_config::load(path)?;
        let answers = |target: &_| self.names.found(target);
        let input = CompileInput {
            metrics: &self.metrics,
            lives: &self.lives,
            answers: &answers,
            secret: &self.secret,
            generation,
            cpus: self.cpus,
        };
        let (plan, warnings) = weir_config::compile(&loaded, &input)?;
        Ok(Compiled {
            plan,
            warnings,
            config: weir_config::effective(&loaded.file),
            patterns: loaded.patterns().to_vec(),
        })
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The control plane.
pub struct Control {
    /// The process.
    pub node: Arc<Node>,
    workshop: Workshop,
    orders: Orders,
    config: ArcSwap<serde_json::Value>,
    patterns: ArcSwap<Vec<Pattern>>,
    checks: Mutex<Checks>,
    /// Held by a reload; what it guards is the last generation.
    reloading: Mutex<u64>,
    apply: Box<Apply>,
}

/// What the process itself changes with a new plan: its log, its room for connections.
pub type Apply = dyn Fn(&Plan, &Node) + Send + Sync;

/// A reload that worked.
#[derive(Debug)]
pub struct Reloaded {
    /// The plan in force.
    pub generation: u64,
    /// What is different.
    pub changes: Difference,
    /// What is odd about the new configuration.
    pub warnings: Vec<Diagnostic>,
}

/// A reload that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Another one is under way.
    #[error("another reload is under way; try again when it has ended")]
    Busy,
    /// The configuration is wrong.
    #[error("{0}")]
    Rejected(Rejected),
    /// New addresses cannot be had.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Bind(Vec<BindError>),
    /// Names cannot be asked for.
    #[error("runtime.resolvers: {0}")]
    Resolver(ResolveError),
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// There is no such pool or backend.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// No pool of that name.
    #[error("there is no pool {0:?}")]
    Pool(String),
    /// No backend of that name in the pool.
    #[error("there is no backend {1:?} in the pool {0:?}")]
    Backend(String, String),
}

impl Control {
    /// The control plane of a node whose plan is in force already.
    pub fn new(
        node: Arc<Node>,
        workshop: Workshop,
        orders: Orders,
        (config, patterns): (serde_json::Value, Vec<Pattern>),
        checks: Checks,
        apply: Box<Apply>,
    ) -> Arc<Self> {
        let generation = node.plan().generation;
        Arc::new(Self {
            node,
            workshop,
            orders,
            config: ArcSwap::from_pointee(config),
            patterns: ArcSwap::from_pointee(patterns),
            checks: Mutex::new(checks),
            reloading: Mutex::new(generation),
            apply,
        })
    }

    /// The configuration in force, with its defaults, without secrets.
    pub fn config(&self) -> Arc<serde_json::Value> {
        self.config.load_full()
    }

    /// What DNS has answered.
    pub fn names(&self) -> &Names {
        &self.workshop.names
    }

    /// Starts the checks and the resolution of names of the plan in force.
    pub async fn begin(&self) {
        let plan = self.node.plan();
        self.workshop.names.reconcile(targets(&plan));
        self.checks.lock().await.reconcile(&plan.pools);
    }

    /// Reads the configuration anew and puts it in force. Where that fails, the old one goes on, whole.
    ///
    /// # Errors
    /// Why nothing has changed.
    ///
    /// # Cancel safety
    /// Not cancel safe: to be spawned.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut last = self.reloading.try_lock().map_err(|_held| ReloadError::Busy)?;
        let generation = *last + 1;
        let ended = self.try_reload(generation).await;
        match &ended {
            Ok(reloaded) => {
                *last = generation;
                let changes = reloaded.changes.changes.len();
                tracing::info!(generation, changes, "a new configuration is in force");
            }
            Err(error) => {
                tracing::error!(%error, "reload failed, the old configuration goes on");
                // Gauges of the pools may have been set by the plan that came to nothing.
                for pool in &self.node.plan().pools {
                    pool.renew();
                }
            }
        }
        let in_force = self.node.plan().generation;
        self.workshop.metrics.reloaded(ended.is_ok(), in_force, since_1970());
        ended
    }

    async fn try_reload(&self, generation: u64) -> Result<Reloaded, ReloadError> {
        let compiled = self.compile(generation).await?;
        let before = self.node.plan();
        let servers = &compiled.plan.runtime.resolvers;
        let resolver = if *servers == before.runtime.resolvers {
            None
        } else {
            Some(Resolver::new(servers).map_err(ReloadError::Resolver)?)
        };
        let held: Vec<_> = before.listeners.iter().flat_map(|l| l.addresses.iter().copied()).collect();
        let lanes = bind::sockets(&compiled.plan, self.node.workers, &held).map_err(ReloadError::Bind)?;
        // From here on nothing can fail any more.
        if let Some(resolver) = resolver {
            self.workshop.names.ask(resolver);
        }
        // Names that are new are asked for before anybody is sent to them.
        let unknown: Vec<_> = targets(&compiled.plan).collect();
        self.workshop.names.first(unknown.iter().cloned(), NAMES_WITHIN).await;
        let Compiled { plan, warnings, config, patterns } = compiled;
        for pool in &plan.pools {
            for target in pool.targets() {
                pool.resolved(target, &self.workshop.names.found(target));
            }
        }
        let changes = weir_config::difference(&self.config.load(), &config);

        let plan = Arc::new(plan);
        let dropped = self.node.install(Arc::clone(&plan));
        self.config.store(Arc::new(config));
        self.patterns.store(Arc::new(patterns));
        self.orders.listen(lanes).await;
        self.orders.leave(&dropped.addresses).await;
        for room in dropped.listeners {
            self.orders.close(&Whose::Listener(room), plan.runtime.drain_timeout).await;
        }
        self.retire(&before, &plan).await;
        (self.apply)(&plan, &self.node);
        self.workshop.names.reconcile(targets(&plan));
        self.checks.lock().await.reconcile(&plan.pools);
        for warning in &warnings {
            tracing::warn!(
                file = warning.file,
                line = warning.line,
                key = warning.key,
                "{}",
                warning.message
            );
        }
        Ok(Reloaded { generation, changes, warnings })
    }

    async fn compile(&self, generation: u64) -> Result<Compiled, ReloadError> {
        let workshop = self.workshop.clone();
        let compiled = spawn_blocking(move || workshop.compile(&workshop.path, generation)).await;
        // A panic there has been logged; the only other end is that of the process.
        compiled.map_err(|_ended| ReloadError::Ending)?.map_err(ReloadError::Rejected)
    }

    /// Lets the backends drain that the new plan does not have, and takes back those that it has again.
    async fn retire(&self, before: &Plan, after: &Plan) {
        let live = |plan: &Plan| -> Vec<(Arc<Live>, Duration)> {
            let of = |p: &Arc<Pool>| {
                let timeout = p.settings.drain_timeout;
                p.members().all().map(|b| (Arc::clone(&b.live), timeout)).collect::<Vec<_>>()
            };
            plan.pools.iter().flat_map(of).collect()
        };
        let now = live(after);
        for (live, _) in &now {
            live.back(Reason::Retired);
        }
        let kept: HashSet<usize> = now.iter().map(|(l, _)| Arc::as_ptr(l).addr()).collect();
        for (gone, timeout) in live(before) {
            if !kept.contains(&Arc::as_ptr(&gone).addr()) {
                self.drain(&gone, Reason::Retired, timeout).await;
            }
        }
    }

    /// No new connections; those that there are go on until `timeout`.
    async fn drain(&self, live: &Arc<Live>, reason: Reason, timeout: Duration) {
        if live.out(reason) {
            let whose = Whose::Backend { live: Arc::clone(live), drain: Some(live.drain_number()) };
            self.orders.close(&whose, timeout).await;
        }
    }

    /// Takes a backend out of service by hand: no new connections, and those that it has drain.
    ///
    /// # Errors
    /// When there is no such backend.
    pub async fn drain_backend(&self, pool: &str, backend: &str) -> Result<String, Unknown> {
        let (pool, backend) = self.find(pool, backend)?;
        let timeout = pool.settings.drain_timeout;
        self.drain(&backend.live, Reason::Drained, timeout).await;
        pool.reassess();
        let active = backend.active();
        tracing::info!(pool = %pool.name, backend = %backend.name, active, "drained by hand");
        Ok(format!("{}/{} drains: {active} connections may go on for {timeout:?}", pool.name, backend.name))
    }

    /// Puts a backend back in service that was drained by hand, and takes back the weight set by hand.
    ///
    /// # Errors
    /// When there is no such backend.
    pub async fn ready_backend(&self, pool: &str, backend: &str) -> Result<String, Unknown> {
        let (pool, backend) = self.find(pool, backend)?;
        backend.live.back(Reason::Drained);
        backend.live.set_hand_weight(None);
        self.renew(&pool).await;
        tracing::info!(pool = %pool.name, backend = %backend.name, "ready by hand");
        Ok(format!("{}/{} is {}", pool.name, backend.name, backend.live.state()))
    }

    /// Sets a backend's weight by hand; it holds until `ready`, or until the configuration drops the backend.
    ///
    /// # Errors
    /// When there is no such backend.
    pub async fn weigh_backend(&self, pool: &str, backend: &str, weight: u16) -> Result<String, Unknown> {
        let (pool, backend) = self.find(pool, backend)?;
        backend.live.set_hand_weight(Some(weight));
        self.renew(&pool).await;
        tracing::info!(pool = %pool.name, backend = %backend.name, weight, "weight set by hand");
        Ok(format!("{}/{} has the weight {weight}", pool.name, backend.name))
    }

    /// Makes a pool's members anew, with what was set by hand.
    async fn renew(&self, pool: &Arc<Pool>) {
        pool.renew();
        self.checks.lock().await.reconcile(&self.node.plan().pools);
    }

    fn find(&self, pool: &str, backend: &str) -> Result<(Arc<Pool>, Arc<Backend>), Unknown> {
        let plan = self.node.plan();
        let found = plan.pools.iter().find(|p| *p.name == *pool);
        let found = found.ok_or_else(|| Unknown::Pool(pool.to_owned()))?;
        let member = found.members().all().find(|b| *b.name == *backend).cloned();
        let member = member.ok_or_else(|| Unknown::Backend(pool.to_owned(), backend.to_owned()))?;
        Ok((Arc::clone(found), member))
    }

    /// Follows DNS for ever: what a name does not stand for any more drains.
    ///
    /// # Cancel safety
    /// Dropping the future may leave an answer out until the next one.
    pub async fn follow_names(&self) {
        loop {
            let changed = self.workshop.names.changed().await;
            // Not while a reload puts another plan in force.
            let held = self.reloading.lock().await;
            let plan = self.node.plan();
            for pool in &plan.pools {
                for target in &changed {
                    let gone = pool.resolved(target, &self.workshop.names.found(target));
                    for live in &gone {
                        self.drain(live, Reason::Retired, pool.settings.drain_timeout).await;
                    }
                }
                for member in pool.members().all() {
                    member.live.back(Reason::Retired);
                }
            }
            self.checks.lock().await.reconcile(&plan.pools);
            drop(held);
        }
    }

    /// Reloads whenever it is told to. Told twice during a reload, it reloads once more. For ever.
    pub async fn reload_when_told(&self, told: &Notify) {
        loop {
            told.notified().await;
            while matches!(self.reload().await, Err(ReloadError::Busy)) {
                sleep(LOOK).await;
            }
        }
    }

    /// Looks at the files of the configuration while `runtime.watch` is on, and tells of changes. For ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn watch_files(&self, tell: &Notify) {
        let mut seen: Option<Fingerprint> = None;
        let mut told: Option<Fingerprint> = None;
        loop {
            sleep(WATCH).await;
            if !self.node.plan().runtime.watch {
                (seen, told) = (None, None);
                continue;
            }
            let Some(now) = self.fingerprint(seen.clone()).await else { continue };
            let settled = seen.as_ref() == Some(&now);
            let known = told.get_or_insert_with(|| now.clone());
            // A file that is still being written is left alone until it has settled.
            if settled && *known != now {
                *known = now.clone();
                tell.notify_one();
            }
            seen = Some(now);
        }
    }

    async fn fingerprint(&self, before: Option<Fingerprint>) -> Option<Fingerprint> {
        let path = self.workshop.path.clone();
        let patterns = self.patterns.load_full();
        let looked = spawn_blocking(move || before.unwrap_or_default().retake(&path, &patterns)).await;
        looked.ok()
    }

    /// Ends ejections whose time is over, and forgets what nobody has any more. For ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn keep(&self) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0u64;
        loop {
            tick.tick().await;
            let plan = self.node.plan();
            for pool in plan.pools.iter().filter(|p| p.settings.passive_check.is_some()) {
                pool.end_ejections(Instant::now());
            }
            number += 1;
            if number.is_multiple_of(SWEEP) {
                self.node.sweep();
                let names: HashSet<&str> = plan.pools.iter().map(|p| &*p.name).collect();
                self.workshop.lives.sweep(&names);
            }
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("workshop", &self.workshop).finish_non_exhaustive()
    }
}

/// The names among the backends of a plan.
pub fn targets(plan: &Plan) -> impl Iterator<Item = weir_core::pool::names::Target> {
    plan.pools.iter().flat_map(|p| p.targets().cloned())
}

/// How long a reload waits for names that it has not asked for before.
const NAMES_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked for ejections that are over.
const LOOK: Duration = Duration::from_millis(200);
/// How often the files are looked at, while they are watched.
const WATCH: Duration = Duration::from_millis(500);
/// So many looks to a sweep.
const SWEEP: u64 = 5;

fn since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
