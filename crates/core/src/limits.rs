//! Permits for connections, and the bound on connections without a complete hello or handshake.

use crate::stop::{ConnHandle, Stop};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the open connections of a listener or of the process. The limit may change while they live.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Capacity>);

#[derive(Debug)]
struct Capacity {
    free: Arc<Semaphore>,
    limit: AtomicUsize,
    /// Permits in use when a lower limit took them away: they are discarded on return.
    owed: AtomicUsize,
}

/// A permit for one connection, returned when dropped.
#[derive(Debug)]
pub struct Permit {
    capacity: Arc<Capacity>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let one_less = |owed: usize| owed.checked_sub(1);
        if self.capacity.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Permits {
    /// Permits for `limit` connections.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Capacity {
            free: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            owed: AtomicUsize::new(0),
        }))
    }

    /// The number of permits in all.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. If more permits are in use than that, none is issued until enough are returned. Called by one
    /// thread at a time.
    pub fn set_limit(&self, limit: usize) {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let before = self.0.limit.swap(limit, Ordering::Relaxed);
        if limit > before {
            let forgiven = self.0.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
                Some(owed.saturating_sub(limit - before))
            });
            let forgiven = forgiven.map_or(0, |owed| owed.min(limit - before));
            self.0.free.add_permits(limit - before - forgiven);
        } else {
            let taken = self.0.free.forget_permits(before - limit);
            self.0.owed.fetch_add(before - limit - taken, Ordering::Relaxed);
        }
    }

    /// A permit, if one is free now.
    pub fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.0.free).try_acquire_owned().ok().map(|permit| self.permit(permit))
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue, and nothing else.
    pub async fn take(&self) -> Permit {
        loop {
            // The semaphore is never closed, so there is no error.
            if let Ok(permit) = Arc::clone(&self.0.free).acquire_owned().await {
                return self.permit(permit);
            }
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        Permit { capacity: Arc::clone(&self.0), permit: Some(permit) }
    }
}

/// Counts a listener's connections, on all workers together, without a complete hello or handshake.
#[derive(Clone, Debug)]
pub struct PendingTotal {
    now: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

impl PendingTotal {
    /// None yet. The limit is at least one.
    pub fn new(limit: usize) -> Self {
        Self { now: Arc::default(), limit: Arc::new(AtomicUsize::new(limit.max(1))) }
    }

    /// Changes the limit; connections above it are closed as new ones come.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// The current count.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

/// One worker's share of these connections.
///
/// A connection above the limit closes the worker's oldest, so that a flood of silent clients costs a bounded
/// amount, and does not lock others out.
#[derive(Debug)]
pub struct Pending {
    waiting: RefCell<BTreeMap<u64, Rc<ConnHandle>>>,
    total: PendingTotal,
}

impl Pending {
    /// No connections yet on this worker.
    pub fn new(total: PendingTotal) -> Self {
        Self { waiting: RefCell::default(), total }
    }

    /// Adds a connection. `age` must grow from connection to connection. At the limit the oldest is
    /// cancelled.
    pub fn enter(self: &Rc<Self>, age: u64, handle: &Rc<ConnHandle>) -> Unfinished {
        let mut waiting = self.waiting.borrow_mut();
        waiting.insert(age, Rc::clone(handle));
        // Never cancels the newcomer itself: the silent ones may all be on another worker, which closes one
        // at its next arrival.
        if self.total.now.fetch_add(1, Ordering::Relaxed) >= self.total.limit.load(Ordering::Relaxed)
            && waiting.len() > 1
            && let Some((_, oldest)) = waiting.pop_first()
        {
            self.total.now.fetch_sub(1, Ordering::Relaxed);
            oldest.cancel(Stop::Pending);
        }
        Unfinished { pending: Rc::clone(self), age }
    }
}

/// A pending connection; dropped when its hello or handshake is complete.
#[derive(Debug)]
pub struct Unfinished {
    pending: Rc<Pending>,
    age: u64,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A connection that was closed for its age has already been removed.
        if self.pending.waiting.borrow_mut().remove(&self.age).is_some() {
            self.pending.total.now.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_pending_connection_is_closed() {
        let total = PendingTotal::new(2);
        let pending = Rc::new(Pending::new(total.clone()));
        let switches: Vec<Rc<ConnHandle>> = (0..3).map(|_| Rc::default()).collect();
        let guards: Vec<_> = (0u64..).zip(&switches).map(|(age, s)| pending.enter(age, s)).collect();
        assert_eq!(total.now(), 2);
        assert_eq!(switches[0].run_until_cancelled(std::future::pending::<()>()).await, Err(Stop::Pending));
        assert_eq!(switches[1].run_until_cancelled(std::pin::pin!(async { 1 })).await, Ok(1));
        drop(guards);
        assert_eq!(total.now(), 0);
    }

    #[tokio::test]
    async fn permits_come_back() {
        let permits = Permits::new(1);
        let one = permits.try_take().unwrap();
        assert!(permits.try_take().is_none());
        drop(one);
        permits.take().await;
        assert!(permits.try_take().is_some());
    }

    #[tokio::test]
    async fn limits_may_change_while_permits_are_in_use() {
        let permits = Permits::new(3);
        let mut held: Vec<_> = (0..3).filter_map(|_| permits.try_take()).collect();
        permits.set_limit(1);
        held.pop();
        assert!(permits.try_take().is_none(), "two of one");
        permits.set_limit(2);
        assert!(permits.try_take().is_none(), "two of two");
        held.pop();
        held.push(permits.try_take().unwrap());
        permits.set_limit(5);
        held.extend(std::iter::from_fn(|| permits.try_take()));
        assert_eq!(held.len(), 5);
        permits.set_limit(4);
        held.clear();
        held.extend(std::iter::from_fn(|| permits.try_take()));
        assert_eq!(held.len(), 4);
    }
}
