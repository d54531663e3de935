//! The backend with the fewest connections for its weight: the least (connections + 1) / weight, which is the load
//! after the pick. Ties go by round robin.
//!
//! While there are fewer connections than the sum of the weights, light backends get less than their shares, because a
//! nearly idle heavy backend is then best for the next connection.
//!
//! A pick looks at every backend, O(n), unless it finds an idle backend of the greatest weight, which cannot be beaten.

use crate::pick::candidates::Candidates;
use std::ops::Range;

/// Where the search begins, and what a connection counts at each backend.
#[derive(Clone, Debug)]
pub struct LeastConnections {
    // `UNIT` / weight, or `NEVER`. Multiplying by it makes the search fast: comparing fractions would take two
    // multiplications a backend.
    costs: Vec<u64>,
    // The cost at the heaviest backend.
    least: u64,
    // The backend after the last pick, so that ties go by round robin.
    next: usize,
}

/// The best so far.
#[derive(Clone, Copy, Debug)]
struct Best {
    number: usize,
    score: u64,
}

impl LeastConnections {
    /// For backends of these weights; ties begin at backend number `start`, modulo their number.
    pub fn new(weights: impl IntoIterator<Item = u16>, start: u64) -> Self {
        let costs: Vec<u64> =
            weights.into_iter().map(|w| UNIT.checked_div(u64::from(w)).unwrap_or(NEVER)).collect();
        let least = costs.iter().copied().filter(|cost| *cost != NEVER).min().unwrap_or(0);
        let next = start.checked_rem(costs.len() as u64).and_then(|c| usize::try_from(c).ok());
        Self { costs, least, next: next.unwrap_or(0) }
    }

    /// The number of the backend with the least connections for its weight; `None` if none is usable.
    pub fn pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        let behind = self.search(self.next..self.costs.len(), None, candidates);
        let best = match behind {
            Some(best) if best.score == self.least => best,
            _ => self.search(0..self.next, behind, candidates)?,
        };
        self.next = if best.number + 1 < self.costs.len() { best.number + 1 } else { 0 };
        Some(best.number)
    }

    /// The best of the range, if it is better than what was found before.
    fn search(
        &self,
        range: Range<usize>,
        before: Option<Best>,
        candidates: &impl Candidates,
    ) -> Option<Best> {
        let costs = self.costs.get(range.clone()).unwrap_or_default();
        let mut best = before;
        let mut limit = before.map_or(u64::MAX, |best| best.score);
        let loads = candidates.loads(range.clone());
        for ((number, cost), load) in range.zip(costs.iter().copied()).zip(loads) {
            // No overflow, see `UNIT`; the check for one would cost a third of the search.
            let score = (u64::from(load) + 1).wrapping_mul(cost);
            // Slow start only raises the score, so most are ruled out here without a look at their health.
            if score >= limit || cost == NEVER || !candidates.usable(number) {
                continue;
            }
            let score = candidates.share(number).raise(score);
            if score < limit {
                limit = score;
                best = Some(Best { number, score });
                if score == self.least {
                    break;
                }
            }
        }
        best
    }
}

/// The cost of a connection at a backend of weight 1. Times 2^32 connections it fits 64 bits; divided by the greatest
/// weight it is rounded by less than 2 in 100,000.
const UNIT: u64 = u32::MAX as u64;
/// The cost at a backend without a weight.
const NEVER: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::candidates::Share;
    use crate::pick::tests::Fake;
    use proptest::prelude::*;

    #[test]
    fn ties_go_by_round_robin() {
        let fake = Fake::new(&[3, 3, 3]);
        let mut policy = LeastConnections::new([3, 3, 3], 7);
        let order: Vec<_> = (0..6).filter_map(|_| policy.pick(&fake)).collect();
        assert_eq!(order, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn slow_start_counts_as_less_weight() {
        let mut fake = Fake::new(&[1, 1]);
        fake.shares[0] = Share::LEAST;
        fake.loads = vec![0, 8];
        let mut policy = LeastConnections::new([1, 1], 0);
        assert_eq!(policy.pick(&fake), Some(1), "(0 + 1) / 0.1 is more than 8 + 1");
        fake.loads = vec![0, 9];
        assert_eq!(policy.pick(&fake), Some(0));
    }

    #[test]
    fn highest_numbers_do_not_overflow() {
        let mut fake = Fake::new(&[u16::MAX, u16::MAX]);
        fake.loads = vec![u32::MAX, u32::MAX - 1];
        assert_eq!(LeastConnections::new([u16::MAX; 2], 0).pick(&fake), Some(1));
    }

    proptest! {
        #[test]
        fn picks_equal_a_naive_search(
            backends in prop::collection::vec((0u16..5, 0u32..6, any::<bool>(), any::<bool>()), 0..10),
            start in any::<u64>(),
        ) {
            let weights: Vec<u16> = backends.iter().map(|b| b.0).collect();
            let mut fake = Fake::new(&weights);
            fake.loads = backends.iter().map(|b| b.1).collect();
            fake.usable = backends.iter().map(|b| b.2).collect();
            let share = |starting| if starting { Share::LEAST } else { Share::WHOLE };
            fake.shares = backends.iter().map(|b| share(b.3)).collect();
            let score = |n: usize| f64::from(fake.loads[n] + 1) / fake.shares[n].of(weights[n]) as f64;
            let usable = (0..weights.len()).filter(|n| fake.usable[*n] && weights[*n] > 0);
            let least = usable.map(score).min_by(f64::total_cmp);
            let picked = LeastConnections::new(weights.clone(), start).pick(&fake);
            prop_assert!(picked.is_none_or(|n| fake.usable[n]));
            prop_assert_eq!(picked.map(score), least);
        }
    }
}
