//! Turns: how much bulk a worker moves between two looks at its sockets and timers.
//!
//! A flow with endless bytes would block everything else on its worker, and a hundred such flows would block it a
//! hundred times longer. So bulk moves in turns: between two looks of the runtime at sockets and timers, all flows in
//! bulk together have one allowance of bytes and time. A flow that finds the allowance used up waits in line, and the
//! first flow in line begins the next allowance. Other work of the worker waits for one allowance at most, however many
//! flows are in bulk. A flow that moves little needs no turn; while there are such flows, allowances are small.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;

/// A flow's place in line, and then its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(NonZeroU32);

/// Shares a worker's time among its flows in bulk. [`Turns::conduct`] must run beside them, on the same
/// thread.
#[derive(Debug)]
pub struct Turns {
    /// The flow that has the turn.
    granted: Cell<Option<Ticket>>,
    /// Wakes that flow, if it waited in line.
    holder: RefCell<Option<Waker>>,
    /// It has moved bytes in its turn.
    used: Cell<bool>,
    /// It got its turn when the allowance was used up, and keeps it until the next look.
    waits: Cell<bool>,
    /// It had not used its turn at the last look, and kept it.
    spared: Cell<bool>,
    /// The bytes left of the allowance.
    bytes: Cell<usize>,
    /// The end of the allowance; `None` until the allowance is touched.
    until: Cell<Option<Instant>>,
    /// At most one entry for each flow. The entry of an ended flow costs two looks.
    line: RefCell<VecDeque<(Ticket, Waker)>>,
    drawn: Cell<u32>,
    /// A light flow has moved since the last look: a request or an answer, and the next may come soon.
    light_moved: Cell<bool>,
    /// This many further allowances are small.
    small_ones: Cell<u16>,
    /// The allowance has been touched since the last look.
    busy: Cell<bool>,
    begun: Notify,
}

/// An allowance: bytes and time between two looks. It is checked after each step, and a step moves at most a
/// full read or a full pipe.
const FULL: (usize, Duration) = (512 << 10, Duration::from_micros(250));
/// The allowance while light flows share the worker with bulk: each of their messages waits for half an
/// allowance on average. Not used for bulk alone, which it would make 6 % dearer.
const SMALL: (usize, Duration) = (128 << 10, Duration::from_micros(60));
/// The number of small allowances after a light message: 60 ms at most.
const SMALL_ONES: u16 = 1_000;

impl Default for Turns {
    fn default() -> Self {
        Self {
            granted: Cell::default(),
            holder: RefCell::default(),
            used: Cell::default(),
            waits: Cell::default(),
            spared: Cell::default(),
            bytes: Cell::new(FULL.0),
            until: Cell::default(),
            line: RefCell::default(),
            drawn: Cell::default(),
            light_moved: Cell::default(),
            small_ones: Cell::default(),
            busy: Cell::default(),
            begun: Notify::new(),
        }
    }
}

impl Turns {
    /// Whether the flow may continue. If not, it has a place in line, and its task is woken when its turn
    /// comes.
    pub fn poll_take(&self, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> Poll<()> {
        if ticket.is_some_and(|mine| self.is_in_line(mine)) {
            return Poll::Pending;
        }
        // A ticket that is neither in line nor granted was granted, but not used for more than two looks.
        let has_turn = self.granted.get() == *ticket && (ticket.is_some() || self.line.borrow().is_empty());
        if !self.busy.replace(true) {
            self.begun.notify_one();
        }
        if has_turn && self.has_left() {
            *ticket = ticket.or_else(|| Some(self.draw()));
            self.granted.set(*ticket);
            self.used.set(true);
            return Poll::Ready(());
        }
        if has_turn && ticket.is_some() && !self.used.get() {
            self.waits.set(true);
            return Poll::Pending;
        }
        let mine = self.draw();
        *ticket = Some(mine);
        self.line.borrow_mut().push_back((mine, cx.waker().clone()));
        Poll::Pending
    }

    /// Records that a flow without need for a turn has moved bytes.
    pub fn saw_light_flow(&self) {
        self.light_moved.set(true);
    }

    /// The most that one step of bulk should move.
    pub fn step(&self) -> usize {
        if self.small_ones.get() > 0 { SMALL.0 } else { usize::MAX }
    }

    /// Takes `bytes` off the allowance.
    pub fn spend(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The flow has nothing more to move now, so the next in line gets the rest of the allowance.
    pub fn pass_on(&self, ticket: &mut Option<Ticket>) {
        if ticket.is_some() && self.granted.get() == *ticket && !self.waits.get() {
            *ticket = None;
            self.granted.set(None);
            if self.has_left() {
                self.grant_next();
            }
        }
    }

    /// Grants the turns, one after each look of the runtime at sockets and timers. Never ends.
    ///
    /// # Cancel safety
    /// After it is dropped, flows in bulk wait until it runs again.
    pub async fn conduct(&self) {
        loop {
            self.begun.notified().await;
            loop {
                // The runtime looks before it wakes a task that has yielded, and queues that task behind all
                // the tasks that the look has woken.
                yield_now().await;
                if !self.next_look() {
                    break;
                }
            }
            self.busy.set(false);
        }
    }

    /// Grants the turn that follows a look, with a new allowance. False if no flow waits.
    fn next_look(&self) -> bool {
        self.until.set(None);
        let small_ones = if self.light_moved.replace(false) {
            SMALL_ONES
        } else {
            self.small_ones.get().saturating_sub(1)
        };
        self.small_ones.set(small_ones);
        self.bytes.set(self.allowance().0);
        let waits = self.waits.replace(false);
        // Tasks that were ready before it may have kept the flow from its turn; an ended flow never uses its
        // turn.
        if self.granted.get().is_some() && !self.used.get() && (waits || !self.spared.replace(true)) {
            if let Some(waker) = &*self.holder.borrow() {
                waker.wake_by_ref();
            }
            return true;
        }
        self.granted.set(None);
        self.grant_next()
    }

    fn allowance(&self) -> (usize, Duration) {
        if self.small_ones.get() > 0 { SMALL } else { FULL }
    }

    fn is_in_line(&self, ticket: Ticket) -> bool {
        // The line is in the order of the tickets.
        self.line
            .borrow()
            .front()
            .is_some_and(|(first, _)| ticket.0.get().wrapping_sub(first.0.get()) < u32::MAX / 2)
    }

    fn grant_next(&self) -> bool {
        let Some((ticket, waker)) = self.line.borrow_mut().pop_front() else { return false };
        self.granted.set(Some(ticket));
        self.used.set(false);
        self.waits.set(false);
        self.spared.set(false);
        waker.wake_by_ref();
        self.holder.replace(Some(waker));
        true
    }

    /// Whether some of the allowance is left. Its time starts with the first call after a look.
    fn has_left(&self) -> bool {
        let now = Instant::now();
        let until = self.until.get().unwrap_or_else(|| now + self.allowance().1);
        self.until.set(Some(until));
        now < until && self.bytes.get() > 0
    }

    fn draw(&self) -> Ticket {
        // A ticket lives for a few turns only, so two with the same number never meet.
        let number = NonZeroU32::new(self.drawn.get().wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.drawn.set(number.get());
        Ticket(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow in bulk, as the turns know it.
    #[derive(Default)]
    struct Flow(Option<Ticket>);

    impl Flow {
        /// Whether it may move more. If not, its poll ends, as that of a real flow does.
        fn goes_on(&mut self, turns: &Turns) -> bool {
            let goes_on = turns.poll_take(&mut self.0, &Context::from_waker(Waker::noop())).is_ready();
            if !goes_on {
                turns.pass_on(&mut self.0);
            }
            goes_on
        }
    }

    /// The first has the whole allowance, the others wait in line.
    fn in_line(turns: &Turns) -> [Flow; 4] {
        let mut flows: [Flow; 4] = Default::default();
        assert!(flows[0].goes_on(turns));
        turns.spend(FULL.0);
        assert!(flows.iter_mut().all(|flow| !flow.goes_on(turns)));
        flows
    }

    #[tokio::test(start_paused = true)]
    async fn unneeded_allowances_go_to_the_next_in_line() {
        let turns = Turns::default();
        let [mut first, mut second, mut third, mut fourth] = in_line(&turns);
        assert!(turns.next_look());
        assert!(first.goes_on(&turns) && !second.goes_on(&turns));
        turns.spend(FULL.0 / 2);
        turns.pass_on(&mut first.0);
        assert!(second.goes_on(&turns) && !third.goes_on(&turns));
        turns.spend(FULL.0 / 2);
        turns.pass_on(&mut second.0);
        assert!(!third.goes_on(&turns), "nothing is left");
        assert!(turns.next_look());
        assert!(third.goes_on(&turns) && !fourth.goes_on(&turns));
    }

    #[tokio::test(start_paused = true)]
    async fn unusable_turns_are_kept_over_a_look() {
        let turns = Turns::default();
        let [mut first, mut second, mut third, _] = in_line(&turns);
        assert!(turns.next_look() && first.goes_on(&turns));
        turns.pass_on(&mut first.0);
        // As if other tasks ran first, and the runtime looked before the second flow got its turn.
        assert!(turns.next_look());
        assert!(!third.goes_on(&turns) && second.goes_on(&turns));
        turns.pass_on(&mut second.0);
        // As if those tasks took more time than the allowance has.
        tokio::time::advance(2 * FULL.1).await;
        assert!(!third.goes_on(&turns) && turns.next_look() && third.goes_on(&turns));
    }

    #[tokio::test(start_paused = true)]
    async fn allowances_are_small_for_a_while_after_a_light_flow() {
        let turns = Turns::default();
        let mut flow = Flow::default();
        let mut next = || {
            turns.next_look();
            assert!(flow.goes_on(&turns));
            let left = turns.bytes.get();
            turns.spend(left);
            assert!(!flow.goes_on(&turns), "it is in line again");
            left
        };
        assert_eq!(next(), FULL.0);
        turns.saw_light_flow();
        assert!((0..SMALL_ONES).all(|_| next() == SMALL.0));
        assert_eq!(next(), FULL.0);
    }

    #[tokio::test(start_paused = true)]
    async fn ended_flows_cost_two_looks() {
        let turns = Turns::default();
        let [_, _, mut third, _] = in_line(&turns);
        let looks = (1..=5).find(|_| turns.next_look() && third.goes_on(&turns));
        assert_eq!(looks, Some(5), "two for each, and its own");
    }
}
