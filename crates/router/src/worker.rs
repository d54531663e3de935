//! One data-plane thread: its runtime, its listening sockets, its scratch memory, its connections.
//!
//! A connection lives and dies on the worker that accepted it; nothing on its road is shared with another
//! thread but the plan, the counters and the limits of the process.

use crate::data_plane::{Node, Phase};
use crate::listener::{self, Socket};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::task::TaskTracker;
use weir_core::access;
use weir_core::pick::Cursors;
use weir_core::relay::{Budget, Memory};
use weir_core::stop::{Stop, Switch};
use weir_metrics::WorkerMetrics;

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// Counted from 0.
    pub number: usize,
    /// The process.
    pub node: Arc<Node>,
    /// The read buffer and the pipes.
    pub memory: Memory,
    /// Its place in the rotation of each pool.
    pub cursors: RefCell<Cursors>,
    /// Its counters.
    pub metrics: WorkerMetrics,
    /// Its connections: every task is known here, so that the end waits for all of them.
    pub(crate) tasks: TaskTracker,
    access: Option<access::Log>,
    live: RefCell<BTreeMap<u64, Rc<Switch>>>,
    accepted: Cell<u64>,
}

/// A connection's place in its worker's list, left when dropped.
#[derive(Debug)]
pub(crate) struct Live {
    worker: Rc<Worker>,
    number: u64,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.worker.live.borrow_mut().remove(&self.number);
        if std::thread::panicking() {
            self.worker.node.metrics.panics().inc();
        }
    }
}

/// What a worker is made from, on its own thread.
#[derive(Debug)]
pub struct Seed {
    /// Counted from 0.
    pub number: usize,
    /// The process.
    pub node: Arc<Node>,
    /// Pipes that it may hold.
    pub budget: Budget,
    /// Where its records go.
    pub access: Option<access::Log>,
}

impl Seed {
    /// The worker.
    pub fn grow(self) -> Worker {
        let Self { number, node, budget, access } = self;
        let metrics = node.metrics.worker(number);
        Worker {
            number,
            memory: Memory::new(budget, metrics.clone()),
            cursors: RefCell::default(),
            metrics,
            tasks: TaskTracker::new(),
            access,
            live: RefCell::default(),
            accepted: Cell::new(0),
            node,
        }
    }
}

impl Worker {
    /// Accepts and serves on `sockets` until the node drains, and until the last connection has ended.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection at once.
    pub async fn run(self, sockets: Vec<Socket>, mut phase: watch::Receiver<Phase>) {
        let worker = Rc::new(self);
        let accepting: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                tokio::task::spawn_local(listener::accept(socket, Rc::clone(&worker), phase.clone()))
            })
            .collect();
        let keeper = tokio::task::spawn_local(keep_house(Rc::clone(&worker)));
        let (since, over) = loop {
            if let Phase::Draining { since, over } = *phase.borrow_and_update() {
                break (since, over);
            }
            if phase.changed().await.is_err() {
                break (Instant::now(), Instant::now());
            }
        };
        for task in accepting {
            // Ends by itself, and closes its socket; a panic there has been logged.
            drop(task.await);
        }
        worker.tasks.close();
        tokio::select! {
            () = worker.tasks.wait() => {}
            () = worker.close_spread(since, over) => worker.tasks.wait().await,
        }
        keeper.abort();
    }

    /// Where records go.
    pub fn access(&self) -> Option<access::Log> {
        self.access.clone()
    }

    /// Enters a new connection: its number on this worker, its switch, and its place in the list.
    pub(crate) fn enter(self: &Rc<Self>) -> (u64, Rc<Switch>, Live) {
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        self.metrics.connections.inc();
        let switch = Rc::new(Switch::default());
        self.live.borrow_mut().insert(number, Rc::clone(&switch));
        (number, switch, Live { worker: Rc::clone(self), number })
    }

    /// Closes what is left at the end of a drain, spread over its last tenth: never all in one instant.
    async fn close_spread(&self, since: Instant, over: Instant) {
        let spread = (over - since) / LAST_PART;
        sleep_until(over - spread).await;
        let left: Vec<Rc<Switch>> = self.live.borrow().values().cloned().collect();
        let pause = spread / u32::try_from(left.len().max(1)).unwrap_or(u32::MAX);
        for switch in left {
            switch.throw(Stop::Drained);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        // Those that were accepted in the last moment and are not in the list.
        self.live.borrow().values().for_each(|s| s.throw(Stop::Drained));
    }
}

/// The part of a drain in which what is left is closed: a tenth.
const LAST_PART: u32 = 10;
/// How often a worker looks what it holds and does not need.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

async fn keep_house(worker: Rc<Worker>) {
    let mut tick = interval(HOUSEKEEPING);
    loop {
        tick.tick().await;
        worker.memory.trim();
    }
}
