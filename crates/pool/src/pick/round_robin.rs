//! Weighted round robin, smooth: a backend of weight 3 is spread evenly between those of weight 1.
//!
//! Each backend has a virtual deadline; the earliest goes next and moves on by the inverse of its weight
//! (earliest deadline first). A pick costs O(log n), and as much again for each backend passed over.

use crate::pick::candidates::{Candidates, Share};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// The rotation over one tier.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    queue: BinaryHeap<Reverse<Turn>>,
    strides: Vec<Stride>,
    // Among equal deadlines this backend comes first, and then those behind it.
    first: usize,
    passed_over: Vec<Reverse<Turn>>,
}

/// When a backend is next: its deadline, then its distance from the first.
type Turn = (u64, usize);

/// A backend's step from turn to turn, and what slow start has saved up.
#[derive(Clone, Copy, Debug)]
struct Stride {
    length: u64,
    /// In parts of 1024 of a turn; below 0 after a pick on credit.
    saved: i32,
}

impl RoundRobin {
    /// A rotation over backends of these weights; one of weight 0 is never picked.
    ///
    /// It begins with turn number `start`, modulo the number of turns. Workers begin at random turns, because each
    /// begins anew when backends change, and the first backend must not be the first of all workers.
    pub fn new(weights: impl IntoIterator<Item = u16>, start: u64) -> Self {
        let weights: Vec<u16> = weights.into_iter().collect();
        let (first, now) = place(&weights, start);
        let strides: Vec<Stride> = weights.iter().map(|w| Stride { length: stride(*w), saved: 0 }).collect();
        let queue = weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0)
            .map(|(number, weight)| {
                let stride = stride(*weight);
                // Its first deadline that is not past.
                let missed = now.saturating_sub(stride / 2).div_ceil(stride);
                let deadline = stride / 2 + missed * stride - now;
                Reverse((deadline, (number + weights.len() - first) % weights.len()))
            })
            .collect();
        Self { queue, strides, first, passed_over: Vec::new() }
    }

    /// The number of the next usable backend; `None` if there is none.
    ///
    /// Backends that are not usable lose their turns, so that a returning backend is not flooded with missed ones. In
    /// slow start a backend saves its share at each turn and takes a turn for each whole one saved: unlike a longer
    /// stride, that follows a share which grows meanwhile.
    pub fn pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        let mut waits = 0;
        let mut picked = None;
        while let Some(mut top) = self.queue.peek_mut() {
            let number = number(top.0.1, self.first, self.strides.len());
            let Some(stride) = self.strides.get_mut(number) else { break };
            top.0.0 += stride.length;
            if !candidates.usable(number) {
                self.passed_over.push(PeekMut::pop(top));
            } else if stride.takes_turn(candidates.share(number), waits) {
                picked = Some(number);
                break;
            } else {
                waits += 1;
            }
        }
        self.queue.extend(self.passed_over.drain(..));
        self.rewind();
        picked
    }

    /// Brings all deadlines back towards 0 before they could overflow.
    fn rewind(&mut self) {
        let Some(Reverse((earliest, _))) = self.queue.peek().copied() else { return };
        if earliest > REWIND_AT {
            self.queue = self.queue.drain().map(|Reverse((d, n))| Reverse((d - earliest, n))).collect();
        }
    }
}

impl Stride {
    /// Whether a usable backend takes its turn after `waits` others have let theirs pass in this pick.
    fn takes_turn(&mut self, share: Share, waits: u32) -> bool {
        if share.is_whole() {
            return true;
        }
        self.saved = self.saved.saturating_add(i32::from(share.parts()));
        let takes = self.saved >= TURN_COST || waits >= MOST_WAITS;
        if takes {
            self.saved = self.saved.saturating_sub(TURN_COST);
        }
        takes
    }
}

/// The backend that has turn number `start`, and that turn's deadline.
///
/// Turns are counted backend by backend, so that over all values of `start` the first picks have the weights' shares
/// too.
fn place(weights: &[u16], start: u64) -> (usize, u64) {
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    let mut turn = start.checked_rem(total).unwrap_or(0);
    for (number, weight) in weights.iter().enumerate() {
        if turn < u64::from(*weight) {
            let stride = stride(*weight);
            return (number, stride / 2 + turn * stride);
        }
        turn -= u64::from(*weight);
    }
    (0, 0)
}

fn stride(weight: u16) -> u64 {
    LAP.checked_div(u64::from(weight)).unwrap_or(LAP)
}

/// The backend that is `distance` behind the `first`, wrapping at the end.
fn number(distance: usize, first: usize, len: usize) -> usize {
    let number = distance + first;
    if number < len { number } else { number - len }
}

/// One turn of a backend of weight 1. Weights go to 65,535, so the rounding of a stride is below 1e-7.
const LAP: u64 = 1 << 40;
/// Far from overflow: one pick moves a deadline by at most `MOST_WAITS` + 1 times `LAP`.
const REWIND_AT: u64 = 1 << 62;
/// A whole turn, in the unit of a share.
const TURN_COST: i32 = 1024;
/// Turns that may pass in one pick before a backend is picked on credit. With all backends in slow start at a tenth,
/// one turn in ten is taken; the limit is above ten, so that credit is the exception, and it bounds a pick.
const MOST_WAITS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::Fake;
    use proptest::prelude::*;
    use std::cell::Cell;

    fn picks(rr: &mut RoundRobin, fake: &Fake, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| rr.pick(fake)).collect()
    }

    #[test]
    fn rotation_is_smooth() {
        let fake = Fake::new(&[5, 1, 1]);
        let order = picks(&mut RoundRobin::new([5, 1, 1], 0), &fake, 7);
        assert_eq!(order.iter().filter(|n| **n == 0).count(), 5);
        let longest_run = order.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest_run <= Some(3), "{order:?}");
    }

    #[test]
    fn returning_backends_are_not_flooded() {
        let mut rr = RoundRobin::new([1, 1], 0);
        let mut fake = Fake::new(&[1, 1]);
        fake.usable[0] = false;
        assert_eq!(picks(&mut rr, &fake, 1000), [1; 1000]);
        fake.usable[0] = true;
        let next = picks(&mut rr, &fake, 10);
        assert_eq!(next.iter().filter(|n| **n == 0).count(), 5, "{next:?}");
    }

    #[test]
    fn deadlines_rewind() {
        let mut rr = RoundRobin::new([1, 2], 0);
        rr.queue = [Reverse((REWIND_AT + 5, 0)), Reverse((REWIND_AT + 6, 1))].into();
        assert_eq!(rr.pick(&Fake::new(&[1, 2])), Some(rr.first));
        assert!(rr.queue.iter().all(|Reverse((d, _))| *d <= LAP));
    }

    #[test]
    fn slow_start_takes_its_share_and_follows_its_growth() {
        let mut fake = Fake::new(&[1, 1, 10]);
        fake.shares[0] = Share::LEAST;
        fake.shares[2] = Share::LEAST;
        let mut rr = RoundRobin::new([1, 1, 10], 0);
        let order = picks(&mut rr, &fake, 2100);
        let got = [0, 1, 2].map(|n| order.iter().filter(|o| **o == n).count());
        assert!(
            got[0].abs_diff(100) < 5 && got[1].abs_diff(1000) < 10 && got[2].abs_diff(1000) < 10,
            "{got:?}"
        );
        fake.shares = vec![Share::WHOLE; 3];
        assert_eq!(
            picks(&mut rr, &fake, 12).iter().filter(|n| **n == 0).count(),
            1,
            "at once, not in ten rounds"
        );
    }

    #[test]
    fn backends_all_in_slow_start_keep_their_shares() {
        let weights: Vec<u16> = (0..100).map(|n| 1 + n % 3).collect();
        let mut fake = Fake::new(&weights);
        fake.shares = vec![Share::LEAST; 100];
        let order = picks(&mut RoundRobin::new(weights.clone(), 7), &fake, 19_900);
        for (number, weight) in weights.iter().enumerate() {
            let got = order.iter().filter(|n| **n == number).count();
            assert!(got.abs_diff(100 * usize::from(*weight)) <= 3, "{got} for {weight}");
        }
    }

    /// Counts the questions whether a backend is usable.
    struct Counted(Fake, Cell<u32>);

    impl Candidates for Counted {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn weight(&self, number: usize) -> u16 {
            self.0.weight(number)
        }

        fn usable(&self, number: usize) -> bool {
            self.1.set(self.1.get() + 1);
            self.0.usable(number)
        }

        fn load(&self, number: usize) -> u32 {
            self.0.load(number)
        }

        fn share(&self, number: usize) -> Share {
            self.0.share(number)
        }
    }

    #[test]
    fn slow_start_of_all_does_not_make_a_pick_slow() {
        let mut fake = Fake::new(&[1; 1000]);
        fake.shares = vec![Share::LEAST; 1000];
        let counted = Counted(fake, Cell::new(0));
        let mut rr = RoundRobin::new([1; 1000], 0);
        for _ in 0..1000 {
            counted.1.set(0);
            assert!(rr.pick(&counted).is_some());
            assert!(counted.1.get() <= MOST_WAITS + 1, "{} looked at", counted.1.get());
        }
    }

    proptest! {
        #[test]
        fn shares_are_the_weights(weights in prop::collection::vec(0u16..100, 1..12), start in any::<u64>()) {
            let sum: usize = weights.iter().map(|w| usize::from(*w)).sum();
            let mut rr = RoundRobin::new(weights.clone(), start);
            let fake = Fake::new(&weights);
            let mut got = vec![0usize; weights.len()];
            for number in picks(&mut rr, &fake, 10 * sum) {
                got[number] += 1;
            }
            for (g, w) in got.iter().zip(&weights) {
                prop_assert!(g.abs_diff(10 * usize::from(*w)) <= 1, "{got:?} of {weights:?}");
            }
        }

        #[test]
        fn first_picks_have_the_shares_too(weights in prop::collection::vec(0u16..20, 1..12)) {
            let fake = Fake::new(&weights);
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            let mut got = vec![0u16; weights.len()];
            for start in 0..sum {
                got[RoundRobin::new(weights.clone(), start).pick(&fake).unwrap()] += 1;
            }
            prop_assert_eq!(got, weights);
        }
    }
}
