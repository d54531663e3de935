//! Accepting, handing off, following a plan, and draining, on listeners of loopback. A client that says nothing is a
//! connection for as long as it likes: its hello is waited for.

mod drain;
mod handing_off;
mod reload;

use crate::accept;
use crate::bind::{listen, sockets};
use crate::inherited::Inherited;
use crate::node::{Node, Phase};
use crate::sockets::{LentSocket, ListeningSocket};
use crate::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_core::memory::Budget;
use weir_core::plan::{Address, Kind, Peek, Plan};
use weir_metrics::{ListenerMetrics, Metrics};

const NONE: Duration = Duration::ZERO;
/// Longer than any connection of a test lives.
const LONG: Duration = Duration::from_secs(3600);
/// Longer than anything takes that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The process takes more than any listener.
const PERMITS: usize = 100;

/// A node with its workers, none of which accepts yet.
pub(crate) struct Scene {
    pub(crate) node: Arc<Node>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: ListenerMetrics,
    pub(crate) workers: Vec<Rc<Worker>>,
    /// Where each worker's socket is, and the socket until it is accepted on.
    edges: Vec<(SocketAddr, Option<LentSocket>)>,
}

/// A listener's limits.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) pending: usize,
}

/// No connection of a test meets these.
pub(crate) const WIDE: Limits = Limits { max_connections: 100, pending: 100 };

/// A plan with these listeners. Port 0 gives each worker a port of its own, so that a test chooses the worker that accepts.
pub(crate) fn plan(
    metrics: &Metrics,
    generation: u64,
    workers: usize,
    listeners: &[(&str, Limits)],
) -> Arc<Plan> {
    let names: Vec<&str> = listeners.iter().map(|(name, _)| *name).collect();
    let mut plan = crate::node::tests::plan(metrics, generation, &names);
    let fresh = "no other owner yet";
    let its = Arc::get_mut(&mut plan).expect(fresh);
    its.runtime.workers = workers;
    for (listener, (_, limits)) in its.listeners.iter_mut().zip(listeners) {
        let listener = Arc::get_mut(listener).expect(fresh);
        listener.addresses = vec![ADDRESS.into()];
        listener.peek = Some(Peek { ceiling: 16 << 10, non_tls: false, starttls: None });
        (listener.max_connections, listener.pending) = (limits.max_connections, limits.pending);
        let Kind::Stream(stream) = &mut listener.kind;
        stream.backlog = 16;
        let settings = Arc::get_mut(&mut stream.settings).expect(fresh);
        settings.timeouts.client_hello = LONG;
    }
    plan
}

/// Where all listeners of these tests are.
pub(crate) const ADDRESS: Address = Address {
    socket: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0),
    dual_stack: false,
    mptcp: false,
};

impl Scene {
    /// Binds the listener `edge` for each worker.
    pub(crate) fn new(workers: usize, limits: Limits) -> Self {
        Self::with_permits(workers, limits, PERMITS)
    }

    /// The same, where the process takes so many connections.
    pub(crate) fn with_permits(workers: usize, limits: Limits, permits: usize) -> Self {
        let metrics = Metrics::new("0", "", "").unwrap();
        let plan = plan(&metrics, 1, workers, &[("edge", limits)]);
        let sockets = sockets(&plan, workers, &[], None, &mut Inherited::default()).unwrap();
        listen(&plan, &sockets).unwrap();
        let node = Node::new(plan, Arc::clone(&metrics), permits);
        let lent = node.sockets.lend(sockets, workers).into_iter().flatten();
        let edges = lent.map(|lent| (address_of(&lent.socket), Some(lent)));
        let worker = |number| Rc::new(Worker::new(number, Arc::clone(&node), Budget { pipes: 1 }, None));
        let workers = (0..workers).map(worker).collect();
        let listener = metrics.listener("edge");
        Self { workers, edges: edges.collect(), listener, metrics, node }
    }

    /// Begins to accept with this worker, until the token is cancelled. To be called in a `LocalSet`.
    pub(crate) fn accept(&mut self, worker: usize) -> (CancellationToken, JoinHandle<()>) {
        let (stop, phase) = (CancellationToken::new(), self.node.subscribe());
        let socket = self.edges[worker].1.take().unwrap();
        let accepting = accept::accept(socket, Rc::clone(&self.workers[worker]), phase, stop.clone());
        (stop, spawn_local(accepting))
    }

    /// A client of this worker's socket.
    pub(crate) async fn client(&self, worker: usize) -> TcpStream {
        TcpStream::connect(self.edges[worker].0).await.unwrap()
    }

    /// Whether nothing listens where this worker's socket was.
    pub(crate) async fn is_closed(&self, worker: usize) -> bool {
        TcpStream::connect(self.edges[worker].0).await.is_err()
    }

    /// Puts a plan in force whose listeners have these limits.
    pub(crate) fn install(&self, generation: u64, listeners: &[(&str, Limits)]) {
        let workers = self.workers.len();
        drop(self.node.install(plan(&self.metrics, generation, workers, listeners)));
    }

    /// Waits until so many connections have been opened, and so many are open.
    pub(crate) async fn counted(&self, opened: u64, open: u64) {
        until(|| self.listener.connections() == (opened, open)).await;
    }

    /// The value of a series: its name and labels as they stand in a scrape.
    pub(crate) fn series(&self, series: &str) -> u64 {
        let scrape = self.metrics.scrape().unwrap();
        let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Connections that each worker has served.
    pub(crate) fn served(&self) -> Vec<u64> {
        let series = |worker: usize| format!("weir_worker_connections_total{{worker=\"{worker}\"}}");
        (0..self.workers.len()).map(|worker| self.series(&series(worker))).collect()
    }

    /// Begins a drain that is over at once.
    pub(crate) fn drain(&self) {
        self.node.sockets.close();
        let now = tokio::time::Instant::now();
        self.node.enter(Phase::Draining { since: now, over: now });
    }
}

/// Where a socket listens.
pub(crate) fn address_of(listening: &ListeningSocket) -> SocketAddr {
    listening.socket.local_addr().unwrap().as_socket().unwrap()
}

/// Waits until it is true.
pub(crate) async fn until(mut is_true: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !is_true() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}

/// As often as it takes everything that is ready to have its turn: what has not happened then waits for something.
pub(crate) async fn a_while() {
    sleep(Duration::from_millis(50)).await;
}
