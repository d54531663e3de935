//! Cancels a connection from outside: a handle that its worker can cancel, and that the connection's waits
//! watch.
//!
//! Only one task waits for it, on the worker's own thread: no lock, no allocation beyond the handle.

use crate::account::live::Live;
use crate::bandwidth::Pace;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;
use weir_pool::BackendState;

/// Why a connection is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Too many connections had no complete hello or handshake, and this was the oldest.
    Pending,
    /// The process, or the connection's listener or backend, is going away, and the time to finish is over; or it was idle
    /// and had to [retire](Retire).
    Drained,
}

/// When a connection that is no longer wanted ends. Nothing of it is lost: its client comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retire {
    /// As soon as nothing is under way.
    OnceIdle,
    /// Now, if nothing is under way; else it goes on.
    IfIdle,
}

/// Cancelled once; the connection notices at its next wait.
#[derive(Debug, Default)]
pub struct ConnHandle {
    cancelled: Cell<Option<Stop>>,
    waiting: RefCell<Option<Waker>>,
    serves: RefCell<Option<Arc<BackendState>>>,
    moved: Cell<Option<Instant>>,
    leaving: Cell<bool>,
    retire: Cell<Option<Retire>>,
    /// When it began, in whole seconds since its process did: more would need more memory.
    began: u32,
    pace: Paced,
    /// What is told of the open connection.
    live: OnceCell<Box<Live>>,
}

/// Who holds its bytes back.
#[derive(Debug, Default)]
enum Paced {
    /// Nobody.
    #[default]
    No,
    /// Itself.
    Itself(Box<Pace>),
    /// The connection that it is a part of.
    Within(Rc<ConnHandle>),
}

impl ConnHandle {
    /// Of a connection that began so long after its process, and may move bytes at this pace.
    pub fn new(began: Duration, pace: Option<Box<Pace>>) -> Self {
        let began = u32::try_from(began.as_secs()).unwrap_or(u32::MAX);
        Self { began, pace: pace.map_or(Paced::No, Paced::Itself), ..Self::default() }
    }

    /// When the connection began, in time since its process did.
    pub fn began(&self) -> Duration {
        Duration::from_secs(u64::from(self.began))
    }

    /// Of a stream that is a part of this connection, and moves its bytes at that one's pace.
    pub fn within(connection: &Rc<Self>) -> Self {
        let pace = connection.pace().map_or(Paced::No, |_| Paced::Within(Rc::clone(connection)));
        Self { began: connection.began, pace, ..Self::default() }
    }

    /// How fast the connection may move bytes; `None` = as fast as they come.
    pub fn pace(&self) -> Option<&Pace> {
        match &self.pace {
            Paced::Itself(pace) => Some(pace),
            Paced::No | Paced::Within(_) => None,
        }
    }

    /// Whether weir itself holds bytes back: its own, or those of the connection that it is a part of.
    pub fn is_held_back(&self) -> bool {
        match &self.pace {
            Paced::No => false,
            Paced::Itself(pace) => pace.next().is_some(),
            Paced::Within(connection) => connection.is_held_back(),
        }
    }

    /// Records the backend whose end is also the connection's end.
    pub fn served_by(&self, backend: &Arc<BackendState>) {
        *self.serves.borrow_mut() = Some(Arc::clone(backend));
    }

    /// Whether the connection is with this backend.
    pub fn is_served_by(&self, backend: &Arc<BackendState>) -> bool {
        self.serves.borrow().as_ref().is_some_and(|state| Arc::ptr_eq(state, backend))
    }

    /// Keeps what is told of the open connection.
    pub(crate) fn lives(&self, live: Box<Live>) {
        // A connection begins once.
        let _kept = self.live.set(live);
    }

    /// What is told of the open connection; `None` before it has its route, and if nothing is.
    pub fn live(&self) -> Option<&Live> {
        self.live.get().map(|live| &**live)
    }

    /// Records that bytes have moved.
    pub fn moved(&self, now: Instant) {
        self.moved.set(Some(now));
    }

    /// When bytes last moved; `None` before the first.
    pub fn last_moved(&self) -> Option<Instant> {
        self.moved.get()
    }

    /// Cancels the connection. The first reason stays.
    pub fn cancel(&self, why: Stop) {
        if self.cancelled.get().is_none() {
            self.cancelled.set(Some(why));
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Asks a connection that carries requests to take no more of them, because its time is coming to an end. Others go on.
    pub fn ask_to_leave(&self) {
        if !self.leaving.replace(true)
            && let Some(waker) = &*self.waiting.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Asks the connection to end for the good of others. One that carries requests takes no more of them.
    pub fn retire(&self, when: Retire) {
        self.retire.set(Some(when));
        if when == Retire::OnceIdle {
            self.leaving.set(true);
        }
        if let Some(waker) = &*self.waiting.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether it was asked to end once it is idle, or is about to be asked whether it is.
    pub fn retires(&self) -> bool {
        self.retire.get().is_some()
    }

    /// Cancels a connection that was asked to end, if `is_idle`.
    pub fn retire_if(&self, is_idle: impl FnOnce() -> bool) {
        let Some(when) = self.retire.get() else { return };
        if is_idle() {
            self.cancel(Stop::Drained);
        } else if when == Retire::IfIdle {
            self.retire.set(None);
        }
    }

    /// Whether the connection should take no more requests.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get().is_some()
    }

    /// Ready once cancelled. Keeps one waker, that of the last caller.
    pub fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<Stop> {
        if let Some(why) = self.cancelled.get() {
            return Poll::Ready(why);
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Runs `work` until it is done or the handle is cancelled. The caller pins it; passed by value it would
    /// be stored twice.
    ///
    /// # Errors
    /// The reason, if the handle was cancelled first.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`, which is dropped if the handle comes first.
    pub async fn run_until_cancelled<F: Future + Unpin>(&self, mut work: F) -> Result<F::Output, Stop> {
        poll_fn(|cx| {
            if let Poll::Ready(why) = self.poll_cancelled(cx) {
                return Poll::Ready(Err(why));
            }
            Pin::new(&mut work).poll(cx).map(Ok)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test(flavor = "current_thread")]
    async fn cancelled_handles_end_a_wait_and_keep_the_first_reason() {
        let handle = Rc::new(ConnHandle::default());
        let local = tokio::task::LocalSet::new();
        let thrower = Rc::clone(&handle);
        local.spawn_local(async move {
            thrower.cancel(Stop::Pending);
            thrower.cancel(Stop::Drained);
        });
        let waited = local.run_until(handle.run_until_cancelled(std::future::pending::<()>())).await;
        assert_eq!(waited, Err(Stop::Pending));
        assert_eq!(handle.run_until_cancelled(pin!(async { 1 })).await, Err(Stop::Pending));
    }
}
