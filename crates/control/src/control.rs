//! The control plane: what may change while connections live, and the one place that changes it.
//!
//! Every change of a pool's members (a plan, an answer, an operator's request) holds [`Control::checks`], so that changes
//! come one after the other. While a plan is compiled and its names are resolved, nothing changes yet, and only
//! [`Control::making`] is held.

use crate::access;
use crate::builder::{ConfigSnapshot, PlanBuilder};
use crate::discovery::{DnsResolver, Sources};
use crate::health::Checks;
use crate::outages::Outages;
use crate::rebalance::Rebalance;
use crate::servers::Servers;
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_core::plan::Plan;
use weir_pool::source::Source;
use weir_pool::{BackendState, OutOfService};
use weir_router::data_plane::WorkerCommands;
use weir_router::node::Node;
use weir_router::worker::CloseScope;
use weir_tls::KeyLog;

/// The control plane.
pub struct Control {
    /// The process.
    pub node: Arc<Node>,
    pub(crate) path: PathBuf,
    pub(crate) builder: PlanBuilder,
    pub(crate) sources: Arc<Sources>,
    pub(crate) commands: WorkerCommands,
    /// As JSON text, which is a tenth of the memory that its values take: of 10,000 routes, a megabyte.
    pub(crate) config: ArcSwap<String>,
    /// What the last load read, even if no plan came of it.
    pub(crate) snapshot: ArcSwap<ConfigSnapshot>,
    /// The health checks. Its lock is held during every change of the plan or of a pool's members.
    pub(crate) checks: Mutex<Checks>,
    /// Held while a plan is made: its pools have no owner yet, and [`Control::maintain`] must not sweep them away. Locked before
    /// [`Control::checks`].
    pub(crate) making: Mutex<()>,
    /// Held by a reload; what it guards is the last generation.
    pub(crate) reloading: Mutex<u64>,
    pub(crate) servers: Servers,
    pub(crate) records: access::Switch,
    pub(crate) apply: Box<Apply>,
}

/// Applies a new plan to the process itself: its log, its limit on connections.
pub type Apply = dyn Fn(&Plan, &Node) + Send + Sync;

/// What the control plane begins with.
pub struct Parts {
    /// The process, with its first plan in force.
    pub node: Arc<Node>,
    /// The path of the configuration.
    pub path: PathBuf,
    /// Makes further plans.
    pub builder: PlanBuilder,
    /// The DNS answers.
    pub sources: Arc<Sources>,
    /// The sender of commands to the workers.
    pub commands: WorkerCommands,
    /// The configuration in force, with its defaults, without secrets.
    pub config: serde_json::Value,
    /// The files that it was read from.
    pub snapshot: ConfigSnapshot,
    /// The health checks.
    pub checks: Checks,
    /// weir's own servers.
    pub servers: Servers,
    /// Says where records are written.
    pub records: access::Switch,
    /// Applies a new plan to the process itself.
    pub apply: Box<Apply>,
}

impl Control {
    /// The control plane of a node whose plan is already in force. Starts checks and the resolution of names.
    pub async fn begin(parts: Parts) -> Arc<Self> {
        let Parts { node, path, builder, sources, commands, config, snapshot, mut checks, servers, .. } =
            parts;
        let (records, apply) = (parts.records, parts.apply);
        let plan = node.plan();
        sources.reconcile(followed(&plan));
        checks.reconcile(&plan.pools);
        Arc::new(Self {
            node,
            path,
            builder,
            sources,
            commands,
            config: ArcSwap::from_pointee(config.to_string()),
            snapshot: ArcSwap::from_pointee(snapshot),
            checks: Mutex::new(checks),
            making: Mutex::new(()),
            reloading: Mutex::new(plan.generation),
            servers,
            records,
            apply,
        })
    }

    /// The configuration in force, with its defaults, without secrets.
    pub fn config(&self) -> serde_json::Value {
        // The text was written from such a value.
        serde_json::from_str(&self.config.load()).unwrap_or_default()
    }

    /// The name of the file to which the secrets of TLS sessions are written, if they are.
    pub fn key_log(&self) -> Option<&str> {
        self.builder.sessions.key_log().map(KeyLog::name)
    }

    /// weir's own servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The DNS answers.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Takes the backend out of service; its connections may go on until `timeout`.
    pub(crate) async fn drain(&self, state: &Arc<BackendState>, reason: OutOfService, timeout: Duration) {
        if state.out(reason) {
            let whose = CloseScope::Backend { state: Arc::clone(state), drain: Some(state.drain_number()) };
            self.commands.close(&whose, timeout).await;
        }
    }

    /// Ends ejections whose time is over, OCSP responses that have expired, and connections of backends with more than their
    /// share; logs pools that have lost their last backend, and forgets removed backends, pools and listeners. Never returns.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn maintain(&self) {
        let mut tick = interval(MAINTENANCE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outages = Outages::default();
        let mut rebalance = Rebalance::default();
        loop {
            tick.tick().await;
            let plan = self.node.plan();
            for pool in &plan.pools {
                // Also in pools that no longer eject: an earlier plan may have.
                pool.end_ejections(Instant::now());
            }
            outages.look(&plan.pools);
            rebalance.look(&plan.pools, &self.commands).await;
            self.end_staples(&plan);
            // Not while a plan is being made: its pools have no owner yet.
            if let (Ok(_nothing_made), Ok(_alone)) = (self.making.try_lock(), self.checks.try_lock()) {
                self.node.sweep();
                let names: HashSet<&str> = plan.pools.iter().map(|p| &*p.name).collect();
                self.builder.registry.sweep(&names);
            }
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Asks for the names of a plan that were never asked for, waits a moment for the answers, and gives them to its pools:
/// backends that are names serve from the start.
pub async fn resolve(plan: &Plan, sources: &Sources) {
    ask_for_new(plan, sources, None).await;
    give_answers(plan, sources);
}

/// Asks for the names of a plan that were never asked for, and waits a moment for the answers. Where the plan has another
/// resolver than the one in force, that one is asked.
pub(crate) async fn ask_for_new(plan: &Plan, sources: &Sources, resolver: Option<&DnsResolver>) {
    sources.first(followed(plan), resolver, NAMES_WITHIN).await;
}

/// Gives the pools of a plan the DNS answers that are known now.
pub(crate) fn give_answers(plan: &Plan, sources: &Sources) {
    for pool in &plan.pools {
        pool.resolved(pool.sources().map(|source| (source, sources.found(source))));
    }
}

/// The sources of a plan's backends that must be followed.
pub(crate) fn followed(plan: &Plan) -> impl Iterator<Item = Source> {
    plan.pools.iter().flat_map(|p| p.sources().cloned())
}

/// How long a plan waits for names that were never asked for. Later answers are taken up when they come.
const NAMES_WITHIN: Duration = Duration::from_secs(2);
/// How often ejections are checked for their end: one may last this much longer. More wake-ups would take processor
/// time and caches from connections.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
