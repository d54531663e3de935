//! weir-metrics: every metric of weir, from its name to the text that Prometheus reads.
//!
//! - `families` every family: a row each, with its name, help and labels.
//! - [`registry`] the process's metrics, and the text of a scrape.
//! - [`labels`] the closed sets of label values.
//! - `served` the series of the certificates that a listener serves.
//! - `openmetrics` the text of a scrape that asks for it.
//! - `requests` the counters of requests; `exemplars` the records that they show as examples.
//! - [`handles`] what the data path holds: counters resolved once, when a plan is compiled.
//!
//! This is the only crate that knows the `prometheus` crate.

pub mod handles;
pub mod labels;
pub mod registry;

mod bytes;
mod connections;
mod exemplars;
mod families;
mod family;
mod forget;
mod openmetrics;
mod process;
mod requests;
mod served;

pub use bytes::Moved;
pub use exemplars::Exemplar;
pub use handles::{
    BackendMetrics, Certificate, ClientMetrics, ListenerMetrics, LostLines, PoolMetrics, RateMetrics,
    WorkerMetrics,
};
pub use process::resident_memory;
pub use registry::Metrics;
pub use requests::{HttpMethod, HttpMetrics, StickyResult};
pub use served::ServedCertificate;
