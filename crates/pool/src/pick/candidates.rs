//! What a policy sees of a pool's backends: numbers and states, no addresses and no sockets.
//!
//! A policy gets a [`Candidates`] and gives a number. It never learns where the states come from, so that the same code
//! runs over a real pool, in `weir explain` and in tests.

use std::ops::Range;

/// The backends of one tier (the primaries, or the backups), numbered from 0 in the order of the configuration.
///
/// For a number that is not below `len`, `usable` must be false; the other answers do not matter.
pub trait Candidates {
    /// How many there are.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its share against the others'; 0 is never picked.
    fn weight(&self, number: usize) -> u16;

    /// True if it may take this connection: healthy, below its cap, not tried before.
    fn usable(&self, number: usize) -> bool;

    /// Connections that it serves now.
    fn load(&self, number: usize) -> u32;

    /// The loads of a range of them, all below `len`: at half the cost of asking for each.
    fn loads(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        range.map(|number| self.load(number))
    }

    /// How much of its weight counts now: all of it, except in slow start.
    fn share(&self, number: usize) -> Share;
}

/// The part of its weight that a backend gets: a tenth to the whole, in steps of 1/1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self(1024);
    /// Where slow start begins: 10 %, so that operators see a backend serve as soon as it has recovered.
    pub const LEAST: Self = Self(103);

    /// This part of it, where 1 is the whole, but at least a tenth.
    pub fn part(part: f64) -> Self {
        let parts =
            (part * f64::from(Self::WHOLE.0)).clamp(f64::from(Self::LEAST.0), f64::from(Self::WHOLE.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 103 and 1024, or NaN: 0"
        )]
        Self((parts as u16).max(Self::LEAST.0))
    }

    /// True outside slow start.
    pub fn is_whole(self) -> bool {
        self == Self::WHOLE
    }

    /// The share in parts of 1024.
    pub fn parts(self) -> u16 {
        self.0
    }

    /// The `score` (something divided by a weight) when only this share of the weight counts.
    pub(crate) fn raise(self, score: u64) -> u64 {
        if self.is_whole() {
            score
        } else {
            score.saturating_mul(u64::from(Self::WHOLE.0)) / u64::from(self.0)
        }
    }

    /// This share of `weight`, in parts of 1024: below 2^26.
    pub(crate) fn of(self, weight: u16) -> u64 {
        u64::from(weight) * u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_tenth_to_the_whole() {
        assert_eq!([-1.0, 0.0, 0.1, f64::NAN].map(Share::part), [Share::LEAST; 4]);
        assert_eq!(Share::part(0.5).parts(), 512);
        assert!(Share::part(0.999) < Share::WHOLE);
        assert!([1.0, 7.0, f64::INFINITY].map(Share::part).iter().all(|s| s.is_whole()));
    }
}
