//! When bytes last moved: weir sees its own reads and writes; only the kernel sees how a peer drains the send queue.
//!
//! A client that reads slowly may take minutes over bytes that weir wrote at once, and is not idle meanwhile. No event
//! reports its acknowledgements, so weir checks the send queues several times within a deadline: while they shrink,
//! bytes move.

use std::time::Duration;
use tokio::time::Instant;

/// When bytes last moved, in either direction.
#[derive(Debug)]
pub(super) struct Movement {
    last: Instant,
    /// Milliseconds from then to the last look.
    looked: u32,
    /// Bytes queued for client and backend at the last look; [`UNSEEN`]: no look since weir moved bytes.
    queued: [u32; 2],
}

/// More than a send queue holds: Linux counts its bytes in an `int`.
const UNSEEN: [u32; 2] = [u32::MAX; 2];
/// The first look gives the baseline for later ones: acknowledgements before it go unseen, so it comes early.
/// A part of the deadline, and at most this long.
const FIRST: (u32, Duration) = (16, Duration::from_secs(5));
/// The same for later looks: the time of a movement between two of them is unknown.
const OTHERS: (u32, Duration) = (8, Duration::from_secs(30));
const SHORTEST: Duration = Duration::from_millis(1);

impl Movement {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, looked: 0, queued: UNSEEN }
    }

    /// When bytes last moved.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// Records that weir has moved bytes.
    pub(super) fn moved(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// The time of the next look at the queues, with a deadline of `limit` after the last movement; `None`:
    /// they are empty.
    pub(super) fn next_look(&self, limit: Duration) -> Option<Instant> {
        let (part, longest) = match self.queued {
            UNSEEN => FIRST,
            [0, 0] => return None,
            _ => OTHERS,
        };
        let looked = self.last + Duration::from_millis(self.looked.into());
        Some(looked + (limit / part).clamp(SHORTEST, longest))
    }

    /// Records the bytes queued for client and backend. Fewer than before is movement.
    pub(super) fn look(&mut self, now: Instant, queued: [usize; 2]) {
        let queued = queued.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX - 1));
        if self.queued != UNSEEN && queued.iter().zip(self.queued).any(|(now, before)| *now < before) {
            self.last = now;
        }
        self.looked = u32::try_from((now - self.last).as_millis()).unwrap_or(u32::MAX);
        self.queued = queued;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    #[test]
    fn only_shrinking_queues_are_movement() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut movement = Movement::new(start);
        assert_eq!(movement.next_look(LIMIT), Some(start + LIMIT / 16));
        movement.look(at(1), [100, 0]);
        movement.look(at(2), [100, 0]);
        movement.look(at(3), [100, 7]);
        assert_eq!((movement.last(), movement.next_look(LIMIT)), (start, Some(at(4))));
        movement.look(at(4), [60, 0]);
        assert_eq!((movement.last(), movement.next_look(LIMIT)), (at(4), Some(at(5))));
        movement.look(at(5), [0, 0]);
        assert_eq!((movement.last(), movement.next_look(LIMIT)), (at(5), None));
    }

    #[test]
    fn empty_queues_get_one_look() {
        let start = Instant::now();
        let mut movement = Movement::new(start);
        movement.look(start + LIMIT / 8, [0, 0]);
        assert_eq!((movement.last(), movement.next_look(LIMIT)), (start, None));
        movement.moved(start + LIMIT);
        assert!(movement.next_look(LIMIT).is_some());
    }
}
