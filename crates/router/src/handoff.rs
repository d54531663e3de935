//! Spreads accepted connections over the workers: the load of each, and which worker gets the next connection.
//!
//! The kernel spreads connections over the workers' sockets by a hash. Many connections spread evenly that way, few do
//! not, and long ones stay where they fell. So a worker that has accepted a connection hands it off, once and before
//! anything is read, if another worker has clearly fewer. Small differences are left alone, because a hand-off wakes
//! another thread. A worker's queue is bounded; if it is full, or the worker leaves the address, the connection stays
//! with the worker that accepted it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use weir_core::address::PeerAddr;
use weir_core::limits::Permit;

/// The load of each worker.
#[derive(Debug)]
pub(crate) struct WorkerLoads(Box<[Arc<WorkerLoad>]>);

/// Its worker and the workers that hand off to it write here, so it is aligned to two cache lines, which are fetched
/// together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerLoad {
    /// Connections now.
    open: AtomicUsize,
    /// Connections so far.
    so_far: AtomicU64,
    /// It has hardly slept lately: its connections, however few, use all of its time.
    saturated: AtomicBool,
    /// How often it has noted whether it is saturated.
    ticks: AtomicU64,
}

/// A connection's place at a worker, given up when dropped.
#[derive(Debug)]
pub(crate) struct LoadGuard(Arc<WorkerLoad>);

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WorkerLoads {
    /// Workers without connections.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    /// A place at this worker. It counts at once, so that the next worker that hands off sees it.
    pub(crate) fn count(&self, worker: usize) -> LoadGuard {
        // An unknown worker gets a counter that is never read.
        let load = self.0.get(worker).cloned().unwrap_or_default();
        load.open.fetch_add(1, Ordering::Relaxed);
        load.so_far.fetch_add(1, Ordering::Relaxed);
        LoadGuard(load)
    }

    /// Notes that a worker was busy for this share of its time, from 0 to 1. The worker itself calls it periodically.
    pub(crate) fn was_busy(&self, worker: usize, share: f64) {
        if let Some(load) = self.0.get(worker) {
            load.saturated.store(share >= SATURATED, Ordering::Relaxed);
            load.ticks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each worker has noted that. A worker that hangs notes nothing.
    pub(crate) fn ticks(&self) -> Vec<u64> {
        self.0.iter().map(|load| load.ticks.load(Ordering::Relaxed)).collect()
    }

    /// The worker that gets the connection which worker `own` has accepted as its `turn`-th: one with clearly fewer open
    /// connections, or with clearly fewer so far and not clearly more open ones. `None`: it stays. A saturated worker gets
    /// nothing, however few connections it has, unless `own` is saturated too. Of many workers only some are compared;
    /// `turn` rotates which.
    pub(crate) fn lighter_than(&self, own: usize, turn: u64) -> Option<usize> {
        let mine = self.0.get(own)?;
        let (open, so_far) = (mine.open.load(Ordering::Relaxed), mine.so_far.load(Ordering::Relaxed));
        let takes_more = |its: &WorkerLoad| !its.saturated.load(Ordering::Relaxed);
        let any = !takes_more(mine);
        let others = self.0.len() - 1;
        let first = usize::try_from(turn).unwrap_or(0) % others.max(1);
        let mut found = None;
        for step in 0..others.min(ASKED) {
            let other = (own + 1 + (first + step) % others) % self.0.len();
            let Some(its) = self.0.get(other).filter(|its| any || takes_more(its)) else { continue };
            let (its_open, its_so_far) =
                (its.open.load(Ordering::Relaxed), its.so_far.load(Ordering::Relaxed));
            let more_open = open > its_open + noise(its_open);
            let more_so_far =
                its_open <= open + noise(open) && so_far > its_so_far + (its_so_far / PART).max(FEW);
            let ahead = more_open || more_so_far;
            if ahead && found.is_none_or(|(least, _)| (its_open, its_so_far) < least) {
                found = Some(((its_open, its_so_far), other));
            }
        }
        found.map(|(_, other)| other)
    }
}

/// How many other workers are compared for one connection. Reading each may fetch a cache line from another CPU.
const ASKED: usize = 4;
/// A worker that is busy for this share of its time is saturated.
const SATURATED: f64 = 0.95;
/// The divisor of past connections: a difference of a 32nd is even enough, well within the promised tenth.
const PART: u64 = 32;
/// The smallest difference in past connections that counts.
const FEW: u64 = 2;

/// The difference in open connections that chance alone may make while short ones come and go: a hand-off for less
/// would wake another thread and even nothing out.
fn noise(open: usize) -> usize {
    1 + (2 * open).isqrt()
}

/// An accepted connection on its way to another worker.
#[derive(Debug)]
pub(crate) struct HandOff {
    /// Not registered with a runtime yet.
    pub(crate) stream: OwnedFd,
    pub(crate) peer: PeerAddr,
    pub(crate) permits: [Permit; 2],
    pub(crate) guard: LoadGuard,
}

/// The queues of one address, one a worker.
#[derive(Debug)]
pub(crate) struct HandOffQueues {
    /// How to hand off to each worker, by its number.
    pub(crate) others: Arc<[Sender<HandOff>]>,
    /// What each worker is handed. A worker that does not listen at the address drops its own, and is handed nothing.
    pub(crate) handed: Vec<Receiver<HandOff>>,
}

impl HandOffQueues {
    /// Queues for so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let (others, handed): (Vec<_>, _) = (0..workers).map(|_| channel(QUEUE)).unzip();
        Self { others: others.into(), handed }
    }
}

/// Connections on their way to one worker at one address; further ones stay where they are.
pub(crate) const QUEUE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(loads: &[(usize, u64)]) -> WorkerLoads {
        let load = |(open, so_far): &(usize, u64)| WorkerLoad {
            open: (*open).into(),
            so_far: (*so_far).into(),
            saturated: false.into(),
            ticks: AtomicU64::default(),
        };
        WorkerLoads(loads.iter().map(load).map(Arc::new).collect())
    }

    #[test]
    fn a_worker_with_clearly_fewer_gets_the_connection() {
        assert_eq!(of(&[(2, 2), (0, 0)]).lighter_than(0, 0), Some(1));
        assert_eq!(of(&[(1, 1), (0, 0)]).lighter_than(0, 0), None, "even enough");
        assert_eq!(of(&[(2, 2), (0, 0)]).lighter_than(1, 0), None);
        // The lightest of several, whichever is compared first.
        for turn in 0..4 {
            assert_eq!(of(&[(9, 9), (5, 5), (1, 1), (3, 3)]).lighter_than(0, turn), Some(2));
        }
        // Among many connections, one more or less means nothing.
        assert_eq!(of(&[(1040, 1025), (1000, 1000)]).lighter_than(0, 0), None);
        assert_eq!(of(&[(1063, 1063), (1000, 1000)]).lighter_than(0, 0), Some(1));
    }

    #[test]
    fn open_connections_outweigh_past_ones() {
        // With about as many open, the worker with fewer past connections gets it, but never one with clearly more open.
        assert_eq!(of(&[(4, 100), (4, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(of(&[(4, 100), (6, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(of(&[(4, 100), (8, 90)]).lighter_than(0, 0), None);
        assert_eq!(of(&[(9, 10), (4, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(of(&[(4, 90), (9, 10)]).lighter_than(0, 0), None);
    }

    #[test]
    fn a_saturated_worker_gets_nothing_however_few_it_has() {
        let loads = of(&[(90, 90), (0, 0), (50, 50)]);
        assert_eq!(loads.lighter_than(0, 0), Some(1));
        loads.was_busy(1, 0.99);
        assert_eq!(loads.lighter_than(0, 0), Some(2));
        loads.was_busy(2, 1.0);
        assert_eq!(loads.lighter_than(0, 0), None);
        loads.was_busy(0, 1.0);
        assert_eq!(loads.lighter_than(0, 0), Some(1), "all are saturated: by their numbers");
        loads.was_busy(0, 0.5);
        loads.was_busy(1, 0.5);
        assert_eq!(loads.lighter_than(0, 0), Some(1));
    }

    #[test]
    fn a_lone_or_unknown_worker_hands_nothing_over() {
        assert_eq!(of(&[(9, 9)]).lighter_than(0, 7), None);
        assert_eq!(of(&[(9, 9), (0, 0)]).lighter_than(2, 0), None);
    }

    #[test]
    fn all_of_many_workers_have_their_turn() {
        let mut counts = vec![(100, 100); 16];
        for light in 1..16 {
            counts[light] = (0, 0);
            let loads = of(&counts);
            let found = (0..15).filter(|turn| loads.lighter_than(0, *turn) == Some(light)).count();
            assert_eq!(found, ASKED, "{light}");
            counts[light] = (100, 100);
        }
    }

    /// Whichever worker the kernel chooses, all workers end up with similar numbers.
    #[test]
    fn a_lopsided_kernel_is_made_up_for() {
        for (workers, stay) in [(2, true), (2, false), (4, true), (4, false), (16, true)] {
            let loads = WorkerLoads::new(workers);
            let add = |n: usize| {
                loads.0[n].open.fetch_add(1, Ordering::Relaxed);
                loads.0[n].so_far.fetch_add(1, Ordering::Relaxed);
            };
            for turn in 0..1600 {
                // Two of three at the first, the others anywhere.
                let own = if turn % 3 == 0 { (turn / 3) % workers } else { 0 };
                let server = loads.lighter_than(own, turn as u64).unwrap_or(own);
                add(server);
                if !stay {
                    loads.0[server].open.fetch_sub(1, Ordering::Relaxed);
                }
            }
            let counts: Vec<u64> = loads.0.iter().map(|b| b.so_far.load(Ordering::Relaxed)).collect();
            let share = 1600 / workers as u64;
            assert!(counts.iter().all(|count| count.abs_diff(share) <= share / 10), "{stay}: {counts:?}");
        }
    }
}
