//! A weighted random draw in O(1), by the alias method (Vose, "A linear algorithm for generating random numbers with a
//! given distribution"): every column holds one backend's probability and, above it, a piece of another's.
//!
//! In whole numbers, so that the shares are the weights exactly.

use fastrand::Rng;

/// One column for each backend.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    columns: Vec<Column>,
    // The height of every column: the sum of the weights, and 0 if nothing can be drawn.
    height: u64,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below this height the column is its own backend's, above it the other's.
    own: u64,
    other: usize,
}

impl Alias {
    /// For these weights; one of weight 0 is never drawn. O(n).
    pub(crate) fn new(weights: impl IntoIterator<Item = u16>) -> Self {
        let weights: Vec<u64> = weights.into_iter().map(u64::from).collect();
        let height: u64 = weights.iter().sum();
        // Each weight times the number of columns: together they fill all columns.
        let mut rest: Vec<u64> = weights.iter().map(|w| w * weights.len() as u64).collect();
        let mut columns: Vec<Column> = (0..rest.len()).map(|n| Column { own: height, other: n }).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) =
            (0..rest.len()).partition(|n| rest.get(*n).is_some_and(|r| *r < height));
        while let (Some(short), Some(long)) = (low.pop(), high.pop()) {
            let (Some(own), Some(column)) = (rest.get(short).copied(), columns.get_mut(short)) else { break };
            *column = Column { own, other: long };
            let Some(left) = rest.get_mut(long) else { break };
            *left -= height - own;
            if *left < height { low.push(long) } else { high.push(long) }
        }
        Self { columns, height }
    }

    /// A number, drawn with the probability of its weight; `None` if all weights are 0.
    pub(crate) fn draw(&self, random: &mut Rng) -> Option<usize> {
        if self.height == 0 {
            return None;
        }
        let number = random.usize(..self.columns.len());
        let column = self.columns.get(number)?;
        Some(if random.u64(..self.height) < column.own { number } else { column.other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn the_columns_hold_the_weights(weights in prop::collection::vec(0u16..=u16::MAX, 0..50)) {
            let alias = Alias::new(weights.clone());
            let mut held = vec![0u64; weights.len()];
            for (number, column) in alias.columns.iter().enumerate() {
                prop_assert!(column.own <= alias.height);
                held[number] += column.own;
                held[column.other] += alias.height - column.own;
            }
            let wanted: Vec<u64> = weights.iter().map(|w| u64::from(*w) * weights.len() as u64).collect();
            prop_assert_eq!(held, wanted);
        }
    }

    #[test]
    fn draws_have_a_weight() {
        let mut random = Rng::with_seed(1);
        assert_eq!(Alias::new([]).draw(&mut random), None);
        assert_eq!(Alias::new([0, 0]).draw(&mut random), None);
        assert!((0..1000).all(|_| Alias::new([0, 3, 0]).draw(&mut random) == Some(1)));
    }
}
