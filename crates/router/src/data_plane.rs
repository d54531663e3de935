//! All workers: a thread and a runtime each, and how they end.

use crate::accept;
use crate::bind::Socket;
use crate::node::{Node, Phase};
use crate::pin::Pins;
pub use crate::worker::closing_after;
use crate::worker::{CloseScope, Worker};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use weir_core::account::queue::Records;
use weir_core::memory::Budget;
use weir_core::plan::Address;

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
    orders: WorkerCommands,
    /// Cancelled by the first worker that ends.
    lost: CancellationToken,
    /// Each worker has a sender; nothing is ever sent.
    ended: Receiver<Infallible>,
}

/// What the control plane tells all workers to do.
#[derive(Clone, Debug)]
pub struct WorkerCommands(Vec<Sender<WorkerCommand>>);

/// What a worker is told to do.
#[derive(Debug)]
enum WorkerCommand {
    /// Accept on these too.
    Listen(Vec<Socket>),
    /// Accept on these addresses no more. The sender goes when their sockets are closed.
    Leave { addresses: Vec<Address>, closed: Sender<Infallible> },
    /// Close the connections of something that is gone, at the end of this time.
    Close { whose: CloseScope, since: Instant, over: Instant },
}

impl WorkerCommands {
    /// Accepts on further sockets: a list for each worker.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have theirs, others not.
    pub async fn listen(&self, lanes: Vec<Vec<Socket>>) {
        for (worker, sockets) in self.0.iter().zip(lanes) {
            tell(worker, WorkerCommand::Listen(sockets)).await;
        }
    }

    /// Accepts on these addresses no more; what waits in their backlogs is accepted still. Returns when every socket is
    /// closed: the next plan may have the address again.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have left, others not.
    pub async fn leave(&self, addresses: &[Address]) {
        if addresses.is_empty() {
            return;
        }
        let (closed, mut all_closed) = channel(1);
        for worker in &self.0 {
            let (addresses, closed) = (addresses.to_vec(), closed.clone());
            tell(worker, WorkerCommand::Leave { addresses, closed }).await;
        }
        drop(closed);
        // Nothing is ever sent: it ends with the last sender.
        let _none = all_closed.recv().await;
    }

    /// Closes the connections of something that is gone, once `timeout` is over, spread over its last part.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have heard of it, others not.
    pub async fn close(&self, whose: &CloseScope, timeout: Duration) {
        let since = Instant::now();
        for worker in &self.0 {
            tell(worker, WorkerCommand::Close { whose: whose.clone(), since, over: since + timeout }).await;
        }
    }
}

/// A worker that has ended needs no orders.
async fn tell(worker: &Sender<WorkerCommand>, order: WorkerCommand) {
    if worker.send(order).await.is_err() {
        tracing::debug!("a worker has ended already");
    }
}

/// WorkerCommands that wait for a worker; more make the control plane wait.
const ORDERS: usize = 64;

impl DataPlane {
    /// Starts a thread for each worker's sockets, pinned to a CPU where the plan wants that.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(node: Arc<Node>, lanes: Vec<Vec<Socket>>, access: Option<&Records>) -> io::Result<Self> {
        let budget = Budget { pipes: (PIPES / lanes.len().max(1)).max(1) };
        let pins = node.plan().runtime.affinity.then(|| Arc::new(Pins::of_the_process()));
        let mut threads = Vec::with_capacity(lanes.len());
        let mut senders = Vec::with_capacity(lanes.len());
        let (started, running) = sync_channel(lanes.len());
        let lost = CancellationToken::new();
        let (end, ended) = channel(1);
        for (number, sockets) in lanes.into_iter().enumerate() {
            let (sender, orders) = channel(ORDERS);
            senders.push(sender);
            let (node, access, pins) = (Arc::clone(&node), access.cloned(), pins.clone());
            let (started, lost, end) = (started.clone(), lost.clone(), end.clone());
            let seed = WorkerArgs { number, node, pins, budget, access, sockets, orders, lost: lost.clone() };
            let thread = thread::Builder::new().name(format!("weir-worker-{number}"));
            threads.push(thread.spawn(move || {
                // By a panic too.
                let _told = (lost.drop_guard(), end);
                work(seed, started);
            })?);
        }
        drop(started);
        // Ends when every thread has said how it went.
        running.iter().collect::<io::Result<()>>()?;
        drop(end);
        Ok(Self { node, threads, orders: WorkerCommands(senders), lost, ended })
    }

    /// How to tell the workers what to do.
    pub fn orders(&self) -> WorkerCommands {
        self.orders.clone()
    }

    /// Stops listening, gives open connections until `timeout` from now, and waits for the last one. Needs no thread of
    /// its own: at the end of a process there may be none to be had.
    ///
    /// # Errors
    /// When a worker's thread panicked.
    ///
    /// # Cancel safety
    /// Not cancel safe: the workers go on draining.
    pub async fn drained(mut self, timeout: Duration) -> Result<(), WorkerPanicked> {
        self.begin_drain(timeout);
        // Ends with the last sender.
        let _none = self.ended.recv().await;
        self.join()
    }

    /// As [`Self::drained`]; the thread waits.
    ///
    /// # Errors
    /// When a worker's thread panicked.
    pub fn drain(self, timeout: Duration) -> Result<(), WorkerPanicked> {
        self.begin_drain(timeout);
        self.join()
    }

    fn begin_drain(&self, timeout: Duration) {
        let since = Instant::now();
        self.node.enter(Phase::Draining { since, over: since + timeout });
    }

    fn join(self) -> Result<(), WorkerPanicked> {
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        if ends.iter().all(Result::is_ok) { Ok(()) } else { Err(WorkerPanicked) }
    }

    /// Ready once a worker has ended, which before a drain none should.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn a_worker_is_lost(&self) {
        self.lost.cancelled().await;
    }
}

/// A worker's thread ended in a panic.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a worker panicked")]
pub struct WorkerPanicked;

/// Pipes of all workers together: 1 MiB each, below the 64 MiB that the kernel gives an unprivileged user.
const PIPES: usize = 56;

/// Tasks that may run between two looks at sockets and timers: as many handshakes take some milliseconds.
const TASKS_BETWEEN_LOOKS: u32 = 16;

/// What a worker is made from, on its own thread.
struct WorkerArgs {
    number: usize,
    node: Arc<Node>,
    pins: Option<Arc<Pins>>,
    budget: Budget,
    access: Option<Records>,
    sockets: Vec<Socket>,
    orders: Receiver<WorkerCommand>,
    lost: CancellationToken,
}

/// Held by a task that must not end by a panic: that would go unnoticed, with one worker fewer accepting.
struct Loud(CancellationToken);

impl Drop for Loud {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

fn work(seed: WorkerArgs, started: SyncSender<io::Result<()>>) {
    // First of all: what is allocated from here on lies near that CPU.
    if let Some(pins) = &seed.pins {
        pins.pin(seed.number);
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_LOOKS)
        .build_local(LocalOptions::default());
    let (runtime, word) = match runtime {
        Ok(runtime) => (Some(runtime), Ok(())),
        Err(error) => (None, Err(error)),
    };
    // The receiver waits for every thread's word, and for the end of its sender.
    drop(started.send(word));
    drop(started);
    if let Some(runtime) = runtime {
        runtime.block_on(live(seed));
    }
}

/// Accepts and serves until the node drains, and until the last connection has ended.
async fn live(seed: WorkerArgs) {
    let WorkerArgs { number, node, pins: _, budget, access, sockets, mut orders, lost } = seed;
    let mut phase = node.subscribe();
    let worker = Rc::new(Worker::new(number, node, budget, access));
    let open = HashMap::new();
    let mut doors = Acceptors { worker: Rc::clone(&worker), phase: phase.clone(), open, lost: lost.clone() };
    doors.listen(sockets);
    let keeper = task::spawn_local(loudly(lost.clone(), housekeeping(Rc::clone(&worker))));
    let turns = Rc::clone(&worker);
    let conductor = task::spawn_local(loudly(lost, async move { turns.local.memory.turns.conduct().await }));
    let (since, over) = {
        let mut drain = pin!(drained(&mut phase));
        loop {
            tokio::select! {
                ended = &mut drain => break ended,
                Some(order) = orders.recv() => doors.obey(order),
            }
        }
    };
    // With what is still in it: somebody may wait for a `Leave`, and a `Listen` has open sockets.
    drop(orders);
    for (_, task) in std::mem::take(&mut doors.open).into_values() {
        // Ends by itself, and closes its socket; a panic there has been logged.
        drop(task.await);
    }
    worker.tasks.close();
    tokio::select! {
        () = worker.tasks.wait() => {}
        () = worker.close_spread(CloseScope::All, since, over) => worker.tasks.wait().await,
    }
    keeper.abort();
    conductor.abort();
}

async fn loudly(lost: CancellationToken, work: impl Future<Output = ()>) {
    let _loud = Loud(lost);
    work.await;
}

/// The sockets that a worker accepts on.
struct Acceptors {
    lost: CancellationToken,
    worker: Rc<Worker>,
    phase: watch::Receiver<Phase>,
    open: HashMap<Address, (CancellationToken, task::JoinHandle<()>)>,
}

impl Acceptors {
    fn obey(&mut self, order: WorkerCommand) {
        match order {
            WorkerCommand::Listen(sockets) => self.listen(sockets),
            WorkerCommand::Leave { addresses, closed } => {
                for address in addresses {
                    let Some((stop, task)) = self.open.remove(&address) else { continue };
                    stop.cancel();
                    let closed = closed.clone();
                    task::spawn_local(async move {
                        // A panic there has been logged; the socket is closed all the same.
                        drop(task.await);
                        drop(closed);
                    });
                }
            }
            WorkerCommand::Close { whose, since, over } => {
                let worker = Rc::clone(&self.worker);
                // Not among the worker's tasks: a drain of the process is not to wait for it.
                task::spawn_local(async move { worker.close_spread(whose, since, over).await });
            }
        }
    }

    fn listen(&mut self, sockets: Vec<Socket>) {
        for socket in sockets {
            let (address, stop) = (socket.address, CancellationToken::new());
            let accepting = accept::accept(socket, Rc::clone(&self.worker), self.phase.clone(), stop.clone());
            self.open.insert(address, (stop, task::spawn_local(loudly(self.lost.clone(), accepting))));
        }
    }
}

/// Waits for a drain, and gives when it began and when it is to be over.
async fn drained(phase: &mut watch::Receiver<Phase>) -> (Instant, Instant) {
    loop {
        if let Phase::Draining { since, over } = *phase.borrow_and_update() {
            return (since, over);
        }
        if phase.changed().await.is_err() {
            return (Instant::now(), Instant::now());
        }
    }
}

/// How often a worker's clock ticks when nothing happens. A timer that is set to run out before all others wakes the
/// runtime, a system call to itself and one more turn; with this one before them, those of connections do not: the shortest that
/// most have is half a second.
const TICK: Duration = Duration::from_millis(400);
/// Every so many beats a worker looks what it holds and does not need.
const HOUSEKEEPING: u64 = 12;

async fn housekeeping(worker: Rc<Worker>) {
    let mut beat = interval(TICK);
    let mut generation = 0;
    let runtime = Handle::current().metrics();
    let busy = || (Instant::now(), runtime.worker_total_busy_duration(0));
    beat.tick().await; // The first comes at once.
    let mut before = busy();
    for beats in 1u64.. {
        beat.tick().await;
        let now = busy();
        let (time, worked) = (now.0 - before.0, now.1 - before.1);
        worker.node.loads.was_busy(worker.number, worked.as_secs_f64() / time.as_secs_f64());
        before = now;
        if !beats.is_multiple_of(HOUSEKEEPING) {
            continue;
        }
        worker.local.memory.trim();
        let plan = worker.node.plan();
        if plan.generation != generation {
            generation = plan.generation;
            worker.local.cursors.borrow_mut().retain(|id| plan.pools.iter().any(|p| p.id == id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::plan;
    use tokio::time::timeout;
    use weir_metrics::Metrics;

    #[tokio::test]
    async fn a_task_that_panics_is_not_overlooked() {
        let lost = CancellationToken::new();
        loudly(lost.clone(), async {}).await;
        assert!(!lost.is_cancelled());
        #[allow(clippy::disallowed_methods, reason = "a task that is made to panic")]
        let ended = tokio::spawn(loudly(lost.clone(), async { panic!("made to") })).await;
        assert!(ended.is_err() && lost.is_cancelled());
    }

    #[tokio::test]
    async fn tells_of_a_worker_that_has_ended() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let node = Node::new(plan(&metrics, 1, &[]), metrics, 1);
        let plane = DataPlane::start(Arc::clone(&node), vec![Vec::new(), Vec::new()], None).unwrap();
        assert!(timeout(Duration::from_millis(50), plane.a_worker_is_lost()).await.is_err());
        let now = Instant::now();
        node.enter(Phase::Draining { since: now, over: now });
        timeout(Duration::from_secs(10), plane.a_worker_is_lost()).await.unwrap();
        plane.drained(Duration::ZERO).await.unwrap();
    }
}
