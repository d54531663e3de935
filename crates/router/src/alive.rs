//! Records of open connections: when the next of each is due.
//!
//! Only connections whose plan wants such records are here. Their tasks are not woken: what is told of a connection stands
//! beside its handle.

use crate::worker::Worker;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// When records of a worker's open connections are due.
#[derive(Debug, Default)]
pub(crate) struct Alive {
    due: RefCell<Due>,
    /// Told when a connection comes whose record is due before all others.
    sooner: Notify,
}

/// Connections by their numbers.
#[derive(Debug, Default)]
struct Due {
    next: BTreeSet<(Instant, u64)>,
    of: HashMap<u64, (Instant, Duration)>,
}

impl Due {
    fn put(&mut self, number: u64, at: Instant, interval: Duration) {
        self.next.insert((at, number));
        self.of.insert(number, (at, interval));
    }

    /// The connections whose records are due, each of which is due again after its interval.
    fn take(&mut self, now: Instant, most: usize) -> Vec<u64> {
        let due: Vec<_> = self.next.iter().take_while(|(at, _)| *at <= now).take(most).copied().collect();
        for (at, number) in &due {
            self.next.remove(&(*at, *number));
            if let Some((_, interval)) = self.of.get(number).copied() {
                // One that is late is not due again at once.
                let again = Some(*at + interval).filter(|again| *again > now).unwrap_or(now + interval);
                self.put(*number, again, interval);
            }
        }
        due.into_iter().map(|(_, number)| number).collect()
    }
}

impl Alive {
    /// A connection whose records are due at this interval from now on.
    pub(crate) fn enter(&self, number: u64, interval: Duration) {
        let at = Instant::now() + interval;
        let mut due = self.due.borrow_mut();
        if due.next.first().is_none_or(|(first, _)| at < *first) {
            self.sooner.notify_one();
        }
        due.put(number, at, interval);
    }

    /// The connection has ended.
    pub(crate) fn leave(&self, number: u64) {
        let mut due = self.due.borrow_mut();
        if let Some((at, _)) = due.of.remove(&number) {
            due.next.remove(&(at, number));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.borrow().next.first().map(|(at, _)| *at)
    }
}

/// Writes the records of a worker's open connections when they are due. Never returns.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn conduct(worker: Rc<Worker>) {
    let alive = &worker.alive;
    loop {
        match alive.next() {
            None => alive.sooner.notified().await,
            Some(at) if at > Instant::now() => tokio::select! {
                () = sleep_until(at) => {}
                () = alive.sooner.notified() => {}
            },
            Some(_) => {
                let due = alive.due.borrow_mut().take(Instant::now(), AT_ONCE);
                due.iter().for_each(|number| worker.tell_of(*number));
                sleep(PAUSE).await;
            }
        }
    }
}

/// Records at a time: about 100 µs, for which other connections wait.
const AT_ONCE: usize = 256;
/// After as many. So a worker writes at most 25,600 a second, which the queue and its writer take.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_due_at_its_interval_until_it_leaves() {
        let (alive, start) = (Alive::default(), Instant::now());
        let second = Duration::from_secs(1);
        for (number, interval) in [(1, second), (2, 3 * second), (3, second)] {
            alive.due.borrow_mut().put(number, start + interval, interval);
        }
        let take = |after: Duration, most| alive.due.borrow_mut().take(start + after, most);
        assert_eq!(alive.next(), Some(start + second));
        assert!(take(second / 2, 9).is_empty());
        assert_eq!(take(second, 1), [1]);
        assert_eq!(take(second, 9), [3]);
        alive.leave(3);
        // Late: it is due again an interval later, not for each that was missed.
        assert_eq!(take(4 * second, 9), [1, 2]);
        assert_eq!(alive.next(), Some(start + 5 * second));
        alive.leave(1);
        alive.leave(2);
        assert_eq!(alive.next(), None);
        assert!(alive.due.borrow().of.is_empty());
    }

    #[tokio::test]
    async fn only_a_sooner_one_wakes_the_task() {
        let alive = Alive::default();
        let is_told = async || {
            let told = tokio::time::timeout(Duration::from_millis(1), alive.sooner.notified()).await;
            told.is_ok()
        };
        for (number, seconds, tells) in [(1, 10, true), (2, 20, false), (3, 5, true)] {
            alive.enter(number, Duration::from_secs(seconds));
            assert_eq!(is_told().await, tells, "{number}");
        }
    }
}
