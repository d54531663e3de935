//! Picks a backend of a pool: the tier that serves, the pool's policy, and a place at the one picked.
//!
//! A worker's [`Cursors`] are its place in the rotation of each pool. Each worker has its own, so that workers do not wait
//! for each other; shares hold per worker, and so over all of them. Only the share of a backend in slow start is behind a
//! lock.

use crate::backend::{Backend, Reserved};
use crate::load::Load;
use crate::pick::{Candidates, Policy, Share};
use crate::pool::{Members, Pool, Tier};
use crate::state::Live;
use fastrand::Rng;
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// Who asks: what keyed policies go by.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The client's address.
    pub source: IpAddr,
    /// The name that it asked for.
    pub sni: Option<&'a str>,
}

/// A worker's place in the rotation of each pool.
#[derive(Debug, Default)]
pub struct Cursors {
    // Keyed by the pool's number, which no client chooses.
    by_pool: FxHashMap<u64, Cursor>,
    random: Rng,
}

/// The place in the rotation of one pool, for one set of members.
#[derive(Debug)]
struct Cursor {
    version: u64,
    primaries: Policy,
    backups: Policy,
}

/// Times that all candidates are gone through in one pick: a place that was lost may be free again by then.
const ROUNDS: usize = 3;

impl Cursors {
    /// Cursors with this source of chance, for whoever wants to see the same again.
    pub fn seeded(seed: u64) -> Self {
        Self { by_pool: FxHashMap::default(), random: Rng::with_seed(seed) }
    }

    /// Picks a backend that may take a connection and is not in `tried`, and takes a place at it.
    pub fn pick(&mut self, pool: &Pool, asker: &Asker<'_>, tried: &[Arc<Live>]) -> Option<Reserved> {
        let members = pool.members();
        let mut next = |lost: &[&Arc<Backend>]| {
            self.next(pool, &members, asker, &|live| {
                tried
                    .iter()
                    .chain(lost.iter().map(|backend| &backend.live))
                    .any(|other| Arc::ptr_eq(other, live))
            })
        };
        first_free(&mut next, |backend| backend.reserve())
    }

    /// Every backend in the order in which they would be tried: each is left out once it has been picked.
    pub fn order(&mut self, pool: &Pool, asker: &Asker<'_>) -> Vec<Arc<Backend>> {
        let members = pool.members();
        let mut order: Vec<Arc<Backend>> = Vec::new();
        let mut ordered = FxHashSet::default();
        let at = |live: &Arc<Live>| Arc::as_ptr(live).addr();
        while let Some(backend) = self.next(pool, &members, asker, &|live| ordered.contains(&at(live))) {
            ordered.insert(at(&backend.live));
            order.push(Arc::clone(backend));
        }
        order
    }

    /// Forgets the pools that are gone.
    pub fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        self.by_pool.retain(|id, _| stays(*id));
    }

    /// The next backend: a primary, or where none is usable a backup. A panic is for primaries: it is none while a
    /// backup is well.
    fn next<'m>(
        &mut self,
        pool: &Pool,
        members: &'m Members,
        asker: &Asker<'_>,
        left_out: &dyn Fn(&Arc<Live>) -> bool,
    ) -> Option<&'m Arc<Backend>> {
        let random = &mut self.random;
        let cursor = match self.by_pool.entry(pool.id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Cursor::new(pool, members, random)),
        };
        if cursor.version != members.version {
            *cursor = Cursor::new(pool, members, random);
        }
        let panic = pool.is_in_panic();
        let tiers = [(&members.primaries, &mut cursor.primaries), (&members.backups, &mut cursor.backups)];
        tiers.into_iter().find_map(|(tier, policy)| {
            let view = View { tier, pool, panic, left_out };
            let client = (asker.source, asker.sni);
            let number = policy.pick(&view, client, tier.maglev.as_ref(), random);
            tier.backends.get(number?)
        })
    }
}

/// The first place to be had at one of the candidates that `next` gives, which leaves those out where a place has just
/// been lost to another worker. However many are lost, the next candidate is tried, and where none is left all of them are
/// once more: their connections come and go.
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

impl Cursor {
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
    left_out: &'a dyn Fn(&Arc<Live>) -> bool,
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
        self.backend(number).is_some_and(|b| b.is_usable(self.panic) && !(self.left_out)(&b.live))
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
    fn however_many_places_are_lost_the_last_candidate_is_tried() {
        assert_eq!(first_free(&mut lowest(40), |n| (n == 39).then_some(n)), Some(39));
    }

    #[test]
    fn a_place_that_is_free_again_is_found() {
        let mut tries = 0;
        let reserve = |n| {
            tries += 1;
            (tries > 3).then_some(n)
        };
        assert_eq!(first_free(&mut lowest(2), reserve), Some(1));
    }

    #[test]
    fn it_ends_where_all_are_lost_again_and_again() {
        let mut tries = 0;
        let reserve = |_| {
            tries += 1;
            None::<u32>
        };
        assert_eq!(first_free(&mut lowest(5), reserve), None);
        assert_eq!(tries, 5 * ROUNDS);
    }
}
