//! Puts another configuration in force under traffic.
//!
//! A reload compiles a new plan beside the old one, opens its new sockets, swaps the plan in one store, and then
//! drains the removed parts. Reloads run one at a time; a failed reload changes nothing.

use crate::access::{self, FileError, RecordFile};
use crate::aside::{NoThread, aside};
use crate::builder::Compiled;
use crate::control::{Control, ask_for_new, followed, give_answers};
use crate::discovery::{DnsResolver, ResolveError};
use crate::health::Checks;
use crate::servers::MetricsSocket;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{MutexGuard, Notify};
use tokio::time::sleep;
use weir_config::{Diagnostic, Difference, Rejected};
use weir_core::plan::Plan;
use weir_metrics::Metrics;
use weir_pool::{BackendState, OutOfService, Pool};
use weir_router::bind::{self, BindError};
use weir_router::inherited::Inherited;
use weir_router::node::{PAST_GENERATIONS, Phase};
use weir_router::sockets::ListeningSocket;
use weir_router::worker::CloseScope;

/// A reload that worked.
#[derive(Debug)]
pub struct Reloaded {
    /// The plan in force.
    pub generation: u64,
    /// The first of its changes.
    pub changes: Difference,
    /// How many more changes there are.
    pub more: usize,
    /// Warnings about the new configuration.
    pub warnings: Vec<Diagnostic>,
}

/// A reload that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Another reload is under way.
    #[error("another reload, or an upgrade, is under way; try again when it has ended")]
    Busy,
    /// The configuration is wrong.
    #[error("{}", .0.brief(MOST_LOGGED))]
    Rejected(Rejected),
    /// New addresses cannot be bound.
    #[error("{}", first(.0))]
    Bind(Vec<BindError>),
    /// The file for access records cannot be opened.
    #[error(transparent)]
    Records(#[from] FileError),
    /// Sources cannot be asked for.
    #[error("runtime.resolvers: {0}")]
    Resolver(ResolveError),
    /// No thread can be started to read the configuration.
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
    /// Reads the configuration anew and puts it in force. If that fails, all of the old one stays in force.
    ///
    /// # Errors
    /// Why nothing has changed.
    ///
    /// # Cancel safety
    /// Not cancel safe: spawn it.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut last = self.reloading.try_lock().map_err(|_held| ReloadError::Busy)?;
        let generation = *last + 1;
        let unfinished = Unfinished(&self.builder.metrics, self.node.plan().generation);
        let ended = self.try_reload(generation).await;
        match &ended {
            Ok(reloaded) => {
                *last = generation;
                let changes = reloaded.changes.changes.len() + reloaded.more;
                tracing::info!(generation, changes, "a new configuration is in force");
            }
            Err(error) => {
                tracing::error!(%error, "reload failed, the old configuration goes on");
                // Undoes what the abandoned plan may have set.
                for pool in &self.node.plan().pools {
                    pool.show();
                }
            }
        }
        drop(unfinished);
        let in_force = self.node.plan().generation;
        self.builder.metrics.reloaded(ended.is_ok(), in_force);
        ended
    }

    /// Keeps reloads out for as long as the guard lives; `None` while one is under way.
    pub fn hold_reloads(&self) -> Option<MutexGuard<'_, u64>> {
        self.reloading.try_lock().ok()
    }

    async fn try_reload(&self, generation: u64) -> Result<Reloaded, ReloadError> {
        // The pools of this plan have no owner yet, and must not be swept away.
        let making = self.making.lock().await;
        // Compiling a large configuration is slow, and an operator's request must not wait for it.
        let compiled = self.compile(generation).await?;
        let before = self.node.plan();
        let ready = self.make_ready(&before, &compiled.plan).await;
        let Ready { mut checks, resolver, sockets, metrics, records } = ready.inspect_err(|_failed| {
            self.node.abandon(&compiled.plan);
            // Names that only the abandoned plan has were already asked for.
            self.sources.reconcile(followed(&before));
        })?;
        // From here on nothing can fail.
        compiled.log_warnings();
        if let Some(resolver) = resolver {
            self.sources.ask(resolver);
        }
        let Compiled { plan, warnings, config } = compiled;
        let mut changes = weir_config::difference(&self.config(), &config);
        let more = changes.keep_first(MOST_CHANGES);

        let plan = Arc::new(plan);
        self.builder.listens_on(&plan);
        self.builder.serves(&plan, Some(&before));
        let dropped = self.node.install(Arc::clone(&plan));
        self.servers.follow(&plan, metrics);
        self.config.store(Arc::new(config.to_string()));
        self.commands.listen(sockets).await;
        self.commands.leave(&dropped.addresses).await;
        for room in dropped.listeners {
            let drain = room.drain_number();
            self.commands
                .close(&CloseScope::Listener { limits: room, drain }, plan.runtime.drain_timeout)
                .await;
        }
        for past in self.node.outdated() {
            tracing::warn!(
                generation = past.number,
                most = PAST_GENERATIONS,
                "too many past generations have connections: those of the oldest drain"
            );
            self.commands.close(&CloseScope::Generation(past), plan.runtime.drain_timeout).await;
        }
        self.retire(&before, &plan).await;
        if let Some(records) = records {
            self.records.write_to(records);
        }
        (self.apply)(&plan, &self.node);
        self.sources.reconcile(followed(&plan));
        checks.reconcile(&plan.pools);
        drop(checks);
        drop(making);
        Ok(Reloaded { generation, changes, more, warnings })
    }

    /// Resolves new names, so that their backends serve from the start, and then opens the new plan's sockets. If it fails,
    /// nothing in force has changed, but the new names may still be known.
    async fn make_ready(&self, before: &Plan, after: &Plan) -> Result<Ready<'_>, ReloadError> {
        let servers = &after.runtime.resolvers;
        let other = (*servers != before.runtime.resolvers).then(|| DnsResolver::new(servers));
        let resolver = other.transpose().map_err(ReloadError::Resolver)?;
        // Without the lock, because DNS may be slow too.
        ask_for_new(after, &self.sources, resolver.as_ref()).await;
        // From here on nothing else changes members, so the new plan takes them over as they are.
        let checks = self.checks.lock().await;
        // The process may have been told to end until now. From here to the swap nothing waits, and the process is told on
        // this same thread.
        if self.node.phase() != Phase::Serving {
            return Err(ReloadError::Ending);
        }
        // Takes up the answers that came, and the weights that were set by hand, during the compile and the resolution.
        give_answers(after, &self.sources);
        for pool in &after.pools {
            pool.renew();
        }
        let held = self.node.sockets.addresses();
        let (metrics, mut none) = (self.servers.metrics_address(), Inherited::default());
        let sockets = bind::sockets(after, self.node.workers, &held, metrics, &mut none)
            .and_then(|sockets| bind::listen(after, &sockets).map(|()| sockets));
        // The errors of both, because a person mends them together.
        let (sockets, metrics) = match (sockets, self.servers.next_metrics(after, &held)) {
            (Ok(sockets), Ok(metrics)) => (sockets, metrics),
            (sockets, metrics) => {
                let failed = sockets.err().into_iter().flatten().chain(metrics.err());
                return Err(ReloadError::Bind(failed.collect()));
            }
        };
        let file = &after.log.access_file;
        let records = (*file != before.log.access_file).then(|| access::open(file.as_deref())).transpose()?;
        Ok(Ready { checks, resolver, sockets, metrics, records })
    }

    async fn compile(&self, generation: u64) -> Result<Compiled, ReloadError> {
        let (builder, path, sources) = (self.builder.clone(), self.path.clone(), Arc::clone(&self.sources));
        let known = self.snapshot.load_full();
        let compile = move || builder.compile(&path, generation, &known, &|name| sources.found(name));
        let (snapshot, compiled) = aside(compile)?.await.map_err(|ended| match ended.is_panic() {
            true => ReloadError::Panicked,
            false => ReloadError::Ending,
        })?;
        self.snapshot.store(Arc::new(snapshot));
        compiled.map_err(ReloadError::Rejected)
    }

    /// Drains backends that the new plan does not have, and restores those that it has again.
    async fn retire(&self, before: &Plan, after: &Plan) {
        let states = |plan: &Plan| -> Vec<(Arc<BackendState>, Duration)> {
            let of = |p: &Arc<Pool>| {
                let timeout = p.settings.drain_timeout;
                p.members().all().map(|b| (Arc::clone(&b.state), timeout)).collect::<Vec<_>>()
            };
            plan.pools.iter().flat_map(of).collect()
        };
        let now = states(after);
        for (state, _) in &now {
            state.back(OutOfService::Retired);
        }
        let kept: HashSet<usize> = now.iter().map(|(l, _)| Arc::as_ptr(l).addr()).collect();
        for (gone, timeout) in states(before) {
            if !kept.contains(&Arc::as_ptr(&gone).addr()) {
                self.drain(&gone, OutOfService::Retired, timeout).await;
            }
        }
    }

    /// Reloads whenever it is told to. If told twice during a reload, it reloads once more. Never returns.
    pub async fn reload_when_told(&self, told: &Notify) {
        loop {
            told.notified().await;
            while matches!(self.reload().await, Err(ReloadError::Busy)) {
                sleep(BUSY_POLL).await;
            }
        }
    }
}

/// What a new plan needs to be put in force.
struct Ready<'a> {
    /// Held until the plan is in force.
    checks: MutexGuard<'a, Checks>,
    /// Set if the plan in force has another resolver.
    resolver: Option<DnsResolver>,
    /// The sockets that the plan in force does not have.
    sockets: Vec<ListeningSocket>,
    /// What the metrics server listens on.
    metrics: Option<Arc<MetricsSocket>>,
    /// Where records go, if that changes.
    records: Option<Option<RecordFile>>,
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

/// A reload reports this many changes, and counts the others: a file may have 10,000 routes. `weir plan` shows all.
const MOST_CHANGES: usize = 100;
/// The log shows this many errors of one reload: `weir check` and the answer to the reload show more.
const MOST_LOGGED: usize = 10;
/// How often a waiting reload tries again while another is under way.
const BUSY_POLL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
