//! How many connections a backend serves. The counts of many backends lie close together, because one policy reads all
//! of them: 1,000 counts take 4 KB, and with a cache line each they would not fit the nearest cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of connections of one backend. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    // Freed with the last load in it.
    row: Arc<Row>,
    place: u8,
}

/// Where the next load comes from.
#[derive(Debug)]
pub(crate) struct Loads {
    row: Arc<Row>,
    next: u8,
}

/// As many counts as a `u8` can number.
type Row = [AtomicU32; 256];

impl Default for Loads {
    fn default() -> Self {
        Self { row: Arc::new([const { AtomicU32::new(0) }; 256]), next: 0 }
    }
}

impl Loads {
    /// A count of 0. Consecutive counts are in different ones of sixteen cache lines, so that workers which count
    /// connections of a few backends do not hinder each other.
    pub(crate) fn take(&mut self) -> Load {
        let load = Load { row: Arc::clone(&self.row), place: self.next.rotate_left(4) };
        match self.next.checked_add(1) {
            Some(next) => self.next = next,
            None => *self = Self::default(),
        }
        load
    }
}

impl Load {
    /// Connections now.
    pub(crate) fn get(&self) -> u32 {
        self.count().map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Adds one, unless there are as many as `cap`. In one step, otherwise two workers that race for the last place
    /// could both fail.
    pub(crate) fn add(&self, cap: u32) -> bool {
        let more = |count: u32| (count < cap).then(|| count + 1);
        self.count()
            .is_some_and(|count| count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok())
    }

    /// Takes away one.
    pub(crate) fn remove(&self) {
        if let Some(count) = self.count() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Always `Some`: a row has every place.
    fn count(&self) -> Option<&AtomicU32> {
        self.row.get(usize::from(self.place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_has_a_count_of_its_own() {
        let mut loads = Loads::default();
        let taken: Vec<Load> = (0..600).map(|_| loads.take()).collect();
        for (number, load) in taken.iter().enumerate() {
            (0..number).for_each(|_| assert!(load.add(u32::MAX)));
        }
        assert!(taken.iter().enumerate().all(|(number, load)| load.get() as usize == number));
    }

    #[test]
    fn neighbours_are_in_different_lines() {
        let mut loads = Loads::default();
        let lines: Vec<u8> = (0..16).map(|_| loads.take().place / 16).collect();
        assert_eq!(lines, (0..16).collect::<Vec<u8>>());
    }

    #[test]
    fn connections_stay_within_the_cap() {
        let load = Loads::default().take();
        assert!(load.add(1) && !load.add(1));
        load.remove();
        assert!(load.add(1) && load.get() == 1);
    }
}
