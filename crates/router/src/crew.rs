//! How accepted connections are shared out among the workers: what each has, and who is to have the next one.
//!
//! The kernel spreads connections over the sockets of the workers by a hash: over many that is even, over few it is
//! not, and long ones stay where they fell. So a worker that has accepted a connection looks whether another has
//! clearly fewer, and then hands it over, once, before anything is read. What is within the slack stays: handing over
//! wakes another thread. The queue of a worker is bounded; where it is full, or the worker leaves the address, the
//! connection stays with who accepted it.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use weir_core::limits::Permit;

/// What each worker has.
#[derive(Debug)]
pub(crate) struct Crew(Box<[Arc<Burden>]>);

/// Written by its worker, and by who hands over to it; so each has a cache line of its own, or two, which are fetched
/// together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Burden {
    /// Connections now.
    open: AtomicUsize,
    /// Connections so far.
    so_far: AtomicU64,
    /// It has hardly slept of late: its connections, however few, use all of its time.
    saturated: AtomicBool,
}

/// A connection's place at a worker, left when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Burden>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crew {
    /// Workers without connections.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    /// A place at this worker, counted at once: who hands over next must not find it empty still.
    pub(crate) fn seat(&self, worker: usize) -> Seat {
        // One that nobody looks at for a worker that there is not.
        let burden = self.0.get(worker).cloned().unwrap_or_default();
        burden.open.fetch_add(1, Ordering::Relaxed);
        burden.so_far.fetch_add(1, Ordering::Relaxed);
        Seat(burden)
    }

    /// Says of a worker that it was busy for this share of its time, from 0 to 1. Called now and then, by the worker itself.
    pub(crate) fn was_busy(&self, worker: usize, share: f64) {
        if let Some(burden) = self.0.get(worker) {
            burden.saturated.store(share >= SATURATED, Ordering::Relaxed);
        }
    }

    /// Who is to have the connection that worker `own` has accepted as its `turn`-th: another that has clearly fewer
    /// open ones, or one that has had clearly fewer so far and not clearly more open ones. Else `None`: it stays. A saturated
    /// worker gets nothing, however few it has, unless `own` is saturated too. Not all are asked where there are many;
    /// `turn` says whose turn it is.
    pub(crate) fn lighter_than(&self, own: usize, turn: u64) -> Option<usize> {
        let mine = self.0.get(own)?;
        let (open, so_far) = (mine.open.load(Ordering::Relaxed), mine.so_far.load(Ordering::Relaxed));
        let takes_more = |its: &Burden| !its.saturated.load(Ordering::Relaxed);
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

/// Others that a worker looks at for one connection: each may be a cache line that has to come from another CPU.
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
pub(crate) struct Handed {
    pub(crate) stream: TcpStream,
    pub(crate) client: SocketAddr,
    pub(crate) permits: [Permit; 2],
    pub(crate) seat: Seat,
}

/// What the lanes of one address, one a worker, give each other.
#[derive(Debug)]
pub(crate) struct Table {
    /// By the worker's number.
    to: Arc<[Sender<Handed>]>,
    pub(crate) mine: Receiver<Handed>,
}

impl Table {
    /// One for each worker.
    pub(crate) fn all(workers: usize) -> Vec<Self> {
        let (to, mine): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel(QUEUE)).unzip();
        let to: Arc<[_]> = to.into();
        mine.into_iter().map(|mine| Self { to: Arc::clone(&to), mine }).collect()
    }

    /// How to hand over to the others.
    pub(crate) fn others(&self) -> Arc<[Sender<Handed>]> {
        Arc::clone(&self.to)
    }
}

/// Connections on their way to one worker at one address; more stay where they are.
const QUEUE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(burdens: &[(usize, u64)]) -> Crew {
        let burden = |(open, so_far): &(usize, u64)| Burden {
            open: (*open).into(),
            so_far: (*so_far).into(),
            saturated: false.into(),
        };
        Crew(burdens.iter().map(burden).map(Arc::new).collect())
    }

    #[test]
    fn one_that_has_clearly_fewer_gets_it() {
        assert_eq!(crew(&[(2, 2), (0, 0)]).lighter_than(0, 0), Some(1));
        assert_eq!(crew(&[(1, 1), (0, 0)]).lighter_than(0, 0), None, "even enough");
        assert_eq!(crew(&[(2, 2), (0, 0)]).lighter_than(1, 0), None);
        // The lightest of several, whoever is asked first.
        for turn in 0..4 {
            assert_eq!(crew(&[(9, 9), (5, 5), (1, 1), (3, 3)]).lighter_than(0, turn), Some(2));
        }
        // Where there are many, one more or less says nothing.
        assert_eq!(crew(&[(1040, 1025), (1000, 1000)]).lighter_than(0, 0), None);
        assert_eq!(crew(&[(1063, 1063), (1000, 1000)]).lighter_than(0, 0), Some(1));
    }

    #[test]
    fn what_is_open_counts_more_than_what_has_been() {
        // Where both have about as many open, who has had fewer gets it; never one that has clearly more open.
        assert_eq!(crew(&[(4, 100), (4, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(crew(&[(4, 100), (6, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(crew(&[(4, 100), (8, 90)]).lighter_than(0, 0), None);
        assert_eq!(crew(&[(9, 10), (4, 90)]).lighter_than(0, 0), Some(1));
        assert_eq!(crew(&[(4, 90), (9, 10)]).lighter_than(0, 0), None);
    }

    #[test]
    fn a_saturated_worker_gets_nothing_however_few_it_has() {
        let crew = crew(&[(90, 90), (0, 0), (50, 50)]);
        assert_eq!(crew.lighter_than(0, 0), Some(1));
        crew.was_busy(1, 0.99);
        assert_eq!(crew.lighter_than(0, 0), Some(2));
        crew.was_busy(2, 1.0);
        assert_eq!(crew.lighter_than(0, 0), None);
        crew.was_busy(0, 1.0);
        assert_eq!(crew.lighter_than(0, 0), Some(1), "all are saturated: by their numbers");
        crew.was_busy(0, 0.5);
        crew.was_busy(1, 0.5);
        assert_eq!(crew.lighter_than(0, 0), Some(1));
    }

    #[test]
    fn alone_or_unknown_there_is_nobody_to_hand_to() {
        assert_eq!(crew(&[(9, 9)]).lighter_than(0, 7), None);
        assert_eq!(crew(&[(9, 9), (0, 0)]).lighter_than(2, 0), None);
    }

    #[test]
    fn of_many_all_have_their_turn() {
        let mut burdens = vec![(100, 100); 16];
        for light in 1..16 {
            burdens[light] = (0, 0);
            let crew = crew(&burdens);
            let found = (0..15).filter(|turn| crew.lighter_than(0, *turn) == Some(light)).count();
            assert_eq!(found, ASKED, "{light}");
            burdens[light] = (100, 100);
        }
    }

    /// Whoever the kernel gives a connection to, all workers end up with a like number.
    #[test]
    fn a_lopsided_kernel_is_made_up_for() {
        for (workers, stay) in [(2, true), (2, false), (4, true), (4, false), (16, true)] {
            let crew = Crew::new(workers);
            let add = |n: usize| {
                crew.0[n].open.fetch_add(1, Ordering::Relaxed);
                crew.0[n].so_far.fetch_add(1, Ordering::Relaxed);
            };
            for turn in 0..1600 {
                // Two of three at the first, the others anywhere.
                let own = if turn % 3 == 0 { (turn / 3) % workers } else { 0 };
                let server = crew.lighter_than(own, turn as u64).unwrap_or(own);
                add(server);
                if !stay {
                    crew.0[server].open.fetch_sub(1, Ordering::Relaxed);
                }
            }
            let counts: Vec<u64> = crew.0.iter().map(|b| b.so_far.load(Ordering::Relaxed)).collect();
            let share = 1600 / workers as u64;
            assert!(counts.iter().all(|count| count.abs_diff(share) <= share / 10), "{stay}: {counts:?}");
        }
    }
}
