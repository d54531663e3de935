//! load → bind → run → drain: the life of the process.

use crate::logging;
use crate::resources;
use crate::signals::Signals;
use crate::version::{CRYPTO, RUSTC, VERSION};
use anyhow::{Context, Result, anyhow};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_admin::Admin;
use weir_config::{CompileInput, Diagnostic, Rejected};
use weir_control::health;
use weir_core::access;
use weir_core::pool::{CheckKind, Pool};
use weir_metrics::Metrics;
use weir_router::bind::{self, Socket};
use weir_router::data_plane::DataPlane;
use weir_router::node::{Node, Phase};
use weir_router::plan::Plan;
use weir_tls::TicketSecret;

/// A sound configuration.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) plan: Plan,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) metrics: Arc<Metrics>,
    /// The configuration in force, for the admin server.
    config: serde_json::Value,
}

/// Loads and compiles a configuration.
///
/// # Errors
/// When this process cannot even begin; a wrong configuration is the inner error.
pub(crate) fn compile(path: &Path) -> Result<Result<Compiled, Rejected>> {
    let metrics = Metrics::new(VERSION, RUSTC, CRYPTO).context("cannot register the metrics")?;
    let secret = TicketSecret::random().context("cannot make a ticket secret")?;
    let input = CompileInput { metrics: &metrics, secret: &secret, generation: 1, cpus: resources::cpus() };
    let compiled = weir_config::load(path).and_then(|loaded| {
        let (plan, warnings) = weir_config::compile(&loaded, &input)?;
        Ok((plan, warnings, weir_config::effective(&loaded.file)))
    });
    Ok(compiled.map(|(plan, warnings, config)| Compiled { plan, warnings, metrics, config }))
}

/// Runs a configuration until told to stop.
///
/// # Errors
/// Everything that keeps it from starting; then nothing has been started.
pub(crate) fn run(path: &Path) -> Result<ExitCode> {
    let compiled = match compile(path)? {
        Ok(compiled) => compiled,
        Err(rejected) => {
            return Err(anyhow!("{rejected}\n\n{}: refused, nothing was started", path.display()));
        }
    };
    logging::start(&compiled.plan.log)?;
    for warning in &compiled.warnings {
        tracing::warn!(file = warning.file, line = warning.line, key = warning.key, "{}", warning.message);
    }
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the control plane")?;
    let ended = runtime.block_on(async {
        // First of all: from here on a signal drains, and never ends the process by its default.
        let signals = Signals::listen().context("cannot listen to signals")?;
        Running::start(compiled).await?.until_told(signals).await
    });
    // A drain that was cut short still waits on a thread of its own, and must not be waited for.
    Runtime::shutdown_background(runtime);
    ended
}

/// A weir that listens.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) node: Arc<Node>,
    data_plane: DataPlane,
    access: Option<access::Writer>,
    control: TaskTracker,
    stop: CancellationToken,
    drain_timeout: Duration,
    shutdown_delay: Duration,
}

impl Running {
    /// Binds every address, then starts workers, health checks and the admin server. Must run on the control
    /// plane's runtime.
    ///
    /// # Errors
    /// Every address that cannot be had, and whatever else keeps it from starting.
    pub(crate) async fn start(compiled: Compiled) -> Result<Self> {
        let Compiled { plan, metrics, config, warnings: _ } = compiled;
        // Before any socket is bound: many addresses and workers may need more than the soft limit.
        let open_files = resources::raise_open_files();
        let (lanes, admin) = bind(&plan).await?;
        let max_connections = room(&plan, resources::connections_for(open_files, taken(&plan)));
        let plan = Arc::new(plan);
        let node = Node::new(Arc::clone(&plan), Arc::clone(&metrics), max_connections);
        note_certificates(&plan, &metrics);
        metrics.reloaded(true, plan.generation, since_1970());

        let access = logging::start_access(&plan.log, &metrics)?;
        let (log, writer) = access.unzip();
        let data_plane =
            DataPlane::start(Arc::clone(&node), lanes, log.as_ref()).context("cannot start a worker")?;
        drop(log); // The workers' copies are all that keep the writer going.

        let (control, stop) = (TaskTracker::new(), CancellationToken::new());
        health::start(&plan.pools, &metrics, &control, &stop);
        if let Some(bound) = admin {
            let admin = Arc::new(Admin { node: Arc::clone(&node), config, version: VERSION });
            let (tasks, stop) = (control.clone(), stop.clone());
            control.spawn(async move {
                // Cancelled: that is its end.
                let _ended = stop.run_until_cancelled(weir_admin::serve(&bound, admin, &tasks)).await;
            });
        }
        announce(&plan, max_connections, open_files);
        let (drain_timeout, shutdown_delay) = (plan.runtime.drain_timeout, plan.runtime.shutdown_delay);
        Ok(Self { node, data_plane, access: writer, control, stop, drain_timeout, shutdown_delay })
    }

    /// Waits for a signal, then drains. A second signal ends it at once.
    async fn until_told(self, mut signals: Signals) -> Result<ExitCode> {
        let mut look = interval(WORKERS_LIVE);
        let signal = loop {
            tokio::select! {
                signal = signals.end() => break signal,
                _ = look.tick() => if self.data_plane.has_lost_a_worker() {
                    return Err(anyhow!("a worker ended by itself; see the log"));
                },
            }
        };
        tracing::info!(signal, drain_timeout = ?self.drain_timeout, "draining; a second signal ends at once");
        tokio::select! {
            ended = self.drain() => ended,
            signal = signals.end() => {
                tracing::warn!(signal, "ended at once, open connections were cut");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    /// Fails readiness, goes on accepting for `shutdown_delay`, then stops and lets open connections finish.
    ///
    /// # Errors
    /// When a worker had panicked.
    pub(crate) async fn drain(self) -> Result<ExitCode> {
        self.node.enter(Phase::Leaving);
        sleep(self.shutdown_delay).await;
        let (data_plane, timeout) = (self.data_plane, self.drain_timeout);
        let drained = tokio::task::spawn_blocking(move || data_plane.drain(timeout)).await;
        self.stop.cancel();
        self.control.close();
        if tokio::time::timeout(CONTROL_ENDS, self.control.wait()).await.is_err() {
            tracing::debug!("an admin connection was still open");
        }
        if let Some(writer) = self.access {
            writer.finish();
        }
        drained.context("cannot wait for the workers")??;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    }
}

/// How often it is looked whether all workers live.
const WORKERS_LIVE: Duration = Duration::from_secs(1);
/// How long the control plane's own connections may hold up the end.
const CONTROL_ENDS: Duration = Duration::from_millis(500);

/// Every socket of the plan, or every address that cannot be had.
async fn bind(plan: &Plan) -> Result<(Vec<Vec<Socket>>, Option<weir_admin::Bound>)> {
    let mut failed = Vec::new();
    let lanes = bind::sockets(plan).unwrap_or_else(|errors| {
        failed.extend(errors.iter().map(|e| format!("error: {e}")));
        Vec::new()
    });
    let admin = match &plan.admin {
        Some(address) => match weir_admin::bind(address).await {
            Ok(bound) => Some(bound),
            Err(error) => {
                failed.push(format!("error: admin: cannot listen on {address}: {error}"));
                None
            }
        },
        None => None,
    };
    if failed.is_empty() { Ok((lanes, admin)) } else { Err(anyhow!(failed.join("\n"))) }
}

/// Descriptors that the process itself takes, with all sockets bound: those open now, the runtimes of the workers,
/// and a health check for every backend.
fn taken(plan: &Plan) -> usize {
    let checked = |p: &&Arc<Pool>| !matches!(p.health_check.kind, CheckKind::None);
    let checks: usize = plan.pools.iter().filter(checked).map(|p| p.backends.len()).sum();
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
        let addresses: Vec<String> = listener.addresses.iter().map(|a| a.socket.to_string()).collect();
        tracing::info!(listener = %listener.name, mode = listener.mode, addresses = addresses.join(", "), "listening");
    }
    for pool in plan.pools.iter().filter(|p| !p.verifies) {
        tracing::warn!(pool = %pool.name, "backend certificates are NOT verified (tls.verify: false)");
    }
    tracing::info!(
        version = VERSION,
        workers = plan.runtime.workers,
        max_connections,
        open_files,
        admin = plan.admin.as_ref().map(ToString::to_string),
        "weir runs"
    );
}

fn note_certificates(plan: &Plan, metrics: &Metrics) {
    for listener in &plan.listeners {
        for facts in listener.profiles().into_iter().flat_map(|p| p.certificates()) {
            metrics.certificate_not_after(&listener.name, &facts.file, "served", facts.not_after);
        }
    }
    for pool in &plan.pools {
        pool.metrics.verify_disabled.set(i64::from(!pool.verifies));
    }
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
