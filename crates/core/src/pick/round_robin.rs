//! Weighted round robin, smooth: a backend of weight 3 is spread evenly between those of weight 1.
//!
//! Each backend has a virtual deadline; the earliest goes next and moves on by the inverse of its weight
//! (earliest deadline first). A pick costs O(log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The rotation over one pool.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    strides: Vec<u64>,
    passed_over: Vec<(u64, usize)>,
}

impl RoundRobin {
    /// A rotation over backends of these weights; one of weight 0 is never picked.
    pub fn new(weights: impl IntoIterator<Item = u16>) -> Self {
        let strides: Vec<u64> =
            weights.into_iter().map(|w| if w == 0 { 0 } else { LAP / u64::from(w) }).collect();
        // Heavier ones first, each in the middle of its first stride: the first round is smooth already.
        let queue =
            strides.iter().enumerate().filter(|(_, s)| **s > 0).map(|(i, s)| Reverse((s / 2, i))).collect();
        Self { queue, strides, passed_over: Vec::new() }
    }

    /// The next backend for which `usable` is true, by its position; `None` if there is none.
    ///
    /// Those passed over lose their turn: one that comes back is not flooded with what it missed.
    pub fn pick(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut picked = None;
        while let Some(Reverse((deadline, number))) = self.queue.pop() {
            let stride = self.strides.get(number).copied().unwrap_or(LAP);
            self.passed_over.push((deadline + stride, number));
            if usable(number) {
                picked = Some(number);
                break;
            }
        }
        self.queue.extend(self.passed_over.drain(..).map(Reverse));
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

/// One turn of a backend of weight 1. Weights go to 65,535, so the rounding of a stride is below 1e-7.
const LAP: u64 = 1 << 40;
/// Far from overflow: one pick moves a deadline by at most `LAP`.
const REWIND_AT: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_smooth() {
        let mut rr = RoundRobin::new([5, 1, 1]);
        let order: Vec<usize> = (0..7).filter_map(|_| rr.pick(|_| true)).collect();
        assert_eq!(order.iter().filter(|n| **n == 0).count(), 5);
        let longest_run = order.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest_run <= Some(3), "{order:?}");
    }

    #[test]
    fn one_that_comes_back_is_not_flooded() {
        let mut rr = RoundRobin::new([1, 1]);
        for _ in 0..1000 {
            assert_eq!(rr.pick(|n| n == 1), Some(1));
        }
        let next: Vec<_> = (0..10).filter_map(|_| rr.pick(|_| true)).collect();
        assert_eq!(next.iter().filter(|n| **n == 0).count(), 5, "{next:?}");
    }

    #[test]
    fn deadlines_rewind() {
        let mut rr = RoundRobin::new([1, 2]);
        rr.queue = [Reverse((REWIND_AT + 5, 0)), Reverse((REWIND_AT + 6, 1))].into();
        assert_eq!(rr.pick(|_| true), Some(0));
        assert!(rr.queue.iter().all(|Reverse((d, _))| *d <= LAP));
    }

    proptest! {
        #[test]
        fn shares_are_the_weights(weights in prop::collection::vec(0u16..100, 1..12)) {
            let sum: usize = weights.iter().map(|w| usize::from(*w)).sum();
            let mut rr = RoundRobin::new(weights.clone());
            let mut got = vec![0usize; weights.len()];
            for _ in 0..10 * sum {
                got[rr.pick(|_| true).unwrap()] += 1;
            }
            for (g, w) in got.iter().zip(&weights) {
                prop_assert!(g.abs_diff(10 * usize::from(*w)) <= 1, "{got:?} of {weights:?}");
            }
        }

        #[test]
        fn never_a_sick_one_while_a_well_one_exists(
            weights in prop::collection::vec(1u16..9, 1..8), sick in any::<u8>(), rounds in 1usize..50
        ) {
            let mut rr = RoundRobin::new(weights.clone());
            let well = |n: usize| sick & (1 << n) == 0;
            for _ in 0..rounds {
                match rr.pick(well) {
                    Some(n) => prop_assert!(well(n)),
                    None => prop_assert!((0..weights.len()).all(|n| !well(n))),
                }
            }
        }
    }
}
