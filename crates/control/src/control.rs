//! The control plane: what may change while connections live, and the one place that changes it.
//!
//! Every change of a pool's members (a plan, an answer, an operator's request) holds [`Control::checks`], so that they
//! come one after the other. A plan that is still being compiled, or whose names are still being resolved, changes nothing
//! yet, and holds [`Control::making`] alone.

use crate::builder::{Look, Workshop};
use crate::discovery::{Names, Resolver};
use crate::health::Checks;
use crate::outages::Outages;
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use weir_core::plan::Plan;
use weir_pool::source::Target;
use weir_pool::{Live, Reason};
use weir_router::data_plane::WorkerCommands;
use weir_router::node::Node;
use weir_router::worker::CloseScope;

/// The control plane.
pub struct Control {
    /// The process.
    pub node: Arc<Node>,
    pub(crate) path: PathBuf,
    pub(crate) workshop: Workshop,
    pub(crate) names: Arc<Names>,
    pub(crate) orders: WorkerCommands,
    /// As JSON text, which is a tenth of the memory that its values take: of 10,000 routes, a megabyte.
    pub(crate) config: ArcSwap<String>,
    /// What the last load read, whether or not that gave a plan.
    pub(crate) look: ArcSwap<Look>,
    /// The health checks. Its lock is held during every change of the plan or of a pool's members.
    pub(crate) checks: Mutex<Checks>,
    /// Held while a plan is made: its pools have no owner yet, and [`Control::keep`] must not sweep them away. Locked before
    /// [`Control::checks`].
    pub(crate) making: Mutex<()>,
    /// Held by a reload; what it guards is the last generation.
    pub(crate) reloading: Mutex<u64>,
    pub(crate) apply: Box<Apply>,
}

/// What the process itself changes with a new plan: its log, its room for connections.
pub type Apply = dyn Fn(&Plan, &Node) + Send + Sync;

/// What the control plane begins with.
pub struct Parts {
    /// The process, with its first plan in force.
    pub node: Arc<Node>,
    /// Where the configuration is.
    pub path: PathBuf,
    /// What further plans are made with.
    pub workshop: Workshop,
    /// What DNS has answered.
    pub names: Arc<Names>,
    /// How workers are told.
    pub orders: WorkerCommands,
    /// The configuration in force, with its defaults, without secrets.
    pub config: serde_json::Value,
    /// What was read for it.
    pub look: Look,
    /// The health checks.
    pub checks: Checks,
    /// What the process itself changes with a new plan.
    pub apply: Box<Apply>,
}

impl Control {
    /// The control plane of a node whose plan is in force already. Begins checks and the resolution of names.
    pub async fn begin(parts: Parts) -> Arc<Self> {
        let Parts { node, path, workshop, names, orders, config, look, mut checks, apply } = parts;
        let plan = node.plan();
        names.reconcile(targets(&plan));
        checks.reconcile(&plan.pools);
        Arc::new(Self {
            node,
            path,
            workshop,
            names,
            orders,
            config: ArcSwap::from_pointee(config.to_string()),
            look: ArcSwap::from_pointee(look),
            checks: Mutex::new(checks),
            making: Mutex::new(()),
            reloading: Mutex::new(plan.generation),
            apply,
        })
    }

    /// The configuration in force, with its defaults, without secrets.
    pub fn config(&self) -> serde_json::Value {
        // It was written from just such a value.
        serde_json::from_str(&self.config.load()).unwrap_or_default()
    }

    /// What DNS has answered.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// No new connections; those that there are go on until `timeout`.
    pub(crate) async fn drain(&self, live: &Arc<Live>, reason: Reason, timeout: Duration) {
        if live.out(reason) {
            let whose = CloseScope::Backend { live: Arc::clone(live), drain: Some(live.drain_number()) };
            self.orders.close(&whose, timeout).await;
        }
    }

    /// Ends ejections whose time is over, logs pools that have lost their last backend, and forgets backends, pools and
    /// listeners that are gone. For ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn keep(&self) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outages = Outages::default();
        loop {
            tick.tick().await;
            let plan = self.node.plan();
            for pool in &plan.pools {
                // Also in pools that eject no more: an earlier plan may have ejected.
                pool.end_ejections(Instant::now());
            }
            outages.look(&plan.pools);
            // Not while a plan is being made: its pools have no owner yet.
            if let (Ok(_nothing_made), Ok(_alone)) = (self.making.try_lock(), self.checks.try_lock()) {
                self.node.sweep();
                let names: HashSet<&str> = plan.pools.iter().map(|p| &*p.name).collect();
                self.workshop.lives.sweep(&names);
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
pub async fn resolve(plan: &Plan, names: &Names) {
    ask_for_new(plan, names, None).await;
    give_answers(plan, names);
}

/// Asks for the names of a plan that were never asked for, and waits a moment for the answers. Where the plan has another
/// resolver than the one in force, that one is asked.
pub(crate) async fn ask_for_new(plan: &Plan, names: &Names, resolver: Option<&Resolver>) {
    names.first(targets(plan), resolver, NAMES_WITHIN).await;
}

/// Gives the pools of a plan the DNS answers that are known now.
pub(crate) fn give_answers(plan: &Plan, names: &Names) {
    for pool in &plan.pools {
        for target in pool.targets() {
            pool.resolved(target, &names.found(target));
        }
    }
}

/// The names among the backends of a plan.
pub(crate) fn targets(plan: &Plan) -> impl Iterator<Item = Target> {
    plan.pools.iter().flat_map(|p| p.targets().cloned())
}

/// How long a plan waits for names that were never asked for. What has not come by then comes later.
const NAMES_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked for ejections that are over: one may last so much longer. A wake-up of its own takes
/// processor time, and caches, from connections.
const LOOK: Duration = Duration::from_secs(1);
