//! Which of the tasks inside of one task have been woken.
//!
//! The requests of an HTTP/2 connection are polled by the connection's own task: a task for each would cost an allocation,
//! a place in the runtime's queue and a wake-up more, for every request. Each has a waker with a number here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// The numbers that have been woken, and the task that polls them.
#[derive(Debug, Default)]
pub(super) struct Wakes(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Woken, and not polled since; in the order of their wake-ups.
    woken: Vec<usize>,
    /// The task.
    task: Option<Waker>,
    /// The task runs, or has been told: it need not be woken.
    told: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { woken: Vec::new(), task: None, told: true }
    }
}

/// The waker of one number.
#[derive(Debug)]
pub(super) struct NumberWaker {
    number: usize,
    /// It is among those woken.
    queued: AtomicBool,
    wakes: Arc<Wakes>,
}

impl Wakes {
    /// A waker for this number.
    pub(super) fn waker(self: &Arc<Self>, number: usize) -> Arc<NumberWaker> {
        Arc::new(NumberWaker { number, queued: AtomicBool::new(false), wakes: Arc::clone(self) })
    }

    /// The task runs now: nothing wakes it until [`Self::rest`].
    pub(super) fn run(&self, cx: &Context<'_>) {
        let mut state = self.state();
        state.told = true;
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
    }

    /// Moves the numbers woken since the last call into `to`, which is empty.
    pub(super) fn take(&self, to: &mut Vec<usize>) {
        std::mem::swap(&mut self.state().woken, to);
    }

    /// The task is about to wait: from now on a wake-up wakes it. If there was one already, it is woken at once.
    pub(super) fn rest(&self) {
        let mut state = self.state();
        state.told = !state.woken.is_empty();
        if state.told
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }

    /// Nothing panics while it is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NumberWaker {
    /// It is about to be polled: the next wake-up counts again.
    pub(super) fn polled(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for NumberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.wakes.state();
        state.woken.push(self.number);
        if !std::mem::replace(&mut state.told, true)
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_number_is_woken_once_until_it_is_polled_and_the_task_once_until_it_runs() {
        let (count, wakes) = (Arc::new(Count::default()), Arc::new(Wakes::default()));
        let told = || count.0.swap(0, Ordering::Relaxed);
        let task = Waker::from(Arc::clone(&count));
        let cx = &Context::from_waker(&task);
        let (one, two) = (wakes.waker(1), wakes.waker(2));
        let taken = || {
            let mut all = Vec::new();
            wakes.take(&mut all);
            all
        };
        // While the task runs, it is not woken.
        wakes.run(cx);
        one.wake_by_ref();
        one.wake_by_ref();
        assert_eq!((taken(), told()), (vec![1], 0));
        one.polled();
        wakes.rest();
        assert_eq!(told(), 0);
        // While it waits, the first wake-up wakes it.
        two.wake_by_ref();
        one.wake_by_ref();
        two.wake_by_ref();
        assert_eq!(told(), 1);
        wakes.run(cx);
        assert_eq!(taken(), [2, 1]);
        two.polled();
        // What comes behind the last look is not lost.
        two.wake_by_ref();
        wakes.rest();
        assert_eq!(told(), 1);
        wakes.run(cx);
        assert_eq!(taken(), [2]);
    }
}
