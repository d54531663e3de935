//! A worker's coarse clock, and the deadlines that it watches: a tick for all of them instead of a timer for each request.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How late a deadline may be noticed.
pub const TICK: Duration = Duration::from_millis(100);

/// The time of the last tick, and all deadlines of a worker.
#[derive(Debug)]
pub struct Clock {
    now: Cell<Instant>,
    entries: RefCell<Slab<Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    at: Option<Instant>,
    waker: Option<Waker>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { now: Cell::new(Instant::now()), entries: RefCell::default() }
    }
}

impl Clock {
    /// The time of the last tick.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// A deadline that is not set yet.
    pub fn deadline(self: &Rc<Self>) -> Deadline {
        Deadline { key: self.entries.borrow_mut().insert(Entry::default()), clock: Rc::clone(self) }
    }

    /// Wakes the tasks whose deadlines are over.
    pub fn tick(&self) {
        let now = Instant::now();
        self.now.set(now);
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if entry.at.is_some_and(|at| at <= now)
                && let Some(waker) = entry.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Ticks for ever.
    ///
    /// # Cancel safety
    /// After it is dropped no deadline is noticed.
    pub async fn run(&self, mut each: impl FnMut()) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tick();
            each();
        }
    }
}

/// A moment by which something must have happened. It may be moved at any time, which costs a store.
#[derive(Debug)]
pub struct Deadline {
    clock: Rc<Clock>,
    key: usize,
}

impl Deadline {
    /// Sets it to `after` the last tick, or a tick later: never too early.
    pub fn set(&self, after: Duration) {
        self.put(Some(self.clock.now() + TICK + after));
    }

    /// Sets it to the earlier of `at` and `after` the last tick.
    pub fn set_within(&self, after: Duration, at: Option<Instant>) {
        let then = self.clock.now() + TICK + after;
        self.put(Some(at.map_or(then, |at| at.min(then))));
    }

    /// It is over; the task that waits for it hears so at the next tick.
    pub fn expire(&self) {
        self.put(Some(self.clock.now()));
    }

    /// Nothing is waited for.
    pub fn clear(&self) {
        self.put(None);
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        let now = self.clock.now();
        self.entry(|entry| entry.at.is_some_and(|at| at <= now)).unwrap_or(false)
    }

    /// Ready once it is over. Keeps one waker, that of the last caller.
    pub fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        self.entry(|entry| {
            if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                entry.waker = Some(cx.waker().clone());
            }
        });
        Poll::Pending
    }

    fn put(&self, at: Option<Instant>) {
        self.entry(|entry| entry.at = at);
    }

    /// Always `Some`: an entry lives as long as its deadline.
    fn entry<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.clock.entries.borrow_mut().get_mut(self.key).map(change)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.clock.entries.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn deadlines_are_noticed_within_two_ticks_and_can_be_moved() {
        let clock = Rc::new(Clock::default());
        let running = Rc::clone(&clock);
        let begun = Instant::now();
        let (early, moved) = (clock.deadline(), clock.deadline());
        early.set(Duration::from_secs(1));
        moved.set(Duration::from_secs(1));
        moved.set(Duration::from_secs(5));
        let waiting = async {
            poll_fn(|cx| early.poll_over(cx)).await;
            let first = begun.elapsed();
            poll_fn(|cx| moved.poll_over(cx)).await;
            (first, begun.elapsed())
        };
        let (first, second) = tokio::select! {
            () = running.run(|| {}) => unreachable!("it ticks for ever"),
            times = waiting => times,
        };
        for (took, wanted) in [(first, 1), (second, 5)] {
            let wanted = Duration::from_secs(wanted);
            assert!(took >= wanted && took <= wanted + 3 * TICK, "{took:?} for {wanted:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cleared_and_dropped_deadlines_wake_no_task() {
        let clock = Rc::new(Clock::default());
        let cleared = clock.deadline();
        cleared.set(Duration::ZERO);
        cleared.clear();
        drop(clock.deadline());
        let waiting = timeout(Duration::from_secs(60), poll_fn(|cx| cleared.poll_over(cx)));
        let running = Rc::clone(&clock);
        tokio::select! {
            () = running.run(|| {}) => {}
            over = waiting => assert!(over.is_err()),
        }
        assert_eq!(clock.entries.borrow().len(), 1);
    }
}
