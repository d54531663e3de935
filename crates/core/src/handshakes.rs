//! Turns of handshakes: how long a worker computes for handshakes between two looks at its sockets and timers.
//!
//! The first step of a full handshake takes long: 0.1 ms with ECDSA, 0.6 ms with RSA and 2,048 bits, 4 ms with 4,096. A
//! hundred hellos that arrive together would keep established connections waiting for all of that. So between two looks
//! all handshakes of a worker together have one allowance; a handshake that finds it used up waits in line, and costs
//! no more than its hello meanwhile. Handshakes that have begun go before new ones, and otherwise the line is in the
//! order of arrival. A handshake that waits for its client is not in line, and delays no other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;
use weir_metrics::WorkerMetrics;

/// How many steps of handshakes a worker takes between two looks; `None` = as many as begin within [`ALLOWANCE`].
pub type Steps = Option<NonZeroU32>;

/// The time for handshakes between two looks. A step that has begun is finished, so the last one may take longer.
/// Shorter would cost more looks: a look takes some microseconds.
const ALLOWANCE: Duration = Duration::from_micros(100);

/// A place in line: first those that have begun, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    new: bool,
    number: u64,
}

/// Shares a worker's time among its handshakes. [`Handshakes::conduct`] must run beside them, on the same thread.
#[derive(Debug)]
pub struct Handshakes {
    line: RefCell<BTreeMap<Place, (Steps, Waker)>>,
    drawn: Cell<u64>,
    /// The handshake whose turn it is, until it has used its turn.
    granted: Cell<Option<Place>>,
    /// Time and steps since the last look that the conductor knows of.
    spent: Cell<Duration>,
    steps: Cell<u32>,
    /// When the last step ended.
    ended: Cell<Option<Instant>>,
    begun: Notify,
    /// Shows how many are in line.
    metrics: WorkerMetrics,
}

impl Handshakes {
    /// None in line.
    pub fn new(metrics: WorkerMetrics) -> Self {
        Self {
            line: RefCell::default(),
            drawn: Cell::default(),
            granted: Cell::default(),
            spent: Cell::default(),
            steps: Cell::default(),
            ended: Cell::default(),
            begun: Notify::new(),
            metrics,
        }
    }

    /// Runs a handshake in turns with the others of the worker.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in line. `handshake` is the caller's, so that its size is not in this
    /// future too.
    pub async fn in_turns<F: Future>(&self, steps: Steps, mut handshake: Pin<&mut F>) -> F::Output {
        let mut turn = Turn { handshakes: self, steps, has_begun: false, place: None };
        poll_fn(|cx| {
            let started = ready!(turn.poll_begin(cx));
            let polled = handshake.as_mut().poll(cx);
            turn.end(started);
            polled
        })
        .await
    }

    /// Runs a handshake that waits for no turn, and takes its time off the allowance of the others: one with a backend,
    /// which only a finished handshake with a client begins, and whose deadline is the backend's.
    ///
    /// # Cancel safety
    /// That of `handshake`.
    pub async fn at_once<F: Future + Unpin>(&self, mut handshake: F) -> F::Output {
        poll_fn(|cx| {
            let started = Instant::now();
            let polled = Pin::new(&mut handshake).poll(cx);
            self.spend(started);
            polled
        })
        .await
    }

    /// Grants the turns of those in line, a new allowance after each look of the runtime at sockets and timers. Never
    /// ends.
    ///
    /// # Cancel safety
    /// After it is dropped, handshakes in line wait until it runs again.
    pub async fn conduct(&self) {
        loop {
            self.begun.notified().await;
            while self.granted.get().is_some() || !self.line.borrow().is_empty() {
                // The runtime looks before it wakes a task that has yielded, and queues that task behind all the tasks
                // that the look has woken.
                yield_now().await;
                self.next_look();
            }
        }
    }

    fn next_look(&self) {
        // Tasks that were ready before it may have kept the handshake from its turn.
        if self.granted.get().is_none() {
            self.renew();
            self.grant_next();
        }
    }

    fn renew(&self) {
        self.spent.set(Duration::ZERO);
        self.steps.set(0);
    }

    fn has_left(&self, steps: Steps) -> bool {
        match steps {
            Some(most) => self.steps.get() < most.get(),
            None => self.spent.get() < ALLOWANCE,
        }
    }

    /// Gives the turn to the first in line, if there is any and some of the allowance is left.
    fn grant_next(&self) {
        let mut line = self.line.borrow_mut();
        let Some(first) = line.first_entry().filter(|first| self.has_left(first.get().0)) else { return };
        let (place, (_, waker)) = first.remove_entry();
        self.metrics.handshakes_waiting.dec();
        self.granted.set(Some(place));
        waker.wake();
    }

    fn spend(&self, started: Instant) {
        let now = Instant::now();
        self.spent.set(self.spent.get() + (now - started));
        self.steps.set(self.steps.get().saturating_add(1));
        self.ended.set(Some(now));
    }
}

/// One handshake's part in the turns.
struct Turn<'h> {
    handshakes: &'h Handshakes,
    steps: Steps,
    has_begun: bool,
    /// In line, or granted.
    place: Option<Place>,
}

impl Turn<'_> {
    /// Ready when the handshake may take a step, with the time at which it begins.
    fn poll_begin(&mut self, cx: &Context<'_>) -> Poll<Instant> {
        let all = self.handshakes;
        if let Some(place) = self.place {
            if all.granted.get() == Some(place) {
                return Poll::Ready(Instant::now());
            }
            if let Some((_, waker)) = all.line.borrow_mut().get_mut(&place) {
                waker.clone_from(cx.waker());
            }
            return Poll::Pending;
        }
        let now = Instant::now();
        let first = all.line.borrow().first_key_value().map(|(place, _)| *place);
        // As long without a handshake as the last ones took: others had their share, and no conductor is needed.
        let had_share = |ended: Instant| now.saturating_duration_since(ended) >= all.spent.get();
        if first.is_none() && all.granted.get().is_none() && all.ended.get().is_none_or(had_share) {
            all.renew();
        }
        let goes_first = match self.has_begun {
            true => first.is_none_or(|first| first.new),
            false => first.is_none() && all.granted.get().is_none(),
        };
        if goes_first && all.has_left(self.steps) {
            return Poll::Ready(now);
        }
        self.enter(cx);
        Poll::Pending
    }

    fn enter(&mut self, cx: &Context<'_>) {
        let all = self.handshakes;
        let number = all.drawn.get();
        all.drawn.set(number.wrapping_add(1));
        let place = Place { new: !self.has_begun, number };
        all.line.borrow_mut().insert(place, (self.steps, cx.waker().clone()));
        all.metrics.handshakes_waiting.inc();
        all.begun.notify_one();
        self.place = Some(place);
    }

    fn end(&mut self, started: Instant) {
        self.has_begun = true;
        self.handshakes.spend(started);
        self.leave();
    }

    /// Gives up the place, and the turn with it.
    fn leave(&mut self) {
        let all = self.handshakes;
        if let Some(place) = self.place.take() {
            if all.granted.get() == Some(place) {
                all.granted.set(None);
            } else if all.line.borrow_mut().remove(&place).is_some() {
                all.metrics.handshakes_waiting.dec();
            }
        }
        if all.granted.get().is_none() {
            all.grant_next();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::pin::pin;
    use std::rc::Rc;
    use tokio::task::LocalSet;

    fn handshakes() -> Rc<Handshakes> {
        Rc::new(Handshakes::new(weir_metrics::Metrics::new("0", "rustc", "crypto").unwrap().worker(0)))
    }

    /// Computes for this long, as a step of a handshake does: on the paused clock of the test, which a busy machine does
    /// not move. The first poll moves it; the rest would only yield.
    fn compute(time: Duration) {
        let polled = pin!(tokio::time::advance(time)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }

    /// A handshake of one step, which notes its name.
    fn spawn(
        all: &Rc<Handshakes>,
        steps: Steps,
        seen: &Rc<RefCell<Vec<String>>>,
        name: String,
    ) -> tokio::task::JoinHandle<()> {
        let (all, seen) = (Rc::clone(all), Rc::clone(seen));
        tokio::task::spawn_local(async move {
            let step = async {
                compute(ALLOWANCE);
                seen.borrow_mut().push(name);
            };
            all.in_turns(steps, pin!(step)).await;
        })
    }

    /// Notes each look of the runtime, as an established connection would that is ready each time.
    async fn looks(seen: Rc<RefCell<Vec<String>>>) {
        loop {
            yield_now().await;
            seen.borrow_mut().push("look".to_owned());
        }
    }

    /// The longest run of handshakes without a look, and all handshakes in the order of their steps.
    async fn storm(steps: Steps) -> (usize, Vec<String>) {
        let local = LocalSet::new();
        local
            .run_until(async {
                let (all, seen) = (handshakes(), Rc::default());
                let turns = Rc::clone(&all);
                tokio::task::spawn_local(async move { turns.conduct().await });
                tokio::task::spawn_local(looks(Rc::clone(&seen)));
                let tasks: Vec<_> = (0..40).map(|n| spawn(&all, steps, &seen, format!("{n:02}"))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
                assert_eq!(all.metrics.handshakes_waiting.get(), 0);
                let seen = seen.borrow();
                let runs = seen.split(|one| one == "look").map(<[_]>::len);
                let order = seen.iter().filter(|one| *one != "look").cloned().collect();
                (runs.max().unwrap(), order)
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn established_connections_are_looked_at_between_handshakes() {
        let (longest, order) = storm(None).await;
        assert_eq!(longest, 1, "{order:?}");
        assert_eq!(order.len(), 40);
        assert!(order.is_sorted(), "the first to come is the first served: {order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_may_set_the_number_of_steps() {
        for most in [1, 3, 1000] {
            let (longest, order) = storm(NonZeroU32::new(most)).await;
            let most = usize::try_from(most).unwrap();
            assert!(longest <= most && longest >= most.min(2), "{longest} of {most}");
            assert!(order.is_sorted(), "{order:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_alone_waits_for_no_look() {
        let all = handshakes();
        for _ in 0..3 {
            let mut step = pin!(async { all.in_turns(None, pin!(async { compute(ALLOWANCE * 2) })).await });
            assert!(step.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            tokio::time::sleep(ALLOWANCE * 4).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn begun_handshakes_go_first_and_dropped_ones_delay_none() {
        let all = handshakes();
        let mut cx = Context::from_waker(Waker::noop());
        let mut two_steps = Box::pin(async {
            let steps = pin!(async {
                compute(ALLOWANCE);
                yield_now().await;
            });
            all.in_turns(None, steps).await;
        });
        assert!(two_steps.as_mut().poll(&mut cx).is_pending(), "its first step is done");
        let mut new: Vec<_> =
            (0..3).map(|_| Box::pin(async { all.in_turns(None, pin!(async {})).await })).collect();
        assert!(new.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()));
        assert!(two_steps.as_mut().poll(&mut cx).is_pending(), "the allowance is used up");
        assert_eq!(all.metrics.handshakes_waiting.get(), 4);
        all.next_look();
        assert!(new.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()), "none has the turn");
        // The turn goes on to the next in line, even if its owner is gone.
        drop(two_steps);
        drop(new.remove(1));
        assert!(new.remove(0).as_mut().poll(&mut cx).is_ready());
        assert!(new.remove(0).as_mut().poll(&mut cx).is_ready());
        assert_eq!(all.metrics.handshakes_waiting.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_with_backends_take_from_the_allowance_and_never_wait() {
        let all = handshakes();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let mut step = pin!(all.at_once(Box::pin(async { compute(ALLOWANCE) })));
            assert!(step.as_mut().poll(&mut cx).is_ready());
        }
        let mut new = pin!(async { all.in_turns(None, pin!(async {})).await });
        assert!(new.as_mut().poll(&mut cx).is_pending());
        all.next_look();
        assert!(new.as_mut().poll(&mut cx).is_ready());
    }
}
