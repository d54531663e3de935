//! All workers: a thread and a runtime each, and how they end.

use crate::bind::Socket;
use crate::listener;
use crate::node::{Node, Phase};
use crate::worker::Worker;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use weir_core::access;
use weir_core::memory::Budget;

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
}

impl DataPlane {
    /// Starts a thread for each worker's sockets.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(node: Arc<Node>, lanes: Vec<Vec<Socket>>, access: Option<&access::Log>) -> io::Result<Self> {
        let budget = Budget { pipes: (PIPES / lanes.len().max(1)).max(1) };
        let mut threads = Vec::with_capacity(lanes.len());
        let (started, running) = sync_channel(lanes.len());
        for (number, sockets) in lanes.into_iter().enumerate() {
            let seed = Seed { number, node: Arc::clone(&node), budget, access: access.cloned(), sockets };
            let started = started.clone();
            let thread = thread::Builder::new().name(format!("weir-worker-{number}"));
            threads.push(thread.spawn(move || work(seed, started))?);
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

/// What a worker is made from, on its own thread.
struct Seed {
    number: usize,
    node: Arc<Node>,
    budget: Budget,
    access: Option<access::Log>,
    sockets: Vec<Socket>,
}

fn work(seed: Seed, started: SyncSender<io::Result<()>>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
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
async fn live(seed: Seed) {
    let Seed { number, node, budget, access, sockets } = seed;
    let mut phase = node.subscribe();
    let worker = Rc::new(Worker::new(number, node, budget, access));
    let accepting: Vec<_> = sockets
        .into_iter()
        .map(|socket| tokio::task::spawn_local(listener::accept(socket, Rc::clone(&worker), phase.clone())))
        .collect();
    let keeper = tokio::task::spawn_local(keep_house(Rc::clone(&worker)));
    let (since, over) = drained(&mut phase).await;
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

/// How often a worker looks what it holds and does not need.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

async fn keep_house(worker: Rc<Worker>) {
    let mut tick = interval(HOUSEKEEPING);
    loop {
        tick.tick().await;
        worker.memory.trim();
    }
}
