//! All workers: a thread and a runtime each, and how they end.

use crate::accept;
use crate::alive;
use crate::node::{Node, Phase};
use crate::pin::{self, Pins};
use crate::retire::Surplus;
use crate::sockets::{LentSocket, ListeningSocket, SocketId};
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
use weir_core::account::failures::Failures;
use weir_core::account::queue::Records;
use weir_core::memory::{Budget, give_back};
use weir_core::plan::ListenAddress;

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
    commands: WorkerCommands,
    /// Cancelled when the first worker ends.
    lost: CancellationToken,
    /// Each worker has a sender; nothing is ever sent.
    ended: Receiver<Infallible>,
}

/// What the control plane tells all workers to do.
#[derive(Clone, Debug)]
pub struct WorkerCommands {
    node: Arc<Node>,
    workers: Vec<Sender<WorkerCommand>>,
}

/// What a worker is told to do.
#[derive(Debug)]
enum WorkerCommand {
    /// Accept on these too.
    Listen(Vec<LentSocket>),
    /// Accept on these no more. The sender goes when they have been given back.
    Leave { sockets: Vec<SocketId>, given_back: Sender<Infallible> },
    /// End connections of a backend that has too many.
    EndSurplus(Surplus),
    /// Close the connections of something that is gone, at the end of this time.
    Close { whose: CloseScope, since: Instant, over: Instant },
}

impl WorkerCommands {
    /// The last failures of the process.
    pub fn failures(&self) -> &Failures {
        &self.node.failures
    }

    /// Accepts on further sockets, which the node's registry takes.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have theirs, others not.
    pub async fn listen(&self, sockets: Vec<ListeningSocket>) {
        let lent = self.node.sockets.lend(sockets, self.workers.len());
        for (worker, sockets) in self.workers.iter().zip(lent) {
            tell(worker, WorkerCommand::Listen(sockets)).await;
        }
    }

    /// Stops accepting on these addresses, once their backlogs are empty. Returns when every socket is closed, because the
    /// next plan may have the address again.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have left, others not.
    pub async fn leave(&self, addresses: &[ListenAddress]) {
        if addresses.is_empty() {
            return;
        }
        // First: a socket closes with the worker that gives it back, as soon as that has emptied its backlog.
        let sockets = self.node.sockets.let_go(addresses);
        let (given_back, mut all_closed) = channel(1);
        for worker in &self.workers {
            let (sockets, given_back) = (sockets.clone(), given_back.clone());
            tell(worker, WorkerCommand::Leave { sockets, given_back }).await;
        }
        drop(given_back);
        // Nothing is ever sent: it ends with the last sender.
        let _none = all_closed.recv().await;
    }

    /// Ends idle connections of a backend that has more than its share.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have heard of it, others not.
    pub async fn end_surplus(&self, surplus: &Surplus) {
        for worker in &self.workers {
            tell(worker, WorkerCommand::EndSurplus(surplus.clone())).await;
        }
    }

    /// Closes the connections in `scope` when `timeout` is over, spread over its last tenth.
    ///
    /// # Cancel safety
    /// Not cancel safe: some workers may have heard of it, others not.
    pub async fn close(&self, whose: &CloseScope, timeout: Duration) {
        let since = Instant::now();
        for worker in &self.workers {
            tell(worker, WorkerCommand::Close { whose: whose.clone(), since, over: since + timeout }).await;
        }
    }
}

/// A worker that has ended needs no commands.
async fn tell(worker: &Sender<WorkerCommand>, order: WorkerCommand) {
    if worker.send(order).await.is_err() {
        tracing::debug!("a worker has ended already");
    }
}

/// Commands that may wait for a worker; with more, the control plane waits.
const COMMANDS: usize = 64;

impl DataPlane {
    /// Lends the sockets to the node's workers and starts a thread for each of them, pinned to a CPU where the plan wants that.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(
        node: Arc<Node>,
        sockets: Vec<ListeningSocket>,
        access: Option<&Records>,
    ) -> io::Result<Self> {
        let lent = node.sockets.lend(sockets, node.workers);
        let budget = Budget { pipes: (PIPES / lent.len().max(1)).max(1) };
        let pins = node.plan().runtime.affinity.then(|| Arc::new(Pins::of_the_process()));
        let mut threads = Vec::with_capacity(lent.len());
        let mut senders = Vec::with_capacity(lent.len());
        let (started, running) = sync_channel(lent.len());
        let lost = CancellationToken::new();
        let (end, ended) = channel(1);
        for (number, sockets) in lent.into_iter().enumerate() {
            let (sender, commands) = channel(COMMANDS);
            senders.push(sender);
            let (node, access, pins) = (Arc::clone(&node), access.cloned(), pins.clone());
            let (started, lost, end) = (started.clone(), lost.clone(), end.clone());
            let seed =
                WorkerArgs { number, node, pins, budget, access, sockets, commands, lost: lost.clone() };
            let thread = thread::Builder::new().name(format!("weir-worker-{number}"));
            threads.push(thread.spawn(move || {
                // Also after a panic.
                let _told = (lost.drop_guard(), end);
                work(seed, started);
            })?);
        }
        drop(started);
        // Ends when every thread has reported.
        running.iter().collect::<io::Result<()>>()?;
        drop(end);
        let commands = WorkerCommands { node: Arc::clone(&node), workers: senders };
        Ok(Self { node, threads, commands, lost, ended })
    }

    /// The sender of commands to the workers.
    pub fn commands(&self) -> WorkerCommands {
        self.commands.clone()
    }

    /// Stops listening, lets open connections go on for `timeout`, and waits for the last one. Starts no thread, because the
    /// system may have none left.
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

    /// As [`Self::drained`], but blocks the thread.
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

    /// Ready once a worker has ended; before a drain none should.
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

/// Pipes of all workers together, 1 MiB each: below the 64 MiB that the kernel grants an unprivileged user.
const PIPES: usize = 56;

/// Tasks that may run before sockets and timers are polled again: as many handshakes take some milliseconds.
const TASKS_BETWEEN_LOOKS: u32 = 16;

/// What a worker is made from, on its own thread.
struct WorkerArgs {
    number: usize,
    node: Arc<Node>,
    pins: Option<Arc<Pins>>,
    budget: Budget,
    access: Option<Records>,
    sockets: Vec<LentSocket>,
    commands: Receiver<WorkerCommand>,
    lost: CancellationToken,
}

/// Held by a task that must not panic: its end would go unnoticed, with one worker fewer accepting.
struct Loud(CancellationToken);

impl Drop for Loud {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

fn work(seed: WorkerArgs, started: SyncSender<io::Result<()>>) {
    // Before any allocation, so that memory lies near that CPU.
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
    // The receiver waits for every thread's report, and for the end of its sender.
    drop(started.send(word));
    drop(started);
    if let Some(runtime) = runtime {
        runtime.block_on(live(seed));
    }
}

/// Accepts and serves until the node drains, and until the last connection has ended.
async fn live(seed: WorkerArgs) {
    let WorkerArgs { number, node, pins, budget, access, sockets, mut commands, lost } = seed;
    let cpu = pins.and_then(|pins| pins.cpu(number));
    let mut phase = node.subscribe();
    let worker = Rc::new(Worker::new(number, node, budget, access));
    let open = HashMap::new();
    let mut doors =
        Acceptors { worker: Rc::clone(&worker), cpu, phase: phase.clone(), open, lost: lost.clone() };
    doors.listen(sockets);
    let keeper = task::spawn_local(loudly(lost.clone(), housekeeping(Rc::clone(&worker))));
    let turns = Rc::clone(&worker);
    let conductor =
        task::spawn_local(loudly(lost.clone(), async move { turns.local.memory.turns.conduct().await }));
    let teller = task::spawn_local(loudly(lost.clone(), alive::conduct(Rc::clone(&worker))));
    let turns = Rc::clone(&worker);
    let usher =
        task::spawn_local(loudly(lost.clone(), async move { turns.local.handshakes.conduct().await }));
    let clock = Rc::clone(&worker);
    let clock = task::spawn_local(loudly(lost, async move { clock.http.conduct().await }));
    let (since, over) = {
        let mut drain = pin!(drained(&mut phase));
        loop {
            tokio::select! {
                ended = &mut drain => break ended,
                Some(order) = commands.recv() => doors.obey(order),
            }
        }
    };
    // Drops queued commands too: a `Leave` has a waiter, and a `Listen` holds open sockets.
    drop(commands);
    for (_, task) in std::mem::take(&mut doors.open).into_values() {
        // Ends by itself, and gives its socket back; a panic there has been logged.
        drop(task.await);
    }
    worker.tasks.close();
    worker.http.close();
    tokio::select! {
        () = worker.tasks.wait() => {}
        () = worker.close_spread(CloseScope::All, since, over) => worker.tasks.wait().await,
    }
    keeper.abort();
    teller.abort();
    conductor.abort();
    usher.abort();
    clock.abort();
}

async fn loudly(lost: CancellationToken, work: impl Future<Output = ()>) {
    let _loud = Loud(lost);
    work.await;
}

/// The sockets that a worker accepts on.
struct Acceptors {
    lost: CancellationToken,
    worker: Rc<Worker>,
    /// The CPU that the worker is pinned to.
    cpu: Option<usize>,
    phase: watch::Receiver<Phase>,
    open: HashMap<SocketId, (CancellationToken, task::JoinHandle<()>)>,
}

impl Acceptors {
    fn obey(&mut self, order: WorkerCommand) {
        match order {
            WorkerCommand::Listen(sockets) => self.listen(sockets),
            WorkerCommand::Leave { sockets, given_back } => {
                for socket in sockets {
                    let Some((stop, task)) = self.open.remove(&socket) else { continue };
                    stop.cancel();
                    let given_back = given_back.clone();
                    task::spawn_local(async move {
                        // A panic there has been logged; the socket is given back all the same.
                        drop(task.await);
                        drop(given_back);
                    });
                }
            }
            WorkerCommand::EndSurplus(surplus) => {
                task::spawn_local(Rc::clone(&self.worker).end_surplus(surplus));
            }
            WorkerCommand::Close { whose, since, over } => {
                let worker = Rc::clone(&self.worker);
                // Not among the worker's tasks, because a drain of the process must not wait for it.
                task::spawn_local(async move { worker.close_spread(whose, since, over).await });
            }
        }
    }

    fn listen(&mut self, sockets: Vec<LentSocket>) {
        for socket in sockets {
            let (id, stop) = (socket.id, CancellationToken::new());
            if let Some(cpu) = self.cpu {
                pin::steer(&socket.socket, cpu);
            }
            let accepting = accept::accept(socket, Rc::clone(&self.worker), self.phase.clone(), stop.clone());
            self.open.insert(id, (stop, task::spawn_local(loudly(self.lost.clone(), accepting))));
        }
    }
}

/// Waits for a drain; gives its beginning and its end.
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

/// How often an idle worker's clock ticks. Setting a timer that expires before all others wakes the runtime: a system
/// call to itself and one more turn. With this tick before them, timers of connections do not: most are half a second or
/// longer.
const TICK: Duration = Duration::from_millis(400);
/// After this many ticks a worker frees what it holds and does not need.
const HOUSEKEEPING: u64 = 12;

/// Connections that live longer than this are looked through less often: each so many ticks.
const OLD: Duration = Duration::from_secs(60);
const SELDOM: u32 = 5;

async fn housekeeping(worker: Rc<Worker>) {
    let mut tick = interval(TICK);
    let mut generation = 0;
    let runtime = Handle::current().metrics();
    let busy = || (Instant::now(), runtime.worker_total_busy_duration(0));
    tick.tick().await; // The first tick comes at once.
    let mut before = busy();
    for beats in 1u64.. {
        tick.tick().await;
        let now = busy();
        let (time, worked) = (now.0 - before.0, now.1 - before.1);
        worker.node.loads.was_busy(worker.number, worked.as_secs_f64() / time.as_secs_f64());
        before = now;
        if !worker.node.memory.is_open() {
            give_back();
        }
        let age = worker.node.plan().runtime.max_connection_age;
        match age {
            Some(age) if age < OLD => worker.retire_old(age, TICK),
            Some(age) if beats.is_multiple_of(u64::from(SELDOM)) => worker.retire_old(age, TICK * SELDOM),
            _ => {}
        }
        if !beats.is_multiple_of(HOUSEKEEPING) {
            continue;
        }
        worker.local.memory.trim();
        let plan = worker.node.plan();
        if plan.generation != generation {
            generation = plan.generation;
            worker.local.selector.borrow_mut().retain(|id| plan.pools.iter().any(|p| p.id == id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::plan;
    use socket2::{Domain, Type};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::slice;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::time::timeout;
    use weir_metrics::Metrics;

    #[tokio::test]
    async fn panicked_tasks_are_noticed() {
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
        let plane = DataPlane::start(Arc::clone(&node), Vec::new(), None).unwrap();
        assert!(timeout(Duration::from_millis(50), plane.a_worker_is_lost()).await.is_err());
        let now = Instant::now();
        node.enter(Phase::Draining { since: now, over: now });
        timeout(Duration::from_secs(10), plane.a_worker_is_lost()).await.unwrap();
        plane.drained(Duration::ZERO).await.unwrap();
    }

    /// A listening socket on a port of its own, said to be of this address, and where it is.
    fn listening(address: ListenAddress) -> (ListeningSocket, SocketAddr) {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(4).unwrap();
        let at = socket.local_addr().unwrap().as_socket().unwrap();
        (ListeningSocket { file: None, socket, address }, at)
    }

    #[tokio::test]
    async fn a_worker_accepts_on_each_of_its_sockets_of_an_address_and_leaves_all() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let node = Node::new(plan(&metrics, 1, &["edge"]), metrics, 10);
        let address = node.plan().listeners[0].addresses[0].clone();
        let ((first, its), (second, others)) = (listening(address.clone()), listening(address.clone()));
        let plane = DataPlane::start(Arc::clone(&node), vec![first, second], None).unwrap();
        for at in [its, others] {
            let mut client = TcpStream::connect(at).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it was accepted, and has no route");
        }
        assert_eq!(node.sockets.addresses(), slice::from_ref(&address));
        timeout(Duration::from_secs(10), plane.commands().leave(&[address])).await.unwrap();
        for at in [its, others] {
            assert!(TcpStream::connect(at).await.is_err(), "closed when the leaving is over");
        }
        assert_eq!(node.sockets.addresses(), []);
        plane.drained(Duration::ZERO).await.unwrap();
    }
}
