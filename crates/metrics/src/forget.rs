//! Removes the series of listeners, pools, backends or names that are gone.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use std::collections::HashMap;

/// The labels of one series, with their values.
pub(crate) type Labels<'s> = HashMap<&'s str, &'s str>;

/// Removes the series of one family for which `gone` is true, in one pass over the family.
pub(crate) fn forget<T: MetricVecBuilder>(family: &MetricVec<T>, gone: &dyn Fn(&Labels<'_>) -> bool) {
    for metric in family.collect().iter().flat_map(|f| f.get_metric()) {
        let labels: Labels<'_> = metric.get_label().iter().map(|l| (l.name(), l.value())).collect();
        if gone(&labels) {
            // An error means that another thread removed it first.
            drop(family.remove(&labels));
        }
    }
}
