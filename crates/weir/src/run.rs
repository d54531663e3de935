//! load → bind → run → drain: the life of the process.

use crate::key_log::{self, KeyLogWriter};
use crate::logging::{self, Logging};
use crate::resources;
use crate::service;
use crate::signals::{self, Signals, Taken, Told};
use crate::upgrade::{self, Predecessor, Program, Successor, ends, succeeded};
use crate::version::{CRYPTO, RUSTC, VERSION};
use anyhow::{Context, Result, anyhow};
use std::mem;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_admin::{Admin, Bound, UpgradeRequest};
use weir_config::Rejected;
use weir_control::access;
use weir_control::aside::aside;
use weir_control::control::{Apply, Parts, resolve};
use weir_control::discovery::{DnsResolver, Sources};
use weir_control::health::Checks;
use weir_control::servers::Servers;
use weir_control::supervise::supervise;
use weir_control::{Compiled, ConfigSnapshot, Control, PlanBuilder, certificates};
use weir_core::plan::{AdminServer, Plan};
use weir_metrics::Metrics;
use weir_pool::{BackendRegistry, CheckKind, Pool};
use weir_router::bind::{self, BindError};
use weir_router::data_plane::{self, DataPlane};
use weir_router::inherited::Inherited;
use weir_router::node::{Node, Phase};
use weir_router::sockets::ListeningSocket;
use weir_tls::{ProcessSecret, Sessions};

/// A sound configuration, and the parts that later ones are made with.
#[derive(Debug)]
pub(crate) struct Prepared {
    path: PathBuf,
    builder: PlanBuilder,
    snapshot: ConfigSnapshot,
    pub(crate) compiled: Compiled,
    key_log: Option<KeyLogWriter>,
    given: Given,
}

/// What a process begins with, beside its configuration.
#[derive(Debug)]
struct Given {
    /// Listening sockets of its predecessor, or of systemd.
    sockets: Inherited,
    /// Its predecessor's, or a fresh one.
    secret: ProcessSecret,
}

impl Given {
    /// What a process without a predecessor begins with.
    fn fresh(sockets: Inherited) -> Result<Self> {
        let secret = ProcessSecret::random().context("cannot make a secret for TLS tickets")?;
        Ok(Self { sockets, secret })
    }
}

impl Prepared {
    /// Every metric.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.builder.metrics
    }
}

/// Loads and compiles a configuration. Asks no name of DNS.
///
/// # Errors
/// When this process cannot even begin; a wrong configuration is the inner error.
pub(crate) fn prepare(path: &Path) -> Result<Result<Prepared, Rejected>> {
    prepare_with(path, None, Given::fresh(Inherited::default())?)
}

/// As [`prepare`], for a process that writes a key log to this file, and begins with what it was given.
///
/// # Errors
/// As [`prepare`]; and if the key log cannot be written.
fn prepare_with(path: &Path, key_log: Option<&Path>, given: Given) -> Result<Result<Prepared, Rejected>> {
    let metrics = Metrics::new(VERSION, RUSTC, CRYPTO).context("cannot register the metrics")?;
    let sessions = Sessions::of(&given.secret);
    let (key_log, writer) = key_log.map(|path| key_log::start(path, &metrics)).transpose()?.unzip();
    let sessions = sessions.logged(key_log);
    let registry = BackendRegistry::new(Arc::clone(&metrics));
    let builder = PlanBuilder { metrics, registry, sessions, cpus: resources::cpus() };
    let (snapshot, compiled) = builder.compile(path, 1, &ConfigSnapshot::default(), &|_unasked| Vec::new());
    let path = path.to_owned();
    Ok(compiled.map(|compiled| Prepared { path, builder, snapshot, compiled, key_log: writer, given }))
}

/// Loads and compiles a configuration that is not to be run. What nodes of its fleet have sealed can be opened.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn compile(path: &Path) -> Result<Result<Compiled, Rejected>> {
    let prepared = prepare(path)?;
    if let Ok(Prepared { builder, compiled, .. }) = &prepared {
        builder.sessions.join(&compiled.plan.fleet);
    }
    Ok(prepared.map(|prepared| prepared.compiled))
}

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
        let (sockets, admin, servers) = bind(&plan, &mut inherited)?;
        tell_of_unused(inherited, successor.is_some());
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
        bind::listen(&plan, &sockets).map_err(all_of)?;
        let data_plane =
            DataPlane::start(Arc::clone(&node), sockets, Some(&records)).context("cannot start a worker")?;

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

/// The tasks of the control plane that last as long as the process.
struct Staff {
    control: Arc<Control>,
    reload: Arc<Notify>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends what a successor does then: the servers, reloads, the watchdog.
    replaced: CancellationToken,
}

impl Staff {
    fn begin(&self, metrics: Arc<Metrics>, records: Arc<access::Writer>) {
        let of = || (Arc::clone(&self.control), Arc::clone(&self.reload));
        let (control, _) = of();
        self.spawn("DNS answers", move || {
            let control = Arc::clone(&control);
            async move { control.follow_sources().await }
        });
        let (control, _) = of();
        self.spawn("ejections", move || {
            let control = Arc::clone(&control);
            async move { control.maintain().await }
        });
        let (control, _) = of();
        self.spawn("memory", move || {
            let control = Arc::clone(&control);
            async move { control.watch_memory().await }
        });
        let (control, told) = of();
        self.spawn_until(&self.replaced, "reloads", move || {
            let (control, told) = (Arc::clone(&control), Arc::clone(&told));
            async move { control.reload_when_told(&told).await }
        });
        let (control, tell) = of();
        self.spawn_until(&self.replaced, "watch", move || {
            let (control, tell) = (Arc::clone(&control), Arc::clone(&tell));
            async move { control.watch_files(&tell).await }
        });
        let (control, _) = of();
        self.spawn("certificates", move || {
            let control = Arc::clone(&control);
            async move { control.watch_tls().await }
        });
        let node = Arc::clone(&self.control.node);
        self.spawn_until(&self.replaced, "systemd's watchdog", move || service::watchdog(Arc::clone(&node)));
        self.spawn("losses", move || {
            let (metrics, records) = (Arc::clone(&metrics), Arc::clone(&records));
            async move { logging::losses::tell(&metrics, &records).await }
        });
    }

    /// Follows rotations of the file for records: those that it finds by itself, and those that SIGUSR1 tells of.
    fn rotate(&self, switch: access::Switch) {
        self.spawn("records", move || {
            let switch = switch.clone();
            async move { signals::reopens(&switch).await }
        });
    }

    fn serve_metrics(&self) {
        let (control, tasks) = (Arc::clone(&self.control), self.tasks.clone());
        self.spawn_until(&self.replaced, "metrics", move || {
            let (control, tasks) = (Arc::clone(&control), tasks.clone());
            async move { weir_admin::serve_metrics(&control, &tasks).await }
        });
    }

    fn serve_admin(&self, bound: Arc<Bound>, leave: Arc<Notify>, upgrades: Sender<UpgradeRequest>) {
        let (control, tasks) = (Arc::clone(&self.control), self.tasks.clone());
        let admin = Arc::new(Admin { control, leave, upgrades, tasks: tasks.clone(), version: VERSION });
        self.spawn_until(&self.replaced, "admin", move || {
            let (bound, admin, tasks) = (Arc::clone(&bound), Arc::clone(&admin), tasks.clone());
            async move { weir_admin::serve(&bound, admin, &tasks).await }
        });
    }

    fn spawn<W: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        begin: impl FnMut() -> W + Send + 'static,
    ) {
        self.spawn_until(&self.stop, what, begin);
    }

    fn spawn_until<W: Future<Output = ()> + Send + 'static>(
        &self,
        stop: &CancellationToken,
        what: &'static str,
        begin: impl FnMut() -> W + Send + 'static,
    ) {
        let stop = stop.clone();
        self.tasks.spawn(async move {
            // Cancelled: that is its end.
            let _ended = stop.run_until_cancelled(supervise(what, begin)).await;
        });
    }
}

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

/// Every socket of the plan, or every address that cannot be had. Takes those that were inherited.
fn bind(plan: &Plan, inherited: &mut Inherited) -> Result<(Vec<ListeningSocket>, Option<Bound>, Servers)> {
    let mut failed = Vec::new();
    let sockets = bind::sockets(plan, plan.runtime.workers, &[], None, inherited).unwrap_or_else(|errors| {
        failed.push(all_of(errors).to_string());
        Vec::new()
    });
    let admin = match &plan.admin {
        Some(AdminServer { address, .. }) => match weir_admin::bind(address, inherited) {
            Ok(bound) => Some(bound),
            Err(error) => {
                failed.push(format!("error: admin: cannot listen on {address}: {error}"));
                None
            }
        },
        None => None,
    };
    match Servers::begin(plan, inherited) {
        Ok(servers) if failed.is_empty() => Ok((sockets, admin, servers)),
        begun => {
            failed.extend(begun.err().map(|error| format!("error: {error}")));
            Err(anyhow!(failed.join("\n")))
        }
    }
}

fn all_of(errors: Vec<BindError>) -> anyhow::Error {
    anyhow!(errors.iter().map(|error| format!("error: {error}")).collect::<Vec<_>>().join("\n"))
}

/// Says which sockets the configuration has no use for; they are closed here.
fn tell_of_unused(inherited: Inherited, of_a_predecessor: bool) {
    for address in inherited.left() {
        match of_a_predecessor {
            // It drains that address, as a reload would.
            true => tracing::info!(address, "no listener uses this socket of the predecessor any more"),
            false => tracing::warn!(
                address,
                "systemd gives a socket that is the address of no listener: it is not used"
            ),
        }
    }
}

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
