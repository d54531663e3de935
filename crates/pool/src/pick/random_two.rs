//! The less loaded of two weighted random choices (Mitzenmacher, "The power of two choices in randomized load
//! balancing"). O(1), and workers that know nothing of each other do not all choose the same backend.
//!
//! Draws are repeated while they fall on backends that are not usable. If most are not, one pass over all backends
//! makes the same choice in O(n): each usable one with the probability of its weight.

use crate::pick::alias::Alias;
use crate::pick::candidates::{Candidates, Share};
use fastrand::Rng;

/// The weights of one tier, prepared for drawing.
#[derive(Clone, Debug)]
pub struct RandomTwo {
    weights: Alias,
}

impl RandomTwo {
    /// For backends of these weights; one of weight 0 is never picked.
    pub fn new(weights: impl IntoIterator<Item = u16>) -> Self {
        Self { weights: Alias::new(weights) }
    }

    /// The number of the less loaded of two; `None` if none is usable.
    pub fn pick(&self, candidates: &impl Candidates, random: &mut Rng) -> Option<usize> {
        let (first, second) = match self.draw(None, candidates, random) {
            Some(first) => (first, self.draw(Some(first), candidates, random).unwrap_or(first)),
            None => search(candidates, random)?,
        };
        let [one, two] = [first, second]
            .map(|n| (u64::from(candidates.load(n)), candidates.share(n).of(candidates.weight(n))));
        // load / weight, multiplied out: below 2^58.
        Some(if two.0 * one.1 < one.0 * two.1 { second } else { first })
    }

    /// A usable one that is not `other`; `None` after too many draws. In slow start a backend accepts with the
    /// probability of its share.
    fn draw(&self, other: Option<usize>, candidates: &impl Candidates, random: &mut Rng) -> Option<usize> {
        (0..DRAWS).find_map(|_| {
            let number = self.weights.draw(random)?;
            let taken = Some(number) != other && candidates.usable(number);
            (taken && accepts(candidates.share(number), random)).then_some(number)
        })
    }
}

fn accepts(share: Share, random: &mut Rng) -> bool {
    share.is_whole() || random.u16(..Share::WHOLE.parts()) < share.parts()
}

/// Two choices among all usable ones in one pass; they may be the same.
///
/// Each usable backend replaces the choice so far with a probability of its weight in the sum so far, and so is the
/// final choice with the probability of its weight in the whole sum.
fn search(candidates: &impl Candidates, random: &mut Rng) -> Option<(usize, usize)> {
    let mut sum = 0;
    let mut choices = None;
    for number in 0..candidates.len() {
        let weight = candidates.weight(number);
        if weight == 0 || !candidates.usable(number) {
            continue;
        }
        let weight = candidates.share(number).of(weight);
        sum += weight;
        let (first, second) = choices.unwrap_or((number, number));
        let mut or = |choice| if random.u64(..sum) < weight { number } else { choice };
        choices = Some((or(first), or(second)));
    }
    choices
}

/// Draws for each of the two choices. With half of the backends usable, one pick in 256 needs the search.
const DRAWS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::tests::Fake;

    fn counts(policy: &RandomTwo, fake: &Fake, picks: usize) -> Vec<usize> {
        let mut random = Rng::with_seed(3);
        let mut counts = vec![0; fake.weights.len()];
        for _ in 0..picks {
            counts[policy.pick(fake, &mut random).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn less_loaded_backends_win() {
        let mut fake = Fake::new(&[1; 10]);
        fake.loads = (0..10).collect();
        let got = counts(&RandomTwo::new([1; 10]), &fake, 10_000);
        assert!(got[9] < 10, "the fullest only by the same draw eight times: {got:?}");
        assert!(got.is_sorted_by(|a, b| a > b), "{got:?}");
        assert!(got[0].abs_diff(2000) < 150, "in two of ten pairs: {got:?}");
    }

    #[test]
    fn a_lone_usable_backend_is_found() {
        let mut fake = Fake::new(&[1; 1000]);
        fake.usable = vec![false; 1000];
        fake.usable[777] = true;
        assert_eq!(counts(&RandomTwo::new([1; 1000]), &fake, 100)[777], 100);
    }

    #[test]
    fn the_search_has_the_shares_too() {
        let mut fake = Fake::new(&[1, 2, 0, 7]);
        let mut random = Rng::with_seed(5);
        let mut first = [0_u32; 4];
        let mut second = [0_u32; 4];
        fake.usable[0] = false;
        for _ in 0..9000 {
            let (one, two) = search(&fake, &mut random).unwrap();
            first[one] += 1;
            second[two] += 1;
        }
        for got in [first, second] {
            assert!(got[0] == 0 && got[2] == 0 && got[1].abs_diff(2000) < 120, "{got:?}");
        }
    }

    #[test]
    fn slow_start_takes_its_share() {
        let mut fake = Fake::new(&[1, 1]);
        fake.shares[0] = Share::LEAST;
        let got = counts(&RandomTwo::new([1, 1]), &fake, 11_000);
        assert!(got[0].abs_diff(1000) < 150, "{got:?}");
    }
}
