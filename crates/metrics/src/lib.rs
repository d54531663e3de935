//! weir-metrics: every metric of weir, from its name to the text that Prometheus reads.
//!
//! - `families` every family: a row each, with its name, help and labels.
//! - [`registry`] the process's metrics, and the text of a scrape.
//! - [`handles`] what the data path holds: counters resolved once, when a plan is compiled.
//!
//! This is the only crate that knows the `prometheus` crate.

pub mod handles;
pub mod registry;

mod bytes;
mod connections;
mod families;
mod family;
mod forget;
mod process;

pub use bytes::Moved;
pub use handles::{BackendMetrics, Certificate, ListenerMetrics, LostLines, PoolMetrics, WorkerMetrics};
pub use registry::Metrics;
