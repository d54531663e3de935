//! Consistent hashing by Maglev (Eisenbud et al., "Maglev: a fast and reliable software network load balancer"): a
//! table of slots, filled by the backends in turns, each in its own order of slots. A key belongs to the owner of its
//! slot; when a backend comes or goes, nearly all other keys stay where they are.
//!
//! Nodes agree on every key while they agree on names, weights and health: orders derive from the backends' names by a
//! fixed hash, turns go by name, and nothing depends on the order of the configuration. Names are distinct in a tier.
//!
//! A key whose backend cannot take it moves on to the slot of its next hash, and so on. Each key has its own chain, so
//! that the keys of a backend that is down spread over all others by their weights.

use crate::pick::candidates::{Candidates, Share};
use crate::pick::key::{self, Domain};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The table of one tier: 128 KiB, built in some milliseconds, once for each set of backends and for all workers.
#[derive(Clone, Debug)]
pub struct Maglev {
    // By slot; empty if no backend has a weight.
    slots: Box<[u16]>,
    // Backends with a weight, ordered by name.
    by_name: Box<[u16]>,
}

/// How far a backend's connections may exceed its share of them all, counted on this node (Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent hashing with bounded loads").
///
/// Connections are counted anew after a sixteenth as many picks as there are backends, that is, at every pick while
/// there are few; in between only this worker's picks are added.
#[derive(Clone, Debug)]
pub struct Bound {
    percent: u32,
    // `None` if the next question has to count.
    usable: Option<Usable>,
}

impl Bound {
    /// At most `percent` of its share, rounded up. Less than 100 counts as 100, otherwise some connections would find
    /// no backend.
    pub fn percent(percent: u32) -> Self {
        Self { percent: percent.max(100), usable: None }
    }

    /// Whether a backend may take one more.
    ///
    /// The shares of the usable backends sum up to all their connections and the new one; therefore at least one of
    /// them may, right after a count.
    fn admits(&mut self, number: usize, candidates: &impl Candidates) -> bool {
        let load = candidates.load(number);
        // No ceiling is below one connection.
        load == 0 || {
            let usable = self.usable.get_or_insert_with(|| Usable::count(candidates));
            let weight = u128::from(candidates.weight(number));
            let ceiling = u128::from(self.percent) * u128::from(usable.load + 1) * weight;
            u128::from(load) < ceiling.div_ceil(100 * u128::from(usable.weight.max(1)))
        }
    }

    /// Notes a pick.
    fn picked(&mut self) {
        self.usable = self.usable.and_then(Usable::with_one_more);
    }
}

impl Maglev {
    /// The table for backends of these names and weights; a number is a position in `backends`. A backend of weight 0
    /// gets no slot, and a backend of less than a slot's share (1/65,537 of the sum of the weights) may get none.
    ///
    /// Numbers in slots are below 65,535; further backends are left out.
    pub fn build(backends: &[(&str, u16)]) -> Self {
        let mut by_name: Vec<(&str, u16, u16)> = (0..FREE)
            .zip(backends)
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(number, (name, weight))| (*name, *weight, number))
            .collect();
        by_name.sort_unstable();
        let mut walks: Vec<Walk> = by_name.iter().map(|(name, weight, _)| Walk::new(name, *weight)).collect();
        let mut slots = if walks.is_empty() { Vec::new() } else { vec![FREE; SIZE] };
        // The earliest deadline is next, as in round robin.
        let mut turns: BinaryHeap<Reverse<(u64, usize)>> =
            walks.iter().enumerate().map(|(rank, walk)| Reverse((walk.stride / 2, rank))).collect();
        for _ in 0..slots.len() {
            let Some(mut turn) = turns.peek_mut() else { break };
            let (deadline, rank) = turn.0;
            let (Some(walk), Some((_, _, number))) = (walks.get_mut(rank), by_name.get(rank)) else { break };
            turn.0.0 = deadline + walk.stride;
            walk.take_next(&mut slots, *number);
        }
        Self { slots: slots.into(), by_name: by_name.iter().map(|(_, _, number)| *number).collect() }
    }

    /// The number of the backend that `key` goes to; `None` if none is usable.
    ///
    /// Passes over backends that are not usable, those over the bound, and, for a part of the keys, those in slow
    /// start; that part only shrinks, so that no key moves twice. O(1) while a good part of the backends is usable;
    /// with a bound, on average.
    pub fn pick(
        &self,
        key: u64,
        candidates: &impl Candidates,
        mut bound: Option<&mut Bound>,
    ) -> Option<usize> {
        let mut picked = self.probe(key, candidates, bound.as_deref_mut());
        if picked.is_none() {
            if let Some(bound) = bound.as_deref_mut() {
                // The bound admits no backend by an old count; it may by a new one.
                bound.usable = None;
                picked = self.search(key, |n| candidates.usable(n) && bound.admits(n, candidates));
            }
            picked = picked.or_else(|| self.search(key, |n| candidates.usable(n)));
        }
        if let Some(bound) = bound {
            bound.picked();
        }
        picked
    }

    /// The first backend on the key's chain that may take it and that slow start allows, or the first that may take it.
    fn probe(&self, key: u64, candidates: &impl Candidates, mut bound: Option<&mut Bound>) -> Option<usize> {
        let mut starting = None;
        for probe in 0..PROBES {
            let number = self.owner(key::again(key, probe))?;
            if !candidates.usable(number)
                || bound.as_deref_mut().is_some_and(|bound| !bound.admits(number, candidates))
            {
                continue;
            }
            if accepts(key, candidates.share(number)) {
                return Some(number);
            }
            starting = starting.or(Some(number));
        }
        starting
    }

    fn owner(&self, hash: u64) -> Option<usize> {
        let slot = usize::try_from(hash % SIZE as u64).ok()?;
        self.slots.get(slot).map(|number| usize::from(*number))
    }

    /// The first that may take it, in the order of names from a place that the key decides.
    fn search(&self, key: u64, mut may_take: impl FnMut(usize) -> bool) -> Option<usize> {
        let place = key::again(key, PROBES).checked_rem(self.by_name.len() as u64)?;
        let (before, behind) = self.by_name.split_at_checked(usize::try_from(place).ok()?)?;
        behind.iter().chain(before).map(|number| usize::from(*number)).find(|number| may_take(*number))
    }
}

/// In slow start a backend takes a key if the key's own fraction is below the share. The fraction is the same at every
/// probe, so that a chain which meets the backend twice is refused twice.
fn accepts(key: u64, share: Share) -> bool {
    share.is_whole() || key::again(key, FRACTION) % u64::from(Share::WHOLE.parts()) < u64::from(share.parts())
}

/// The totals of the usable backends.
#[derive(Clone, Copy, Debug)]
struct Usable {
    load: u64,
    weight: u64,
    /// Picks until they are counted again.
    holds: usize,
}

impl Usable {
    fn count(candidates: &impl Candidates) -> Self {
        let usable = (0..candidates.len()).filter(|n| candidates.weight(*n) > 0 && candidates.usable(*n));
        let nothing = Self { load: 0, weight: 0, holds: candidates.len() / LOOKS };
        usable.fold(nothing, |sum, number| Self {
            load: sum.load + u64::from(candidates.load(number)),
            weight: sum.weight + u64::from(candidates.weight(number)),
            ..sum
        })
    }

    fn with_one_more(self) -> Option<Self> {
        Some(Self { load: self.load + 1, holds: self.holds.checked_sub(1)?, ..self })
    }
}

/// One backend's order of slots, and the distance between its turns.
#[derive(Clone, Copy, Debug)]
struct Walk {
    slot: usize,
    step: usize,
    stride: u64,
}

impl Walk {
    fn new(name: &str, weight: u16) -> Self {
        let below = |domain, limit: usize| {
            usize::try_from(key::hash(domain, name.as_bytes()) % limit as u64).unwrap_or_default()
        };
        // Any step from 1 to SIZE - 1 visits every slot, because SIZE is prime.
        let (slot, step) = (below(Domain::Offset, SIZE), 1 + below(Domain::Step, SIZE - 1));
        Self { slot, step, stride: LAP / u64::from(weight.max(1)) }
    }

    /// Gives the next free slot in this order to backend `number`. There must be one.
    fn take_next(&mut self, slots: &mut [u16], number: u16) {
        for _ in 0..slots.len() {
            let slot = self.slot;
            self.slot = if slot + self.step < SIZE { slot + self.step } else { slot + self.step - SIZE };
            if let Some(owner) = slots.get_mut(slot).filter(|owner| **owner == FREE) {
                *owner = number;
                return;
            }
        }
    }
}

/// The number of slots: a prime, 65 times the 1,000 backends that should get their shares within 1 %; the paper
/// measured this size for them.
const SIZE: usize = 65_537;
/// No backend's number.
const FREE: u16 = u16::MAX;
/// One turn of a backend of weight 1; its rounding is below 1e-7.
const LAP: u64 = 1 << 40;
/// With half of the backends usable, one key in 2^32 needs the search.
const PROBES: u64 = 32;
/// Backends that a bound counts for each pick, on average.
const LOOKS: usize = 16;
/// The round that gives a key's fraction: neither a probe's nor the search's.
const FRACTION: u64 = 1 << 32;

#[cfg(test)]
mod tests;
