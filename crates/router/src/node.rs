//! What all workers and the control plane share: the plan in force, the counters, the room for connections, and
//! where the process is in its life.

use crate::plan::{Address, Listener, Plan};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;
use weir_core::limits::{PendingTotal, Permits};
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
    /// When to warn that nothing can be accepted.
    pub(crate) cannot_accept: Rarely,
    plan: ArcSwap<Plan>,
    lanes: Vec<(Address, Shared)>,
    phase: watch::Sender<Phase>,
    boot: u128,
}

/// Lets a warning through once a second, whatever the number of workers that have cause for it.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// `Some` when it is time again: how often there was cause since the last time.
    pub(crate) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, times) = &mut *state;
        *times += 1;
        if last.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(times))
    }
}

const WARN_EVERY: Duration = Duration::from_secs(1);

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
            cannot_accept: Rarely::default(),
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

    /// Tells of every change of phase.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
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
