//! load → bind → run → drain: the life of the process.
//!
//! - `prepare` loads and compiles. `sockets` binds, or takes over. `staff` has the tasks beside the workers.

mod prepare;
mod sockets;
mod staff;

pub(crate) use prepare::{Prepared, compile, prepare};

use crate::key_log::KeyLogWriter;
use crate::logging::{self, Logging};
use crate::resources;
use crate::service;
use crate::signals::{Signals, Taken, Told};
use crate::upgrade::{self, Predecessor, Program, Successor, ends, succeeded};
use crate::version::VERSION;
use anyhow::{Context, Result, anyhow};
use prepare::{Given, prepare_with};
use staff::Staff;
use std::mem;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_admin::UpgradeRequest;
use weir_control::access;
use weir_control::aside::aside;
use weir_control::control::{Apply, Parts, resolve};
use weir_control::discovery::{DnsResolver, Sources};
use weir_control::health::Checks;
use weir_control::{Compiled, Control, certificates};
use weir_core::plan::Plan;
use weir_metrics::Metrics;
use weir_pool::{CheckKind, Pool};
use weir_router::bind;
use weir_router::data_plane::{self, DataPlane};
use weir_router::inherited::Inherited;
use weir_router::node::{Node, Phase};

/// Runs a configuration until told to stop. Takes over from a predecessor if it was started for that.
///
/// # Errors
/// Everything that keeps it from starting; then nothing has been started.
pub(crate) fn run(path: PathBuf, key_log: Option<PathBuf>, taken: Taken) -> Result<ExitCode> {
    let Taken { runtime, mut signals } = taken;
    let program = Program::this();
    // Both before the first thread starts.
    let successor = Successor::begin()?.map(Arc::new);
    let sockets = service::given_sockets()?;
    let ended = runtime.block_on(async {
        let told = Told::default();
        let start =
            Start { path, key_log, sockets, program, successor: successor.clone(), told: told.clone() };
        let started = tokio::select! {
            started = start.running() => started,
            signal = signals.end(&told) => {
                tracing::info!(signal, "ended before it had started");
                return Ok(ExitCode::SUCCESS);
            }
        };
        let failed = |error: &anyhow::Error| successor.iter().for_each(|s| s.failed(&format!("{error:#}")));
        started.inspect_err(failed)?.until_told(signals).await
    });
    // A thread that loads certificates should end before the process does: exit handlers of libraries may free what it
    // uses. A thread that waits for a file, such as a pipe, is left behind.
    runtime.shutdown_timeout(LAST_READS);
    logging::flush();
    ended
}

/// The longest time that the end of the process waits for threads that read files.
pub(crate) const LAST_READS: Duration = Duration::from_secs(2);

/// What weir is started with.
struct Start {
    path: PathBuf,
    key_log: Option<PathBuf>,
    /// The listening sockets that systemd gives.
    sockets: Inherited,
    program: Program,
    successor: Option<Arc<Successor>>,
    told: Told,
}

impl Start {
    /// Loads the configuration and starts weir with it.
    ///
    /// # Errors
    /// Everything that keeps it from starting.
    ///
    /// # Cancel safety
    /// If cancelled, it may leave a thread that reads files. The sockets are closed, with connections in their backlogs.
    async fn running(self) -> Result<Running> {
        let Self { path, key_log, sockets, program, successor, told } = self;
        let (loading, predecessor) = (path.clone(), successor.clone());
        let loaded = aside(move || {
            let given = match predecessor {
                Some(predecessor) => predecessor.receive().map(|(sockets, secret)| Given { sockets, secret }),
                None => Given::fresh(sockets),
            };
            prepare_with(&loading, key_log.as_deref(), given?)
        })?;
        // Starts two further threads, which are kept like the first: a reload and two watches may read files at the
        // same time.
        drop([aside(|| ()), aside(|| ())]);
        let prepared = loaded.await.context("cannot load the configuration")??;
        let prepared = prepared
            .map_err(|rejected| anyhow!("{rejected}\n\n{}: refused, nothing was started", path.display()))?;
        let log = logging::start(&prepared.compiled.plan.log, prepared.metrics())?;
        prepared.compiled.log_warnings();
        Running::start(prepared, log, program, told, successor).await
    }
}

/// A weir that listens.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) node: Arc<Node>,
    data_plane: DataPlane,
    access: Arc<access::Writer>,
    key_log: Option<Arc<KeyLogWriter>>,
    /// What signals tell it to do.
    pub(crate) told: Told,
    /// Told when the admin server is asked to drain the process.
    leave: Arc<Notify>,
    /// Those who ask the admin server for an upgrade.
    upgrades: Receiver<UpgradeRequest>,
    predecessor: Arc<Predecessor>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled, before `stop`, when a successor answers on the admin and metrics addresses.
    replaced: CancellationToken,
}

impl Running {
    /// Binds every address, then starts workers, the control plane and the admin server. Must run on the control
    /// plane's runtime.
    ///
    /// # Errors
    /// Every address that cannot be bound, or another reason why weir cannot start.
    pub(crate) async fn start(
        prepared: Prepared,
        log: Logging,
        program: Program,
        told: Told,
        successor: Option<Arc<Successor>>,
    ) -> Result<Self> {
        let Prepared { path, builder, snapshot, compiled, key_log, given } = prepared;
        let Given { sockets: mut inherited, secret } = given;
        let Compiled { plan, config, warnings: _ } = compiled;
        let metrics = Arc::clone(&builder.metrics);
        // Before any socket is bound: many addresses and workers may need more than the soft limit.
        let open_files = resources::raise_open_files();
        let (listening, admin, servers) = sockets::everything(&plan, &mut inherited)?;
        sockets::tell_of_unused(inherited, successor.is_some());
        builder.admin_listens_on(&plan);
        builder.listens_on(&plan);
        builder.serves(&plan, None);
        let allowed = resources::connections_for(open_files, taken(&plan));
        let max_connections = room(&plan, allowed);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let replaced = stop.child_token();
        let sources = sources(&plan, &metrics, &tasks, &stop).await?;
        let plan = Arc::new(plan);
        let node = Node::new(Arc::clone(&plan), Arc::clone(&metrics), max_connections);
        certificates::note(&plan, &metrics);
        metrics.reloaded(true, plan.generation);

        let (records, access, switch) = logging::start_access(&plan.log, &metrics)?;
        if let Some(successor) = &successor {
            upgrade::set_by_hand(successor, &plan).await?;
        }
        bind::listen(&plan, &listening).map_err(sockets::all_of)?;
        let data_plane = DataPlane::start(Arc::clone(&node), listening, Some(&records))
            .context("cannot start a worker")?;

        let commands = data_plane.commands();
        let checks = Checks::new(commands.clone(), &tasks, &stop);
        let apply = apply(log, switch.clone(), allowed);
        let its_node = Arc::clone(&node);
        let logged = builder.sessions.key_log().map(|log| log.name().to_owned());
        let parts = Parts {
            node: its_node,
            path,
            builder,
            sources,
            commands,
            config,
            snapshot,
            checks,
            servers,
            records: switch.clone(),
            apply,
        };
        let control = Control::begin(parts).await;
        let (access, leave) = (Arc::new(access), Arc::new(Notify::new()));
        let (ask, upgrades) = channel(1);
        let admin = admin.map(Arc::new);
        let predecessor =
            Arc::new(Predecessor { program, secret, admin: admin.clone(), control: Arc::clone(&control) });
        let (reload, replaces) = (Arc::clone(&told.reload), replaced.clone());
        let staff = Staff { control, reload, tasks: tasks.clone(), stop: stop.clone(), replaced: replaces };
        staff.begin(metrics, Arc::clone(&access));
        staff.rotate(switch);
        staff.serve_metrics();
        if let Some(bound) = admin {
            staff.serve_admin(bound, Arc::clone(&leave), ask);
        }
        match successor {
            // To systemd the service has been ready all the time.
            Some(successor) => upgrade::ready(&successor, &node, predecessor.admin.as_deref())?,
            None => service::ready(),
        }
        announce(&plan, max_connections, open_files);
        warn_of_key_log(logged.as_deref());
        let key_log = key_log.map(Arc::new);
        Ok(Self {
            node,
            data_plane,
            access,
            key_log,
            told,
            leave,
            upgrades,
            predecessor,
            tasks,
            stop,
            replaced,
        })
    }

    /// Waits for a signal or a successor, then drains. A second signal ends it at once, and so does the loss of a worker, or
    /// of the successor: but the records that are queued are written still, within the time that
    /// [`access::Writer::finish`] takes at most.
    async fn until_told(mut self, mut signals: Signals) -> Result<ExitCode> {
        let told = self.told.clone();
        let mut successor = None;
        let why = tokio::select! {
            signal = signals.end(&told) => signal,
            () = self.leave.notified() => "POST /api/v1/drain",
            process = succeeded(&self.predecessor, &told.upgrade, &mut self.upgrades) => {
                self.replaced.cancel();
                self.predecessor.control.servers().close_metrics();
                successor = Some(process);
                "an upgrade"
            }
            () = self.data_plane.a_worker_is_lost() => {
                self.access.finish();
                return Err(anyhow!("a worker ended by itself; see the log"));
            }
        };
        let drain_timeout = self.node.plan().runtime.drain_timeout;
        let (node, access) = (Arc::clone(&self.node), Arc::clone(&self.access));
        let key_log = self.key_log.clone();
        tracing::info!(
            why,
            ?drain_timeout,
            connections = node.open(),
            "draining; a second signal ends at once"
        );
        let leaving = if successor.is_some() { Leaving::Replaced } else { Leaving::Told };
        let mut drain = pin!(self.drain(leaving));
        let mut first = successor.is_some();
        loop {
            tokio::select! {
                ended = &mut drain => return ended,
                signal = signals.end(&told) => {
                    if mem::take(&mut first) {
                        tracing::info!(signal, "draining already, since another process has taken over");
                        continue;
                    }
                    tracing::warn!(signal, connections = node.open(), "ended at once, these connections were cut");
                }
                status = ends(&mut successor), if successor.is_some() => {
                    if status.success() {
                        // It was replaced in its turn, or told to end.
                        successor = None;
                        continue;
                    }
                    let connections = node.open();
                    tracing::error!(%status, connections, "the process that took over has failed, and nobody accepts: this one ends too");
                }
            }
            access.finish();
            key_log.iter().for_each(|log| log.finish());
            return Ok(ExitCode::FAILURE);
        }
    }

    /// Fails readiness, goes on accepting for `shutdown_delay` unless a successor does, then stops and lets open
    /// connections finish.
    ///
    /// # Errors
    /// When a worker had panicked.
    pub(crate) async fn drain(self, leaving: Leaving) -> Result<ExitCode> {
        // With the sockets of weir's own servers, which the successor answers on.
        drop(self.predecessor);
        self.node.enter(Phase::Leaving);
        if leaving == Leaving::Told {
            service::stopping();
            sleep(self.node.plan().runtime.shutdown_delay).await;
        }
        let (data_plane, timeout) = (self.data_plane, self.node.plan().runtime.drain_timeout);
        let drained = report_drain(&self.node, timeout, data_plane.drained(timeout)).await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(CONTROL_ENDS, self.tasks.wait()).await.is_err() {
            tracing::debug!("an admin connection was still open");
        }
        self.access.finish();
        self.key_log.iter().for_each(|log| log.finish());
        drained?;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    }
}

/// Why a process drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It was told to end.
    Told,
    /// Another process has taken its place.
    Replaced,
}

/// Waits for the end of a drain. Says now and then how many connections are left, and how many have to be closed.
///
/// # Cancel safety
/// Cancel safe as `drained` is.
async fn report_drain<T>(node: &Node, timeout: Duration, drained: impl Future<Output = T>) -> T {
    let mut drained = pin!(drained);
    let begun = Instant::now();
    let every = (timeout / LINES).clamp(Duration::from_secs(1), Duration::from_secs(30));
    let (mut next, mut closing) = (begun + every, Some(begun + data_plane::closing_after(timeout)));
    loop {
        tokio::select! {
            ended = &mut drained => return ended,
            () = sleep_until(next) => {
                next += every;
                tracing::info!(connections = node.open(), "still draining");
            }
            () = sleep_until(closing.unwrap_or(begun)), if closing.is_some() => {
                closing = None;
                match node.open() {
                    0 => {}
                    connections => {
                        tracing::warn!(connections, "the drain takes too long: closing the connections that are left");
                    }
                }
            }
        }
    }
}

/// About so many lines tell of a drain that takes all its time.
const LINES: u32 = 10;

/// Applies a reload to the process itself: its log, its records, its limit on connections.
fn apply(log: Logging, records: access::Switch, allowed: usize) -> Box<Apply> {
    Box::new(move |plan, node| {
        log.change(&plan.log);
        records.set(logging::access_format(&plan.log));
        node.permits.set_limit(room(plan, allowed));
        certificates::note(plan, &node.metrics);
        warn_of_unverified(plan);
    })
}

/// Asks for the sources of the plan, and waits a moment for the answers, so that their backends serve from the start.
async fn sources(
    plan: &Plan,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Sources>> {
    let resolver = DnsResolver::new(&plan.runtime.resolvers).context("cannot resolve names")?;
    let sources = Arc::new(Sources::new(resolver, metrics, tasks, stop));
    resolve(plan, &sources).await;
    Ok(sources)
}

/// How long the control plane's own connections may hold up the end.
const CONTROL_ENDS: Duration = Duration::from_millis(500);

/// Descriptors that the process itself takes, with all sockets bound: those open now, the runtimes of the workers,
/// and a health check for every backend.
fn taken(plan: &Plan) -> usize {
    let checked = |p: &&Arc<Pool>| !matches!(p.settings.health_check.kind, CheckKind::None);
    let checks: usize = plan.pools.iter().filter(checked).map(|p| p.members().all().count()).sum();
    resources::descriptors() + plan.runtime.workers * OF_A_RUNTIME + checks
}

/// An epoll instance, its waker, and a spare one.
const OF_A_RUNTIME: usize = 3;

/// Client connections of the process: what the plan wants, within what the limit on open files allows.
fn room(plan: &Plan, allowed: usize) -> usize {
    match plan.runtime.max_connections {
        Some(wanted) if wanted > allowed => {
            tracing::warn!(wanted, allowed, "runtime.max_connections: the limit on open files allows fewer");
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    }
}

fn announce(plan: &Plan, max_connections: usize, open_files: u64) {
    for listener in &plan.listeners {
        let addresses: Vec<String> = listener.all_addresses().map(ToString::to_string).collect();
        tracing::info!(listener = %listener.name, mode = listener.mode.label(), addresses = addresses.join(", "), "listening");
    }
    warn_of_unverified(plan);
    tracing::info!(
        version = VERSION,
        workers = plan.runtime.workers,
        max_connections,
        open_files,
        admin = plan.admin.as_ref().map(|admin| admin.address.to_string()),
        metrics = plan.metrics.as_ref().map(|metrics| metrics.address.socket.to_string()),
        "weir runs"
    );
}

fn warn_of_key_log(file: Option<&str>) {
    if let Some(file) = file {
        tracing::warn!(
            file,
            "the secrets of ALL TLS sessions are written to a file (--key-log): its readers can decrypt the traffic. Use it for \
             debugging only, and delete the file afterwards"
        );
    }
}

fn warn_of_unverified(plan: &Plan) {
    for pool in plan.pools.iter().filter(|p| !p.settings.verifies) {
        tracing::warn!(pool = %pool.name, "backend certificates are NOT verified (tls.verify: false)");
    }
}
