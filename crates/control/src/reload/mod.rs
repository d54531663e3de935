//! Another configuration, put in force under traffic.
//!
//! A reload compiles a new plan beside the old one, opens its new sockets, swaps the plan in one store, and then
//! drains the removed parts. One at a time; a failed one changes nothing.

use crate::aside::{NoThread, aside};
use crate::builder::Compiled;
use crate::control::{Control, ask_for_new, give_answers, targets};
use crate::discovery::{ResolveError, Resolver};
use crate::health::Checks;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify};
use tokio::time::sleep;
use weir_config::{Diagnostic, Difference, Rejected};
use weir_core::plan::Plan;
use weir_metrics::Metrics;
use weir_pool::{Live, Pool, Reason};
use weir_router::bind::{self, BindError, Socket};
use weir_router::node::{PAST_GENERATIONS, Phase};
use weir_router::worker::CloseScope;

/// A reload that worked.
#[derive(Debug)]
pub struct Reloaded {
    /// The plan in force.
    pub generation: u64,
    /// The changes; of very many the first.
    pub changes: Difference,
    /// How many more changes there are.
    pub more: usize,
    /// Warnings about the new configuration.
    pub warnings: Vec<Diagnostic>,
}

/// A reload that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Another one is under way.
    #[error("another reload is under way; try again when it has ended")]
    Busy,
    /// The configuration is wrong.
    #[error("{}", .0.brief(MOST_LOGGED))]
    Rejected(Rejected),
    /// New addresses cannot be had.
    #[error("{}", first(.0))]
    Bind(Vec<BindError>),
    /// Names cannot be asked for.
    #[error("runtime.resolvers: {0}")]
    Resolver(ResolveError),
    /// There is no thread to read the configuration with.
    #[error(transparent)]
    NoThread(#[from] NoThread),
    /// It panicked; the log says where.
    #[error("the reload panicked: see the log")]
    Panicked,
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

impl Control {
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
        let unfinished = Unfinished(&self.workshop.metrics, self.node.plan().generation);
        let ended = self.try_reload(generation).await;
        match &ended {
            Ok(reloaded) => {
                *last = generation;
                let changes = reloaded.changes.changes.len() + reloaded.more;
                tracing::info!(generation, changes, "a new configuration is in force");
            }
            Err(error) => {
                tracing::error!(%error, "reload failed, the old configuration goes on");
                // What the plan that came to nothing may have set.
                for pool in &self.node.plan().pools {
                    pool.show();
                }
            }
        }
        drop(unfinished);
        let in_force = self.node.plan().generation;
        self.workshop.metrics.reloaded(ended.is_ok(), in_force);
        ended
    }

    async fn try_reload(&self, generation: u64) -> Result<Reloaded, ReloadError> {
        // The pools of this plan have no owner yet, and must not be swept away.
        let making = self.making.lock().await;
        // Compiling a large configuration takes its time, and an operator's request must not wait for it.
        let compiled = self.compile(generation).await?;
        let before = self.node.plan();
        let ready = self.make_ready(&before, &compiled.plan).await;
        let Ready { mut checks, resolver, lanes } = ready.inspect_err(|_failed| {
            self.node.abandon(&compiled.plan);
            // The names that only the abandoned plan has were asked for already.
            self.names.reconcile(targets(&before));
        })?;
        // From here on nothing can fail any more.
        compiled.log_warnings();
        if let Some(resolver) = resolver {
            self.names.ask(resolver);
        }
        let Compiled { plan, warnings, config } = compiled;
        let mut changes = weir_config::difference(&self.config(), &config);
        let more = changes.keep_first(MOST_CHANGES);

        let plan = Arc::new(plan);
        self.workshop.listens_on(&plan);
        let dropped = self.node.install(Arc::clone(&plan));
        self.config.store(Arc::new(config.to_string()));
        self.orders.listen(lanes).await;
        self.orders.leave(&dropped.addresses).await;
        for room in dropped.listeners {
            let drain = room.drain_number();
            self.orders
                .close(&CloseScope::Listener { limits: room, drain }, plan.runtime.drain_timeout)
                .await;
        }
        for past in self.node.outdated() {
            tracing::warn!(
                generation = past.number,
                most = PAST_GENERATIONS,
                "too many past generations have connections: those of the oldest drain"
            );
            self.orders.close(&CloseScope::Generation(past), plan.runtime.drain_timeout).await;
        }
        self.retire(&before, &plan).await;
        (self.apply)(&plan, &self.node);
        self.names.reconcile(targets(&plan));
        checks.reconcile(&plan.pools);
        drop(checks);
        drop(making);
        Ok(Reloaded { generation, changes, more, warnings })
    }

    /// Resolves the names that are new, so that backends that are names serve from the start, and then opens what the new
    /// plan needs of the system. Nothing in force has changed when it fails, apart from names that are known too many.
    async fn make_ready(&self, before: &Plan, after: &Plan) -> Result<Ready<'_>, ReloadError> {
        let servers = &after.runtime.resolvers;
        let other = (*servers != before.runtime.resolvers).then(|| Resolver::new(servers));
        let resolver = other.transpose().map_err(ReloadError::Resolver)?;
        // Without the lock: DNS may take its time, too.
        ask_for_new(after, &self.names, resolver.as_ref()).await;
        // From here on nothing else changes members: the new plan takes them over as they are.
        let checks = self.checks.lock().await;
        // The process may have been told to end at any time until now. No wait comes between this and the plan's being in
        // force, and the process is told on this same thread.
        if self.node.phase() != Phase::Serving {
            return Err(ReloadError::Ending);
        }
        // Takes up the answers that came, and the weights that were set by hand, during the compile and the resolution.
        give_answers(after, &self.names);
        for pool in &after.pools {
            pool.renew();
        }
        let held: Vec<_> = before.listeners.iter().flat_map(|l| l.addresses.iter().copied()).collect();
        let lanes = bind::sockets(after, self.node.workers, &held).map_err(ReloadError::Bind)?;
        Ok(Ready { checks, resolver, lanes })
    }

    async fn compile(&self, generation: u64) -> Result<Compiled, ReloadError> {
        let (workshop, path, names) = (self.workshop.clone(), self.path.clone(), Arc::clone(&self.names));
        let known = self.look.load_full();
        let compile = move || workshop.compile(&path, generation, &known, &|name| names.found(name));
        let (look, compiled) = aside(compile)?.await.map_err(|ended| match ended.is_panic() {
            true => ReloadError::Panicked,
            false => ReloadError::Ending,
        })?;
        self.look.store(Arc::new(look));
        compiled.map_err(ReloadError::Rejected)
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

    /// Reloads whenever it is told to. Told twice during a reload, it reloads once more. For ever.
    pub async fn reload_when_told(&self, told: &Notify) {
        loop {
            told.notified().await;
            while matches!(self.reload().await, Err(ReloadError::Busy)) {
                sleep(LOOK).await;
            }
        }
    }
}

/// All that a new plan needs to be put in force.
struct Ready<'a> {
    /// Held until it is in force.
    checks: MutexGuard<'a, Checks>,
    /// Where the plan in force has another one.
    resolver: Option<Resolver>,
    /// The sockets that the plan in force does not have.
    lanes: Vec<Vec<Socket>>,
}

/// A reload under way. A panic is a failure too: on unwinding, the metric says so.
struct Unfinished<'a>(&'a Metrics, u64);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.reloaded(false, self.1);
        }
    }
}

/// The errors of the first addresses, and the number of the others.
fn first(failed: &[BindError]) -> String {
    let mut lines: Vec<String> = failed.iter().take(MOST_LOGGED).map(ToString::to_string).collect();
    let more = failed.len() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// A reload tells of this many changes, and counts the others: a file may have 10,000 routes. `weir plan` shows all.
const MOST_CHANGES: usize = 100;
/// The log shows this many errors of one reload: `weir check` and the answer to the reload show more.
const MOST_LOGGED: usize = 10;
/// How often it is looked whether the reload under way has ended.
const LOOK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
