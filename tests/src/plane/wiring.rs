//! The parts of a running weir, put together as in `crates/weir/src/run.rs`, except for those that belong to
//! a process.

use super::output::Output;
use super::threads::{self, Watched};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::mpsc::channel;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use weir_admin::Admin;
use weir_control::access::{self, Format, Writer};
use weir_control::control::{Parts, resolve};
use weir_control::discovery::{DnsResolver, Sources};
use weir_control::health::Checks;
use weir_control::servers::Servers;
use weir_control::{Compiled, ConfigSnapshot, Control, PlanBuilder};
use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_router::bind;
use weir_router::data_plane::DataPlane;
use weir_router::inherited::Inherited;
use weir_router::node::Node;
use weir_tls::Sessions;

/// The most connections of a weir in this process whose configuration sets no limit.
const CONNECTIONS: usize = 10_000;

/// A running weir of this process.
pub(super) struct Wired {
    pub(super) data_plane: DataPlane,
    pub(super) control: Arc<Control>,
    pub(super) writer: Arc<Writer>,
    /// Ends the control plane.
    pub(super) tasks: DropGuard,
    pub(super) threads: Watched,
}

/// Starts a weir with the configuration `file`.
///
/// # Panics
/// When the configuration is refused, or an address is in use.
pub(super) async fn start(file: &Path, records: &Output, log: Option<&Output>) -> Wired {
    raise_open_files();
    let metrics = Metrics::new("0", "", "").unwrap();
    let registry = BackendRegistry::new(Arc::clone(&metrics));
    let cpus = std::thread::available_parallelism().unwrap().get();
    let builder =
        PlanBuilder { metrics: Arc::clone(&metrics), registry, sessions: Sessions::random().unwrap(), cpus };
    let (snapshot, compiled) = builder.compile(file, 1, &ConfigSnapshot::default(), &|_unasked| Vec::new());
    let Compiled { plan, config, warnings: _ } = compiled.unwrap_or_else(|rejected| panic!("{rejected}"));
    let sockets = bind::sockets(&plan, plan.runtime.workers, &[], None, &mut Inherited::default()).unwrap();
    bind::listen(&plan, &sockets).unwrap();
    let servers = Servers::begin(&plan, &mut Inherited::default()).unwrap();
    let bound = weir_admin::bind(&plan.admin.as_ref().unwrap().address, &mut Inherited::default()).unwrap();
    builder.admin_listens_on(&plan);
    builder.listens_on(&plan);
    builder.serves(&plan, None);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let resolver = DnsResolver::new(&plan.runtime.resolvers).unwrap();
    let sources = Arc::new(Sources::new(resolver, &metrics, &tasks, &stop));
    resolve(&plan, &sources).await;
    let plan = Arc::new(plan);
    let most = plan.runtime.max_connections.unwrap_or(CONNECTIONS);
    let node = Node::new(plan, Arc::clone(&metrics), most);
    metrics.reloaded(true, 1);

    let (queue, writer, switch) = access::start(Format::Json, records.clone(), &metrics).unwrap();
    switch.write_to(access::open(node.plan().log.access_file.as_deref()).unwrap());
    let begin = || DataPlane::start(Arc::clone(&node), sockets, Some(&queue)).unwrap();
    let (data_plane, threads) = threads::watch(log, begin);
    let commands = data_plane.commands();
    let checks = Checks::new(commands.clone(), &tasks, &stop);
    let path = file.to_owned();
    let apply = Box::new(|_: &_, _: &_| {});
    let records = switch;
    let parts =
        Parts { node, path, builder, sources, commands, config, snapshot, checks, servers, records, apply };
    let control = Control::begin(parts).await;
    serve(&control, bound, &tasks, &stop);
    Wired { data_plane, control, writer: Arc::new(writer), tasks: stop.drop_guard(), threads }
}

/// Begins the tasks that live as long as the control plane, except for the one that watches the configuration's files.
fn serve(control: &Arc<Control>, bound: weir_admin::Bound, tasks: &TaskTracker, stop: &CancellationToken) {
    let of = Arc::clone(control);
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move { of.maintain().await }));
    let of = Arc::clone(control);
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move { of.follow_sources().await }));
    let of = Arc::clone(control);
    tasks.spawn(stop.clone().run_until_cancelled_owned(async move { of.watch_tls().await }));
    let (leave, upgrades) = (Arc::new(Notify::new()), channel(1).0);
    let admin = Admin { control: Arc::clone(control), leave, upgrades, tasks: tasks.clone(), version: "0" };
    let admin = Arc::new(admin);
    let (of, all) = (Arc::clone(control), tasks.clone());
    let metrics = async move { weir_admin::serve_metrics(&of, &all).await };
    tasks.spawn(stop.clone().run_until_cancelled_owned(metrics));
    let all = tasks.clone();
    let admin = async move { weir_admin::serve(&bound, admin, &all).await };
    tasks.spawn(stop.clone().run_until_cancelled_owned(admin));
}

/// Scenarios of one process share its descriptors, and the usual soft limit suits a small program.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}
