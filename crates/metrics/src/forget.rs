//! Series that go: a family forgets those of a listener, a pool or a backend that is gone.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use std::collections::HashMap;

/// Takes away the series of one family that have all these labels.
pub(crate) fn forget<T: MetricVecBuilder>(family: &MetricVec<T>, labels: &[(&str, &str)]) {
    for metric in family.collect().iter().flat_map(|f| f.get_metric()) {
        let its: HashMap<&str, &str> = metric.get_label().iter().map(|l| (l.name(), l.value())).collect();
        if labels.iter().all(|(name, value)| its.get(name) == Some(value)) {
            // An error means that another thread removed it first.
            drop(family.remove(&its));
        }
    }
}
