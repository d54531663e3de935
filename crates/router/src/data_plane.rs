//! All workers: binding their sockets, starting their threads, and how they end.

use crate::listener::Socket;
use crate::plan::{Address, Listener, Plan};
use crate::worker::Seed;
use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::time::Instant;
use weir_core::access;
use weir_core::limits::{PendingTotal, Permits};
use weir_core::relay::Budget;
use weir_core::socket::{Options, configure};
use weir_metrics::Metrics;

/// What all workers and the control plane share.
#[derive(Debug)]
pub struct Node {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Room for connections of the process.
    pub permits: Permits,
    /// How many workers there are.
    pub workers: usize,
    /// When the process started.
    pub started: Instant,
    plan: ArcSwap<Plan>,
    lanes: Vec<(Address, Shared)>,
    phase: watch::Sender<Phase>,
    boot: u128,
}

/// What the sockets of one listener share, on all workers.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) listener: Arc<Listener>,
    pub(crate) permits: Permits,
    pub(crate) pending: PendingTotal,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Listening.
    Serving,
    /// Listening still, but not ready any more: those in front are to notice first.
    Leaving,
    /// Not listening any more; open connections may go on until `over`.
    Draining {
        /// When it began.
        since: Instant,
        /// When what is left has been closed.
        over: Instant,
    },
}

/// A listening address that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?}: cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The address.
    pub address: std::net::SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
    hint: &'static str,
}

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    /// A node that goes by `plan`, with room for `max_connections` clients.
    pub fn new(plan: Arc<Plan>, metrics: Arc<Metrics>, max_connections: usize) -> Arc<Self> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let lanes = plan.listeners.iter().flat_map(|l| {
            let shared = Shared {
                listener: Arc::clone(l),
                permits: Permits::new(l.max_connections),
                pending: PendingTotal::new(l.pending),
            };
            l.addresses.iter().map(move |a| (*a, shared.clone()))
        });
        Arc::new(Self {
            metrics,
            permits: Permits::new(max_connections),
            workers: plan.runtime.workers,
            started: Instant::now(),
            lanes: lanes.collect(),
            plan: ArcSwap::new(plan),
            phase: watch::Sender::new(Phase::Serving),
            boot: u128::from(since_1970.as_secs() & 0xffff_ffff),
        })
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on in the process's life.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// What the sockets of an address share.
    pub(crate) fn lane(&self, address: &Address) -> Option<Shared> {
        self.lanes.iter().find(|(a, _)| a == address).map(|(_, shared)| shared.clone())
    }

    /// A number that no other connection of this node has had: the start's second, the worker, its count.
    pub(crate) fn connection_id(&self, worker: usize, number: u64) -> u128 {
        (self.boot << 48) | ((worker as u128 & 0xff) << 40) | u128::from(number & 0xff_ffff_ffff)
    }
}

impl DataPlane {
    /// Binds and listens on every address of the plan, once per worker.
    ///
    /// Each address is first bound without `SO_REUSEPORT`: with it, a second weir would silently share the
    /// traffic of the first.
    ///
    /// # Errors
    /// Every address that cannot be had.
    pub fn bind(plan: &Plan) -> Result<Vec<Vec<Socket>>, Vec<BindError>> {
        let mut lanes: Vec<Vec<Socket>> = (0..plan.runtime.workers).map(|_| Vec::new()).collect();
        let mut failed = Vec::new();
        for listener in &plan.listeners {
            for address in &listener.addresses {
                let bound = bind(*address, false, listener).and_then(|probe| {
                    drop(probe);
                    for lane in &mut lanes {
                        let socket = bind(*address, true, listener)?;
                        socket.listen(i32::try_from(listener.tcp.backlog).unwrap_or(i32::MAX))?;
                        lane.push(Socket { socket, address: *address });
                    }
                    Ok(())
                });
                if let Err(source) = bound {
                    let hint = hint(&source);
                    failed.push(BindError {
                        listener: Arc::clone(&listener.name),
                        address: address.socket,
                        source,
                        hint,
                    });
                }
            }
        }
        if failed.is_empty() { Ok(lanes) } else { Err(failed) }
    }

    /// Starts a thread for each worker's sockets.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(node: Arc<Node>, lanes: Vec<Vec<Socket>>, access: Option<&access::Log>) -> io::Result<Self> {
        let budget = Budget { pipes: PIPES / lanes.len().max(1) };
        let mut threads = Vec::with_capacity(lanes.len());
        let (started, running) = sync_channel(lanes.len());
        for (number, sockets) in lanes.into_iter().enumerate() {
            let seed = Seed { number, node: Arc::clone(&node), budget, access: access.cloned() };
            let (phase, started) = (node.phase.subscribe(), started.clone());
            let work = move || work(seed, sockets, phase, started);
            threads.push(thread::Builder::new().name(format!("weir-worker-{number}")).spawn(work)?);
        }
        drop(started);
        // Ends when every thread has said how it went.
        running.iter().collect::<io::Result<()>>()?;
        Ok(Self { node, threads })
    }

    /// Stops listening, gives open connections until `timeout` from now, and waits for the last one.
    ///
    /// # Errors
    /// When a worker's thread panicked.
    ///
    /// # Cancel safety
    /// Not cancel safe: the workers go on draining.
    pub fn drain(self, timeout: Duration) -> Result<(), WorkerPanicked> {
        let since = Instant::now();
        self.node.enter(Phase::Draining { since, over: since + timeout });
        self.wait()
    }

    /// Waits for the workers to end.
    ///
    /// # Errors
    /// When a worker's thread panicked.
    pub fn wait(self) -> Result<(), WorkerPanicked> {
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        if ends.iter().all(Result::is_ok) { Ok(()) } else { Err(WorkerPanicked) }
    }

    /// True once a worker has ended, which before a drain none should.
    pub fn has_lost_a_worker(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

/// A worker's thread ended in a panic.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a worker panicked")]
pub struct WorkerPanicked;

/// Pipes of all workers together: 1 MiB each, below the 64 MiB that the kernel gives an unprivileged user.
const PIPES: usize = 56;

fn work(
    seed: Seed,
    sockets: Vec<Socket>,
    phase: watch::Receiver<Phase>,
    started: SyncSender<io::Result<()>>,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let (runtime, word) = match runtime {
        Ok(runtime) => (Some(runtime), Ok(())),
        Err(error) => (None, Err(error)),
    };
    // The receiver waits for every thread's word, and for the end of its sender.
    drop(started.send(word));
    drop(started);
    if let Some(runtime) = runtime {
        runtime.block_on(seed.grow().run(sockets, phase));
    }
}

fn bind(address: Address, shared: bool, listener: &Listener) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address.socket);
    let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    configure(SockRef::from(&socket), &Options::from(listener.tcp))?;
    socket.bind(&address.socket.into())?;
    if !shared {
        // Binding alone does not meet a listening socket of a process that set SO_REUSEADDR; listening does.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process, perhaps another weir, is listening there",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    }
}
