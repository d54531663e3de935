//! Opened, closed and active connections, collected together so that they agree within one scrape.

use crate::forget::{Labels, forget};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use std::collections::HashMap;

/// The three families. Clones share their series.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) opened: IntCounterVec,
    pub(crate) closed: IntCounterVec,
    active: IntGaugeVec,
}

impl Connections {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            opened: IntCounterVec::new(
                Opts::new("weir_connections_opened_total", "Connections accepted."),
                &["listener"],
            )?,
            closed: IntCounterVec::new(
                Opts::new("weir_connections_closed_total", "Connections ended."),
                &["listener", "mode", "outcome", "side"],
            )?,
            active: IntGaugeVec::new(
                Opts::new("weir_connections_active", "Connections open now."),
                &["listener"],
            )?,
        })
    }

    /// Removes the series for which `gone` is true.
    pub(crate) fn forget(&self, gone: &dyn Fn(&Labels<'_>) -> bool) {
        forget(&self.opened, gone);
        forget(&self.closed, gone);
        forget(&self.active, gone);
    }

    /// Opened and active of one listener.
    pub(crate) fn of(&self, listener: &str) -> (u64, u64) {
        let closed = closed_by_listener(&self.closed.collect()).remove(listener).unwrap_or(0);
        let opened = self.opened.with_label_values(&[listener]).get();
        (opened, opened.saturating_sub(closed))
    }
}

impl Collector for Connections {
    fn desc(&self) -> Vec<&Desc> {
        [self.opened.desc(), self.closed.desc(), self.active.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Closed is read first: a connection that opens and closes in between must not make active negative.
        let closed = self.closed.collect();
        let opened = self.opened.collect();
        let ended = closed_by_listener(&closed);
        for m in opened.iter().flat_map(MetricFamily::get_metric) {
            for label in m.get_label() {
                let open = count(m.get_counter().get_value());
                let gone = ended.get(label.value()).copied().unwrap_or(0);
                let active = i64::try_from(open.saturating_sub(gone)).unwrap_or(i64::MAX);
                self.active.with_label_values(&[label.value()]).set(active);
            }
        }
        [opened, closed, self.active.collect()].concat()
    }
}

fn closed_by_listener(closed: &[MetricFamily]) -> HashMap<String, u64> {
    let mut sums = HashMap::new();
    for m in closed.iter().flat_map(MetricFamily::get_metric) {
        if let Some(listener) = m.get_label().iter().find(|l| l.name() == "listener") {
            *sums.entry(listener.value().to_owned()).or_insert(0) += count(m.get_counter().get_value());
        }
    }
    sums
}

fn count(value: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter: whole, not negative"
    )]
    let n = value as u64;
    n
}
