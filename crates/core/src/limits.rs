//! Permits for connections, and the bound on connections without a complete hello or handshake.

use crate::stop::{ConnHandle, Stop};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections may be open at once: of a listener, or of the process. The limit may change while they live.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Room>);

#[derive(Debug)]
struct Room {
    free: Arc<Semaphore>,
    limit: AtomicUsize,
    /// Permits that a lowered limit took away while they were in use: they go when they come back.
    owed: AtomicUsize,
}

/// Room for one connection, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    room: Arc<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let one_less = |owed: usize| owed.checked_sub(1);
        if self.room.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl Permits {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Room {
            free: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            owed: AtomicUsize::new(0),
        }))
    }

    /// How many there are in all.
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

    /// Room for a connection, if there is any now.
    pub fn try_take(&self) -> Option<Permit> {
        Arc::clone(&self.0.free).try_acquire_owned().ok().map(|permit| self.permit(permit))
    }

    /// Waits for room.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue, and nothing else.
    pub async fn take(&self) -> Permit {
        loop {
            // The semaphore is never closed, so an error cannot come back.
            if let Ok(permit) = Arc::clone(&self.0.free).acquire_owned().await {
                return self.permit(permit);
            }
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        Permit { room: Arc::clone(&self.0), permit: Some(permit) }
    }
}

/// How many connections of a listener, on all workers together, have no complete hello or handshake yet.
#[derive(Clone, Debug)]
pub struct PendingTotal {
    now: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

impl PendingTotal {
    /// None yet, and at most `limit`, at least one.
    pub fn new(limit: usize) -> Self {
        Self { now: Arc::default(), limit: Arc::new(AtomicUsize::new(limit.max(1))) }
    }

    /// Changes the limit; those above it go as new ones come.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
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
    waiting: RefCell<BTreeMap<u64, Rc<ConnHandle>>>,
    total: PendingTotal,
}

impl Pending {
    /// None yet on this worker.
    pub fn new(total: PendingTotal) -> Self {
        Self { waiting: RefCell::default(), total }
    }

    /// Notes a connection. `age` grows from connection to connection. At the limit the oldest is told to end.
    pub fn enter(self: &Rc<Self>, age: u64, handle: &Rc<ConnHandle>) -> Unfinished {
        let mut waiting = self.waiting.borrow_mut();
        waiting.insert(age, Rc::clone(handle));
        // Never the newcomer itself: the silent ones may all be another worker's, which closes them at its next one.
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
        let switches: Vec<Rc<ConnHandle>> = (0..3).map(|_| Rc::default()).collect();
        let guards: Vec<_> = (0u64..).zip(&switches).map(|(age, s)| pending.enter(age, s)).collect();
        assert_eq!(total.now(), 2);
        assert_eq!(switches[0].run_until_cancelled(std::future::pending::<()>()).await, Err(Stop::Pending));
        assert_eq!(switches[1].run_until_cancelled(std::pin::pin!(async { 1 })).await, Ok(1));
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

    #[tokio::test]
    async fn a_limit_may_change_while_permits_are_out() {
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
