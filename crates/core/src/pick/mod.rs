//! Which backend next. One file a policy; policies are pure, the worker keeps their state.

mod round_robin;

pub use round_robin::RoundRobin;

use crate::pool::{Pool, Reserved};
use rustc_hash::FxHashMap;

/// A worker's place in the rotation of each pool.
///
/// Each worker has its own, so that picking takes no lock; shares hold per worker, and so over all of them.
#[derive(Debug, Default)]
pub struct Cursors {
    // Keyed by the pool's number, which no client chooses.
    by_pool: FxHashMap<u64, RoundRobin>,
}

impl Cursors {
    /// Picks the pool's next usable backend that is not in `tried` and takes a place at it.
    pub fn pick(&mut self, pool: &Pool, tried: &[usize]) -> Option<(usize, Reserved)> {
        let rotation = self
            .by_pool
            .entry(pool.id)
            .or_insert_with(|| RoundRobin::new(pool.backends.iter().map(|b| b.weight)));
        let mut reserved = None;
        let number = rotation.pick(|number| {
            let usable = pool.backends.get(number).filter(|b| !tried.contains(&number) && b.is_usable());
            reserved = usable.and_then(|b| b.reserve());
            reserved.is_some()
        })?;
        reserved.map(|r| (number, r))
    }
}
