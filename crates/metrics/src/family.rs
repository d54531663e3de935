//! A family of metrics: how it is made from its row, registered, and rid of series that are gone.

use crate::forget::{Labels, forget};
use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// A row of the table of families.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    /// Of histograms: their upper bounds.
    pub(crate) buckets: &'static [f64],
}

impl Row {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

/// A kind of family.
pub(crate) trait Family: Collector + Clone + Sized + 'static {
    /// The family of a row.
    fn make(row: Row) -> Result<Self, Error>;

    /// Removes the series for which `gone` is true.
    fn forget(&self, gone: &dyn Fn(&Labels<'_>) -> bool);
}

/// Families with labels.
macro_rules! with_labels {
    ($($kind:ty, $opts:expr;)*) => {
        $(impl Family for $kind {
            fn make(row: Row) -> Result<Self, Error> {
                let opts: fn(&Row) -> _ = $opts;
                Self::new(opts(&row), row.labels)
            }

            fn forget(&self, gone: &dyn Fn(&Labels<'_>) -> bool) {
                forget(self, gone);
            }
        })*
    };
}

with_labels! {
    IntCounterVec, Row::opts;
    IntGaugeVec, Row::opts;
    GaugeVec, Row::opts;
    HistogramVec, |row| HistogramOpts::from(row.opts()).buckets(row.buckets.to_vec());
}

/// Families of one series, which is never removed.
macro_rules! without_labels {
    ($($kind:ty;)*) => {
        $(impl Family for $kind {
            fn make(row: Row) -> Result<Self, Error> {
                Self::with_opts(row.opts())
            }

            fn forget(&self, _: &dyn Fn(&Labels<'_>) -> bool) {}
        })*
    };
}

without_labels! {
    IntCounter;
    IntGauge;
    Gauge;
}

/// Registers families and keeps their names.
pub(crate) struct Registrar<'r> {
    registry: &'r Registry,
    pub(crate) names: Vec<String>,
}

impl<'r> Registrar<'r> {
    pub(crate) fn new(registry: &'r Registry) -> Self {
        Self { registry, names: Vec::new() }
    }

    /// Registers `family`, and gives it back.
    pub(crate) fn register<C: Collector + Clone + 'static>(&mut self, family: C) -> Result<C, Error> {
        self.names.extend(family.desc().iter().map(|desc| desc.fq_name.clone()));
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }
}
