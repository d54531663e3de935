//! Picks a backend of a pool: the tier that serves, the pool's policy, and a place at the one picked.
//!
//! Each worker has a [`Selector`] of its own with its place in each pool's rotation, so that workers do not wait for
//! each other; shares hold per worker, and therefore overall. Only the share of a backend in slow start is behind a
//! lock.

use crate::backend::{Backend, Reserved};
use crate::load::Load;
pub use crate::pick::ClientKey;
use crate::pick::{Candidates, Policy, Share};
use crate::pool::{Members, Pool, Tier};
use crate::state::BackendState;
use fastrand::Rng;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;
use std::sync::Arc;

/// A worker's picks: its place in the rotation of each pool.
#[derive(Debug, Default)]
pub struct Selector {
    // By the pool's number, which no client chooses.
    rotations: FxHashMap<u64, PoolRotation>,
    random: Rng,
}

/// A worker's place in the rotation of one pool, for one set of members.
#[derive(Debug)]
struct PoolRotation {
    version: u64,
    primaries: Policy,
    backups: Policy,
}

/// Passes over all candidates in one pick: a place that was lost may be free again by the next pass.
const ROUNDS: usize = 3;

impl Selector {
    /// A selector whose chance begins at `seed`, so that its picks can be repeated.
    pub fn seeded(seed: u64) -> Self {
        Self { rotations: FxHashMap::default(), random: Rng::with_seed(seed) }
    }

    /// Picks a backend that may take a connection and is not in `tried`, and takes a place at it.
    pub fn pick(
        &mut self,
        pool: &Pool,
        client: &ClientKey<'_>,
        tried: &[Arc<BackendState>],
    ) -> Option<Reserved> {
        let members = pool.members();
        let mut next = |lost: &[&Arc<Backend>]| {
            self.next(pool, &members, client, &|state| {
                tried
                    .iter()
                    .chain(lost.iter().map(|backend| &backend.state))
                    .any(|other| Arc::ptr_eq(other, state))
            })
        };
        first_free(&mut next, |backend| backend.reserve())
    }

    /// Every backend, in the order in which they would be tried.
    pub fn order(&mut self, pool: &Pool, client: &ClientKey<'_>) -> Vec<Arc<Backend>> {
        let members = pool.members();
        let mut order: Vec<Arc<Backend>> = Vec::new();
        let mut ordered = FxHashSet::default();
        let at = |state: &Arc<BackendState>| Arc::as_ptr(state).addr();
        while let Some(backend) = self.next(pool, &members, client, &|state| ordered.contains(&at(state))) {
            ordered.insert(at(&backend.state));
            order.push(Arc::clone(backend));
        }
        order
    }

    /// Forgets the pools that are gone.
    pub fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        self.rotations.retain(|id, _| stays(*id));
    }

    /// The next backend: a primary; a backup if no primary is usable; an ejected one if no other is left, because a backend
    /// that failed a while ago may work by now. Only primaries panic, and only while no backup is healthy.
    fn next<'m>(
        &mut self,
        pool: &Pool,
        members: &'m Members,
        client: &ClientKey<'_>,
        left_out: &dyn Fn(&Arc<BackendState>) -> bool,
    ) -> Option<&'m Arc<Backend>> {
        let random = &mut self.random;
        let rotation = match self.rotations.entry(pool.id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(PoolRotation::new(pool, members, random))
            }
        };
        if rotation.version != members.version {
            *rotation = PoolRotation::new(pool, members, random);
        }
        let panic = pool.is_in_panic();
        [false, true].into_iter().find_map(|ejected| {
            let tiers =
                [(&members.primaries, &mut rotation.primaries), (&members.backups, &mut rotation.backups)];
            tiers.into_iter().find_map(|(tier, policy)| {
                let view = View { tier, pool, panic, ejected, left_out };
                let number = policy.pick(&view, client, tier.maglev.as_ref(), random);
                tier.backends.get(number?)
            })
        })
    }
}

/// Takes a place at the first of the candidates from `next` that has one. `next` leaves out candidates whose last place
/// has just gone to another worker. When all candidates have been lost, another pass begins, because connections end.
fn first_free<B: Copy, P>(
    next: &mut dyn FnMut(&[B]) -> Option<B>,
    mut reserve: impl FnMut(B) -> Option<P>,
) -> Option<P> {
    for _ in 0..ROUNDS {
        let mut lost = Vec::new();
        while let Some(candidate) = next(&lost) {
            if let Some(place) = reserve(candidate) {
                return Some(place);
            }
            lost.push(candidate);
        }
        if lost.is_empty() {
            return None;
        }
    }
    None
}

impl PoolRotation {
    fn new(pool: &Pool, members: &Members, random: &mut Rng) -> Self {
        Self {
            version: members.version,
            primaries: policy(pool, &members.primaries, random),
            backups: policy(pool, &members.backups, random),
        }
    }
}

fn policy(pool: &Pool, tier: &Tier, random: &mut Rng) -> Policy {
    let weights = tier.backends.iter().map(|b| b.weight);
    Policy::new(pool.settings.balance, pool.settings.bounded_load, weights, random)
}

/// A tier as a policy sees it.
struct View<'a> {
    tier: &'a Tier,
    pool: &'a Pool,
    panic: bool,
    /// Those that are ejected, in place of the usable ones.
    ejected: bool,
    left_out: &'a dyn Fn(&Arc<BackendState>) -> bool,
}

impl View<'_> {
    fn backend(&self, number: usize) -> Option<&Arc<Backend>> {
        self.tier.backends.get(number)
    }
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        self.tier.backends.len()
    }

    fn weight(&self, number: usize) -> u16 {
        self.backend(number).map_or(0, |b| b.weight)
    }

    fn usable(&self, number: usize) -> bool {
        self.backend(number).is_some_and(|b| {
            let usable = if self.ejected { b.is_last_resort() } else { b.is_usable(self.panic) };
            usable && !(self.left_out)(&b.state)
        })
    }

    fn load(&self, number: usize) -> u32 {
        self.tier.loads.get(number).map_or(0, Load::get)
    }

    fn loads(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        self.tier.loads.get(range).unwrap_or_default().iter().map(Load::get)
    }

    fn share(&self, number: usize) -> Share {
        self.backend(number).map_or(Share::WHOLE, |b| b.share(self.pool.settings.slow_start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lowest number of `candidates` that is not left out.
    fn lowest(candidates: u32) -> impl FnMut(&[u32]) -> Option<u32> {
        move |lost| (0..candidates).find(|candidate| !lost.contains(candidate))
    }

    #[test]
    fn the_last_candidate_is_tried_after_many_lost_places() {
        assert_eq!(first_free(&mut lowest(40), |n| (n == 39).then_some(n)), Some(39));
    }

    #[test]
    fn freed_places_are_found() {
        let mut tries = 0;
        let reserve = |n| {
            tries += 1;
            (tries > 3).then_some(n)
        };
        assert_eq!(first_free(&mut lowest(2), reserve), Some(1));
    }

    #[test]
    fn picking_ends_when_every_place_is_lost_each_time() {
        let mut tries = 0;
        let reserve = |_| {
            tries += 1;
            None::<u32>
        };
        assert_eq!(first_free(&mut lowest(5), reserve), None);
        assert_eq!(tries, 5 * ROUNDS);
    }
}
