//! What the connections of one data-plane thread share: its scratch memory, its cursors, and the list of them.
//!
//! A connection is served by one worker, from its first byte to its last; nothing on its way is shared with another
//! thread but the plan, the counters and the limits of the process.

use crate::handoff::LoadGuard;
use crate::node::{Generation, ListenerLimits, ListenerState, Node};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use weir_core::account::queue::Records;
use weir_core::local::Local;
use weir_core::memory::{Budget, Memory};
use weir_core::stop::{ConnHandle, Stop};
use weir_metrics::WorkerMetrics;
use weir_pool::{Live as BackendLive, Reason};

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// Counted from 0.
    pub number: usize,
    /// The process.
    pub node: Arc<Node>,
    /// What its connections touch of it.
    pub local: Rc<Local>,
    /// Its counters.
    pub metrics: WorkerMetrics,
    /// Its connections: every task is known here, so that the end waits for all of them.
    pub(crate) tasks: TaskTracker,
    live: RefCell<BTreeMap<u64, Entry>>,
    accepted: Cell<u64>,
}

/// A connection in its worker's list: how to end it, and whose it is.
#[derive(Clone, Debug)]
struct Entry {
    handle: Rc<ConnHandle>,
    listener: Arc<ListenerLimits>,
    /// Of the plan that it began with.
    generation: u64,
}

/// Whose connections are to end.
#[derive(Clone, Debug)]
pub enum CloseScope {
    /// All that there are.
    All,
    /// Those of a listener that is gone, for as long as it does not come back.
    Listener {
        /// Its limits.
        limits: Arc<ListenerLimits>,
        /// [`ListenerLimits::drain_number`] as the drain began.
        drain: u32,
    },
    /// Those of a plan that is long past.
    Generation(Arc<Generation>),
    /// Those of a backend, for as long as this drain of it goes on, or it fails its checks.
    Backend {
        /// The backend.
        live: Arc<BackendLive>,
        /// [`weir_pool::Live::drain_number`] as the drain began; `None` = it fails its checks. One that is well
        /// again when the time has come keeps its connections: by then it has new ones too.
        drain: Option<u32>,
    },
}

impl CloseScope {
    fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Listener { limits, drain } => {
                limits.drain_number() == *drain && Arc::ptr_eq(limits, &entry.listener)
            }
            Self::Generation(generation) => generation.number == entry.generation,
            Self::Backend { live, drain } => {
                let goes_on =
                    drain.map_or_else(|| live.is(Reason::Down), |number| live.drain_number() == number);
                goes_on && entry.handle.is_served_by(live)
            }
        }
    }

    /// Says how many connections of a worker the end of a drain closes. Of all of them the process itself tells.
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
            Self::Backend { live, drain: Some(_) } => {
                let (pool, backend) = (&live.pool, &live.backend);
                tracing::info!(
                    %pool, %backend, worker, connections,
                    "the backend's drain takes too long: closing what is left"
                );
            }
            Self::All | Self::Backend { drain: None, .. } => {}
        }
    }

    /// Waits until `when`; `None` as soon as there is nobody left. Only a weak reference is held while waiting, so that the
    /// thing and its series can go with its last connection, however long the drain might take.
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
            Self::Backend { live, drain } => {
                let goes_on = |live: &BackendLive| drain.is_none_or(|number| live.drain_number() == number);
                held_until(live, when, goes_on).await.map(|live| Self::Backend { live, drain })
            }
        }
    }
}

/// Waits until `when`, without keeping what is given; `None` once the last other owner drops it or `goes_on` is false.
async fn held_until<T>(kept: Arc<T>, when: Instant, goes_on: impl Fn(&T) -> bool) -> Option<Arc<T>> {
    let waiting = Arc::downgrade(&kept);
    drop(kept);
    while Instant::now() < when {
        if !waiting.upgrade().is_some_and(|kept| goes_on(&kept)) {
            return None;
        }
        sleep_until(when.min(Instant::now() + LOOK)).await;
    }
    waiting.upgrade()
}

/// How often the end of a drain looks whether there is anybody left to wait for: many drains may be under way at once.
const LOOK: Duration = Duration::from_secs(1);

/// A connection's place in its worker's list, left when dropped.
#[derive(Debug)]
pub(crate) struct Live {
    worker: Rc<Worker>,
    number: u64,
    generation: Arc<Generation>,
    _seat: LoadGuard,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.worker.live.borrow_mut().remove(&self.number);
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
        Self {
            number,
            local: Rc::new(Local {
                memory: Memory::new(budget, metrics.clone()),
                cursors: RefCell::default(),
                records,
            }),
            metrics,
            tasks: TaskTracker::new(),
            live: RefCell::default(),
            accepted: Cell::new(0),
            node,
        }
    }

    /// Enters a new connection: its number on this worker, its handle, and its place in the list.
    pub(crate) fn enter(
        self: &Rc<Self>,
        shared: &ListenerState,
        guard: LoadGuard,
    ) -> (u64, Rc<ConnHandle>, Live) {
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        self.metrics.connections.inc();
        let handle = Rc::new(ConnHandle::default());
        let listener = Arc::clone(&shared.limits);
        let entry = Entry { handle: Rc::clone(&handle), listener, generation: shared.generation.number };
        self.live.borrow_mut().insert(number, entry);
        let generation = Arc::clone(&shared.generation);
        generation.open.fetch_add(1, Ordering::Relaxed);
        (number, handle, Live { worker: Rc::clone(self), number, generation, _seat: guard })
    }

    /// Closes what is left at the end of a drain, spread over its last tenth, idle ones first: never all in one
    /// instant.
    pub(crate) async fn close_spread(&self, whose: CloseScope, since: Instant, over: Instant) {
        let spread = (over - since) / LAST_PART;
        let Some(whose) = whose.at(since + closing_after(over - since)).await else { return };
        let left = self.of(&whose);
        whose.announce(self.number, left.len());
        let pause = spread / u32::try_from(left.len().max(1)).unwrap_or(u32::MAX);
        // Steps are counted from the start: a timer is never finer than a millisecond, and lags would add up.
        let begun = Instant::now();
        for (number, entry) in (1u32..).zip(left) {
            if whose.has(&entry) {
                entry.handle.cancel(Stop::Drained);
            }
            let next = begun + pause * number;
            if next > Instant::now() {
                sleep_until(next).await;
            }
        }
        // Those that were accepted in the last moment and are not in the list.
        self.of(&whose).iter().for_each(|e| e.handle.cancel(Stop::Drained));
    }

    /// Its connections that are to end, those first that have been idle for the longest time.
    fn of(&self, whose: &CloseScope) -> Vec<Entry> {
        let mut left: Vec<Entry> = self.live.borrow().values().filter(|e| whose.has(e)).cloned().collect();
        left.sort_by_key(|e| e.handle.last_moved());
        left
    }
}

/// The part of a drain in which what is left is closed: a tenth.
const LAST_PART: u32 = 10;

/// After how much of a drain's `whole` time what is left begins to be closed.
pub fn closing_after(whole: Duration) -> Duration {
    whole - whole / LAST_PART
}
