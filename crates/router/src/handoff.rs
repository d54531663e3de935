//! How accepted connections are spread over the workers: what each has, and which worker gets the next one.
//!
//! The kernel spreads connections over the sockets of the workers by a hash: over many that is even, over few it is
//! not, and long ones stay where they fell. So a worker that has accepted a connection looks whether another has
//! clearly fewer, and then hands it over, once, before anything is read. What is within the slack stays: handing over
//! wakes another thread. The queue of a worker is bounded; where it is full, or the worker leaves the address, the
//! connection stays with the worker that accepted it.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use weir_core::limits::Permit;

/// What each worker has.
#[derive(Debug)]
pub(crate) struct WorkerLoads(Box<[Arc<WorkerLoad>]>);

/// Written by its worker, and by the workers that hand off to it: so each has a cache line of its own, or two, which are
/// fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerLoad {
    /// Connections now.
    open: AtomicUsize,
    /// Connections so far.
    so_far: AtomicU64,
    /// It has hardly slept of late: its connections, however few, use all of its time.
    saturated: AtomicBool,
}

/// A connection's place at a worker, left when dropped.
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

    /// A place at this worker, counted at once: the next worker that hands off must not find it empty still.
    pub(crate) fn count(&self, worker: usize) -> LoadGuard {
        // An unknown worker gets a counter that is never read.
        let load = self.0.get(worker).cloned().unwrap_or_default();
        load.open.fetch_add(1, Ordering::Relaxed);
        load.so_far.fetch_add(1, Ordering::Relaxed);
        LoadGuard(load)
    }

    /// Says of a worker that it was busy for this share of its time, from 0 to 1. Called now and then, by the worker itself.
    pub(crate) fn was_busy(&self, worker: usize, share: f64) {
        if let Some(load) = self.0.get(worker) {
            load.saturated.store(share >= SATURATED, Ordering::Relaxed);
        }
    }

    /// Which worker gets the connection that worker `own` has accepted as its `turn`-th: another that has clearly fewer
    /// open ones, or one that has had clearly fewer so far and not clearly more open ones. Else `None`: it stays. A saturated
    /// worker gets nothing, however few it has, unless `own` is saturated too. Not all are asked where there are many;
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

/// Others that a worker looks at for one connection. Reading each may fetch a cache line from another CPU.
const ASKED: usize = 4;
/// A worker that is busy for this share of its time has none left for another connection.
const SATURATED: f64 = 0.95;
/// A part of what another has had: so much more is even enough, well within the tenth that is promised.
const PART: u64 = 32;
/// How many more where there have been few.
const FEW: u64 = 2;

/// How many more open ones chance alone may make where short connections come and go: to hand over for less would wake
/// another thread, and even nothing out.
fn noise(open: usize) -> usize {
    1 + (2 * open).isqrt()
}

/// An accepted connection on its way to another worker.
#[derive(Debug)]
pub(crate) struct HandOff {
    pub(crate) stream: TcpStream,
    pub(crate) client: SocketAddr,
    pub(crate) permits: [Permit; 2],
    pub(crate) guard: LoadGuard,
}

/// What the lanes of one address, one a worker, give each other.
#[derive(Debug)]
pub(crate) struct HandOffQueues {
    /// By the worker's number.
    to: Arc<[Sender<HandOff>]>,
    pub(crate) mine: Receiver<HandOff>,
}

impl HandOffQueues {
    /// One for each worker.
    pub(crate) fn all(workers: usize) -> Vec<Self> {
        let (to, mine): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel(QUEUE)).unzip();
        let to: Arc<[_]> = to.into();
        mine.into_iter().map(|mine| Self { to: Arc::clone(&to), mine }).collect()
    }

    /// How to hand over to the others.
    pub(crate) fn others(&self) -> Arc<[Sender<HandOff>]> {
        Arc::clone(&self.to)
    }
}

/// Connections on their way to one worker at one address; more stay where they are.
const QUEUE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(loads: &[(usize, u64)]) -> WorkerLoads {
        let load = |(open, so_far): &(usize, u64)| WorkerLoad {
            open: (*open).into(),
            so_far: (*so_far).into(),
            saturated: false.into(),
        };
        WorkerLoads(loads.iter().map(load).map(Arc::new).collect())
    }

    #[test]
    fn one_that_has_clearly_fewer_gets_it() {
        assert_eq!(of(&[(2, 2), (0, 0)]).lighter_than(0, 0), Some(1));
        assert_eq!(of(&[(1, 1), (0, 0)]).lighter_than(0, 0), None, "even enough");
        assert_eq!(of(&[(2, 2), (0, 0)]).lighter_than(1, 0), None);
        // The lightest of several, whoever is asked first.
        for turn in 0..4 {
            assert_eq!(of(&[(9, 9), (5, 5), (1, 1), (3, 3)]).lighter_than(0, turn), Some(2));
        }
        // Where there are many, one more or less says nothing.
        assert_eq!(of(&[(1040, 1025), (1000, 1000)]).lighter_than(0, 0), None);
        assert_eq!(of(&[(1063, 1063), (1000, 1000)]).lighter_than(0, 0), Some(1));
    }

    #[test]
    fn what_is_open_counts_more_than_what_has_been() {
        // Where both have about as many open, who has had fewer gets it; never one that has clearly more open.
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
    fn alone_or_unknown_there_is_nobody_to_hand_to() {
        assert_eq!(of(&[(9, 9)]).lighter_than(0, 7), None);
        assert_eq!(of(&[(9, 9), (0, 0)]).lighter_than(2, 0), None);
    }

    #[test]
    fn of_many_all_have_their_turn() {
        let mut counts = vec![(100, 100); 16];
        for light in 1..16 {
            counts[light] = (0, 0);
            let loads = of(&counts);
            let found = (0..15).filter(|turn| loads.lighter_than(0, *turn) == Some(light)).count();
            assert_eq!(found, ASKED, "{light}");
            counts[light] = (100, 100);
        }
    }

    /// Whoever the kernel gives a connection to, all workers end up with a like number.
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
