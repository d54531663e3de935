//! What the connections of one data-plane thread share: its scratch memory, its selector, and the list of them.
//!
//! One worker serves a connection from its first byte to its last. Of what it uses, only the plan, the counters and the
//! limits of the process are shared with other threads.

use crate::alive::Alive;
use crate::handoff::LoadGuard;
use crate::node::{Generation, ListenerLimits, ListenerState, Node};
use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use weir_core::account::queue::Records;
use weir_core::account::sinks::Sinks;
use weir_core::handshakes::Handshakes;
use weir_core::local::Local;
use weir_core::memory::{Budget, Memory};
use weir_core::stop::{ConnHandle, Stop};
use weir_http::HttpWorker;
use weir_http::exchange::Exchange;
use weir_metrics::WorkerMetrics;
use weir_pool::{BackendState, OutOfService};

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// Counted from 0.
    pub number: usize,
    /// The process.
    pub node: Arc<Node>,
    /// The parts that its connections use.
    pub local: Rc<Local>,
    /// The part of it that serves requests.
    pub http: Rc<HttpWorker>,
    /// Its counters.
    pub metrics: WorkerMetrics,
    /// Its connections. Every task is tracked here, so that the worker's end waits for all of them.
    pub(crate) tasks: TaskTracker,
    /// When records of those that are open are due.
    pub(crate) alive: Alive,
    connections: RefCell<BTreeMap<u64, Listed>>,
    accepted: Cell<u64>,
}

/// A connection in its worker's list: its handle, and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) handle: Rc<ConnHandle>,
    listener: Arc<ListenerLimits>,
    /// The generation of the plan that it began with.
    generation: u64,
}

/// What the end of a drain ends.
enum End {
    /// A connection.
    Connection(Listed),
    /// A request; its client's connection stays.
    Request(Rc<Exchange>),
}

/// Which connections must end.
#[derive(Clone, Debug)]
pub enum CloseScope {
    /// All of them.
    All,
    /// Those of a removed listener, until it comes back.
    Listener {
        /// Its limits.
        limits: Arc<ListenerLimits>,
        /// [`ListenerLimits::drain_number`] when the drain began.
        drain: u32,
    },
    /// Those of a plan in excess of `PAST_GENERATIONS`.
    Generation(Arc<Generation>),
    /// Those of a backend, while this drain of it lasts or while it fails its checks.
    Backend {
        /// The backend.
        state: Arc<BackendState>,
        /// [`weir_pool::BackendState::drain_number`] when the drain began; `None` = it fails its checks. A backend that
        /// is healthy again by then keeps its connections, because it has new ones too.
        drain: Option<u32>,
    },
}

impl CloseScope {
    fn has(&self, entry: &Listed) -> bool {
        match self {
            Self::All => true,
            Self::Listener { limits, drain } => {
                limits.drain_number() == *drain && Arc::ptr_eq(limits, &entry.listener)
            }
            Self::Generation(generation) => generation.number == entry.generation,
            Self::Backend { state, .. } => self.goes_on() && entry.handle.is_served_by(state),
        }
    }

    /// Whether a backend still drains, or fails its checks.
    fn goes_on(&self) -> bool {
        match self {
            Self::Backend { state, drain: Some(number) } => state.drain_number() == *number,
            Self::Backend { state, drain: None } => state.is(OutOfService::Down),
            Self::All | Self::Listener { .. } | Self::Generation(_) => true,
        }
    }

    /// Logs how many connections of a worker the end of a drain closes. The process itself logs a drain of everything.
    fn announce(&self, worker: usize, connections: usize) {
        match self {
            _ if connections == 0 => {}
            Self::Listener { limits, .. } => {
                let listener = &limits.name;
                tracing::info!(%listener, worker, connections, "the listener's drain takes too long: closing what is left");
            }
            Self::Generation(generation) => {
                let generation = generation.number;
                tracing::info!(
                    generation,
                    worker,
                    connections,
                    "too many past generations: closing what is left"
                );
            }
            Self::Backend { state, drain: Some(_) } => {
                let (pool, backend) = (&state.pool, &state.backend);
                tracing::info!(
                    %pool, %backend, worker, connections,
                    "the backend's drain takes too long: closing what is left"
                );
            }
            Self::All | Self::Backend { drain: None, .. } => {}
        }
    }

    /// Waits until `when`; `None` as soon as the listener or backend is gone. The wait holds only a weak reference, so that
    /// it and its series can go with its last connection, however long the drain might take.
    async fn at(self, when: Instant) -> Option<Self> {
        match self {
            Self::All => {
                sleep_until(when).await;
                Some(Self::All)
            }
            Self::Listener { limits, drain } => {
                let goes_on = |limits: &ListenerLimits| limits.drain_number() == drain;
                held_until(limits, when, goes_on).await.map(|limits| Self::Listener { limits, drain })
            }
            Self::Generation(generation) => {
                let has_any = |generation: &Generation| generation.open.load(Ordering::Relaxed) > 0;
                held_until(generation, when, has_any).await.map(Self::Generation)
            }
            Self::Backend { state, drain } => {
                let goes_on =
                    |state: &BackendState| drain.is_none_or(|number| state.drain_number() == number);
                held_until(state, when, goes_on).await.map(|state| Self::Backend { state, drain })
            }
        }
    }
}

/// Waits until `when` with a weak reference alone; `None` once the last other owner drops `kept` or `goes_on` is false.
async fn held_until<T>(kept: Arc<T>, when: Instant, goes_on: impl Fn(&T) -> bool) -> Option<Arc<T>> {
    let waiting = Arc::downgrade(&kept);
    drop(kept);
    while Instant::now() < when {
        if !waiting.upgrade().is_some_and(|kept| goes_on(&kept)) {
            return None;
        }
        sleep_until(when.min(Instant::now() + OWNER_POLL)).await;
    }
    waiting.upgrade()
}

/// How often the end of a drain checks that it is still needed: many drains may be under way at once.
const OWNER_POLL: Duration = Duration::from_secs(1);

/// A connection's place in its worker's list, given up when dropped.
#[derive(Debug)]
pub(crate) struct ConnGuard {
    worker: Rc<Worker>,
    number: u64,
    generation: Arc<Generation>,
    _load: LoadGuard,
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.number);
        self.worker.alive.leave(self.number);
        self.generation.open.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.worker.node.metrics.panics().inc();
        }
    }
}

impl Worker {
    /// A worker without connections: its number, the pipes that it may hold, and where its records go.
    pub(crate) fn new(number: usize, node: Arc<Node>, budget: Budget, records: Option<Records>) -> Self {
        let metrics = node.metrics.worker(number);
        let local = Rc::new(Local {
            memory: Memory::new(budget, metrics.clone()),
            handshakes: Handshakes::new(metrics.clone()),
            selector: RefCell::default(),
            clients: Arc::clone(&node.clients),
            rates: Arc::clone(&node.rates),
            sinks: Rc::new(Sinks { records, failures: Arc::clone(&node.failures) }),
        });
        let tasks = TaskTracker::new();
        Self {
            number,
            http: HttpWorker::new(Rc::clone(&local), tasks.clone()),
            local,
            metrics,
            tasks,
            alive: Alive::default(),
            connections: RefCell::default(),
            accepted: Cell::new(0),
            node,
        }
    }

    /// Enters a new connection: its number on this worker, its handle, and its place in the list.
    pub(crate) fn enter(
        self: &Rc<Self>,
        shared: &ListenerState,
        guard: LoadGuard,
    ) -> (u64, Rc<ConnHandle>, ConnGuard) {
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        self.metrics.connections.inc();
        let listener = Arc::clone(&shared.limits);
        let pace = listener.bandwidth.pace(&shared.listener.metrics);
        let handle = Rc::new(ConnHandle::new(self.node.started.elapsed(), pace));
        let entry = Listed { handle: Rc::clone(&handle), listener, generation: shared.generation.number };
        self.connections.borrow_mut().insert(number, entry);
        if let Some(interval) = shared.recording.interval() {
            self.alive.enter(number, interval);
        }
        let generation = Arc::clone(&shared.generation);
        generation.open.fetch_add(1, Ordering::Relaxed);
        (number, handle, ConnGuard { worker: Rc::clone(self), number, generation, _load: guard })
    }

    /// Its connections by number, which is the order in which they began. Not to be held over a wait.
    pub(crate) fn connections(&self) -> Ref<'_, BTreeMap<u64, Listed>> {
        self.connections.borrow()
    }

    /// Writes a record of an open connection, if it has its route.
    pub(crate) fn tell_of(&self, number: u64) {
        let connections = self.connections.borrow();
        let live = connections.get(&number).and_then(|listed| listed.handle.live());
        if let (Some(live), Some(records)) = (live, &self.local.sinks.records) {
            live.tell(records);
        }
    }

    /// Closes what is left at the end of a drain, spread over its last tenth, idle connections first: never all at once.
    pub(crate) async fn close_spread(&self, whose: CloseScope, since: Instant, over: Instant) {
        self.of(&whose).iter().for_each(|entry| entry.handle.ask_to_leave());
        let spread = (over - since) / SPREAD_DIVISOR;
        let Some(whose) = whose.at(since + closing_after(over - since)).await else { return };
        let left = self.of(&whose);
        // A client's connection outlives the backend of one of its requests.
        let requests = match &whose {
            CloseScope::Backend { state, .. } => self.http.served_by(state),
            CloseScope::All | CloseScope::Listener { .. } | CloseScope::Generation(_) => Vec::new(),
        };
        let all = left.len() + requests.len();
        whose.announce(self.number, all);
        let pause = spread / u32::try_from(all.max(1)).unwrap_or(u32::MAX);
        // Steps are counted from the start: timers are no finer than a millisecond, so delays would add up.
        let begun = Instant::now();
        let ends = left.into_iter().map(End::Connection).chain(requests.into_iter().map(End::Request));
        for (number, end) in (1u32..).zip(ends) {
            match end {
                End::Connection(entry) if whose.has(&entry) => entry.handle.cancel(Stop::Drained),
                End::Request(request) if whose.goes_on() => request.cut(),
                End::Connection(_) | End::Request(_) => {}
            }
            let next = begun + pause * number;
            if next > Instant::now() {
                sleep_until(next).await;
            }
        }
        // Connections accepted since the list was read.
        self.of(&whose).iter().for_each(|e| e.handle.cancel(Stop::Drained));
        if let CloseScope::Backend { state, .. } = &whose
            && whose.goes_on()
        {
            self.http.served_by(state).iter().for_each(|request| request.cut());
        }
    }

    /// Its connections that must end, longest idle first.
    fn of(&self, whose: &CloseScope) -> Vec<Listed> {
        let mut left: Vec<Listed> =
            self.connections.borrow().values().filter(|e| whose.has(e)).cloned().collect();
        left.sort_by_key(|e| e.handle.last_moved());
        left
    }
}

/// What is left is closed in the last tenth of a drain.
const SPREAD_DIVISOR: u32 = 10;

/// How long a drain of `whole` length waits before it begins to close what is left.
pub fn closing_after(whole: Duration) -> Duration {
    whole - whole / SPREAD_DIVISOR
}
