//! Exemplars: for each bucket of a histogram, the number of a record that fell into it, shown in OpenMetrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

/// The histogram of connections that has exemplars.
pub(crate) const CONNECTIONS: &str = "weir_connection_duration_seconds";
/// The histogram of requests that has exemplars.
pub(crate) const REQUESTS: &str = "weir_http_request_duration_seconds";

/// A record that is an example of what a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The `id` of the record.
    pub id: u128,
    /// The `request` of the record, counted from 1; 0 for the record of a connection.
    pub request: u64,
    /// When it was written.
    pub at: SystemTime,
}

/// The exemplars of one series.
#[derive(Debug)]
pub(crate) struct Slots {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all.
    buckets: Box<[Bucket]>,
}

/// The exemplar of a bucket, with its value.
type Bucket = Mutex<Option<(f64, Exemplar)>>;

impl Slots {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| Mutex::default()).collect() }
    }

    /// Makes this the exemplar of the value's bucket. Never waits: if another thread has the bucket, its exemplar is as
    /// good.
    pub(crate) fn note(&self, value: f64, exemplar: Exemplar) {
        let bucket = self.buckets.get(self.bounds.partition_point(|bound| *bound < value));
        if let Some(Ok(mut last)) = bucket.map(Mutex::try_lock) {
            *last = Some((value, exemplar));
        }
    }

    /// The exemplar of a bucket, counted from the lowest.
    pub(crate) fn get(&self, bucket: usize) -> Option<(f64, Exemplar)> {
        *self.buckets.get(bucket)?.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exemplars of all series, for as long as something counts for them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exemplars(Arc<Mutex<Series>>);

/// By family and label values.
type Series = HashMap<(&'static str, Box<[Box<str>]>), Weak<Slots>>;

impl Exemplars {
    /// Those of a series, by the values of its labels in the order of its family's row.
    pub(crate) fn of(&self, family: &'static str, labels: &[&str]) -> Arc<Slots> {
        let mut all = self.lock();
        all.retain(|_, slots| slots.strong_count() > 0);
        let key = (family, labels.iter().map(|label| Box::from(*label)).collect());
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let bounds = if family == REQUESTS { crate::families::REQUESTS } else { crate::families::LIFETIMES };
        let slots = Arc::new(Slots::new(bounds));
        all.insert(key, Arc::downgrade(&slots));
        slots
    }

    /// Those of a series, if it has any.
    pub(crate) fn find(&self, family: &str, labels: &[&str]) -> Option<Arc<Slots>> {
        let all = self.lock();
        let same = |key: &(&'static str, Box<[Box<str>]>)| {
            key.0 == family && key.1.iter().map(|label| &**label).eq(labels.iter().copied())
        };
        all.iter().find(|(key, _)| same(key)).and_then(|(_, slots)| slots.upgrade())
    }

    fn lock(&self) -> MutexGuard<'_, Series> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_the_last_exemplar() {
        let all = Exemplars::default();
        let slots = all.of(REQUESTS, &["edge", "web"]);
        let example = |id| Exemplar { id, request: 1, at: SystemTime::UNIX_EPOCH };
        let lowest = crate::families::REQUESTS[0];
        slots.note(lowest, example(1));
        slots.note(lowest / 2.0, example(2));
        all.of(REQUESTS, &["edge", "web"]).note(1e9, example(3));
        let found = all.find(REQUESTS, &["edge", "web"]).unwrap();
        assert_eq!(found.get(0), Some((lowest / 2.0, example(2))), "a bound is inclusive");
        assert_eq!(found.get(crate::families::REQUESTS.len()), Some((1e9, example(3))));
        assert_eq!(found.get(1), None);
        drop((slots, found));
        assert!(all.find(REQUESTS, &["edge", "web"]).is_none(), "series that end leave nothing");
    }
}
