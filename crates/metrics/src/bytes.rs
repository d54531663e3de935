//! Payload bytes of listeners: the bytes given to the kernel, less those that a reset dropped from its send queue.
//!
//! Bytes count as they move, so that a scrape sees a long transfer grow. Losses are known only when the connection has
//! ended. A counter must not fall, so a value that was shown stays, and the losses are set off against later bytes.

use crate::forget::{Labels, forget};
use crate::labels::Direction;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, Opts};
use std::sync::{Arc, Mutex, PoisonError};

/// The family. Clones share their series.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    moved: IntCounterVec,
    lost: IntCounterVec,
    shown: IntCounterVec,
    /// Held while `shown` catches up: two scrapes at once must not both add the same bytes.
    showing: Arc<Mutex<()>>,
}

/// One direction of a listener.
#[derive(Clone, Debug)]
pub struct Moved {
    moved: IntCounter,
    lost: IntCounter,
}

impl Moved {
    /// Counts `n` bytes that the destination's socket has taken.
    pub fn inc_by(&self, n: u64) {
        self.moved.inc_by(n);
    }

    /// Takes back `n` of the bytes that were counted: they never reached the destination.
    pub fn take_back(&self, n: u64) {
        self.lost.inc_by(n);
    }

    /// Bytes that have moved and are not known to be lost.
    pub fn get(&self) -> u64 {
        self.moved.get().saturating_sub(self.lost.get())
    }
}

impl Bytes {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let family = || {
            let opts = Opts::new("weir_bytes_total", "Payload moved; up is client to backend.");
            IntCounterVec::new(opts, &["listener", "direction"])
        };
        Ok(Self { moved: family()?, lost: family()?, shown: family()?, showing: Arc::default() })
    }

    /// The counters of a listener's direction.
    pub(crate) fn of(&self, listener: &str, direction: Direction) -> Moved {
        let labels = [listener, direction.label()];
        Moved { moved: self.moved.with_label_values(&labels), lost: self.lost.with_label_values(&labels) }
    }

    /// Removes the series for which `gone` is true.
    pub(crate) fn forget(&self, gone: &dyn Fn(&Labels<'_>) -> bool) {
        for family in [&self.moved, &self.lost, &self.shown] {
            forget(family, gone);
        }
    }
}

impl Collector for Bytes {
    fn desc(&self) -> Vec<&Desc> {
        self.shown.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _held = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in self.moved.collect().iter().flat_map(|family| family.get_metric()) {
            let label =
                |name: &str| metric.get_label().iter().find(|l| l.name() == name).map_or("", |l| l.value());
            let labels = [label("listener"), label("direction")];
            let (moved, lost) = (self.moved.with_label_values(&labels), self.lost.with_label_values(&labels));
            let shown = self.shown.with_label_values(&labels);
            shown.inc_by(Moved { moved, lost }.get().saturating_sub(shown.get()));
        }
        self.shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    #[test]
    fn lost_bytes_are_not_shown_and_counters_never_fall() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let shows = |bytes: u64| {
            let line = format!("weir_bytes_total{{direction=\"down\",listener=\"edge\"}} {bytes}\n");
            let text = metrics.scrape().unwrap();
            assert!(text.contains(&line), "{line} not in\n{text}");
        };
        let edge = metrics.listener("edge");
        edge.down.inc_by(100);
        edge.down.take_back(30);
        shows(70);
        edge.down.take_back(20);
        assert_eq!(edge.down.get(), 50);
        shows(70);
        edge.down.inc_by(25);
        shows(75);
        metrics.forget_listeners(&["edge"].into());
        assert!(!metrics.scrape().unwrap().contains("weir_bytes_total{"));
    }
}
