//! Permits for connections, and the bound on connections without a complete hello or handshake.

use crate::stop::{Stop, Switch};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections may be open at once: of a listener, or of the process.
#[derive(Clone, Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    limit: usize,
}

/// Room for one connection, given back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Permits {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }

    /// How many there are in all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Room for a connection, if there is any now.
    pub fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(Permit)
    }

    /// Waits for room.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue, and nothing else.
    pub async fn take(&self) -> Permit {
        loop {
            // The semaphore is never closed, so an error cannot come back.
            if let Ok(permit) = Arc::clone(&self.free).acquire_owned().await {
                return Permit(permit);
            }
        }
    }
}

/// How many connections of a listener, on all workers together, have no complete hello or handshake yet.
#[derive(Clone, Debug)]
pub struct PendingTotal {
    now: Arc<AtomicUsize>,
    limit: usize,
}

impl PendingTotal {
    /// None yet, and at most `limit`, at least one.
    pub fn new(limit: usize) -> Self {
        Self { now: Arc::default(), limit: limit.max(1) }
    }

    /// How many there are now.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

/// Those of them that one worker has.
///
/// One more than the limit closes the worker's oldest: a flood of silent clients costs a bounded amount, and does
/// not lock the others out.
#[derive(Debug)]
pub struct Pending {
    waiting: RefCell<BTreeMap<u64, Rc<Switch>>>,
    total: PendingTotal,
}

impl Pending {
    /// None yet on this worker.
    pub fn new(total: PendingTotal) -> Self {
        Self { waiting: RefCell::default(), total }
    }

    /// Notes a connection. `age` grows from connection to connection. At the limit the oldest is told to end.
    pub fn enter(self: &Rc<Self>, age: u64, switch: &Rc<Switch>) -> Unfinished {
        let mut waiting = self.waiting.borrow_mut();
        waiting.insert(age, Rc::clone(switch));
        // Never the newcomer itself: the silent ones may all be another worker's, which closes them at its next one.
        if self.total.now.fetch_add(1, Ordering::Relaxed) >= self.total.limit
            && waiting.len() > 1
            && let Some((_, oldest)) = waiting.pop_first()
        {
            self.total.now.fetch_sub(1, Ordering::Relaxed);
            oldest.throw(Stop::Pending);
        }
        Unfinished { pending: Rc::clone(self), age }
    }
}

/// A connection that is still pending; dropped when its hello or handshake is complete.
#[derive(Debug)]
pub struct Unfinished {
    pending: Rc<Pending>,
    age: u64,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // One that was closed for its age has been taken out already.
        if self.pending.waiting.borrow_mut().remove(&self.age).is_some() {
            self.pending.total.now.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_pending_one_goes() {
        let total = PendingTotal::new(2);
        let pending = Rc::new(Pending::new(total.clone()));
        let switches: Vec<Rc<Switch>> = (0..3).map(|_| Rc::default()).collect();
        let guards: Vec<_> = (0u64..).zip(&switches).map(|(age, s)| pending.enter(age, s)).collect();
        assert_eq!(total.now(), 2);
        assert_eq!(switches[0].race(std::future::pending::<()>()).await, Err(Stop::Pending));
        assert_eq!(switches[1].race(async { 1 }).await, Ok(1));
        drop(guards);
        assert_eq!(total.now(), 0);
    }

    #[tokio::test]
    async fn a_permit_comes_back() {
        let permits = Permits::new(1);
        let one = permits.try_take().unwrap();
        assert!(permits.try_take().is_none());
        drop(one);
        permits.take().await;
        assert!(permits.try_take().is_some());
    }
}
