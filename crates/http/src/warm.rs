//! Which idle HTTP/1.1 connections keep hyper's state, and which are parked.
//!
//! A parked connection is its stream alone: it costs a third of the memory, and its next request some allocations more.
//! So the last few idle connections of a worker stay warm: few busy clients pay nothing, and thousands of idle ones hold
//! little.

use slab::Slab;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};
use tokio::time::Instant;

/// Idle connections that stay warm.
const WARM: usize = 64;

/// A worker's connections that are not parked.
#[derive(Debug, Default)]
pub struct Warm(RefCell<Slab<Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// Since when no request is on it; `None` = busy.
    idle: Option<Instant>,
    /// It should be parked.
    told: bool,
    waker: Option<Waker>,
}

/// A connection that is not parked.
#[derive(Debug)]
pub struct WarmGuard {
    warm: Rc<Warm>,
    key: usize,
}

impl Warm {
    /// Counts a connection until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> WarmGuard {
        WarmGuard { key: self.0.borrow_mut().insert(Entry::default()), warm: Rc::clone(self) }
    }

    /// Has those parked that are idle for the longest, if too many are.
    pub fn trim(&self) {
        let mut entries = self.0.borrow_mut();
        let idle = entries.iter().filter(|(_, entry)| entry.idle.is_some() && !entry.told).count();
        let Some(surplus) = idle.checked_sub(WARM).filter(|surplus| *surplus > 0) else { return };
        let mut oldest: Vec<(Instant, usize)> = entries
            .iter()
            .filter(|(_, entry)| !entry.told)
            .filter_map(|(key, entry)| Some((entry.idle?, key)))
            .collect();
        oldest.sort_unstable();
        for (_, key) in oldest.into_iter().take(surplus) {
            if let Some(entry) = entries.get_mut(key) {
                entry.told = true;
                entry.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl WarmGuard {
    /// A request is on the connection.
    pub fn busy(&self) {
        self.entry(|entry| *entry = Entry::default());
    }

    /// No request is on it since `now`. Whether it should be parked; if not, the task is woken when it should.
    pub fn idle(&self, now: Instant, cx: &Context<'_>) -> bool {
        self.entry(|entry| {
            entry.idle = entry.idle.or(Some(now));
            if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                entry.waker = Some(cx.waker().clone());
            }
            entry.told
        })
        .unwrap_or(false)
    }

    /// Always `Some`: an entry lives as long as its guard.
    fn entry<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.warm.0.borrow_mut().get_mut(self.key).map(change)
    }
}

impl Drop for WarmGuard {
    fn drop(&mut self) {
        self.warm.0.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_connections_are_parked_and_busy_ones_are_not() {
        let warm = Rc::new(Warm::default());
        let cx = &Context::from_waker(Waker::noop());
        let begun = Instant::now();
        let guards: Vec<WarmGuard> = (0..WARM + 3).map(|_| warm.enter()).collect();
        let told = |number: usize| guards[number].idle(begun + Duration::from_millis(number as u64), cx);
        assert!((0..guards.len()).all(|number| !told(number)));
        guards[0].busy();
        warm.trim();
        let parked: Vec<usize> = (1..guards.len()).filter(|number| told(*number)).collect();
        assert_eq!(parked, [1, 2]);
        drop(guards);
        assert!(warm.0.borrow().is_empty());
    }
}
